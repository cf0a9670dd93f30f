package kdc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/tenant"
)

// stream is randomness that is the same in every run.
type stream struct {
	mu   sync.Mutex
	n    uint64
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 0; n < len(p); {
		if len(s.left) == 0 {
			s.n++
			block := sha256.Sum256(binary.BigEndian.AppendUint64(nil, s.n))
			s.left = block[:]
		}
		m := copy(p[n:], s.left)
		s.left, n = s.left[m:], n+m
	}
	return len(p), nil
}

var _ io.Reader = (*stream)(nil)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)

const (
	testPassword = "Pa$$w0rd-1"
	// Combining and precomposed characters, and one beyond UTF-16's first plane.
	utf8Password = "Pässwörd-e\u0301-€-😀"
	testRealm    = "AADDS.CONTOSO.TEST"
	webSPN       = "HTTP/web.aadds.contoso.test"
)

// world is a domain in memory with a KDC on top.
type world struct {
	t    testing.TB
	kdc  *KDC
	rep  *domain.Replica
	rand *stream
	now  time.Time
	usn  domain.USN
	rid  uint32
	ou   domain.ID
}

// newWorld has everybody that a test needs:
//
//	alice     AES and RC4 keys; in the groups Staff, and by that in Everyone
//	bob       an NT hash and no more
//	carol     no hashes at all
//	dave      disabled
//	erin      has to change the password
//	fay       must not be delegated
//	müller    a synced salt, 10,000 iterations, a password beyond ASCII
//	web       a service account with the name HTTP/web.…
//	old       a service account with an NT hash only
//	WS1$      a computer with the name HOST/ws1.…
//
// prepare is for a replica that is not to be the usual one.
func newWorld(t testing.TB, prepare ...func(*domain.Replica)) *world {
	t.Helper()
	w := &world{t: t, rand: &stream{}, now: testNow, rid: 1100}
	tid, err := tenant.NewID(w.rand)
	if err != nil {
		t.Fatal(err)
	}
	info, err := domain.NewInfo("aadds.contoso.test", tid, testNow.Add(-time.Hour), w.rand)
	if err != nil {
		t.Fatal(err)
	}
	records, err := domain.Found(info, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	w.rep = domain.NewReplica(info)
	for _, p := range prepare {
		p(w.rep)
	}
	for _, r := range records {
		if r.RDN == domain.OUUsers {
			w.ou = r.GUID
		}
	}
	w.put(records...)

	alice := w.user("alice", testPassword)
	alice.UPN = "Alice.Liddell@contoso.test"
	alice.Attrs = map[string][][]byte{"displayName": {[]byte("Alice Liddell")}}
	bob := w.user("bob", testPassword)
	bob.Secrets.Current.Keys = nil
	carol := w.user("carol", "")
	dave := w.user("dave", testPassword)
	dave.UAC |= domain.UACDisabled
	erin := w.user("erin", testPassword)
	erin.Secrets.Set = time.Time{}
	fay := w.user("fay", testPassword)
	fay.UAC |= domain.UACNotDelegated
	muller := w.user("müller", utf8Password)
	muller.Secrets.Current.Keys = nil
	for _, id := range []etype.ID{etype.AES256SHA1, etype.AES128SHA1} {
		const salt, rounds = "CONTOSO.LOCALMüller", 10000
		k := syncedKey(t, id, salt, rounds)
		muller.Secrets.Current.Keys = append(muller.Secrets.Current.Keys, cred.KerberosKey{Key: k, Salt: salt, Iterations: rounds, KVNO: 7})
	}
	muller.Secrets.KVNO = 7
	web := w.user("web", testPassword)
	web.SPNs = []string{webSPN, "HTTP/web"}
	old := w.user("old", testPassword)
	old.SPNs, old.Secrets.Current.Keys = []string{"cifs/old.aadds.contoso.test"}, nil
	ws1 := w.user("WS1$", testPassword)
	ws1.Kind, ws1.Class, ws1.UAC = domain.Computer, "computer", domain.UACWorkstation
	ws1.SPNs = []string{"HOST/ws1.aadds.contoso.test", "HOST/WS1"}
	w.put(alice, bob, carol, dave, erin, fay, muller, web, old, ws1)

	group := func(name string, members ...domain.ID) domain.Record {
		r := w.user(name, "")
		r.Kind, r.Class, r.UAC, r.Members = domain.Group, "group", 0, members
		r.Attrs = map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}
		return r
	}
	staff := group("Staff", alice.GUID)
	w.put(staff, group("Everyone", staff.GUID))

	w.kdc = &KDC{Replica: w.rep, Rand: w.rand, Now: func() time.Time { return w.now }}
	return w
}

