package domain

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Lockout counts wrong passwords, whichever protocol they come by, and locks an
// account under the domain's [Policy]. Every edge that verifies a password calls
// it: [Lockout.Right] or [Lockout.Wrong] with what came out, before anybody is
// told. A nil Lockout counts nothing.
//
// A decoy is locked as an account is, but in this process alone: no row tells of it.
//
// What it promises is about answers. However many guesses come at once, and to
// however many replicas, Threshold of them are told "wrong", and all others
// "locked", a right one too: a wrong password waits for its turn and for one
// statement of the database, whose row puts the guesses of all replicas in an
// order. A right password waits for the wrong ones before it in this process,
// and asks no database. So it can be taken by another replica in the moment
// until the notice of a lock is there.
//
// While the database is away a replica counts alone, and adds to the database
// what it counted when that is back. A lockout ends by the monotonic clock.
type Lockout struct {
	Replica *Replica
	Store   GuessStore           // nil: this process counts alone
	Elapsed func() time.Duration // of a clock that nobody sets
	Now     func() time.Time     // what is shown of lockouts; nothing hangs on it
	Log     *slog.Logger
	OnLock  func(o *Object) // called when an account was locked here; may be nil

	n        atomic.Int64 // accounts that ever had a wrong password
	accounts table[ID, *guesses]
	made     madeUp
	decoys   [decoys]sync.Mutex

	once   sync.Once
	asks   chan ask
	awake  chan struct{} // there is something owed
	away   atomic.Int64  // Elapsed until which the database is not asked
	said   bool          // that it is away; Run's own
	cursor int64         // of the feed; the follower's own

	owing struct {
		sync.Mutex
		accounts map[ID]*guesses
	}
}

// Guesses are what a replica adds to an account's row.
type Guesses struct {
	Account   ID
	KVNO      uint32 // of the password that they were wrong for
	N         int
	Age       time.Duration // of the last of them
	Hold      time.Duration // a lock that holds already, for so much longer; 0: none
	Forget    Forget
	Threshold int // 0: never lock
}

// Forget is what is taken back before guesses are added.
type Forget uint8

// The values of Forget.
const (
	ForgetNothing Forget = iota
	ForgetCount          // a right password came; a lock stays
	ForgetAll            // an administrator unlocks
)

// Guessed is an account's row as it is now.
type Guessed struct {
	Account ID
	KVNO    uint32
	Count   int
	Bad     time.Time     // the last wrong password
	Age     time.Duration // of that
	Locked  time.Time     // zero: not locked
	Left    time.Duration // of the lock; [Forever]
	Rev     int64         // rises with each change of the row
	Counted bool          // what was given was added, and not refused for a lock that stood
}

// Forever is a lock that only an administrator ends.
const Forever = time.Duration(math.MaxInt64)

// GuessStore keeps the counts of wrong passwords for all replicas.
type GuessStore interface {
	// CountGuesses adds to the rows, each as one step, and returns them in the
	// same order.
	CountGuesses(ctx context.Context, add []Guesses, p *Policy) ([]Guessed, error)
	// Guessed returns the rows that changed after the moment that an earlier call
	// returned (0: all); none that commits later is passed over.
	Guessed(ctx context.Context, after int64) (rows []Guessed, next int64, err error)
}

// guesses is one account's state in this process.
type guesses struct {
	made    bool         // of a decoy: no database hears of it
	turn    sync.Mutex   // one wrong password at a time
	waiting atomic.Int32 // those that have it, or wait for it

	mu      sync.Mutex
	row     Guessed       // as the database had it last
	until   time.Duration // the end of the lock by Elapsed; 0: none
	badAt   time.Duration // the last that was counted here
	owed    Guesses       // not in the database yet; Account is zero where nothing is
	version uint64        // of owed
	seen    [8]uint64     // the last wrong proofs
	place   int
}

// lockedAt reports whether a lock holds for the account's present password: a
// new one ends it.
func (g *guesses) lockedAt(o *Object, now time.Duration) bool {
	return g.until > now && g.row.KVNO >= o.Secrets.KVNO
}

func (l *Lockout) get(o *Object) *guesses {
	if l == nil {
		return nil
	}
	if o.IsDecoy() {
		return l.made.get(o.GUID)
	}
	if l.n.Load() == 0 {
		return nil
	}
	g, _ := l.accounts.get(o.GUID)
	return g
}

func (l *Lockout) make(id ID) *guesses {
	if g, ok := l.accounts.get(id); ok {
		return g
	}
	g, was := l.accounts.m.LoadOrStore(id, new(guesses))
	if !was {
		l.n.Add(1)
	}
	return g.(*guesses)
}

// IsLocked reports whether the account is locked out.
func (l *Lockout) IsLocked(o *Object) bool {
	g := l.get(o)
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lockedAt(o, l.Elapsed())
}

// Busy reports whether Right or Wrong would wait: for the database, or for
// others who do.
func (l *Lockout) Busy(o *Object, right bool) bool {
	if l == nil || l.Store == nil {
		return false
	}
	if !right {
		return !l.IsLocked(o) && !l.isAway()
	}
	g := l.get(o)
	return g != nil && g.waiting.Load() > 0
}

