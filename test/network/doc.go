// Package network holds the tests of the whole service on networks that are bad:
// ones that lose datagrams, have short frames or IPv6 alone, and ones with people on
// them who send what no client sends (trust.md F10, F14, F29, K01, K02, K06, K09, K13).
//
//	relay_test.go    what stands between clients and the service: it loses datagrams
//	                 and keeps a record
//	network_test.go  sign-ins with lost datagrams, short frames, IPv6 alone
//	tunnel_linux_test.go
//	                 and with lost segments of TCP
//	slow_test.go     sign-ins beside slow connections to every port
//	mutate_test.go   from one message to a broken one
//	mutants_test.go  many of those, against every way into the KDC
//	hostile_test.go  what has ended other people's KDCs
//	halfdone_test.go sign-ins that nobody finishes
//	replica_test.go  and one that is sent again, to two processes
//
// The tests of short frames, of IPv6 and of segments run in network namespaces of
// their own, for which they need root. Without it they are skipped and say so; under
// CONFORMANCE=require they fail.
package network
