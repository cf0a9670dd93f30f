package domain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/krb5/etype"
)

var decoySecret = []byte("a secret of the domain's, 32 long")

// person is a record with keys that no password leads to: of what the salt begins
// with, and iterations (0: an NT hash and no more).
func (w *world) person(name, before string, iterations uint32) Record {
	r := w.user(name, "")
	s, err := RandomSecrets(before+name, testNow, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range s.Current.Keys {
		s.Current.Keys[i].Iterations = iterations
	}
	if iterations == 0 {
		s.Current.Keys = nil
	}
	r.Secrets = s
	return r
}

// population puts n people of three sorts into the domain: one in ten with an NT hash
// alone, three with keys that were made here, six with synced ones.
func (w *world) population(from, to int) {
	var records []Record
	for i := from; i < to; i++ {
		name := fmt.Sprintf("ann%05d", i)
		switch k := i % 10; {
		case k == 0:
			records = append(records, w.person(name, "", 0))
		case k < 4:
			records = append(records, w.person(name, "AADDS.CONTOSO.TEST", 4096))
		default:
			r := w.person("A"+name[1:], "CONTOSO.LOCAL", 10000)
			records = append(records, r)
		}
	}
	w.putAll(records)
}

func newDecoys(t testing.TB) *world {
	return newWorldWith(t, newWorld(t).rep.Info)
}

// newWorldWith is a second replica of a domain, with decoys.
func newWorldWith(t testing.TB, info Info) *world {
	w := &world{t: t, rand: &stream{}, rid: 1103, rep: NewReplica(info)}
	w.rep.Decoys = NewDecoys(info, decoySecret)
	records, err := Found(info, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	w.put(records...)
	w.ou = w.rep.ByDN(mustDN("OU=AADDC Users," + info.BaseDN().String())).GUID
	return w
}

func salt(o *Object) string {
	if len(o.Secrets.Current.Keys) == 0 {
		return "none"
	}
	return o.Secrets.Current.Keys[0].Salt
}

// Decoys look like the accounts of the domain, as many like each sort as there are.
func TestDecoysTakeAfterAccounts(t *testing.T) {
	w := newDecoys(t)
	if o := w.rep.Decoys.Named("zed"); salt(o) != "AADDS.CONTOSO.TESTzed" || len(o.Secrets.Current.Keys) != 2 || o.Secrets.Current.NT.IsZero() {
		t.Errorf("in an empty domain: %q", salt(o))
	}
	if o := w.rep.Decoys.Named("WS7$"); salt(o) != "AADDS.CONTOSO.TESThostws7.aadds.contoso.test" || o.Kind != Computer {
		t.Errorf("a computer in an empty domain: %q", salt(o)) // as DC1$
	}
	const n = 4000
	w.population(0, 1000)
	seen := map[string]int{}
	for i := range n {
		name := fmt.Sprintf("zoe%05d", i)
		seen[strings.Replace(salt(w.rep.Decoys.Named(name)), "oe"+name[3:], "…", 1)]++
	}
	for s, share := range map[string]float64{"none": 0.1, "AADDS.CONTOSO.TESTz…": 0.3, "CONTOSO.LOCALZ…": 0.6} {
		if off := math.Abs(float64(seen[s])/n - share); off > 4*math.Sqrt(share*(1-share)/n) {
			t.Errorf("%d of %d have %q", seen[s], n, s)
		}
	}
	if len(seen) != 3 {
		t.Errorf("salts %v", seen)
	}
}

// The answers are the same at another replica and after a restart, and few change
// when accounts come and go; under another secret they are others.
func TestDecoysStay(t *testing.T) {
	w := newDecoys(t)
	w.population(0, 1000)
	again := newWorldWith(t, w.rep.Info)
	again.population(500, 1000) // another order
	again.population(0, 500)
	other := NewDecoys(w.rep.Info, []byte("another"))
	const n = 2000
	var before [n]*Object
	for i := range before {
		name := fmt.Sprintf("zoe%05d", i)
		o, too := w.rep.Decoys.Named(name), again.rep.Decoys.Named(name)
		if o.GUID != too.GUID || !o.Secrets.Current.Equal(too.Secrets.Current) || o.RID != 0 || !o.IsDecoy() {
			t.Fatalf("%s is %q here and %q there", name, salt(o), salt(too))
		}
		if x := other.Named(name); x.GUID == o.GUID || x.Secrets.Current.NT.Equal(o.Secrets.Current.NT) {
			t.Fatal("the secret is not in it")
		}
		before[i] = o
	}
	w.population(1000, 1100)
	changed := 0
	for i, o := range before {
		if salt(w.rep.Decoys.Named(fmt.Sprintf("zoe%05d", i))) != salt(o) {
			changed++
		}
	}
	if changed > n/50 {
		t.Errorf("%d of %d decoys changed as a tenth of all accounts came, of the same sorts", changed, n)
	}
	// They go as they came: then there is nobody to take after.
	for i := range 1100 {
		r := Record{GUID: w.rep.BySAM(fmt.Sprintf("ann%05d", i)).GUID, Deleted: true}
		w.put(r)
	}
	if n := len(w.rep.Decoys.alike); n != 1 { // DC1$
		t.Errorf("%d sorts of nobody are left", n)
	}
	if salt(w.rep.Decoys.Named("zed")) != "AADDS.CONTOSO.TESTzed" || w.rep.Decoys.Suffix("x@contoso.test") {
		t.Error("decoys take after accounts that are gone")
	}
}

// What a client may see of an account goes to its decoys, from the encryption types
// that it lists to how many passwords it had.
func TestDecoyLikeness(t *testing.T) {
	w := newDecoys(t)
	r := w.person("SVC-Mail", "CORP.TEST", 4096)
	r.SPNs = []string{"HTTP/mail"}
	r.Attrs[attrEncTypes] = [][]byte{[]byte("28")}
	r.Secrets.History = []cred.Legacy{r.Secrets.Current, {NT: r.Secrets.Current.NT}}
	w.put(r)
	o := w.rep.Decoys.Named("svc-zed@CONTOSO.test")
	h := o.Secrets.History
	if salt(o) != "CORP.TESTsvc-zed" { // SVC-Mail is written as no rule has it
		t.Errorf("salt %q", salt(o))
	}
	if !o.EncTypes.Has(etype.RC4) || len(o.SPNs) == 0 || len(h) != 2 || len(h[0].Keys) != 2 || len(h[1].Keys) != 0 || h[1].NT.IsZero() {
		t.Errorf("%+v takes not after its model", o.EncTypes)
	}
	for text, want := range map[string]letters{"ADA.LOVELACE": upper, "Ada.Lovelace": title, "ada.lovelace": lower} {
		l, ok := likenessOf(&Object{Kind: User, SAM: text, Particulars: noParticulars, Secrets: AccountSecrets{Earlier: nothingEarlier, Current: cred.Legacy{Keys: []cred.KerberosKey{
			{Key: o.Secrets.Current.Keys[0].Key, Salt: "CORP.TEST" + text}}}}})
		if !ok || l.letters != want || l.before != "CORP.TEST" || l.letters.write("grace.hopper") != map[letters]string{
			upper: "GRACE.HOPPER", title: "Grace.Hopper", lower: "grace.hopper"}[want] {
			t.Errorf("%s: %+v", text, l)
		}
	}
}

// There is somebody to look at for most decoys, others for others, and nobody where
// there is none.
func TestSomeone(t *testing.T) {
	w := newDecoys(t)
	w.population(0, 1000)
	seen := map[*Object]bool{}
	for i := range 1000 {
		seen[w.rep.Someone(w.rep.Decoys.Named(fmt.Sprint("zed", i)))] = true
	}
	if len(seen) < 300 || seen[nil] {
		t.Errorf("%d of a thousand", len(seen))
	}
	if o := NewReplica(w.rep.Info).Someone(w.rep.Decoys.Named("zed")); o != nil {
		t.Error("somebody in an empty domain")
	}
}

// A directory in which each account has a salt of a sort of its own costs no more.
func TestDecoySortsAreBounded(t *testing.T) {
	w := newDecoys(t)
	var records []Record
	for i := range 3 * maxSorts {
		records = append(records, w.person(fmt.Sprintf("ann%05d", i), fmt.Sprintf("CORP%d.TEST", i), 4096))
	}
	w.putAll(records)
	if d := w.rep.Decoys; len(d.alike) > maxSorts || len(d.seen.Load().users) != maxLooks || !strings.HasPrefix(salt(d.Named("zed")), "CORP") {
		t.Errorf("%d sorts", len(d.alike))
	}
	for i := range records {
		records[i] = Record{GUID: records[i].GUID, Deleted: true}
	}
	w.putAll(records)
	if n := len(w.rep.Decoys.alike); n != 1 { // DC1$
		t.Errorf("%d sorts of nobody are left", n)
	}
}

// All forms of one name are one decoy.
func TestDecoyNames(t *testing.T) {
	w := newDecoys(t)
	w.put(w.user("ada", adaPassword)) // ada@contoso.test
	d := w.rep.Decoys
	for first, others := range map[string][][]string{
		"zed": {{"ZED"}, {"zed@contoso.test"}, {"Zed@aadds.contoso.test"}, {"zed@AADDS"}, {`AADDS\zed`}, {`aadds.contoso.test\zed`}},
		"ws7$": {{"WS7$"}, {"host", "ws7.aadds.contoso.test"}, {"HOST", "WS7"}, {"host", "ws7.AADDS.contoso.test"},
			{`AADDS\ws7$`}},
	} {
		for _, name := range others {
			if d.Named(first).GUID != d.Named(name...).GUID {
				t.Errorf("%q is not %s", name, first)
			}
		}
	}
	for _, name := range [][]string{{"zed2"}, {"zed@elsewhere.test"}, {`OTHER\zed`}, {"zed", "aadds"}, {"zed$"}} {
		if d.Named(name...).GUID == d.Named("zed").GUID {
			t.Errorf("%q is zed", name)
		}
	}
	for _, name := range [][]string{nil, {""}, {"\xff"}, {strings.Repeat("x", maxDecoyName+1)}, {"@contoso.test"}} {
		if o := d.Named(name...); o != nil {
			t.Errorf("%q is an account's name", name)
		}
	}
}

// A decoy is locked as an account is: each step of one life gives the same for both.
func TestDecoyLocksLikeAnAccount(t *testing.T) {
	for _, database := range []string{"none", "there", "away"} {
		t.Run("database "+database, func(t *testing.T) {
			w := newLocks(t)
			w.rep.Decoys = NewDecoys(w.rep.Info, decoySecret)
			l := w.rep.Lockout
			spy := &rows{now: l.Elapsed, rows: map[ID]*aRow{}}
			if database != "none" {
				spy.away.Store(database == "away")
				l.Store = spy
			}
			var locks atomic.Int32
			l.OnLock = func(o *Object) {
				if o.IsDecoy() {
					t.Error("an account is said to be locked out that is none")
				}
				locks.Add(1)
			}
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { l.Run(ctx) })
			defer running.Wait()
			defer stop()

			zed := func() *Object { return w.rep.Decoys.Named("zed") }
			step := 0
			same := func(want error, do func(o *Object, name string) error) {
				t.Helper()
				step++
				a, b := do(w.ada, "ada"), do(zed(), "zed@aadds.contoso.test")
				if !errors.Is(a, want) || (a == nil) != (want == nil) {
					t.Errorf("step %d: the account says %v, want %v", step, a, want)
				}
				if !errors.Is(b, want) || (b == nil) != (want == nil) {
					t.Errorf("step %d: the decoy says %v, want %v", step, b, want)
				}
				if l.IsLocked(w.ada) != l.IsLocked(zed()) || l.Busy(w.ada, false) != l.Busy(zed(), false) {
					t.Errorf("step %d: one is locked, or waits, and one is not", step)
				}
			}
			wrong := func(o *Object, _ string) error { return l.Wrong(t.Context(), o, 0) }
			proof := func(o *Object, _ string) error { return l.Wrong(t.Context(), o, 42) }
			bind := func(_ *Object, name string) error {
				_, err := w.rep.Authenticate(t.Context(), testNow, name, "wrong")
				return err
			}
			for range 3 {
				same(nil, wrong)
			}
			w.pass(2*time.Minute + 1) // the count is forgotten
			for range 5 {
				same(nil, proof) // one guess, sent again and again
			}
			same(BadCredentials, bind) // LDAP counts with it
			same(nil, wrong)
			same(BadCredentials, bind)
			same(nil, wrong)
			same(AccountLocked, wrong)
			same(AccountLocked, proof)
			same(AccountLocked, bind)
			w.pass(30*time.Minute - 1)
			same(AccountLocked, wrong)
			w.pass(1)
			for range 5 {
				same(nil, wrong)
			}
			same(AccountLocked, bind)
			w.pass(30 * time.Minute)
			head := w.rep.ByGUID(w.rep.Info.GUID)
			w.put(Record{GUID: head.GUID, Kind: Container, Class: "domainDNS", RDN: "aadds", Created: testNow, Changed: testNow,
				Attrs: map[string][][]byte{"lockoutThreshold": {[]byte("1")}, "lockoutDuration": {[]byte("-9223372036854775808")}}})
			same(nil, wrong)
			w.pass(1000 * time.Hour) // until an administrator ends it
			same(AccountLocked, wrong)
			if n := locks.Load(); n != 3 {
				t.Errorf("%d lockouts were told", n)
			}
			stop()
			running.Wait()
			spy.mu.Lock()
			defer spy.mu.Unlock()
			for id := range spy.rows {
				if id != w.ada.GUID && !(&Guesses{Account: id}).IsDecoy() {
					t.Errorf("the database has a row of %v", id)
				}
			}
			if database == "there" && len(spy.rows) != 2 {
				t.Errorf("%d rows: a decoy's guesses don't take the time of an account's", len(spy.rows))
			}
			if n := l.n.Load(); n != 1 {
				t.Errorf("%d accounts have had wrong passwords", n)
			}
		})
	}
}

// rows is a database of this test's.
type rows struct {
	now  func() time.Duration
	away atomic.Bool
	mu   sync.Mutex
	rows map[ID]*aRow
	rev  int64
}

type aRow struct {
	count      int
	bad, until time.Duration
}

func (r *rows) CountGuesses(_ context.Context, add []Guesses, p *Policy) ([]Guessed, error) {
	if r.away.Load() {
		return nil, errors.New("away")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Guessed, len(add))
	for i, a := range add {
		g, now := r.rows[a.Account], r.now()
		if g == nil {
			g = new(aRow)
			r.rows[a.Account] = g
		}
		counted := g.until <= now
		if counted {
			if g.until != 0 || now-g.bad > p.Window {
				*g = aRow{}
			}
			g.count, g.bad = g.count+a.N, now
			if a.Threshold > 0 && g.count >= a.Threshold {
				if g.until = Forever; p.Duration > 0 {
					g.until = now + p.Duration
				}
			}
		}
		r.rev++
		out[i] = Guessed{Account: a.Account, KVNO: a.KVNO, Count: g.count, Rev: r.rev, Counted: counted}
		switch {
		case g.until == Forever:
			out[i].Left, out[i].Locked = Forever, testNow.Add(g.bad)
		case g.until > now:
			out[i].Left, out[i].Locked = g.until-now, testNow.Add(g.bad)
		}
	}
	return out, nil
}

func (r *rows) Guessed(context.Context, int64) ([]Guessed, int64, error) { return nil, 0, nil }

// However many names there are guesses at, what is remembered of them is bounded, and
// the last ones count.
func TestDecoysAreBounded(t *testing.T) {
	w := newLocks(t)
	w.rep.Decoys = NewDecoys(w.rep.Info, decoySecret)
	l := w.rep.Lockout
	before := heap()
	for i := range 3*maxMadeUp + 100 {
		o := &Object{GUID: ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Secrets: AccountSecrets{KVNO: 1}}
		if err := l.Wrong(t.Context(), o, uint64(i)+1); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for _, g := range []*generation{l.made.now.Load(), l.made.old.Load()} {
		g.m.Range(func(any, any) bool { n++; return true })
	}
	if n > 2*maxMadeUp || n < maxMadeUp {
		t.Errorf("%d decoys are remembered", n)
	}
	grown := (heap() - before) / int64(n)
	t.Logf("they take %d bytes each", grown)
	if grown > 600 {
		t.Error("that is more than half a kB")
	}
	zed := w.rep.Decoys.Named("zed")
	for range 5 {
		if err := l.Wrong(t.Context(), zed, 0); err != nil {
			t.Error(err)
		}
	}
	for i := range maxMadeUp / 2 {
		_ = l.Wrong(t.Context(), &Object{GUID: ID{byte(i), byte(i >> 8), 2}, Secrets: AccountSecrets{KVNO: 1}}, 0)
	}
	if !l.IsLocked(zed) {
		t.Error("a lock is forgotten before its generation is")
	}
}
