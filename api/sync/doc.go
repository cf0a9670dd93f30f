// Package sync is the REST API for sync agents, /sync/v1: what an agent has to
// know, objects and password hashes in batches, and waiting for a change to
// have arrived in the managed domain.
//
// A batch is refused as a whole only where it can't be read or the tenant takes
// none; otherwise every item has its own result with a stable reason. The batch
// of password hashes is the hot path of the whole program, so its body is read
// by a small decoder of our own.
//
// References: §5 of the design; entra-wire §A8, §A9 and §D for the rules behind.
package sync
