package pkinit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"syscall"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/krb5"
)

func selfSigned(t testing.TB, key crypto.Signer, alter func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(0x80), Subject: pkix.Name{CommonName: "somebody"}, SubjectKeyId: []byte("key"),
		NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(2e9, 0)}
	if alter != nil {
		alter(c)
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return c
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signedBy(t testing.TB, key crypto.Signer, chain ...*x509.Certificate) []byte {
	t.Helper()
	b, err := Sign(AuthData, []byte("what was said"), chain, key, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignedData(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key    crypto.Signer
		expect error
	}{
		"ECDSA": {ecKey(t), nil}, "RSA": {large, nil}, "1,024 bits": {small, ErrSignature},
	} {
		cert := selfSigned(t, c.key, nil)
		other := selfSigned(t, ecKey(t), func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) })
		var s SignedData
		if err := s.Unmarshal(signedBy(t, c.key, cert, other), AuthData); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(); !errors.Is(err, c.expect) || string(s.Content) != "what was said" || s.Certificates[0].SerialNumber.Int64() != 0x80 {
			t.Errorf("%s: %v, expect: %v", name, err, c.expect)
		}
		if s.Unmarshal(signedBy(t, c.key, cert), DHKeyData) == nil {
			t.Errorf("%s: content of one type taken for another", name)
		}
	}
}

// TestSignedDataAltered changes each octet, cuts at each and repeats: nothing of
// it both verifies and says something else. (Whose certificate it is, the path
// to an authority proves.)
func TestSignedDataAltered(t *testing.T) {
	key := ecKey(t)
	good := signedBy(t, key, selfSigned(t, key, nil))
	var s SignedData
	for i := range good {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			if s.Unmarshal(bad, AuthData) == nil && s.Signed && s.Verify() == nil && string(s.Content) != "what was said" {
				t.Errorf("octet %d of %d ^ %02x: says %q", i, len(good), flip, s.Content)
			}
		}
		if s.Unmarshal(good[:i], AuthData) == nil {
			t.Errorf("cut at %d of %d: taken", i, len(good))
		}
	}
	if s.Unmarshal(append(bytes.Clone(good), 0), AuthData) == nil {
		t.Error("with something behind: taken")
	}
}

// A signature without signed attributes is over the content alone, which could
// be somebody's attributes (RFC 8551's known confusion): there is none here.
func TestNoAttributesNoSignature(t *testing.T) {
	key := ecKey(t)
	good := signedBy(t, key, selfSigned(t, key, nil))
	attrs := signedAttributes(AuthData, make([]byte, 32))
	attrs[0] = byte(der.Context(0))
	at := bytes.Index(good, attrs[:30])
	if at < 0 {
		t.Fatal("no attributes")
	}
	bad := bytes.Clone(good)
	bad[at] = byte(der.Context(5))
	if new(SignedData).Unmarshal(bad, AuthData) == nil {
		t.Error("taken")
	}
}

// TestK08 measures what crypto/x509 would sweat over: it must not get to it.
func TestK08(t *testing.T) {
	key := ecKey(t)
	leaf := selfSigned(t, key, nil)
	sans := selfSigned(t, key, func(c *x509.Certificate) {
		for i := range 10_000 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("a%d.test", i))
		}
	})
	policies := selfSigned(t, key, func(c *x509.Certificate) {
		for i := range 5_000 {
			id, err := x509.OIDFromInts([]uint64{1, 3, 6, 1, 4, 1, uint64(i)})
			if err != nil {
				t.Fatal(err)
			}
			c.Policies = append(c.Policies, id)
		}
	})
	many := []*x509.Certificate{leaf}
	for range 1000 {
		many = append(many, leaf)
	}
	names := selfSigned(t, key, func(c *x509.Certificate) {
		who := Identity{}
		for range MaxNames + 1 {
			who.UPNs = append(who.UPNs, "a@b")
		}
		c.ExtraExtensions = who.Extensions()
	})
	for name, chain := range map[string][]*x509.Certificate{
		"10,000 names": {sans}, "1,000 intermediates": many, "5,000 policies": {policies}, "many names": {names},
	} {
		b := signedBy(t, key, chain...)
		var s SignedData
		before := cpu(t)
		err := s.Unmarshal(b, AuthData)
		if err == nil {
			_, err = IdentityOf(s.Certificates[0])
		}
		if spent := cpu(t) - before; err == nil || spent > 200*time.Millisecond {
			t.Errorf("%s: %v after %v", name, err, spent)
		}
	}
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestIdentity(t *testing.T) {
	want := Identity{
		Names: []Name{{"REALM", krb5.Principal(krb5.NTEnterprise, "a@b.test")}},
		UPNs:  []string{"ä@b.test"}, SID: "S-1-5-21-1-2-3-1104", URIs: []string{"urn:uuid:1"},
	}
	c := selfSigned(t, ecKey(t), func(c *x509.Certificate) { c.ExtraExtensions = want.Extensions("dc1.test") })
	got, err := IdentityOf(c)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || c.VerifyHostname("dc1.test") != nil {
		t.Errorf("%v %+v", err, got)
	}
	uri := Identity{URIs: []string{sidURI + "S-1-5-21-1-2-3-1105"}}
	c = selfSigned(t, ecKey(t), func(c *x509.Certificate) { c.ExtraExtensions = uri.Extensions() })
	if got, err = IdentityOf(c); err != nil || got.SID != "S-1-5-21-1-2-3-1105" {
		t.Errorf("%v %+v", err, got)
	}
}

