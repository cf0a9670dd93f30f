// Package faults holds the tests that break things while the service is in use:
// the program and its database are killed at random moments, connections are
// cut, processes hand over to each other. A ledger outside of the service knows
// what was acknowledged; afterwards the service has to agree with it on every
// protocol.
//
// References: trust.md B4 (invariants I1 to I3 and I6, faults F01 to F03, F16, F18).
package faults
