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
	"skyrealm/sid"
	"skyrealm/tenant"
)

// Replica is the whole domain in memory. One goroutine applies records to it
// (see [Follower]); any number read it, without locks and without the database.
//
// Each Object is whole in itself. A reader that looks twice may see two moments.
type Replica struct {
	Info Info
	// Lockout counts wrong passwords. Set it before the first sign-in; nil counts
	// none.
	Lockout *Lockout
	Audit   *Audit // takes what becomes of sign-ins; nil: nobody reads of it

	byGUID table[ID, *Object]
	byKey  table[ID, *Object]
	byRID  table[uint32, *Object]
	bySAM  table[string, *Object]
	byUPN  table[string, *Object]
	bySPN  table[string, *Object]
	// view is what searches see. The writer publishes a new one after each
	// batch; older ones stay whole for who reads them.
	view atomic.Pointer[view]

	policy atomic.Pointer[Policy]

	// groupsOf maps a member's key to the keys of the groups that name it.
	groupsOf table[ID, []ID]
	epoch    atomic.Int64

	// The writer's own: the records whose parent has not come yet, by GUID, and
	// the GUIDs of those that wait for a parent, some of which may be gone since.
	waiting map[ID]Record
	orphans map[ID][]ID
	shared  dit.Shared

	mu      sync.Mutex
	usn     USN
	tenant  tenant.USN
	changed chan struct{} // closed and renewed when usn or tenant rises
}

// view is one moment of the directory.
type view struct {
	tree   *btree.Map[string, *Object] // every object, in the order of treeKey
	values *btree.BTreeG[place]        // the values of indexed attributes
}

// place is where an object stands in the index: by attribute and normal form of
// the value, and among those that share it in the order of the tree.
type place struct {
	attr  int
	value string
	o     *Object
}

func (a place) before(b place) bool {
	switch {
	case a.attr != b.attr:
		return a.attr < b.attr
	case a.value != b.value:
		return a.value < b.value
	}
	return a.o.treeKey < b.o.treeKey
}

func (v *view) copy() *view { return &view{v.tree.Copy(), v.values.Copy()} }

// indexed are the attributes that searches find entries by, beside names.
var indexed = []*dit.AttrType{
	dit.Attr("cn"), dit.Attr("name"), dit.Attr("mail"), dit.Attr("uid"), dit.Attr("ou"),
	dit.Attr("msDS-aadObjectId"), dit.Attr("dNSHostName"),
}

// NewReplica returns an empty one for the domain.
func NewReplica(info Info) *Replica {
	r := &Replica{
		Info:    info,
		waiting: map[ID]Record{},
		orphans: map[ID][]ID{},
		changed: make(chan struct{}),
	}
	r.view.Store(&view{btree.NewMap[string, *Object](0), btree.NewBTreeGOptions(place.before, btree.Options{NoLocks: true})})
	return r
}

