package cred

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	samr "github.com/oiweiwei/go-msrpc/msrpc/samr/samr/v1"
	"github.com/oiweiwei/go-msrpc/ndr"
)

// testBlob reads a file of base64.
func testBlob(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rawProperty is a USER_PROPERTY, value in hex.
type rawProperty struct {
	name, text string
	reserved   uint16
}

// buildProperties writes USER_PROPERTIES. It shares nothing with Marshal.
func buildProperties(reserved5 byte, list ...rawProperty) []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 12), bytes.Repeat([]byte{0x20, 0}, 48)...)
	b = append(b, 0x50, 0)
	if len(list) > 0 {
		b = le.AppendUint16(b, uint16(len(list)))
	}
	for _, p := range list {
		name := appendUTF16(nil, p.name)
		b = le.AppendUint16(b, uint16(len(name)))
		b = le.AppendUint16(b, uint16(len(p.text)))
		b = le.AppendUint16(b, p.reserved)
		b = append(append(b, name...), p.text...)
	}
	b = append(b, reserved5)
	le.PutUint32(b[4:], uint32(len(b)-13))
	return b
}

// windowsBlob is what Server 2016 stores of user02.
func windowsBlob(t testing.TB) []byte {
	des := user02(t)[2:]
	return buildProperties(0,
		rawProperty{"Primary:NTLM-Strong-NTOWF", strings.Repeat("0f", 16), 1},
		rawProperty{propNewerKeys, hex.EncodeToString(buildStored(4, user02Salt, user02(t), nil, user02(t))), 1},
		rawProperty{propKerberos, hex.EncodeToString(buildStored(3, user02Salt, des, des)), 1},
		rawProperty{propPackages, hex.EncodeToString(appendUTF16(nil, "NTLM-Strong-NTOWF\x00Kerberos-Newer-Keys\x00Kerberos\x00WDigest")), 2},
		rawProperty{"Primary:WDigest", "3100011d" + strings.Repeat("00", 12+29*16), 1},
	)
}

// sambaBlob is the same as Samba writes it, in upper case and other order.
func sambaBlob(t testing.TB) []byte {
	return buildProperties(0,
		rawProperty{propNewerKeys, strings.ToUpper(hex.EncodeToString(buildStored(4, user02Salt, user02(t)))), 1},
		rawProperty{propKerberos, strings.ToUpper(hex.EncodeToString(buildStored(3, user02Salt, user02(t)[2:]))), 1},
		rawProperty{propPackages, strings.ToUpper(hex.EncodeToString(appendUTF16(nil, "Kerberos-Newer-Keys\x00Kerberos"))), 2},
	)
}

func empty111() []byte { return buildProperties(0) }

