package kdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/tenant"
)

// house is a world in which passwords are changed: with a store for what was made
// in the domain, and the tenant's rules over another for who came from there.
type house struct {
	*world
	kpasswd *Kpasswd
	tenant  *tenant.Service
	key     cred.PrivateKey

	mu      sync.Mutex
	records map[domain.ID]domain.Record
	users   map[tenant.ID]tenant.Object
	sets    map[tenant.ID]tenant.Credential
	head    tenant.USN
	away    bool // the database is
	once    map[string]time.Time
}

// newHouse is newWorld with more people:
//
//	cleo   cloud-only, with a password of the tenant's
//	must   the same, and has to change it
//	sync   synced from on-premises
//	root   cloud-only, in AAD DC Administrators
func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{world: newWorld(t), records: map[domain.ID]domain.Record{}, users: map[tenant.ID]tenant.Object{}, sets: map[tenant.ID]tenant.Credential{}, once: map[string]time.Time{}}
	var err error
	if h.key, err = cred.NewPrivateKey(h.rand); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return h.now }
	h.tenant = &tenant.Service{Store: &tenantStore{h: h}, Now: now, Rand: h.rand}
	dir := &domain.Directory{Replica: h.rep, Store: &domainStore{h: h}, Now: now, Rand: h.rand, ChangeUser: h.tenant.ChangeProvenPassword}
	h.kpasswd = &Kpasswd{KDC: h.kdc, Directory: dir}
	for _, name := range []string{"alice", "web", "WS1$", "erin"} {
		h.know(name)
	}
	for _, name := range []string{"cleo", "must", "sync", "root"} {
		h.join(name, testPassword)
	}
	group := h.user(tenant.DCAdministrators, "")
	group.Kind, group.Class, group.UAC, group.Members = domain.Group, "group", 0, []domain.ID{h.rep.BySAM("root").Key}
	group.Attrs = map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}
	h.put(group)
	h.rep.Info.Administrators = group.GUID
	return h
}

// know puts an account of the world's into the store.
func (h *house) know(sam string) {
	o := h.rep.BySAM(sam)
	usn, err := strconv.ParseInt(o.Entry.First(dit.Attr("uSNChanged")), 10, 64)
	if err != nil {
		h.t.Fatal(err)
	}
	r := domain.Record{GUID: o.GUID, USN: domain.USN(usn), Kind: o.Kind, Class: "user", RID: o.RID, Parent: h.ou, RDN: o.SAM, SAM: o.SAM,
		UPN: o.UPN, SPNs: o.SPNs, UAC: o.UAC, Secrets: o.Secrets.Record(), Created: o.Created()}
	if o.Kind == domain.Computer {
		r.Class = "computer"
	}
	h.records[r.GUID] = r
}

// join makes a user of the tenant, with the account that follows it.
func (h *house) join(sam, password string) {
	h.t.Helper()
	id, err := tenant.NewID(h.rand)
	if err != nil {
		h.t.Fatal(err)
	}
	synced := sam == "sync"
	h.users[id] = tenant.Object{ID: id, Kind: tenant.User, UPN: sam + "@contoso.test", Enabled: true, Profile: tenant.Profile{SyncEnabled: &synced}}
	digest, err := cred.NewDigest(cred.NTHashOf(password), h.rand)
	if err != nil {
		h.t.Fatal(err)
	}
	set := tenant.Credential{Object: id, Version: h.now.Add(-time.Hour).UnixMicro(), Digest: digest, MustChange: sam == "must"}
	h.sets[id] = set
	r := h.user(sam, password)
	r.Source, r.UPN, r.Secrets.Version, r.Secrets.Set = id, h.users[id].UPN, set.Version, set.Changed()
	if set.MustChange {
		r.Secrets.Set = time.Time{}
	}
	h.put(r)
	h.know(sam)
	known := h.records[r.GUID]
	known.Source = id
	h.records[r.GUID] = known
}

// domainStore keeps what was made in the domain.
type domainStore struct {
	domain.Store
	h *house
}

func (s *domainStore) Record(_ context.Context, guid domain.ID) (domain.Record, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.away {
		return domain.Record{}, domain.ErrUnavailable
	}
	r, ok := s.h.records[guid]
	if !ok {
		return r, domain.ErrNotFound
	}
	return r, nil
}

func (s *domainStore) Apply(_ context.Context, writes []domain.Write) (domain.USN, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for _, w := range writes {
		if s.h.records[w.Record.GUID].USN != w.Record.USN {
			return 0, domain.ErrConflict
		}
		if w.Once != nil && !s.h.first(w.Once) {
			return 0, domain.ErrRepeated
		}
		s.h.follow(w.Record)
	}
	return s.h.usn, nil
}

// first notes a request, as the database does.
func (h *house) first(o *domain.Once) bool {
	for _, hash := range o.Hashes {
		if until, known := h.once[string(hash)]; known && h.now.Before(until) {
			return false
		}
	}
	for _, hash := range o.Hashes {
		h.once[string(hash)] = h.now.Add(o.For)
	}
	return true
}

