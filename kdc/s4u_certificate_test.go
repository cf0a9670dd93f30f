package kdc

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/pkinit"
)

// certified is S4U2Self of web for whom a certificate names, as MIT's kvno -F asks.
func (w *world) certified(cert []byte, name krb5.PrincipalName) *tgsReq {
	q := w.tgsReq(w.login("web"), webSPN)
	q.padata = krb5.MethodData{byID(q.key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: name, Realm: testRealm,
		Certificate: cert, Options: krb5.S4UReplyKeyUsage})}
	return q
}

// TestS4U2SelfByCertificate ([MS-SFU] §2.2.2): the ticket is that of the account
// that the certificate is for, by whatever name, and the reply says whose.
func TestS4U2SelfByCertificate(t *testing.T) {
	w := s4uWorld(t)
	ca := w.withPKINIT()
	cert := ca.card(person(w.anna())).chain[0].Raw
	alone := ca.card(person(pkinit.Identity{SID: w.anna().SID, Names: []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(1, "alice")}}})).chain[0].Raw
	for name, c := range map[string]struct {
		cert         []byte
		name, expect krb5.PrincipalName
	}{
		"alone":                          {cert, krb5.PrincipalName{}, krb5.Principal(1, "alice")},
		"id-pkinit-san":                  {alone, krb5.PrincipalName{}, krb5.Principal(1, "alice")},
		"with its subject, as Windows":   {cert, krb5.Principal(krb5.NTX500Principal, "CN=a person"), krb5.Principal(1, "alice")},
		"with the account's name":        {cert, krb5.Principal(1, "ALICE"), krb5.Principal(1, "ALICE")},
		"with the account's other name":  {cert, krb5.Principal(krb5.NTEnterprise, "alice.liddell@contoso.test"), krb5.Principal(1, "alice")},
		"with its subject, of no length": {cert, krb5.Principal(krb5.NTX500Principal, ""), krb5.Principal(1, "alice")},
	} {
		t.Run(name, func(t *testing.T) {
			w.t, w.now = t, w.now.Add(time.Second)
			q := w.certified(c.cert, c.name)
			g := w.tgs(q)
			part, p := w.said(&g.rep.Ticket, w.key("web", 18))
			if !part.CName.Equal(c.expect) || !g.rep.CName.Equal(c.expect) || p.Logon.UserID != w.rep.BySAM("alice").RID || extraSIDs(p) != "S-1-18-2" || len(p.Logon.Groups) != 3 {
				t.Errorf("%v %v %+v", part.CName, g.rep.CName, p.Logon)
			}
			answer, _ := g.rep.PAData.Find(krb5.PAS4UX509User)
			var told krb5.S4UX509User
			if err := told.Unmarshal(answer); err != nil {
				t.Fatal(err)
			}
			if told.Nonce != q.body.Nonce || !told.Name.Equal(c.expect) || told.Realm != testRealm || told.Certificate != nil || told.Options != krb5.S4UReplyKeyUsage ||
				q.key.VerifyChecksum(told.RawUserID, told.Checksum.Value, krb5.UsageS4UX509Reply) != nil {
				t.Errorf("the answer is %+v", told)
			}
		})
	}
}

// certificateTrial is S4U2Self by certificate.
type certificateTrial struct {
	w    *world
	ca   *authority
	cert *x509.Certificate
	raw  []byte // instead of the certificate
	name krb5.PrincipalName
}

// young gives it a certificate that needs no SID.
func (r *certificateTrial) young(who pkinit.Identity) {
	r.cert = person(who)
	r.cert.NotBefore, r.cert.NotAfter = testNow, testNow.Add(time.Hour)
}

