// Package domain holds the rules of the managed domain: how a tenant object
// becomes an account, SIDs and names, who is a member of what, which password
// opens which account.
//
// A [Replica] keeps the whole domain in memory as immutable accounts and
// entries; the KDC and the directory server read it and nothing else. The
// [Provisioner] follows the tenant's change feed and writes records; a
// [Follower] carries records from the [Store] into a Replica.
//
// References: [MS-ADTS], [MS-SAMR] §3.1.1, [MS-KILE]; Microsoft's pages on
// Domain Services (synchronization, password policy).
package domain
