package domain

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
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
	// Decoys stand for names that nobody has. Set them before the first Apply; nil:
	// whoever asks learns that there is no such account.
	Decoys *Decoys

	byGUID *index[ID, Object]
	byKey  *index[ID, Object]
	byRID  *index[uint32, Object]
	bySAM  *index[string, Object]
	byUPN  *index[string, Object]
	byDN   *index[string, Object] // by DN.Key
	bySPN  table[string, *Object] // an object has several, and most have none
	// view is what searches see. The writer publishes a new one after each
	// batch; older ones stay whole for who reads them.
	view  atomic.Pointer[view]
	seeds [len(indexed)]maphash.Seed // of the hashes in it

	policy atomic.Pointer[Policy]

	groupsOf *index[ID, membership]
	epoch    atomic.Int64

	// The writer's own: the records whose parent has not come yet, by GUID, and
	// the GUIDs of those that wait for a parent, some of which may be gone since.
	waiting   map[ID]Record
	orphans   map[ID][]ID
	shared    dit.Shared
	regrouped bool // a group is another than in the last epoch

	mu      sync.Mutex
	usn     USN
	tenant  tenant.USN
	changed chan struct{} // closed and renewed when usn or tenant rises
}

// membership are the groups that name a member, by RID. It never changes.
type membership struct {
	member ID // its key
	groups []uint32
	few    [2]uint32 // room for groups, where they are no more
}

func newMembership(member ID, groups ...uint32) *membership {
	m := &membership{member: member}
	m.groups = append(m.few[:0:2], groups...)
	return m
}

// groups are the RIDs of those that name the member.
func (r *Replica) groups(member ID) []uint32 {
	if m := r.groupsOf.get(member); m != nil {
		return m.groups
	}
	return nil
}

// view is one moment of the directory.
type view struct {
	tree   *btree.BTreeG[*Object] // every object, in the order of its name
	values *btree.BTreeG[place]   // the values of indexed attributes
}

func newView() *view {
	o := btree.Options{NoLocks: true}
	return &view{btree.NewBTreeGOptions(before, o), btree.NewBTreeGOptions(place.before, o)}
}

func (v *view) copy() *view { return &view{v.tree.Copy(), v.values.Copy()} }

func before(a, b *Object) bool { return a.Entry.DN.Compare(b.Entry.DN) < 0 }

// at is an object to look for in a view: it stands where that of the name does or
// would.
func at(dn dit.DN) *Object { return &Object{Entry: &dit.Entry{DN: dn}} }

// place is where an object stands in the index: by a hash of attribute and normal
// form of the value, and among those that share it in the order of the tree. Two
// values may share one, so what is found there is a candidate.
type place struct {
	value uint64
	o     *Object
}

func (a place) before(b place) bool {
	if a.value != b.value {
		return a.value < b.value
	}
	return before(a.o, b.o)
}

// indexed are the attributes that searches find entries by, beside names. The
// attributes of a row mostly have the same value and are indexed as one.
var indexed = [...][]*dit.AttrType{
	{dit.Attr("name"), dit.Attr("cn"), dit.Attr("ou")}, {dit.Attr("mail")}, {dit.Attr("uid")}, {dit.Attr("dNSHostName")},
}

// row returns that of an attribute, or -1.
func row(t *dit.AttrType) int {
	return slices.IndexFunc(indexed[:], func(row []*dit.AttrType) bool { return slices.Contains(row, t) })
}

