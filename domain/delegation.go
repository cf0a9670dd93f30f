package domain

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"skyrealm/domain/dit"
	"skyrealm/secdesc"
	"skyrealm/sid"
)

// Attributes by which services are let act for people ([MS-SFU] §3.2.1).
const (
	attrDelegateTo = "msDS-AllowedToDelegateTo"
	attrActFor     = "msDS-AllowedToActOnBehalfOfOtherIdentity"
)

// maxDelegateTo bounds how many services one may pass people on to.
const maxDelegateTo = 256

// delegation reads what the KDC asks of an account at each delegation, so that
// it finds it read.
func (o *Object) delegation(rec *Record) {
	for _, v := range rec.Attrs[attrDelegateTo] {
		o.delegateTo = append(o.delegateTo, Fold(string(v)))
	}
	if v := rec.Attrs[attrActFor]; len(v) > 0 {
		// A descriptor that can't be read lets nobody.
		if d, err := secdesc.Parse(v[0]); err == nil {
			o.actFor = d.Rules(secdesc.ControlAccess)
		}
	}
}

// Delegates reports whether the account names services that it may pass people
// on to.
func (o *Object) Delegates() bool { return len(o.delegateTo) > 0 }

// DelegatesTo reports whether the service of that name is one of them. The name
// counts as it is written there: an account that stands for it under another
// name is not meant.
func (o *Object) DelegatesTo(spn string) bool { return slices.Contains(o.delegateTo, Fold(spn)) }

// TrustedToAuth reports whether the account may pass on whom it has not seen a
// Kerberos ticket of (protocol transition).
func (o *Object) TrustedToAuth() bool { return o.UAC&UACTrustedToAuth != 0 }

// ActsFor reports whether target lets front pass people on to it, by the
// security descriptor of its account.
func (r *Replica) ActsFor(front, target *Object) bool {
	return target.actFor.Allow(func(s sid.SID) bool { return r.Holds(front, s) })
}

// everyAccount are the SIDs of everybody who has signed in over the network
// with a key: Everyone, Network, Authenticated Users, This Organization, and
// Authentication authority asserted identity ([MS-DTYP] §2.4.2.4).
var everyAccount = [...]sid.SID{sid.New(1, 0), sid.New(5, 2), sid.New(5, 11), sid.New(5, 15), sid.New(18, 1)}

// Holds reports whether the SID is the account's or one of its groups'.
func (r *Replica) Holds(o *Object, s sid.SID) bool {
	if s == o.SID() || slices.Contains(everyAccount[:], s) {
		return true
	}
	domain, rid, ok := s.Split()
	if !ok || domain != r.Info.SID {
		return false
	}
	_, found := slices.BinarySearch(r.Membership(o).RIDs, rid)
	return found
}

// Delegable reports whether services may pass the account on: not where it is
// marked as sensitive, and not the members of Protected Users.
func (r *Replica) Delegable(o *Object) bool {
	return o.UAC&UACNotDelegated == 0 && !r.Membership(o).Protected
}

// delegateTo takes names of services, which need not be there yet.
//
// DIVERGES: the real service leaves this, as TRUSTED_TO_AUTH_FOR_DELEGATION, to
// a domain administrator, whom nobody can be, and AAD DC Administrators the
// target's descriptor alone (EDS/deploy-kcd).
func (w *writer) delegateTo(t *dit.AttrType, m Mod) error {
	values, err := merge(w.rec.Attrs[t.Name], m, func(v []byte) string { return Fold(string(v)) })
	if err != nil {
		return err
	}
	for _, v := range values {
		service, host, ok := strings.Cut(string(v), "/")
		if !ok || service == "" || host == "" || strings.ContainsAny(string(v), "\x00 @") {
			return &ConstraintError{t.Name, "it holds service principal names, service/host"}
		}
	}
	return w.hold(t, values, maxDelegateTo)
}

// actFor takes a security descriptor that says whom it lets. One without a list
// of access lets everybody in the eyes of Windows, and nobody in ours: it is
// not taken.
func (w *writer) actFor(t *dit.AttrType, m Mod) error {
	values, err := merge(w.rec.Attrs[t.Name], m, func(v []byte) string { return string(v) })
	if err != nil {
		return err
	}
	for _, v := range values {
		if d, err := secdesc.Parse(v); err != nil || d.DACL == nil {
			return &ConstraintError{t.Name, "it holds a self-relative security descriptor with a DACL"}
		}
	}
	return w.hold(t, values, 1)
}

const nameProtectedUsers = "Protected Users"

// protectedUsers is the group that every domain has whose members no service may
// pass on ([MS-KILE] §3.3.5.1, the well-known SID S-1-5-21-domain-525). Its GUID
// is made of the domain's, so that one that comes later is the same.
func protectedUsers(info *Info, parent ID, sam string) Record {
	h := sha256.Sum256(append(info.GUID[:], nameProtectedUsers...))
	id := ID(h[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // RFC 9562 §5.8
	return Record{GUID: id, Kind: Group, Class: "group", RID: RIDProtectedUsers, Parent: parent, RDN: sam, SAM: sam,
		Attrs: map[string][][]byte{
			"groupType":   {[]byte(GroupGlobalSecurity)},
			"description": {[]byte("Members of this group can't be delegated, and use no weak keys")},
		}}
}

// ensureProtectedUsers adds the group to a domain that was founded before it
// came with one.
func ensureProtectedUsers(ctx context.Context, s Store, info *Info, now time.Time) error {
	rec := protectedUsers(info, ID{}, nameProtectedUsers)
	if _, err := s.Record(ctx, rec.GUID); !errors.Is(err, ErrNotFound) {
		return err
	}
	places, err := s.RDNsTaken(ctx, info.GUID, []string{Fold("Users")})
	if err != nil {
		return err
	}
	// A synced group may have the name; then ours has another, and the RID that
	// counts.
	names := []string{nameProtectedUsers, nameProtectedUsers + " 525"}
	taken, err := s.NamesTaken(ctx, []string{Fold(names[0]), Fold(names[1])})
	if err != nil {
		return err
	}
	name, ok := take(taken, rec.GUID, append(names, spare(rec.GUID)))
	if !ok {
		return ErrConflict
	}
	rec = protectedUsers(info, places[Fold("Users")], name)
	rec.Created, rec.Changed = now, now
	rec.Attrs["isCriticalSystemObject"] = [][]byte{[]byte("TRUE")}
	_, err = s.Apply(ctx, []Write{{Record: rec}})
	return err
}