// follow is what the change feed does.
func (h *house) follow(r domain.Record) {
	h.usn++
	r.USN = h.usn
	h.records[r.GUID] = r
	if err := h.rep.Apply([]domain.Record{r}, h.head); err != nil {
		h.t.Error(err)
	}
}

// tenantStore keeps the tenant's users, with a provisioner at its end.
type tenantStore struct {
	tenant.Store
	h *house
}

func (s *tenantStore) Settings(context.Context) (tenant.Settings, error) {
	jwk, err := s.h.key.Public().JWK()
	return tenant.Settings{TenantID: s.h.rep.Info.Tenant, DomainServices: true, DomainKey: jwk, Realm: testRealm}, err
}

func (s *tenantStore) Object(_ context.Context, id tenant.ID) (tenant.Object, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.h.away {
		return tenant.Object{}, tenant.ErrUnavailable
	}
	o, ok := s.h.users[id]
	if !ok {
		return o, tenant.ErrNotFound
	}
	return o, nil
}

func (s *tenantStore) Credential(_ context.Context, id tenant.ID) (*tenant.Credential, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	set := s.h.sets[id]
	return &set, nil
}

func (s *tenantStore) ReplaceCredential(_ context.Context, set tenant.Credential, was int64, _ *tenant.Record) (tenant.USN, error) {
	h := s.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sets[set.Object].Version != was {
		return 0, tenant.ErrConflict
	}
	h.sets[set.Object] = set
	h.head++
	user := h.users[set.Object]
	legacy, err := h.key.Open(cred.Binding{Tenant: h.rep.Info.Tenant.String(), Subject: user.Subject(), Version: set.Version}, set.Legacy)
	if err != nil {
		return 0, err
	}
	for _, r := range h.records {
		if r.Source == set.Object {
			r.Secrets = domain.Secrets{Current: legacy.WithKVNO(r.Secrets.KVNO + 1), KVNO: r.Secrets.KVNO + 1, Version: set.Version, Set: set.Changed()}
			h.follow(r)
		}
	}
	return h.head, nil
}

// changeTicket gets a ticket for kadmin/changepw with the password.
func (h *house) changeTicket(sam string) *grant {
	h.t.Helper()
	q := h.proven(sam, etype.AES256SHA1)
	q.SName = krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw")
	return h.open(h.send(q), h.key18(sam), krb5.UsageASRepPart)
}

func (h *house) key18(sam string) etype.Key { return h.world.key(sam, etype.AES256SHA1) }

// changing is a request before it is sent; alter may change anything.
type changing struct {
	version  uint16
	ticket   krb5.Ticket
	session  etype.Key
	subkey   etype.Key
	options  uint32
	auth     krb5.Authenticator
	password string
	target   krb5.PrincipalName
	realm    string
	part     krb5.EncPrivPart
	user     []byte // instead of what password and target make
}

func (h *house) changing(g *grant, password string) *changing {
	subkey, err := etype.Random(etype.AES256SHA1, h.rand)
	if err != nil {
		h.t.Fatal(err)
	}
	return &changing{version: krb5.KpasswdChange, ticket: g.rep.Ticket, session: g.session, subkey: subkey, password: password,
		auth: krb5.Authenticator{CRealm: g.rep.CRealm, CName: g.rep.CName, CTime: h.now, Subkey: krb5.NewEncryptionKey(18, subkey.Expose()), SeqNumber: 4711},
		part: krb5.EncPrivPart{SeqNumber: 4711, Sender: krb5.HostAddress{Type: krb5.AddrIPv4, Address: []byte{192, 168, 1, 2}}}}
}

func (h *house) setting(g *grant, target, password string) *changing {
	q := h.changing(g, password)
	q.version = krb5.KpasswdSet
	if target != "" {
		q.target, q.realm = krb5.Principal(krb5.NTPrincipal, strings.Split(target, "/")...), testRealm
	}
	return q
}

func (h *house) seal(k etype.Key, m krb5.Marshaler, usage uint32) krb5.EncryptedData {
	h.t.Helper()
	cipher, err := k.Encrypt(nil, krb5.Encode(m), usage, h.rand)
	if err != nil {
		h.t.Fatal(err)
	}
	return krb5.EncryptedData{EType: int32(k.ID()), Cipher: cipher}
}

func (h *house) wire(q *changing) []byte {
	h.t.Helper()
	user := q.user
	if user == nil {
		user = []byte(q.password)
		if q.version == krb5.KpasswdSet {
			user = krb5.Encode(&krb5.ChangePasswdData{NewPassword: krb5.NewSecret(user), TargetName: q.target, TargetRealm: q.realm})
		}
	}
	q.part.UserData = krb5.NewSecret(user)
	ap := krb5.APReq{Options: q.options, Ticket: q.ticket, Authenticator: h.seal(q.session, &q.auth, krb5.UsageAPReqAuthenticator)}
	priv := krb5.Priv{EncPart: h.seal(q.subkey, &q.part, krb5.UsagePriv)}
	return krb5.Encode(&krb5.Kpasswd{Version: q.version, AP: krb5.Encode(&ap), Body: krb5.Encode(&priv)})
}

