package pac

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/keytab"
	gokrb5 "github.com/jcmturner/gokrb5/v8/test/testdata"
	"github.com/jcmturner/gokrb5/v8/types"
	msrpc "github.com/oiweiwei/go-msrpc/msrpc/pac/testdata"

	"skyrealm/krb5/etype"
)

// windows2003 is a PAC that a Windows Server 2003 KDC issued to a member, with
// the keys of both (Samba's torture test local.pac, also in MIT krb5's t_pac).
const windows2003 = "" +
	"040000000000000001000000d801000048000000000000000a00000020000000200200000000000006000000140000004002000000000000" +
	"0700000014000000580200000000000001100800ccccccccc8010000000000000000020030dfa6cb4f7dc501ffffffffffffff7fffffffff" +
	"ffffff7fc03c4e596273c501c03c4e596273c501ffffffffffffff7f16001600040002000000000008000200000000000c00020000000000" +
	"100002000000000014000200000000001800020065000000ed03000004020000010000001c00020020000000000000000000000000000000" +
	"0000000014001600200002001600180024000200280002000000000000000000002100000000000000000000000000000000000000000000" +
	"0000000000000000010000002c0002000000000000000000000000000b000000000000000b00000057003200300030003300460049004e00" +
	"41004c0024000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000" +
	"0000000000000000000000000100000004020000070000000b000000000000000a00000057003200300030003300460049004e0041004c00" +
	"0c000000000000000b000000570049004e0032004b0033005400480049004e004b00000004000000010400000000000515000000112fafb5" +
	"90041bec503becdc0100000030000200070000000100000001010000000000050900000000000000806628ea3780c5011600770032003000" +
	"30003300660069006e0061006c00240076ffffff37d5b0f724f0d6d4ec09865aa0e8c3a90000000076ffffffb4d8b8fe83b3133ffc5c41ad" +
	"e26483e000000000"

const (
	windows2003Member = "d217faeae5e6b5f95ccc94077ab8a5fc"
	windows2003KDC    = "b286757148af7fd252c53603a150b7e7"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ToLower(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func key(t testing.TB, id etype.ID, hex string) etype.Key {
	t.Helper()
	k, err := etype.NewKey(id, unhex(t, hex))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWindows2003(t *testing.T) {
	b := unhex(t, windows2003)
	member, kdc := key(t, etype.RC4, windows2003Member), key(t, etype.RC4, windows2003KDC)
	if err := Verify(b, member, nil, kdc); err != nil {
		t.Fatal(err)
	}
	p, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	// expect: t_pac's authtime and user; the rest as ndrdump shows it.
	if !p.Client.AuthTime.Equal(time.Unix(1120440609, 0)) {
		t.Errorf("authtime %v", p.Client.AuthTime)
	}
	l := p.Logon
	if p.Client.Name != "w2003final$" || l.EffectiveName != "W2003FINAL$" || l.UserID != 1005 || l.PrimaryGroupID != 516 ||
		l.LogonServer != "W2003FINAL" || l.LogonDomainName != "WIN2K3THINK" || l.KickOffTime != Never || l.LogonCount != 101 ||
		l.LogonDomainID.String() != "S-1-5-21-3048156945-3961193616-3706469200" || l.UserAccountControl != AccountServer|AccountTrustedForDeleg ||
		len(l.Groups) != 1 || l.Groups[0] != (Group{516, GroupUsual}) || l.UserFlags != LogonExtraSIDs ||
		len(l.ExtraSIDs) != 1 || l.ExtraSIDs[0].SID.String() != "S-1-5-9" || l.ExtraSIDs[0].Attributes != GroupUsual {
		t.Errorf("%+v", l)
	}
	// Windows wrote the same buffers in the same order: signed with the same
	// keys, ours must be its PAC to the last byte.
	ours, err := p.Sign(nil, member, kdc, nil)
	if err != nil || !bytes.Equal(ours, b) {
		t.Errorf("%v\n%x, Windows has\n%x", err, ours, b)
	}
}

// TestPublished reads other PACs and encodes their LOGON_INFO byte for byte.
func TestPublished(t *testing.T) {
	for name, hex := range map[string]string{
		"[MS-PAC] §3": gokrb5.MarshaledPAC_Kerb_Validation_Info_MS, "Samba": gokrb5.MarshaledPAC_Kerb_Validation_Info,
		"trust": gokrb5.MarshaledPAC_Kerb_Validation_Info_Trust,
	} {
		b := unhex(t, hex)
		l, err := parseLogonInfo(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var w writer
		if l.append(&w); !bytes.Equal(w.b, b) {
			t.Errorf("%s:\n%x, not\n%x\n%+v", name, w.b, b, l)
		}
	}
	// Whole PACs of Windows: a 2012 domain, and a 2022 one.
	for name, hex := range map[string]string{"gokrb5": gokrb5.MarshaledPAC_AD_WIN2K_PAC, "go-msrpc": msrpc.MarshaledPAC_AD_WIN2K_PAC} {
		b := unhex(t, hex)
		p, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var made builder
		if err := made.build(p, nil, 0); err != nil {
			t.Fatal(err)
		}
		var theirs table
		if err := theirs.read(b); err != nil {
			t.Fatal(err)
		}
		for _, e := range made.t.entries() {
			want, _ := theirs.find(e.kind)
			if got := e.of(made.b); !bytes.Equal(got, want.of(b)) {
				t.Errorf("%s, buffer %d:\n%x, not\n%x", name, e.kind, got, want.of(b))
			}
		}
	}
}

// TestGokrb5Key verifies the signature of a PAC under an AES key: gokrb5's
// keytab has the service's, and nobody the KDC's.
func TestGokrb5Key(t *testing.T) {
	kt := keytab.New()
	if err := kt.Unmarshal(unhex(t, gokrb5.KEYTAB_SYSHTTP_TEST_GOKRB5)); err != nil {
		t.Fatal(err)
	}
	k, _, err := kt.GetEncryptionKey(types.NewPrincipalName(1, "sysHTTP"), "TEST.GOKRB5", 2, 18)
	if err != nil {
		t.Fatal(err)
	}
	server, err := etype.NewKey(etype.AES256SHA1, k.KeyValue)
	if err != nil {
		t.Fatal(err)
	}
	b := unhex(t, gokrb5.MarshaledPAC_AD_WIN2K_PAC)
	if err := Verify(b, server, nil); err != nil {
		t.Error(err)
	}
	if err := Verify(b, server, nil, server); err != ErrSignature {
		t.Errorf("the KDC's signature under the service's key: %v", err)
	}
}