func (w *world) user(sam, password string) domain.Record {
	guid, err := tenant.NewID(w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	w.rid++
	r := domain.Record{GUID: guid, Kind: domain.User, Class: "user", RID: w.rid, Parent: w.ou, RDN: sam, SAM: sam,
		UAC: domain.UACNormal, Created: testNow, Changed: testNow}
	if password != "" {
		l := legacy(w.t, password, testRealm+sam)
		r.Secrets = domain.Secrets{Current: l.WithKVNO(2), KVNO: 2, Set: testNow.Add(-30 * time.Minute)}
	}
	return r
}

// legacy makes keys once: a hundred worlds have the same.
func legacy(t testing.TB, password, salt string) cred.Legacy {
	t.Helper()
	if l, ok := legacies.Load(password + "\x00" + salt); ok {
		return l.(cred.Legacy)
	}
	l, err := cred.NewLegacy(password, salt)
	if err != nil {
		t.Fatal(err)
	}
	legacies.Store(password+"\x00"+salt, l)
	return l
}

var legacies, syncedKeys sync.Map

func syncedKey(t testing.TB, id etype.ID, salt string, rounds uint32) etype.Key {
	t.Helper()
	if k, ok := syncedKeys.Load(id); ok {
		return k.(etype.Key)
	}
	k, err := etype.StringToKey(id, utf8Password, salt, rounds)
	if err != nil {
		t.Fatal(err)
	}
	syncedKeys.Store(id, k)
	return k
}

func (w *world) put(records ...domain.Record) {
	w.t.Helper()
	for i := range records {
		w.usn++
		records[i].USN = w.usn
	}
	if err := w.rep.Apply(records, 0); err != nil {
		w.t.Fatal(err)
	}
}

// change replaces an account by an altered version of it.
func (w *world) change(sam string, alter func(*domain.Record)) {
	w.t.Helper()
	o := w.rep.BySAM(sam)
	if o == nil {
		w.t.Fatalf("no account %s", sam)
		return
	}
	r := domain.Record{GUID: o.GUID, Kind: o.Kind, Class: "user", RID: o.RID, Parent: w.ou, RDN: o.SAM, SAM: o.SAM,
		UPN: o.UPN, SPNs: o.SPNs, UAC: o.UAC, Secrets: o.Secrets.Record(), Created: o.Created(), Changed: testNow}
	if o.Kind == domain.Computer {
		r.Class = "computer"
	}
	alter(&r)
	w.put(r)
}

var client4 = netip.MustParseAddrPort("127.0.0.1:40000")

func (w *world) send(m krb5.Marshaler) []byte { return w.sendRaw(krb5.Encode(m)) }

// sendRaw goes by TCP, which has no limit on the reply.
func (w *world) sendRaw(b []byte) []byte {
	return w.kdc.Handle(context.Background(), b, client4, true)
}

// key is an account's key as a client makes it from a password.
func (w *world) key(sam string, id etype.ID) etype.Key {
	w.t.Helper()
	k, ok := w.rep.BySAM(sam).Secrets.Current.Key(id)
	if !ok {
		w.t.Fatalf("%s has no key of type %v", sam, id)
	}
	return k.Key
}

// asReq asks for a TGT, without pre-authentication.
func (w *world) asReq(client string) *krb5.KDCReq {
	return &krb5.KDCReq{
		MsgType: krb5.MsgASReq,
		Options: krb5.OptForwardable | krb5.OptProxiable | krb5.OptRenewable,
		CName:   krb5.Principal(krb5.NTPrincipal, client),
		Realm:   testRealm,
		SName:   krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm),
		Till:    w.now.Add(24 * time.Hour).Truncate(time.Second),
		RTime:   w.now.Add(30 * 24 * time.Hour).Truncate(time.Second),
		Nonce:   12345678,
		ETypes:  []int32{18, 17, 23},
	}
}

