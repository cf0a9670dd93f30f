package kdc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/pac"
	"skyrealm/krb5/pkinit"
)

func TestCertificate(t *testing.T) {
	for name, group := range map[string]*pkinit.Group{"P-256": pkinit.P256, "P-384": pkinit.P384, "P-521": pkinit.P521,
		"group 14": pkinit.Group14, "group 16": pkinit.Group16} {
		for kdf, kdfs := range map[string][]pkinit.OID{"RFC 4556": nil, "SHA-1": {pkinit.KDFSHA1}, "SHA-512": {pkinit.KDFSHA1, pkinit.KDFSHA512}} {
			t.Run(name+", "+kdf, func(t *testing.T) {
				w := newWorld(t)
				c := w.withPKINIT().card(person(w.anna()))
				c.group, c.kdfs = group, kdfs
				g, _ := w.signIn(w.asReq("alice"), c)
				if g.rep.EncPart.KVNO != 0 || g.part.Flags&krb5.FlagPreAuthent == 0 || g.rep.CName.String() != "alice" {
					t.Errorf("reply %+v", g.rep)
				}
				w.tgs(w.tgsReq(g, webSPN))
			})
		}
	}
	t.Run("no NT hash goes along", func(t *testing.T) {
		w := newWorld(t)
		g, _ := w.signIn(w.asReq("alice"), w.withPKINIT().card(person(w.anna())))
		self := w.tgsReq(g, "alice") // the ticket in which a client would read it
		self.body.Options |= krb5.OptEncTktInSKey
		self.body.AdditionalTickets = []krb5.Ticket{g.rep.Ticket}
		for _, part := range []*krb5.EncTicketPart{w.ticket(&g.rep.Ticket, w.key("krbtgt", 18)), w.ticket(&w.tgs(self).rep.Ticket, g.session)} {
			p, err := pac.Parse(part.PAC)
			if err != nil || len(p.Extra) != 0 { // PAC_CREDENTIAL_INFO would be one
				t.Errorf("%v: %+v", err, p)
			}
		}
	})
	t.Run("without a password", func(t *testing.T) {
		w := newWorld(t)
		carol := w.rep.BySAM("carol")
		c := w.withPKINIT().card(person(pkinit.Identity{SID: carol.SID().String(),
			Names: []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(krb5.NTPrincipal, "carol")}}}))
		w.signIn(w.asReq("carol"), c)
	})
	t.Run("RSA, through another authority, with paChecksum2", func(t *testing.T) {
		w := newWorld(t)
		root := w.withPKINIT()
		mid := &authority{t: t, key: newECKey()}
		mid.cert = root.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "between"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign}, root.cert, mid.key)
		c := &card{chain: []*x509.Certificate{mid.sign(person(w.anna()), mid.cert, testKDCKey()), mid.cert}, key: testKDCKey(), group: pkinit.P256}
		q := w.asReq("alice")
		c.alterPack = func(a *pkinit.AuthPack) {
			sum := sha256.Sum256(krb5.Encode(marshalBody{q}))
			a.Checksum2, a.Checksum2Type = sum[:], pkinit.SHA256
		}
		w.signIn(q, c)
	})
}