func (h *house) handle(b []byte) []byte {
	return h.kpasswd.Handle(h.t.Context(), b, client4, true)
}

// answer reads a reply as a client does.
func (h *house) answer(q *changing, reply []byte) (krb5.KpasswdResult, string) {
	h.t.Helper()
	var frame krb5.Kpasswd
	var e krb5.Error
	data := func(b []byte) (krb5.KpasswdResult, string) {
		if len(b) < 2 {
			h.t.Fatalf("no result in %x", b)
		}
		return krb5.KpasswdResult(binary.BigEndian.Uint16(b)), strings.TrimRight(string(b[2:]), " ")
	}
	if e.Unmarshal(reply) == nil { // bare, as version 0xff80 has it
		if q.version == krb5.KpasswdChange {
			h.t.Error("an error without a frame")
		}
		return data(e.EData)
	}
	if err := frame.Unmarshal(reply); err != nil || frame.Version != krb5.KpasswdChange {
		h.t.Fatalf("%x: %v", reply, err)
	}
	if b := reply[1]; b == 0x5e || b == 0x7e {
		h.t.Error("a length that Heimdal takes for an error's first byte")
	}
	if len(frame.AP) == 0 {
		if err := e.Unmarshal(frame.Body); err != nil || q.version != krb5.KpasswdChange {
			h.t.Fatal(err)
		}
		return data(e.EData)
	}
	var ap krb5.APRep
	var part krb5.EncAPRepPart
	var priv krb5.Priv
	var clear krb5.EncPrivPart
	open := func(k etype.Key, e krb5.EncryptedData, usage uint32) []byte {
		plain, err := k.Decrypt(nil, e.Cipher, usage)
		if err != nil {
			h.t.Fatal(err)
		}
		return plain
	}
	if err := errors.Join(ap.Unmarshal(frame.AP), priv.Unmarshal(frame.Body)); err != nil {
		h.t.Fatal(err)
	}
	if err := errors.Join(part.Unmarshal(open(q.session, ap.EncPart, krb5.UsageAPRepPart)), clear.Unmarshal(open(q.subkey, priv.EncPart, krb5.UsagePriv))); err != nil {
		h.t.Fatal(err)
	}
	if !part.CTime.Equal(q.auth.CTime) || !part.Subkey.Equal(q.auth.Subkey) || part.SeqNumber == 0 || clear.SeqNumber != part.SeqNumber {
		h.t.Errorf("AP-REP %+v, KRB-PRIV %+v", part, clear)
	}
	return data(clear.UserData.Expose())
}

// expect sends a request.
func (h *house) expect(q *changing, want krb5.KpasswdResult) string {
	h.t.Helper()
	result, text := h.answer(q, h.handle(h.wire(q)))
	if result != want {
		h.t.Errorf("expect result %d, got %d: %s", want, result, text)
	}
	return text
}

// knows reports whether the password is the account's, in the domain and, where
// it comes from there, in the tenant: it has to be the same in both.
func (h *house) knows(sam, password string) bool {
	h.t.Helper()
	o := h.rep.BySAM(sam)
	is := o.Secrets.Current.NT.Equal(cred.NTHashOf(password))
	k, ok := o.Secrets.Current.Key(etype.AES256SHA1)
	if ok {
		made, err := etype.StringToKey(etype.AES256SHA1, password, k.Salt, k.Iterations)
		if err != nil || made.Equal(k.Key) != is {
			h.t.Errorf("%s: the NT hash and the key are of two passwords", sam)
		}
	}
	if set, ok := h.sets[o.Key]; ok && set.Digest.Verify(password) != is {
		h.t.Errorf("%s: the digest and the NT hash are of two passwords", sam)
	}
	return is
}

const newPassword = "Second-Passw0rd"

