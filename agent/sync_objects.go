package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// set is one object on its way to the service.
type set struct {
	guid   GUID
	print  string
	object Object
}

// fingerprint tells what the service has from what it should have.
func fingerprint(o Object) string {
	b, err := json.Marshal(o) // in the order of names
	if err != nil {
		panic(err) // text, booleans and lists of text always marshal
	}
	sum := sha256.Sum256(b)
	return base64.RawStdEncoding.EncodeToString(sum[:12])
}

// anchors gives every object that is to be synced its anchor. The first one
// sticks, whatever becomes of the attribute that it was made of: it is what the
// service knows the object by. Of two objects with one anchor, that one keeps it
// which has it there.
func (a *Agent) anchors() map[GUID]string {
	in := a.Store.Directory.within(a.Scope)
	out, holders := make(map[GUID]string, len(in)), make(map[string]GUID, len(in))
	give := func(g GUID, anchor string) {
		if holder, taken := holders[anchor]; taken {
			a.Log.Warn("not synchronized: another object has its anchor", "event", eventInetOrg, "dn", a.Store.Directory[g].DN,
				"anchor", anchor, "holder", a.Store.Directory[holder].DN)
			return
		}
		holders[anchor], out[g] = g, anchor
	}
	order := sortedGUIDs(in)
	for _, g := range order {
		if r := a.Store.Records[g]; r != nil && r.Offered {
			give(g, r.Anchor)
		}
	}
	for _, g := range order {
		if r := a.Store.Records[g]; r == nil || !r.Offered {
			give(g, a.Store.Directory[g].anchor(g))
		}
	}
	return out
}

// exportObjects makes the service's objects those of the directory: deletions
// first, as they free names, then users, then groups with their members.
func (a *Agent) exportObjects(ctx context.Context, config *Configuration) error {
	anchors := a.anchors()
	var gone []GUID
	known := 0
	for g, r := range a.Store.Records {
		if r.Exists {
			known++
		}
		if _, in := anchors[g]; !in {
			gone = append(gone, g)
		}
	}
	gone = slices.DeleteFunc(gone, func(g GUID) bool {
		if r := a.Store.Records[g]; r.Offered {
			return false
		}
		delete(a.Store.Records, g) // the service never saw it
		a.dirty = true
		return true
	})
	if most := a.mostDeletions(config, known); len(gone) > most {
		a.run.Stopped = len(gone)
		a.Log.Error(fmt.Sprintf("Prevent Accidental Deletes: The number of deletions for this sync cycle (%d pending deletes) has exceeded the current threshold of %d objects. Nothing was exported.",
			len(gone), most), "event", eventDeletions, "deletions", len(gone), "threshold", most)
		return fmt.Errorf("%w: %d deletions, %d are allowed", ErrDeletions, len(gone), most)
	}
	slices.SortFunc(gone, GUID.compare)
	if !config.DirSync {
		a.Log.Warn("Identity synchronization is not yet activated for this company", "event", eventPaused)
		return nil
	}

	var users, groups []GUID
	for _, g := range sortedGUIDs(anchors) {
		r := a.Store.Records[g]
		if r == nil {
			r = &record{Anchor: anchors[g]}
			a.Store.Records[g] = r
		}
		r.Anchor, r.Class = anchors[g], a.Store.Directory[g].Class
		print := fingerprint(a.Store.Directory[g].object(g, &a.Store.Domain, anchors))
		switch {
		case r.Sent == print:
			r.Object = nil
		case !r.Object.due(print, a.run.Began):
		case r.Class == classGroup:
			groups = append(groups, g)
		default:
			users = append(users, g)
		}
	}
	if a.Staging {
		a.run.Sent, a.run.Deleted = len(users)+len(groups), len(gone)
		return nil
	}

	if err := a.offer(users, groups); err != nil {
		return err
	}
	total, done := len(gone)+len(users)+len(groups), 0
	make := func(g GUID) set {
		if _, in := anchors[g]; !in {
			r := a.Store.Records[g]
			kind := "user"
			if r.Class == classGroup {
				kind = "group"
			}
			return set{g, "", Object{Type: kind, Operation: "delete", Anchor: r.Anchor}}
		}
		o := a.Store.Directory[g].object(g, &a.Store.Domain, anchors)
		return set{g, fingerprint(o), o}
	}
	for _, some := range [][]GUID{gone, users, groups} {
		for batch := range batches(some, make, config) {
			if err := a.sendObjects(ctx, batch); err != nil {
				return err
			}
			done += len(batch)
			a.progress("objects", done, total)
		}
	}
	a.Store.report.ObjectSync = a.now()
	return nil
}

