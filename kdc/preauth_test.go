package kdc

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// twoRounds is a mechanism that asks once more before it believes, and answers
// under a key of its own.
const twoRoundsKind = -77

func twoRounds(key etype.Key) mechanism {
	return mechanism{
		kind: twoRoundsKind, keyed: true,
		offer: func(_ *exchange, to krb5.MethodData) krb5.MethodData {
			return append(to, krb5.PAData{Type: twoRoundsKind, Value: []byte("offer")})
		},
		prove: func(x *exchange, value []byte) error {
			state, ok := x.cookie(twoRoundsKind)
			if !ok {
				return x.more(krb5.PAData{Type: twoRoundsKind, Value: []byte("challenge")}, append([]byte("state of "), value...), "first round")
			}
			if !bytes.Equal(state, append([]byte("state of "), value...)) {
				return x.askFor(krb5.ErrPreauthFailed, "another state")
			}
			x.proof = value
			x.repPAData = append(x.repPAData, krb5.PAData{Type: twoRoundsKind, Value: []byte("done")})
			x.replyWith(key, 0)
			return nil
		},
	}
}

func (w *world) withTwoRounds() etype.Key {
	w.t.Helper()
	key, err := etype.Random(etype.AES256SHA1, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	w.kdc.once.Do(w.kdc.init)
	w.kdc.mechanisms = append([]mechanism{twoRounds(key)}, w.kdc.mechanisms...)
	return key
}

func (w *world) methods(e *krb5.Error) krb5.MethodData {
	w.t.Helper()
	var m krb5.MethodData
	if err := m.Unmarshal(e.EData); err != nil {
		w.t.Fatal(err)
	}
	return m
}

// round is an element of the mechanism, and a cookie where there is one.
func round(value string, cookie []byte) krb5.MethodData {
	m := krb5.MethodData{{Type: twoRoundsKind, Value: []byte(value)}}
	if cookie != nil {
		m = append(m, krb5.PAData{Type: krb5.PAFXCookie, Value: cookie})
	}
	return m
}

// begin is the first round.
func (w *world) begin(client, value string) (cookie []byte) {
	w.t.Helper()
	q := w.asReq(client)
	q.PAData = round(value, nil)
	m := w.methods(w.refused(w.send(q), krb5.ErrMorePreauthRequired))
	if v, _ := m.Find(twoRoundsKind); string(v) != "challenge" {
		w.t.Fatalf("METHOD-DATA %v", m)
	}
	if _, ok := m.Find(krb5.PAETypeInfo2); !ok {
		w.t.Error("no ETYPE-INFO2 in the second round's METHOD-DATA")
	}
	cookie, ok := m.Find(krb5.PAFXCookie)
	if !ok {
		w.t.Fatal("no cookie")
	}
	return cookie
}

func TestMechanismOfTwoRounds(t *testing.T) {
	w := newWorld(t)
	key := w.withTwoRounds()
	m := w.methods(w.refused(w.send(w.asReq("alice")), krb5.ErrPreauthRequired))
	var kinds []int32
	for _, p := range m {
		kinds = append(kinds, p.Type)
	}
	if !slices.Equal(kinds, []int32{krb5.PAFXFast, krb5.PAETypeInfo2, twoRoundsKind, krb5.PASPAKE, krb5.PAEncTimestamp, krb5.PAFXCookie}) {
		t.Fatalf("METHOD-DATA %v", kinds)
	}
	cookie := w.begin("alice", "one")
	// Another replica has the cookie's key, and no memory of the first round.
	other := &KDC{Replica: w.rep, Rand: w.rand, Now: w.kdc.Now}
	other.once.Do(other.init)
	other.mechanisms, w.kdc = w.kdc.mechanisms, other
	q := w.asReq("alice")
	q.PAData = round("one", cookie)
	g := w.open(w.send(q), key, krb5.UsageASRepPart)
	if v, _ := g.rep.PAData.Find(twoRoundsKind); string(v) != "done" || g.rep.EncPart.KVNO != 0 {
		t.Errorf("padata %v, kvno %d", g.rep.PAData, g.rep.EncPart.KVNO)
	}
}

// TestCookieIsGoodForOneConversation takes a cookie to everything that it is
// not for: it must count as none, and the mechanism begin anew.
func TestCookieIsGoodForOneConversation(t *testing.T) {
	for name, c := range map[string]struct {
		client string
		after  time.Duration
		alter  func(w *world, cookie []byte) []byte
		good   bool
	}{
		"as it came":         {client: "alice", good: true},
		"name in other case": {client: "ALICE", good: true},
		"other name of hers": {client: "Alice.Liddell@contoso.test", good: true},
		"at its last moment": {client: "alice", after: cookieLife, good: true},
		"too old":            {client: "alice", after: cookieLife + time.Microsecond},
		"from our future":    {client: "alice", after: -5*time.Minute - time.Microsecond},
		"another client":     {client: "bob"},
		"cut off": {client: "alice", alter: func(_ *world, c []byte) []byte {
			return c[:len(c)-1]
		}},
		"too long": {client: "alice", alter: func(_ *world, c []byte) []byte {
			return append(c, make([]byte, maxCookie)...)
		}},
		"another mechanism's": {client: "alice", alter: func(w *world, _ []byte) []byte {
			x := &exchange{k: w.kdc, now: w.now, client: w.rep.BySAM("alice")}
			c, err := x.bakeCookie(twoRoundsKind+1, []byte("state of one"))
			if err != nil {
				w.t.Fatal(err)
			}
			return c
		}},
		"krbtgt rolled once":  {client: "alice", alter: rolled(1), good: true},
		"krbtgt rolled twice": {client: "alice", alter: rolled(2)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := w.withTwoRounds()
			cookie := bytes.Clone(w.begin("alice", "one"))
			if c.alter != nil {
				cookie = c.alter(w, cookie)
			}
			w.now = w.now.Add(c.after)
			q := w.asReq(c.client)
			if len(c.client) > 6 {
				q.CName.Type = krb5.NTEnterprise
			}
			q.PAData = round("one", cookie)
			reply := w.send(q)
			if c.good {
				w.open(reply, key, krb5.UsageASRepPart)
			} else {
				w.refused(reply, krb5.ErrMorePreauthRequired)
			}
		})
	}
	t.Run("each byte changed", func(t *testing.T) {
		w := newWorld(t)
		w.withTwoRounds()
		cookie := w.begin("alice", "one")
		for i := range cookie {
			bad := bytes.Clone(cookie)
			bad[i] ^= 1
			q := w.asReq("alice")
			q.PAData = round("one", bad)
			w.refused(w.send(q), krb5.ErrMorePreauthRequired)
		}
	})
}

// TestHalfDone (trust.md K09, CVE-2025-27479): first rounds leave nothing here.
func TestHalfDone(t *testing.T) {
	w := newWorld(t)
	w.withTwoRounds()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	q := w.asReq("alice")
	first := func(n int) {
		for range n {
			q.Nonce++
			q.PAData = round("one", nil)
			if reply := w.send(q); len(reply) == 0 || reply[0] != 0x7e {
				t.Fatalf("%x", reply)
			}
		}
	}
	first(100)
	before := heap()
	first(10000)
	if after := heap(); after > before+1<<18 {
		t.Errorf("10,000 half-done sign-ins hold %d bytes", after-before)
	}
}

// rolled gives the krbtgt a new key so many times.
func rolled(times int) func(w *world, cookie []byte) []byte {
	return func(w *world, cookie []byte) []byte {
		for range times {
			w.roll()
		}
		return cookie
	}
}
