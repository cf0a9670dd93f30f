package cred

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"skyrealm/krb5/etype"
)

var errNoLuck = errors.New("out of randomness")

func TestCheckPassword(t *testing.T) {
	for _, v := range []struct {
		password string
		expect   error
	}{
		{"", nil},
		{"x\x00y", nil},
		{strings.Repeat("x", 256), nil},
		{strings.Repeat("x", 257), ErrPasswordTooLong},
		{strings.Repeat("€", 256), nil}, // 768 bytes
		{strings.Repeat("€", 257), ErrPasswordTooLong},
		{strings.Repeat("𝄞", 128), nil}, // two code units each
		{strings.Repeat("𝄞", 128) + "x", ErrPasswordTooLong},
		{strings.Repeat("é", 257), ErrPasswordTooLong},
		{strings.Repeat("x", 10<<20), ErrPasswordTooLong},
		{"pass\xff", ErrPasswordNotUTF8},
		{"\xed\xa0\x80", ErrPasswordNotUTF8}, // half a surrogate pair
	} {
		if err := CheckPassword(v.password); !errors.Is(err, v.expect) {
			t.Errorf("%.20q (%d bytes): %v, expect %v", v.password, len(v.password), err, v.expect)
		}
	}
}

// entra-wire.md §B.
func TestNTHash(t *testing.T) {
	for password, expect := range map[string]string{
		"":                             "31D6CFE0D16AE931B73C59D7E0C089C0",
		"Pa$$w0rd":                     "92937945B518814341DE3F726500D4FF",
		"Passw0rd":                     "A87F3A337D73085C45F9416BE5787D86",
		"pässwörd-€":                   "AC552D9AE9341FF3C69606EAA9785E54",
		"correct horse battery staple": "1B9D5EFFD34AC283C8EFE2EACAEA8BBC",
	} {
		h := NTHashOf(password)
		if got := fmt.Sprintf("%X", h.Expose()); got != expect {
			t.Errorf("%q: %s, expect %s", password, got, expect)
		}
		back, err := ParseNTHash(h.Expose())
		if err != nil || !back.Equal(h) || h.IsZero() {
			t.Errorf("%q does not come back: %v", password, err)
		}
	}
	// a with a combining diaeresis is another password.
	if NTHashOf("pässwörd-€").Equal(NTHashOf("pa\u0308sswo\u0308rd-€")) {
		t.Error("passwords are normalised")
	}
	if !NTHashOf("\xff").IsZero() || !(NTHash{}).IsZero() {
		t.Error("no NT hash is not zero")
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 16), bytes.Repeat([]byte{1}, 17)} {
		if h, err := ParseNTHash(b); !errors.Is(err, ErrNTHash) || !h.IsZero() {
			t.Errorf("%x: %v", b, err)
		}
	}
	h := NTHashOf("x")
	h.Expose()[0]++
	if !h.Equal(NTHashOf("x")) || h.Equal(NTHashOf("y")) {
		t.Error("Equal, or Expose gives its own bytes away")
	}
}

// entra-wire.md §B; 1 to 3 were made by the real service's own library.
var digestVectors = []struct{ password, text string }{
	{"Pa$$w0rd", "v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;"},
	{"", "v1;PPH1_MD4,01cda06eceb9d9bc2621,1000,9d4fc778add44776555d3fa6ccb4f9637f25e34a62dbc5fa0f782ef8c762c902;"},
	{"Pa$$w0rd", "v1;PPH1_MD4,317ee9d1dec6508fa510,1000,7eaea8e1628dffee62cf319f4e1fc05254da30a1d42ff755ff352f5b13497531;"},
	{"Passw0rd", "v1;PPH1_MD4,00010203040506070809,1000,3b24b660a883037d6344a410913fc80403be6f079f77db1284c8d267e984bb48;"},
	{"pässwörd-€", "v1;PPH1_MD4,b477124de54c2030378f,1000,4fa3202140065066310625e79f7e38a42d8f8a3aee12cbac305c3f52532c2c99;"},
	{"correct horse battery staple", "v1;PPH1_MD4,000102030405060708090a0b0c0d0e0f,1000,34ed5fd39c11e3c00189e523149d493f5060e4388ed39c1ccc9f5d30a3f59480;"},
}

