package pac

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"skyrealm/krb5/etype"
	"skyrealm/sid"
)

var (
	domainSID = sid.New(5, 21, 3048156945, 3961193616, 3706469200)
	authTime  = time.Date(2026, 11, 21, 1, 2, 3, 0, time.UTC)
	allTypes  = []etype.ID{etype.AES128SHA1, etype.AES256SHA1, etype.AES128SHA2, etype.AES256SHA2, etype.RC4}
)

// sample has every field, names outside ASCII and outside the BMP among them.
func sample(groups int) *PAC {
	attributes := PACRequested
	p := &PAC{
		Logon: &LogonInfo{
			LogonTime: FileTimeOf(authTime), LogoffTime: Never, KickOffTime: Never, PasswordLastSet: 1, PasswordCanChange: 2,
			PasswordMustChange: Never, EffectiveName: "zoë", FullName: "Zoë 𝄞 von und zu", LogonScript: "a.cmd", ProfilePath: `\\s\p`,
			HomeDirectory: "", HomeDirectoryDrive: "H:", LogonCount: 7, BadPasswordCount: 8, UserID: 1103, PrimaryGroupID: 513,
			UserFlags: LogonExtraSIDs | LogonResourceGroups, LogonServer: "DC1", LogonDomainName: "AADDS", LogonDomainID: domainSID,
			UserAccountControl: AccountNormal, SubAuthStatus: 9, LastSuccessfulLogon: 10, LastFailedLogon: 11, FailedLogonCount: 12,
			ExtraSIDs:           []SIDAttributes{{sid.New(18, 1), GroupUsual}, {domainSID.Append(498), GroupUsual}},
			ResourceGroupDomain: sid.New(5, 32), ResourceGroups: []Group{{545, GroupUsual | GroupResource}},
		},
		Client: &ClientInfo{AuthTime: authTime, Name: "zoë"},
		UPN: &UPNDNSInfo{UPN: "zoë@contoso.test", DNSDomain: "AADDS.CONTOSO.TEST", Constructed: true, SAM: "zoë",
			SID: domainSID.Append(1103)},
		Attributes: &attributes, Requestor: domainSID.Append(1103),
		Extra: []Buffer{{TypeClientClaims, []byte{}}, {4711, []byte("unknown")}},
	}
	for i := range groups {
		p.Logon.Groups = append(p.Logon.Groups, Group{uint32(513 + i), GroupUsual})
	}
	return p
}

