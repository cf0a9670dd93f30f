package kdc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
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
	return pkinit.Identity{UPNs: []string{alice.UPN}, SID: alice.SID().String()}
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
