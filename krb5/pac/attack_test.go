package pac

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"skyrealm/krb5/etype"
)

func TestTampered(t *testing.T) {
	server, kdc := keyOf(t, etype.AES256SHA1, 1), keyOf(t, etype.AES128SHA1, 2)
	ticket := []byte("an EncTicketPart")
	for _, tk := range [][]byte{nil, ticket} {
		b, err := sample(3).Sign(nil, server, kdc, tk)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0x55
			if Verify(b, server, tk, kdc) == nil {
				t.Errorf("byte %d of %d changed, and it verifies", i, len(b))
			}
			b[i] ^= 0x55
		}
		for n := range b {
			if Verify(b[:n:n], server, tk, kdc) == nil {
				t.Errorf("cut to %d of %d bytes, and it verifies", n, len(b))
			}
			if _, err := Parse(b[:n:n]); err == nil && n < len(b)-7 {
				t.Errorf("cut to %d of %d bytes, and it parses", n, len(b))
			}
		}
	}
	b, err := sample(3).Sign(nil, server, kdc, ticket)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ticket {
		changed := bytes.Clone(ticket)
		changed[i]++
		if err := Verify(b, server, changed, kdc); err != ErrSignature {
			t.Errorf("ticket changed at %d: %v", i, err)
		}
	}
	// Without the ticket, the full signature is checked all the same: whoever
	// knows the server's key may sign a changed PAC with it, and CVE-2022-37967
	// was to keep the KDC's signature over the server's good at that.
	var table table
	if err := table.read(b); err != nil {
		t.Fatal(err)
	}
	full, _ := table.find(TypeFullChecksum)
	full.of(b)[4] ^= 1
	resign(t, b, server, kdc)
	if err := Verify(b, server, nil, kdc); err != ErrSignature {
		t.Errorf("full signature changed: %v", err)
	}
	full.of(b)[4] ^= 1
	resign(t, b, server, kdc)
	if err := Verify(b, server, ticket, kdc); err != nil {
		t.Errorf("and back: %v", err)
	}
}

func resign(t *testing.T, b []byte, server, kdc etype.Key) {
	t.Helper()
	var d table
	if err := d.read(b); err != nil {
		t.Fatal(err)
	}
	d.zero(b, TypeServerChecksum)
	d.zero(b, TypeKDCChecksum)
	e, _ := d.find(TypeServerChecksum)
	copy(e.of(b)[4:], server.Checksum(nil, b, usage))
	k, _ := d.find(TypeKDCChecksum)
	copy(k.of(b)[4:], kdc.Checksum(nil, e.of(b)[4:], usage))
}

func relabel(b []byte, from, to uint32) {
	for i := range le.Uint32(b) {
		if at := b[8+16*i:]; le.Uint32(at) == from {
			le.PutUint32(at, to)
		}
	}
}

func TestStripped(t *testing.T) {
	server, kdc := keyOf(t, etype.AES256SHA1, 1), keyOf(t, etype.AES256SHA1, 2)
	ticket := []byte("an EncTicketPart")
	for _, kind := range []uint32{TypeServerChecksum, TypeKDCChecksum, TypeTicketChecksum, TypeFullChecksum} {
		b, err := sample(3).Sign(nil, server, kdc, ticket)
		if err != nil {
			t.Fatal(err)
		}
		relabel(b, kind, 4712)
		if kind == TypeTicketChecksum || kind == TypeFullChecksum {
			resign(t, b, server, kdc)
		}
		want := ErrMissing
		if kind == TypeTicketChecksum {
			want = ErrSignature // the full one noticed first
		}
		if err := Verify(b, server, ticket, kdc); err != want {
			t.Errorf("without %d: %v", kind, err)
		}
	}
	for _, kind := range []uint32{TypeLogonInfo, TypeClientInfo, TypeServerChecksum, TypeKDCChecksum} {
		b, err := sample(3).Sign(nil, server, kdc, nil)
		if err != nil {
			t.Fatal(err)
		}
		relabel(b, kind, 4712)
		if _, err := Parse(b); err != ErrMissing {
			t.Errorf("Parse without %d: %v", kind, err)
		}
	}
}