// TestKpasswd: who may change what, and what is told.
func TestKpasswd(t *testing.T) {
	for _, c := range []struct {
		who, target, password string
		result                krb5.KpasswdResult
		text                  string
	}{
		{"cleo", "", newPassword, krb5.KpasswdSuccess, ""},
		{"cleo", "", "Sh0rt!", krb5.KpasswdSoftError, "8 to 256 characters"},
		{"cleo", "", "onlylowercase", krb5.KpasswdSoftError, "three of"},
		{"cleo", "", "My-Name-Is-Cleo-1", krb5.KpasswdSoftError, "user name"},
		{"cleo", "", "Pässwörd-1234", krb5.KpasswdSoftError, "printable ASCII"},
		{"cleo", "", testPassword, krb5.KpasswdSoftError, "differ"},
		{"cleo", "", "", krb5.KpasswdSoftError, "8 to 256"},
		{"cleo", "", strings.Repeat("Aa1!", 5000), krb5.KpasswdSoftError, "8 to 256"}, // K17
		{"must", "", newPassword, krb5.KpasswdSuccess, ""},
		{"sync", "", newPassword, krb5.KpasswdAccessDenied, "on-premises directory"},
		{"alice", "", newPassword, krb5.KpasswdSuccess, ""},
		{"alice", "", "short1", krb5.KpasswdSoftError, "7 to 256"},
		{"alice", "", "\xff\xfe no UTF-8", krb5.KpasswdSoftError, "7 to 256"},
		{"alice", "", testPassword, krb5.KpasswdSoftError, "differ"},
		{"erin", "", newPassword, krb5.KpasswdSuccess, ""},
		{"WS1$", "", "Päss-€-😀-machine", krb5.KpasswdSuccess, ""},
		{"web", "", newPassword, krb5.KpasswdSuccess, ""},
		// P05: setting another's.
		{"cleo", "alice", newPassword, krb5.KpasswdAccessDenied, "another account"},
		{"cleo", "nobody", newPassword, krb5.KpasswdAccessDenied, "another account"},
		{"alice", "cleo", newPassword, krb5.KpasswdAccessDenied, "another account"},
		{"WS1$", "web", newPassword, krb5.KpasswdAccessDenied, "another account"},
		{"root", "nobody", newPassword, krb5.KpasswdHardError, "no such account"},
		{"root", "web", newPassword, krb5.KpasswdSuccess, ""},
		{"root", "HOST/ws1.aadds.contoso.test", newPassword, krb5.KpasswdSuccess, ""},
		{"root", "web", "short1", krb5.KpasswdSoftError, "7 to 256"},
		{"root", "cleo", newPassword, krb5.KpasswdAccessDenied, "can't be set here"},
		{"root", "sync", newPassword, krb5.KpasswdAccessDenied, "can't be set here"},
	} {
		t.Run(fmt.Sprintf("%s %s %.20q", c.who, c.target, c.password), func(t *testing.T) {
			h := newHouse(t)
			for _, version := range []uint16{krb5.KpasswdSet, krb5.KpasswdChange} {
				if version == krb5.KpasswdChange && (c.target != "" || c.result == krb5.KpasswdSuccess) {
					continue
				}
				q := h.setting(h.changeTicket(c.who), c.target, c.password)
				q.version = version
				before := map[string]uint32{}
				for _, sam := range []string{"cleo", "must", "sync", "root", "alice", "erin", "WS1$", "web"} {
					before[sam] = h.rep.BySAM(sam).Secrets.KVNO
				}
				if text := h.expect(q, c.result); !strings.Contains(text, c.text) || c.text == "" && text != "" {
					t.Errorf("told %q", text)
				}
				changed := c.who
				if c.target != "" {
					changed = c.target
				}
				if strings.HasPrefix(changed, "HOST/") {
					changed = "WS1$"
				}
				for sam, kvno := range before {
					if c.result == krb5.KpasswdSuccess && sam == changed {
						kvno++
						if !h.knows(sam, c.password) || h.knows(sam, testPassword) {
							t.Error("the password is not the new one")
						}
						if h.rep.BySAM(sam).MustChange() {
							t.Error("the password has to be changed still")
						}
					}
					if is := h.rep.BySAM(sam).Secrets.KVNO; is != kvno {
						t.Errorf("%s has kvno %d, expect %d", sam, is, kvno)
					}
				}
				if h.kpasswd.Count.Results(c.result) == 0 || h.kpasswd.Count.Sockets.Panics.Load() != 0 {
					t.Error("not counted, or a panic")
				}
			}
		})
	}
}

// TestKpasswdKeepsPrevious: tickets under a machine's old key live on.
func TestKpasswdKeepsPrevious(t *testing.T) {
	h := newHouse(t)
	h.expect(h.changing(h.changeTicket("WS1$"), newPassword), krb5.KpasswdSuccess)
	if s := h.rep.BySAM("WS1$").Secrets; !s.Previous.NT.Equal(cred.NTHashOf(testPassword)) || s.KVNO != 3 {
		t.Error("the previous key is lost")
	}
}

