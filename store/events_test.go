package store

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"skyrealm/domain"
)

func TestEvents(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	from := netip.MustParseAddrPort("192.0.2.1:40000")
	in := []domain.Event{
		{ID: domain.EventTGT, At: moment, Account: "Ada", RID: 1105, Service: "krbtgt", ServiceRID: 502, Options: 0xffffffff, EType: 18, PreAuth: 2, From: from},
		{ID: domain.EventPreAuthFailed, At: moment.Add(time.Second), Account: "no\x00body\xff", EType: -1, Status: 0xc0000234},
		{ID: domain.EventServiceTicket, At: moment.Add(time.Hour), Account: "ada", RID: 1105, EType: -1, Status: 7, From: from},
	}
	check(t, h.domain.PutEvents(ctx, in))
	list := func(q domain.EventQuery) []domain.StoredEvent {
		t.Helper()
		q.Limit = 10
		out, err := h.domain.Events(ctx, q)
		check(t, err)
		return out
	}
	all := list(domain.EventQuery{})
	if len(all) != 3 {
		t.Fatalf("%d events", len(all))
	}
	if !reflect.DeepEqual(all[2].Event, in[0]) || !reflect.DeepEqual(all[0].Event, in[2]) {
		t.Errorf("%+v", all)
	}
	// A stranger's bytes keep nothing from being written.
	if all[1].Account != "no\ufffdbody\ufffd" || all[1].Status != 0xc0000234 || all[1].From.IsValid() {
		t.Errorf("%+v", all[1])
	}
	if got := list(domain.EventQuery{Account: "ADA"}); len(got) != 2 {
		t.Errorf("%d events of ada", len(got))
	}
	if got := list(domain.EventQuery{ID: domain.EventTGT}); len(got) != 1 || got[0].ID != domain.EventTGT {
		t.Errorf("%+v", got)
	}
	if got := list(domain.EventQuery{Before: all[0].Number}); len(got) != 2 || got[0].Number != all[1].Number {
		t.Errorf("%+v", got)
	}
	n, err := h.domain.DropEvents(ctx, moment.Add(time.Minute))
	if check(t, err); n != 2 || len(list(domain.EventQuery{})) != 1 {
		t.Errorf("%d dropped", n)
	}
}
