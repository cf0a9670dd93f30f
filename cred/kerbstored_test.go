package cred

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"skyrealm/krb5/etype"
)

// rawKey is an entry of stored keys.
type rawKey struct {
	kind, rounds uint32
	key          []byte
}

// buildStored writes stored keys as Windows lays them out, an empty entry after
// all others. groups are the current keys, for revision 4 those of services, old
// and older ones. It shares nothing with marshalStored.
func buildStored(revision uint16, salt string, groups ...[]rawKey) []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, revision)
	b = le.AppendUint16(b, 0)
	entries := 1
	for i := range map[uint16]int{3: 2, 4: 4}[revision] {
		n := 0
		if i < len(groups) {
			n = len(groups[i])
		}
		b = le.AppendUint16(b, uint16(n))
		entries += n
	}
	head, size := 16, 20
	if revision == 4 {
		head, size = 24, 24
	}
	text := appendUTF16(nil, salt)
	at := head + entries*size
	b = le.AppendUint16(b, uint16(len(text)))
	b = le.AppendUint16(b, uint16(len(text)))
	b = le.AppendUint32(b, uint32(at))
	if revision == 4 {
		b = le.AppendUint32(b, 4096)
	}
	at += len(text)
	var values []byte
	for _, k := range slices.Concat(groups...) {
		b = append(b, make([]byte, 8)...)
		if revision == 4 {
			b = le.AppendUint32(b, k.rounds)
		}
		b = le.AppendUint32(b, k.kind)
		b = le.AppendUint32(b, uint32(len(k.key)))
		b = le.AppendUint32(b, uint32(at+len(values)))
		values = append(values, k.key...)
	}
	return append(append(append(b, make([]byte, size)...), text...), values...)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const user02Salt = "ADATUM.COMuser02"

// user02 is the current keys of entra-wire.md §C5: Pa$$w0rd.
func user02(t testing.TB) []rawKey {
	return []rawKey{
		{18, 4096, unhex(t, "622fca1d12de1df65e840afd5f3b9844b18a72a82aed6e3e58c39257753fdfa8")},
		{17, 4096, unhex(t, "30666974cb729ef6bd44f8eab3296e5c")},
		{3, 4096, unhex(t, "13f8fd37d557a401")},
	}
}

func wantKeys(t testing.TB, what string, got []KerberosKey, password, salt string) {
	t.Helper()
	want, err := NewLegacy(password, salt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want.Keys, KerberosKey.equal) {
		t.Errorf("%s: not the keys of the password with salt %s", what, salt)
	}
}

func TestStoredVectors(t *testing.T) {
	now := user02(t)
	other := []rawKey{{18, 4096, bytes.Repeat([]byte{1}, 32)}, {20, 32768, bytes.Repeat([]byte{2}, 32)}, {3, 0, make([]byte, 8)}}

	b := buildStored(4, user02Salt, now)
	if head := unhex(t, "0400 0000 0300 0000 0000 0000 2000 2000 78000000 00100000"); !bytes.HasPrefix(b, head) {
		t.Fatalf("the test does not build what Windows writes: %x", b[:24])
	}
	april := []rawKey{
		{18, 4096, unhex(t, "3a3b6a89bb82d112db5ef68f6db5d1afc2b806df61dcd85e3eacf3b85ee382d8")},
		{17, 4096, unhex(t, "a72c8bc96c4a6f03244f0b0067a1e440")},
	}
	for name, v := range map[string]struct {
		b    []byte
		salt string
	}{
		"current":         {b, user02Salt},
		"with old keys":   {buildStored(4, user02Salt, now, other, other, other), user02Salt},
		"type 23":         {buildStored(4, user02Salt, append([]rawKey{{23, 4096, make([]byte, 16)}}, now...)), user02Salt},
		"twice a type":    {buildStored(4, user02Salt, append(now[:3:3], other[0])), user02Salt},
		"unknown type":    {buildStored(4, user02Salt, append([]rawKey{{0xffffff74, 1, []byte{1}}}, now...)), user02Salt},
		"default rounds":  {buildStored(4, user02Salt, []rawKey{{18, 0, now[0].key}, {17, 0, now[1].key}}), user02Salt},
		"April":           {buildStored(4, "ADATUM.COMApril", april), "ADATUM.COMApril"},
		"flags":           {append([]byte{4, 0, 1, 0}, b[4:]...), user02Salt},
		"salt length odd": {func() []byte { c := bytes.Clone(b); c[14] = 0xff; return c }(), user02Salt}, // the maximum is left alone
	} {
		keys, err := parseStored(v.b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantKeys(t, name, keys, "Pa$$w0rd", v.salt)
	}

	// Server 2025: the SHA-2 types, each with its own iterations.
	keys, err := parseStored(buildStored(4, "S", []rawKey{other[1], {19, 5, make([]byte, 16)}}))
	if err != nil || len(keys) != 2 || keys[0].Key.ID() != etype.AES256SHA2 || keys[0].Iterations != 32768 ||
		keys[1].Key.ID() != etype.AES128SHA2 || keys[1].Iterations != 5 || keys[1].Salt != "S" {
		t.Error("SHA-2 types:", keys, err)
	}
	// The older form has no iterations, and usually DES only.
	if keys, err := parseStored(buildStored(3, user02Salt, now[2:], now[2:])); err != nil || len(keys) != 0 {
		t.Error("DES:", keys, err)
	}
	keys, err = parseStored(buildStored(3, user02Salt, now[:1], now[1:]))
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Key.Expose(), now[0].key) || keys[0].Iterations != 0 || keys[0].Salt != user02Salt {
		t.Error("revision 3:", keys, err)
	}
}

