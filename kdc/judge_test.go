package kdc

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

func (w *world) lockout(store domain.GuessStore) *domain.Lockout {
	began := time.Now()
	l := &domain.Lockout{Replica: w.rep, Store: store, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now },
		Elapsed: func() time.Duration { return time.Since(began) + time.Hour }}
	w.rep.Lockout = l
	return l
}

// counting is lockout with its worker, until the test ends.
func (w *world) counting(store domain.GuessStore) {
	l := w.lockout(store)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	w.t.Cleanup(func() { stop(); <-done })
}

// guess is an AS-REQ with a timestamp under the key of a password.
func (w *world) guess(sam, password string, at time.Duration) []byte {
	w.t.Helper()
	k, ok := legacy(w.t, password, testRealm+sam).Key(etype.AES256SHA1)
	if !ok {
		w.t.Fatal("no key")
	}
	q := w.asReq(sam)
	q.PAData = krb5.MethodData{w.proof(k.Key, w.now.Add(at*time.Microsecond))}
	return krb5.Encode(q)
}

// Five wrong passwords lock the account: then nobody is told anything but that,
// in the form that Windows reads.
func TestLockout(t *testing.T) {
	w := newWorld(t)
	w.lockout(nil)
	first := w.guess("alice", "wrong", 0)
	for i := range 5 {
		guess := w.guess("alice", "wrong", time.Duration(i))
		if i == 0 {
			guess = first
		}
		e := w.refused(w.sendRaw(guess), krb5.ErrPreauthFailed)
		var methods krb5.MethodData
		if methods.Unmarshal(e.EData) != nil || len(methods) == 0 {
			t.Error("a wrong password is not told how to make the key")
		}
		// The same datagram again, as of a client that waits for an answer.
		if i < 4 {
			w.refused(w.sendRaw(first), krb5.ErrPreauthFailed)
		}
		if i == 3 { // knowing the password takes the count back
			w.login("alice")
			for i := range 4 {
				w.refused(w.sendRaw(w.guess("alice", "wrong", time.Duration(100+i))), krb5.ErrPreauthFailed)
			}
		}
	}
	for _, request := range [][]byte{w.guess("alice", "wrong", 99), w.guess("alice", testPassword, 99), krb5.Encode(w.asReq("alice")), first} {
		e := w.refused(w.sendRaw(request), krb5.ErrClientRevoked)
		if !bytes.Contains(e.EData, []byte{0x34, 0x02, 0x00, 0xc0}) { // STATUS_ACCOUNT_LOCKED_OUT
			t.Errorf("e-data is %x", e.EData)
		}
	}
	w.login("WS1$")
	if err := w.rep.Lockout.Unlock(t.Context(), w.rep.BySAM("alice")); err != nil {
		t.Fatal(err)
	}
	w.login("alice")
}

// One of the last two passwords is refused like any other wrong one, with the
// present salt, and does not count.
func TestEarlierPasswords(t *testing.T) {
	w := newWorld(t)
	w.lockout(nil)
	w.change("alice", func(r *domain.Record) {
		for _, p := range []string{"before", "long ago"} {
			r.Secrets.History = append(r.Secrets.History, legacy(t, p, "OLD"+p))
		}
	})
	for i, password := range []string{"before", "long ago", "before", "long ago", "before", "long ago", "before"} {
		old := legacy(t, password, "OLD"+password)
		k, _ := old.Key(etype.AES256SHA1)
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{w.proof(k.Key, w.now.Add(time.Duration(i)*time.Microsecond))}
		e := w.refused(w.send(q), krb5.ErrPreauthFailed)
		if !bytes.Contains(e.EData, []byte(testRealm+"alice")) || bytes.Contains(e.EData, []byte("OLD")) {
			t.Error("the client is not told the present salt")
		}
	}
	if n, _, _, _ := w.rep.Lockout.BadPasswords(w.rep.BySAM("alice")); n != 0 {
		t.Errorf("badPwdCount is %d", n)
	}
	w.login("alice")
}

// stuck is a database that does not answer.
type stuck struct {
	asked   chan struct{}
	release chan struct{}
	n       atomic.Int32
}

func (s *stuck) CountGuesses(_ context.Context, add []domain.Guesses, _ *domain.Policy) ([]domain.Guessed, error) {
	select {
	case s.asked <- struct{}{}:
	default: // one is enough
	}
	<-s.release
	out := make([]domain.Guessed, len(add))
	for i := range out {
		out[i] = domain.Guessed{Account: add[i].Account, KVNO: add[i].KVNO, Count: 1, Rev: int64(s.n.Add(1)), Counted: true}
	}
	return out, nil
}

func (s *stuck) Guessed(context.Context, int64) ([]domain.Guessed, int64, error) { return nil, 0, nil }

// A wrong password that waits for the database keeps no other datagram waiting,
// and gets its answer.
func TestWrongPasswordsBlockNoReader(t *testing.T) {
	w := newWorld(t)
	db := &stuck{asked: make(chan struct{}, 1), release: make(chan struct{})}
	w.counting(db)
	s := w.listen()
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wrong, _ := legacy(t, "wrong", "").Key(etype.RC4)
	for i := range 64 { // more than there are readers
		if _, err := c.Write(w.guess("bob", "wrong", time.Duration(i))); err != nil {
			t.Fatal(err)
		}
		q := w.asReq("alice")
		q.ETypes = []int32{23}
		q.PAData = krb5.MethodData{w.proof(wrong.Key, w.now.Add(time.Duration(i)))}
		q.CName = krb5.Principal(krb5.NTPrincipal, "bob")
		if _, err := c.Write(krb5.Encode(q)); err != nil {
			t.Fatal(err)
		}
	}
	<-db.asked
	buf := make([]byte, 4096)
	read := func() krb5.ErrorCode {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var e krb5.Error
		if e.Unmarshal(buf[:n]) != nil {
			return krb5.ErrNone
		}
		return e.Code
	}
	if _, err := c.Write(krb5.Encode(w.proven("WS1$", etype.AES256SHA1))); err != nil {
		t.Fatal(err)
	}
	for code := read(); code != krb5.ErrNone && code != krb5.ErrResponseTooBig; code = read() {
		if code == krb5.ErrPreauthFailed {
			t.Fatal("a wrong password is answered before it is counted")
		}
	}
	close(db.release)
	for code := read(); code != krb5.ErrPreauthFailed; code = read() {
		if code != krb5.ErrETypeNoSupp {
			t.Fatalf("answer %v", code)
		}
	}
}

// A right password costs no allocation for the lockout, whether or not there was
// ever a wrong one.
func TestLockoutCostsTheRightNothing(t *testing.T) {
	w := newWorld(t)
	l := w.lockout(nil)
	alice, bob := w.rep.BySAM("alice"), w.rep.BySAM("bob")
	for _, before := range []string{"nobody guessed", "others were guessed at"} {
		n := testing.AllocsPerRun(100, func() {
			bad, _, _, _ := l.BadPasswords(alice) // which the PAC says
			if bad != 0 || l.IsLocked(alice) || l.Right(alice) != nil || l.Busy(alice, true) {
				t.Error("locked")
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", before, n)
		}
		if err := l.Wrong(t.Context(), bob, 0); err != nil {
			t.Fatal(err)
		}
	}
}