func samplePack(t testing.TB) *AuthPack {
	t.Helper()
	_, public, err := P256.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &AuthPack{Time: time.Unix(1e9, 5000).UTC(), Nonce: -1, Checksum: make([]byte, 20), Token: []byte("token"),
		Checksum2: make([]byte, 32), Checksum2Type: SHA256, Public: public, DHNonce: []byte{1}, KDFs: []OID{KDFSHA1}}
}

func TestAuthPackRoundTrip(t *testing.T) {
	a := samplePack(t)
	var got AuthPack
	b := krb5.Encode(a)
	if err := got.Unmarshal(b); err != nil || !bytes.Equal(krb5.Encode(&got), b) || !got.Time.Equal(a.Time) || got.Nonce != -1 || string(got.Token) != "token" {
		t.Errorf("%v: %+v", err, got)
	}
	for i := range b {
		if got.Unmarshal(b[:i]) == nil {
			t.Errorf("cut at %d of %d: taken", i, len(b))
		}
	}
}

// FuzzDecoders gives the same octets to each decoder: none may panic, and what
// one takes it takes again as it writes it.
func FuzzDecoders(f *testing.F) {
	key := ecKey(f)
	cert := selfSigned(f, key, func(c *x509.Certificate) {
		who := Identity{UPNs: []string{"a@b"}, SID: "S-1-5-21-1", Names: []Name{{"R", krb5.Principal(1, "a")}}}
		c.ExtraExtensions = who.Extensions("x.test")
	})
	f.Add(signedBy(f, key, cert))
	f.Add(signedBy(f, nil))
	f.Add(krb5.Encode(samplePack(f)))
	f.Add(krb5.Encode(&ASReq{SignedAuthPack: []byte("x")}))
	f.Add(krb5.Encode(&ASRep{DHSignedData: []byte("x"), KDF: KDFSHA256}))
	f.Add(krb5.Encode(&DHKeyInfo{Public: []byte{1}, Nonce: 1}))
	f.Add(cert.Extensions[len(cert.Extensions)-1].Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s SignedData
		if s.Unmarshal(b, AuthData) == nil {
			_ = s.Verify()
			if s.Signed {
				_, _ = IdentityOf(s.Certificates[0])
			}
		}
		var a AuthPack
		if a.Unmarshal(b) == nil {
			again := krb5.Encode(&a)
			var c AuthPack
			if c.Unmarshal(again) != nil || !bytes.Equal(krb5.Encode(&c), again) {
				t.Errorf("%x\n%x", b, again)
			}
			if a.Public != nil {
				_, _, _ = a.Public.Agree([]*Group{P256, P384}, bytes.NewReader(make([]byte, 4096)))
			}
		}
		var q ASReq
		_ = q.Unmarshal(b)
		var p ASRep
		_ = p.Unmarshal(b)
		var k DHKeyInfo
		_ = k.Unmarshal(b)
		var who Identity
		var d decoder
		who.alternatives(&d, b)
	})
}

// TestAgree: a half that makes no secret, or in parameters of the client's own,
// gets none of ours.
func TestAgree(t *testing.T) {
	key, public, err := Group14.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ours, shared, err := public.Agree(StrongGroups, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := key.Shared(ours); err != nil || !bytes.Equal(theirs, shared) || len(shared) != 256 {
		t.Errorf("two secrets: %v", err)
	}
	p, _ := Group14.Modulus()
	for _, y := range []*big.Int{new(big.Int), big.NewInt(1), new(big.Int).Sub(p, big.NewInt(1)), p} {
		w := der.NewWriter(nil)
		putUnsigned(w, y.Bytes())
		bad := PublicValue{Algorithm: public.Algorithm, Key: w.Bytes()}
		if _, _, err := bad.Agree(StrongGroups, rand.Reader); !errors.Is(err, ErrGroup) {
			t.Errorf("%v…: %v", y.BitLen(), err)
		}
	}
	own := PublicValue{Algorithm: public.Algorithm, Key: public.Key}
	own.Algorithm.Params = bytes.Clone(own.Algorithm.Params)
	own.Algorithm.Params[100] ^= 2
	if _, _, err := own.Agree(StrongGroups, rand.Reader); !errors.Is(err, ErrGroup) {
		t.Errorf("a prime of its own: %v", err)
	}
}