func TestUnkeyed(t *testing.T) {
	server, kdc := keyOf(t, etype.AES256SHA1, 1), keyOf(t, etype.AES256SHA1, 2)
	for _, kind := range []uint32{TypeServerChecksum, TypeKDCChecksum, TypeFullChecksum, TypeTicketChecksum} {
		for _, checksum := range []int32{0, 1, 2, 3, 5, 7, 8, 10, 13, 14, 15, -137, -138, 19, 20} {
			b, err := sample(3).Sign(nil, server, kdc, []byte("tkt"))
			if err != nil {
				t.Fatal(err)
			}
			var d table
			if err := d.read(b); err != nil {
				t.Fatal(err)
			}
			e, _ := d.find(kind)
			le.PutUint32(e.of(b), uint32(checksum))
			if err := Verify(b, server, []byte("tkt"), kdc); !errors.Is(err, ErrSignature) {
				t.Errorf("type %d for %d: %v", checksum, kind, err)
			}
			// And where the keys made the signature under the wrong label.
			if kind != TypeServerChecksum && kind != TypeKDCChecksum {
				continue
			}
			if b, err = sample(3).Sign(nil, server, kdc, nil); err != nil {
				t.Fatal(err)
			}
			d = table{}
			if err := d.read(b); err != nil {
				t.Fatal(err)
			}
			e, _ = d.find(kind)
			le.PutUint32(e.of(b), uint32(checksum))
			resign(t, b, server, kdc)
			if err := Verify(b, server, nil, kdc); err != ErrSignature {
				t.Errorf("type %d for %d, signed anew: %v", checksum, kind, err)
			}
		}
	}
}

func TestEmptySignature(t *testing.T) {
	b := le.AppendUint64(nil, 1)
	b = le.AppendUint32(le.AppendUint32(b, TypeServerChecksum), 4)
	b = le.AppendUint64(b, 24)
	b = le.AppendUint32(b, 7) // RSA-MD5
	var d table
	if err := d.read(b); err != nil {
		t.Fatal(err)
	}
	if s, err := d.signature(b, TypeServerChecksum); err != ErrSignature {
		t.Errorf("%+v %v", s, err)
	}
}

func TestDirectory(t *testing.T) {
	server, kdc := keyOf(t, etype.AES256SHA1, 1), keyOf(t, etype.AES256SHA1, 2)
	good, err := sample(3).Sign(nil, server, kdc, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int) int { return 8 + 16*i }
	offset := func(b []byte, i int) uint64 { return le.Uint64(b[at(i)+8:]) }
	size := func(b []byte, i int) uint32 { return le.Uint32(b[at(i)+4:]) }
	setOffset := func(i int, v uint64) func([]byte) { return func(b []byte) { le.PutUint64(b[at(i)+8:], v) } }
	setSize := func(i int, v uint32) func([]byte) { return func(b []byte) { le.PutUint32(b[at(i)+4:], v) } }
	cases := map[string]func([]byte){
		"version 1": func(b []byte) { b[4] = 1 },
		"unaligned": func(b []byte) { le.PutUint64(b[at(0)+8:], offset(b, 0)+4) },
		"unaligned, in place": func(b []byte) {
			le.PutUint64(b[at(0)+8:], offset(b, 0)+4)
			le.PutUint32(b[at(0)+4:], size(b, 0)-4)
		},
		"offset 0":            setOffset(0, 0),
		"in the directory":    setOffset(0, 16),
		"offset at the end":   setOffset(0, uint64(len(good))),
		"offset past the end": setOffset(0, uint64(len(good)+8)),
		"offset 2^32":         setOffset(0, 1<<32),
		"offset 2^64-8":       setOffset(0, 1<<64-8),
		"offset 2^63":         setOffset(0, 1<<63),
		"size 2^32-1":         setSize(0, 1<<32-1),
		"size of 2^32-offset": func(b []byte) { le.PutUint32(b[at(0)+4:], uint32(1<<32-offset(b, 0))) },
		"size past the end":   func(b []byte) { le.PutUint32(b[at(0)+4:], uint32(len(b)-int(offset(b, 0))+1)) },
		"overlap of one byte": func(b []byte) { le.PutUint32(b[at(0)+4:], uint32(offset(b, 1)-offset(b, 0)+1)) },
		"the same place":      func(b []byte) { le.PutUint64(b[at(2)+8:], offset(b, 1)) },
		"inside another":      func(b []byte) { le.PutUint64(b[at(1)+8:], offset(b, 0)+8) },
		"around another":      func(b []byte) { le.PutUint32(b[at(1)+4:], uint32(offset(b, 3)-offset(b, 1))+size(b, 3)) },
		"the same type twice": func(b []byte) { le.PutUint32(b[at(1):], TypeLogonInfo) },
		"sum of 2^64":         func(b []byte) { le.PutUint64(b[at(0)+8:], 1<<64-1<<32); le.PutUint32(b[at(0)+4:], 1<<32-8) },
	}
	for _, n := range []uint32{0, 1 << 16, 1 << 28, 1<<28 + 1, 1<<32 - 1} {
		cases["count "+strconv.Itoa(int(n))] = func(b []byte) { le.PutUint32(b, n) }
	}
	for _, n := range []uint32{1, 2} { // what is left of the directory is well-formed
		b := bytes.Clone(good)
		le.PutUint32(b, n)
		if _, err := Parse(b); err != ErrMissing {
			t.Errorf("count %d: %v", n, err)
		}
		if err := Verify(b, server, nil, kdc); err != ErrMissing {
			t.Errorf("count %d: %v", n, err)
		}
	}
	for n, want := range map[uint32]bool{MaxBuffers: true, MaxBuffers + 1: false} {
		b := le.AppendUint64(nil, uint64(n))
		for i := range n {
			b = le.AppendUint32(le.AppendUint32(b, 100+i), 0)
			b = le.AppendUint64(b, 8+16*uint64(n))
		}
		if err := new(table).read(b); (err == nil) != want {
			t.Errorf("%d empty buffers: %v", n, err)
		}
	}
	for name, change := range cases {
		b := bytes.Clone(good)
		change(b)
		if err := new(table).read(b); err == nil {
			t.Errorf("%s: the directory is taken", name)
		}
		if p, err := Parse(b); err == nil {
			t.Errorf("%s: Parse takes it: %+v", name, p)
		}
		if err := Verify(b, server, nil, kdc); err == nil {
			t.Errorf("%s: Verify takes it", name)
		}
	}
	if n := testing.AllocsPerRun(10, func() {
		b := append(le.AppendUint32(nil, 1<<32-1), 0, 0, 0, 0)
		if _, err := Parse(b); err == nil {
			t.Fatal("taken")
		}
	}); n > 2 {
		t.Errorf("a count of 2^32-1 costs %v allocations", n)
	}
}