func keyOf(t testing.TB, id etype.ID, fill byte) etype.Key {
	t.Helper()
	k, err := etype.NewKey(id, bytes.Repeat([]byte{fill}, id.KeySize()))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRoundTrip(t *testing.T) {
	minimal := &PAC{Logon: &LogonInfo{}, Client: &ClientInfo{AuthTime: authTime}}
	noSID := sample(1)
	noSID.UPN.SAM, noSID.UPN.SID, noSID.UPN.Constructed = "", "", false
	unset := Attributes(0)
	noSID.Attributes, noSID.Extra, noSID.Logon.ExtraSIDs[0].SID = &unset, nil, ""
	prefix := []byte("what stood before")
	for _, id := range allTypes {
		server, kdc := keyOf(t, id, 1), keyOf(t, id, 2)
		for _, ticket := range [][]byte{nil, []byte("an EncTicketPart"), {}} {
			for i, p := range []*PAC{sample(3), minimal, noSID, sample(MaxGroups)} {
				all, err := p.Sign(bytes.Clone(prefix), server, kdc, ticket)
				if err != nil || !bytes.HasPrefix(all, prefix) {
					t.Fatal(err)
				}
				b := all[len(prefix):]
				if fresh, err := p.Sign(nil, server, kdc, ticket); err != nil || !bytes.Equal(fresh, b) {
					t.Errorf("%v, %d: other bytes behind other bytes: %v", id, i, err)
				}
				if len(b)%8 != 0 {
					t.Errorf("%v, %d: %d bytes", id, i, len(b))
				}
				got, err := Parse(b)
				if err != nil || !reflect.DeepEqual(got, p) {
					t.Errorf("%v, %d: %v\n%+v, want\n%+v", id, i, err, got.Logon, p.Logon)
				}
				other := keyOf(t, id, 3)
				if err := Verify(b, server, ticket, other, kdc); err != nil {
					t.Errorf("%v, %d: %v", id, i, err)
				}
				if err := Verify(b, etype.Key{}, ticket, kdc); err != nil {
					t.Errorf("%v, %d, KDC alone: %v", id, i, err)
				}
				for name, err := range map[string]error{
					"server": Verify(b, other, ticket, kdc), "kdc": Verify(b, server, ticket, other), "swapped": Verify(b, kdc, ticket, server),
					"zero kdc": Verify(b, server, ticket, etype.Key{}),
				} {
					if err != ErrSignature {
						t.Errorf("%v, %d, wrong key for %s: %v", id, i, name, err)
					}
				}
				if err := Verify(b, etype.Key{}, ticket); err != ErrNoKey {
					t.Error(err)
				}
			}
		}
	}
}

// TestTampered changes every byte (T02, T14): nothing of a PAC is unsigned. The
// two signatures themselves fail as signatures.
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

// resign makes server and KDC signature of a changed PAC anew.
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

// relabel gives a buffer another type.
func relabel(b []byte, from, to uint32) {
	for i := range le.Uint32(b) {
		if at := b[8+16*i:]; le.Uint32(at) == from {
			le.PutUint32(at, to)
		}
	}
}

// TestStripped takes each signature away (T02, T03), and makes the rest good
// where that needs only the server's key.
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

// TestUnkeyed announces checksum types that need no key, and keyed ones that
// are not the key's (T06, MS14-068).
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

// TestEmptySignature holds a signature of a type without a length, and without
// a byte.
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

// TestDirectory is T04 (CVE-2022-42898): each fault in the directory is refused
// by what reads it, and nothing is allocated for it.
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

// TestLogonInfoRefused breaks one field of LOGON_INFO after the other.
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

// TestReaderRefused holds each guard of the NDR reader by itself.
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

// TestLimits finds each at its edge.
func TestLimits(t *testing.T) {
	k := keyOf(t, etype.AES256SHA1, 1)
	extra := func(n int) []SIDAttributes {
		l := make([]SIDAttributes, n)
		for i := range l {
			l[i] = SIDAttributes{domainSID, GroupUsual}
		}
		return l
	}
	for name, c := range map[string]struct {
		limit int
		set   func(p *PAC, n int)
	}{
		"groups":          {MaxGroups, func(p *PAC, n int) { p.Logon.Groups = make([]Group, n) }},
		"extra SIDs":      {MaxGroups, func(p *PAC, n int) { p.Logon.ExtraSIDs = extra(n) }},
		"resource groups": {MaxGroups, func(p *PAC, n int) { p.Logon.ResourceGroups = make([]Group, n) }},
		"name":            {maxString, func(p *PAC, n int) { p.Logon.FullName = strings.Repeat("x", n) }},
		"client":          {maxString, func(p *PAC, n int) { p.Client.Name = strings.Repeat("x", n) }},
		"buffers": {MaxBuffers - 7, func(p *PAC, n int) {
			p.Extra = nil
			for i := range n {
				p.Extra = append(p.Extra, Buffer{uint32(100 + i), []byte{1}})
			}
		}},
	} {
		for n, want := range map[int]error{c.limit: nil, c.limit + 1: ErrTooLong} {
			p := sample(1)
			c.set(p, n)
			b, err := p.Sign(nil, k, k, nil)
			if err != want {
				t.Errorf("%s: %d gives %v", name, n, err)
			}
			if err == nil {
				if got, err := Parse(b); err != nil || !reflect.DeepEqual(got, p) {
					t.Errorf("%s: %d does not read back: %v", name, n, err)
				}
			}
		}
	}
	long := sample(1)
	long.UPN.UPN = strings.Repeat("x", 1<<15)
	if _, err := long.Sign(nil, k, k, nil); err != ErrTooLong {
		t.Error(err)
	}
	if _, err := (&PAC{}).Sign(nil, k, k, nil); err != ErrMissing {
		t.Error(err)
	}
	if _, err := sample(1).Sign(nil, k, etype.Key{}, nil); err != ErrNoKey {
		t.Error(err)
	}
}

func TestFileTime(t *testing.T) {
	// expect: [MS-DTYP]'s epoch, and t_pac's authtime beside its bytes.
	if got := FileTimeOf(time.Unix(1120440609, 0)); got != 0x01c58037ea286680 {
		t.Errorf("%x", uint64(got))
	}
	for _, when := range []time.Time{{}, authTime, time.Unix(0, 0).UTC(), time.Date(1601, 1, 1, 0, 0, 0, 100, time.UTC), authTime.Add(1234567 * 100)} {
		if got := FileTimeOf(when).Time(); !got.Equal(when) {
			t.Errorf("%v comes back as %v", when, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	server, kdc := keyOf(f, etype.AES256SHA1, 1), keyOf(f, etype.AES256SHA1, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		if Verify(b, server, []byte("ticket"), kdc) == nil {
			t.Fatal("forged")
		}
		p, err := Parse(b)
		if err != nil {
			return
		}
		wire, err := p.Sign(nil, server, kdc, []byte("ticket"))
		if errors.Is(err, ErrTooLong) {
			return // with two more signatures, or with text that was no UTF-16
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify(wire, server, []byte("ticket"), kdc); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(wire)
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%v\n%+v\n%+v", err, p, again)
		}
	})
}

// FuzzLogonInfo reaches the NDR without a directory around it.
func FuzzLogonInfo(f *testing.F) {
	for _, b := range seeds(f) {
		var d table
		if err := d.read(b); err != nil {
			f.Fatal(err)
		}
		e, _ := d.find(TypeLogonInfo)
		f.Add(e.of(b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseLogonInfo(b)
		if err != nil {
			return
		}
		var w writer
		l.append(&w)
		again, err := parseLogonInfo(w.b)
		if err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("%v\n%+v\n%+v", err, l, again)
		}
	})
}

func seeds(t testing.TB) (list [][]byte) {
	t.Helper()
	k := keyOf(t, etype.AES256SHA1, 1)
	for _, n := range []int{0, 3} {
		b, err := sample(n).Sign(nil, k, k, []byte("ticket"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return append(list, unhex(t, windows2003))
}

func BenchmarkSign20Groups(b *testing.B) {
	p, k := sample(20), keyOf(b, etype.AES256SHA1, 1)
	p.Extra = nil
	buf, ticket := make([]byte, 0, 4096), make([]byte, 500)
	for name, tk := range map[string][]byte{"TGT": nil, "service": ticket} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Sign(buf, k, k, tk); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLogonInfo20Groups(b *testing.B) {
	l := sample(20).Logon
	w := writer{b: make([]byte, 0, 4096)}
	b.ReportAllocs()
	for b.Loop() {
		w.b = w.b[:0]
		l.append(&w)
	}
}

func BenchmarkParse20Groups(b *testing.B) {
	k := keyOf(b, etype.AES256SHA1, 1)
	wire, err := sample(20).Sign(nil, k, k, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify20Groups(b *testing.B) {
	k := keyOf(b, etype.AES256SHA1, 1)
	wire, err := sample(20).Sign(nil, k, k, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := Verify(wire, k, nil, k); err != nil {
			b.Fatal(err)
		}
	}
}
