package domain

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"skyrealm/domain/dit"
	"skyrealm/tenant"
)

// Replica is the whole domain in memory. One goroutine applies records to it
// (see [Follower]); any number read it, without locks and without the database.
//
// Each Object is whole in itself. A reader that looks twice may see two moments.
type Replica struct {
	Info Info

	byGUID table[ID, *Object]
	byKey  table[ID, *Object]
	byRID  table[uint32, *Object]
	bySAM  table[string, *Object]
	byUPN  table[string, *Object]
	bySPN  table[string, *Object]
	byAttr table[attrKey, []*Object]
	// tree holds every object in the order of treeKey. The writer publishes a
	// new version after each batch; older ones stay whole for who reads them.
	tree atomic.Pointer[btree.Map[string, *Object]]

	// groupsOf maps a member's key to the keys of the groups that name it.
	groupsOf table[ID, []ID]
	epoch    atomic.Int64

	orphans map[ID][]Record // the writer's own: records whose parent has not come yet

	mu      sync.Mutex
	usn     USN
	tenant  tenant.USN
	changed chan struct{} // closed and renewed when usn or tenant rises
}

type attrKey struct {
	attr  int
	value string
}

// indexed are the attributes that searches find entries by, beside names.
var indexed = []*dit.AttrType{
	dit.Attr("cn"), dit.Attr("name"), dit.Attr("mail"), dit.Attr("uid"), dit.Attr("ou"),
	dit.Attr("msDS-aadObjectId"), dit.Attr("dNSHostName"),
}

// NewReplica returns an empty one for the domain.
func NewReplica(info Info) *Replica {
	r := &Replica{
		Info:    info,
		orphans: map[ID][]Record{},
		changed: make(chan struct{}),
	}
	r.tree.Store(btree.NewMap[string, *Object](0))
	return r
}

// Apply takes records in USN order, as [Store.Records] returns them, and notes
// how much of the tenant's feed they reflect. Only one goroutine may call it.
//
// A record that makes no object is left out and named in the error; all others
// are in, so that one corrupt row costs one account.
func (r *Replica) Apply(records []Record, upTo tenant.USN) error {
	tree := r.tree.Load().Copy()
	var bad []error
	for i := range records {
		if err := r.apply(tree, &records[i]); err != nil {
			bad = append(bad, err)
		}
	}
	// The caches of group closures hold for one epoch.
	r.epoch.Add(1)
	r.tree.Store(tree)

	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(records); n > 0 {
		r.usn = records[n-1].USN
	}
	r.tenant = max(r.tenant, upTo)
	close(r.changed)
	r.changed = make(chan struct{})
	return errors.Join(bad...)
}

func (r *Replica) apply(tree *btree.Map[string, *Object], rec *Record) error {
	old, known := r.byGUID.get(rec.GUID)
	if rec.Deleted {
		if known {
			r.forget(tree, old)
			r.link(old.Key, old.Members, nil)
		}
		return nil
	}
	parent := dit.DN{}
	if !rec.Parent.IsZero() {
		p, ok := r.byGUID.get(rec.Parent)
		if !ok {
			// The feed is in the order of the last change, so a child may come
			// before a parent that was changed after it.
			r.orphans[rec.Parent] = append(r.orphans[rec.Parent], *rec)
			return nil
		}
		parent = p.Entry.DN
	}
	o, err := newObject(&r.Info, rec, parent)
	if known {
		r.forget(tree, old)
	}
	if err != nil {
		return err
	}
	r.learn(tree, o)
	var was []ID
	if known {
		was = old.Members
	}
	r.link(o.Key, was, o.Members)
	waiting := r.orphans[rec.GUID]
	delete(r.orphans, rec.GUID)
	var bad []error
	for i := range waiting {
		bad = append(bad, r.apply(tree, &waiting[i]))
	}
	return errors.Join(bad...)
}

// learn puts the object under all of its names.
func (r *Replica) learn(tree *btree.Map[string, *Object], o *Object) {
	r.byGUID.put(o.GUID, o)
	r.byKey.put(o.Key, o)
	tree.Set(o.treeKey, o)
	if o.RID != 0 {
		r.byRID.put(o.RID, o)
	}
	if o.SAM != "" {
		r.bySAM.put(fold(o.SAM), o)
	}
	if o.UPN != "" {
		r.byUPN.put(fold(o.UPN), o)
	}
	for _, spn := range o.SPNs {
		r.bySPN.put(fold(spn), o)
	}
	for _, k := range o.indexKeys() {
		was, _ := r.byAttr.get(k)
		r.byAttr.put(k, append(slices.Clip(was), o))
	}
}

// forget takes the object from under its names, but not from under those that
// another has taken since.
func (r *Replica) forget(tree *btree.Map[string, *Object], o *Object) {
	tree.Delete(o.treeKey)
	dropIf(&r.byGUID, o.GUID, o)
	dropIf(&r.byKey, o.Key, o)
	dropIf(&r.byRID, o.RID, o)
	dropIf(&r.bySAM, fold(o.SAM), o)
	dropIf(&r.byUPN, fold(o.UPN), o)
	for _, spn := range o.SPNs {
		dropIf(&r.bySPN, fold(spn), o)
	}
	for _, k := range o.indexKeys() {
		was, _ := r.byAttr.get(k)
		left := slices.DeleteFunc(slices.Clone(was), func(x *Object) bool { return x == o })
		if len(left) == 0 {
			r.byAttr.drop(k)
		} else {
			r.byAttr.put(k, left)
		}
	}
}