func TestLogonInfoRefused(t *testing.T) {
	var w writer
	l := sample(3).Logon
	l.HomeDirectory = "x"
	l.append(&w)
	if _, err := parseLogonInfo(w.b); err != nil {
		t.Fatal(err)
	}
	const fixed, groups = 16 + 4, 16 + 4 + 48 + 48 + 4 + 8 // offsets of the structure and of GroupCount
	for name, change := range map[string]func(b []byte){
		"big-endian":            func(b []byte) { b[1] = 0 },
		"version 2":             func(b []byte) { b[0] = 2 },
		"header of 16":          func(b []byte) { b[2] = 16 },
		"length past the end":   func(b []byte) { le.PutUint32(b[8:], uint32(len(b)-15)) },
		"length too short":      func(b []byte) { le.PutUint32(b[8:], uint32(len(b)-24)) },
		"length 2^32-1":         func(b []byte) { le.PutUint32(b[8:], 1<<32-1) },
		"null":                  func(b []byte) { le.PutUint32(b[16:], 0) },
		"odd length":            func(b []byte) { b[fixed+48]++ },
		"length over maximum":   func(b []byte) { b[fixed+48] += 2 },
		"null name of length 6": func(b []byte) { le.PutUint32(b[fixed+48+4:], 0) },
		"group count of 2^32-1": func(b []byte) { le.PutUint32(b[groups:], 1<<32-1) },
		"group count of 4":      func(b []byte) { b[groups]++ },
		"null groups, count 3":  func(b []byte) { le.PutUint32(b[groups+4:], 0) },
		"group count and size of 2^29": func(b []byte) {
			le.PutUint32(b[groups:], 1<<29)
			i := bytes.Index(b, []byte{3, 0, 0, 0, 1, 2, 0, 0})
			le.PutUint32(b[i:], 1<<29)
		},
		"SID of 16":           func(b []byte) { b[bytes.Index(b, []byte{4, 0, 0, 0, 1, 4})] = 16 },
		"SID of 2^32-1":       func(b []byte) { le.PutUint32(b[bytes.Index(b, []byte{4, 0, 0, 0, 1, 4}):], 1<<32-1) },
		"SID counts disagree": func(b []byte) { b[bytes.Index(b, []byte{4, 0, 0, 0, 1, 4})+5] = 3 },
		"chars with offset":   func(b []byte) { b[bytes.Index(b, []byte{3, 0, 0, 0, 0, 0, 0, 0, 3})+4] = 1 },
		"actual over maximum": func(b []byte) { b[bytes.Index(b, []byte{3, 0, 0, 0, 0, 0, 0, 0, 3})+8] = 4 },
	} {
		b := bytes.Clone(w.b)
		change(b)
		if bytes.Equal(b, w.b) {
			t.Fatalf("%s: nothing changed", name)
		}
		var syntax SyntaxError
		if got, err := parseLogonInfo(b); !errors.As(err, &syntax) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	more := append(bytes.Clone(w.b), make([]byte, 8)...)
	if _, err := parseLogonInfo(more); err == nil {
		t.Error("eight bytes more than the length were taken")
	}
	le.PutUint32(more[8:], uint32(len(more)-16))
	if _, err := parseLogonInfo(more); err == nil {
		t.Error("eight bytes more than the structure were taken")
	}
	// Counts of nothing, in an otherwise empty LOGON_INFO.
	w = writer{}
	(&LogonInfo{}).append(&w)
	for name, at := range map[string]int{"groups": groups, "extra SIDs": groups + 88, "resource groups": groups + 100} {
		b := bytes.Clone(w.b)
		if b[at]++; b[at] != 1 {
			t.Fatalf("no count of %s at %d", name, at)
		}
		if got, err := parseLogonInfo(b); err == nil {
			t.Errorf("null %s, counted as one: %+v", name, got)
		}
	}
	w = writer{}
	(&LogonInfo{Groups: make([]Group, MaxGroups+1)}).append(&w)
	if _, err := parseLogonInfo(w.b); err == nil {
		t.Error("one group too many was taken")
	}
}

func TestReaderRefused(t *testing.T) {
	two := str{2, 2, true}
	for name, c := range map[string]struct {
		in   string
		read func(r *reader)
	}{
		"odd length":            {"\x01\x00\x02\x00\x01\x00\x00\x00", func(r *reader) { r.str() }},
		"length over maximum":   {"\x04\x00\x02\x00\x01\x00\x00\x00", func(r *reader) { r.str() }},
		"null with a length":    {"\x02\x00\x02\x00\x00\x00\x00\x00", func(r *reader) { r.str() }},
		"offset":                {"\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a\x00", func(r *reader) { r.chars(two) }},
		"more than the size":    {"\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00a\x00", func(r *reader) { r.chars(two) }},
		"less than the length":  {"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a\x00", func(r *reader) { r.chars(two) }},
		"another count":         {"\x01\x00\x00\x00" + strings.Repeat("x", 16), func(r *reader) { r.groups(2) }},
		"count without content": {"\x02\x00\x00\x00" + strings.Repeat("x", 15), func(r *reader) { r.groups(2) }},
	} {
		r := reader{b: []byte(c.in)}
		if c.read(&r); !r.bad {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestOtherBuffersRefused(t *testing.T) {
	for name, f := range map[string]func() error{
		"client cut": func() error { _, err := parseClientInfo(make([]byte, 9)); return err },
		"client name past end": func() error {
			_, err := parseClientInfo([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00a"))
			return err
		},
		"client name odd": func() error {
			_, err := parseClientInfo([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00a"))
			return err
		},
		"client and more": func() error { _, err := parseClientInfo(make([]byte, 11)); return err },
		"UPN cut":         func() error { _, err := parseUPNDNSInfo(make([]byte, 11)); return err },
		"UPN past end": func() error {
			_, err := parseUPNDNSInfo([]byte("\x02\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00a"))
			return err
		},
		"UPN odd": func() error {
			_, err := parseUPNDNSInfo([]byte("\x01\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00a"))
			return err
		},
		"UPN without SAM": func() error {
			_, err := parseUPNDNSInfo([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00"))
			return err
		},
		"UPN with no SID": func() error {
			_, err := parseUPNDNSInfo([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00"))
			return err
		},
		"UPN with SID past end": func() error {
			_, err := parseUPNDNSInfo([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\xff\x00"))
			return err
		},
		"attributes cut":       func() error { _, err := parseAttributes(make([]byte, 7)); return err },
		"attributes of 0 bits": func() error { _, err := parseAttributes(make([]byte, 8)); return err },
	} {
		var syntax SyntaxError
		if err := f(); !errors.As(err, &syntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
