// Package agent is the sync agent: it reads users and groups of an on-premises
// directory, makes digests and seals legacy hashes on its own side, and sends
// both to the tenant's sync API. No password and no bare hash leaves it.
//
// [Agent] keeps a tenant up to date with an Active Directory ([AD], over MS-DRSR):
// it knows the directory as read and what the service has acknowledged ([Store]),
// and sends the difference. [Client.Push] sends a file of JSON lines.
// [Client] speaks the sync API, [Wire] the real service's own protocol.
//
// References: §5 of the design (the lines' names); package api/sync (the API);
// entra-wire §A and §C (the wire and its envelopes);
// entra-wire §B (digest), §C4 and §C5 (keys and their salts), §D (what an agent
// does when, and its events); [MS-DRSR] §4.1.10 (GetNCChanges).
package agent
