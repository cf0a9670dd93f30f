package cred

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

var testPlace = Place{Tenant: "tenant", Object: "object", Column: "digest", Version: 12}

func testRing(t testing.TB) *Ring {
	t.Helper()
	r, err := NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRing(t *testing.T) {
	r := testRing(t)
	for _, plain := range []string{"", "x", strings.Repeat("secret", 200)} {
		sealed, err := r.Seal([]byte("dst"), []byte(plain), testPlace, rand.Reader)
		if err != nil || !bytes.HasPrefix(sealed, []byte("dst\x01")) || len(sealed) != 3+ringHeader+len(plain)+gcmTag {
			t.Fatal(len(sealed), err)
		}
		orig := bytes.Clone(sealed)
		got, err := r.Open([]byte("pre"), sealed[3:], testPlace)
		if err != nil || string(got) != "pre"+plain || !bytes.Equal(sealed, orig) {
			t.Errorf("%q %v", got, err)
		}
		again, _ := r.Seal([]byte("dst"), []byte(plain), testPlace, rand.Reader)
		if bytes.Equal(again, sealed) {
			t.Error("the nonce does not change")
		}
	}
	if _, err := r.Seal(nil, nil, testPlace, iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
	if _, err := NewRing(iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
}

// A secret does not open in another row, column, tenant or version, nor where
// the place's fields are the same text cut differently.
func TestRingPlaces(t *testing.T) {
	r := testRing(t)
	places := []Place{
		testPlace,
		{"tenan", "tobject", "digest", 12},
		{"tenant", "objectd", "igest", 12},
		{"tenantobjectdigest", "", "", 12},
		{"other", "object", "digest", 12},
		{"tenant", "other", "digest", 12},
		{"tenant", "object", "sealed", 12},
		{"tenant", "object", "digest", 11},
		{"tenant", "object", "digest", 13},
		{},
	}
	for i, at := range places {
		sealed, err := r.Seal(nil, []byte("secret"), at, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for j, from := range places {
			got, err := r.Open(nil, sealed, from)
			if i == j && (err != nil || string(got) != "secret") || i != j && (err != ErrAtRest || got != nil) {
				t.Errorf("from %v at %v: %q %v", at, from, got, err)
			}
		}
	}
}

func TestRingRefusesChanges(t *testing.T) {
	r := testRing(t)
	sealed, _ := r.Seal(nil, []byte("secret"), testPlace, rand.Reader)
	for i := range sealed {
		sealed[i] ^= 1
		_, err := r.Open(nil, sealed, testPlace)
		if inID := i >= 1 && i <= ringID; inID && !errors.Is(err, ErrUnknownKey) || !inID && err != ErrAtRest {
			t.Errorf("byte %d: %v", i, err)
		}
		sealed[i] ^= 1
		if _, err := r.Open(nil, sealed[:i], testPlace); err != ErrAtRest {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
	if _, err := r.Open(nil, append(sealed, 0), testPlace); err != ErrAtRest {
		t.Error(err)
	}
	other := testRing(t)
	_, err := other.Open(nil, sealed, testPlace)
	if !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), r.KeyID()) {
		t.Error("another ring:", err)
	}
}

func TestRingFile(t *testing.T) {
	a, b := testRing(t), testRing(t)
	old, _ := a.Seal(nil, []byte("old"), testPlace, rand.Reader)
	both, err := ParseRing(append(append([]byte("# keys\n\n"), a.Marshal()...), b.Marshal()...))
	if err != nil {
		t.Fatal(err)
	}
	if both.KeyID() != b.KeyID() || a.KeyID() == b.KeyID() {
		t.Error("the last key does not seal")
	}
	if got, err := both.Open(nil, old, testPlace); err != nil || string(got) != "old" {
		t.Error("the old key does not open:", err)
	}
	fresh, _ := both.Seal(nil, []byte("new"), testPlace, rand.Reader)
	if got, err := b.Open(nil, fresh, testPlace); err != nil || string(got) != "new" {
		t.Error(err)
	}
	again, err := ParseRing(both.Marshal())
	if err != nil || !bytes.Equal(again.Marshal(), both.Marshal()) {
		t.Error("does not come back:", err)
	}
	crlf, err := ParseRing(bytes.ReplaceAll(both.Marshal(), []byte("\n"), []byte("\r\n")))
	if err != nil || !bytes.Equal(crlf.Marshal(), both.Marshal()) {
		t.Error("with CRLF:", err)
	}

	text := string(a.Marshal())
	var many []byte
	for range maxRing + 1 {
		many = append(many, testRing(t).Marshal()...)
	}
	for name, bad := range map[string]string{
		"empty":     "",
		"comment":   "# nothing\n",
		"twice":     text + text,
		"other id":  b.KeyID() + text[8:],
		"damaged":   text[:20] + string(text[20]^1) + text[21:],
		"short":     text[:30],
		"no id":     text[9:],
		"two words": strings.TrimSpace(text) + " x",
		"upper id":  strings.ToUpper(text[:8]) + "A" + text[9:],
		"65 keys":   string(many),
	} {
		r, err := ParseRing([]byte(bad))
		if !errors.Is(err, ErrRing) || r != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(text) > 30 && strings.Contains(err.Error(), text[12:30]) {
			t.Errorf("%s: the error quotes the key", name)
		}
	}
}

func TestRingProof(t *testing.T) {
	a, b := testRing(t), testRing(t)
	proof := a.Proof("tenant")
	if err := a.CheckProof("tenant", proof); err != nil {
		t.Error(err)
	}
	both, _ := ParseRing(append(a.Marshal(), b.Marshal()...))
	if err := both.CheckProof("tenant", proof); err != nil {
		t.Error("after a new key:", err)
	}
	if err := b.CheckProof("tenant", proof); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), a.KeyID()) {
		t.Error("another ring:", err)
	}
	if err := a.CheckProof("other", proof); err != ErrAtRest {
		t.Error("another tenant:", err)
	}
	for i := range proof {
		if err := a.CheckProof("tenant", proof[:i]); err != ErrAtRest {
			t.Error(i, err)
		}
	}
	proof[20] ^= 1
	if err := a.CheckProof("tenant", proof); err != ErrAtRest {
		t.Error("a changed proof:", err)
	}
	if !bytes.Equal(a.Proof("tenant"), a.Proof("tenant")) || bytes.Equal(a.Proof("tenant"), a.Proof("other")) {
		t.Error("not a function of key and tenant")
	}
}

// Meant for -race; and the result is all that Seal may allocate.
func TestRingHot(t *testing.T) {
	r := testRing(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				sealed, err := r.Seal(nil, []byte("secret"), testPlace, rand.Reader)
				if err != nil {
					t.Error(err)
				}
				if _, err := r.Open(nil, sealed, testPlace); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	plain := make([]byte, 700)
	if n := testing.AllocsPerRun(100, func() { r.Seal(nil, plain, testPlace, rand.Reader) }); n > 2 { // two under -race
		t.Errorf("Seal allocates %v times", n)
	}
}

func FuzzParseRing(f *testing.F) {
	r, _ := NewRing(bytes.NewReader(bytes.Repeat([]byte{3}, 32)))
	f.Add(r.Marshal())
	f.Add([]byte("# x\n\n" + string(r.Marshal()) + " \r\n"))
	f.Add([]byte("00000000 AAAA"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ParseRing(text)
		if err != nil {
			if !errors.Is(err, ErrRing) || r != nil {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseRing(r.Marshal()); err != nil || !bytes.Equal(again.Marshal(), r.Marshal()) {
			t.Fatal(err)
		}
	})
}

func FuzzRingOpen(f *testing.F) {
	r, _ := NewRing(bytes.NewReader(bytes.Repeat([]byte{3}, 32)))
	sealed, _ := r.Seal(nil, []byte("secret"), testPlace, bytes.NewReader(make([]byte, 12)))
	f.Add(sealed)
	f.Add(sealed[:ringHeader+gcmTag])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := r.Open(nil, b, testPlace)
		if err != nil && err != ErrAtRest && !errors.Is(err, ErrUnknownKey) || err != nil && got != nil {
			t.Fatal(err)
		}
	})
}

// A derived secret is the same for as long as the oldest key is there, and others'
// uses have others.
func TestRingDerive(t *testing.T) {
	old, err := NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	added, err := NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	both, err := ParseRing(append(old.Marshal(), added.Marshal()...))
	if err != nil {
		t.Fatal(err)
	}
	a := old.Derive("a")
	switch {
	case len(a) != 32:
		t.Errorf("%d bytes", len(a))
	case !bytes.Equal(a, both.Derive("a")):
		t.Error("it changes when a key is added")
	case bytes.Equal(a, old.Derive("b")), bytes.Equal(a, added.Derive("a")), bytes.Contains(old.Proof("a"), a):
		t.Error("it is another's too")
	}
}
