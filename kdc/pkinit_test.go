package kdc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pkinit"
)

// The keys are made once, and are the same in every run: recorded conversations
// hold certificates and signatures of theirs.
var (
	testCAKey = sync.OnceValue(func() crypto.Signer {
		b := make([]byte, 32)
		(&stream{n: 1 << 60}).Read(b)
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b)
		if err != nil {
			panic(err)
		}
		return k
	})
	testKDCKey = sync.OnceValue(func() crypto.Signer { return sameRSA(&stream{n: 1 << 61}) })
)

// sameRSA makes a key of what it reads; rsa.GenerateKey reads elsewhere.
func sameRSA(from io.Reader) *rsa.PrivateKey {
	one, e := big.NewInt(1), big.NewInt(65537)
	for {
		var p [2]*big.Int
		for i := range p {
			for b := make([]byte, 128); ; {
				if _, err := io.ReadFull(from, b); err != nil {
					panic(err)
				}
				b[0] |= 0xc0
				b[127] |= 1
				if p[i] = new(big.Int).SetBytes(b); p[i].ProbablyPrime(20) {
					break
				}
			}
		}
		phi := new(big.Int).Mul(new(big.Int).Sub(p[0], one), new(big.Int).Sub(p[1], one))
		k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p[0], p[1]), E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: p[:]}
		if k.D == nil {
			continue
		}
		k.Precompute()
		if err := k.Validate(); err != nil {
			panic(err)
		}
		return k
	}
}

func newECKey() crypto.Signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

// authority is a CA, and what it issues.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t testing.TB, key crypto.Signer) *authority {
	a := &authority{t: t, key: key}
	a.cert = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "people"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(20, 0, 0)}, nil, key)
	return a
}

func (a *authority) sign(c, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	c.SerialNumber = big.NewInt(200) // two octets in DER
	if c.NotBefore.IsZero() {
		c.NotBefore, c.NotAfter = testNow.Add(-time.Minute), testNow.Add(time.Hour)
	}
	if parent == nil {
		parent = c
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// person is a template for a certificate that signs in.
func person(who pkinit.Identity) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "a person"}, KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{pkinit.EKUClient}, ExtraExtensions: who.Extensions()}
}

// withPKINIT lets certificates sign in.
func (w *world) withPKINIT() *authority {
	a := newAuthority(w.t, testCAKey())
	w.kdc.PKINIT = &PKINIT{Clients: []*x509.Certificate{a.cert}}
	k := testKDCKey()
	kdc := &authority{t: w.t, key: k}
	who := pkinit.Identity{Names: []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm)}}}
	cert := kdc.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "kdc"}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{pkinit.EKUKDC},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: who.Extensions(), NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(20, 0, 0)}, nil, k)
	w.kdc.PKINIT.Use([]*x509.Certificate{cert}, k)
	return a
}

// card is a client's certificate, and all that it may do wrong.
type card struct {
	chain []*x509.Certificate
	key   crypto.Signer
	group *pkinit.Group
	kdfs  []pkinit.OID
	token []byte

	alterPack func(*pkinit.AuthPack)
	alterReq  func(*krb5.KDCReq) // after it was signed for
	signed    func([]byte) []byte
}

func (a *authority) card(c *x509.Certificate) *card {
	key := newECKey()
	return &card{chain: []*x509.Certificate{a.sign(c, a.cert, key)}, key: key, group: pkinit.P256, kdfs: []pkinit.OID{pkinit.KDFSHA256}}
}

