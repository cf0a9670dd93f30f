package domain

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"skyrealm/tenant"
)

// feed is a store that can be read alone, and not up to its end where fails is set.
type feed struct {
	Store
	records []Record
	fails   USN
	asked   []USN
}

var errFeed = errors.New("the feed is cut")

func (f *feed) Records(_ context.Context, after USN, limit int) ([]Record, tenant.USN, error) {
	f.asked = append(f.asked, after)
	if f.fails != 0 && after >= f.fails {
		return nil, 0, errFeed
	}
	i := slices.IndexFunc(f.records, func(r Record) bool { return r.USN > after })
	if i < 0 {
		return nil, 7, nil
	}
	page := f.records[i:min(i+limit, len(f.records))]
	if len(page) == limit {
		return page, 0, nil
	}
	return page, 7, nil
}

// TestCatchUp: each page is asked for once and is in when CatchUp returns; a page
// that can't be read is asked for again by the next one.
func TestCatchUp(t *testing.T) {
	for _, n := range []int{0, 1, batch - 1, batch, 2*batch + 1} {
		w := newWorld(t)
		f := &feed{}
		for i := range n {
			r := w.user("u", "")
			r.RDN, r.SAM, r.UPN = r.GUID.String(), r.GUID.String(), r.GUID.String()
			r.USN = w.usn + USN(1+i)
			f.records = append(f.records, r)
		}
		was := w.rep.Len()
		follower := Follower{Store: f, Replica: w.rep, Log: slog.New(slog.DiscardHandler)}
		if n > batch {
			f.fails = w.usn + batch + 1
			if err := follower.CatchUp(t.Context()); !errors.Is(err, errFeed) || w.rep.Len() != was+2*batch {
				t.Errorf("%d: %v, %d are in", n, err, w.rep.Len()-was)
			}
			f.fails, f.asked = 0, nil
		}
		after, _ := w.rep.USN()
		if err := follower.CatchUp(t.Context()); err != nil || w.rep.Len() != was+n {
			t.Errorf("%d: %v, %d are in", n, err, w.rep.Len()-was)
		}
		if _, upTo := w.rep.USN(); upTo != 7 {
			t.Errorf("%d: the tenant's feed is in up to %d", n, upTo)
		}
		if !slices.IsSorted(f.asked) || len(slices.Compact(slices.Clone(f.asked))) != len(f.asked) || f.asked[0] != after {
			t.Errorf("%d: asked for what is after %v", n, f.asked)
		}
	}
}
