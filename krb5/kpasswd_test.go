package krb5

import (
	"bytes"
	"errors"
	"testing"

	"skyrealm/der"
)

// TestKpasswdLengths: every length has to be right to the byte (trust.md P04).
func TestKpasswdLengths(t *testing.T) {
	m := Kpasswd{KpasswdSet, []byte("an AP-REQ"), []byte("a KRB-PRIV")}
	wire := Encode(&m)
	if want := append([]byte{0, 25, 0xff, 0x80, 0, 9}, "an AP-REQa KRB-PRIV"...); !bytes.Equal(wire, want) {
		t.Fatalf("%x", wire)
	}
	var got Kpasswd
	if err := got.Unmarshal(wire); err != nil || got.Version != m.Version || !bytes.Equal(got.AP, m.AP) || !bytes.Equal(got.Body, m.Body) {
		t.Fatalf("%+v, %v", got, err)
	}
	if cap(got.AP) != len(got.AP) {
		t.Error("what is appended to the first message would overwrite the second")
	}
	bad := func(what string, b []byte) {
		t.Helper()
		var syntax SyntaxError
		if err := got.Unmarshal(b); !errors.As(err, &syntax) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for off := -6; off <= 6; off++ {
		if off == 0 {
			continue
		}
		b := bytes.Clone(wire)
		b[1] = byte(25 + off)
		bad("length", b)
	}
	for n := len(m.AP) + len(m.Body); n < 1<<16; n += 251 { // an AP-REQ that leaves nothing, or is longer than all
		b := bytes.Clone(wire)
		b[4], b[5] = byte(n>>8), byte(n)
		bad("AP-REQ's length", b)
	}
	for n := range wire {
		bad("cut", wire[:n])
		b := bytes.Clone(wire[:n])
		if n > 1 {
			b[0], b[1] = 0, byte(n)
		}
		if n < kpasswdHeader+len(m.AP)+1 {
			bad("cut, with the length that it has", b)
		}
	}
	bad("more", append(bytes.Clone(wire), 0))
}

// TestChangePasswdDataGrows: fields of a later version are passed over, and
// anything else is not.
func TestChangePasswdDataGrows(t *testing.T) {
	with := func(fields ...func(w *der.Writer)) []byte {
		w := der.NewWriter(nil)
		for i := len(fields) - 1; i >= 0; i-- {
			fields[i](w)
		}
		w.Wrap(der.Sequence, 0)
		return w.Bytes()
	}
	password := func(w *der.Writer) { putOctets(w, 0, []byte("new")) }
	realm := func(w *der.Writer) { putText(w, 2, "R") }
	later := func(w *der.Writer) { putInt(w, 3, 1) }
	var c ChangePasswdData
	for _, good := range [][]byte{with(password), with(password, later), with(password, realm, later, later)} {
		if err := c.Unmarshal(good); err != nil || string(c.NewPassword.Expose()) != "new" {
			t.Errorf("%x: %v", good, err)
		}
	}
	for _, bad := range [][]byte{with(), with(realm), with(password, password), with(password, later, realm), with(password, later)[:9],
		with(password, func(w *der.Writer) { w.Raw([]byte{0xa3, 5, 1}) })} {
		if c.Unmarshal(bad) == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

// TestProxyLength: the length in front of the message (trust.md P08).
func TestProxyLength(t *testing.T) {
	good := Encode(&ProxyMessage{Message: []byte("a message"), Realm: "R"})
	at := bytes.Index(good, []byte{0, 0, 0, 9})
	var p ProxyMessage
	if err := p.Unmarshal(good); err != nil || string(p.Message) != "a message" {
		t.Fatal(err)
	}
	for _, n := range [][4]byte{{}, {0, 0, 0, 8}, {0, 0, 0, 10}, {0, 0, 0, 13}, {0x80}, {0x80, 0, 0, 9}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 1, 9}} {
		b := bytes.Clone(good)
		copy(b[at:], n[:])
		if p.Unmarshal(b) == nil {
			t.Errorf("length %x was taken", n)
		}
	}
	if p.Unmarshal(Encode(&ProxyMessage{Realm: "R"})) == nil {
		t.Error("an empty message was taken")
	}
}

// FuzzKpasswd: what is taken has the lengths that it says.
func FuzzKpasswd(f *testing.F) {
	f.Add(Encode(&Kpasswd{KpasswdChange, []byte("ap"), []byte("priv")}))
	f.Add(Encode(&Kpasswd{KpasswdSet, nil, Encode(&Error{STime: someTime, Code: ErrGeneric, Realm: realm, SName: someSPN})}))
	f.Add([]byte{0, 6, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		var k Kpasswd
		if k.Unmarshal(in) == nil && !bytes.Equal(Encode(&k), in) {
			t.Fatalf("%x\n%x", in, Encode(&k))
		}
	})
}
