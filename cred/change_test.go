package cred

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
)

func quoted(password string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestParseUnicodePwd(t *testing.T) {
	for _, password := range []string{"Passw0rd", "pässwörd-€", "with \" inside", "emoji 😀", strings.Repeat("x", MaxPassword), ""} {
		got, err := ParseUnicodePwd(quoted(password))
		if err != nil || got != password {
			t.Errorf("%q: %q, %v", password, got, err)
		}
	}
	lone := append(quoted("a")[:4], 0x00, 0xd8, '"', 0)
	for name, value := range map[string][]byte{
		"empty":          nil,
		"odd":            append(quoted("x"), 0),
		"no quotes":      quoted("x")[2:4],
		"one quote":      quoted("")[:2],
		"open":           quoted("xy")[:6],
		"too long":       quoted(strings.Repeat("x", MaxPassword+1)),
		"lone surrogate": lone,
	} {
		if got, err := ParseUnicodePwd(value); !errors.Is(err, ErrUnicodePwd) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzParseUnicodePwd(f *testing.F) {
	f.Add(quoted("Passw0rd"))
	f.Add([]byte{'"', 0, 0, 0xd8, '"', 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		password, err := ParseUnicodePwd(value)
		if err == nil && string(quoted(password)) != string(value) {
			t.Fatalf("%x reads as another password", value)
		}
	})
}

func TestSamePassword(t *testing.T) {
	a, err := NewLegacy("Passw0rd", "REALMuser")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := NewLegacy("Passw0rd", "REALMuser")
	if b = b.WithKVNO(7); b.Keys[0].KVNO != 7 || a.Keys[0].KVNO != 0 {
		t.Fatal("WithKVNO changed its receiver, or not its result")
	}
	if !a.SamePassword(b) || a.Equal(b) {
		t.Error("versions decide")
	}
	other, _ := NewLegacy("Passw0rd", "REALMother")
	if a.SamePassword(other) {
		t.Error("another salt is the same")
	}
	if a.SamePassword(Legacy{NT: a.NT}) {
		t.Error("fewer keys are the same")
	}
}

// A date in the future is clamped by the tenant; what was sealed for it opens.
func TestOpenAfterClamping(t *testing.T) {
	key, l := testKey(t), testLegacy(t)
	sealed, err := key.Public().Seal(testBinding, l, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clamped := testBinding
	clamped.Version -= 3_600_000_000
	if got, err := key.Open(clamped, sealed); err != nil || !got.Equal(l) {
		t.Fatal(err)
	}
}
