// Package agent is the sync agent: it reads users and groups of an on-premises
// directory, makes digests and seals legacy hashes on its own side, and sends
// both to the tenant's sync API. No password and no bare hash leaves it.
//
// [Client.Push] sends a file of JSON lines; [Client.Objects], [Client.Hashes] and
// [Client.WaitUSN] are the steps below it.
//
// References: §5 of the design (the lines' names); package api/sync (the API);
// entra-wire §B (digest), §C4 and §C5 (keys and their salts).
package agent