// TestS4U2SelfByCertificateRefused: each case has one fault. The same certificates
// are refused where a service asks beforehand whose they are.
func TestS4U2SelfByCertificateRefused(t *testing.T) {
	type trial = certificateTrial
	who := func(alter func(w *world, who *pkinit.Identity)) func(*trial) {
		return func(r *trial) {
			anna := r.w.anna()
			alter(r.w, &anna)
			r.cert = person(anna)
		}
	}
	for name, c := range map[string]struct {
		alter  func(*trial)
		expect krb5.ErrorCode
		named  bool // the fault is the name's beside it
	}{
		"malformed":            {alter: func(r *trial) { r.raw = []byte("junk") }, expect: krb5.ErrInvalidCertificate},
		"too long":             {alter: func(r *trial) { r.cert.Subject.CommonName = strings.Repeat("x", pkinit.MaxCertificate) }, expect: krb5.ErrInvalidCertificate},
		"of another authority": {alter: func(r *trial) { r.ca = newAuthority(t, newECKey()) }, expect: krb5.ErrCantVerifyCertificate},
		"altered": {alter: func(r *trial) {
			r.raw = bytes.Clone(r.ca.card(r.cert).chain[0].Raw)
			r.raw = bytes.Replace(r.raw, []byte("Alice.Liddell@"), []byte("Blice.Liddell@"), 1)
		}, expect: krb5.ErrCantVerifyCertificate},
		"of a person": {alter: func(r *trial) { // alice issues for herself
			key := newECKey()
			r.ca = &authority{t: t, cert: r.ca.sign(person(r.w.anna()), r.ca.cert, key), key: key}
		}, expect: krb5.ErrCantVerifyCertificate},
		"expired": {alter: func(r *trial) {
			r.cert.NotBefore, r.cert.NotAfter = testNow.Add(-time.Hour), testNow.Add(-time.Second)
		}, expect: krb5.ErrInvalidCertificate},
		"not yet valid": {alter: func(r *trial) {
			r.cert.NotBefore, r.cert.NotAfter = testNow.Add(time.Second), testNow.Add(time.Hour)
		}, expect: krb5.ErrInvalidCertificate},
		"for another purpose": {alter: func(r *trial) { r.cert.UnknownExtKeyUsage = nil }, expect: krb5.ErrInconsistentPurpose},
		"of no person": {alter: func(r *trial) {
			r.cert = &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, UnknownExtKeyUsage: r.cert.UnknownExtKeyUsage}
		}, expect: krb5.ErrCPrincipalUnknown},
		"of nobody here": {alter: who(func(_ *world, who *pkinit.Identity) { who.UPNs = []string{"nobody@contoso.test"} }), expect: krb5.ErrCPrincipalUnknown},
		"of another realm's": {alter: who(func(_ *world, who *pkinit.Identity) {
			who.UPNs, who.Names = nil, []pkinit.Name{{Realm: "OTHER.TEST", Principal: krb5.Principal(1, "alice")}}
		}), expect: krb5.ErrCPrincipalUnknown},
		"of a group": {alter: func(r *trial) {
			club := r.w.user("Club", "")
			club.Kind, club.Class, club.UAC, club.UPN = domain.Group, "group", 0, "club@contoso.test"
			r.w.put(club)
			r.young(pkinit.Identity{UPNs: []string{club.UPN}})
		}, expect: krb5.ErrCPrincipalUnknown},
		"of two": {alter: func(r *trial) {
			r.young(pkinit.Identity{UPNs: r.w.anna().UPNs, Names: []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(1, "bob")}}})
		}, expect: krb5.ErrCertificateMismatch},
		"another SID": {alter: who(func(w *world, who *pkinit.Identity) { who.SID = w.rep.BySAM("bob").SID().String() }), expect: krb5.ErrCertificateMismatch},
		"no SID, older than the account": {alter: who(func(_ *world, who *pkinit.Identity) { who.SID = "" }),
			expect: krb5.ErrCertificateMismatch},
		"disabled": {alter: func(r *trial) {
			r.w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACDisabled })
		}, expect: krb5.ErrClientRevoked},
		"of the krbtgt": {alter: who(func(w *world, who *pkinit.Identity) {
			who.UPNs, who.SID = nil, w.rep.ByRID(domain.RIDKrbtgt).SID().String()
			who.Names = []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(1, "krbtgt")}}
		}), expect: krb5.ErrClientRevoked},
		"beside another's name": {alter: func(r *trial) { r.name = krb5.Principal(1, "bob") }, expect: krb5.ErrClientNameMismatch, named: true},
		"beside nobody's name":  {alter: func(r *trial) { r.name = krb5.Principal(1, "nobody") }, expect: krb5.ErrCPrincipalUnknown, named: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := s4uWorld(t)
			r := &trial{w: w, ca: w.withPKINIT(), cert: person(w.anna())}
			c.alter(r)
			if r.raw == nil {
				r.raw = r.ca.card(r.cert).chain[0].Raw
			}
			w.refused(w.sendRaw(w.encode(w.certified(r.raw, r.name))), c.expect)
			if !c.named {
				w.refused(w.send(w.whose(r.raw)), c.expect)
			}
			w.now = w.now.Add(time.Second)
			w.tgs(w.selfReq(w.login("web"), webSPN, "müller")) // and a good one afterwards
		})
	}
	// A KDC that takes certificates of nobody.
	w := s4uWorld(t)
	cert := w.withPKINIT().card(person(w.anna())).chain[0].Raw
	w.kdc.PKINIT.Clients = nil
	w.refused(w.sendRaw(w.encode(w.certified(cert, krb5.PrincipalName{}))), krb5.ErrCantVerifyCertificate)
}

// whose asks for the realm of a certificate, as MIT's clients do before S4U2Self.
func (w *world) whose(cert []byte) *krb5.KDCReq {
	q := w.asReq("")
	q.CName.Type = krb5.NTX500Principal
	q.PAData = krb5.MethodData{{Type: krb5.PAS4UX509User, Value: cert}}
	return q
}

// TestWhoseCertificate: the answer is that to a sign-in of the account, which a
// password or the certificate's key then takes; the certificate itself gives nothing.
func TestWhoseCertificate(t *testing.T) {
	w := newWorld(t)
	card := w.withPKINIT().card(person(w.anna()))
	cert := card.chain[0].Raw
	e := w.refused(w.send(w.whose(cert)), krb5.ErrPreauthRequired)
	if !bytes.Contains(e.EData, []byte(testRealm+"alice")) {
		t.Error("not alice's salt")
	}
	q := w.whose(cert)
	q.PAData = append(q.PAData, w.proof(w.key("fay", 18), w.now))
	w.refused(w.send(q), krb5.ErrPreauthFailed)
	q = w.whose(cert)
	q.PAData = append(q.PAData, w.proof(w.key("alice", 18), w.now))
	g := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	if g.rep.CName.String() != "alice" {
		t.Errorf("a ticket of %v", g.rep.CName)
	}
	g, _ = w.signIn(w.whose(cert), card)
	if g.rep.CName.String() != "alice" {
		t.Errorf("a ticket of %v", g.rep.CName)
	}
	// Beside any other kind of name it means nothing.
	q = w.whose(cert)
	q.CName = krb5.Principal(krb5.NTPrincipal, "nobody")
	w.refused(w.send(q), krb5.ErrCPrincipalUnknown)
}
