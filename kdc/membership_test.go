package kdc

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/sid"
)

// group makes a group of a kind, with the SIDs that it had elsewhere.
func (w *world) group(name, groupType string, history []sid.SID, members ...domain.ID) domain.Record {
	r := w.user(name, "")
	r.Kind, r.Class, r.UAC, r.Members = domain.Group, "group", 0, members
	r.Attrs = map[string][][]byte{"groupType": {[]byte(groupType)}}
	for _, s := range history {
		r.Attrs["sIDHistory"] = append(r.Attrs["sIDHistory"], []byte(s))
	}
	return r
}

func (w *world) pacOf(g *grant, service string) *pac.PAC {
	w.t.Helper()
	p, err := pac.Parse(w.ticket(&g.rep.Ticket, w.key(service, 18)).PAC)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func rids(groups []pac.Group) (out []uint32) {
	for _, g := range groups {
		out = append(out, g.RID)
	}
	return out
}

// TestGroupScopes ([MS-PAC] §2.5, [MS-KILE] §3.3.5.7.3): each kind of group in its
// place, in the TGT and in tickets for services that read the compact form or not.
func TestGroupScopes(t *testing.T) {
	w := newWorld(t)
	prem := sid.New(5, 21, 7, 8, 9)
	alice := w.rep.BySAM("alice").GUID
	uni := w.group("Universal", domain.GroupUniversalSecurity, []sid.SID{prem.Append(2001)}, alice)
	local := w.group("Local", domain.GroupLocalSecurity, []sid.SID{prem.Append(2002)}, uni.GUID)
	mail := w.group("Mail", domain.GroupUniversalDistribution, []sid.SID{prem.Append(2003)}, alice)
	mailLocal := w.group("MailLocal", domain.GroupLocalDistribution, nil, alice)
	w.put(uni, local, mail, mailLocal)
	w.change("alice", func(r *domain.Record) {
		r.Attrs = map[string][][]byte{"sIDHistory": {[]byte(prem.Append(1001)),
			// What an agent must not be able to say: a group of ours, and what every machine knows.
			[]byte(w.rep.Info.SID.Append(512)), []byte(sid.New(5, 32, 544)), []byte(sid.New(1, 0)), []byte(sid.New(5, 21, 1)), []byte("junk")}}
	})
	w.change("old", func(r *domain.Record) {
		r.Secrets.Current = legacy(t, testPassword, "x")
		r.Attrs = map[string][][]byte{"msDS-SupportedEncryptionTypes": {[]byte("524312")}} // 0x80018
	})

	global := []uint32{513, 1111, 1112, uni.RID}
	g := w.login("alice")
	tgt := w.pacOf(g, "krbtgt").Logon
	history := []string{"S-1-18-1", "S-1-5-21-7-8-9-1001", "S-1-5-21-7-8-9-2001", "S-1-5-21-7-8-9-2002"}
	extra := func(l *pac.LogonInfo) (out []string) {
		for _, e := range l.ExtraSIDs {
			out = append(out, e.SID.String())
		}
		return out
	}
	if !slices.Equal(rids(tgt.Groups), global) || !slices.Equal(extra(tgt), history) || tgt.ResourceGroups != nil || tgt.UserFlags != pac.LogonExtraSIDs {
		t.Errorf("TGT: groups %v, extra %v, resource %v, flags %x", rids(tgt.Groups), extra(tgt), tgt.ResourceGroups, tgt.UserFlags)
	}
	web := w.pacOf(w.tgs(w.tgsReq(g, webSPN)), "web").Logon
	if !slices.Equal(rids(web.Groups), global) || !slices.Equal(extra(web), history) || web.ResourceGroupDomain != w.rep.Info.SID ||
		!slices.Equal(web.ResourceGroups, []pac.Group{{RID: local.RID, Attributes: 0x20000007}}) || web.UserFlags != pac.LogonExtraSIDs|pac.LogonResourceGroups {
		t.Errorf("service: groups %v, extra %v, resource %v, flags %x", rids(web.Groups), extra(web), web.ResourceGroups, web.UserFlags)
	}
	q := w.tgsReq(g, "cifs/old.aadds.contoso.test")
	w.now = w.now.Add(time.Second)
	q.auth.CTime = w.now
	old := w.pacOf(w.tgs(q), "old").Logon
	if !slices.Equal(extra(old), append(slices.Clone(history), w.rep.Info.SID.Append(local.RID).String())) || old.ResourceGroups != nil ||
		old.ResourceGroupDomain != "" || old.UserFlags != pac.LogonExtraSIDs || old.ExtraSIDs[len(old.ExtraSIDs)-1].Attributes != 0x20000007 {
		t.Errorf("service without compression: extra %v, resource %v, flags %x", old.ExtraSIDs, old.ResourceGroups, old.UserFlags)
	}
	// A ticket that an AS-REQ gets for a service directly is no TGT.
	as := w.proven("alice", etype.AES256SHA1)
	as.SName = krb5.Principal(krb5.NTSrvInst, "HTTP", "web")
	w.now = w.now.Add(time.Second)
	as.PAData = krb5.MethodData{w.proof(w.key("alice", 18), w.now)}
	direct := w.pacOf(w.open(w.send(as), w.key("alice", 18), krb5.UsageASRepPart), "web")
	if len(direct.Logon.ResourceGroups) != 1 || direct.Requestor != "" || direct.KeyVersion != 0 {
		t.Errorf("AS for a service: %+v", direct.Logon)
	}
}

// TestTooManyGroups: 1,015 SIDs are what a token has room for. One more, of any
// kind, and there is no ticket rather than one that leaves some out.
func TestTooManyGroups(t *testing.T) {
	for _, kind := range []string{"global", "history", "local"} {
		w := newWorld(t)
		alice := w.rep.BySAM("alice").GUID
		var groups []domain.Record
		for i := range maxSIDs - 3 { // Domain Users, Staff and Everyone are there
			groups = append(groups, w.group(fmt.Sprint("g", i), domain.GroupGlobalSecurity, nil, alice))
		}
		w.put(groups...)
		g := w.login("alice")
		w.tgs(w.tgsReq(g, webSPN))
		switch kind {
		case "global":
			w.put(w.group("last", domain.GroupGlobalSecurity, nil, alice))
		case "local":
			w.put(w.group("last", domain.GroupLocalSecurity, nil, alice))
		default:
			last := groups[len(groups)-1]
			last.Attrs["sIDHistory"] = [][]byte{[]byte(sid.New(5, 21, 7, 8, 9, 10))}
			w.put(last)
		}
		w.now = w.now.Add(time.Second)
		q := w.tgsReq(g, webSPN)
		e := w.refused(w.sendRaw(w.encode(q)), krb5.ErrPolicy)
		if status(t, e) != 0xC000015A {
			t.Errorf("%s: status %x", kind, status(t, e))
		}
		as := w.send(w.proven("alice", etype.AES256SHA1))
		if kind == "local" { // which a TGT does not carry
			w.open(as, w.key("alice", 18), krb5.UsageASRepPart)
		} else {
			w.refused(as, krb5.ErrPolicy)
		}
		w.login("müller") // and others sign in
	}
}

// status reads the NTSTATUS out of the e-data of an error.
func status(t testing.TB, e *krb5.Error) uint32 {
	t.Helper()
	// SEQUENCE { [1] INTEGER 3, [2] OCTET STRING (12) }
	const head = "\x30\x15\xa1\x03\x02\x01\x03\xa2\x0e\x04\x0c"
	if len(e.EData) != len(head)+12 || string(e.EData[:len(head)]) != head {
		t.Fatalf("%v: e-data %x", e.Code, e.EData)
	}
	v := e.EData[len(head):]
	if binary.LittleEndian.Uint32(v[4:]) != 0 || binary.LittleEndian.Uint32(v[8:]) != 1 {
		t.Errorf("%v: e-data %x", e.Code, e.EData)
	}
	return binary.LittleEndian.Uint32(v)
}

// newPassword changes an account's password, or sends the same again.
func (w *world) newPassword(sam, password string) {
	w.change(sam, func(r *domain.Record) {
		s := domain.Secrets{Current: r.Secrets.Current, KVNO: r.Secrets.KVNO, Set: w.now, Previous: r.Secrets.Current}
		if password != "" {
			s.KVNO++
			s.Current = legacy(w.t, password, testRealm+sam).WithKVNO(s.KVNO)
		}
		r.Secrets = s
	})
}

// TestStaleTGT: a change of the password ends a person's TGT, for tickets and for
// its own renewal; what is no change does not.
func TestStaleTGT(t *testing.T) {
	renewal := func(w *world, g *grant) *tgsReq {
		q := w.tgsReq(g, "krbtgt/"+testRealm)
		q.body.Options = krb5.OptRenew
		return q
	}
	t.Run("person", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		w.now = w.now.Add(time.Minute)
		w.newPassword("alice", "") // the same again: a full sync of all passwords
		w.tgs(w.tgsReq(g, webSPN))
		w.newPassword("alice", "another")
		w.now = w.now.Add(time.Minute)
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrTGTRevoked)
		w.refused(w.sendRaw(w.encode(renewal(w, g))), krb5.ErrTGTRevoked)
		w.tgs(w.tgsReq(w.login("alice"), webSPN))
	})
	t.Run("machine", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("WS1$")
		w.newPassword("WS1$", "another")
		w.now = w.now.Add(time.Minute)
		w.tgs(renewal(w, g)) // it changes the password in the midst of its work
		w.newPassword("WS1$", "a third")
		w.now = w.now.Add(time.Minute)
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrTGTRevoked)
	})
	t.Run("service account", func(t *testing.T) { // made in the domain: its keys keep a version, its TGTs don't
		w := newWorld(t)
		g := w.login("web")
		w.newPassword("web", "another")
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrTGTRevoked)
	})
	t.Run("without a version", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		q := w.tgsReq(g, webSPN)
		q.tgt = w.forge(g, func(p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(t, p.PAC, key, func(p *pac.PAC) { p.KeyVersion = 0 })
		})
		w.refused(w.sendRaw(w.encode(q)), krb5.ErrTGTRevoked)
	})
	t.Run("groups", func(t *testing.T) { // each ticket has those of its own moment
		w := newWorld(t)
		g := w.login("alice")
		late := w.group("Late", domain.GroupGlobalSecurity, nil, w.rep.BySAM("alice").GUID)
		w.put(late)
		p := w.pacOf(w.tgs(w.tgsReq(g, webSPN)), "web")
		if !slices.Contains(rids(p.Logon.Groups), late.RID) {
			t.Errorf("groups %v", p.Logon.Groups)
		}
	})
}
