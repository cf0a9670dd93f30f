package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// SyncObjects takes a batch of users and groups from an agent. It stores what
// is good and says of every item what became of it.
func (s *Service) SyncObjects(ctx context.Context, from Origin, items []ObjectItem) (BatchResult, error) {
	if len(items) > MaxBatchItems {
		return BatchResult{}, ErrBatchTooLarge
	}
	for try := 0; ; try++ {
		res, err := s.syncObjects(ctx, from, items)
		// Two agents, or an agent and an administrator, wrote the same object
		// at once: what was decided on stale rows is decided again.
		if !errors.Is(err, ErrConflict) || try == 2 {
			return res, err
		}
	}
}

func (s *Service) syncObjects(ctx context.Context, from Origin, items []ObjectItem) (BatchResult, error) {
	// 1. May this tenant be synced to at all?
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return BatchResult{}, err
	}
	if !settings.DirSync {
		return BatchResult{}, ErrDirSyncOff
	}

	// 2. What do the items mean, each for itself?
	b := &objectBatch{settings: settings, now: s.Now().UTC(), results: make([]ItemResult, len(items))}
	items, refused, err := named(ctx, s.Store, items, func(i *ObjectItem) (*ID, *string) { return &i.Object, &i.Anchor })
	if err != nil {
		return BatchResult{}, err
	}
	if err := b.read(ctx, s.Store, items); err != nil {
		return BatchResult{}, err
	}
	for i := range items {
		item := &items[i]
		b.results[i].Anchor = item.Anchor
		if no := refused[i]; no != nil {
			b.results[i].ID, b.results[i].Reason, b.results[i].Detail = item.Object, no.reason, no.detail
			continue
		}
		w, err := b.item(s, item)
		switch refusal := (*attributeError)(nil); {
		case errors.As(err, &refusal):
			b.results[i].Reason, b.results[i].Detail = refusal.reason, refusal.detail
		case err != nil:
			return BatchResult{}, err
		case w == nil: // a re-send, or the deletion of what is not there
			b.results[i].Reason = ReasonUnchanged
			if old := b.existing[item.Anchor]; old != nil {
				b.results[i].ID = old.ID
			}
		default:
			b.results[i].ID = w.Object.ID
			b.results[i].Reason, b.results[i].Detail = outcome(w, item.Operation)
			b.writes = append(b.writes, *w)
		}
	}

	// 3. Store, and with it the record of what became of each.
	r := &Record{Kind: ObjectBatch, Origin: from, Began: b.now, Ended: s.Now().UTC(), Items: make([]RecordItem, len(items))}
	for i := range items {
		r.Items[i] = RecordItem{Object: b.results[i].ID, Anchor: recorded(b.results[i].Anchor), Reason: b.results[i].Reason}
	}
	usn, err := s.Store.PutObjects(ctx, b.writes, r)
	if err != nil {
		return BatchResult{}, err
	}
	return BatchResult{USN: usn, Items: b.results}, nil
}

func outcome(w *ObjectWrite, op Operation) (Reason, string) {
	switch {
	case op == Delete:
		return ReasonDeleted, ""
	case len(w.Object.Profile.Errors) > 0:
		var values []string
		for _, e := range w.Object.Profile.Errors {
			values = append(values, e.Property+" "+e.Value)
		}
		return ReasonQuarantined, "stored without values that other objects have: " + strings.Join(values, ", ")
	}
	return ReasonStored, ""
}

type objectBatch struct {
	settings Settings
	now      time.Time
	existing map[string]*Object // by anchor
	holders
	members map[ID][]Member // the lists of groups that items say something of, as they stand
	anchors map[ID]string   // of members that are named by their id
	seen    map[string]bool // anchors of this batch
	writes  []ObjectWrite
	results []ItemResult
}

// read fetches what the batch touches: the objects behind its anchors, and the
// holders of the names and addresses that it wants.
func (b *objectBatch) read(ctx context.Context, store Store, items []ObjectItem) error {
	anchors := make([]string, 0, len(items))
	names, addresses := map[string]bool{}, map[string]bool{}
	for i := range items {
		if checkAnchor(items[i].Anchor) == nil {
			anchors = append(anchors, items[i].Anchor)
		}
		if items[i].Operation != Set {
			continue
		}
		probe := Object{}
		upn, _ := apply(&probe, items[i].Attributes)
		if settled, ok := b.settings.settleUPN(&probe, upn); ok && items[i].Kind.Person() {
			names[settled] = true
		}
		for _, a := range probe.Addresses() {
			addresses[a] = true
		}
	}
	found, err := store.ObjectsByAnchor(ctx, anchors)
	if err != nil {
		return err
	}
	b.existing = make(map[string]*Object, len(found))
	for i := range found {
		b.existing[found[i].Anchor] = &found[i]
		for _, e := range found[i].Profile.Errors { // what may be free by now
			if _, a, ok := strings.Cut(e.Value, ":"); ok && e.Property == ConflictProxy {
				addresses[strings.ToLower(a)] = true
			}
		}
	}
	b.seen = make(map[string]bool, len(items))
	if err := b.lists(ctx, store, items); err != nil {
		return err
	}
	return b.learn(ctx, store, slices.Collect(maps.Keys(names)), slices.Collect(maps.Keys(addresses)))
}

