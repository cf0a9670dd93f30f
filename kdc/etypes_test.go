package kdc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/krb5/spake"
)

// says sets msDS-SupportedEncryptionTypes.
func says(r *domain.Record, bits int) {
	r.Attrs = map[string][][]byte{"msDS-SupportedEncryptionTypes": {[]byte(strconv.Itoa(bits))}}
}

// sha2Salt and sha2Rounds are of keys that came from elsewhere, as each type's
// may have its own.
const (
	sha2Salt   = "CONTOSO.LOCALgrace-"
	sha2Rounds = 1000
)

// newETypeWorld is newWorld with
//
//	grace    a person with synced keys of all four types, each with its own salt
//	heidi    a person with synced keys of types 20 and 19 alone
//	sha2     a service with keys of types 20, 19, 18 and 17
//	opted    a service with AES keys that says RC4 and AES
//	onlyrc4  a service with AES keys that says RC4 alone
//	aes128   a service with AES keys that says AES-128 alone
//	sk       a service that says RC4, and AES for session keys
//	strict   a service with an NT hash that says AES
//	says20   a service with AES keys that says SHA-2 and has no keys of it
func newETypeWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	grace, heidi := w.user("grace", testPassword), w.user("heidi", testPassword)
	grace.Secrets.Current = sha2Keys(t, etype.AES128SHA1, etype.AES128SHA2, etype.AES256SHA1, etype.AES256SHA2)
	heidi.Secrets.Current = sha2Keys(t, etype.AES256SHA2, etype.AES128SHA2)
	w.put(grace, heidi)
	for _, s := range []struct {
		name string
		says int
		keys []etype.ID
	}{
		{"sha2", 0, []etype.ID{etype.AES128SHA1, etype.AES256SHA1, etype.AES256SHA2, etype.AES128SHA2}},
		{"opted", 0x1c, []etype.ID{etype.AES256SHA1, etype.AES128SHA1}},
		{"onlyrc4", 0x4, []etype.ID{etype.AES256SHA1, etype.AES128SHA1}},
		{"aes128", 0x8, []etype.ID{etype.AES256SHA1, etype.AES128SHA1}},
		{"sk", 0x24, []etype.ID{etype.AES256SHA1, etype.AES128SHA1}},
		{"strict", 0x18, nil},
		{"says20", 0xc0, []etype.ID{etype.AES256SHA1, etype.AES128SHA1}},
	} {
		r := w.user(s.name, testPassword)
		r.SPNs = []string{"HTTP/" + s.name}
		r.Secrets.Current.Keys = sha2Keys(t, s.keys...).Keys
		if s.says != 0 {
			says(&r, s.says)
		}
		w.put(r)
	}
	return w
}

func sha2Keys(t testing.TB, ids ...etype.ID) cred.Legacy {
	t.Helper()
	var l cred.Legacy
	for _, id := range ids {
		salt := sha2Salt + id.String()
		k, ok := legacies.Load(salt)
		if !ok {
			made, err := etype.StringToKey(id, testPassword, salt, sha2Rounds)
			if err != nil {
				t.Fatal(err)
			}
			legacies.Store(salt, made)
			k = made
		}
		l.Keys = append(l.Keys, cred.KerberosKey{Key: k.(etype.Key), Salt: salt, Iterations: sha2Rounds})
	}
	return l
}