// TestCertificateRefused: each case is a sign-in that works, with one fault.
func TestCertificateRefused(t *testing.T) {
	type trial struct {
		w    *world
		ca   *authority
		cert *x509.Certificate
		q    *krb5.KDCReq
	}
	for name, c := range map[string]struct {
		before func(*trial)
		after  func(*trial, *card)
		expect krb5.ErrorCode // 0: it works
	}{
		"nothing wrong": {},
		"its object id in the place of the SID": {before: func(r *trial) {
			r.cert = person(pkinit.Identity{UPNs: []string{"Alice.Liddell@contoso.test"}, URIs: []string{ObjectURI + r.w.rep.BySAM("alice").Key.String()}})
		}},
		"no SID, younger than the account": {before: func(r *trial) {
			r.cert = person(pkinit.Identity{UPNs: []string{"Alice.Liddell@contoso.test"}})
			r.cert.NotBefore, r.cert.NotAfter = testNow, testNow.Add(time.Hour)
		}},
		"no SID, older than the account": {before: func(r *trial) {
			r.cert = person(pkinit.Identity{UPNs: []string{"Alice.Liddell@contoso.test"}})
		}, expect: krb5.ErrCertificateMismatch},
		"another SID": {before: func(r *trial) {
			who := r.w.anna()
			who.SID = r.w.rep.BySAM("bob").SID().String()
			r.cert = person(who)
		}, expect: krb5.ErrCertificateMismatch},
		"another SID in a URI": {before: func(r *trial) {
			who := r.w.anna()
			who.URIs, who.SID = []string{"tag:microsoft.com,2022-09-14:sid:" + r.w.rep.BySAM("bob").SID().String()}, ""
			r.cert = person(who)
		}, expect: krb5.ErrCertificateMismatch},
		"another object": {before: func(r *trial) {
			who := r.w.anna()
			who.URIs = []string{ObjectURI + r.w.rep.BySAM("bob").Key.String()}
			r.cert = person(who)
		}, expect: krb5.ErrCertificateMismatch},
		"K07: somebody else's": {before: func(r *trial) { r.q = r.w.asReq("bob") }, expect: krb5.ErrClientNameMismatch},
		"no name": {before: func(r *trial) {
			who := r.w.anna()
			who.UPNs = nil
			r.cert = person(who)
		}, expect: krb5.ErrClientNameMismatch},
		"a name in another realm": {before: func(r *trial) {
			r.cert = person(pkinit.Identity{SID: r.w.anna().SID, Names: []pkinit.Name{{Realm: "OTHER.TEST", Principal: krb5.Principal(1, "alice")}}})
		}, expect: krb5.ErrClientNameMismatch},
		"of another authority": {before: func(r *trial) { r.ca = newAuthority(t, newECKey()) }, expect: krb5.ErrCantVerifyCertificate},
		"of no authority": {after: func(r *trial, c *card) {
			self := &authority{t: t, key: c.key}
			c.chain = []*x509.Certificate{self.sign(person(r.w.anna()), nil, c.key)}
		}, expect: krb5.ErrCantVerifyCertificate},
		"of a person": {before: func(r *trial) { // alice issues for herself
			key := newECKey()
			alice := person(r.w.anna())
			r.ca = &authority{t: t, cert: r.ca.sign(alice, r.ca.cert, key), key: key}
		}, after: func(r *trial, c *card) { c.chain = append(c.chain, r.ca.cert) }, expect: krb5.ErrCantVerifyCertificate},
		"expired": {before: func(r *trial) {
			r.cert.NotBefore, r.cert.NotAfter = testNow.Add(-time.Hour), testNow.Add(-time.Second)
		}, expect: krb5.ErrInvalidCertificate},
		"not yet valid": {before: func(r *trial) {
			r.cert.NotBefore, r.cert.NotAfter = testNow.Add(time.Second), testNow.Add(time.Hour)
		}, expect: krb5.ErrInvalidCertificate},
		"for web servers": {before: func(r *trial) {
			r.cert.UnknownExtKeyUsage, r.cert.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		}, expect: krb5.ErrInconsistentPurpose},
		"for any purpose": {before: func(r *trial) {
			r.cert.UnknownExtKeyUsage, r.cert.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}, expect: krb5.ErrInconsistentPurpose},
		"for a KDC":               {before: func(r *trial) { r.cert.UnknownExtKeyUsage[0] = pkinit.EKUKDC }, expect: krb5.ErrInconsistentPurpose},
		"for a smart card":        {before: func(r *trial) { r.cert.UnknownExtKeyUsage[0] = pkinit.EKUSmartCard }},
		"not to sign with":        {before: func(r *trial) { r.cert.KeyUsage = x509.KeyUsageKeyEncipherment }, expect: krb5.ErrInconsistentPurpose},
		"a disabled account":      {before: func(r *trial) { r.w.change("alice", func(o *domain.Record) { o.UAC |= 2 }) }, expect: krb5.ErrClientRevoked},
		"an account not here":     {before: func(r *trial) { r.q = r.w.asReq("nobody") }, expect: krb5.ErrCPrincipalUnknown},
		"signed with another key": {after: func(_ *trial, c *card) { c.key = newECKey() }, expect: krb5.ErrInvalidSig},
		"not signed":              {after: func(_ *trial, c *card) { c.chain = nil }, expect: krb5.ErrPreauthFailed},
		"AuthPack altered": {after: func(_ *trial, c *card) {
			c.signed = func(b []byte) []byte { // the nonce, 4242
				for i := range b {
					if b[i] == 0x10 && b[i+1] == 0x92 {
						b[i+1]++
						return b
					}
				}
				panic("no nonce")
			}
		}, expect: krb5.ErrInvalidSig},
		"body altered": {after: func(_ *trial, c *card) {
			c.alterReq = func(q *krb5.KDCReq) { q.Nonce++ }
		}, expect: krb5.ErrModified},
		"no checksum": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Checksum = nil }
		}, expect: krb5.ErrPAChecksumMissing},
		"wrong checksum": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Checksum[0] ^= 1 }
		}, expect: krb5.ErrModified},
		"short checksum": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Checksum = a.Checksum[:19] }
		}, expect: krb5.ErrModified},
		"wrong second checksum": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Checksum2, a.Checksum2Type = make([]byte, 32), pkinit.SHA256 }
		}, expect: krb5.ErrModified},
		"five minutes old": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Time = a.Time.Add(-5 * time.Minute) }
		}},
		"older": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Time = a.Time.Add(-5*time.Minute - time.Microsecond) }
		}, expect: krb5.ErrSkew},
		"from the future": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Time = a.Time.Add(5*time.Minute + time.Microsecond) }
		}, expect: krb5.ErrSkew},
		"a key for its RSA key": {after: func(_ *trial, c *card) {
			c.alterPack = func(a *pkinit.AuthPack) { a.Public = nil }
		}, expect: krb5.ErrPublicKeyEncryption},
		"no function that we know": {after: func(_ *trial, c *card) { c.kdfs = []pkinit.OID{"\x2a"} }, expect: krb5.ErrNoAcceptableKDF},
		"no function at all":       {after: func(_ *trial, c *card) { c.kdfs = []pkinit.OID{} }, expect: krb5.ErrNoAcceptableKDF},
		"1,024 bits":               {after: func(_ *trial, c *card) { c.group = pkinit.Group2 }, expect: krb5.ErrDHParamNotAccepted},
		"1,024 bits, allowed": {before: func(r *trial) { r.w.kdc.PKINIT.AllowGroup2 = true },
			after: func(_ *trial, c *card) { c.group = pkinit.Group2 }},
		"RC4 only":                  {before: func(r *trial) { r.q.ETypes = []int32{23} }, expect: krb5.ErrETypeNoSupp},
		"a token of nobody's":       {after: func(_ *trial, c *card) { c.token = make([]byte, 80) }, expect: krb5.ErrPreauthExpired},
		"no token where it has to":  {before: func(r *trial) { r.w.kdc.PKINIT.RequireFreshness = true }, expect: krb5.ErrPreauthFailed},
		"a KDC without certificate": {before: func(r *trial) { r.w.kdc.PKINIT.own.Store(nil) }, expect: krb5.ErrPADataTypeNoSupp},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := &trial{w: w, ca: w.withPKINIT(), q: w.asReq("alice"), cert: person(w.anna())}
			if c.before != nil {
				c.before(r)
			}
			k := r.ca.card(r.cert)
			if c.after != nil {
				c.after(r, k)
			}
			if c.expect == 0 {
				w.signIn(r.q, k)
				return
			}
			request, _ := w.request(r.q, k)
			w.refused(w.sendRaw(request), c.expect)
		})
	}
}

