package pac

import (
	"bytes"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	gokrb5pac "github.com/jcmturner/gokrb5/v8/pac"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/oiweiwei/go-msrpc/msrpc/dtyp"
	msrpc "github.com/oiweiwei/go-msrpc/msrpc/pac"
	"github.com/oiweiwei/go-msrpc/ndr"

	"skyrealm/krb5/etype"
	"skyrealm/sid"
)

func msTime(f FileTime) *dtyp.Filetime {
	return &dtyp.Filetime{LowDateTime: uint32(f), HighDateTime: uint32(f >> 32)}
}

func msString(s string, spare int) *dtyp.UnicodeString {
	n := units(s)
	return &dtyp.UnicodeString{Length: uint16(2 * n), MaximumLength: uint16(2 * (n + spare)), Buffer: s}
}

func msSID(t testing.TB, s sid.SID) *dtyp.SID {
	t.Helper()
	if s == "" {
		return nil
	}
	out := new(dtyp.SID)
	if err := out.Parse(s.String()); err != nil {
		t.Fatal(err)
	}
	return out
}

func msGroups(list []Group) (out []*msrpc.GroupMembership) {
	for _, g := range list {
		out = append(out, &msrpc.GroupMembership{RelativeID: g.RID, Attributes: g.Attributes})
	}
	return out
}

// msLogon is LOGON_INFO in go-msrpc's structure.
func msLogon(t testing.TB, l *LogonInfo) *msrpc.KerberosValidationInfo {
	v := &msrpc.KerberosValidationInfo{
		LogonTime: msTime(l.LogonTime), LogoffTime: msTime(l.LogoffTime), KickOffTime: msTime(l.KickOffTime),
		PasswordLastSet: msTime(l.PasswordLastSet), PasswordCanChange: msTime(l.PasswordCanChange), PasswordMustChange: msTime(l.PasswordMustChange),
		EffectiveName: msString(l.EffectiveName, 0), FullName: msString(l.FullName, 0), LogonScript: msString(l.LogonScript, 0),
		ProfilePath: msString(l.ProfilePath, 0), HomeDirectory: msString(l.HomeDirectory, 0), HomeDirectoryDrive: msString(l.HomeDirectoryDrive, 0),
		LogonCount: l.LogonCount, BadPasswordCount: l.BadPasswordCount, UserID: l.UserID, PrimaryGroupID: l.PrimaryGroupID,
		GroupCount: uint32(len(l.Groups)), GroupIDs: msGroups(l.Groups), UserFlags: l.UserFlags,
		LogonServer: msString(l.LogonServer, 1), LogonDomainName: msString(l.LogonDomainName, 1), LogonDomainID: msSID(t, l.LogonDomainID),
		UserAccountControl: l.UserAccountControl, SIDCount: uint32(len(l.ExtraSIDs)),
		ResourceGroupDomainSID: msSID(t, l.ResourceGroupDomain),
		ResourceGroupCount:     uint32(len(l.ResourceGroups)), ResourceGroupIDs: msGroups(l.ResourceGroups),
	}
	for _, e := range l.ExtraSIDs {
		v.ExtraSIDs = append(v.ExtraSIDs, &msrpc.KerberosSIDAndAttributes{SID: msSID(t, e.SID), Attributes: e.Attributes})
	}
	return v
}

// msSample is a sample of what both packages can say: go-msrpc has no names for
// the fields between UserAccountControl and SidCount.
func msSample(groups int) *PAC {
	p := sample(groups)
	l := p.Logon
	l.HomeDirectory = "x" // go-msrpc sends a null pointer for an empty string
	l.SubAuthStatus, l.LastSuccessfulLogon, l.LastFailedLogon, l.FailedLogonCount = 0, 0, 0, 0
	p.Extra = nil
	return p
}

