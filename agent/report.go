package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// maxReports is how many events are kept for the service, the newest, and what goes in
// one report.
const maxReports = 1000

// Event is an event of the agent's log that the service would not know of.
type Event struct {
	ID     int       `json:"id"`
	Time   time.Time `json:"time"`
	Anchor string    `json:"sourceAnchor,omitempty"`
	DN     string    `json:"dn,omitempty"`
	Result string    `json:"result,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// told reports whether the service writes an event by itself when it sees what it is
// about: batches, requests, results and pings.
func told(event int64) bool { return event >= eventBatchStart && event <= eventResult }

// reports are the events that the service has not been told of.
type reports struct {
	mu     sync.Mutex
	events []Event
}

func (r *reports) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == maxReports {
		r.events = r.events[1:]
	}
	r.events = append(r.events, e)
}

func (r *reports) take() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.events
	r.events = nil
	return out
}

// back puts events that could not be reported before those that came since.
func (r *reports) back(events []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events = append(events, r.events...)
	r.events = events[max(0, len(events)-maxReports):]
}

// reporter is the agent's log, and keeps what is to be reported. What may stand in a
// log may stand in a report.
type reporter struct {
	slog.Handler
	to  *reports
	now func() time.Time
}

func (r *reporter) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || r.Handler.Enabled(ctx, level)
}

func (r *reporter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &reporter{r.Handler.WithAttrs(attrs), r.to, r.now}
}

func (r *reporter) WithGroup(name string) slog.Handler {
	return &reporter{r.Handler.WithGroup(name), r.to, r.now}
}

func (r *reporter) Handle(ctx context.Context, line slog.Record) error {
	event, e := int64(-1), Event{Time: r.now(), Text: line.Message}
	line.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event":
			event = a.Value.Int64()
		case "anchor":
			e.Anchor = a.Value.String()
		case "dn":
			e.DN = a.Value.String()
		case "reason", "status":
			e.Result = a.Value.String()
		default:
			e.Text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	if event >= 0 && !told(event) {
		e.ID = int(event)
		r.to.add(e)
	}
	if !r.Handler.Enabled(ctx, line.Level) {
		return nil
	}
	return r.Handler.Handle(ctx, line)
}

// listen makes the agent's log keep what is to be reported.
func (a *Agent) listen() {
	if _, ok := a.Log.Handler().(*reporter); !ok {
		a.Log = slog.New(&reporter{a.Log.Handler(), &a.reports, a.now})
	}
}

// report tells the service what it does not know. That it does not succeed is no
// failure of the run; it is tried again with the next.
func (a *Agent) report(ctx context.Context) {
	events := a.reports.take()
	if len(events) == 0 {
		return
	}
	if err := a.Service.Report(ctx, events); err != nil {
		a.reports.back(events)
		a.Log.Warn("events of this agent could not be reported, and are kept", "events", len(events), "error", err)
	}
}

// Report sends events of the agent's own log.
func (c *Client) Report(ctx context.Context, events []Event) error {
	body, err := json.Marshal(struct {
		Events []Event `json:"events"`
	}{events})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, "/sync/v1/events", body, nil)
}

// Report has no form on the wire: the real agent's events stay in its own log.
func (w *Wire) Report(context.Context, []Event) error { return nil }
