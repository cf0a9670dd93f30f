package pac_test

import (
	"bytes"
	"testing"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/sid"
)

// TestTicketSignature goes the way of a service ticket through a KDC and back:
// the part with one zero byte for its PAC is signed, the PAC put in, and what
// the KDC decodes later gives the same bytes to verify. A flag set in between
// (Bronze Bit, CVE-2020-17049) is noticed.
func TestTicketSignature(t *testing.T) {
	server, err := etype.NewKey(etype.AES256SHA1, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	kdc, err := etype.NewKey(etype.AES256SHA2, bytes.Repeat([]byte{2}, 32))
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 21, 1, 2, 3, 0, time.UTC)
	part := krb5.EncTicketPart{
		Flags: krb5.FlagPreAuthent, Key: krb5.NewEncryptionKey(18, bytes.Repeat([]byte{3}, 32)), CRealm: "AADDS.CONTOSO.TEST",
		CName: krb5.Principal(krb5.NTPrincipal, "zoë"), Transited: krb5.TransitedEncoding{Type: 1, Contents: []byte{}}, AuthTime: when,
		EndTime: when.Add(time.Hour), PAC: []byte{0},
		AuthData: krb5.AuthorizationData{{Type: krb5.ADIfRelevant, Data: []byte{0x30, 0}}},
	}
	p := &pac.PAC{
		Logon:  &pac.LogonInfo{EffectiveName: "zoë", LogonDomainID: sid.New(5, 21, 1, 2, 3), UserID: 1103, PrimaryGroupID: 513},
		Client: &pac.ClientInfo{AuthTime: when, Name: "zoë"},
	}
	if part.PAC, err = p.Sign(nil, server, kdc, krb5.Encode(&part)); err != nil {
		t.Fatal(err)
	}
	var got krb5.EncTicketPart
	if err := got.Unmarshal(krb5.Encode(&part)); err != nil {
		t.Fatal(err)
	}
	signed := got.PAC
	got.PAC = []byte{0}
	if err := pac.Verify(signed, server, krb5.Encode(&got), kdc); err != nil {
		t.Fatal(err)
	}
	got.Flags |= krb5.FlagForwardable
	if err := pac.Verify(signed, server, krb5.Encode(&got), kdc); err != pac.ErrSignature {
		t.Fatalf("a forwardable flag added: %v", err)
	}
}
