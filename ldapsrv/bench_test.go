package ldapsrv

import (
	"net"
	"testing"
)

// BenchmarkHandle is a search without the network: decode, find, encode. What
// the whole server costs beside others is measured in test/bench/ldap.
func BenchmarkHandle(b *testing.B) {
	client, server := net.Pipe()
	defer client.Close()
	s := newSession(newServer(b, crowd(b).replica()), b.Context(), server)
	if !s.handle(request(1, bindOp(adaDN, adaPW))) || s.who == nil {
		b.Fatal("bind")
	}
	for name, msg := range map[string][]byte{
		"one": request(2, searchOp(base, 2, equal("sAMAccountName", "many0042"), "cn", "displayName", "mail", "sAMAccountName",
			"userPrincipalName", "objectSid", "objectGUID", "userAccountControl", "whenCreated", "memberOf")),
		"base": request(2, searchOp(adaDN, 0, nil)),
		"page": request(2, searchOp(base, 2, equal("objectClass", "group"), "cn")),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.out = s.out[:0]
				s.handle(msg)
			}
			if len(s.out) < 100 {
				b.Fatal("found nothing")
			}
		})
	}
}