// offer writes down what the service may have from now on: an agent that is
// killed before it has noted the answer still has to delete, in a later run, what
// was taken and is gone from the directory by then.
func (a *Agent) offer(of ...[]GUID) error {
	first := false
	for _, some := range of {
		for _, g := range some {
			r := a.Store.Records[g]
			first = first || !r.Offered
			r.Offered = true
		}
	}
	if !first {
		return nil
	}
	a.dirty = true
	return a.flush()
}

// mostDeletions is how many deletions one run may have.
func (a *Agent) mostDeletions(config *Configuration, known int) int {
	const unbounded = 1 << 30
	switch {
	case a.Deletions > 0:
		return a.Deletions
	case a.Deletions < 0:
		return unbounded
	}
	switch config.Deletions.Prevention {
	case "enabledForCount":
		return config.Deletions.Threshold
	case "enabledForPercentage":
		return known * config.Deletions.Threshold / 100
	case "disabled":
		return unbounded
	}
	return defaultDeletions
}

// batches cuts what is to be sent so that every piece is within the limits.
func batches(of []GUID, make func(GUID) set, config *Configuration) func(yield func([]set) bool) {
	items, bytes := limits(config)
	return func(yield func([]set) bool) {
		var batch []set
		size := 0
		for _, g := range of {
			one := make(g)
			n := sizeOf(one.object)
			if len(batch) > 0 && (len(batch) == items || size+n > bytes-envelope) {
				if !yield(batch) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, one), size+n
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

// limits are the service's and ours.
func limits(config *Configuration) (items, bytes int) {
	items, bytes = maxItems, maxBytes
	if n := config.Limits.Items; n > 0 {
		items = min(items, n)
	}
	if n := config.Limits.Bytes; n > 0 {
		bytes = min(bytes, n)
	}
	return items, bytes
}

func (a *Agent) sendObjects(ctx context.Context, batch []set) error {
	items := make([]Object, len(batch))
	for i := range batch {
		items[i] = batch[i].object
	}
	answer, err := a.Service.Objects(ctx, items)
	if err != nil {
		a.Log.Error("Export of objects failed.", "event", eventExportError, "error", err)
		return err
	}
	for i, result := range answer.Results {
		a.tookObject(&batch[i], &result)
	}
	return a.acknowledged()
}

// tookObject notes what became of one object.
func (a *Agent) tookObject(one *set, result *Result) {
	r, deletion := a.Store.Records[one.guid], one.object.Operation == "delete"
	switch {
	case result.OK() && deletion:
		a.run.Deleted++
		delete(a.Store.Records, one.guid)
		return
	case result.OK():
		a.run.Sent++
		if r.Object != nil {
			a.Log.Info("removed from the retry queue", "event", eventRetryEnd, "anchor", r.Anchor)
		}
		r.Exists, r.Sent, r.Object = true, one.print, nil
		if result.Detail != "" {
			a.Log.Warn("object was taken with changes", "anchor", r.Anchor, "reason", result.Reason, "detail", result.Detail)
		}
		return
	}
	a.run.Refused++
	r.Object = r.Object.again(one.print, result.Reason, a.now())
	a.Log.Warn("object was refused and is added to the retry queue", "event", eventRetry, "anchor", r.Anchor, "operation", one.object.Operation,
		"reason", result.Reason, "detail", result.Detail, "attempts", r.Object.Attempts, "next", r.Object.Next)
}

// allPasswords makes every password be sent again where the service asks for it:
// password sync or Domain Services was turned on, or there is a new key to seal
// for.
func (a *Agent) allPasswords(config *Configuration, id string) {
	s := a.Store
	if !config.FullPasswordSync.After(s.AllPasswords) && (id == s.LegacyKey || id == "") {
		return
	}
	if s.LegacyKey != "" || !s.AllPasswords.IsZero() {
		a.Log.Info("Full password hash synchronization was asked for", "event", eventFullStart, "domain", s.Domain.DNS)
	}
	s.forgetPasswords()
	s.AllPasswords, s.LegacyKey, a.dirty = config.FullPasswordSync, id, true
}

// waiting are the users whose password the service does not have.
func (a *Agent) waiting(temporary bool) []GUID {
	var out []GUID
	for _, g := range slices.SortedFunc(maps.Keys(a.Store.Records), GUID.compare) {
		r, e := a.Store.Records[g], a.Store.Directory[g]
		if !r.Exists && !a.Staging || r.Class != classUser || e == nil {
			continue
		}
		now := e.stamp()
		switch {
		case now.Version == 0 || now == r.Password:
			r.Secret = nil
		case now.MustChange && !temporary: // FilteredByTarget (entra-wire §D)
			a.run.Filtered++
		case r.Secret.due(now.String(), a.run.Began):
			out = append(out, g)
		}
	}
	return out
}