// request signs in with the card.
func (w *world) request(q *krb5.KDCReq, c *card) (request []byte, half *pkinit.Key) {
	w.t.Helper()
	half, public, err := c.group.NewKey(w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	body := krb5.Encode(marshalBody{q})
	sum := sha1.Sum(body)
	pack := &pkinit.AuthPack{Time: w.now, Nonce: 4242, Checksum: sum[:], Public: public, KDFs: c.kdfs, Token: c.token}
	if c.alterPack != nil {
		c.alterPack(pack)
	}
	signed, err := pkinit.Sign(pkinit.AuthData, krb5.Encode(pack), c.chain, c.key, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if c.signed != nil {
		signed = c.signed(signed)
	}
	q.PAData = append(q.PAData, krb5.PAData{Type: krb5.PAPKASReq, Value: krb5.Encode(&pkinit.ASReq{SignedAuthPack: signed})})
	if c.alterReq != nil {
		c.alterReq(q)
	}
	return krb5.Encode(q), half
}

// signIn opens the reply as a client does.
func (w *world) signIn(q *krb5.KDCReq, c *card) (*grant, etype.Key) {
	w.t.Helper()
	request, half := w.request(q, c)
	reply := w.sendRaw(request)
	var e krb5.Error
	if e.Unmarshal(reply) == nil {
		w.t.Fatalf("refused: %v", e.Code)
	}
	var rep krb5.KDCRep
	if err := rep.Unmarshal(reply); err != nil {
		w.t.Fatal(err)
	}
	value, _ := rep.PAData.Find(krb5.PAPKASRep)
	var pk pkinit.ASRep
	if err := pk.Unmarshal(value); err != nil {
		w.t.Fatal(err)
	}
	var signed pkinit.SignedData
	if err := signed.Unmarshal(pk.DHSignedData, pkinit.DHKeyData); err != nil {
		w.t.Fatal(err)
	}
	if err := signed.Verify(); err != nil {
		w.t.Fatal(err)
	}
	var info pkinit.DHKeyInfo
	if err := info.Unmarshal(signed.Content); err != nil || info.Nonce != 4242 {
		w.t.Fatalf("KDCDHKeyInfo with nonce %d: %v", info.Nonce, err)
	}
	z, err := half.Shared(info.Public)
	if err != nil {
		w.t.Fatal(err)
	}
	var key etype.Key
	if pk.KDF == "" {
		key, err = pkinit.OctetStringToKey(etype.AES256SHA1, z)
	} else {
		client := pkinit.Name{Realm: q.Realm, Principal: q.CName}
		if q.CName.Equal(anonymous) {
			client.Realm = anonymousRealm
		}
		key, err = pkinit.DeriveKey(pk.KDF, etype.AES256SHA1, z, &pkinit.Exchange{
			Client: client, Server: pkinit.Name{Realm: q.Realm, Principal: q.SName},
			ASReq: request, ASRep: value})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return w.open(reply, key, krb5.UsageASRepPart), key
}

// anna is alice's certificate, by name and SID.
func (w *world) anna() pkinit.Identity {
	alice := w.rep.BySAM("alice")
	return pkinit.Identity{UPNs: []string{alice.UPN}, SID: alice.SID.String()}
}

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
	t.Run("without a password", func(t *testing.T) {
		w := newWorld(t)
		carol := w.rep.BySAM("carol")
		c := w.withPKINIT().card(person(pkinit.Identity{SID: carol.SID.String(),
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
			who.SID = r.w.rep.BySAM("bob").SID.String()
			r.cert = person(who)
		}, expect: krb5.ErrCertificateMismatch},
		"another SID in a URI": {before: func(r *trial) {
			who := r.w.anna()
			who.URIs, who.SID = []string{"tag:microsoft.com,2022-09-14:sid:" + r.w.rep.BySAM("bob").SID.String()}, ""
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

// TestCertificateTwice: the retransmission of a request gets the same reply.
func TestCertificateTwice(t *testing.T) {
	w := newWorld(t)
	request, _ := w.request(w.asReq("alice"), w.withPKINIT().card(person(w.anna())))
	if a, b := w.sendRaw(request), w.sendRaw(request); string(a) != string(b) {
		t.Error("two replies to one request")
	}
}

// cardFiles writes alice's certificate and key, and whom she trusts, as kinit
// reads them.
func (w *world) cardFiles(dir string, ca *authority) {
	w.t.Helper()
	key := sameRSA(&stream{n: 1 << 62})
	c := person(w.anna())
	c.NotBefore, c.NotAfter = testNow, testNow.AddDate(20, 0, 0)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	kdc := w.kdc.PKINIT.own.Load().chain[0]
	for name, blocks := range map[string][]*pem.Block{
		"card.pem":     {{Type: "CERTIFICATE", Bytes: ca.sign(c, ca.cert, key).Raw}},
		"card-key.pem": {{Type: "PRIVATE KEY", Bytes: pkcs8}},
		"anchors.pem":  {{Type: "CERTIFICATE", Bytes: kdc.Raw}, {Type: "CERTIFICATE", Bytes: ca.cert.Raw}},
	} {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}
