package kdc

import (
	"bytes"
	"strconv"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// TestExtendedErrors ([MS-KILE] §2.2.1, §2.2.2): why an account may not sign in,
// as Windows tells the person. testNow is a Saturday, 12:00 UTC.
func TestExtendedErrors(t *testing.T) {
	hours := func(day, hour int) []byte {
		b := make([]byte, 21)
		b[(day*24+hour)/8] |= 1 << ((day*24 + hour) % 8)
		return b
	}
	expires := func(at time.Time) []byte { return strconv.AppendInt(nil, domain.FileTime(at), 10) }
	named := func(n string) []krb5.HostAddress {
		return []krb5.HostAddress{{Type: krb5.AddrIPv4, Address: []byte{192, 0, 2, 1}}, {Type: krb5.AddrNetBIOS, Address: []byte(n)}}
	}
	for name, c := range map[string]struct {
		attr   string
		value  []byte
		from   []krb5.HostAddress
		code   krb5.ErrorCode
		status uint32
	}{
		"no longer":           {"accountExpires", expires(testNow.Add(-time.Second)), nil, krb5.ErrClientRevoked, 0xC0000193},
		"at the moment":       {"accountExpires", expires(testNow), nil, krb5.ErrClientRevoked, 0xC0000193},
		"still":               {"accountExpires", expires(testNow.Add(time.Hour)), nil, 0, 0},
		"never, as 0":         {"accountExpires", []byte("0"), nil, 0, 0},
		"never":               {"accountExpires", []byte("9223372036854775807"), nil, 0, 0},
		"this hour":           {"logonHours", hours(6, 12), nil, 0, 0},
		"the hour before":     {"logonHours", hours(6, 11), nil, krb5.ErrClientRevoked, 0xC000006F},
		"the hour after":      {"logonHours", hours(6, 13), nil, krb5.ErrClientRevoked, 0xC000006F},
		"another day":         {"logonHours", hours(5, 12), nil, krb5.ErrClientRevoked, 0xC000006F},
		"no hour":             {"logonHours", make([]byte, 21), nil, krb5.ErrClientRevoked, 0xC000006F},
		"its workstation":     {"userWorkstations", []byte("PC1,pc2"), named("PC2             "), 0, 0},
		"its one workstation": {"userWorkstations", []byte("pc2"), named("PC2            \x20"), 0, 0},
		"another workstation": {"userWorkstations", []byte("PC1,PC2"), named("PC3             "), krb5.ErrPolicy, 0xC0000070},
		"none named":          {"userWorkstations", []byte("PC1"), nil, krb5.ErrPolicy, 0xC0000070},
		"a part of the name":  {"userWorkstations", []byte("PC1"), named("PC              "), krb5.ErrPolicy, 0xC0000070},
		"no name":             {"userWorkstations", []byte(" , "), named("PC              "), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.change("alice", func(r *domain.Record) { r.Attrs = map[string][][]byte{c.attr: {c.value}} })
			for _, q := range []*krb5.KDCReq{w.asReq("alice"), w.proven("alice", etype.AES256SHA1)} {
				q.Addresses = c.from
				reply := w.send(q)
				switch {
				case c.code != 0:
					if got := status(t, w.refused(reply, c.code)); got != c.status {
						t.Errorf("status %x, expect %x", got, c.status)
					}
				case q.PAData == nil:
					w.refused(reply, krb5.ErrPreauthRequired)
				default:
					w.open(reply, w.key("alice", 18), krb5.UsageASRepPart)
				}
			}
		})
	}
	w := newWorld(t)
	if got := status(t, w.refused(w.send(w.asReq("dave")), krb5.ErrClientRevoked)); got != 0xC0000072 {
		t.Errorf("disabled: status %x", got)
	}
	if got := status(t, w.refused(w.send(w.proven("erin", etype.AES256SHA1)), krb5.ErrKeyExpired)); got != 0xC0000224 {
		t.Errorf("must change: status %x", got)
	}
	// Expired, and locked out whatever is shown.
	w.now = w.now.Add(domain.DefaultPolicy.MaxAge)
	if got := status(t, w.refused(w.send(w.proven("alice", etype.AES256SHA1)), krb5.ErrKeyExpired)); got != 0xC0000071 {
		t.Errorf("expired: status %x", got)
	}
	w.lockout(nil)
	for i := range time.Duration(domain.DefaultPolicy.Threshold) {
		w.sendRaw(w.guess("alice", "wrong", i))
	}
	for _, q := range []*krb5.KDCReq{w.asReq("alice"), w.proven("alice", etype.AES256SHA1)} {
		if got := status(t, w.refused(w.send(q), krb5.ErrClientRevoked)); got != 0xC0000234 {
			t.Errorf("locked: status %x", got)
		}
	}
	// Inside FAST the error alone.
	a := w.armor(w.login("WS1$"))
	if _, r := a.refused(w.sendRaw(a.wrap(w.asReq("alice"))), krb5.ErrClientRevoked); len(r.PAData) != 1 {
		t.Errorf("padata %+v", r.PAData)
	}
}