func TestLegacyFrom(t *testing.T) {
	nt := NTHashOf("Pa$$w0rd")
	odd := windowsBlob(t)
	odd[0], odd[8], odd[10], odd[50], odd[len(odd)-1] = 1, 2, 3, 4, 1
	for name, b := range map[string][]byte{
		"Windows":                windowsBlob(t),
		"Samba":                  sambaBlob(t),
		"reserved fields":        odd,
		"Reserved of a property": buildProperties(0, rawProperty{propNewerKeys, hex.EncodeToString(buildStored(4, user02Salt, user02(t))), 0xffff}),
		"the older property":     buildProperties(0, rawProperty{propKerberos, hex.EncodeToString(buildStored(4, user02Salt, user02(t))), 1}),
	} {
		l, err := LegacyFrom(nt, b)
		if err != nil || !l.NT.Equal(nt) {
			t.Errorf("%s: %v", name, err)
		}
		wantKeys(t, name, l.Keys, "Pa$$w0rd", user02Salt)
		if l, err = LegacyFrom(NTHash{}, b); err != nil || !l.NT.IsZero() {
			t.Errorf("%s without NT hash: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"nil":         nil,
		"13 bytes":    make([]byte, 13),
		"111 bytes":   empty111(),
		"count of 0":  func() []byte { b := append(empty111(), 0, 0); b[4] += 2; return b }(),
		"WDigest":     buildProperties(0, rawProperty{"Primary:WDigest", "00", 1}),
		"empty value": buildProperties(0, rawProperty{"Primary:WDigest", "", 1}),
		"DES only":    buildProperties(0, rawProperty{propKerberos, hex.EncodeToString(buildStored(3, "s", user02(t)[2:])), 1}),
	} {
		if l, err := LegacyFrom(nt, b); err != nil || !l.Equal(Legacy{NT: nt}) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := LegacyFrom(NTHash{}, b); !errors.Is(err, ErrLegacy) {
			t.Errorf("%s without NT hash: %v", name, err)
		}
	}
	many := buildStored(4, "s", []rawKey{{18, 1<<20 + 1, make([]byte, 32)}})
	if _, err := LegacyFrom(nt, buildProperties(0, rawProperty{propNewerKeys, hex.EncodeToString(many), 1})); !errors.Is(err, ErrLegacy) {
		t.Error("iterations without bound:", err)
	}
}

// What Samba 4.17.12 made of two passwords of one random account.
func TestSambaVectors(t *testing.T) {
	for file, password := range map[string]string{
		"samba417-created.b64": "Pässw0rd-€-cred",
		"samba417-changed.b64": "Zweites-Passw0rt-𝄞", // has the keys of the first one too
	} {
		b := testBlob(t, file)
		l, err := LegacyFrom(NTHashOf(password), b)
		if err != nil {
			t.Fatal(file, err)
		}
		wantKeys(t, file, l.Keys, password, "ADATUM.TESTtestuser")
		p, err := ParseUserProperties(b)
		if out := p.Marshal(); err != nil || bytes.Equal(out, b) || !bytes.EqualFold(out, b) {
			t.Errorf("%s: comes back as other than its lower case, %v", file, err)
		}
		agrees(t, file, b, l.Keys)
	}
}

// agrees compares with what go-msrpc reads in the blob.
func agrees(t *testing.T, name string, b []byte, keys []KerberosKey) {
	t.Helper()
	var o samr.UserProperties
	if err := ndr.Unmarshal(b, &o, ndr.Opaque); err != nil {
		t.Fatal(name, err)
	}
	for _, p := range o.UserProperties {
		stored, ok := p.PropertyValue.GetValue().(*samr.KerberosStoredCredentialNew)
		if !ok {
			continue
		}
		var theirs []*samr.KerberosKeyDataNew
		for _, k := range stored.Credentials {
			if k.KeyType == 17 || k.KeyType == 18 {
				theirs = append(theirs, k)
			}
		}
		if !slices.EqualFunc(theirs, keys, func(k *samr.KerberosKeyDataNew, ours KerberosKey) bool {
			return bytes.Equal(k.KeyData, ours.Key.Expose()) && k.KeyType == uint32(ours.Key.ID()) && k.IterationCount == ours.Iterations
		}) {
			t.Errorf("%s: go-msrpc reads other keys", name)
		}
		return
	}
	t.Errorf("%s: go-msrpc finds no keys", name)
}

func TestUserProperties(t *testing.T) {
	b := windowsBlob(t)
	p, err := ParseUserProperties(b)
	if err != nil {
		t.Fatal(err)
	}
	if out := p.Marshal(); !bytes.Equal(out, b) {
		t.Errorf("%x comes back as\n%x", b, out)
	}
	if v := p.Expose(propKerberos); !bytes.Equal(v, buildStored(3, user02Salt, user02(t)[2:], user02(t)[2:])) {
		t.Errorf("Primary:Kerberos is %x", v)
	}
	if p.Expose("Primary:CLEARTEXT") != nil {
		t.Error("exposes what is not there")
	}
	if s := fmt.Sprintf("%v %+v %#v %s %x", p, p, p, p, p); strings.TrimSpace(strings.ReplaceAll(s, redacted, "")) != "" {
		t.Errorf("prints %s", s)
	}
	if b := (UserProperties{}).Marshal(); !bytes.Equal(b, empty111()) || len(b) != 111 {
		t.Errorf("empty: %x", b)
	}

	l, err := NewLegacy("Pa$$w0rd", user02Salt)
	if err != nil {
		t.Fatal(err)
	}
	p, err = NewUserProperties(l.Keys)
	if err != nil {
		t.Fatal(err)
	}
	want := buildProperties(0,
		rawProperty{propNewerKeys, hex.EncodeToString(buildStored(4, user02Salt, user02(t)[:2])), 1},
		rawProperty{propPackages, hex.EncodeToString(appendUTF16(nil, "Kerberos-Newer-Keys")), 2})
	if b := p.Marshal(); !bytes.Equal(b, want) {
		t.Errorf("new: %x, expect\n%x", b, want)
	}
	agrees(t, "new", want, l.Keys)
	if _, err := NewUserProperties(nil); !errors.Is(err, ErrLegacy) {
		t.Error("no keys:", err)
	}
	// The most that there is room for: u16 counts the hex.
	var all []KerberosKey
	for range 4 {
		all = append(all, l.Keys...)
	}
	for i := range all {
		all[i].Salt = strings.Repeat("𝄞", maxKeySalt/4)
	}
	p, err = NewUserProperties(slices.Repeat(all, 2))
	if back, err2 := ParseUserProperties(p.Marshal()); err != nil || err2 != nil || !bytes.Equal(back.Expose(propNewerKeys), p.Expose(propNewerKeys)) {
		t.Error("the largest:", err, err2)
	}
}

func TestUserPropertiesRefuses(t *testing.T) {
	good := windowsBlob(t)
	with := func(off int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[off:], v)
		return b
	}
	one := rawProperty{"Primary:X", "00", 1}
	for name, b := range map[string][]byte{
		"empty":             {},
		"Length":            with(4, good[4]+1),
		"Length of 2^32-1":  with(4, 255, 255, 255, 255),
		"signature":         with(108, 0x51),
		"count too large":   with(110, 6),
		"count too small":   with(110, 4),
		"count of 65535":    with(110, 255, 255),
		"name length":       with(112, 255, 255),
		"value length":      with(114, 255, 255),
		"no name":           buildProperties(0, rawProperty{"", "00", 1}),
		"odd name":          with(112, 49),
		"name no UTF-16":    with(118, 0, 0xd8),
		"not hex":           buildProperties(0, rawProperty{"Primary:X", "0g", 1}),
		"odd hex":           buildProperties(0, rawProperty{"Primary:X", "000", 1}),
		"a name twice":      buildProperties(0, one, one),
		"14 bytes":          {0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"half a count":      func() []byte { b := append(empty111(), 0); b[4]++; return b }(),
		"more than the max": buildProperties(0, rawProperty{"a", strings.Repeat("0", 0xfffe), 1}),
		"65 properties": buildProperties(0, func() (list []rawProperty) {
			for i := range 65 {
				list = append(list, rawProperty{fmt.Sprint(i), "", 1})
			}
			return list
		}()...),
	} {
		if p, err := ParseUserProperties(b); !errors.Is(err, ErrSupplemental) || p.list != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range good {
		if _, err := ParseUserProperties(good[:n]); !errors.Is(err, ErrSupplemental) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		cut := bytes.Clone(good[:n]) // with a Length that is right
		if n >= 13 {
			binary.LittleEndian.PutUint32(cut[4:], uint32(n-13))
		}
		if _, err := ParseUserProperties(cut); n != 13 && n != 111 && !errors.Is(err, ErrSupplemental) {
			t.Errorf("a blob of %d bytes: %v", n, err)
		}
	}
}

// The forms in which an agent may send Kerberos keys.
func TestSupplementalKeys(t *testing.T) {
	stored := buildStored(4, user02Salt, user02(t), nil, user02(t))
	text := hex.EncodeToString(stored)
	property := func(name, text string) []byte {
		b := buildProperties(0, rawProperty{name, text, 1})
		return b[112 : len(b)-1]
	}
	forms := map[string][]byte{
		"Windows":            windowsBlob(t),
		"Samba":              sambaBlob(t),
		"property":           property(propNewerKeys, text),
		"older property":     property(propKerberos, strings.ToUpper(text)),
		"value in hex":       []byte(text),
		"value in HEX":       []byte(strings.ToUpper(text)),
		"value":              stored,
		"value with padding": append(bytes.Clone(stored), 0, 0, 0),
	}
	for name, b := range forms {
		keys, err := supplementalKeys(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantKeys(t, name, keys, "Pa$$w0rd", user02Salt)
		if is := isUserProperties(b); is != (name == "Windows" || name == "Samba") {
			t.Errorf("%s: taken for USER_PROPERTIES: %v", name, is)
		}
	}
	for name, b := range map[string][]byte{
		"empty":            {},
		"another property": property("Primary:WDigest", text),
		"two properties":   append(property(propNewerKeys, text), property(propKerberos, text)...),
		"half of the hex":  []byte(text[:len(text)/2]),
		"hex twice":        []byte(hex.EncodeToString([]byte(text))),
		"zeros":            make([]byte, 500),
	} {
		if keys, err := supplementalKeys(b); !errors.Is(err, ErrSupplemental) || keys != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzUserProperties(f *testing.F) {
	f.Add(windowsBlob(f))
	f.Add(sambaBlob(f))
	f.Add(empty111())
	f.Add(make([]byte, 13))
	f.Add(testBlob(f, "samba417-changed.b64"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseUserProperties(b)
		if err != nil {
			if !errors.Is(err, ErrSupplemental) || p.list != nil {
				t.Fatal(err)
			}
			return
		}
		out := p.Marshal()
		again, err := ParseUserProperties(out)
		if err != nil || !bytes.Equal(again.Marshal(), out) {
			t.Fatalf("%x comes back as %x %v", b, out, err)
		}
		if len(b) > userOutside && len(p.list) > 0 && len(out) != len(b) {
			t.Fatalf("%x comes back with another length", b)
		}
	})
}

func FuzzSupplementalKeys(f *testing.F) {
	stored := buildStored(4, user02Salt, user02(f))
	f.Add(windowsBlob(f))
	f.Add(stored)
	f.Add([]byte(hex.EncodeToString(stored)))
	b := sambaBlob(f)
	f.Add(b[112:])
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		keys, err := supplementalKeys(b)
		if err != nil && (!errors.Is(err, ErrSupplemental) || keys != nil) || len(keys) > 4 {
			t.Fatal(keys, err)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("changed its input")
		}
	})
}