// proof is PA-ENC-TIMESTAMP.
func (w *world) proof(k etype.Key, at time.Time) krb5.PAData {
	cipher, err := k.Encrypt(nil, krb5.Encode(krb5.PAEncTSEnc{Time: at}), krb5.UsageASReqTimestamp, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	return krb5.PAData{Type: krb5.PAEncTimestamp, Value: krb5.Encode(krb5.EncryptedData{EType: int32(k.ID()), Cipher: cipher})}
}

// proven is asReq with a timestamp under the client's key.
func (w *world) proven(sam string, id etype.ID) *krb5.KDCReq {
	q := w.asReq(sam)
	q.PAData = krb5.MethodData{w.proof(w.key(sam, id), w.now)}
	return q
}

// grant is what a client keeps of a reply.
type grant struct {
	rep     krb5.KDCRep
	part    krb5.EncKDCRepPart
	session etype.Key
}

// refused expects an error code of a reply.
func (w *world) refused(reply []byte, code krb5.ErrorCode) *krb5.Error {
	w.t.Helper()
	e := new(krb5.Error)
	if err := e.Unmarshal(reply); err != nil {
		w.t.Fatalf("expect %v, got a reply that is no KRB-ERROR (%d bytes)", code, len(reply))
	}
	if e.Code != code {
		w.t.Fatalf("expect %v, got %v", code, e.Code)
	}
	return e
}

// open decrypts a reply.
func (w *world) open(reply []byte, key etype.Key, usage uint32) *grant {
	w.t.Helper()
	var e krb5.Error
	if e.Unmarshal(reply) == nil {
		w.t.Fatalf("refused: %v", e.Code)
	}
	g := new(grant)
	if err := g.rep.Unmarshal(reply); err != nil {
		w.t.Fatal(err)
	}
	plain, err := key.Decrypt(nil, g.rep.EncPart.Cipher, usage)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := g.part.Unmarshal(plain); err != nil {
		w.t.Fatal(err)
	}
	if g.session, err = etype.NewKey(etype.ID(g.part.Key.Type), g.part.Key.Expose()); err != nil {
		w.t.Fatal(err)
	}
	return g
}

// login gets a TGT.
func (w *world) login(sam string) *grant {
	w.t.Helper()
	return w.open(w.send(w.proven(sam, etype.AES256SHA1)), w.key(sam, etype.AES256SHA1), krb5.UsageASRepPart)
}

// ticket decrypts a ticket with its service's key.
func (w *world) ticket(t *krb5.Ticket, service etype.Key) *krb5.EncTicketPart {
	w.t.Helper()
	plain, err := service.Decrypt(nil, t.EncPart.Cipher, krb5.UsageTicket)
	if err != nil {
		w.t.Fatal(err)
	}
	part := new(krb5.EncTicketPart)
	if err := part.Unmarshal(plain); err != nil {
		w.t.Fatal(err)
	}
	return part
}

// tgsReq is a TGS-REQ before it is proven; alter may change anything.
type tgsReq struct {
	body   krb5.KDCReq
	tgt    krb5.Ticket
	key    etype.Key // that the authenticator is encrypted in
	auth   krb5.Authenticator
	noSum  bool
	sum    func(body []byte) krb5.Checksum
	padata krb5.MethodData // beside PA-TGS-REQ
}

func (w *world) tgsReq(g *grant, service string) *tgsReq {
	return &tgsReq{
		body: krb5.KDCReq{
			MsgType: krb5.MsgTGSReq,
			Options: krb5.OptForwardable | krb5.OptRenewable | krb5.OptCanonicalize,
			Realm:   testRealm,
			SName:   krb5.Principal(krb5.NTSrvInst, strings.Split(service, "/")...),
			Till:    w.now.Add(24 * time.Hour).Truncate(time.Second),
			RTime:   w.now.Add(24 * time.Hour).Truncate(time.Second),
			Nonce:   87654321,
			ETypes:  []int32{18, 17, 23},
		},
		tgt:  g.rep.Ticket,
		key:  g.session,
		auth: krb5.Authenticator{CRealm: g.rep.CRealm, CName: g.rep.CName, CTime: w.now, SeqNumber: 42},
	}
}

func (w *world) encode(q *tgsReq) []byte {
	w.t.Helper()
	body := krb5.Encode(marshalBody{&q.body})
	switch {
	case q.noSum:
	case q.sum != nil:
		q.auth.Checksum = q.sum(body)
	default:
		q.auth.Checksum = krb5.Checksum{Type: q.key.ID().ChecksumType(), Value: q.key.Checksum(nil, body, krb5.UsageTGSReqChecksum)}
	}
	cipher, err := q.key.Encrypt(nil, krb5.Encode(&q.auth), krb5.UsageTGSReqAuthenticator, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	ap := krb5.APReq{Ticket: q.tgt, Authenticator: krb5.EncryptedData{EType: int32(q.key.ID()), Cipher: cipher}}
	q.body.PAData = append(krb5.MethodData{{Type: krb5.PATGSReq, Value: krb5.Encode(&ap)}}, q.padata...)
	return krb5.Encode(&q.body)
}

type marshalBody struct{ *krb5.KDCReq }

func (m marshalBody) Marshal(w *der.Writer) { m.MarshalBody(w) }

// tgs sends it and opens the reply with the session key.
func (w *world) tgs(q *tgsReq) *grant {
	w.t.Helper()
	return w.open(w.sendRaw(w.encode(q)), q.key, krb5.UsageTGSRepPartSession)
}
