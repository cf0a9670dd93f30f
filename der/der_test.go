package der

import (
	"bytes"
	"encoding/asn1"
	"math"
	"testing"
	"time"
)

func TestIntRoundTrip(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 127, 128, -128, -129, 255, 256, 1<<31 - 1, -1 << 31, math.MaxInt64, math.MinInt64} {
		w := NewWriter(nil)
		w.Int(Integer, v)
		want, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.Bytes(), want) {
			t.Errorf("Int(%d) = %x, want %x", v, w.Bytes(), want)
		}
		r := NewReader(want)
		if got, ok := r.Int64(Integer); !ok || got != v || !r.Empty() {
			t.Errorf("Int64(%x) = %d %v, want %d", want, got, ok, v)
		}
	}
}

func TestWrapLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535, 65536, 1<<24 - 1, 1 << 24} {
		body := bytes.Repeat([]byte{7}, n)
		w := NewWriter(nil)
		mark := w.Len()
		w.Octets(OctetString, body)
		w.Wrap(Sequence, mark)
		want, err := asn1.Marshal(struct{ B []byte }{body})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.Bytes(), want) {
			t.Fatalf("%d bytes: header %x, want %x", n, w.Bytes()[:12], want[:12])
		}
		r := NewReader(want)
		in, ok := r.Enter(Sequence)
		if got, ok2 := in.Bytes(OctetString); !ok || !ok2 || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes do not read back", n)
		}
	}
}

func TestTimeAndFlags(t *testing.T) {
	when := time.Date(2026, 2, 28, 23, 59, 58, 0, time.FixedZone("x", 3600))
	w := NewWriter(nil)
	w.Flags(BitString, 0x40800010)
	w.Bool(Boolean, true)
	w.Time(GeneralizedTime, when)
	r := NewReader(w.Bytes())
	if got, ok := r.Time(GeneralizedTime); !ok || !got.Equal(when) {
		t.Fatalf("time %v %v", got, ok)
	}
	if b, ok := r.Bool(Boolean); !ok || !b {
		t.Fatal("bool")
	}
	if f, ok := r.Flags(BitString); !ok || f != 0x40800010 {
		t.Fatalf("flags %x %v", f, ok)
	}
	for _, c := range []struct {
		in   string
		want uint32
		ok   bool
	}{
		{"\x03\x02\x05\xe0", 0xe0000000, true},
		{"\x03\x02\x05\xff", 0xe0000000, true}, // unused bits are not flags
		{"\x03\x01\x00", 0, true},
		{"\x03\x01\x01", 0, false},
		{"\x03\x02\x08\xff", 0, false},
		{"\x03\x00", 0, false},
		{"\x03\x07\x00\x01\x02\x03\x04\xff\xff", 0x01020304, true},
	} {
		r := NewReader([]byte(c.in))
		if got, ok := r.Flags(BitString); got != c.want || ok != c.ok {
			t.Errorf("Flags(%x) = %x %v", c.in, got, ok)
		}
	}
	for _, bad := range []string{"20260231000000Z", "20260228240000Z", "20260228006000Z", "2026022800000aZ", "202602280000000"} {
		r := NewReader(append([]byte{0x18, 15}, bad...))
		if _, ok := r.Time(GeneralizedTime); ok {
			t.Errorf("%s read as a time", bad)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, in := range []string{
		"", "\x30", "\x30\x80\x00\x00", "\x30\x05\x00", "\x30\x85\x00\x00\x00\x00\x01\x00",
		"\x30\x84\xff\xff\xff\xff", "\x30\x82\x01", "\x1f\x01\x00",
	} {
		r := NewReader([]byte(in))
		if _, ok := r.Enter(Sequence); ok {
			t.Errorf("%x was read", in)
		}
		if string(r.Rest()) != in {
			t.Errorf("%x: the failed read moved on", in)
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	w := NewWriter(nil)
	for i := 0; i < 2*MaxDepth; i++ {
		w.Wrap(Sequence, 0)
	}
	r := NewReader(w.Bytes())
	for i := 0; i < MaxDepth; i++ {
		in, ok := r.Enter(Sequence)
		if !ok {
			t.Fatalf("depth %d refused", i)
		}
		r = in
	}
	if _, ok := r.Enter(Sequence); ok {
		t.Fatalf("depth %d accepted", MaxDepth+1)
	}
}

func TestHeaderOfAStream(t *testing.T) {
	w := NewWriter(nil)
	w.Octets(Sequence, make([]byte, 300))
	msg := w.Bytes()
	for i := 0; i < 4; i++ {
		if _, need, ok := Header(msg[:i]); !ok || need != 0 {
			t.Errorf("%d bytes: need %d, %v", i, need, ok)
		}
	}
	if _, need, ok := Header(msg[:4]); !ok || need != 304 {
		t.Errorf("need %d, %v", need, ok)
	}
	if _, _, ok := Header([]byte{0x30, 0x80}); ok {
		t.Error("indefinite length accepted")
	}
	if _, _, ok := Header([]byte{0x30, 0x85}); ok {
		t.Error("five length octets accepted")
	}
}

// FuzzReader walks whatever it is given to the bottom, and what it reads as an
// element must come out of the Writer as an element of the same contents.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x30\x03\x02\x01\x05"))
	f.Add([]byte("\x30\x84\x00\x00\x00\x02\x05\x00"))
	f.Add([]byte("\x6a\x81\x80"))
	f.Fuzz(func(t *testing.T, in []byte) { walk(t, NewReader(in)) })
}

func walk(t *testing.T, r Reader) {
	for !r.Empty() {
		before := r
		tag, body, raw, ok := r.Any()
		if !ok {
			return
		}
		w := NewWriter(nil)
		w.Octets(tag, body)
		again := NewReader(w.Bytes())
		if got, ok := again.Bytes(tag); !ok || !bytes.Equal(got, body) || len(raw) < len(w.Bytes()) {
			t.Fatalf("%x does not survive", raw)
		}
		for _, read := range []func(Tag) bool{
			func(t Tag) bool { c := before; _, ok := c.Int64(t); return ok },
			func(t Tag) bool { c := before; _, ok := c.Uint32(t); return ok },
			func(t Tag) bool { c := before; _, ok := c.Flags(t); return ok },
			func(t Tag) bool { c := before; _, ok := c.Time(t); return ok },
			func(t Tag) bool { c := before; _, ok := c.Bool(t); return ok },
		} {
			read(tag)
		}
		if in, ok := before.Enter(tag); ok {
			walk(t, in)
		}
	}
}
