// Package tenant holds the rules of the Entra side: who masters a user, what a
// sync batch means, which password wins, who may sign in.
//
// It does no I/O. What it needs kept it asks of a [Store]; time and randomness
// are fields of [Service]. It seals the legacy hashes of a password change for
// the managed domain's public key and can't open what it sealed.
//
// References: §5 and §6 of the design; Microsoft's pages on password hash
// synchronization and on Domain Services.
package tenant