func TestDigestVectors(t *testing.T) {
	for _, v := range digestVectors {
		d, err := ParseDigest(v.text)
		if err != nil {
			t.Fatal(err)
		}
		if !d.Verify(v.password) || d.Verify(v.password+" ") || d.Verify("other") || d.Verify("\xff") || d.Verify(strings.Repeat("x", 257)) {
			t.Errorf("%s does not verify %q alone", v.text, v.password)
		}
		if d.Expose() != v.text {
			t.Errorf("%s comes back as %s", v.text, d.Expose())
		}
		bare, err := ParseDigest(strings.TrimSuffix(v.text, ";"))
		if err != nil || !bare.Equal(d) {
			t.Errorf("without the semicolon: %v", err)
		}
	}
	salt, _ := hex.DecodeString("181a3024085fcee2f70e")
	made, err := NewDigest(NTHashOf("Pa$$w0rd"), bytes.NewReader(salt))
	if err != nil || made.Expose() != digestVectors[0].text {
		t.Errorf("NewDigest: %s %v, expect %s", made.Expose(), err, digestVectors[0].text)
	}
	// The negative control: made from the NT hash in lower-case hex.
	wrong, err := ParseDigest("v1;PPH1_MD4,181a3024085fcee2f70e,1000,dfd0a0d6369b0879eae38f961546a10c9b58cf8cd9c5b0613b9c4c8757e4b00e;")
	if err != nil || wrong.Verify("Pa$$w0rd") || wrong.Equal(made) {
		t.Error("the negative control verifies", err)
	}
	if (Digest{}).Verify("") || !(Digest{}).IsZero() || (Digest{}).Expose() != "" {
		t.Error("the zero Digest is one")
	}
	if _, err := NewDigest(NTHash{}, rand.Reader); !errors.Is(err, ErrNTHash) {
		t.Error("a digest of no hash:", err)
	}
	if _, err := NewDigest(NTHashOf("x"), iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
}

func TestParseDigestLimits(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for text, expect := range map[string]error{
		"v1;PPH1_MD4,00,1," + hash:                                     nil,
		"v1;PPH1_MD4,AB,100000," + strings.ToUpper(hash) + ";":         nil,
		"v1;PPH1_MD4," + strings.Repeat("00", 64) + ",5," + hash + ";": nil,
		"v1;PPH1_MD4," + strings.Repeat("00", 65) + ",5," + hash + ";": ErrDigestSyntax,
		"v1;PPH1_MD4,,1000," + hash + ";":                              ErrDigestSyntax,
		"v1;PPH1_MD4,0,1000," + hash + ";":                             ErrDigestSyntax,
		"v1;PPH1_MD4,0g,1000," + hash + ";":                            ErrDigestSyntax,
		"v1;PPH1_MD4,00,0," + hash + ";":                               ErrDigestIterations,
		"v1;PPH1_MD4,00,100001," + hash + ";":                          ErrDigestIterations,
		"v1;PPH1_MD4,00,99999999999999999999999," + hash + ";":         ErrDigestIterations,
		"v1;PPH1_MD4,00,4294967297," + hash + ";":                      ErrDigestIterations,
		"v1;PPH1_MD4,00,-1," + hash + ";":                              ErrDigestSyntax,
		"v1;PPH1_MD4,00,+1," + hash + ";":                              ErrDigestSyntax,
		"v1;PPH1_MD4,00, 1," + hash + ";":                              ErrDigestSyntax,
		"v1;PPH1_MD4,00,," + hash + ";":                                ErrDigestSyntax,
		"v1;PPH1_MD4,00,1," + hash[2:] + ";":                           ErrDigestSyntax,
		"v1;PPH1_MD4,00,1," + hash + "00;":                             ErrDigestSyntax,
		"v1;PPH1_MD4,00,1," + hash + ";;":                              ErrDigestSyntax,
		"v1;PPH1_MD4,00,1," + hash + ",":                               ErrDigestSyntax,
		"v1;PPH1_MD4,00,1," + hash[1:] + "x;":                          ErrDigestSyntax,
		"v2;PPH1_MD4,00,1," + hash + ";":                               ErrDigestSyntax,
		"v1;PPH1_MD4,00,1":                                             ErrDigestSyntax,
		"v1;PPH1_MD4,":                                                 ErrDigestSyntax,
		"":                                                             ErrDigestSyntax,
		strings.Repeat("x", 1<<20):                                     ErrDigestSyntax,
	} {
		d, err := ParseDigest(text)
		if !errors.Is(err, expect) || expect != nil && !d.IsZero() {
			t.Errorf("%.60s: %v, expect %v", text, err, expect)
		}
		if err != nil && len(err.Error()) > 120 {
			t.Errorf("%.60s: the error quotes it", text)
		}
	}
}

// RFC 3962 through entra-wire.md §C5.
func TestNewLegacy(t *testing.T) {
	l, err := NewLegacy("Pa$$w0rd", "ADATUM.COMuser02")
	if err != nil {
		t.Fatal(err)
	}
	for id, expect := range map[etype.ID]string{
		18: "622fca1d12de1df65e840afd5f3b9844b18a72a82aed6e3e58c39257753fdfa8",
		17: "30666974cb729ef6bd44f8eab3296e5c",
		23: "92937945b518814341de3f726500d4ff",
	} {
		k, ok := l.Key(id)
		if !ok || k.Key.ID() != id || hex.EncodeToString(k.Key.Expose()) != expect {
			t.Errorf("%v: %x, expect %s", id, k.Key.Expose(), expect)
		}
		if id != 23 && (k.Salt != "ADATUM.COMuser02" || k.Iterations != 4096) {
			t.Errorf("%v: salt %q, %d iterations", id, k.Salt, k.Iterations)
		}
	}
	for _, id := range []etype.ID{0, 3, 19, 20} {
		if _, ok := l.Key(id); ok {
			t.Errorf("a key of %v", id)
		}
	}
	if _, ok := (Legacy{Keys: l.Keys}).Key(etype.RC4); ok {
		t.Error("type 23 without an NT hash")
	}
	if _, ok := (Legacy{Keys: []KerberosKey{{}}}).Key(0); ok {
		t.Error("the zero key is found")
	}
	if _, err := NewLegacy(strings.Repeat("x", 257), ""); !errors.Is(err, ErrPasswordTooLong) {
		t.Error(err)
	}
	if _, err := NewLegacy("\xff", ""); !errors.Is(err, ErrPasswordNotUTF8) {
		t.Error(err)
	}

	same, _ := NewLegacy("Pa$$w0rd", "ADATUM.COMuser02")
	if !l.Equal(same) {
		t.Error("not equal to itself")
	}
	for i, change := range []func(*Legacy){
		func(l *Legacy) { l.NT = NTHash{} },
		func(l *Legacy) { l.Keys = l.Keys[:1] },
		func(l *Legacy) { l.Keys[1].Salt = "" },
		func(l *Legacy) { l.Keys[1].Iterations++ },
		func(l *Legacy) { l.Keys[1].KVNO++ },
		func(l *Legacy) { l.Keys[1].Key = l.Keys[0].Key },
	} {
		other, _ := NewLegacy("Pa$$w0rd", "ADATUM.COMuser02")
		change(&other)
		if l.Equal(other) {
			t.Errorf("change %d is not seen", i)
		}
	}
}

func TestRedacted(t *testing.T) {
	nt, _ := ParseNTHash([]byte("SECRETsecretSECR"))
	d, _ := NewDigest(NTHashOf("x"), rand.Reader)
	key, _ := NewPrivateKey(rand.Reader)
	ring, _ := NewRing(rand.Reader)
	for _, v := range []any{nt, &nt, d, &d, key, &key, *ring, ring} {
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "v", v)
		j, err := json.Marshal(map[string]any{"v": v, "in": []any{v}})
		if err != nil || string(j) != `{"in":["[redacted]"],"v":"[redacted]"}` || !strings.Contains(logged.String(), `"v":"[redacted]"`) {
			t.Errorf("%T: %s %v %s", v, j, err, logged.String())
		}
		if got := fmt.Sprintf("%v%+v%#v%s%q%x%X%d", v, v, v, v, v, v, v, v); got != strings.Repeat(redacted, 8) {
			t.Errorf("%T: %s", v, got)
		}
	}
	l, _ := NewLegacy("x", "salt")
	if got := fmt.Sprintf("%+v", l); got != "{NT:[redacted] Keys:[{Key:[redacted] Salt:salt Iterations:4096 KVNO:0} {Key:[redacted] Salt:salt Iterations:4096 KVNO:0}]}" {
		t.Error(got)
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, v := range digestVectors {
		f.Add(v.text)
	}
	f.Add("v1;PPH1_MD4,00,99999999999999999999,")
	f.Add("v1;PPH1_MD4,,,;")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDigest(text)
		if err != nil {
			if !errors.Is(err, ErrDigestSyntax) && !errors.Is(err, ErrDigestIterations) || !d.IsZero() {
				t.Fatal(err)
			}
			return
		}
		back, err := ParseDigest(d.Expose())
		if err != nil || !back.Equal(d) || d.iterations > MaxIterations || len(d.salt) > maxSalt {
			t.Fatal(err)
		}
	})
}