// TestMSRPC compares LOGON_INFO with go-msrpc's byte for byte, but for the
// referent ids, which are free; then each reads the other's.
func TestMSRPC(t *testing.T) {
	for _, groups := range []int{1, 2, 20} {
		p := msSample(groups)
		theirs, err := ndr.MarshalWithTypeSerializationV1(ndr.MarshalerPointer(msLogon(t, p.Logon)))
		if err != nil {
			t.Fatal(err)
		}
		var w writer
		p.Logon.append(&w)
		same := bytes.Clone(theirs)
		if takeIDs(w.b, same); !bytes.Equal(w.b, same) {
			t.Errorf("%d groups:\n%x, go-msrpc has\n%x", groups, w.b, theirs)
		}
		if l, err := parseLogonInfo(theirs); err != nil || !reflect.DeepEqual(l, p.Logon) {
			t.Errorf("%d groups: %v\n%+v, want\n%+v", groups, err, l, p.Logon)
		}

		k := keyOf(t, etype.AES256SHA1, 1)
		wire, err := p.Sign(nil, k, k, []byte("ticket"))
		if err != nil {
			t.Fatal(err)
		}
		var m msrpc.PAC
		if err := m.Unmarshal(wire); err != nil {
			t.Fatal(err)
		}
		back, err := ndr.MarshalWithTypeSerializationV1(ndr.MarshalerPointer(m.LogonInformation))
		if err != nil || !bytes.Equal(back, theirs) {
			t.Errorf("%d groups: %v: go-msrpc reads ours as\n%x, not\n%x", groups, err, back, theirs)
		}
		if c := m.ClientNameAndTicketInformation; c.Name != p.Client.Name || *c.ClientID != *msTime(FileTimeOf(authTime)) {
			t.Errorf("client %+v", c)
		}
		if u := m.UPNAndDNSInformation; u.UPN != p.UPN.UPN || u.DNSDomainName != p.UPN.DNSDomain || u.SAMName != p.UPN.SAM ||
			u.SID.String() != p.UPN.SID.String() || u.Flags != 3 {
			t.Errorf("UPN %+v", u)
		}
		if m.Attributes.Flags != 1 || m.Attributes.FlagsLength != 2 || m.RequestorSID.String() != p.Requestor.String() {
			t.Errorf("%+v %v", m.Attributes, m.RequestorSID)
		}
		for name, s := range map[string]*msrpc.PACSignatureData{"server": m.ServerChecksum, "kdc": m.KDCChecksum,
			"ticket": m.TicketChecksum, "full": m.ExtendedKDCChecksum} {
			if s == nil || s.SignatureType != 16 || len(s.Signature) != 12 {
				t.Errorf("%s signature: %+v", name, s)
			}
		}

		// And a whole PAC of theirs, whose layout differs.
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(b); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%d groups: a PAC by go-msrpc: %v\n%+v", groups, err, got)
		}
	}
}

// takeIDs gives theirs the referent ids of ours, wherever both have one.
func takeIDs(ours, theirs []byte) {
	for i := 16; i+4 <= min(len(ours), len(theirs)); i += 4 {
		if v := le.Uint32(ours[i:]); v >= 0x20000 && v < 0x20100 && le.Uint32(theirs[i:]) != 0 {
			le.PutUint32(theirs[i:], v)
		}
	}
}

