// Package provisioning is /provisioningservice.svc: the real sync service's wire
// protocol, SOAP 1.2 in .NET binary XML, for agents that were written for the
// real service. It turns requests into what the tenant's rules take and their
// results into what those agents read, and has no rules of its own.
//
// The replies keep to what the most particular agent reads (§A5, §A7 of the wire
// reference): prefixes by their letters, no empty texts, no namespace declared on
// an item. Where no public source knows the name of a member of a reply, ours
// stands with [I] beside it, as there.
//
// Tokens and hashes come in bodies here. No error, log line or fault holds more
// of a request than the name of an operation and a tracking id.
//
// References: entra-wire §A (operations, shapes, faults), §C1 (envelopes).
package provisioning