// TestKpasswdRefusals takes away one thing of a good request at a time.
func TestKpasswdRefusals(t *testing.T) {
	h := newHouse(t)
	other := h.changeTicket("alice")
	krbtgt := h.key18("krbtgt")
	// forge writes a ticket of one's own, under any key, with a PAC that is signed
	// with it.
	forge := func(q *changing, key etype.Key, alter func(*krb5.EncTicketPart)) {
		part := h.ticket(&q.ticket, krbtgt)
		alter(part)
		q.ticket.EncPart = h.seal(key, part, krb5.UsageTicket)
		q.ticket.EncPart.KVNO = 1
	}
	for _, c := range []struct {
		name  string
		alter func(q *changing)
		code  krb5.ErrorCode
	}{
		{"P01: a TGT", func(q *changing) { g := h.login("cleo"); q.ticket, q.session = g.rep.Ticket, g.session }, krb5.ErrNotUs},
		{"P01: a TGT under this name", func(q *changing) {
			g := h.login("cleo")
			g.rep.Ticket.SName = q.ticket.SName
			q.ticket, q.session = g.rep.Ticket, g.session
		}, krb5.ErrNotUs},
		{"P01: a short TGT under this name", func(q *changing) {
			r := h.proven("cleo", etype.AES256SHA1)
			r.Till = h.now.Add(time.Minute).Truncate(time.Second)
			g := h.open(h.send(r), h.key18("cleo"), krb5.UsageASRepPart)
			g.rep.Ticket.SName = q.ticket.SName
			q.ticket, q.session = g.rep.Ticket, g.session
		}, krb5.ErrNotUs},
		{"a ticket for another service", func(q *changing) {
			g := h.tgs(h.tgsReq(h.login("cleo"), webSPN))
			q.ticket, q.session = g.rep.Ticket, g.session
		}, krb5.ErrNotUs},
		{"the same under this name", func(q *changing) {
			g := h.tgs(h.tgsReq(h.login("cleo"), webSPN))
			g.rep.Ticket.SName = q.ticket.SName
			q.ticket, q.session = g.rep.Ticket, g.session
		}, krb5.ErrBadKeyVer},
		{"P02: under the client's own key", func(q *changing) { forge(q, h.key18("cleo"), func(*krb5.EncTicketPart) {}) }, krb5.ErrBadIntegrity},
		{"P02: under another account's key", func(q *changing) { forge(q, h.key18("web"), func(*krb5.EncTicketPart) {}) }, krb5.ErrBadIntegrity},
		{"P02: another name", func(q *changing) { q.ticket.SName = krb5.Principal(krb5.NTSrvInst, "kadmin", "admin") }, krb5.ErrNotUs},
		{"P02: another realm", func(q *changing) { q.ticket.Realm = "OTHER.TEST" }, krb5.ErrNotUs},
		{"user-to-user", func(q *changing) { q.options = krb5.APOptUseSessionKey }, krb5.ErrBadOption},
		{"no PAC", func(q *changing) { forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.PAC = nil }) }, krb5.ErrTGTRevoked},
		{"another's PAC", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.PAC = h.ticket(&other.rep.Ticket, krbtgt).PAC })
		}, krb5.ErrTGTRevoked},
		{"an altered PAC", func(q *changing) { forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.PAC[len(p.PAC)/2] ^= 1 }) }, krb5.ErrTGTRevoked},
		{"another client's name", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.CName = krb5.Principal(1, "root") })
			q.auth.CName = krb5.Principal(1, "root")
		}, krb5.ErrTGTRevoked},
		{"a long life", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.EndTime = p.StartTime.Add(changePWLife + time.Second) })
		}, krb5.ErrNotUs},
		{"expired", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) {
				p.StartTime = p.StartTime.Add(-time.Hour)
				p.EndTime = p.StartTime.Add(time.Minute)
			})
		}, krb5.ErrTktExpired},
		{"not yet valid", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) { p.StartTime = h.now.Add(time.Hour); p.EndTime = h.now.Add(time.Hour) })
		}, krb5.ErrTktNYV},
		{"another session key", func(q *changing) { q.session = other.session }, krb5.ErrBadIntegrity},
		{"another client in the authenticator", func(q *changing) { q.auth.CName = krb5.Principal(1, "alice") }, krb5.ErrBadMatch},
		{"an old authenticator", func(q *changing) { q.auth.CTime = h.now.Add(-6 * time.Minute) }, krb5.ErrSkew},
		{"lent for armor", func(q *changing) { q.auth.AuthData = krb5.AuthorizationData{{Type: krb5.ADFXArmor, Data: []byte{}}} }, krb5.ErrPolicy},
		{"got by delegation", func(q *changing) {
			forge(q, krbtgt, func(p *krb5.EncTicketPart) {
				all, err := pac.Parse(p.PAC)
				if err != nil {
					t.Fatal(err)
				}
				all.Delegation = &pac.Delegation{Target: "kadmin/changepw", Transited: []string{"web@" + testRealm}}
				if p.PAC, err = all.Sign(nil, krbtgt, krbtgt, nil); err != nil {
					t.Fatal(err)
				}
			})
		}, krb5.ErrPolicy},
		{"no subkey", func(q *changing) { q.auth.Subkey = krb5.EncryptionKey{} }, krb5.ErrNoKey},
		{"KRB-PRIV under the session key", func(q *changing) { q.subkey = q.session }, krb5.ErrBadIntegrity},
		{"another sequence number", func(q *changing) { q.part.SeqNumber++ }, krb5.ErrBadOrder},
		{"no sequence number", func(q *changing) { q.part.SeqNumber = 0 }, krb5.ErrBadOrder},
		{"an old KRB-PRIV", func(q *changing) { q.part.Time = h.now.Add(-6 * time.Minute) }, krb5.ErrSkew},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.t, h.world.t = t, t
			for _, version := range []uint16{krb5.KpasswdChange, krb5.KpasswdSet} {
				q := h.changing(h.changeTicket("cleo"), newPassword)
				q.version = version
				c.alter(q)
				reply := h.handle(h.wire(q))
				var frame krb5.Kpasswd
				body := reply
				if version == krb5.KpasswdChange {
					if err := frame.Unmarshal(reply); err != nil || len(frame.AP) != 0 {
						t.Fatalf("%x: %v", reply, err)
					}
					body = frame.Body
				}
				h.refused(body, c.code)
				if result, text := h.answer(q, reply); result != krb5.KpasswdAuthError || text == "" {
					t.Errorf("result %d: %s", result, text)
				}
			}
		})
	}
	h.t, h.world.t = t, t
	if !h.knows("cleo", testPassword) {
		t.Error("the password was changed")
	}
	// And with all in place, also as MIT's client sends it: without a number.
	q := h.changing(h.changeTicket("cleo"), newPassword)
	q.auth.SeqNumber, q.part.SeqNumber = 0, 0
	h.expect(q, krb5.KpasswdSuccess)
}

