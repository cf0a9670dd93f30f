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
func (s *Service) SyncObjects(ctx context.Context, items []ObjectItem) (BatchResult, error) {
	if len(items) > MaxBatchItems {
		return BatchResult{}, ErrBatchTooLarge
	}
	for try := 0; ; try++ {
		res, err := s.syncObjects(ctx, items)
		// Two agents, or an agent and an administrator, wrote the same object
		// at once: what was decided on stale rows is decided again.
		if !errors.Is(err, ErrConflict) || try == 2 {
			return res, err
		}
	}
}

func (s *Service) syncObjects(ctx context.Context, items []ObjectItem) (BatchResult, error) {
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
	if err := b.read(ctx, s.Store, items); err != nil {
		return BatchResult{}, err
	}
	for i := range items {
		item := &items[i]
		b.results[i].Anchor = item.Anchor
		w, err := b.item(s, item)
		switch refusal := (*attributeError)(nil); {
		case errors.As(err, &refusal):
			b.results[i].Reason, b.results[i].Detail = refusal.reason, refusal.detail
		case err != nil:
			return BatchResult{}, err
		case w == nil: // a re-send, or the deletion of what is not there
			b.results[i].ID = b.existing[item.Anchor].ID
			b.results[i].Reason = ReasonUnchanged
		default:
			b.results[i].ID = w.Object.ID
			b.results[i].Reason = ReasonStored
			if item.Operation == Delete {
				b.results[i].Reason = ReasonDeleted
			}
			b.writes = append(b.writes, *w)
		}
	}

	// 3. Store.
	usn, err := s.Store.PutObjects(ctx, b.writes)
	if err != nil {
		return BatchResult{}, err
	}
	return BatchResult{USN: usn, Items: b.results}, nil
}

type objectBatch struct {
	settings Settings
	now      time.Time
	existing map[string]Object // by anchor
	upns     map[string]ID     // lower-case UPN to its holder, in the store and then in this batch
	seen     map[string]bool   // anchors of this batch
	writes   []ObjectWrite
	results  []ItemResult
}

// read fetches what the batch touches: the objects behind its anchors and the
// holders of the names it wants.
func (b *objectBatch) read(ctx context.Context, store Store, items []ObjectItem) error {
	anchors := make([]string, 0, len(items))
	names := map[string]bool{}
	for i := range items {
		if checkAnchor(items[i].Anchor) == nil {
			anchors = append(anchors, items[i].Anchor)
		}
		if items[i].Kind == User && items[i].Operation == Set {
			probe := Object{}
			upn, _ := apply(&probe, items[i].Attributes)
			if settled, ok := b.settings.settleUPN(&probe, upn); ok {
				names[strings.ToLower(settled)] = true
			}
		}
	}
	found, err := store.ObjectsByAnchor(ctx, anchors)
	if err != nil {
		return err
	}
	b.existing = make(map[string]Object, len(found))
	for _, o := range found {
		b.existing[o.Anchor] = o
	}
	holders, err := store.ObjectsByUPN(ctx, slices.Collect(maps.Keys(names)))
	if err != nil {
		return err
	}
	b.upns = make(map[string]ID, len(holders))
	for _, o := range holders {
		b.upns[strings.ToLower(o.UPN)] = o.ID
	}
	b.seen = make(map[string]bool, len(items))
	return nil
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
	if item.Kind != User && item.Kind != Group {
		return nil, &attributeError{ReasonUnsupportedFeature, "only users and groups are taken"}
	}
	if b.seen[item.Anchor] {
		return nil, &attributeError{ReasonDuplicateInBatch, "an earlier item of this batch has the same sourceAnchor"}
	}
	b.seen[item.Anchor] = true

	old, known := b.existing[item.Anchor]
	if known && old.Kind != item.Kind {
		return nil, &attributeError{ReasonTypeMismatch, fmt.Sprintf("the sourceAnchor is a %s's", old.Kind)}
	}
	if item.Operation == Delete {
		if !known || !old.Deleted.IsZero() {
			return nil, nil
		}
		old.Deleted, old.Changed = b.now, b.now
		return &ObjectWrite{Object: old}, nil
	}
	return b.set(s, item, old, known)
}

func (b *objectBatch) set(s *Service, item *ObjectItem, o Object, known bool) (*ObjectWrite, error) {
	if !known {
		id, err := NewID(s.Rand)
		if err != nil {
			return nil, err
		}
		o = Object{ID: id, Kind: item.Kind, Anchor: item.Anchor, Enabled: true, Created: b.now}
	}
	if !o.Deleted.IsZero() {
		o.Deleted = time.Time{}
		o.Generation++
	}
	o.Changed = b.now
	upn, err := apply(&o, item.Attributes)
	if err != nil {
		return nil, err
	}
	w := &ObjectWrite{Object: o}
	if item.Kind == Group {
		if w.Members, err = members(item.Attributes); err != nil {
			return nil, err
		}
		return b.changed(w), nil
	}

	// The sign-in name is worked out anew only when the on-premises one changes.
	if upn == "" && o.UPN == "" {
		return nil, &attributeError{ReasonUPNInvalid, "a user needs a userPrincipalName"}
	}
	if upn != "" && upn != o.Profile.OnPremisesUserPrincipalName {
		settled, ok := b.settings.settleUPN(&o, upn)
		if !ok {
			return nil, &attributeError{ReasonUPNInvalid, "no sign-in name can be made of the userPrincipalName"}
		}
		w.Object.UPN, w.Object.Profile.OnPremisesUserPrincipalName = settled, upn
	}
	lower := strings.ToLower(w.Object.UPN)
	if holder, taken := b.upns[lower]; taken && holder != o.ID {
		return nil, &attributeError{ReasonUPNTaken, "another user of the tenant has this userPrincipalName"}
	}
	b.upns[lower] = o.ID
	return b.changed(w), nil
}

// changed returns w, or nil where all that it says is stored already: agents send
// everything again at each full sync. A group's members are not read for that.
func (b *objectBatch) changed(w *ObjectWrite) *ObjectWrite {
	old, known := b.existing[w.Object.Anchor]
	old.Changed = w.Object.Changed
	if known && w.Members == nil && reflect.DeepEqual(old, w.Object) {
		return nil
	}
	return w
}

// members reads a group's member list, nil where the item does not name one.
func members(values map[string]any) (*[]Member, error) {
	for name, value := range values {
		if !strings.EqualFold(name, "member") && !strings.EqualFold(name, "members") {
			continue
		}
		var anchors []string
		switch v := value.(type) {
		case nil:
		case string:
			anchors = []string{v}
		case []string:
			anchors = v
		default:
			return nil, invalid(name, "a list of source anchors")
		}
		if len(anchors) > MaxGroupMembers {
			return nil, &attributeError{ReasonTooManyMembers, fmt.Sprintf("a group holds at most %d members", MaxGroupMembers)}
		}
		out := make([]Member, 0, len(anchors))
		seen := make(map[string]bool, len(anchors))
		for _, a := range anchors {
			if err := checkAnchor(a); err != nil {
				return nil, err
			}
			if !seen[a] {
				seen[a] = true
				out = append(out, Member{Anchor: a})
			}
		}
		return &out, nil
	}
	return nil, nil
}