// Values that leave no secret (RFC 2631 §2.1.5), and points that are none.
func TestCertificateSmallSubgroup(t *testing.T) {
	w := newWorld(t)
	ca := w.withPKINIT()
	two := big.NewInt(2)
	prime := groupPrime(t)
	integer := func(n *big.Int) []byte {
		b, err := asn1.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		group *pkinit.Group
		value []byte
		good  bool
	}{
		"2":                {pkinit.Group14, integer(two), true},
		"0":                {pkinit.Group14, integer(new(big.Int)), false},
		"1":                {pkinit.Group14, integer(big.NewInt(1)), false},
		"p-1":              {pkinit.Group14, integer(new(big.Int).Sub(prime, big.NewInt(1))), false},
		"p":                {pkinit.Group14, integer(prime), false},
		"p+2":              {pkinit.Group14, integer(new(big.Int).Add(prime, two)), false},
		"-2":               {pkinit.Group14, integer(big.NewInt(-2)), false},
		"nothing":          {pkinit.Group14, nil, false},
		"infinity":         {pkinit.P256, []byte{0}, false},
		"off the curve":    {pkinit.P256, append([]byte{4}, make([]byte, 64)...), false},
		"of another curve": {pkinit.P384, append([]byte{4}, make([]byte, 64)...), false},
	} {
		k := ca.card(person(w.anna()))
		k.group = c.group
		k.alterPack = func(a *pkinit.AuthPack) { a.Public.Key = c.value }
		request, _ := w.request(w.asReq("alice"), k)
		reply := w.sendRaw(request)
		if !c.good {
			w.refused(reply, krb5.ErrDHParamNotAccepted)
		} else if new(krb5.Error).Unmarshal(reply) == nil {
			t.Errorf("%s: refused", name)
		}
	}
	// A prime of the client's own.
	k := ca.card(person(w.anna()))
	k.group = pkinit.Group14
	k.alterPack = func(a *pkinit.AuthPack) { a.Public.Algorithm.Params[20] ^= 1 }
	request, _ := w.request(w.asReq("alice"), k)
	e := w.refused(w.sendRaw(request), krb5.ErrDHParamNotAccepted)
	if len(e.EData) < 1000 {
		t.Error("the client is not told which groups it may use")
	}
}

