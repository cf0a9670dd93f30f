package tenant

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Numbers of the events of password hash sync, as the real agent's log has them
// (§D of the wire reference).
const (
	EventBatchStart = 650
	EventBatchEnd   = 651
	EventBatchError = 652
	EventPingStart  = 653
	EventPingEnd    = 654
	EventPingError  = 655
	EventRequest    = 656
	EventResult     = 657
)

// LogItems is how large a batch may be whose items are logged one by one, where
// nothing else is set: more than an agent sends of an ordinary day's changes. A
// full sync of 100,000 users would be 200,000 lines that say "stored"; of those
// batches the log has the totals and what was refused. The records have all.
const LogItems = 250

// namesTime bounds the look-up of the names that a log line has beside the anchor. The
// batch is acknowledged after it, and has been stored before it.
const namesTime = time.Second

// refusals are the errors of batches as a whole that are put on record, by the
// name that the events have for them.
var refusals = []struct {
	err  error
	name string
}{
	{ErrDirSyncOff, "directorySyncOff"},
	{ErrPasswordSyncOff, "passwordSyncOff"},
	{ErrBatchTooLarge, "batchTooLarge"},
}

// refuse puts a batch or ping that was refused as a whole on record (events 652
// and 655) and returns err. Other errors than the tenant's rules have no record:
// the store could not keep one.
func (s *Service) refuse(ctx context.Context, kind RecordKind, from Origin, began time.Time, err error) error {
	for _, known := range refusals {
		if errors.Is(err, known.err) {
			r := &Record{Kind: kind, Origin: from, Began: began, Ended: s.Now().UTC(), Error: known.name}
			if e := s.Store.PutRecord(ctx, r); e != nil && s.Log != nil {
				s.Log.Warn("a refusal could not be put on record", "reason", known.name, "error", e)
			}
			s.tell(ctx, r)
			break
		}
	}
	return err
}

// tell writes a record to the log as the events that it stands for, oldest
// first. It is called when the record has been stored. A line has names, dates
// and reasons; a record holds nothing that anybody could sign in with.
func (s *Service) tell(ctx context.Context, r *Record) {
	if s.Log == nil || !s.Log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	from := []any{"agent", r.Origin.Name}
	for _, part := range [][2]string{{"build", r.Origin.Build}, {"machine", r.Origin.Machine}} {
		if part[1] != "" {
			from = append(from, part[0], part[1])
		}
	}
	if !r.Origin.Request.IsZero() {
		from = append(from, "requestId", r.Origin.Request.String())
	}
	line := func(level slog.Level, event int, text string, attrs ...any) {
		attrs = append([]any{"event", event}, attrs...)
		s.Log.Log(ctx, level, text, append(attrs, from...)...)
	}
	switch r.Kind {
	case AgentReport:
		for i := range r.Events {
			e := &r.Events[i]
			attrs := []any{"at", e.Time}
			for _, part := range [][2]string{{"anchor", e.Anchor}, {"dn", e.DN}, {"result", e.Result}, {"text", e.Text}} {
				if part[1] != "" {
					attrs = append(attrs, part[0], part[1])
				}
			}
			line(slog.LevelInfo, e.ID, "reported by an agent", attrs...)
		}
	case Heartbeat:
		line(slog.LevelInfo, EventPingStart, "Provision credentials ping start.")
		if r.Error != "" {
			line(slog.LevelWarn, EventPingError, "Failed credential provisioning ping.", "error", r.Error)
			return
		}
		line(slog.LevelInfo, EventPingEnd, "Provision credentials ping end.")
	case HashBatch:
		line(slog.LevelInfo, EventBatchStart, "Provision credentials batch start.", "count", len(r.Items))
		if r.Error != "" {
			line(slog.LevelWarn, EventBatchError, "Failed credential provisioning batch.", "error", r.Error)
			return
		}
		s.tellItems(ctx, r, line)
		line(slog.LevelInfo, EventBatchEnd, "Provision credentials batch end.", "count", len(r.Items), "results", totals(r), "took", r.Ended.Sub(r.Began))
	}
}

// totals counts the items by what became of them.
func totals(r *Record) slog.Value {
	counts := map[Reason]int{}
	var order []Reason
	for i := range r.Items {
		reason := r.Items[i].Reason
		if counts[reason] == 0 {
			order = append(order, reason)
		}
		counts[reason]++
	}
	attrs := make([]slog.Attr, len(order))
	for i, reason := range order {
		attrs[i] = slog.Int(string(reason), counts[reason])
	}
	return slog.GroupValue(attrs...)
}

// tellItems writes the lines of a batch's items: of all of them, or of a large batch of
// the first that were refused.
func (s *Service) tellItems(ctx context.Context, r *Record, line func(level slog.Level, event int, text string, attrs ...any)) {
	most := s.LogItems
	if most == 0 {
		most = LogItems
	}
	items := make([]*RecordItem, 0, min(len(r.Items), max(most, 0)))
	for i := range r.Items {
		if len(items) < most && (r.Origin.Before+len(r.Items) <= most || !r.Items[i].Reason.OK()) {
			items = append(items, &r.Items[i])
		}
	}
	people := s.people(ctx, items)
	about := func(item *RecordItem) []any {
		attrs := []any{"anchor", item.Anchor}
		if o := people[item.Object]; o != nil {
			attrs = []any{"anchor", recorded(o.Anchor), "user", o.UPN, "dn", o.Profile.OnPremisesDistinguishedName}
		}
		if !item.Changed.IsZero() {
			attrs = append(attrs, "changeDate", item.Changed.UTC().Format(time.RFC3339Nano))
		}
		return attrs
	}
	for _, item := range items {
		line(slog.LevelInfo, EventRequest, "Password Change Request", about(item)...)
	}
	for _, item := range items {
		level, attrs := slog.LevelInfo, about(item)
		switch {
		case !item.Reason.OK():
			level, attrs = slog.LevelWarn, append(attrs, "result", "Failed", "extendedError", string(item.Reason))
		case item.Reason == ReasonStored:
			attrs = append(attrs, "result", "Success")
		default:
			attrs = append(attrs, "result", "Success", "extendedError", string(item.Reason))
		}
		line(level, EventResult, "Password Change Result", attrs...)
	}
}

// people looks up whom the items are about. Without an answer lines have the anchor alone.
func (s *Service) people(ctx context.Context, items []*RecordItem) map[ID]*Object {
	var ids []ID
	seen := map[ID]bool{}
	for _, item := range items {
		if !item.Object.IsZero() && !seen[item.Object] {
			seen[item.Object] = true
			ids = append(ids, item.Object)
		}
	}
	if ids == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	objects, err := s.Store.Objects(ctx, ids)
	if err != nil {
		s.Log.Warn("the names for the events of a batch could not be read", "error", err)
		return nil
	}
	people := make(map[ID]*Object, len(objects))
	for i := range objects {
		people[objects[i].ID] = &objects[i]
	}
	return people
}
