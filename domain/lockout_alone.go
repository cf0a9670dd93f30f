package domain

import (
	"context"
	"errors"
	"time"
)

const (
	// askTime is how long a wrong password waits for the database.
	askTime = time.Second
	// awayTime is how long the database is left alone once it did not answer, so
	// that not every wrong password waits.
	awayTime = time.Second
	// maxAsk is how many wrong passwords, of as many accounts, go in one statement.
	maxAsk = 256
)

var errAway = errors.New("domain: counting alone")

// ask is a wrong password on its way to the database.
type ask struct {
	add    Guesses
	answer chan<- answer
}

type answer struct {
	row Guessed
	err error
}

func (l *Lockout) init() {
	l.once.Do(func() {
		l.asks = make(chan ask, maxAsk)
		l.awake = make(chan struct{}, 1)
		l.owing.accounts = make(map[ID]*guesses)
	})
}

func (l *Lockout) isAway() bool { return l.away.Load() > int64(l.Elapsed()) }

// ask counts guesses at the database: those of all who ask at the same time go
// together, as each commit waits for a disk.
func (l *Lockout) ask(ctx context.Context, add Guesses) (Guessed, error) {
	if l.Store == nil || l.isAway() {
		return Guessed{}, errAway
	}
	// Twice, as the statement before it may take as long: what is counted there and
	// here as well would count double.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*askTime)
	defer cancel()
	got := make(chan answer, 1)
	select {
	case l.asks <- ask{add, got}:
	case <-ctx.Done():
		return Guessed{}, errAway
	}
	select {
	case a := <-got:
		return a.row, a.err
	case <-ctx.Done():
		return Guessed{}, errAway
	}
}

// alone counts one wrong password in memory. The database gets it later.
func (g *guesses) alone(l *Lockout, id ID, kvno uint32, p *Policy, now time.Duration) Guessed {
	if kvno > g.row.KVNO {
		rev := g.row.Rev
		g.row, g.owed, g.until = Guessed{KVNO: kvno, Rev: rev}, Guesses{}, 0
	}
	over := g.until != 0 // and it has ended, or we were not here
	if over || now-g.badAt > p.Window {
		g.row.Count, g.row.Locked, g.until = 0, time.Time{}, 0
		g.owed.N, g.owed.Hold = 0, 0
	}
	g.badAt, g.row.Bad = now, l.Now()
	g.owe(l, Guesses{Account: id, KVNO: kvno, N: 1, Threshold: p.Threshold})
	n := g.owed.N
	if g.owed.Forget == ForgetNothing {
		n += g.row.Count
	}
	if p.Threshold > 0 && n >= p.Threshold {
		g.row.Locked = g.row.Bad
		g.until = Forever
		if p.Duration > 0 {
			g.until = now + p.Duration
		}
		g.owed.Hold = g.until - now
	}
	return Guessed{Account: id, KVNO: kvno, Count: n, Counted: true}
}

// owe notes what the database has to be told. The caller holds g.mu.
func (g *guesses) owe(l *Lockout, add Guesses) {
	if l.Store == nil || g.made { // nobody will ever be told: the row is all there is
		g.row.Count += add.N
		return
	}
	l.init()
	g.version++
	if add.Forget != ForgetNothing {
		g.owed = Guesses{Forget: add.Forget}
	}
	g.owed.Account, g.owed.KVNO, g.owed.Threshold = add.Account, add.KVNO, add.Threshold
	g.owed.N += add.N
	l.owing.Lock()
	l.owing.accounts[add.Account] = g
	l.owing.Unlock()
	select {
	case l.awake <- struct{}{}:
	default:
	}
}

// Run takes wrong passwords to the database until ctx ends, and what is owed
// then a last time.
func (l *Lockout) Run(ctx context.Context) {
	l.init()
	work := context.WithoutCancel(ctx)
	retry := time.NewTicker(awayTime)
	defer retry.Stop()
	for {
		select {
		case a := <-l.asks:
			l.count(work, a)
		case <-l.awake:
			l.settle(work)
		case <-retry.C:
			l.settle(work)
		case <-ctx.Done():
			l.settle(work)
			return
		}
	}
}

// count counts a and what waits behind it.
func (l *Lockout) count(ctx context.Context, a ask) {
	all := []ask{a}
	for more := true; more && len(all) < maxAsk; {
		select {
		case a := <-l.asks:
			all = append(all, a)
		default:
			more = false
		}
	}
	add := make([]Guesses, len(all))
	for i := range all {
		add[i] = all[i].add
	}
	rows, err := l.tell(ctx, add)
	for i := range all {
		a := answer{err: err}
		if err == nil {
			a.row = rows[i]
		}
		all[i].answer <- a
	}
}

func (l *Lockout) tell(ctx context.Context, add []Guesses) ([]Guessed, error) {
	if l.isAway() {
		return nil, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	rows, err := l.Store.CountGuesses(ctx, add, l.Replica.Policy())
	if err != nil {
		l.away.Store(int64(l.Elapsed() + awayTime))
		if !l.said {
			l.Log.Warn("wrong passwords are counted in this process alone", "error", err)
		}
	}
	l.said = err != nil
	return rows, err
}

// settle tells the database what is owed. What it can't be told stays owed.
func (l *Lockout) settle(ctx context.Context) {
	for {
		var owing []*guesses
		l.owing.Lock()
		for id, g := range l.owing.accounts {
			if len(owing) == maxAsk {
				break
			}
			owing = append(owing, g)
			delete(l.owing.accounts, id)
		}
		l.owing.Unlock()
		if len(owing) == 0 || !l.settleSome(ctx, owing) {
			return
		}
	}
}

func (l *Lockout) settleSome(ctx context.Context, owing []*guesses) bool {
	now := l.Elapsed()
	var add []Guesses
	var of []*guesses
	var versions []uint64
	for _, g := range owing {
		g.mu.Lock()
		if o := g.owed; !o.Account.IsZero() {
			o.Age = max(0, now-g.badAt)
			if o.Hold != 0 && g.until != Forever {
				o.Hold = max(0, g.until-now)
			}
			add, of, versions = append(add, o), append(of, g), append(versions, g.version)
		}
		g.mu.Unlock()
	}
	if len(add) == 0 {
		return true
	}
	rows, err := l.tell(ctx, add)
	if err != nil {
		l.owing.Lock()
		for i, g := range of {
			l.owing.accounts[add[i].Account] = g
		}
		l.owing.Unlock()
		return false
	}
	now = l.Elapsed()
	for i, g := range of {
		g.mu.Lock()
		if g.version == versions[i] {
			g.owed = Guesses{}
		} else { // more has come meanwhile
			g.owed.N = max(0, g.owed.N-add[i].N)
			if g.owed.Forget == add[i].Forget {
				g.owed.Forget = ForgetNothing
			}
			l.owing.Lock()
			l.owing.accounts[add[i].Account] = g
			l.owing.Unlock()
		}
		g.take(&rows[i], now)
		g.mu.Unlock()
	}
	return true
}

// CatchUp takes what other replicas have counted. Only the follower calls it.
func (l *Lockout) CatchUp(ctx context.Context) error {
	if l == nil || l.Store == nil {
		return nil
	}
	l.init()
	rows, next, err := l.Store.Guessed(ctx, l.cursor)
	if err != nil {
		return err
	}
	now := l.Elapsed()
	for i := range rows {
		g := l.make(rows[i].Account)
		g.mu.Lock()
		g.take(&rows[i], now)
		g.mu.Unlock()
	}
	l.cursor = next
	return nil
}