// apply puts the item's attributes into the object and returns the UPN that it
// names, "" for none. The first error is returned and the rest still applied.
func apply(o *Object, values map[string]any) (upn string, err error) {
	for name, value := range values {
		lower := strings.ToLower(name)
		if lower == "userprincipalname" {
			v, e := textOf(name, value)
			upn, err = v, errors.Join(err, e)
			continue
		}
		if set := attributes[lower]; set != nil {
			if e := set(o, name, value); e != nil && err == nil {
				err = e
			}
		}
	}
	return upn, err
}

func (b *objectBatch) item(s *Service, item *ObjectItem) (*ObjectWrite, error) {
	if err := checkAnchor(item.Anchor); err != nil {
		return nil, err
	}
	if item.Kind < User || item.Kind > InetOrgPerson {
		return nil, &attributeError{ReasonUnsupportedFeature, "there is no such type of object"}
	}
	if b.seen[item.Anchor] {
		return nil, &attributeError{ReasonDuplicateInBatch, "an earlier item of this batch has the same sourceAnchor"}
	}
	b.seen[item.Anchor] = true

	old := b.existing[item.Anchor]
	if old != nil && old.Kind != item.Kind {
		return nil, &attributeError{ReasonTypeMismatch, fmt.Sprintf("the sourceAnchor is a %s's", old.Kind)}
	}
	if item.Operation == Delete {
		if old == nil || !old.Deleted.IsZero() {
			return nil, nil
		}
		if !old.Synced() {
			return nil, &attributeError{ReasonCloudMastered, "an agent may not delete what the cloud masters"}
		}
		o := *old
		o.Deleted, o.Changed = b.now, b.now
		o.Profile.SyncEnabled = new(bool)
		b.release(old)
		return &ObjectWrite{Object: o}, nil
	}
	return b.set(s, item, old)
}

// set works out what an object becomes.
func (b *objectBatch) set(s *Service, item *ObjectItem, old *Object) (*ObjectWrite, error) {
	probe := Object{Kind: item.Kind}
	upn, err := apply(&probe, item.Attributes)
	if err != nil {
		return nil, err
	}

	// 1. Which object is it? By anchor, by name or address, or a new one.
	var o Object
	switch {
	case old != nil:
		if err := hardMatch(&b.settings, old); err != nil {
			return nil, err
		}
		o = *old
		o.Profile.ProxyAddresses = slices.Clone(o.Profile.ProxyAddresses)
	default:
		settled, _ := b.settings.settleUPN(&probe, upn)
		match, err := b.softMatch(&b.settings, item.Kind, settled, probe.PrimaryAddress())
		if err != nil {
			return nil, err
		}
		if match != nil {
			o = *match
			break
		}
		id, err := NewID(s.Rand)
		if err != nil {
			return nil, err
		}
		o = Object{ID: id, Kind: item.Kind, Enabled: true, Created: b.now}
	}

	// 2. What does the item change?
	before, had := o, o.Revision != 0
	o.Anchor = item.Anchor
	synced := true
	o.Profile.SyncEnabled = &synced
	if !o.Deleted.IsZero() {
		o.Deleted = time.Time{}
		o.Generation++
	}
	if _, err := apply(&o, item.Attributes); err != nil {
		return nil, err
	}
	if o.Kind.Person() {
		if err := b.signInName(&o, upn); err != nil {
			return nil, err
		}
	}
	w := &ObjectWrite{}
	if item.Kind == Group {
		if w.Members, err = b.list(&before, item.Attributes); err != nil {
			return nil, err
		}
	}
	// Last, as it gives names away: to this object, and its old ones to the items
	// after it.
	if err := b.settleNames(&b.settings, &o, b.now, s.Rand); err != nil {
		return nil, err
	}
	b.release(&before)
	b.take(&o)

	// 3. A re-send that changes nothing moves no feed.
	if had && w.Members == nil && reflect.DeepEqual(before, o) {
		return nil, nil
	}
	o.Changed, o.Profile.LastSync = b.now, b.now
	w.Object = o
	return w, nil
}

// signInName settles the UPN. It is worked out anew only when the on-premises
// one changes, or when it stands in quarantine.
func (b *objectBatch) signInName(o *Object, upn string) error {
	if upn == "" && o.UPN == "" {
		return &attributeError{ReasonUPNInvalid, "a user needs a userPrincipalName"}
	}
	waits := slices.ContainsFunc(o.Profile.Errors, func(e ProvisioningError) bool { return e.Property == ConflictUPN })
	if upn == "" {
		upn = o.Profile.OnPremisesUserPrincipalName
	}
	if upn == "" || upn == o.Profile.OnPremisesUserPrincipalName && !waits {
		return nil
	}
	settled, ok := b.settings.settleUPN(o, upn)
	if !ok {
		return &attributeError{ReasonUPNInvalid, "no sign-in name can be made of the userPrincipalName"}
	}
	o.UPN, o.Profile.OnPremisesUserPrincipalName = settled, upn
	return nil
}