func TestStoredRefuses(t *testing.T) {
	good := buildStored(4, user02Salt, user02(t))
	with := func(off int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[off:], v)
		return b
	}
	big := []byte{0xff, 0xff, 0xff, 0xff}
	for name, b := range map[string][]byte{
		"revision 0":            with(0, 0),
		"revision 5":            with(0, 5),
		"revision 0x104":        with(1, 1),
		"count":                 with(4, 0xff, 0xff),
		"count by one":          with(4, byte((len(good)-24)/24+1)),
		"salt offset":           with(16, big...),
		"salt offset at end":    with(16, byte(len(good)-31)),
		"salt length":           with(12, 0xff, 0xff),
		"salt odd":              with(12, 31),
		"salt half a surrogate": with(0x78, 0x00, 0xd8),
		"key offset":            with(24+20, big...),
		"key offset by one":     with(24+20, byte(len(good)-31)),
		"key length":            with(24+16, big...),
		"sum overflows":         with(24+16, 0x20, 0, 0, 0, 0xe0, 0xff, 0xff, 0xff),
		"key length of 17":      with(24+16, 16),
		"DES outside":           with(24+2*24+20, big...),
		"count past zeros":      append(append([]byte{4, 0, 0, 0, 3}, buildStored(4, "", nil)[5:]...), make([]byte, 30)...),
		"salt too long":         buildStored(4, strings.Repeat("x", maxKeySalt+1), user02(t)),
	} {
		if keys, err := parseStored(b); !errors.Is(err, ErrSupplemental) || keys != nil {
			t.Errorf("%s: %v %v", name, keys, err)
		}
	}
	for n := range good {
		if keys, err := parseStored(good[:n]); !errors.Is(err, ErrSupplemental) || keys != nil {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	// Keys may overlap, but not multiply: a count buys no more than the types.
	same := slices.Repeat(user02(t)[:1], 1000)
	for i := range same {
		same[i].key = nil
	}
	same[0].key = user02(t)[0].key
	if keys, err := parseStored(buildStored(4, user02Salt, same)); err != nil || len(keys) != 1 {
		t.Error("1000 keys:", len(keys), err)
	}
}

func TestMarshalStored(t *testing.T) {
	l, err := NewLegacy("Pa$$w0rd", user02Salt)
	if err != nil {
		t.Fatal(err)
	}
	b, err := marshalStored(l.Keys)
	if want := buildStored(4, user02Salt, user02(t)[:2]); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%v\n%x, expect\n%x", err, b, want)
	}
	k19, _ := etype.NewKey(etype.AES128SHA2, make([]byte, 16))
	b, err = marshalStored(append(l.Keys, KerberosKey{Key: k19, Salt: user02Salt}))
	if want := buildStored(4, user02Salt, append(user02(t)[:2], rawKey{19, 32768, make([]byte, 16)})); err != nil || !bytes.Equal(b, want) {
		t.Errorf("%v\n%x, expect\n%x", err, b, want)
	}
	for name, keys := range map[string][]KerberosKey{
		"none":           nil,
		"zero key":       {{}},
		"two salts":      {l.Keys[0], {Key: k19, Salt: "x"}},
		"long salt":      {{Key: k19, Salt: strings.Repeat("x", maxKeySalt+1)}},
		"many":           slices.Repeat(l.Keys, 9),
		"not UTF-8 salt": {{Key: k19, Salt: "\xff"}},
	} {
		if b, err := marshalStored(keys); !errors.Is(err, ErrLegacy) || b != nil {
			t.Errorf("%s: %x %v", name, b, err)
		}
	}
}

func FuzzStored(f *testing.F) {
	keys := user02(f)
	f.Add(buildStored(4, user02Salt, keys, nil, keys, keys))
	f.Add(buildStored(3, user02Salt, keys[2:], keys[2:]))
	f.Add(buildStored(4, "", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseStored(b)
		if err != nil {
			if !errors.Is(err, ErrSupplemental) || keys != nil {
				t.Fatal(keys, err)
			}
			return
		}
		if len(keys) > 4 {
			t.Fatalf("%d keys", len(keys))
		}
		if len(keys) > 0 && isUserProperties(b) {
			t.Fatal("could be mistaken for USER_PROPERTIES")
		}
		// What is within the limits comes back from what we write.
		again, err := marshalStored(keys)
		if err != nil {
			if !errors.Is(err, ErrLegacy) {
				t.Fatal(err)
			}
			return
		}
		back, err := parseStored(again)
		for i := range keys {
			if keys[i].Iterations == 0 {
				keys[i].Iterations = keys[i].Key.ID().DefaultIterations()
			}
		}
		if err != nil || !slices.EqualFunc(back, keys, KerberosKey.equal) {
			t.Fatal("not the same after writing and reading", err)
		}
	})
}
