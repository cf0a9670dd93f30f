package domain

import (
	"context"
	"errors"

	"skyrealm/domain/dit"
)

// SetPolicy changes the domain's policy. Locks that hold go on as they began
// (EDS/password-policy).
func (d *Directory) SetPolicy(ctx context.Context, change func(*Policy)) (Policy, error) {
	for try := 1; ; try++ {
		rec, err := d.Store.Record(ctx, d.Replica.Info.GUID)
		if err != nil {
			return Policy{}, err
		}
		p := *policyOf(rec.Attrs)
		change(&p)
		if err := p.Check(); err != nil {
			return Policy{}, err
		}
		if rec.Attrs == nil {
			rec.Attrs = map[string][][]byte{}
		}
		for _, t := range policyAttrs {
			rec.Attrs[t.Name] = [][]byte{[]byte(p.text(t))}
		}
		rec.Changed = d.Now().UTC()
		err = d.put(ctx, Write{Record: rec})
		if !errors.Is(err, ErrConflict) || try == maxTries {
			return p, err
		}
	}
}

// unlock does what a modification of lockoutTime to 0 asks for; done is false
// where that is not what the modifications are ([MS-SAMR] §3.1.1.8.4). It is all
// that an administrator of the domain may change of a synced account.
func (d *Directory) unlock(ctx context.Context, actor *Object, dn dit.DN, mods []Mod) (done bool, err error) {
	if len(mods) != 1 || dit.Attr(mods[0].Attr) != aLockoutTime || mods[0].Op == ModAdd {
		return false, nil
	}
	if !d.Replica.Administers(actor) {
		return true, ErrAccessDenied
	}
	if m := mods[0]; m.Op == ModReplace && (len(m.Values) != 1 || string(m.Values[0]) != "0") {
		return true, &ConstraintError{aLockoutTime.Name, "it can only be set to 0"}
	}
	o := d.Replica.ByDN(dn)
	if o == nil {
		return true, &NoSuchObjectError{d.Replica.matched(dn)}
	}
	if !o.SignsIn() {
		return true, ErrAccessDenied
	}
	return true, d.Replica.Lockout.Unlock(ctx, o)
}