// TestGokrb5 lets gokrb5 read our PAC and check the server's signature, and
// makes the KDC's three with gokrb5's checksums.
func TestGokrb5(t *testing.T) {
	for _, id := range allTypes {
		server, kdc := keyOf(t, id, 1), keyOf(t, id, 2)
		p := msSample(5)
		p.UPN.SAM, p.UPN.SID = "", "" // gokrb5 knows no flag S
		ticket := []byte("an EncTicketPart")
		wire, err := p.Sign(nil, server, kdc, ticket)
		if err != nil {
			t.Fatal(err)
		}
		var g gokrb5pac.PACType
		if err := g.Unmarshal(wire); err != nil {
			t.Fatal(err)
		}
		err = g.ProcessPACInfoBuffers(types.EncryptionKey{KeyType: int32(id), KeyValue: server.Expose()}, log.New(io.Discard, "", 0))
		// gokrb5 knows no length for the SHA-2 signatures, which come last.
		if sha2 := id == etype.AES128SHA2 || id == etype.AES256SHA2; (err != nil) != sha2 {
			t.Errorf("%v: gokrb5: %v", id, err)
			continue
		}
		k := g.KerbValidationInfo
		if k.EffectiveName.Value != "zoë" || k.LogonDomainID.String() != domainSID.String() || k.PrimaryGroupID != 513 || len(k.GroupIDs) != 5 ||
			k.GetGroupMembershipSIDs()[0] != domainSID.Append(513).String() || !k.LogOnTime.Time().Equal(authTime) || g.ClientInfo.Name != "zoë" ||
			g.UPNDNSInfo.UPN != p.UPN.UPN || k.ResourceGroupDomainSID.String() != "S-1-5-32" || k.ExtraSIDs[0].SID.String() != "S-1-18-1" {
			t.Errorf("%v: gokrb5 reads %+v", id, k)
		}

		et, err := crypto.GetEtype(int32(id))
		if err != nil {
			t.Fatal(err)
		}
		sum := func(key etype.Key, msg []byte) []byte {
			mac, err := et.GetChecksumHash(key.Expose(), msg, usage)
			if err != nil {
				t.Fatal(err)
			}
			return mac
		}
		var d table
		if err := d.read(wire); err != nil {
			t.Fatal(err)
		}
		signature := func(kind uint32) []byte {
			e, _ := d.find(kind)
			if int32(le.Uint32(e.of(wire))) != et.GetHashID() {
				t.Errorf("%v: checksum type %d", id, int32(le.Uint32(e.of(wire))))
			}
			return e.of(wire)[4:]
		}
		zeroed := bytes.Clone(wire)
		d.zero(zeroed, TypeServerChecksum)
		d.zero(zeroed, TypeKDCChecksum)
		if !bytes.Equal(signature(TypeServerChecksum), sum(server, zeroed)) {
			t.Errorf("%v: server signature", id)
		}
		if !bytes.Equal(signature(TypeKDCChecksum), sum(kdc, signature(TypeServerChecksum))) {
			t.Errorf("%v: KDC signature", id)
		}
		if !bytes.Equal(signature(TypeTicketChecksum), sum(kdc, ticket)) {
			t.Errorf("%v: ticket signature", id)
		}
		d.zero(zeroed, TypeFullChecksum)
		if !bytes.Equal(signature(TypeFullChecksum), sum(kdc, zeroed)) {
			t.Errorf("%v: full signature", id)
		}
	}
}

// TestNdrdump lets Samba's own parser read a PAC and write it anew: --validate
// compares the bytes.
func TestNdrdump(t *testing.T) {
	path, err := exec.LookPath("ndrdump")
	if err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal("ndrdump is missing: install samba-testsuite")
		}
		t.Skip("ndrdump is missing: install samba-testsuite")
	}
	k := keyOf(t, etype.AES256SHA1, 1)
	for name, p := range map[string]*PAC{"full": sample(20), "minimal": {Logon: &LogonInfo{}, Client: &ClientInfo{AuthTime: time.Unix(1, 0)}}} {
		p.Extra = nil
		wire, err := p.Sign(nil, k, k, []byte("ticket"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, wire, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), path, "--configfile=/dev/null", "--validate", "krb5pac", "PAC_DATA", "struct", file).CombinedOutput()
		text := string(out)
		t.Log(text)
		if err != nil || !strings.Contains(text, "dump OK") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "minimal" {
			continue
		}
		for _, want := range []string{
			"S-1-5-21-3048156945-3961193616-3706469200-1103", "zoë@contoso.test", "AADDS.CONTOSO.TEST", "PAC_TYPE_TICKET_CHECKSUM",
			"PAC_TYPE_FULL_CHECKSUM", "num_buffers              : 0x0000000a", "HTTP/wéb@AADDS.CONTOSO.TEST",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: ndrdump shows no %s", name, want)
			}
		}
	}
}