// TestKpasswdInitial: a session that was left open is not enough, nor is a ticket
// that knew the password before this one (P05). Administrators need no other.
func TestKpasswdInitial(t *testing.T) {
	h := newHouse(t)
	bySession := func(sam string) *grant { return h.tgs(h.tgsReq(h.login(sam), "kadmin/changepw")) }
	h.expect(h.changing(bySession("cleo"), newPassword), krb5.KpasswdInitialFlagNeeded)
	h.expect(h.setting(bySession("cleo"), "", newPassword), krb5.KpasswdInitialFlagNeeded)
	h.expect(h.setting(bySession("cleo"), "cleo", newPassword), krb5.KpasswdInitialFlagNeeded)
	h.expect(h.setting(bySession("root"), "web", newPassword), krb5.KpasswdSuccess)

	early, late := h.changeTicket("cleo"), h.changeTicket("cleo")
	h.now = h.now.Add(time.Second)
	h.expect(h.changing(late, newPassword), krb5.KpasswdSuccess)
	h.expect(h.changing(early, "Third-Passw0rd"), krb5.KpasswdAuthError)
	h.expect(h.changing(late, "Third-Passw0rd"), krb5.KpasswdAuthError)
	if !h.knows("cleo", newPassword) {
		t.Error("an old ticket changed the password")
	}
	// A reset that the domain has not heard of yet.
	ticket := h.changeTicket("cleo")
	set := h.sets[h.rep.BySAM("cleo").Key]
	set.Version++
	h.sets[set.Object] = set
	h.expect(h.changing(ticket, "Third-Passw0rd"), krb5.KpasswdAuthError)
}

// TestChangeTicketIsNoTGT is the other half of P01 (CVE-2022-2031).
func TestChangeTicketIsNoTGT(t *testing.T) {
	h := newHouse(t)
	g := h.changeTicket("cleo")
	if life := g.part.EndTime.Sub(g.part.StartTime); life > 2*time.Minute || g.part.Flags&krb5.FlagInitial == 0 || g.part.Flags&krb5.FlagRenewable != 0 {
		t.Errorf("a life of %v, flags %x", life, g.part.Flags)
	}
	h.refused(h.sendRaw(h.encode(h.tgsReq(g, webSPN))), krb5.ErrNotUs)
	g.rep.Ticket.SName = krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm)
	h.refused(h.sendRaw(h.encode(h.tgsReq(g, webSPN))), krb5.ErrTGTRevoked)
	p, err := pac.Parse(h.ticket(&g.rep.Ticket, h.key18("krbtgt")).PAC)
	if err != nil || p.Requestor != "" {
		t.Error("the ticket names a requestor, as TGTs do", err)
	}
}

