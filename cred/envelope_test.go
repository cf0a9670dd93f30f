package cred

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

// testEnvelopeKey is the one of testdata: an old file goes on loading.
var testEnvelopeKey = sync.OnceValue(func() EnvelopeKey {
	text, err := os.ReadFile("testdata/envelope-key.pem")
	if err != nil {
		panic(err)
	}
	k, err := ParseEnvelopePEM(text)
	if err != nil {
		panic(err)
	}
	return k
})

var otherEnvelopeTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))

var otherEnvelopeKey = sync.OnceValue(func() EnvelopeKey {
	k, err := NewEnvelopeKey("fabrikam.test", otherEnvelopeTime, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func mustEnvelope(t testing.TB, k EnvelopeKey, attribute uint32, value []byte) []byte {
	t.Helper()
	b, err := SealEnvelope(k.CertificateDER(), attribute, value, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// counting gives bytes 0, 1, 2, ...
type counting struct{ n byte }

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = c.n
		c.n++
	}
	return len(b), nil
}

// entra-wire.md §C2 and §C3: key 00..1f, IV 20..2f, Pa$$w0rd.
func TestEnvelopeVector(t *testing.T) {
	k, nt := testEnvelopeKey(), NTHashOf("Pa$$w0rd")
	b, err := SealEnvelope(k.CertificateDER(), AttrUnicodePwd, nt.Expose(), &counting{})
	if err != nil || len(b) != 356 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	thumbprint := sha1.Sum(k.CertificateDER())
	for _, v := range []struct {
		off  int
		want string
	}{
		{0, "01000000 00000000 01000000 01000000 14000000 00010000 10000000 20000000"},
		{32, hex.EncodeToString(thumbprint[:])},
		{308, "202122232425262728292a2b2c2d2e2f"},
		{324, "c2df0b42d621d6879beb31d50d7149038eac1ef4a1d694cc80b27e43d06f5539"},
	} {
		if want := unhex(t, v.want); !bytes.HasPrefix(b[v.off:], want) {
			t.Errorf("at %d: %x, expect %x", v.off, b[v.off:][:len(want)], want)
		}
	}
	if got, err := k.OpenNTHash(b); err != nil || !got.Equal(nt) {
		t.Error(err)
	}
	// Made by openssl's command alone.
	foreign := testBlob(t, "envelope-openssl.b64")
	if err := CheckEnvelope(foreign, k.Thumbprint()); err != nil {
		t.Error(err)
	}
	if got, err := k.OpenNTHash(foreign); err != nil || !got.Equal(nt) {
		t.Error("openssl's:", err)
	}
	if l, err := k.OpenLegacy(foreign, nil); err != nil || !l.Equal(Legacy{NT: nt}) {
		t.Error("openssl's:", err)
	}
	for n := range 68 {
		if _, err := SealEnvelope(k.CertificateDER(), AttrUnicodePwd, nt.Expose(), io.LimitReader(&counting{}, int64(n))); err == nil {
			t.Errorf("sealed with %d bytes of randomness", n)
		}
	}
}

func TestOpenLegacy(t *testing.T) {
	k, nt := testEnvelopeKey(), NTHashOf("Pa$$w0rd")
	legacy := mustEnvelope(t, k, AttrUnicodePwd, nt.Expose())
	stored := buildStored(4, user02Salt, user02(t))
	l, _ := NewLegacy("Pa$$w0rd", user02Salt)
	ours, err := NewUserProperties(l.Keys)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{
		"Windows": windowsBlob(t), "Samba": sambaBlob(t), "ours": ours.Marshal(), "bare": stored, "hex": []byte(hex.EncodeToString(stored)),
	} {
		supplemental := mustEnvelope(t, k, AttrSupplementalCredentials, value)
		if v, err := k.OpenSupplemental(supplemental); err != nil || !bytes.Equal(v, value) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := k.OpenLegacy(legacy, supplemental); err != nil || !got.Equal(l) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := k.OpenLegacy(nil, supplemental); err != nil || !got.Equal(Legacy{Keys: l.Keys}) {
			t.Errorf("%s without NT hash: %v", name, err)
		}
	}
	good := mustEnvelope(t, k, AttrSupplementalCredentials, windowsBlob(t))
	seal := func(attribute uint32, value []byte) []byte { return mustEnvelope(t, k, attribute, value) }
	for name, v := range map[string]struct{ legacy, supplemental []byte }{
		"nothing":                  {nil, nil},
		"swapped":                  {good, legacy},
		"NT hash of zeros":         {seal(AttrUnicodePwd, make([]byte, 16)), good},
		"NT hash of 15 bytes":      {seal(AttrUnicodePwd, make([]byte, 15)), good},
		"NT hash of 32 bytes":      {seal(AttrUnicodePwd, bytes.Repeat([]byte{1}, 32)), good},
		"no value":                 {seal(AttrUnicodePwd, nil), good},
		"another attribute":        {seal(AttrUnicodePwd^1, nt.Expose()), good},
		"no properties, no hash":   {nil, seal(AttrSupplementalCredentials, empty111())},
		"garbage in good envelope": {legacy, seal(AttrSupplementalCredentials, []byte("garbage"))},
		"too many iterations":      {legacy, seal(AttrSupplementalCredentials, buildStored(4, "s", []rawKey{{18, 1<<20 + 1, make([]byte, 32)}}))},
		"another key":              {mustEnvelope(t, otherEnvelopeKey(), AttrUnicodePwd, nt.Expose()), nil},
	} {
		if got, err := k.OpenLegacy(v.legacy, v.supplemental); err != ErrUnsealable || !got.Equal(Legacy{}) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if got, err := k.OpenLegacy(legacy, seal(AttrSupplementalCredentials, empty111())); err != nil || !got.Equal(Legacy{NT: nt}) {
		t.Error("an account without Kerberos keys:", err)
	}
	if _, err := (EnvelopeKey{}).OpenNTHash(legacy); err != ErrUnsealable {
		t.Error("zero key:", err)
	}
}

func TestCheckEnvelope(t *testing.T) {
	k := testEnvelopeKey()
	good := mustEnvelope(t, k, AttrUnicodePwd, NTHashOf("x").Expose())
	with := func(off int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[off:], v)
		return b
	}
	// The largest is taken, one more block is not.
	room := make([]byte, MaxEnvelope-envData-envFrame-16)
	largest := mustEnvelope(t, k, AttrSupplementalCredentials, room)
	if _, err := SealEnvelope(k.CertificateDER(), AttrSupplementalCredentials, append(room, 0), rand.Reader); err != ErrSealedSize {
		t.Error("one byte too many:", err)
	}
	otherThumb := otherEnvelopeKey().Thumbprint()
	cases := map[string]struct {
		b      []byte
		expect error
	}{
		"good":          {good, nil},
		"largest":       {largest, nil},
		"oversize":      {append(bytes.Clone(largest), make([]byte, 1+MaxEnvelope-len(largest))...), ErrSealedSize},
		"a megabyte":    {make([]byte, 1<<20), ErrSealedSize},
		"version":       {with(0, 2), ErrSealedSyntax},
		"reserved":      {with(4, 1), ErrSealedSyntax},
		"key algorithm": {with(8, 2), ErrSealedSyntax},
		"algorithm":     {with(12, 2), ErrSealedSyntax},
		"thumb size":    {with(16, 32), ErrSealedSyntax},
		"key size":      {with(20, 0, 2), ErrSealedSyntax},
		"IV size":       {with(24, 12), ErrSealedSyntax},
		"data size":     {with(28, 16), ErrSealedSyntax},
		"huge data":     {with(28, 255, 255, 255, 255), ErrSealedSyntax},
		"half a block":  {with(28, 31)[:len(good)-1], ErrSealedSyntax},
		"no data":       {with(28, 0)[:envData], ErrSealedSyntax},
		"thumbprint":    {with(32, otherThumb[:]...), ErrSealedKey},
	}
	for name, v := range cases {
		if err := CheckEnvelope(v.b, k.Thumbprint()); err != v.expect {
			t.Errorf("%s: %v, expect %v", name, err, v.expect)
		}
		if _, err := k.OpenNTHash(v.b); v.expect != nil && err != ErrUnsealable {
			t.Errorf("%s: opens with %v", name, err)
		}
	}
	// Under another key's name it is not even tried; under this key's name a blob
	// for another fails inside.
	swapped := mustEnvelope(t, otherEnvelopeKey(), AttrUnicodePwd, NTHashOf("x").Expose())
	thumbprint := k.Thumbprint()
	copy(swapped[32:], thumbprint[:])
	if err := CheckEnvelope(swapped, thumbprint); err != nil {
		t.Error(err)
	}
	if _, err := k.OpenNTHash(swapped); err != ErrUnsealable {
		t.Error("swapped thumbprint:", err)
	}
	// An RSA part that says nothing must not stand for the key that opening goes on
	// with: then anyone could seal without the certificate.
	zeros, err := SealEnvelope(k.CertificateDER(), AttrUnicodePwd, NTHashOf("x").Expose(), bytes.NewReader(make([]byte, 68)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenNTHash(zeros); err != nil {
		t.Error("a key of zeros:", err)
	}
	clear(zeros[envKey:envIV])
	if _, err := k.OpenNTHash(zeros); err != ErrUnsealable {
		t.Error("a key of zeros without RSA:", err)
	}
	if _, err := (EnvelopeKey{}).OpenNTHash(with(32, make([]byte, 20)...)); err != ErrUnsealable {
		t.Error("no key:", err)
	}
	if n := testing.AllocsPerRun(100, func() { CheckEnvelope(good, thumbprint) }); n != 0 {
		t.Errorf("CheckEnvelope allocates %v times", n)
	}
}

func TestEnvelopeTruncated(t *testing.T) {
	k := testEnvelopeKey()
	for _, b := range [][]byte{mustEnvelope(t, k, AttrUnicodePwd, NTHashOf("x").Expose()), mustEnvelope(t, k, AttrSupplementalCredentials, windowsBlob(t))} {
		for n := range b {
			cut := b[:n:n]
			if err := CheckEnvelope(cut, k.Thumbprint()); err != ErrSealedSyntax {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if n <= envData || (n-envData)%16 != 0 {
				continue
			}
			cut = bytes.Clone(cut) // and with a size that is right
			binary.LittleEndian.PutUint32(cut[28:], uint32(n-envData))
			if _, err := k.OpenLegacy(nil, cut); err != ErrUnsealable {
				t.Fatalf("%d bytes: %v", n, err)
			}
		}
	}
}

// The real format authenticates nothing (see the envelope's comment). This says
// what that leaves to someone who changes a byte.
func TestEnvelopeFlipped(t *testing.T) {
	k, nt := testEnvelopeKey(), NTHashOf("Pa$$w0rd")
	legacy := mustEnvelope(t, k, AttrUnicodePwd, nt.Expose())
	for i := range legacy {
		b := bytes.Clone(legacy)
		bit := byte(1) << (i % 8)
		b[i] ^= bit
		got, err := k.OpenNTHash(b)
		if i >= envIV+envFrame && i < envData { // CBC: the same bit of the first block
			want := nt.Expose()
			want[i-envIV-envFrame] ^= bit
			if err != nil || !bytes.Equal(got.Expose(), want) {
				t.Errorf("byte %d: %v", i, err)
			}
		} else if err != ErrUnsealable || !got.IsZero() {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	// The keys of USER_PROPERTIES don't change unnoticed: to turn a bit of a block
	// makes noise of the block before, and noise is no hex. They can get lost, with
	// their property's name.
	// Below the RSA, of which the hash's envelope has shown all.
	supplemental, err := SealEnvelope(k.CertificateDER(), AttrSupplementalCredentials, windowsBlob(t), &counting{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := NewLegacy("Pa$$w0rd", user02Salt)
	if err != nil {
		t.Fatal(err)
	}
	aesKey := make([]byte, 32)
	(&counting{}).Read(aesKey)
	for i := envIV; i < len(supplemental); i++ {
		for bit := range 8 {
			b := bytes.Clone(supplemental)
			b[i] ^= 1 << bit
			value, err := openFrame(aesKey, 1, b[envIV:envData], b[envData:], AttrSupplementalCredentials)
			if err != nil {
				continue
			}
			if keys, err := supplementalKeys(value); err == nil && len(keys) > 0 {
				if !(Legacy{Keys: keys}).Equal(Legacy{Keys: whole.Keys}) {
					t.Errorf("byte %d: other keys", i)
				}
			}
		}
	}
}

// sealPlain encrypts blocks that are not a frame with its padding.
func sealPlain(key, iv, plain []byte) []byte {
	out := bytes.Clone(plain)
	cipher.NewCBCEncrypter(newAES(key), iv).CryptBlocks(out, out)
	return out
}

func TestOpenFrame(t *testing.T) {
	key, iv := make([]byte, 32), make([]byte, 16)
	head := func(size uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, AttrUnicodePwd), size)
	}
	pad := func(b []byte, p ...byte) []byte { return append(b, p...) }
	times := func(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }
	for name, v := range map[string]struct {
		plain []byte
		value []byte // nil: refused
	}{
		"empty value":         {pad(head(0), times(8, 8)...), []byte{}},
		"seven bytes":         {pad(head(7), 1, 2, 3, 4, 5, 6, 7, 1), []byte{1, 2, 3, 4, 5, 6, 7}},
		"a block of padding":  {pad(pad(head(8), times(9, 8)...), times(16, 16)...), times(9, 8)},
		"padding 0":           {pad(head(8), times(0, 8)...), nil},
		"padding 17":          {pad(pad(head(7), times(17, 8)...), times(17, 16)...), nil},
		"padding 255":         {pad(head(0), times(255, 8)...), nil},
		"first of padding":    {pad(head(0), 9, 8, 8, 8, 8, 8, 8, 8), nil},
		"middle of padding":   {pad(head(0), 8, 8, 8, 9, 8, 8, 8, 8), nil},
		"size by one":         {pad(head(1), times(8, 8)...), nil},
		"size of 2^32-1":      {pad(head(1<<32-1), times(8, 8)...), nil},
		"size of -8":          {times(16, 16), nil},
		"padding in the size": {pad(head(0)[:4], times(12, 12)...), nil},
	} {
		got, err := openFrame(key, 1, iv, sealPlain(key, iv, v.plain), AttrUnicodePwd)
		if v.value == nil && err != ErrUnsealable || v.value != nil && (err != nil || !bytes.Equal(got, v.value)) {
			t.Errorf("%s: %x %v", name, got, err)
		}
		if got, err := openFrame(key, 0, iv, sealPlain(key, iv, v.plain), AttrUnicodePwd); err != ErrUnsealable || got != nil {
			t.Errorf("%s: opens although RSA said no", name)
		}
	}
	// Padding that reaches into the frame, and a size that agrees with it.
	for p := range 256 {
		plain := append(head(uint32(8-p)), times(byte(p), 8)...)
		for i := 16 - min(p, 16); i < 8; i++ {
			plain[i] = byte(p)
		}
		binary.LittleEndian.PutUint32(plain[4:], uint32(8-p))
		for _, attribute := range []uint32{AttrUnicodePwd, binary.LittleEndian.Uint32(plain)} {
			got, err := openFrame(key, 1, iv, sealPlain(key, iv, plain), attribute)
			if wrong := p == 0 || p > 8; wrong && err != ErrUnsealable || !wrong && err != nil {
				t.Errorf("padding %d: %x %v", p, got, err)
			}
		}
	}
}

func FuzzCheckEnvelope(f *testing.F) {
	k := testEnvelopeKey()
	b, err := SealEnvelope(k.CertificateDER(), AttrUnicodePwd, NTHashOf("x").Expose(), &counting{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:200])
	f.Fuzz(func(t *testing.T, b []byte) {
		err := CheckEnvelope(b, k.Thumbprint())
		if err != nil && err != ErrSealedSize && err != ErrSealedSyntax && err != ErrSealedKey {
			t.Fatal(err)
		}
		if _, open := k.open(b, AttrUnicodePwd); open != nil && open != ErrUnsealable || open == nil && err != nil {
			t.Fatal(open, err)
		}
	})
}

func FuzzOpenFrame(f *testing.F) {
	key, iv := make([]byte, 32), make([]byte, 16)
	head := unhex(f, "5a00090010000000")
	f.Add(append(append(head, NTHashOf("x").Expose()...), bytes.Repeat([]byte{8}, 8)...), AttrUnicodePwd)
	f.Add(bytes.Repeat([]byte{16}, 16), uint32(0x10101010))
	f.Add(append(unhex(f, "10101010f8ffffff"), bytes.Repeat([]byte{16}, 8)...), uint32(0x10101010))
	f.Fuzz(func(t *testing.T, plain []byte, attribute uint32) {
		plain = plain[:len(plain)/16*16]
		if len(plain) == 0 {
			return
		}
		value, err := openFrame(key, 1, iv, sealPlain(key, iv, plain), attribute)
		if err != nil {
			if err != ErrUnsealable || value != nil {
				t.Fatal(err)
			}
			return
		}
		// What opens is what sealing makes.
		b := binary.LittleEndian.AppendUint32(nil, attribute)
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(value))), value...)
		pad := 16 - len(b)%16
		if b = append(b, bytes.Repeat([]byte{byte(pad)}, pad)...); !bytes.Equal(b, plain) {
			t.Fatalf("%x opens as %x", plain, value)
		}
	})
}

func BenchmarkSealEnvelope(b *testing.B) {
	cert, nt := testEnvelopeKey().CertificateDER(), NTHashOf("x").Expose()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SealEnvelope(cert, AttrUnicodePwd, nt, rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckEnvelope(b *testing.B) {
	k := testEnvelopeKey()
	blob := mustEnvelope(b, k, AttrUnicodePwd, NTHashOf("x").Expose())
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckEnvelope(blob, k.Thumbprint()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenLegacy(b *testing.B) {
	k := testEnvelopeKey()
	legacy := mustEnvelope(b, k, AttrUnicodePwd, NTHashOf("x").Expose())
	supplemental := mustEnvelope(b, k, AttrSupplementalCredentials, windowsBlob(b))
	wrongRSA, wrongPad := bytes.Clone(legacy), bytes.Clone(legacy)
	wrongRSA[envKey] ^= 1
	wrongPad[len(legacy)-1] ^= 1
	for _, v := range []struct {
		name                 string
		legacy, supplemental []byte
		want                 error
	}{
		{"both", legacy, supplemental, nil},
		{"NT hash", legacy, nil, nil},
		{"wrong RSA", wrongRSA, nil, ErrUnsealable}, // these two take as long as the one before
		{"wrong padding", wrongPad, nil, ErrUnsealable},
	} {
		b.Run(v.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.OpenLegacy(v.legacy, v.supplemental); err != v.want {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLegacyFrom(b *testing.B) {
	nt, blob := NTHashOf("x"), testBlob(b, "samba417-changed.b64")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LegacyFrom(nt, blob); err != nil {
			b.Fatal(err)
		}
	}
}