// Right is told of a right password. It returns [AccountLocked] where that is
// not to be taken.
func (l *Lockout) Right(o *Object) error {
	g := l.get(o)
	if g == nil {
		return nil
	}
	if g.waiting.Load() > 0 { // what came before is judged before
		g.turn.Lock()
		defer g.turn.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lockedAt(o, l.Elapsed()) {
		return AccountLocked
	}
	if g.row.Count > 0 && g.row.KVNO >= o.Secrets.KVNO || g.owed.N > 0 {
		g.row.Count, g.row.Locked, g.until = 0, time.Time{}, 0
		g.owe(l, Guesses{Account: o.GUID, KVNO: g.row.KVNO, Forget: ForgetCount})
	}
	return nil
}

// Wrong is told of a wrong password. It returns [AccountLocked] where the sender
// may not be told that it was wrong. proof, where it is not 0, tells one guess
// from another: a client sends a datagram again when the answer is late, and
// that is no second one.
func (l *Lockout) Wrong(ctx context.Context, o *Object, proof uint64) error {
	if l == nil {
		return nil
	}
	l.init()
	var g *guesses
	if o.IsDecoy() {
		g = l.made.make(o.GUID)
	} else {
		g = l.make(o.GUID)
	}
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	g.turn.Lock()
	defer g.turn.Unlock()

	// 1. Is it one that has an answer already?
	g.mu.Lock()
	locked, again := g.lockedAt(o, l.Elapsed()), proof != 0 && g.saw(proof)
	kvno := max(o.Secrets.KVNO, g.row.KVNO)
	g.mu.Unlock()
	if locked {
		return AccountLocked
	}
	if again {
		return nil
	}

	// 2. Count it, with all replicas or alone.
	p := l.Replica.Policy()
	add := Guesses{Account: o.GUID, KVNO: kvno, N: 1, Threshold: p.Threshold}
	if g.made { // for the time that it takes; see Nobody
		add = Guesses{Account: decoy(uint32(binary.BigEndian.Uint16(o.GUID[:]) % decoys)), N: 1}
	}
	row, err := l.ask(ctx, add)
	g.mu.Lock()
	now := l.Elapsed()
	if err != nil || g.made {
		row = g.alone(l, o.GUID, kvno, p, now)
	} else {
		g.take(&row, now)
	}
	if proof != 0 && row.Counted {
		g.seen[g.place%len(g.seen)] = proof
		g.place++
	}
	locked = g.until > now
	g.mu.Unlock()

	// 3. The one that fills the measure is still told.
	if !row.Counted {
		return AccountLocked
	}
	if locked && !g.made {
		l.Log.Warn("account locked out", "account", o.SAM, "rid", o.RID, "wrong", row.Count)
		if l.OnLock != nil {
			l.OnLock(o)
		}
	}
	return nil
}

// decoys is how many rows stand for the names that nobody has.
const decoys = 1024

// Nobody is told of a password for a name that neither an account nor a decoy has.
// It costs what Wrong does, so that the time of an answer does not tell names
// (W05), and leaves a number in one of a few rows that nobody reads.
func (l *Lockout) Nobody(ctx context.Context, name string) {
	if l == nil {
		return
	}
	l.init()
	// FNV-1a: who aims at one row aims at nothing.
	h := uint32(2166136261)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint32(name[i])) * 16777619
	}
	n := h % decoys
	l.decoys[n].Lock()
	defer l.decoys[n].Unlock()
	_, _ = l.ask(ctx, Guesses{Account: decoy(n), N: 1})
}

// IsDecoy reports whether a row is nobody's.
func (g *Guesses) IsDecoy() bool {
	return g.Account == decoy(uint32(g.Account[14])<<8|uint32(g.Account[15]))
}

// decoy is an id that no record has: those are random.
func decoy(n uint32) ID { return ID{0: 0xff, 14: byte(n >> 8), 15: byte(n)} }

// Unlock ends a lock in all replicas.
func (l *Lockout) Unlock(ctx context.Context, o *Object) error {
	if l == nil {
		return nil
	}
	l.init()
	g := l.make(o.GUID)
	g.turn.Lock()
	defer g.turn.Unlock()
	row := Guessed{Account: o.GUID, KVNO: o.Secrets.KVNO}
	if l.Store != nil {
		rows, err := l.Store.CountGuesses(ctx, []Guesses{{Account: o.GUID, KVNO: o.Secrets.KVNO, Forget: ForgetAll}}, l.Replica.Policy())
		if err != nil {
			return err
		}
		row = rows[0]
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.owed, g.until = Guesses{}, 0
	g.version++
	if l.Store == nil {
		row.Rev = g.row.Rev
	}
	g.row = row
	return nil
}

// BadPasswords is what the directory shows of an account's wrong passwords.
func (l *Lockout) BadPasswords(o *Object) (count int, last, locked time.Time, isLocked bool) {
	g := l.get(o)
	if g == nil {
		return 0, last, locked, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.row.KVNO < o.Secrets.KVNO {
		return 0, g.row.Bad, time.Time{}, false
	}
	return g.row.Count + g.owed.N, g.row.Bad, g.row.Locked, g.lockedAt(o, l.Elapsed())
}

func (g *guesses) saw(proof uint64) bool {
	for _, s := range g.seen {
		if s == proof {
			return true
		}
	}
	return false
}

// take notes what the database says, unless something newer is known.
func (g *guesses) take(row *Guessed, now time.Duration) {
	if row.Rev < g.row.Rev {
		return
	}
	same := g.until != 0 && row.Locked.Equal(g.row.Locked) && row.KVNO == g.row.KVNO
	g.row = *row
	switch {
	case row.Left <= 0:
		if g.owed.Hold == 0 { // else the database is to hear of the lock yet
			g.until = 0
		}
	case same:
		// The end of a lock that is known stands, whatever the wall clocks do.
	case row.Left == Forever:
		g.until = Forever
	default:
		g.until = now + row.Left
	}
	if g.owed.N == 0 {
		g.badAt = now - row.Age
	}
}
