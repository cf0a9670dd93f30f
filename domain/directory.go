package domain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"skyrealm/domain/dit"
	"skyrealm/tenant"
)

// Directory is the domain as its administrators write to it. What it writes is
// in the replica when it returns.
type Directory struct {
	Replica *Replica
	Store   Store
	Now     func() time.Time
	Rand    io.Reader

	// ChangeUser changes the password of a tenant's user, who has shown to know
	// it as a version of the credential ([tenant.Service.ChangeProvenPassword]);
	// nil where this process can't write to the tenant.
	ChangeUser func(ctx context.Context, user tenant.ID, proven int64, password string) (tenant.USN, error)
}

// Refusals of writes.
var (
	ErrAccessDenied = errors.New("domain: insufficient access rights")
	ErrExists       = errors.New("domain: the name is taken")
	ErrNotLeaf      = errors.New("domain: the object has children")
)

// ConstraintError is a value that the directory's rules refuse.
type ConstraintError struct{ Attr, Why string }

func (e *ConstraintError) Error() string { return fmt.Sprintf("domain: %s: %s", e.Attr, e.Why) }

// ErrNoSuchAttribute is the removal of a value that is not there.
var ErrNoSuchAttribute = errors.New("domain: no such attribute or value")

// ModOp is what a modification does (RFC 4511 §4.6).
type ModOp uint8

// The modifications, by their numbers on the wire.
const (
	ModAdd     ModOp = 0
	ModDelete  ModOp = 1
	ModReplace ModOp = 2
)

// Mod is one modification of one attribute.
type Mod struct {
	Op     ModOp
	Attr   string
	Values [][]byte
}

// Add creates an object. actor is who asks, nil for nobody.
func (d *Directory) Add(ctx context.Context, actor *Object, dn dit.DN, attrs []Mod) error {
	// 1. May this actor put such an object there?
	if !d.Replica.Administers(actor) {
		return ErrAccessDenied
	}
	parent := d.Replica.ByDN(dn.Parent())
	if parent == nil {
		return &NoSuchObjectError{d.Replica.matched(dn)}
	}
	class, err := structural(attrs)
	if err != nil {
		return err
	}
	naming, rdn := dn.RDN()
	if !strings.EqualFold(naming, class.RDN) {
		return &ConstraintError{naming, "objects of class " + class.Name + " are named by " + class.RDN}
	}
	if err := d.mayHold(parent, class); err != nil {
		return err
	}
	if d.Replica.ByDN(dn) != nil {
		return ErrExists
	}

	// 2. What does it become?
	guid, err := tenant.NewID(d.Rand)
	if err != nil {
		return err
	}
	now := d.Now().UTC()
	rec := Record{GUID: guid, Kind: kinds[class.Name], Class: class.Name, Parent: parent.GUID, RDN: rdn,
		Created: now, Changed: now, Attrs: map[string][][]byte{}}
	switch rec.Kind {
	case User:
		rec.UAC = UACNormal
	case Computer:
		rec.UAC = UACWorkstation
	}
	w := &writer{d: d, rec: &rec, now: now}
	for _, a := range attrs {
		if strings.EqualFold(a.Attr, "objectClass") {
			continue
		}
		if t := dit.Attr(a.Attr); t != nil && strings.EqualFold(t.Name, class.RDN) {
			continue // the name is in the DN
		}
		a.Op = ModReplace
		if err := w.modify(a); err != nil {
			return err
		}
	}
	if rec.Kind != Container && rec.SAM == "" {
		rec.SAM = cleanSAM(rdn, maxUserSAM)
		if rec.Kind == Computer {
			rec.SAM = cleanSAM(rdn, maxUserSAM-1) + "$"
		}
	}
	if err := w.finish(); err != nil {
		return err
	}

	// 3. Store, and see it ourselves before the client does.
	err = d.put(ctx, Write{Record: rec})
	if errors.Is(err, ErrConflict) {
		return ErrExists
	}
	return err
}

// Modify changes an object.
func (d *Directory) Modify(ctx context.Context, actor *Object, dn dit.DN, mods []Mod) error {
	if done, err := d.unlock(ctx, actor, dn, mods); done {
		return err
	}
	return d.change(ctx, actor, dn, onlyMembers(mods), func(rec *Record) error {
		w := &writer{d: d, rec: rec, now: d.Now().UTC()}
		rec.Changed = w.now
		for _, m := range mods {
			if err := w.modify(m); err != nil {
				return err
			}
		}
		return w.finish()
	})
}