// TestLogoffTime ([MS-KILE] §3.3.5.6.4.1): the next hour that is not the account's, or
// its end.
func TestLogoffTime(t *testing.T) {
	all := bytes.Repeat([]byte{0xff}, 21)
	without := func(day, hour int) []byte {
		b := bytes.Clone(all)
		b[(day*24+hour)/8] &^= 1 << ((day*24 + hour) % 8)
		return b
	}
	noon := testNow.Truncate(time.Hour)
	for name, c := range map[string]struct {
		hours   []byte
		expires time.Time
		expect  time.Time // zero: never
	}{
		"neither":                  {all, time.Time{}, time.Time{}},
		"the next hour":            {without(6, 13), time.Time{}, noon.Add(time.Hour)},
		"midnight":                 {without(0, 0), time.Time{}, noon.Add(12 * time.Hour)},
		"an hour ago":              {without(6, 11), time.Time{}, noon.Add(167 * time.Hour)},
		"the account's end":        {all, noon.Add(90 * time.Minute), noon.Add(90 * time.Minute)},
		"the account's end before": {without(6, 14), noon.Add(90 * time.Minute), noon.Add(90 * time.Minute)},
		"the hour before":          {without(6, 13), noon.Add(90 * time.Minute), noon.Add(time.Hour)},
	} {
		w := newWorld(t)
		w.change("alice", func(r *domain.Record) {
			r.Attrs = map[string][][]byte{"logonHours": {c.hours}, "homeDrive": {[]byte("H:")}}
			if !c.expires.IsZero() {
				r.Attrs["accountExpires"] = [][]byte{strconv.AppendInt(nil, domain.FileTime(c.expires), 10)}
			}
		})
		want := pac.Never
		if !c.expect.IsZero() {
			want = pac.FileTimeOf(c.expect)
		}
		if got := w.pacOf(w.tgs(w.tgsReq(w.login("alice"), webSPN)), "web").Logon.LogoffTime; got != want {
			t.Errorf("%s: %v, expect %v", name, got.Time(), c.expect)
		}
	}
}

// maxAge sets the domain's policy; 0 is no limit.
func (w *world) maxAge(age time.Duration) {
	o := w.rep.ByGUID(w.rep.Info.GUID)
	w.put(domain.Record{GUID: o.GUID, Kind: domain.Container, Class: "domainDNS", RDN: "aadds", Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"maxPwdAge": {strconv.AppendInt(nil, -int64(age/100), 10)}}})
}

