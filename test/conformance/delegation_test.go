package conformance

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/oiweiwei/go-msrpc/msrpc/pac"

	"skyrealm/secdesc"
	"skyrealm/sid"
	"skyrealm/test/harness"
)

// service is a service account with its keys.
type service struct{ spn, keytab, sam, dn string }

func (w *world) service(t *testing.T, admin *directory, host string) *service {
	t.Helper()
	s := &service{spn: "HTTP/" + host + "." + w.Domain, sam: "svc-http-" + host}
	s.keytab = w.keytab(t, s.spn)
	s.dn = admin.one("(sAMAccountName="+s.sam+")", "distinguishedName")
	return s
}

// set replaces the values of an attribute; without any it takes them away.
func (d *directory) set(dn, attr string, values ...string) {
	d.t.Helper()
	change := fmt.Sprintf("dn: %s\nchangetype: modify\nreplace: %s\n", dn, attr)
	for _, v := range values {
		change += attr + ":: " + base64.StdEncoding.EncodeToString([]byte(v)) + "\n"
	}
	d.run(change, "ldapmodify")
}

// allow is the descriptor that Windows' tools write for a service that may act
// on behalf of others.
func allow(t *testing.T, who string) string {
	t.Helper()
	s, err := sid.FromBytes([]byte(who))
	if err != nil {
		t.Fatal(err)
	}
	d := secdesc.Descriptor{Owner: sid.New(5, 32, 544), DACL: &secdesc.ACL{Revision: 2, Entries: []secdesc.ACE{{Mask: secdesc.FullControl, SID: s}}}}
	b, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pacOf reads a ticket out of a cache, opens it with its service's key, and has
// its PAC read by a program that is not ours.
func (k *kerberos) pacOf(cache, client string, s *service) *pac.PAC {
	k.t.Helper()
	cc, err := credentials.LoadCCache(cache)
	if err != nil {
		k.t.Fatal(err)
	}
	kt, err := keytab.Load(s.keytab)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, c := range cc.GetEntries() {
		if c.Server.PrincipalName.PrincipalNameString() != s.spn && c.Server.PrincipalName.PrincipalNameString() != s.sam ||
			c.Client.PrincipalName.PrincipalNameString() != client {
			continue
		}
		var ticket messages.Ticket
		if err := ticket.Unmarshal(c.Ticket); err != nil {
			k.t.Fatal(err)
		}
		name := types.NewPrincipalName(1, s.spn)
		if err := ticket.DecryptEncPart(kt, &name); err != nil {
			k.t.Fatal(err)
		}
		var inner types.AuthorizationData
		if err := inner.Unmarshal(ticket.DecryptedEncPart.AuthorizationData[0].ADData); err != nil {
			k.t.Fatal(err)
		}
		p := new(pac.PAC)
		if err := p.Unmarshal(inner[0].ADData); err != nil {
			k.t.Fatal(err)
		}
		dump := filepath.Join(k.t.TempDir(), "pac")
		if err := os.WriteFile(dump, inner[0].ADData, 0o600); err != nil {
			k.t.Fatal(err)
		}
		says(k.t, k.Run("", harness.Need(k.t, "ndrdump"), "--configfile=/dev/null", "--validate", "krb5pac", "PAC_DATA", "struct", dump), "dump OK")
		return p
	}
	k.t.Fatalf("no ticket of %s for %s in the cache", client, s.spn)
	return nil
}

func extras(p *pac.PAC) (all []string) {
	for _, e := range p.LogonInformation.ExtraSIDs {
		all = append(all, e.SID.String())
	}
	return all
}

const (
	plainAccount   = "512"
	trustedAccount = "16777728" // TRUSTED_TO_AUTH_FOR_DELEGATION
	notSupported   = "KDC can't fulfill requested option"
)

// testDelegation: MIT's kvno makes a service act for people, as far as the
// directory says it may.
func testDelegation(t *testing.T, w *world) {
	admin, k := w.ldapAdmin(t), w.mit(t)
	kvno, klist := harness.Need(t, "kvno"), harness.Need(t, "klist")
	front, back, other := w.service(t, admin, "front"), w.service(t, admin, "back"), w.service(t, admin, "other")
	cache := filepath.Join(t.TempDir(), "cc")
	k.Setenv("KRB5CCNAME", "FILE:"+cache)
	signIn := func() { k.Run("", k.program, "-f", "-k", "-t", front.keytab, front.sam) }
	refused := func(what string, args ...string) {
		t.Helper()
		signIn()
		out, err := k.Try("", kvno, args...)
		if err == nil {
			t.Errorf("%s: there is a ticket:\n%s", what, out)
		}
		says(t, out, notSupported)
	}

	// S4U2Self, by account name and by UPN.
	signIn()
	says(t, k.Run("", kvno, "-k", front.keytab, "-I", "ada", front.sam), "keytab entry valid")
	p := k.pacOf(cache, "ada", front)
	if p.LogonInformation.EffectiveName.Buffer != "ada" || !slices.Equal(extras(p), []string{"S-1-18-2"}) {
		t.Errorf("the PAC is %s's, with %v", p.LogonInformation.EffectiveName.Buffer, extras(p))
	}
	signIn()
	says(t, k.Run("", kvno, "-k", front.keytab, "-U", "ada@contoso.test", front.sam), "keytab entry valid")
	for person, told := range map[string]string{"nobody": "not found in Kerberos database", "grace": "revoked"} {
		signIn()
		out, err := k.Try("", kvno, "-I", person, front.sam)
		if err == nil {
			t.Errorf("a ticket for %s", person)
		}
		says(t, out, told)
	}
	signIn()
	if out, err := k.Try("", kvno, "-I", "ada", back.spn); err == nil {
		t.Errorf("S4U2Self to somebody else:\n%s", out)
	}

	// By a certificate that the service has seen, whose key stays with the person.
	_, card := w.certificate(t, "ada@contoso.test")
	signIn()
	says(t, k.Run("", kvno, "-k", front.keytab, "-F", card, front.sam), "keytab entry valid")
	says(t, k.Run("", klist), "for client ada@AADDS.CONTOSO.TEST")
	p = k.pacOf(cache, "ada", front)
	if p.LogonInformation.EffectiveName.Buffer != "ada" || !slices.Equal(extras(p), []string{"S-1-18-2"}) {
		t.Errorf("by certificate: the PAC is %s's, with %v", p.LogonInformation.EffectiveName.Buffer, extras(p))
	}
	_, disabled := w.certificate(t, "grace@contoso.test")
	self := filepath.Join(t.TempDir(), "self.pem") // with the very same names
	k.Run("", harness.Need(t, "openssl"), "x509", "-in", card, "-signkey", strings.TrimSuffix(card, ".pem")+"-key.pem", "-out", self)
	for path, told := range map[string]string{disabled: "revoked", self: "Can't verify certificate", w.CAFile: "Can't verify certificate"} {
		signIn()
		out, err := k.Try("", kvno, "-F", path, front.sam)
		if err == nil {
			t.Errorf("a ticket by %s:\n%s", path, out)
		}
		says(t, out, told)
	}

	// Nobody has said that it may go further.
	refused("no delegation", "-I", "ada", "-P", back.spn)

	// Protocol transition with a list of targets.
	admin.set(front.dn, "msDS-AllowedToDelegateTo", back.spn)
	admin.set(front.dn, "userAccountControl", trustedAccount)
	signIn()
	says(t, k.Run("", kvno, "-I", "ada", "-P", back.spn), back.spn+"@"+w.Realm+": kvno = ")
	says(t, k.Run("", klist), "for client ada@AADDS.CONTOSO.TEST")
	p = k.pacOf(cache, "ada", back)
	d := p.ConstrainedDelegationInformation
	if p.LogonInformation.EffectiveName.Buffer != "ada" || !slices.Equal(extras(p), []string{"S-1-18-2"}) || d == nil ||
		d.S4u2proxyTarget.Buffer != back.spn || len(d.S4UTransitedServices) != 1 || d.S4UTransitedServices[0].Buffer != front.sam+"@"+w.Realm {
		t.Errorf("the PAC is %s's, with %v and %+v", p.LogonInformation.EffectiveName.Buffer, extras(p), d)
	}
	refused("a target that is not listed", "-I", "ada", "-P", other.spn)
	// Without the flag the evidence is not forwardable, which kvno sees itself.
	admin.set(front.dn, "userAccountControl", plainAccount)
	signIn()
	if out, err := k.Try("", kvno, "-I", "ada", "-P", back.spn); err == nil {
		t.Errorf("protocol transition without the flag:\n%s", out)
	}

	// Resource-based: the target says whom it lets, by account or by group.
	admin.set(front.dn, "msDS-AllowedToDelegateTo")
	refused("no descriptor", "-I", "ada", "-P", other.spn)
	raw := func(name string) string {
		b, err := base64.StdEncoding.DecodeString(admin.one("(sAMAccountName="+name+")", "objectSid"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	admin.set(other.dn, "msDS-AllowedToActOnBehalfOfOtherIdentity", allow(t, raw(front.sam)))
	signIn()
	says(t, k.Run("", kvno, "-I", "ada", "-P", other.spn), other.spn+"@"+w.Realm+": kvno = ")
	if d = k.pacOf(cache, "ada", other).ConstrainedDelegationInformation; d == nil || d.S4u2proxyTarget.Buffer != other.spn {
		t.Errorf("delegation %+v", d)
	}
	refused("another target", "-I", "ada", "-P", back.spn)
	admin.set(other.dn, "msDS-AllowedToActOnBehalfOfOtherIdentity", allow(t, raw("ada")))
	refused("another service's descriptor", "-I", "ada", "-P", other.spn)
	admin.set(other.dn, "msDS-AllowedToActOnBehalfOfOtherIdentity", allow(t, raw(front.sam)))

	// Protected people go nowhere (trust.md T07).
	group := admin.one("(sAMAccountName=Protected Users)", "distinguishedName")
	person := admin.one("(sAMAccountName=crowd0007)", "distinguishedName")
	signIn()
	k.Run("", kvno, "-I", "crowd0007", "-P", other.spn)
	admin.set(group, "member", person)
	signIn()
	if out, err := k.Try("", kvno, "-I", "crowd0007", "-P", other.spn); err == nil {
		t.Errorf("a protected user was delegated:\n%s", out)
	}

	// T09: who may not say so.
	ada := w.ldap(t, "ada@contoso.test", adaPassword)
	for dn, attr := range map[string]string{other.dn: "msDS-AllowedToActOnBehalfOfOtherIdentity", front.dn: "msDS-AllowedToDelegateTo", group: "member"} {
		out, code := ada.try(fmt.Sprintf("dn: %s\nchangetype: modify\ndelete: %s\n", dn, attr), "ldapmodify")
		if code != 50 {
			t.Errorf("ada deletes %s of %s: status %d\n%s", attr, dn, code, out)
		}
	}
}

// testUserToUser: a ticket for a person, made under that person's session key.
func testUserToUser(t *testing.T, w *world) {
	kvno, klist := harness.Need(t, "kvno"), harness.Need(t, "klist")
	host, guest := w.mit(t), w.mit(t)
	cache := filepath.Join(t.TempDir(), "host")
	host.Setenv("KRB5CCNAME", "FILE:"+cache)
	host.kinit(adaPassword, "ada")
	guest.kinit(rocketPassword, "rocket")
	out, err := guest.Try("", kvno, "ada")
	if err == nil {
		t.Errorf("there is a ticket under a key that ada's password leads to:\n%s", out)
	}
	says(t, guest.Run("", kvno, "--u2u", "FILE:"+cache, "ada"), "ada@AADDS.CONTOSO.TEST: kvno = 0")
	says(t, guest.Run("", klist, "-e"), "ada@AADDS.CONTOSO.TEST")
	// With the TGT of somebody else.
	if out, err := guest.Try("", kvno, "--u2u", "FILE:"+cache, "vintage"); err == nil {
		t.Errorf("a ticket for vintage under ada's session key:\n%s", out)
	}
}

// testHeimdalDelegation: kgetcred does the same by other means.
func testHeimdalDelegation(t *testing.T, w *world) {
	admin, k := w.ldapAdmin(t), w.heimdal(t)
	kgetcred := harness.Need(t, "kgetcred")
	front, back := w.service(t, admin, "heimfront"), w.service(t, admin, "heimback")
	evidence := "FILE:" + filepath.Join(t.TempDir(), "evidence")
	k.Run("", k.program, "--forwardable", "--use-keytab", "--keytab="+front.keytab, front.sam+"@"+w.Realm)
	self := []string{"--impersonate=ada@" + w.Realm, "--forwardable", "--out-cache=" + evidence, front.sam + "@" + w.Realm}
	k.Run("", kgetcred, self...)
	p := k.pacOf(strings.TrimPrefix(evidence, "FILE:"), "ada", front)
	if p.LogonInformation.EffectiveName.Buffer != "ada" || !slices.Equal(extras(p), []string{"S-1-18-2"}) {
		t.Errorf("the PAC is %s's, with %v", p.LogonInformation.EffectiveName.Buffer, extras(p))
	}
	out, err := k.Try("", kgetcred, "--delegation-credential-cache="+evidence, back.spn+"@"+w.Realm)
	if err == nil {
		t.Errorf("delegation that nobody allowed:\n%s", out)
	}
	admin.set(front.dn, "msDS-AllowedToDelegateTo", back.spn)
	admin.set(front.dn, "userAccountControl", trustedAccount)
	k.Run("", kgetcred, "--delegation-credential-cache="+evidence, back.spn+"@"+w.Realm)
}
