package domain

import (
	"context"
	"errors"
	"io"
	"time"
)

const (
	// krbtgtAge is how old the krbtgt's key becomes (EDS/faqs).
	krbtgtAge = 7 * 24 * time.Hour
	// krbtgtSoon is how long a new key of the krbtgt is known before tickets are
	// made with it: a ticket that one replica has issued must open at all others.
	krbtgtSoon = 10 * time.Second
	// krbtgtLook is how often the provisioner looks how old the key is.
	krbtgtLook = time.Minute
)

// RollKrbtgt gives the krbtgt a new key, used from the moment that is returned.
// The one before opens the tickets that are out as long as they can live; the
// one before that opens nothing any more. So two in a row end every ticket of
// the domain, forged ones too.
func RollKrbtgt(ctx context.Context, s Store, info *Info, now time.Time, rand io.Reader) (kvno uint32, from time.Time, err error) {
	for try := 1; ; try++ {
		rec, err := krbtgt(ctx, s)
		if err != nil {
			return 0, from, err
		}
		kvno, from, err = rollKrbtgt(ctx, s, &rec, info, now, rand)
		if !errors.Is(err, ErrConflict) || try == maxTries {
			return kvno, from, err
		}
	}
}

func krbtgt(ctx context.Context, s Store) (Record, error) {
	const name = "krbtgt"
	taken, err := s.NamesTaken(ctx, []string{name})
	if err != nil {
		return Record{}, err
	}
	guid, ok := taken[name]
	if !ok {
		return Record{}, ErrNoDomain
	}
	return s.Record(ctx, guid)
}

func rollKrbtgt(ctx context.Context, s Store, rec *Record, info *Info, now time.Time, rand io.Reader) (uint32, time.Time, error) {
	next, err := RandomSecrets(info.Realm()+"krbtgt", now.Add(krbtgtSoon).UTC(), rand)
	if err != nil {
		return 0, time.Time{}, err
	}
	next.KVNO = rec.Secrets.KVNO + 1
	next.Current, next.Previous = next.Current.WithKVNO(next.KVNO), rec.Secrets.Current
	rec.Secrets, rec.Changed = next, now.UTC()
	_, err = s.Apply(ctx, []Write{{Record: *rec}})
	return next.KVNO, next.Set, err
}

// Age does what time asks for: it rolls the krbtgt's key once that is seven days
// old. A date far in the future is that of a clock that was wrong.
func (p *Provisioner) Age(ctx context.Context) error {
	rec, err := krbtgt(ctx, p.Store)
	if err != nil {
		return err
	}
	now := p.Now()
	if age := now.Sub(rec.Secrets.Set); age < krbtgtAge && age > -24*time.Hour {
		return nil
	}
	kvno, from, err := rollKrbtgt(ctx, p.Store, &rec, &p.Info, now, p.Rand)
	switch {
	case errors.Is(err, ErrConflict): // somebody else has
		return nil
	case err == nil:
		p.Log.Info("the krbtgt has a new key", "kvno", kvno, "from", from)
	}
	return err
}