// TestETypeMatrix (trust.md T11): which session key and which ticket a service
// and a client's list come to. RC4 comes up in the rows of accounts that have
// nothing better, or have said that they want it, and in no other.
func TestETypeMatrix(t *testing.T) {
	offers := []struct {
		name string
		list []int32
	}{
		{"RC4 alone", []int32{23}},
		{"RC4 in its other forms", []int32{24, -128, -133, -135}},
		{"RC4 first, then AES", []int32{23, 18, 17}},
		{"AES", []int32{18, 17}},
		{"AES-128", []int32{17}},
		{"SHA-2 last", []int32{23, 17, 18, 19, 20}},
		{"SHA-2 alone", []int32{20, 19}},
		{"SHA-2 of 128 bits", []int32{19}},
		{"DES and what nobody has", []int32{1, 3, 16, 999, -77}},
	}
	refused := [2]int32{}
	for _, row := range []struct {
		service string
		expect  [9][2]int32 // session, ticket
	}{
		{"krbtgt/" + testRealm, [9][2]int32{{}, {}, {18, 18}, {18, 18}, {17, 18}, {18, 18}, {20, 18}, {19, 18}, {}}},
		{"HTTP/web", [9][2]int32{{}, {}, {18, 18}, {18, 18}, {17, 18}, {18, 18}, {}, {}, {}}},
		{"cifs/old.aadds.contoso.test", [9][2]int32{{23, 23}, {}, {18, 23}, {18, 23}, {17, 23}, {18, 23}, {}, {}, {}}},
		{"HTTP/sha2", [9][2]int32{{}, {}, {18, 20}, {18, 20}, {17, 20}, {20, 20}, {20, 20}, {19, 20}, {}}},
		{"HTTP/opted", [9][2]int32{{23, 18}, {}, {18, 18}, {18, 18}, {17, 18}, {18, 18}, {}, {}, {}}},
		{"HTTP/onlyrc4", [9][2]int32{{23, 23}, {}, {23, 23}, {}, {}, {23, 23}, {}, {}, {}}},
		{"HTTP/aes128", [9][2]int32{{}, {}, {17, 17}, {17, 17}, {17, 17}, {17, 17}, {}, {}, {}}},
		{"HTTP/sk", [9][2]int32{{23, 23}, {}, {18, 23}, {18, 23}, {}, {18, 23}, {}, {}, {}}},
		{"HTTP/strict", [9][2]int32{}},
		{"HTTP/says20", [9][2]int32{}},
	} {
		w := newETypeWorld(t)
		g := w.login("alice")
		for i, offer := range offers {
			q := w.tgsReq(g, row.service)
			q.body.ETypes, q.body.Nonce = offer.list, int64(i)
			q.auth.SeqNumber = uint32(i)
			reply := w.sendRaw(w.encode(q))
			if row.expect[i] == refused {
				w.refused(reply, krb5.ErrETypeNoSupp)
				continue
			}
			got := w.open(reply, g.session, krb5.UsageTGSRepPartSession)
			if session, ticket := got.part.Key.Type, got.rep.Ticket.EncPart.EType; [2]int32{session, ticket} != row.expect[i] {
				t.Errorf("%s, %s: session key %d, ticket %d; expect %v", row.service, offer.name, session, ticket, row.expect[i])
			}
		}
	}
}

// TestClientETypeMatrix is the same for the key that a client proves itself
// with: the strongest that it lists is the first that it is told of.
func TestClientETypeMatrix(t *testing.T) {
	for _, row := range []struct {
		client string
		says   int
		offer  []int32
		expect []int32 // nil: refused
	}{
		{"alice", 0, []int32{23}, nil},
		{"alice", 0, []int32{23, 17, 18}, []int32{18, 17}},
		{"alice", 0, []int32{20, 19}, nil},
		{"alice", 0x1c, []int32{23}, []int32{23}},
		{"alice", 0x1c, []int32{23, 17, 18}, []int32{18, 17, 23}},
		{"alice", 0x18, []int32{23}, nil},
		{"alice", 0x8, []int32{23, 17, 18}, []int32{17}},
		{"alice", 0x3, []int32{23, 17, 18}, []int32{18, 17}}, // DES alone is as good as nothing
		{"bob", 0, []int32{23, 17, 18}, []int32{23}},
		{"bob", 0x18, []int32{23, 17, 18}, nil},
		{"grace", 0, []int32{17, 18, 19, 20}, []int32{20, 18, 19, 17}},
		{"grace", 0, []int32{23}, nil},
		{"grace", 0, []int32{19, 17}, []int32{19, 17}},
		{"grace", 0x10, []int32{17, 18, 19, 20}, []int32{18}},
		{"heidi", 0, []int32{17, 18, 19, 20}, []int32{20, 19}},
		{"heidi", 0, []int32{17, 18, 23}, nil},
	} {
		w := newETypeWorld(t)
		if row.says != 0 {
			w.change(row.client, func(r *domain.Record) { says(r, row.says) })
		}
		q := w.asReq(row.client)
		q.ETypes = row.offer
		if row.expect == nil {
			w.refused(w.send(q), krb5.ErrETypeNoSupp)
			continue
		}
		var got []int32
		for _, e := range w.etypeInfo(w.refused(w.send(q), krb5.ErrPreauthRequired)) {
			got = append(got, e.EType)
		}
		if !slices.Equal(got, row.expect) {
			t.Errorf("%s, %#x, %v: told of %v, expect %v", row.client, row.says, row.offer, got, row.expect)
		}
	}
}

