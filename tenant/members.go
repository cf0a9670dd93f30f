package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// MemberChanges is the value of a group's member attribute that does not say the
// whole list: those who come and those who go. An agent of the real service's
// second version sends it for a group whose list is long.
type MemberChanges struct{ Add, Remove []Member }

// lists reads how the lists of the batch's groups stand, where an item says
// anything of one.
func (b *objectBatch) lists(ctx context.Context, store Store, items []ObjectItem) error {
	var groups, named []ID
	for i := range items {
		_, value, ok := memberValue(items[i].Attributes)
		if !ok || items[i].Kind != Group || items[i].Operation != Set {
			continue
		}
		if old := b.existing[items[i].Anchor]; old != nil {
			groups = append(groups, old.ID)
		}
		if v, ok := value.(MemberChanges); ok {
			for _, m := range slices.Concat(v.Add, v.Remove) {
				if !m.ID.IsZero() {
					named = append(named, m.ID)
				}
			}
		}
	}
	if named != nil {
		objects, err := store.Objects(ctx, named)
		if err != nil {
			return err
		}
		b.anchors = make(map[ID]string, len(objects))
		for i := range objects {
			b.anchors[objects[i].ID] = objects[i].Anchor
		}
	}
	if groups == nil {
		return nil
	}
	var err error
	b.members, err = store.Members(ctx, groups)
	return err
}

// memberValue is what an item says of a group's members, and under which name.
func memberValue(values map[string]any) (name string, value any, ok bool) {
	for name, value := range values {
		if strings.EqualFold(name, "member") || strings.EqualFold(name, "members") {
			return name, value, true
		}
	}
	return "", nil, false
}

// member is m by its anchor, if it has one: lists name nobody in two ways.
func (b *objectBatch) member(m Member) Member {
	if a := b.anchors[m.ID]; a != "" && !m.ID.IsZero() {
		return Member{Anchor: a}
	}
	return m
}

// list works out a group's whole new list, nil where the item says nothing of it or
// what it says is how it stands: nothing is written then, and nobody has to read
// 50,000 members again.
func (b *objectBatch) list(old *Object, values map[string]any) (*[]Member, error) {
	name, value, ok := memberValue(values)
	if !ok {
		return nil, nil
	}
	stands, known := b.members[old.ID]
	var out []Member
	switch v := value.(type) {
	case nil:
		out = []Member{}
	case string:
		out = []Member{{Anchor: v}}
	case []string:
		out = make([]Member, len(v))
		for i, a := range v {
			out[i].Anchor = a
		}
	case MemberChanges:
		if !known && old.Revision != 0 { // it was found by its address
			return nil, &attributeError{ReasonUnknownAnchor, "members can be added to and removed from a group that has been synced as a whole"}
		}
		gone := make(map[Member]bool, len(v.Remove))
		for _, m := range v.Remove {
			gone[b.member(m)] = true
		}
		out = make([]Member, 0, len(stands)+len(v.Add))
		for _, m := range stands {
			if !gone[m] {
				out = append(out, m)
			}
		}
		for _, m := range v.Add {
			out = append(out, b.member(m))
		}
	default:
		return nil, invalid(name, "a list of source anchors")
	}
	if len(out) > MaxGroupMembers {
		return nil, &attributeError{ReasonTooManyMembers, fmt.Sprintf("a group holds at most %d members", MaxGroupMembers)}
	}

	// Each once; and is it what stands there?
	seen := make(map[Member]bool, len(out))
	n := 0
	for _, m := range out {
		if m.ID.IsZero() {
			if err := checkAnchor(m.Anchor); err != nil {
				return nil, err
			}
		}
		if !seen[m] {
			seen[m] = true
			out[n] = m
			n++
		}
	}
	out = out[:n]
	same := known && len(stands) == n
	for i := 0; same && i < n; i++ {
		same = seen[stands[i]]
	}
	if same {
		return nil, nil
	}
	return &out, nil
}
