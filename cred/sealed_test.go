package cred

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-jose/go-jose/v4"

	"skyrealm/krb5/etype"
)

var testBinding = Binding{Tenant: "5b0b7d2e-tenant", Subject: "YW5jaG9y", Version: 1_795_000_000_123_456}

func testKey(t testing.TB) PrivateKey {
	t.Helper()
	key, err := NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testLegacy(t testing.TB) Legacy {
	t.Helper()
	l, err := NewLegacy("pässwörd-€", "CONTOSO.TESTüser<&>")
	if err != nil {
		t.Fatal(err)
	}
	l.Keys[0].KVNO = 7
	return l
}

func mustSeal(t testing.TB, p PublicKey, b Binding, l Legacy) Sealed {
	t.Helper()
	s, err := p.Seal(b, l, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpen(t *testing.T) {
	key, l := testKey(t), testLegacy(t)
	for name, l := range map[string]Legacy{
		"all":     l,
		"NT hash": {NT: l.NT},
		"keys":    {Keys: l.Keys},
		"all types": {NT: l.NT, Keys: append(l.Keys[:2:2], func() (ks []KerberosKey) {
			for _, id := range []etype.ID{19, 20} {
				k, _ := etype.Random(id, rand.Reader)
				ks = append(ks, KerberosKey{Key: k, Salt: strings.Repeat("s", maxKeySalt), Iterations: etype.MaxIterations, KVNO: 1<<32 - 1})
			}
			return ks
		}()...)},
	} {
		s := mustSeal(t, key.Public(), testBinding, l)
		if err := CheckSealed(s, key.Public().KeyID()); err != nil {
			t.Errorf("%s: CheckSealed: %v", name, err)
		}
		got, err := key.Open(testBinding, s)
		if err != nil || !got.Equal(l) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	// The same randomness gives the same text: nothing else goes in.
	entropy := make([]byte, 100)
	rand.Read(entropy)
	s1, err1 := key.Public().Seal(testBinding, l, bytes.NewReader(entropy))
	s2, err2 := key.Public().Seal(testBinding, l, bytes.NewReader(entropy))
	if err1 != nil || err2 != nil || s1 != s2 {
		t.Error("the randomness is not the injected one:", err1, err2)
	}
	for n := range 44 {
		if _, err := key.Public().Seal(testBinding, l, bytes.NewReader(entropy[:n])); err == nil {
			t.Errorf("sealed with %d bytes of randomness", n)
		}
	}
}

// A blob opens for the one user, tenant and version that it was made for.
func TestBindingSwap(t *testing.T) {
	key, l := testKey(t), testLegacy(t)
	s := mustSeal(t, key.Public(), testBinding, l)
	for name, change := range map[string]func(*Binding){
		"another tenant": func(b *Binding) { b.Tenant = "other" },
		"another user":   func(b *Binding) { b.Subject = "b3RoZXI=" },
		"a newer version (a rollback to this one)": func(b *Binding) { b.Version++ },
		"fields shifted": func(b *Binding) { b.Tenant += b.Subject[:1]; b.Subject = b.Subject[1:] },
		"no tenant":      func(b *Binding) { b.Tenant = "" },
		"no subject":     func(b *Binding) { b.Subject = "" },
	} {
		b := testBinding
		change(&b)
		if got, err := key.Open(b, s); err != ErrUnsealable || !got.Equal(Legacy{}) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if _, err := testKey(t).Open(testBinding, s); err != ErrUnsealable {
		t.Error("another key:", err)
	}
	if _, err := (PrivateKey{}).Open(testBinding, s); err != ErrUnsealable {
		t.Error("no key:", err)
	}
}

// Every character of a blob matters.
func TestOpenRefusesChanges(t *testing.T) {
	key := testKey(t)
	s := []byte(mustSeal(t, key.Public(), testBinding, testLegacy(t)))
	for i := range s {
		old := s[i]
		for _, c := range []byte("AB-.{") {
			if c == old {
				continue
			}
			s[i] = c
			if _, err := key.Open(testBinding, Sealed(s)); err != ErrUnsealable {
				t.Fatalf("character %d as %q: %v", i, c, err)
			}
		}
		s[i] = old
		if _, err := key.Open(testBinding, Sealed(s[:i])); err != ErrUnsealable {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
	if _, err := key.Open(testBinding, Sealed(s)+"A"); err != ErrUnsealable {
		t.Error(err)
	}
}

func TestSealLimits(t *testing.T) {
	p, l := testKey(t).Public(), testLegacy(t)
	rc4, _ := etype.Random(etype.RC4, rand.Reader)
	long := KerberosKey{Key: l.Keys[0].Key, Salt: strings.Repeat("x", maxKeySalt)}
	many := func(n int, k KerberosKey) (ks []KerberosKey) {
		for range n {
			ks = append(ks, k)
		}
		return ks
	}
	with := func(change func(*KerberosKey)) Legacy {
		k := l.Keys[0]
		change(&k)
		return Legacy{Keys: []KerberosKey{k}}
	}
	for name, v := range map[string]struct {
		l      Legacy
		b      Binding
		expect error
	}{
		"nothing":        {Legacy{}, testBinding, ErrLegacy},
		"16 keys":        {Legacy{Keys: many(16, l.Keys[0])}, testBinding, nil},
		"17 keys":        {Legacy{Keys: many(17, l.Keys[0])}, testBinding, ErrLegacy},
		"no key":         {with(func(k *KerberosKey) { k.Key = etype.Key{} }), testBinding, ErrLegacy},
		"type 23":        {with(func(k *KerberosKey) { k.Key = rc4 }), testBinding, ErrLegacy},
		"salt":           {with(func(k *KerberosKey) { k.Salt = strings.Repeat("x", maxKeySalt+1) }), testBinding, ErrLegacy},
		"salt not UTF-8": {with(func(k *KerberosKey) { k.Salt = "\xff" }), testBinding, ErrLegacy},
		"iterations":     {with(func(k *KerberosKey) { k.Iterations = etype.MaxIterations + 1 }), testBinding, ErrLegacy},
		"size":           {Legacy{Keys: many(16, long)}, testBinding, ErrSealedSize},
		"no tenant":      {l, Binding{Subject: "x"}, ErrBinding},
		"no subject":     {l, Binding{Tenant: "x"}, ErrBinding},
		"binding UTF-8":  {l, Binding{Tenant: "x", Subject: "\xff"}, ErrBinding},
	} {
		s, err := p.Seal(v.b, v.l, rand.Reader)
		if !errors.Is(err, v.expect) || (err == nil) == (s == "") {
			t.Errorf("%s: %v, expect %v", name, err, v.expect)
		}
	}
	if _, err := (PublicKey{}).Seal(testBinding, l, rand.Reader); !errors.Is(err, ErrPublicKey) {
		t.Error(err)
	}
	if _, err := p.Seal(testBinding, l, iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
	zeros := bytes.NewReader(make([]byte, 1000))
	if _, err := p.Seal(testBinding, l, zeros); err == nil {
		t.Error("sealed with the scalar 0")
	}
}

func joseRecipient(t testing.TB, p PublicKey) jose.Recipient {
	t.Helper()
	var k jose.JSONWebKey
	j, err := p.JWK()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	return jose.Recipient{Algorithm: jose.ECDH_ES, Key: k.Key, KeyID: k.KeyID}
}

func josePrivate(t testing.TB, key PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*ecdsa.PrivateKey)
}

// joseSeal is the sealing of an agent that was written with a JOSE library.
func joseSeal(t testing.TB, p PublicKey, plain []byte, o *jose.EncrypterOptions) Sealed {
	t.Helper()
	enc, err := jose.NewEncrypter(jose.A256GCM, joseRecipient(t, p), o)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := enc.Encrypt(plain)
	if err != nil {
		t.Fatal(err)
	}
	s, err := obj.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return Sealed(s)
}

func TestAgainstGoJose(t *testing.T) {
	key, l := testKey(t), testLegacy(t)
	obj, err := jose.ParseEncryptedCompact(string(mustSeal(t, key.Public(), testBinding, l)),
		[]jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := obj.Decrypt(josePrivate(t, key))
	if err != nil || obj.Header.KeyID != key.Public().KeyID() {
		t.Fatal(err, obj.Header.KeyID)
	}
	if got, err := unmarshalPayload(plain, testBinding); err != nil || !got.Equal(l) {
		t.Errorf("go-jose reads %s %v", plain, err)
	}

	for name, o := range map[string]*jose.EncrypterOptions{
		"plain": nil, "typ": (&jose.EncrypterOptions{}).WithType("JWE").WithContentType("json"),
	} {
		s := joseSeal(t, key.Public(), plain, o)
		if err := CheckSealed(s, key.Public().KeyID()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := key.Open(testBinding, s); err != nil || !got.Equal(l) {
			t.Errorf("%s: we read %v %v", name, got, err)
		}
	}
	compressed := joseSeal(t, key.Public(), plain, &jose.EncrypterOptions{Compression: jose.DEFLATE})
	if err := CheckSealed(compressed, key.Public().KeyID()); !errors.Is(err, ErrSealedSyntax) {
		t.Error("compressed:", err)
	}
}

// What an authenticated but wrong plaintext can be: anyone seals.
func TestOpenRefusesPayloads(t *testing.T) {
	key := testKey(t)
	good := `{"v":1,"tid":"t","sub":"s","ver":5,"nt":"AQEBAQEBAQEBAQEBAQEBAQ==","keys":[{"etype":17,"salt":"x","iterations":1,"kvno":1,"key":"AQEBAQEBAQEBAQEBAQEBAQ=="}]}`
	b := Binding{"t", "s", 5}
	if _, err := key.Open(b, joseSeal(t, key.Public(), []byte(good), nil)); err != nil {
		t.Fatal(err)
	}
	for _, v := range [][2]string{
		{`"v":1`, `"v":2`},
		{`"v":1`, `"v":1,"x":1`},
		{`"v":1,`, ``},
		{`"ver":5`, `"ver":5.5`},
		{`"ver":5`, `"ver":"5"`},
		{`"nt":"AQ`, `"nt":"AQEB`},
		{`"nt":"AQEBAQEBAQEBAQEBAQEBAQ=="`, `"nt":""`},
		{`"nt":"AQEBAQEBAQEBAQEBAQEBAQ=="`, `"nt":"AAAAAAAAAAAAAAAAAAAAAA=="`},
		{`"etype":17`, `"etype":18`},
		{`"etype":17`, `"etype":3`},
		{`"etype":17`, `"etype":23`},
		{`"etype":17`, `"etype":17,"y":0`},
		{`"salt":"x"`, `"salt":"` + strings.Repeat("x", 513) + `"`},
		{`"iterations":1`, `"iterations":1048577`},
		{`"iterations":1`, `"iterations":-1`},
		{`"kvno":1`, `"kvno":4294967296`},
		{`}]}`, `}]}{}`},
		{`}]}`, `}]} x`},
		{`}]}`, `}]`},
		{good, ``},
		{good, `null`},
		{good, `[]`},
		{good, `{"v":1,"tid":"t","sub":"s","ver":5}`},
		{good, `{"v":1,"tid":"t","sub":"s","ver":5,"keys":[` + strings.TrimSuffix(strings.Repeat(`{},`, 17), ",") + `]}`},
	} {
		bad := strings.Replace(good, v[0], v[1], 1)
		if bad == good {
			t.Fatalf("%q is not in it", v[0])
		}
		if got, err := key.Open(b, joseSeal(t, key.Public(), []byte(bad), nil)); err != ErrUnsealable || !got.Equal(Legacy{}) {
			t.Errorf("%.200s: %v %v", bad, got, err)
		}
	}
}

func TestCheckSealed(t *testing.T) {
	key := testKey(t)
	kid := key.Public().KeyID()
	s := string(mustSeal(t, key.Public(), testBinding, testLegacy(t)))
	header, rest, _ := strings.Cut(s, ".")
	raw, _ := b64.DecodeString(header)
	parts := strings.Split(s, ".")
	with := func(old, new string) string {
		changed := strings.Replace(string(raw), old, new, 1)
		if changed == string(raw) {
			t.Fatalf("%q is not in %s", old, raw)
		}
		return b64.EncodeToString([]byte(changed)) + "." + rest
	}
	part := func(i int, text string) string {
		p := append([]string(nil), parts...)
		p[i] = text
		return strings.Join(p, ".")
	}
	for name, v := range map[string]struct {
		s      string
		expect error
	}{
		"good":            {s, nil},
		"white space":     {with(`{"alg":`, " {\n\t\"alg\" :\r "), nil},
		"other kid":       {with(kid, kid[1:]+"A"), ErrSealedKey},
		"no kid":          {with(`,"kid":"`+kid+`"`, ``), ErrSealedKey},
		"two kids":        {with(`"kid"`, `"kid":"`+kid+`","kid"`), ErrSealedSyntax},
		"two empty algs":  {with(`{"alg"`, `{"alg":"","alg"`), ErrSealedSyntax},
		"two epks":        {with(`"epk"`, `"epk":{},"epk"`), ErrSealedSyntax},
		"key wrapping":    {with(`ECDH-ES`, `ECDH-ES+A256KW`), ErrSealedSyntax},
		"dir":             {with(`ECDH-ES`, `dir`), ErrSealedSyntax},
		"A128GCM":         {with(`A256GCM`, `A128GCM`), ErrSealedSyntax},
		"crit":            {with(`"kid"`, `"crit":["exp"],"kid"`), ErrSealedSyntax},
		"zip":             {with(`"kid"`, `"zip":"DEF","kid"`), ErrSealedSyntax},
		"apu":             {with(`"kid"`, `"apu":"QQ","kid"`), ErrSealedSyntax},
		"epk with d":      {with(`"kty"`, `"d":"AA","kty"`), ErrSealedSyntax},
		"other curve":     {with(`P-256`, `P-384`), ErrSealedSyntax},
		"escape":          {with(`ECDH-ES`, `\u0045CDH-ES`), ErrSealedSyntax},
		"control":         {with(`ECDH-ES`, "ECDH-ES\x00"), ErrSealedSyntax},
		"number":          {with(`"ECDH-ES"`, `1`), ErrSealedSyntax},
		"after the end":   {with(`"}`, `"}x`), ErrSealedSyntax},
		"trailing comma":  {with(kid+`"`, kid+`",`), ErrSealedSyntax},
		"not JSON":        {"AAAA." + rest, ErrSealedSyntax},
		"empty header":    {"." + rest, ErrSealedSyntax},
		"header too long": {b64.EncodeToString(append(bytes.Repeat([]byte(" "), 800), raw...)) + "." + rest, ErrSealedSyntax},
		"encrypted key":   {part(1, "AAAA"), ErrSealedSyntax},
		"short nonce":     {part(2, parts[2][1:]), ErrSealedSyntax},
		"no text":         {part(3, ""), ErrSealedSyntax},
		"text not base64": {part(3, parts[3]+"="), ErrSealedSyntax},
		"short tag":       {part(4, parts[4][1:]), ErrSealedSyntax},
		"six parts":       {s + ".", ErrSealedSyntax},
		"four parts":      {strings.Join(parts[:4], "."), ErrSealedSyntax},
		"empty":           {"", ErrSealedSyntax},
		"too long":        {s + strings.Repeat("A", MaxSealed), ErrSealedSize},
		"JSON form":       {`{"protected":"` + parts[0] + `"}`, ErrSealedSyntax},
	} {
		if err := CheckSealed(Sealed(v.s), kid); !errors.Is(err, v.expect) {
			t.Errorf("%s: %v, expect %v", name, err, v.expect)
		}
		if _, err := key.Open(testBinding, Sealed(v.s)); v.expect != nil && err != ErrUnsealable {
			t.Errorf("%s: Open: %v", name, err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { CheckSealed(Sealed(s), kid) }); n != 0 {
		t.Errorf("CheckSealed allocates %v times", n)
	}
}

// fuzzKey is the same in every process, so that seeds keep their meaning.
func fuzzKey(f *testing.F) PrivateKey {
	key, err := NewPrivateKey(bytes.NewReader(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		f.Fatal(err)
	}
	return key
}

func fuzzSealed(f *testing.F, key PrivateKey) {
	l, _ := NewLegacy("x", "salt")
	s, err := key.Public().Seal(testBinding, l, bytes.NewReader(bytes.Repeat([]byte{9}, 100)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(s))
	f.Add(string(s[:len(s)/2]))
	f.Add("....")
	header, rest, _ := strings.Cut(string(s), ".")
	raw, _ := b64.DecodeString(header)
	for _, h := range []string{`{}`, `{"epk":{`, `{"alg":"ECDH-ES","epk":{}}`, string(raw) + " ", `{"a`} {
		f.Add(b64.EncodeToString([]byte(h)) + "." + rest)
	}
}

func FuzzOpen(f *testing.F) {
	key := fuzzKey(f)
	fuzzSealed(f, key)
	f.Fuzz(func(t *testing.T, s string) {
		l, err := key.Open(testBinding, Sealed(s))
		if err != nil && (err != ErrUnsealable || !l.Equal(Legacy{})) {
			t.Fatal(err)
		}
		if err == nil && (l.check() != nil || CheckSealed(Sealed(s), key.Public().KeyID()) != nil) {
			t.Fatal("opened what CheckSealed refuses, or beyond the limits")
		}
	})
}

func FuzzCheckSealed(f *testing.F) {
	key := fuzzKey(f)
	fuzzSealed(f, key)
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckSealed(Sealed(s), key.Public().KeyID())
		if err != nil {
			if err != ErrSealedSize && err != ErrSealedSyntax && err != ErrSealedKey {
				t.Fatal(err)
			}
			return
		}
		// What passes is what encoding/json reads in the same way.
		header, _, _ := strings.Cut(s, ".")
		raw, _ := b64.DecodeString(header)
		var h struct{ Alg, Enc, Kid string }
		if json.Unmarshal(raw, &h) != nil || h.Alg != sealAlg || h.Enc != sealEnc || h.Kid != key.Public().KeyID() {
			t.Fatalf("%s", raw)
		}
	})
}

func FuzzOpenPayload(f *testing.F) {
	l, _ := NewLegacy("x", "salt")
	plain, _ := marshalPayload(testBinding, l)
	f.Add(plain)
	f.Add([]byte(fmt.Sprintf(`{"v":1,"tid":%q,"sub":%q,"ver":%d,"keys":[{"etype":17,"key":""}]}`, testBinding.Tenant, testBinding.Subject, testBinding.Version)))
	f.Fuzz(func(t *testing.T, plain []byte) {
		l, err := unmarshalPayload(plain, testBinding)
		if err != nil && err != ErrUnsealable || err == nil && l.check() != nil {
			t.Fatal(err)
		}
	})
}