func groupPrime(t *testing.T) *big.Int {
	t.Helper()
	var p struct{ P, G, Q *big.Int }
	if _, err := asn1.Unmarshal(pkinit.Group14.Algorithm().Params, &p); err != nil {
		t.Fatal(err)
	}
	return p.P
}

// TestFreshness: RFC 8070.
func TestFreshness(t *testing.T) {
	w := newWorld(t)
	ca := w.withPKINIT()
	w.kdc.PKINIT.RequireFreshness = true
	token := func(client string, ask bool) []byte {
		q := w.asReq(client)
		if ask {
			q.PAData = krb5.MethodData{{Type: krb5.PAASFreshness, Value: []byte{}}}
		}
		m := w.methods(w.refused(w.send(q), krb5.ErrPreauthRequired))
		if _, ok := m.Find(krb5.PAPKASReq); !ok {
			t.Fatal("PKINIT is not offered")
		}
		v, _ := m.Find(krb5.PAASFreshness)
		return v
	}
	if token("alice", false) != nil {
		t.Error("a token for a client that does not know what it is")
	}
	c := ca.card(person(w.anna()))
	c.token = token("alice", true)
	w.signIn(w.asReq("alice"), c)
	c.token = token("bob", true)
	request, _ := w.request(w.asReq("alice"), c)
	w.refused(w.sendRaw(request), krb5.ErrPreauthExpired)
	// A stale one is exchanged.
	c.token = token("alice", true)
	w.now = w.now.Add(cookieLife + time.Second)
	request, _ = w.request(w.asReq("alice"), c)
	c.token, _ = w.methods(w.refused(w.sendRaw(request), krb5.ErrPreauthExpired)).Find(krb5.PAASFreshness)
	w.signIn(w.asReq("alice"), c)
	// A cookie of another mechanism's is none.
	x := &exchange{k: w.kdc, now: w.now, client: w.rep.BySAM("alice")}
	var err error
	if c.token, err = x.bakeCookie(krb5.PASPAKE, nil); err != nil {
		t.Fatal(err)
	}
	request, _ = w.request(w.asReq("alice"), c)
	w.refused(w.sendRaw(request), krb5.ErrPreauthExpired)
}