// TestKpasswdRepeated: a request that comes again is one change, and its
// authenticator is good for no other.
func TestKpasswdRepeated(t *testing.T) {
	h := newHouse(t)
	q := h.changing(h.changeTicket("cleo"), newPassword)
	wire := h.wire(q)
	for range 3 {
		if result, text := h.answer(q, h.handle(wire)); result != krb5.KpasswdSuccess {
			t.Fatalf("%d: %s", result, text)
		}
		h.now = h.now.Add(time.Second)
	}
	// With a new authenticator, as Heimdal, or over another transport, as MIT.
	again := *q
	again.auth.CTime = h.now
	h.expect(&again, krb5.KpasswdSuccess)
	if kvno := h.rep.BySAM("cleo").Secrets.KVNO; kvno != 3 {
		t.Errorf("kvno %d after one change", kvno)
	}

	// The authenticator with another password, by who got hold of the subkey, and
	// after a request that failed.
	q = h.changing(h.changeTicket("alice"), "short1")
	ap := h.seal(q.session, &q.auth, krb5.UsageAPReqAuthenticator)
	send := func(password string) (krb5.KpasswdResult, string) {
		q.part.UserData = krb5.NewSecret([]byte(password))
		priv := krb5.Priv{EncPart: h.seal(q.subkey, &q.part, krb5.UsagePriv)}
		return h.answer(q, h.handle(krb5.Encode(&krb5.Kpasswd{Version: 1, Body: krb5.Encode(&priv),
			AP: krb5.Encode(&krb5.APReq{Ticket: q.ticket, Authenticator: ap})})))
	}
	if result, text := send("short1"); result != krb5.KpasswdSoftError {
		t.Error(result, text)
	}
	if result, text := send(newPassword); result != krb5.KpasswdAuthError || !h.knows("alice", testPassword) {
		t.Error(result, text)
	}
}

// TestSetPasswordOnce: what an administrator set is not set again by another
// replica, or by this one after a restart, from what somebody recorded.
func TestSetPasswordOnce(t *testing.T) {
	h := newHouse(t)
	first := h.kpasswd
	replica := func() { h.kpasswd = &Kpasswd{KDC: first.KDC, Directory: first.Directory} }
	send := func(q *changing, wire []byte, want krb5.KpasswdResult, knows string) {
		t.Helper()
		if result, text := h.answer(q, h.handle(wire)); result != want || !h.knows("web", knows) {
			t.Errorf("%d: %s, or another password", result, text)
		} else if result == krb5.KpasswdAuthError && text != "the request was sent before" {
			t.Error(text)
		}
	}
	q := h.setting(h.changeTicket("root"), "web", newPassword)
	q.auth.CTime = h.now.Add(h.kdc.Policy.skew() - time.Second) // of a clock by which it can be sent the longest
	recorded := h.wire(q)
	send(q, recorded, krb5.KpasswdSuccess, newPassword)
	kvno := h.rep.BySAM("web").Secrets.KVNO
	// Sent again as Heimdal does, and answered from memory.
	again := *q
	again.auth.CTime = q.auth.CTime.Add(time.Microsecond)
	recordedAgain := h.wire(&again)
	send(&again, recordedAgain, krb5.KpasswdSuccess, newPassword)

	// A client that goes on to another replica is told of its success.
	replica()
	send(q, recorded, krb5.KpasswdSuccess, newPassword)
	replica()
	send(&again, recordedAgain, krb5.KpasswdSuccess, newPassword)
	if is := h.rep.BySAM("web").Secrets.KVNO; is != kvno {
		t.Errorf("kvno %d after one change, expect %d", is, kvno)
	}

	// After another change nobody puts the old password back, as long as the ticket lives.
	const later = "Third-Passw0rd"
	h.expect(h.setting(h.changeTicket("root"), "web", later), krb5.KpasswdSuccess)
	for _, passes := range []time.Duration{0, changePWLife + h.kdc.Policy.skew() - 2*time.Second} {
		h.now = h.now.Add(passes)
		for range 2 {
			replica()
			send(q, recorded, krb5.KpasswdAuthError, later)
			replica()
			send(&again, recordedAgain, krb5.KpasswdAuthError, later)
		}
	}
	h.now = h.now.Add(4 * time.Second) // the ticket has ended
	if e := new(krb5.Error); e.Unmarshal(h.handle(recorded)) != nil || e.Code != krb5.ErrTktExpired {
		t.Error(e)
	}

	// An authenticator serves once, whatever comes with it.
	q = h.setting(h.changeTicket("root"), "web", "Fourth-Passw0rd")
	ap := h.seal(q.session, &q.auth, krb5.UsageAPReqAuthenticator)
	with := func(password string) []byte {
		q.part.UserData = krb5.NewSecret(krb5.Encode(&krb5.ChangePasswdData{NewPassword: krb5.NewSecret([]byte(password)), TargetName: q.target, TargetRealm: q.realm}))
		priv := krb5.Priv{EncPart: h.seal(q.subkey, &q.part, krb5.UsagePriv)}
		return krb5.Encode(&krb5.Kpasswd{Version: q.version, Body: krb5.Encode(&priv),
			AP: krb5.Encode(&krb5.APReq{Ticket: q.ticket, Authenticator: ap})})
	}
	send(q, with("Fourth-Passw0rd"), krb5.KpasswdSuccess, "Fourth-Passw0rd")
	replica()
	send(q, with("Fifth-Passw0rd"), krb5.KpasswdAuthError, "Fourth-Passw0rd")
	// The same ticket serves for other passwords, each with its own.
	q = h.setting(h.changeTicket("root"), "web", "Sixth-Passw0rd")
	h.expect(q, krb5.KpasswdSuccess)
	q.password, q.auth.CTime = "Seventh-Passw0rd", h.now.Add(time.Microsecond)
	replica()
	h.expect(q, krb5.KpasswdSuccess)
	h.kpasswd = first
}

