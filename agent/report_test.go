package agent

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestReports: the service is told what it can't see of an agent's events, once, and
// again where it could not be told; it needs no second word of what it sees.
func TestReports(t *testing.T) {
	r := newRig(t)
	r.d.put(1, "ada", "Passw0rd-of-ada")
	r.c.refuse[id(1).base64()] = "temporaryPasswordFiltered"
	r.once(0, 0, 0, 1)
	ids := func() string {
		var out []string
		for _, e := range r.c.events {
			out = append(out, fmt.Sprint(e.ID))
		}
		return strings.Join(out, " ")
	}
	if got := ids(); got != "618 605 622" { // full sync, a refusal in the retry queue, its end
		t.Fatalf("%s\n%s", got, r.log.String())
	}
	if e := r.c.events[1]; e.Anchor != id(1).base64() || e.Result != "temporaryPasswordFiltered" || !e.Time.Equal(r.at) {
		t.Errorf("%+v", e)
	}

	// Where it can't be told, it is told later, in order.
	r.c.events = nil
	r.c.meddle = func(path string) (int, bool) { return 403, path == "events" }
	r.d.err = fmt.Errorf("the controller is away")
	if _, err := r.Once(t.Context(), false); err == nil {
		t.Fatal("a directory that is away is no error")
	}
	if ids() != "" {
		t.Fatal(ids())
	}
	r.c.meddle, r.d.err = nil, nil
	delete(r.c.refuse, id(1).base64())
	r.at = r.at.Add(lastRetry)
	r.once(1, 0, 1, 0)
	if got := ids(); got != "611 606" || !strings.Contains(r.c.events[0].Text, "the controller is away") {
		t.Errorf("%s %+v", got, r.c.events)
	}
	for _, e := range r.c.events {
		if told(int64(e.ID)) || strings.Contains(e.Text, "Passw0rd") {
			t.Errorf("%+v", e)
		}
	}

	// An agent in staging tells nothing, and what is kept has a bound.
	r.c.events = nil
	r.Staging = true
	r.d.err = fmt.Errorf("away")
	_, _ = r.Once(t.Context(), false)
	if ids() != "" {
		t.Error(ids())
	}
	for range 2 * maxReports {
		r.Log.Info("x", "event", eventRetry)
	}
	r.Log.With("a", 1).WithGroup("g").Info("x", "event", eventDeletions)
	r.reports.back(make([]Event, maxReports))
	if got := r.reports.take(); len(got) != maxReports || got[maxReports-1].ID != eventDeletions {
		t.Error(len(got))
	}
	// Not to lose one, it hears what is below the log's own level.
	var quiet strings.Builder
	r.Log = slog.New(slog.NewTextHandler(&quiet, &slog.HandlerOptions{Level: slog.LevelError}))
	r.listen()
	r.Log.Info("x", "event", eventRetry)
	if got := r.reports.take(); len(got) != 1 || quiet.Len() != 0 {
		t.Error(got, quiet.String())
	}
}
