package kdc

import (
	"bytes"
	"runtime"
	"testing"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pkinit"
)

// nobodyReq asks for an anonymous TGT.
func (w *world) nobodyReq() *krb5.KDCReq {
	q := w.asReq("")
	q.CName = anonymous
	q.Options |= krb5.OptRequestAnonymous
	return q
}

func unsigned() *card { return &card{group: pkinit.Group14, kdfs: []pkinit.OID{pkinit.KDFSHA256}} }

func TestAnonymous(t *testing.T) {
	w := newWorld(t)
	w.withPKINIT()
	q := w.nobodyReq()
	m := w.methods(w.refused(w.send(q), krb5.ErrPreauthRequired))
	for _, kind := range []int32{krb5.PAPKASReq, krb5.PAPKINITKX} {
		if _, ok := m.Find(kind); !ok {
			t.Errorf("padata %d is not offered", kind)
		}
	}
	g, reply := w.signIn(q, unsigned())
	if !g.rep.CName.Equal(anonymous) || g.rep.CRealm != anonymousRealm || g.part.Flags&(krb5.FlagAnonymous|krb5.FlagRenewable|krb5.FlagForwardable) != krb5.FlagAnonymous {
		t.Errorf("reply to %v@%s, flags %08x", g.rep.CName, g.rep.CRealm, g.part.Flags)
	}
	tkt := w.ticket(&g.rep.Ticket, w.key("krbtgt", etype.AES256SHA1))
	if !tkt.CName.Equal(anonymous) || tkt.CRealm != anonymousRealm || tkt.Flags&krb5.FlagAnonymous == 0 || tkt.PAC != nil || len(tkt.AuthData) != 0 {
		t.Errorf("ticket %+v", tkt)
	}

	// RFC 8062 §7: the session key is of both sides' making.
	value, _ := g.rep.PAData.Find(krb5.PAPKINITKX)
	var enc krb5.EncryptedData
	if err := enc.Unmarshal(value); err != nil {
		t.Fatal(err)
	}
	plain, err := reply.Decrypt(nil, enc.Cipher, krb5.UsagePKINITKX)
	if err != nil {
		t.Fatal(err)
	}
	var part krb5.EncryptionKey
	if err := part.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	k, err := etype.NewKey(etype.ID(part.Type), part.Expose())
	if err != nil {
		t.Fatal(err)
	}
	if both, err := etype.CF2(k, reply, "PKINIT", "KEYEXCHANGE"); err != nil || !bytes.Equal(both.Expose(), g.part.Key.Expose()) {
		t.Error("the session key is not of both sides' making")
	}

	// T03: it is of no use with the TGS, in no way.
	for name, alter := range map[string]func(*tgsReq){
		"a service":  func(*tgsReq) {},
		"a TGT":      func(q *tgsReq) { q.body.SName = krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm) },
		"a password": func(q *tgsReq) { q.body.SName = krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw") },
	} {
		q := w.tgsReq(g, webSPN)
		alter(q)
		if reply := w.sendRaw(w.encode(q)); new(krb5.Error).Unmarshal(reply) != nil {
			t.Errorf("%s: an anonymous TGT got a ticket", name)
		} else {
			w.refused(reply, krb5.ErrTGTRevoked)
		}
	}
}

func TestAnonymousRefused(t *testing.T) {
	for name, c := range map[string]struct {
		alter  func(w *world, q *krb5.KDCReq, c *card)
		expect krb5.ErrorCode
	}{
		"signed": {func(w *world, _ *krb5.KDCReq, c *card) {
			s := newAuthority(w.t, testCAKey()).card(person(w.anna()))
			c.chain, c.key = s.chain, s.key
		}, krb5.ErrPreauthFailed},
		"a service":          {func(_ *world, q *krb5.KDCReq, _ *card) { q.SName = krb5.Principal(2, "HTTP", "web.aadds.contoso.test") }, krb5.ErrPolicy},
		"kadmin/changepw":    {func(_ *world, q *krb5.KDCReq, _ *card) { q.SName = krb5.Principal(2, "kadmin", "changepw") }, krb5.ErrPolicy},
		"somebody":           {func(_ *world, q *krb5.KDCReq, _ *card) { q.CName = krb5.Principal(1, "alice") }, krb5.ErrBadOption},
		"without the option": {func(_ *world, q *krb5.KDCReq, _ *card) { q.Options = 0 }, krb5.ErrCPrincipalUnknown},
		"no PKINIT":          {func(w *world, _ *krb5.KDCReq, _ *card) { w.kdc.PKINIT = nil }, krb5.ErrCPrincipalUnknown},
		"a password": {func(w *world, q *krb5.KDCReq, c *card) {
			c.alterReq = func(q *krb5.KDCReq) { q.PAData = krb5.MethodData{w.proof(w.key("alice", etype.AES256SHA1), w.now)} }
		}, krb5.ErrPreauthRequired},
		"body altered": {func(_ *world, _ *krb5.KDCReq, c *card) {
			c.alterReq = func(q *krb5.KDCReq) { q.Nonce++ }
		}, krb5.ErrModified},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.withPKINIT()
			q, k := w.nobodyReq(), unsigned()
			c.alter(w, q, k)
			request, _ := w.request(q, k)
			w.refused(w.sendRaw(request), c.expect)
		})
	}
}

// TestAnonymousCrowd: whoever has no name does not take the processors from
// those who have one.
func TestAnonymousCrowd(t *testing.T) {
	w := newWorld(t)
	ca := w.withPKINIT()
	busy := max(1, int32(runtime.GOMAXPROCS(0)/2))
	w.kdc.PKINIT.nobodies.Store(busy)
	request, _ := w.request(w.nobodyReq(), unsigned())
	w.refused(w.sendRaw(request), krb5.ErrSvcUnavailable)
	w.signIn(w.asReq("alice"), ca.card(person(w.anna())))
	w.login("alice")
	w.kdc.PKINIT.nobodies.Store(busy - 1)
	w.signIn(w.nobodyReq(), unsigned())
	if n := w.kdc.PKINIT.nobodies.Load(); n != busy-1 {
		t.Errorf("%d requests are worked on, and none is", n-busy+1)
	}
}