// TestCertificateOffered: to whom it is of use, keys or no keys.
func TestCertificateOffered(t *testing.T) {
	w := newWorld(t)
	w.withPKINIT()
	for _, client := range []string{"alice", "carol"} {
		if _, ok := w.methods(w.refused(w.send(w.asReq(client)), krb5.ErrPreauthRequired)).Find(krb5.PAPKASReq); !ok {
			t.Errorf("%s: not offered", client)
		}
	}
	for client, code := range map[string]krb5.ErrorCode{"alice": krb5.ErrETypeNoSupp, "carol": krb5.ErrNullKey} {
		q := w.asReq(client)
		q.ETypes = []int32{23}
		w.refused(w.send(q), code)
	}
}

// TestCertificateTwice: the retransmission of a request gets the same reply.
func TestCertificateTwice(t *testing.T) {
	w := newWorld(t)
	request, _ := w.request(w.asReq("alice"), w.withPKINIT().card(person(w.anna())))
	if a, b := w.sendRaw(request), w.sendRaw(request); string(a) != string(b) {
		t.Error("two replies to one request")
	}
}

// TestK08Certificates sends what crypto/x509 would sweat over: the KDC must look
// at its size first, and a sign-in goes on after it.
func TestK08Certificates(t *testing.T) {
	w := newWorld(t)
	ca := w.withPKINIT()
	good := ca.card(person(w.anna()))
	names := person(w.anna())
	var who pkinit.Identity
	for range 10_000 {
		who.UPNs = append(who.UPNs, "Alice.Liddell@contoso.test")
	}
	names.ExtraExtensions = who.Extensions()
	long := ca.card(names)
	many := *good
	for range 1_000 {
		many.chain = append(many.chain, ca.cert)
	}
	few := *good
	for range pkinit.MaxCertificates - 1 {
		few.chain = append(few.chain, ca.cert)
	}
	for name, c := range map[string]*card{"10,000 names": long, "1,000 intermediates": &many} {
		request, _ := w.request(w.asReq("alice"), c)
		var before, after syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
			t.Fatal(err)
		}
		reply := w.sendRaw(request)
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			t.Fatal(err)
		}
		w.refused(reply, krb5.ErrPreauthFailed)
		if spent := time.Duration(after.Utime.Nano() - before.Utime.Nano()); spent > 200*time.Millisecond {
			t.Errorf("%s: %v", name, spent)
		}
	}
	w.signIn(w.asReq("alice"), &few)
}

// A certificate takes long to look at, so it keeps no other datagram waiting.
func TestCertificatesBlockNoReader(t *testing.T) {
	w := newWorld(t)
	c := w.withPKINIT().card(person(w.anna()))
	for who, ask := range map[string]struct {
		q *krb5.KDCReq
		c *card
	}{"a person": {w.asReq("alice"), c}, "nobody": {w.nobodyReq(), unsigned()}} {
		request, _ := w.request(ask.q, ask.c)
		var answer func() []byte
		reader := context.WithValue(t.Context(), laterKey{}, postpone(func(_ netip.AddrPort, later func() []byte) bool {
			answer = later
			return true
		}))
		if reply := w.kdc.Handle(reader, request, client4, false); reply != nil || answer == nil {
			t.Fatalf("%s: the reader of the socket answered by itself: %x", who, reply)
		}
		w.kdc.Policy.MaxUDPReply = 1 << 16
		if reply := answer(); len(reply) == 0 || reply[0] != byte(der.Application(krb5.MsgASRep)) {
			t.Errorf("%s: answered with %x", who, reply)
		}
	}
}