// TestKpasswdAtOnce: the same change in many requests at once, then many changes
// of one password: one of them wins.
func TestKpasswdAtOnce(t *testing.T) {
	h := newHouse(t)
	g := h.changeTicket("cleo")
	var all sync.WaitGroup
	send := func(n int, password func(int) string) (won int) {
		replies, qs := make([][]byte, n), make([]*changing, n)
		for i := range n {
			qs[i] = h.changing(g, password(i))
			qs[i].auth.CTime = h.now.Add(time.Duration(i) * time.Microsecond)
			wire := h.wire(qs[i])
			all.Go(func() { replies[i] = h.handle(wire) })
		}
		all.Wait()
		for i := range n {
			if result, _ := h.answer(qs[i], replies[i]); result == krb5.KpasswdSuccess {
				won++
			}
		}
		return won
	}
	if won := send(20, func(int) string { return newPassword }); won != 20 || h.rep.BySAM("cleo").Secrets.KVNO != 3 {
		t.Errorf("%d of 20 were told of a success, kvno %d", won, h.rep.BySAM("cleo").Secrets.KVNO)
	}
	h.now = h.now.Add(time.Second)
	g = h.changeTicket("cleo")
	if won := send(20, func(i int) string { return fmt.Sprintf("Passw0rd-Number-%d", i) }); won != 1 || h.rep.BySAM("cleo").Secrets.KVNO != 4 {
		t.Errorf("%d of 20 won, kvno %d", won, h.rep.BySAM("cleo").Secrets.KVNO)
	}
}

// TestKpasswdAway: without a database there is no change and a clear answer, and
// the same request succeeds when it is back. Without the tenant's keys, the text
// says where to go.
func TestKpasswdAway(t *testing.T) {
	h := newHouse(t)
	g := h.changeTicket("cleo")
	h.away = true
	for _, who := range []*grant{g, h.changeTicket("alice")} {
		if text := h.expect(h.changing(who, newPassword), krb5.KpasswdHardError); !strings.Contains(text, "not available") {
			t.Error(text)
		}
	}
	h.away = false
	h.now = h.now.Add(time.Second)
	h.expect(h.changing(g, newPassword), krb5.KpasswdSuccess)

	change := h.kpasswd.Directory.ChangeUser
	h.kpasswd.Directory.ChangeUser = nil
	if text := h.expect(h.changing(h.changeTicket("cleo"), "Third-Passw0rd"), krb5.KpasswdAccessDenied); !strings.Contains(text, "change it in the tenant") {
		t.Error(text)
	}
	h.expect(h.changing(h.changeTicket("web"), newPassword), krb5.KpasswdSuccess) // needs no tenant

	// A change that the domain does not hear of in time is a change.
	h.kpasswd.Directory.ChangeUser = func(ctx context.Context, id tenant.ID, proven int64, password string) (tenant.USN, error) {
		usn, err := change(ctx, id, proven, password)
		return usn + 1, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := h.changing(h.changeTicket("cleo"), "Third-Passw0rd")
	if result, text := h.answer(q, h.kpasswd.Handle(ctx, h.wire(q), client4, true)); result != krb5.KpasswdSuccess || !strings.Contains(text, "soon") {
		t.Error(result, text)
	}
}

// TestKpasswdLog: one line that says who and whom, and never what.
func TestKpasswdLog(t *testing.T) {
	h := newHouse(t)
	var log bytes.Buffer
	h.kdc.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	const secret = "Never-Logged-9"
	h.expect(h.setting(h.changeTicket("root"), "web", secret), krb5.KpasswdSuccess)
	h.expect(h.setting(h.changeTicket("cleo"), "\n\x1b[2J", secret), krb5.KpasswdAccessDenied)
	h.expect(h.changing(h.changeTicket("sync"), secret), krb5.KpasswdAccessDenied)
	h.expect(h.changing(h.login("cleo"), secret), krb5.KpasswdAuthError)
	for _, want := range []string{`"password changed","result":0,"client":"root","account":"web","from":"127.0.0.1:40000"`,
		`"result":5,"client":"cleo"`, `"why":"synced"`, `"why":"not a ticket for kadmin/changepw"`} {
		if !strings.Contains(log.String(), strings.TrimPrefix(want, `"password changed"`)) {
			t.Errorf("%s is not in\n%s", want, log.String())
		}
	}
	if strings.Contains(log.String(), secret) || strings.Contains(log.String(), "\x1b") {
		t.Errorf("a secret, or a terminal's commands, in\n%s", log.String())
	}
}