// indexKeys are where the object stands in byAttr. A value that can't be
// compared stands nowhere.
func (o *Object) indexKeys() []attrKey {
	var keys []attrKey
	for _, t := range indexed {
		for _, v := range o.Entry.Get(t) {
			if n := dit.Normalise(t, v); n != "" {
				keys = append(keys, attrKey{t.Index, n})
			}
		}
	}
	return keys
}

func dropIf[K comparable](t *table[K, *Object], k K, o *Object) {
	if now, ok := t.get(k); ok && now == o {
		t.drop(k)
	}
}

// link makes the members a group's, and takes it from those that were and no
// longer are.
func (r *Replica) link(group ID, was, members []ID) {
	if len(was) == 0 && len(members) == 0 {
		return
	}
	is := make(map[ID]bool, len(members))
	for _, m := range members {
		is[m] = true
	}
	for _, m := range was {
		if is[m] {
			delete(is, m) // was, and stays
			continue
		}
		groups, _ := r.groupsOf.get(m)
		left := slices.DeleteFunc(slices.Clone(groups), func(g ID) bool { return g == group })
		if len(left) == 0 {
			r.groupsOf.drop(m)
		} else {
			r.groupsOf.put(m, left)
		}
	}
	for m := range is {
		groups, _ := r.groupsOf.get(m)
		r.groupsOf.put(m, append(slices.Clip(groups), group))
	}
}

// ByGUID and the functions below find objects by their names, without regard to
// case. They return nil for none.
func (r *Replica) ByGUID(id ID) *Object { o, _ := r.byGUID.get(id); return o }

// ByRID finds an account or group of the domain.
func (r *Replica) ByRID(rid uint32) *Object { o, _ := r.byRID.get(rid); return o }

// BySAM finds an account or group by sAMAccountName.
func (r *Replica) BySAM(name string) *Object { o, _ := r.bySAM.get(fold(name)); return o }

// ByUPN finds an account by userPrincipalName, or by the implicit one,
// sAMAccountName@domain, which no account's explicit name may hide
// ([MS-ADTS] §5.1.1.1.1).
func (r *Replica) ByUPN(upn string) *Object {
	if o, ok := r.byUPN.get(fold(upn)); ok {
		return o
	}
	for i := len(upn) - 1; i > 0; i-- {
		if upn[i] == '@' {
			if fold(upn[i+1:]) == fold(r.Info.DNSName) {
				if o := r.BySAM(upn[:i]); o != nil && o.SignsIn() {
					return o
				}
			}
			break
		}
	}
	return nil
}

// BySPN finds an account by servicePrincipalName.
func (r *Replica) BySPN(spn string) *Object { o, _ := r.bySPN.get(fold(spn)); return o }

// ByDN finds an object by its distinguished name.
func (r *Replica) ByDN(dn dit.DN) *Object {
	o, _ := r.tree.Load().Get(treeKey(dn))
	return o
}

// ByReference finds an object by any form of name that AD takes.
func (r *Replica) ByReference(ref dit.Reference) *Object {
	switch {
	case ref.GUID != nil:
		return r.ByGUID(wireGUID(ref.GUID))
	case ref.SID != "":
		if d, rid, ok := ref.SID.Split(); ok && d == r.Info.SID {
			return r.ByRID(rid)
		}
		return nil
	case ref.WellKnown != nil:
		return r.wellKnown(ref)
	}
	return r.ByDN(ref.DN)
}

func (r *Replica) wellKnown(ref dit.Reference) *Object {
	o := r.ByDN(ref.DN)
	if o == nil {
		return nil
	}
	for _, w := range wellKnown {
		if bytes.Equal(w.guid, ref.WellKnown) {
			if dn, err := dit.ParseDN(w.rdn + "," + o.Entry.DN.String()); err == nil {
				return r.ByDN(dn)
			}
		}
	}
	return nil
}

// USN returns how far the replica is: the domain's own number, and how much of
// the tenant's feed that reflects.
func (r *Replica) USN() (USN, tenant.USN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usn, r.tenant
}

// Wait returns when the replica has reached a USN of the domain.
func (r *Replica) Wait(ctx context.Context, usn USN) error {
	return r.wait(ctx, func() bool { return r.usn >= usn })
}

// WaitTenant returns when the replica reflects the tenant's feed up to usn:
// what was acknowledged under it is usable.
func (r *Replica) WaitTenant(ctx context.Context, usn tenant.USN) error {
	return r.wait(ctx, func() bool { return r.tenant >= usn })
}

func (r *Replica) wait(ctx context.Context, reached func() bool) error {
	for {
		r.mu.Lock()
		ok, changed := reached(), r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Len returns how many objects there are.
func (r *Replica) Len() int { return r.tree.Load().Len() }