// Delete removes an object that has no children.
func (d *Directory) Delete(ctx context.Context, actor *Object, dn dit.DN) error {
	return d.change(ctx, actor, dn, false, func(rec *Record) error {
		children := false
		filter := dit.Present("objectClass")
		if err := d.Replica.Search(dn, dit.One, filter, "", func(*Object) bool { children = true; return false }); err != nil {
			return err
		}
		if children {
			return ErrNotLeaf
		}
		*rec = tombstone(rec, d.Now().UTC())
		return nil
	})
}

// maxTries is how often a change is made anew on a record that others change at the
// same time; then ErrConflict asks the client to try again.
const maxTries = 8

// onlyMembers reports whether all that changes is a group's list of members.
func onlyMembers(mods []Mod) bool {
	return !slices.ContainsFunc(mods, func(m Mod) bool { return dit.Attr(m.Attr) != aMember })
}

// change reads a record, changes it and stores it, if nobody else has meanwhile.
func (d *Directory) change(ctx context.Context, actor *Object, dn dit.DN, members bool, change func(*Record) error) error {
	return d.retry(ctx, func() (Record, error) { return d.writable(ctx, actor, dn, members) }, change, nil)
}

func (d *Directory) retry(ctx context.Context, read func() (Record, error), change func(*Record) error, once *Once) error {
	was := USN(0)
	for try := 1; ; try++ {
		rec, err := read()
		if err != nil {
			return err
		}
		if rec.USN == was {
			return ErrExists // the record is what it was, so a name stands in the way
		}
		was = rec.USN
		if err := change(&rec); err != nil {
			return err
		}
		if err := d.put(ctx, Write{rec, once}); !errors.Is(err, ErrConflict) || try == maxTries {
			return err
		}
	}
}

// writable returns the record behind a name, if the actor may change it. Synced
// objects belong to the tenant, and the domain's own to nobody
// (EDS/administration-concepts), but for who is in Protected Users.
func (d *Directory) writable(ctx context.Context, actor *Object, dn dit.DN, members bool) (Record, error) {
	if !d.Replica.Administers(actor) {
		return Record{}, ErrAccessDenied
	}
	o := d.Replica.ByDN(dn)
	if o == nil {
		return Record{}, &NoSuchObjectError{d.Replica.matched(dn)}
	}
	rec, err := d.Store.Record(ctx, o.GUID)
	if err != nil {
		return Record{}, err
	}
	protected := rec.RID == RIDProtectedUsers && members
	if !rec.Source.IsZero() || o.critical() && !protected {
		return Record{}, ErrAccessDenied
	}
	return rec, nil
}

func (d *Directory) put(ctx context.Context, w Write) error {
	usn, err := d.Store.Apply(ctx, []Write{w})
	if err != nil {
		return err
	}
	return d.Replica.Wait(ctx, usn)
}

// kinds are the classes that can be added.
var kinds = map[string]Kind{"user": User, "computer": Computer, "group": Group, "organizationalUnit": Container, "container": Container}

// structural finds the most derived of the classes that the attributes name.
func structural(attrs []Mod) (*dit.Class, error) {
	var best *dit.Class
	for _, a := range attrs {
		if !strings.EqualFold(a.Attr, "objectClass") {
			continue
		}
		for _, v := range a.Values {
			c := dit.ClassByName(string(v))
			if c == nil {
				return nil, &ConstraintError{"objectClass", "there is no class " + fmt.Sprintf("%.40q", v)}
			}
			if best == nil || len(c.Chain()) > len(best.Chain()) {
				best = c
			}
		}
	}
	if best == nil {
		return nil, &ConstraintError{"objectClass", "it is required"}
	}
	if _, ok := kinds[best.Name]; !ok {
		return nil, &ConstraintError{"objectClass", "objects of class " + best.Name + " can't be added"}
	}
	return best, nil
}

// mayHold says where administrators may add what: OUs at the top, anything in
// their own OUs, computers in AADDC Computers.
func (d *Directory) mayHold(parent *Object, class *dit.Class) error {
	own := parent.Kind == Container && !parent.critical()
	top := parent.GUID == d.Replica.Info.GUID && class.Name == "organizationalUnit"
	_, rdn := parent.Entry.DN.RDN()
	computers := parent.Kind == Container && rdn == OUComputers && class.Name == "computer"
	if own || top || computers {
		return nil
	}
	return ErrAccessDenied
}