// TestPasswordInPAC ([MS-PAC] §2.5, [MS-SAMR] §3.1.5.14.3 and .4): when the password
// was set, may be changed and has to be, and how many wrong ones came since.
func TestPasswordInPAC(t *testing.T) {
	const day = 24 * time.Hour
	set := testNow.Add(-30 * time.Minute)
	for name, c := range map[string]struct {
		sam   string
		world func(w *world)
		set   time.Time
		must  pac.FileTime
	}{
		"the policy's":     {"alice", func(*world) {}, set, pac.FileTimeOf(set.Add(90 * day))},
		"another policy's": {"alice", func(w *world) { w.maxAge(7 * day) }, set, pac.FileTimeOf(set.Add(7 * day))},
		"no policy's":      {"alice", func(w *world) { w.maxAge(0) }, set, pac.Never},
		"a synced one's": {"alice", func(w *world) {
			w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACDontExpirePassword })
		}, set, pac.Never},
		"a computer's":       {"WS1$", func(*world) {}, set, pac.Never},
		"that has to change": {"erin", func(*world) {}, time.Time{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.world(w)
			// By S4U2Self, as who has to change the password gets no TGT.
			web := w.login("web")
			l := w.pacOf(w.tgs(w.selfReq(web, webSPN, c.sam)), "web").Logon
			if l.PasswordLastSet != pac.FileTimeOf(c.set) || l.PasswordCanChange != l.PasswordLastSet || l.PasswordMustChange != c.must {
				t.Errorf("set %v, can change %v, must change %v (%x), expect %x", l.PasswordLastSet.Time(), l.PasswordCanChange.Time(), l.PasswordMustChange.Time(), l.PasswordMustChange, c.must)
			}
		})
	}

	w := newWorld(t)
	w.lockout(nil)
	g := w.login("alice")
	count := func(want uint16) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		if l := w.pacOf(w.tgs(w.tgsReq(g, webSPN)), "web").Logon; l.BadPasswordCount != want || l.LogonCount != 0 {
			t.Errorf("%d wrong passwords, expect %d; %d sign-ins", l.BadPasswordCount, want, l.LogonCount)
		}
	}
	count(0)
	for i := range time.Duration(3) {
		w.refused(w.sendRaw(w.guess("alice", "wrong", i)), krb5.ErrPreauthFailed)
	}
	count(3)
	w.login("alice")
	count(0)
}

// TestAccountEnds: tickets end with the account, and a TGT that does not is refused.
func TestAccountEnds(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	end := testNow.Add(time.Hour).Truncate(time.Second)
	w.change("alice", func(r *domain.Record) {
		r.Attrs = map[string][][]byte{"accountExpires": {strconv.AppendInt(nil, domain.FileTime(end), 10)},
			"homeDirectory": {[]byte(`\\fs\alice`)}, "homeDrive": {[]byte("H:")}, "profilePath": {[]byte(`\\fs\p`)}, "scriptPath": {[]byte("logon.cmd")}}
	})
	w.now = w.now.Add(time.Second)
	short := w.login("alice")
	if !short.part.EndTime.Equal(end) {
		t.Errorf("ends %v", short.part.EndTime)
	}
	l := w.pacOf(w.tgs(w.tgsReq(short, webSPN)), "web").Logon
	if l.KickOffTime != pac.FileTimeOf(end) || l.HomeDirectory != `\\fs\alice` || l.HomeDirectoryDrive != "H:" || l.ProfilePath != `\\fs\p` || l.LogonScript != "logon.cmd" {
		t.Errorf("%+v", l)
	}
	w.now = end
	if got := status(t, w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrClientRevoked)); got != 0xC0000193 {
		t.Errorf("status %x", got)
	}
	q := w.tgsReq(g, "krbtgt/"+testRealm)
	q.body.Options = krb5.OptRenew
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrClientRevoked)
}

// TestOldETypeInfo (RFC 4120 §5.2.7.4 and §5.2.7.5): ETYPE-INFO for clients that
// list old types only, and never for others.
func TestOldETypeInfo(t *testing.T) {
	for _, c := range []struct {
		etypes []int32
		old    bool
	}{
		{[]int32{23}, true}, {[]int32{23, 24, 3, 1, -133, -128, 16}, true}, {[]int32{23, 18}, false}, {[]int32{17, 23}, false}, {[]int32{20, 23}, false}, {[]int32{23, 26}, false},
	} {
		w := newWorld(t)
		q := w.asReq("bob")
		q.ETypes = c.etypes
		e := w.refused(w.send(q), krb5.ErrPreauthRequired)
		var m krb5.MethodData
		if err := m.Unmarshal(e.EData); err != nil {
			t.Fatal(err)
		}
		v, old := m.Find(krb5.PAETypeInfo)
		if _, has := m.Find(krb5.PAETypeInfo2); old != c.old || !has {
			t.Errorf("%v: ETYPE-INFO %v, ETYPE-INFO2 %v", c.etypes, old, has)
		}
		var info krb5.ETypeInfo
		if old && (info.Unmarshal(v) != nil || len(info) != 1 || info[0].EType != 23 || !info[0].NoSalt) {
			t.Errorf("%v: %+v", c.etypes, info)
		}
	}
}
