package pac

import (
	"bytes"
	"errors"
	"reflect"
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
		Delegation: &Delegation{"cifs/files.contoso.test", []string{"HTTP/wéb@AADDS.CONTOSO.TEST", "host/b@AADDS.CONTOSO.TEST"}},
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
// resign makes server and KDC signature of a changed PAC anew.
// relabel gives a buffer another type.
// TestStripped takes each signature away (T02, T03), and makes the rest good
// where that needs only the server's key.
// TestUnkeyed announces checksum types that need no key, and keyed ones that
// are not the key's (T06, MS14-068).
// TestEmptySignature holds a signature of a type without a length, and without
// a byte.
// TestDirectory is T04 (CVE-2022-42898): each fault in the directory is refused
// by what reads it, and nothing is allocated for it.
// TestLogonInfoRefused breaks one field of LOGON_INFO after the other.
// TestReaderRefused holds each guard of the NDR reader by itself.
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
		"buffers": {MaxBuffers - 8, func(p *PAC, n int) {
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
