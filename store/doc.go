// Package store keeps the tenant and the managed domain in PostgreSQL. It is the
// only package that knows SQL: [Tenant] is a tenant.Store, [Domain] a
// domain.Store, and each of the two is given its own key ring only.
//
// # The feed
//
// Each half numbers its changes (USN), and what it promises to a reader is that
// no number below one it has seen can still appear. So a writer takes the row that
// holds the highest number before any other lock and keeps it until it has
// committed: the writers of a half commit one after the other, in the order of
// their numbers, and one that fails leaves no hole. A promise like this puts the
// commits in a row in any case; to take the row first, rather than at the end,
// costs a batch some milliseconds of others' time and buys that writers can't
// deadlock, that what a writer has read stays true until it commits, and that
// a group and a member that come at the same time find each other.
//
// As in AD (uSNChanged), the feed has no history: an object stands in it once,
// under the number of its latest change, as it is now.
//
// # Secrets
//
// Secrets are encrypted before they leave this process, bound to tenant, object,
// column and version, so neither a dump nor a row that was swapped or put back
// gives any. Errors that leave the package carry SQLSTATE and the constraint's
// name and never values.
//
// References: PostgreSQL documentation, "Transaction Isolation" (Read
// Committed), "Explicit Locking", NOTIFY, INSERT (ON CONFLICT); [MS-ADTS]
// §3.1.1.1.9 (USN).
package store