// Apply takes records in USN order, as [Store.Records] returns them, and notes
// how much of the tenant's feed they reflect. Only one goroutine may call it.
//
// A record that makes no object is left out and named in the error; all others
// are in, so that one corrupt row costs one account.
func (r *Replica) Apply(records []Record, upTo tenant.USN) error {
	r.mu.Lock()
	idle := len(records) == 0 && upTo <= r.tenant
	r.mu.Unlock()
	if idle { // a poll: what waits need not wake, what is remembered holds
		return nil
	}
	var bad []error
	if len(records) > 0 {
		v := r.view.Load().copy()
		for i := range records {
			if err := r.apply(v, &records[i]); err != nil {
				bad = append(bad, err)
			}
		}
		// The caches of group closures hold for one epoch.
		r.epoch.Add(1)
		r.view.Store(v)
	}

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

func (r *Replica) apply(v *view, rec *Record) error {
	delete(r.waiting, rec.GUID) // this is the newer state
	old, known := r.byGUID.get(rec.GUID)
	var was []ID
	if known {
		was = old.Members
	}
	if rec.Deleted {
		if known {
			r.forget(v, old)
			r.link(old.Key, was, nil)
		}
		return nil
	}
	parent := dit.DN{}
	if !rec.Parent.IsZero() {
		p, ok := r.byGUID.get(rec.Parent)
		if !ok {
			// The feed is in the order of the last change, so a child may come
			// before a parent that was changed after it.
			r.waiting[rec.GUID] = *rec
			r.orphans[rec.Parent] = append(r.orphans[rec.Parent], rec.GUID)
			return nil
		}
		parent = p.Entry.DN
	}
	o, err := newObject(&r.Info, rec, parent, &r.shared)
	if err != nil {
		if known {
			r.forget(v, old)
			r.link(old.Key, was, nil)
		}
		return err
	}
	if rec.GUID == r.Info.GUID {
		r.policy.Store(policyOf(rec.Attrs))
	}
	// In this order: at no moment is the object without its names.
	r.learn(v, o)
	if known {
		r.forget(v, old)
	}
	r.link(o.Key, was, o.Members)
	children := r.orphans[rec.GUID]
	delete(r.orphans, rec.GUID)
	var bad []error
	for _, id := range children {
		if child, ok := r.waiting[id]; ok && child.Parent == rec.GUID {
			bad = append(bad, r.apply(v, &child))
		}
	}
	return errors.Join(bad...)
}

// learn puts the object under all of its names.
func (r *Replica) learn(v *view, o *Object) {
	r.byGUID.put(o.GUID, o)
	r.byKey.put(o.Key, o)
	v.tree.Set(o.treeKey, o)
	if o.RID != 0 {
		r.byRID.put(o.RID, o)
	}
	if o.SAM != "" {
		r.bySAM.put(Fold(o.SAM), o)
	}
	// The tenant's users have unique names, and what is made in the domain takes
	// none of theirs, whichever came first.
	if has, taken := r.byUPN.get(Fold(o.UPN)); o.UPN != "" && !(taken && has.synced() && !o.synced()) {
		r.byUPN.put(Fold(o.UPN), o)
	}
	for _, spn := range o.SPNs {
		r.bySPN.put(Fold(spn), o)
	}
	for _, p := range o.places() {
		v.values.Set(p)
	}
}

// forget takes the object from under its names, but not from under those that
// another, or a newer state of its own, has taken since.
func (r *Replica) forget(v *view, o *Object) {
	if now, ok := v.tree.Get(o.treeKey); ok && now == o {
		v.tree.Delete(o.treeKey)
	}
	dropIf(&r.byGUID, o.GUID, o)
	dropIf(&r.byKey, o.Key, o)
	dropIf(&r.byRID, o.RID, o)
	dropIf(&r.bySAM, Fold(o.SAM), o)
	dropIf(&r.byUPN, Fold(o.UPN), o)
	for _, spn := range o.SPNs {
		dropIf(&r.bySPN, Fold(spn), o)
	}
	for _, p := range o.places() {
		if now, ok := v.values.Get(p); ok && now.o == o {
			v.values.Delete(p)
		}
	}
}

// places are where the object stands in the index. A value that can't be
// compared stands nowhere.
func (o *Object) places() []place {
	var places []place
	for _, t := range indexed {
		for _, value := range o.Entry.Get(t) {
			if n := dit.Normalise(t, value); n != "" {
				places = append(places, place{t.Index, n, o})
			}
		}
	}
	return places
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
func (r *Replica) BySAM(name string) *Object { o, _ := r.bySAM.get(Fold(name)); return o }

// ByUPN finds an account by userPrincipalName, or where none has that by the
// implicit one, sAMAccountName@domain ([MS-ADTS] §5.1.1.1.1).
func (r *Replica) ByUPN(upn string) *Object {
	if o, ok := r.byUPN.get(Fold(upn)); ok {
		return o
	}
	for i := len(upn) - 1; i > 0; i-- {
		if upn[i] == '@' {
			if Fold(upn[i+1:]) == Fold(r.Info.DNSName) {
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
func (r *Replica) BySPN(spn string) *Object { o, _ := r.bySPN.get(Fold(spn)); return o }

// ByDN finds an object by its distinguished name.
func (r *Replica) ByDN(dn dit.DN) *Object {
	o, _ := r.view.Load().tree.Get(treeKey(dn))
	return o
}

// ByReference finds an object by any form of name that AD takes.
func (r *Replica) ByReference(ref dit.Reference) *Object {
	switch {
	case ref.GUID != nil:
		return r.ByGUID(wireGUID(ref.GUID))
	case ref.SID != "":
		return r.bySID(ref.SID)
	case ref.WellKnown != nil:
		return r.wellKnown(ref)
	}
	return r.ByDN(ref.DN)
}

func (r *Replica) bySID(s sid.SID) *Object {
	if s == r.Info.SID {
		return r.ByGUID(r.Info.GUID)
	}
	if d, rid, ok := s.Split(); ok && d == r.Info.SID {
		return r.ByRID(rid)
	}
	return nil
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
func (r *Replica) Len() int { return r.view.Load().tree.Len() }
