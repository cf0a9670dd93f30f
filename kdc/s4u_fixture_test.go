package kdc

import (
	"encoding/binary"
	"strings"
	"testing"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/secdesc"
	"skyrealm/sid"
)

const filesSPN = "cifs/files.aadds.contoso.test"

// s4uWorld has, beside everybody, FILES$ with the name cifs/files.… and the
// person gina, a member of Protected Users.
func s4uWorld(t testing.TB) *world {
	w := newWorld(t)
	files := w.user("FILES$", testPassword)
	files.Kind, files.Class, files.UAC = domain.Computer, "computer", domain.UACWorkstation
	files.SPNs = []string{filesSPN, "HOST/files"}
	gina := w.user("gina", testPassword)
	w.put(files, gina)
	group := w.rep.ByRID(domain.RIDProtectedUsers)
	w.put(domain.Record{GUID: group.GUID, Kind: domain.Group, Class: "group", RID: group.RID, Parent: w.ou, RDN: group.SAM, SAM: group.SAM,
		Members: []domain.ID{gina.GUID}, Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}})
	return w
}

// delegates lets an account pass people on to services.
func (w *world) delegates(sam string, transition bool, to ...string) {
	w.change(sam, func(r *domain.Record) {
		r.Attrs = map[string][][]byte{}
		for _, spn := range to {
			r.Attrs["msDS-AllowedToDelegateTo"] = append(r.Attrs["msDS-AllowedToDelegateTo"], []byte(spn))
		}
		if r.UAC &^= domain.UACTrustedToAuth; transition {
			r.UAC |= domain.UACTrustedToAuth
		}
	})
}

// lets says by an account's descriptor who may pass people on to it.
func (w *world) lets(sam string, entries ...secdesc.ACE) {
	d := &secdesc.Descriptor{Owner: sid.New(5, 32, 544), DACL: &secdesc.ACL{Revision: 2, Entries: entries}}
	b, err := d.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	w.change(sam, func(r *domain.Record) {
		r.Attrs = map[string][][]byte{"msDS-AllowedToActOnBehalfOfOtherIdentity": {b}}
	})
}

func (w *world) full(sam string) secdesc.ACE {
	return secdesc.ACE{Mask: secdesc.FullControl, SID: w.rep.BySAM(sam).SID()}
}

// forUser is PA-FOR-USER with the checksum of [MS-SFU].
func forUser(key etype.Key, name krb5.PrincipalName, realm string) krb5.PAData {
	u := krb5.ForUser{Name: name, Realm: realm, Package: "Kerberos"}
	u.Checksum = krb5.Checksum{Type: -138, Value: hmacMD5Sum(key.Expose(), 17, u.Signed())}
	return krb5.PAData{Type: krb5.PAForUser, Value: krb5.Encode(&u)}
}

// byID is PA-S4U-X509-USER under a key.
func byID(key etype.Key, u krb5.S4UX509User) krb5.PAData {
	id := krb5.Encode(userID{&u})
	u.Checksum = krb5.Checksum{Type: key.ID().ChecksumType(), Value: key.Checksum(nil, id, krb5.UsageS4UX509Request)}
	return krb5.PAData{Type: krb5.PAS4UX509User, Value: krb5.Encode(&u)}
}

type userID struct{ *krb5.S4UX509User }

func (u userID) Marshal(w *der.Writer) { u.MarshalUserID(w) }

// selfReq is S4U2Self of the TGT's owner for a person.
func (w *world) selfReq(tgt *grant, service, person string) *tgsReq {
	q := w.tgsReq(tgt, service)
	q.padata = krb5.MethodData{forUser(tgt.session, krb5.Principal(krb5.NTPrincipal, person), testRealm)}
	return q
}

// proxyReq is S4U2Proxy of the TGT's owner with a ticket for it.
func (w *world) proxyReq(tgt *grant, evidence krb5.Ticket, target string) *tgsReq {
	q := w.tgsReq(tgt, target)
	q.body.Options |= krb5.OptCNameInAddlTkt
	q.body.AdditionalTickets = []krb5.Ticket{evidence}
	return q
}

func resourceBased(q *tgsReq) *tgsReq {
	q.padata = append(q.padata, krb5.PAData{Type: krb5.PAPACOptions, Value: krb5.Encode(krb5.PACOptions(krb5.PACOptResourceBasedS4U))})
	return q
}

// evidence is the ticket that a person shows a service.
func (w *world) evidence(person, service string) krb5.Ticket {
	w.t.Helper()
	return w.tgs(w.tgsReq(w.login(person), service)).rep.Ticket
}

// reseal changes a service's ticket as the service itself could, and as only
// the KDC could, which the keys of alter are for.
func (w *world) reseal(t krb5.Ticket, key etype.Key, alter func(p *krb5.EncTicketPart)) krb5.Ticket {
	w.t.Helper()
	part := w.ticket(&t, key)
	alter(part)
	cipher, err := key.Encrypt(nil, krb5.Encode(part), krb5.UsageTicket, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	t.EncPart.Cipher = cipher
	return t
}

// said verifies all signatures of a service's ticket and returns what its PAC
// says.
func (w *world) said(t *krb5.Ticket, service etype.Key) (*krb5.EncTicketPart, *pac.PAC) {
	w.t.Helper()
	part := w.ticket(t, service)
	blank := *part
	blank.PAC = []byte{0}
	if err := pac.Verify(part.PAC, service, krb5.Encode(&blank), w.key("krbtgt", 18)); err != nil {
		w.t.Fatal(err)
	}
	p, err := pac.Parse(part.PAC)
	if err != nil {
		w.t.Fatal(err)
	}
	return part, p
}

func extraSIDs(p *pac.PAC) string {
	var all []string
	for _, e := range p.Logon.ExtraSIDs {
		all = append(all, e.SID.String())
	}
	return strings.Join(all, " ")
}

// buffer finds a PAC's buffer by its type.
func buffer(t testing.TB, b []byte, kind uint32) []byte {
	t.Helper()
	le := binary.LittleEndian
	for i := range int(le.Uint32(b)) {
		if h := b[8+16*i:]; le.Uint32(h) == kind {
			at := le.Uint64(h[8:])
			return b[at : at+uint64(le.Uint32(h[4:]))]
		}
	}
	t.Fatalf("no buffer %d", kind)
	return nil
}

// status is the NTSTATUS in an error.
func (w *world) status(e *krb5.Error) krb5.ExtError {
	w.t.Helper()
	if e.EData == nil {
		return 0
	}
	var s krb5.ExtError
	if err := s.Unmarshal(e.EData); err != nil {
		w.t.Fatal(err)
	}
	return s
}