// TestSHA2SignIn: by timestamp, by SPAKE and in FAST with keys of RFC 8009; and
// for a service that has them, ticket, session key and PAC are all of that kind.
func TestSHA2SignIn(t *testing.T) {
	for _, id := range []etype.ID{etype.AES256SHA2, etype.AES128SHA2} {
		for _, client := range []string{"grace", "heidi"} {
			w := newETypeWorld(t)
			q := w.asReq(client)
			// The krbtgt's keys are of SHA-1; the session's is where the client can.
			q.ETypes = []int32{int32(id), 18}
			if client == "heidi" {
				q.ETypes = q.ETypes[:1]
			}
			key := w.key(client, id)

			// The salt is announced without the type's name that RFC 8009 §4 puts
			// before it, and the rounds where they are not the usual ones.
			i := slices.IndexFunc(w.etypeInfo(w.refused(w.send(q), krb5.ErrPreauthRequired)), func(e krb5.ETypeInfoEntry) bool {
				return e.EType == int32(id) && e.Salt == sha2Salt+id.String() &&
					bytes.Equal(e.S2KParams, binary.BigEndian.AppendUint32(nil, sha2Rounds))
			})
			if i < 0 {
				t.Errorf("%s: no ETYPE-INFO2 of %v", client, id)
			}

			q.PAData = krb5.MethodData{w.proof(key, w.now), {Type: krb5.PAReqEncPARep, Value: []byte{}}}
			raw := krb5.Encode(q)
			g := w.open(w.sendRaw(raw), key, krb5.UsageASRepPart)
			session := etype.AES256SHA1
			if client == "heidi" {
				session = id
			}
			if e := g.rep.EncPart.EType; e != int32(id) || g.rep.Ticket.EncPart.EType != 18 || g.session.ID() != session {
				t.Errorf("%s: reply %d, ticket %d, session key %v", client, e, g.rep.Ticket.EncPart.EType, g.session.ID())
			}
			sum, _ := g.part.EncPAData.Find(krb5.PAReqEncPARep)
			if want := key.Checksum(nil, raw, krb5.UsageASReq); !bytes.Contains(sum, want) {
				t.Errorf("%s: the request is not vouched for by %v", client, id)
			}

			tgs := w.tgsReq(g, "HTTP/sha2")
			tgs.body.ETypes = []int32{17, int32(id)}
			s := w.open(w.sendRaw(w.encode(tgs)), g.session, krb5.UsageTGSRepPartSession)
			if s.part.Key.Type != int32(id) || s.rep.Ticket.EncPart.EType != 20 {
				t.Errorf("session key %d, ticket %d", s.part.Key.Type, s.rep.Ticket.EncPart.EType)
			}
			service := w.key("sha2", etype.AES256SHA2)
			if err := pac.Verify(w.ticket(&s.rep.Ticket, service).PAC, service, nil); err != nil {
				t.Error(err)
			}
			if v, _ := s.part.EncPAData.Find(krb5.PASupportedEncTypes); !bytes.Equal(v, []byte{0xd8, 0, 0, 0}) {
				t.Errorf("PA-SUPPORTED-ENCTYPES %x", v)
			}
		}
		t.Run(fmt.Sprintf("SPAKE %v", id), func(t *testing.T) {
			w := newETypeWorld(t)
			for _, armored := range []bool{false, true} {
				s := w.spake("heidi", id, spake.P256)
				s.req.ETypes, s.req.Nonce = []int32{int32(id), 18}, int64(id)
				if armored {
					s.armor = w.armor(w.login("WS1$"))
				}
				s.begin()
				s.open(s.send(s.answer(), s.cookie))
			}
		})
		t.Run(fmt.Sprintf("encrypted challenge %v", id), func(t *testing.T) {
			w := newETypeWorld(t)
			a := w.armor(w.login("WS1$"))
			q := w.asReq("heidi")
			q.ETypes = []int32{int32(id), 18}
			q.PAData = krb5.MethodData{a.challenge(w.key("heidi", id))}
			a.open(w.sendRaw(a.wrap(q)), w.key("heidi", id), krb5.UsageASRepPart, q.Nonce)
		})
	}
}

// TestSupportedEncTypes: what a client is told of a service, so that it offers
// no less the next time ([MS-KILE] §3.3.5.7).
func TestSupportedEncTypes(t *testing.T) {
	w := newETypeWorld(t)
	for service, expect := range map[string]byte{
		"HTTP/web": 0x18, "cifs/old.aadds.contoso.test": 0x4, "HTTP/sha2": 0xd8,
		"HTTP/opted": 0x1c, "HTTP/onlyrc4": 0x4, "HTTP/aes128": 0x8, "HTTP/sk": 0x24,
	} {
		g := w.login("alice")
		q := w.tgsReq(g, service)
		s := w.open(w.sendRaw(w.encode(q)), g.session, krb5.UsageTGSRepPartSession)
		if v, _ := s.part.EncPAData.Find(krb5.PASupportedEncTypes); !bytes.Equal(v, []byte{expect, 0, 0, 0}) {
			t.Errorf("%s: %x, expect %#x", service, v, expect)
		}
	}
}
