package sync

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// Bounds of a page of events.
const (
	defaultTop = 100
	maxTop     = 1000
	maxRecords = 50 // batches that one page reads at the most
)

// event is one row of GET events.
type event struct {
	ID         int        `json:"id"`
	Record     int64      `json:"record"` // the batch that it is of
	Time       time.Time  `json:"time"`
	Agent      string     `json:"agent,omitempty"`
	Build      string     `json:"build,omitempty"`
	Machine    string     `json:"machine,omitempty"`
	Request    string     `json:"requestId,omitempty"`
	Items      *int       `json:"items,omitempty"`
	Anchor     string     `json:"sourceAnchor,omitempty"`
	User       string     `json:"userId,omitempty"`
	UPN        string     `json:"userPrincipalName,omitempty"`
	DN         string     `json:"dn,omitempty"`
	ChangeDate *time.Time `json:"changeDate,omitempty"`
	Result     string     `json:"result,omitempty"`        // Success, Failure
	Error      string     `json:"extendedError,omitempty"` // the stable reason, where it is not "stored"
	Text       string     `json:"text,omitempty"`          // of what an agent reports
}

// Events is GET events?user=&id=&after=&before=&top=: what agents sent and what
// became of it, newest first. user is an object id, a sign-in name or a source
// anchor; before is the record number that a page ended with.
func (h *Handler) Events(w http.ResponseWriter, r *http.Request) {
	q, wanted, top, err := h.query(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	records, err := h.Tenant.Store.Records(r.Context(), q)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	people, err := h.people(r, records)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	out := make([]event, 0, top)
	next := int64(0)
	for i := range records {
		for _, e := range eventsOf(&records[i], people) {
			if wanted == 0 || e.ID == wanted {
				out = append(out, e)
			}
		}
		// A page ends with a whole record, so that the next begins with one.
		if len(out) >= top || i == len(records)-1 && len(records) == q.Limit {
			next = records[i].ID
			break
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, struct {
		Value  []event `json:"value"`
		Before int64   `json:"before,omitempty"`
	}{out, next})
}

func (h *Handler) query(r *http.Request) (q tenant.RecordQuery, id, top int, err error) {
	v := r.URL.Query()
	q.Limit, top = maxRecords, defaultTop
	bad := func(what string) (tenant.RecordQuery, int, int, error) {
		return q, 0, 0, problem.BadRequest(what)
	}
	if s := v.Get("id"); s != "" {
		if id, err = strconv.Atoi(s); err != nil {
			return bad("id has to be the number of an event.")
		}
	}
	if s := v.Get("top"); s != "" {
		if top, err = strconv.Atoi(s); err != nil || top < 1 || top > maxTop {
			return bad("top has to be 1 to 1000.")
		}
	}
	if s := v.Get("before"); s != "" {
		if q.Before, err = strconv.ParseInt(s, 10, 64); err != nil || q.Before < 1 {
			return bad("before has to be what an earlier page ended with.")
		}
	}
	if s := v.Get("after"); s != "" {
		if q.After, err = time.Parse(time.RFC3339, s); err != nil {
			return bad("after has to be a time of RFC 3339.")
		}
	}
	if s := v.Get("user"); s != "" {
		if o, err := h.Tenant.User(r.Context(), s); err == nil {
			q.Object = o.ID
		} else if found, err := h.Tenant.Store.ObjectsByAnchor(r.Context(), []string{s}); err != nil {
			return q, 0, 0, err
		} else if len(found) == 1 {
			q.Object = found[0].ID
		} else {
			q.Anchor = s // of no object: what was refused for that
		}
	}
	return q, id, top, nil
}

// people looks up whom the records name.
func (h *Handler) people(r *http.Request, records []tenant.Record) (map[tenant.ID]*tenant.Object, error) {
	var ids []tenant.ID
	seen := map[tenant.ID]bool{}
	for i := range records {
		for _, item := range records[i].Items {
			if !item.Object.IsZero() && !seen[item.Object] {
				seen[item.Object] = true
				ids = append(ids, item.Object)
			}
		}
	}
	objects, err := h.Tenant.Store.Objects(r.Context(), ids)
	if err != nil {
		return nil, err
	}
	people := make(map[tenant.ID]*tenant.Object, len(objects))
	for i := range objects {
		people[objects[i].ID] = &objects[i]
	}
	return people, nil
}

// eventsOf shows a record as the events of the agent's log, newest first.
func eventsOf(r *tenant.Record, people map[tenant.ID]*tenant.Object) []event {
	base := event{Record: r.ID, Agent: r.Origin.Name, Build: r.Origin.Build, Machine: r.Origin.Machine}
	if !r.Origin.Request.IsZero() {
		base.Request = r.Origin.Request.String()
	}
	at := func(id int, when time.Time) event {
		e := base
		e.ID, e.Time = id, when
		return e
	}
	switch r.Kind {
	case tenant.Heartbeat:
		end := at(tenant.EventPingEnd, r.Ended)
		if r.Error != "" {
			end.ID, end.Error = tenant.EventPingError, r.Error
		}
		return []event{end, at(tenant.EventPingStart, r.Began)}
	case tenant.AgentReport:
		return reportsOf(r, base, people)
	case tenant.HashBatch:
	default:
		return nil // objects have no events of this family
	}
	n := len(r.Items)
	end, start := at(tenant.EventBatchEnd, r.Ended), at(tenant.EventBatchStart, r.Began)
	if r.Error != "" {
		end = at(tenant.EventBatchError, r.Ended)
		end.Error = r.Error
	}
	end.Items, start.Items = &n, &n
	out := append(make([]event, 0, 2+2*n), end)
	for i := len(r.Items) - 1; i >= 0; i-- {
		item := &r.Items[i]
		e := base
		e.Anchor = item.Anchor
		if o := people[item.Object]; o != nil {
			e.Anchor, e.User, e.UPN, e.DN = o.Anchor, o.ID.String(), o.UPN, o.Profile.OnPremisesDistinguishedName
		}
		if !item.Changed.IsZero() {
			e.ChangeDate = &item.Changed
		}
		request, result := e, e
		request.ID, request.Time = tenant.EventRequest, r.Began
		result.ID, result.Time = tenant.EventResult, r.Ended
		result.Result = "Failure"
		if item.Reason.OK() {
			result.Result = "Success"
		}
		if item.Reason != tenant.ReasonStored {
			result.Error = string(item.Reason)
		}
		out = append(out, result, request)
	}
	return append(out, start)
}

// reportsOf shows what an agent said of itself, newest first. Of a query for one
// user the store leaves the items that are about that user.
func reportsOf(r *tenant.Record, base event, people map[tenant.ID]*tenant.Object) []event {
	about := map[string]tenant.ID{}
	for _, item := range r.Items {
		if item.Object.IsZero() {
			about[item.Anchor] = tenant.ID{}
		} else if o := people[item.Object]; o != nil {
			about[o.Anchor] = item.Object
		}
	}
	out := make([]event, 0, len(r.Events))
	for _, said := range slices.Backward(r.Events) {
		id, ours := about[said.Anchor]
		if !ours {
			continue
		}
		e := base
		e.ID, e.Time, e.Anchor, e.DN, e.Result, e.Text = said.ID, said.Time, said.Anchor, said.DN, said.Result, said.Text
		if o := people[id]; o != nil {
			e.User, e.UPN = o.ID.String(), o.UPN
		}
		out = append(out, e)
	}
	return out
}

// Report is POST events: what an agent's own log has and the tenant can't know, as
// {"events":[{"id":611,"time":"…","sourceAnchor":"…","dn":"…","result":"…","text":"…"}]}.
func (h *Handler) Report(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Events []struct {
			ID     int       `json:"id"`
			Time   time.Time `json:"time"`
			Anchor string    `json:"sourceAnchor"`
			DN     string    `json:"dn"`
			Result string    `json:"result"`
			Text   string    `json:"text"`
		} `json:"events"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		problem.Write(w, r, problem.BadRequest("The body has to be a JSON object with a list of events."))
		return
	}
	events := make([]tenant.AgentEvent, len(body.Events))
	for i, e := range body.Events {
		events[i] = tenant.AgentEvent(e)
	}
	if err := h.Tenant.Report(r.Context(), origin(r), events); err != nil {
		problem.Write(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Heartbeat is POST heartbeat: an agent that has nothing to send lives.
func (h *Handler) Heartbeat(w http.ResponseWriter, r *http.Request) {
	if err := h.Tenant.Beat(r.Context(), origin(r)); err != nil {
		problem.Write(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// Health is GET health: when agents last did what, and whether that is too long
// ago.
func (h *Handler) Health(w http.ResponseWriter, r *http.Request) {
	s, err := h.Tenant.Health(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	status := "ok"
	switch {
	case !s.DirSyncOn:
		status = "off"
	case s.Last().IsZero():
		status = "neverSynced"
	case s.Stale:
		status = "noSync"
	}
	stamp := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, struct {
		Status       string     `json:"status"` // ok, off, neverSynced, noSync
		SilentHours  float64    `json:"silentHours"`
		DirSync      bool       `json:"directorySync"`
		PasswordSync bool       `json:"passwordSync"`
		Objects      *time.Time `json:"lastObjectSync"`
		Passwords    *time.Time `json:"lastPasswordSync"`
		Heartbeat    *time.Time `json:"lastHeartbeat"`
	}{status, float64(int(s.Silence.Hours()*10)) / 10, s.DirSyncOn, s.PasswordSyncOn,
		stamp(s.ObjectSync), stamp(s.Activity.PasswordSync), stamp(s.Activity.Heartbeat)})
}

// form is one form of a user's password that exists, without its value.
type form struct {
	Name  string    `json:"form"`  // digest, legacy (sealed), nt, aes256-cts-hmac-sha1-96, …
	Where string    `json:"where"` // tenant, domain
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"` // sync, change, reset
	KVNO  uint32    `json:"kvno,omitempty"`
}

// Timeline is GET users/{key}/timeline: which forms of a user's password exist,
// since when and by which path, and what happened to it of late. It answers why
// somebody can sign in to the portal and not to the domain.
func (h *Handler) Timeline(w http.ResponseWriter, r *http.Request) {
	user, err := h.Tenant.User(r.Context(), chi.URLParam(r, "key"))
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	set, err := h.Tenant.Store.Credential(r.Context(), user.ID)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	forms := []form{}
	if set != nil {
		by := map[tenant.Source]string{tenant.FromSync: "sync", tenant.FromChange: "change", tenant.FromReset: "reset"}[set.Source]
		forms = append(forms, form{Name: "digest", Where: "tenant", Since: set.Changed(), By: by})
		if set.Legacy != "" {
			forms = append(forms, form{Name: "legacy", Where: "tenant", Since: set.Changed(), By: by})
		}
	}
	if h.Forms != nil {
		for _, f := range h.Forms(user.ID) {
			forms = append(forms, form{Name: f.Name, Where: "domain", Since: f.Since, KVNO: f.KVNO})
		}
	}
	records, err := h.Tenant.Store.Records(r.Context(), tenant.RecordQuery{Object: user.ID, Limit: maxRecords})
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	type step struct {
		Time       time.Time  `json:"time"`
		What       string     `json:"what"`
		By         string     `json:"by"`
		ChangeDate *time.Time `json:"changeDate,omitempty"`
		Reason     string     `json:"reason"`
	}
	steps := []step{}
	for i := range records {
		what := map[tenant.RecordKind]string{tenant.HashBatch: "sync", tenant.PasswordChange: "change", tenant.PasswordReset: "reset"}[records[i].Kind]
		if what == "" {
			continue
		}
		for _, item := range records[i].Items {
			s := step{Time: records[i].Ended, What: what, By: records[i].Origin.Name, Reason: string(item.Reason)}
			if !item.Changed.IsZero() {
				s.ChangeDate = &item.Changed
			}
			steps = append(steps, s)
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, struct {
		ID         string `json:"id"`
		UPN        string `json:"userPrincipalName"`
		MustChange bool   `json:"mustChangePassword"`
		Forms      []form `json:"forms"`
		Steps      []step `json:"steps"`
	}{user.ID.String(), user.UPN, set != nil && set.MustChange, forms, steps})
}
