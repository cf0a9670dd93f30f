// Package ldapsrv is the managed domain's directory server: LDAPv3 as Active
// Directory speaks it, over the replica in memory.
//
// It owns connections and what is remembered between their requests (who is
// bound, whether TLS is on, which paged searches are open) and the mapping of
// the domain's errors to LDAP's results. One goroutine reads a connection's
// requests, performs them and writes the answers, so a bind, StartTLS or a
// security layer takes effect exactly between two messages. Answers gather in
// one buffer, which goes out when there is nothing left to read.
//
// One file holds one operation; sockets are in serve.go alone.
//
// References: RFC 4511 (protocol), RFC 4513 (authentication, TLS), RFC 2696
// (paged results), RFC 4532 (who am I), [MS-ADTS] §3.1.1.3 (what AD makes of
// LDAP, rootDSE, controls) and §5.1.1 (binds).
package ldapsrv