// NewReplica returns an empty one for the domain.
func NewReplica(info Info) *Replica {
	r := &Replica{
		Info:     info,
		byGUID:   newIndex(hashID, func(o *Object) ID { return o.GUID }, func(o *Object, id ID) bool { return o.GUID == id }),
		byKey:    newIndex(hashID, func(o *Object) ID { return o.Key }, func(o *Object, id ID) bool { return o.Key == id }),
		byRID:    newIndex(hashRID, func(o *Object) uint32 { return o.RID }, func(o *Object, rid uint32) bool { return o.RID == rid }),
		bySAM:    newIndex(maphash.String, func(o *Object) string { return Fold(o.SAM) }, func(o *Object, name string) bool { return dit.FoldEqual(o.SAM, name) }),
		byUPN:    newIndex(maphash.String, func(o *Object) string { return Fold(o.UPN) }, func(o *Object, name string) bool { return dit.FoldEqual(o.UPN, name) }),
		byDN:     newIndex(maphash.String, func(o *Object) string { return o.Entry.DN.Key() }, func(o *Object, key string) bool { return o.Entry.DN.Key() == key }),
		groupsOf: newIndex(hashID, func(m *membership) ID { return m.member }, func(m *membership, id ID) bool { return m.member == id }),

		waiting: map[ID]Record{},
		orphans: map[ID][]ID{},
		changed: make(chan struct{}),
	}
	for i := range r.seeds {
		r.seeds[i] = maphash.MakeSeed()
	}
	r.view.Store(newView())
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
		if r.regrouped { // the memos of group closures hold for one epoch
			r.regrouped = false
			r.epoch.Add(1)
		}
		r.view.Store(v)
		r.Decoys.publish()
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
	old := r.byGUID.get(rec.GUID)
	known := old != nil
	var was []ID
	if known {
		was = old.Members
	}
	if rec.Kind == Group || known && old.Kind == Group {
		r.regrouped = true
	}
	if rec.Deleted {
		if known {
			r.forget(v, old)
			r.link(old.RID, was, nil)
		}
		return nil
	}
	parent := dit.DN{}
	if !rec.Parent.IsZero() {
		p := r.byGUID.get(rec.Parent)
		if p == nil {
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
			r.link(old.RID, was, nil)
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
	r.link(o.RID, was, o.Members)
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
	r.Decoys.count(o, 1)
	r.byGUID.put(o)
	r.byKey.put(o)
	r.byDN.put(o)
	v.tree.Set(o)
	if o.RID != 0 {
		r.byRID.put(o)
	}
	if o.SAM != "" {
		r.bySAM.put(o)
	}
	if o.UPN != "" {
		// The tenant's users have unique names, and what is made in the domain takes
		// none of theirs, whichever came first.
		if has := r.byUPN.get(Fold(o.UPN)); has == nil || o.synced() || !has.synced() {
			r.byUPN.put(o)
		}
	}
	for _, spn := range o.SPNs {
		r.bySPN.put(Fold(spn), o)
	}
	for _, p := range r.places(o) {
		v.values.Set(p)
	}
}

// forget takes the object from under its names, but not from under those that
// another, or a newer state of its own, has taken since.
func (r *Replica) forget(v *view, o *Object) {
	r.Decoys.count(o, -1)
	if now, ok := v.tree.Get(o); ok && now == o {
		v.tree.Delete(o)
	}
	r.byGUID.drop(o)
	r.byKey.drop(o)
	r.byDN.drop(o)
	r.byRID.drop(o)
	r.bySAM.drop(o)
	r.byUPN.drop(o)
	for _, spn := range o.SPNs {
		if now, ok := r.bySPN.get(Fold(spn)); ok && now == o {
			r.bySPN.drop(Fold(spn))
		}
	}
	for _, p := range r.places(o) {
		if now, ok := v.values.Get(p); ok && now.o == o {
			v.values.Delete(p)
		}
	}
}

// places are where the object stands in the index. A value that can't be
// compared stands nowhere.
func (r *Replica) places(o *Object) []place {
	var places []place
	for row, types := range indexed {
		for _, t := range types {
			for _, value := range o.Entry.Get(t) {
				n := dit.Normalise(t, value)
				if p := r.place(row, n, o); n != "" && !slices.Contains(places, p) {
					places = append(places, p)
				}
			}
		}
	}
	return places
}

func (r *Replica) place(row int, normal string, o *Object) place {
	return place{maphash.String(r.seeds[row], normal), o}
}

// link makes the members a group's, and takes it from those that were and no
// longer are.
func (r *Replica) link(group uint32, was, members []ID) {
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
		left := slices.DeleteFunc(slices.Clone(r.groups(m)), func(g uint32) bool { return g == group })
		if len(left) > 0 {
			r.groupsOf.put(newMembership(m, left...))
		} else if now := r.groupsOf.get(m); now != nil {
			r.groupsOf.drop(now)
		}
	}
	for m := range is {
		r.groupsOf.put(newMembership(m, append(slices.Clip(r.groups(m)), group)...))
	}
}

// ByGUID and the functions below find objects by their names, without regard to
// case. They return nil for none.
func (r *Replica) ByGUID(id ID) *Object { return r.byGUID.get(id) }

// ByRID finds an account or group of the domain.
func (r *Replica) ByRID(rid uint32) *Object { return r.byRID.get(rid) }

// BySAM finds an account or group by sAMAccountName.
func (r *Replica) BySAM(name string) *Object { return r.bySAM.get(Fold(name)) }

// ByUPN finds an account by userPrincipalName, or where none has that by the
// implicit one, sAMAccountName@domain ([MS-ADTS] §5.1.1.1.1).
func (r *Replica) ByUPN(upn string) *Object {
	if o := r.byUPN.get(Fold(upn)); o != nil {
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
func (r *Replica) ByDN(dn dit.DN) *Object { return r.byDN.get(dn.Key()) }

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
