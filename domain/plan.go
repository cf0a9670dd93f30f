package domain

import (
	"context"
	"slices"
	"strings"
	"time"

	"skyrealm/cred"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// plan works out what the domain's records have to become. It reads the store
// and changes nothing.
func (p *Provisioner) plan(ctx context.Context, changes []tenant.Change) ([]Write, error) {
	// 1. What stands there now?
	ids := make([]ID, len(changes))
	for i := range changes {
		ids[i] = changes[i].Object.ID
	}
	found, err := p.Store.BySource(ctx, ids)
	if err != nil {
		return nil, err
	}
	existing := make(map[ID]*Record, len(found))
	for i := range found {
		existing[found[i].Source] = &found[i]
	}
	users, err := p.usersOU(ctx)
	if err != nil {
		return nil, err
	}

	// 2. Which names are free?
	var sams, rdns []string
	for i := range changes {
		for _, sam := range samCandidates(&changes[i].Object) {
			sams = append(sams, Fold(sam))
			for _, rdn := range rdnCandidates(&changes[i].Object, sam) {
				rdns = append(rdns, Fold(rdn))
			}
		}
	}
	n := &namer{}
	if n.sams, err = p.Store.NamesTaken(ctx, sams); err != nil {
		return nil, err
	}
	if n.rdns, err = p.Store.RDNsTaken(ctx, users, rdns); err != nil {
		return nil, err
	}

	// 3. One record, or two where an account makes room for its successor.
	legacy := p.open(changes, existing)
	ntlmOff, err := p.Store.NTLMOff(ctx)
	if err != nil {
		return nil, err
	}
	for i := range legacy {
		// NTLM and LDAP's simple bind stop for the user, and Kerberos goes on.
		if ntlmOff {
			legacy[i].legacy.NT = cred.NTHash{}
		}
	}
	now := p.Now().UTC()
	var writes []Write
	for i := range changes {
		if legacy[i].err != nil {
			// The account fails closed: the old password must not go on working.
			p.Log.Error("sealed hashes can't be opened", "object", changes[i].Object.ID.String())
		}
		rec := existing[changes[i].Object.ID]
		// Contacts and devices stay in the tenant (EDS/synchronization).
		gone := !changes[i].Object.Deleted.IsZero() || !changes[i].Object.Kind.Person() && changes[i].Object.Kind != tenant.Group
		if rec != nil && (gone || rec.Generation != changes[i].Object.Generation) {
			writes = append(writes, Write{Record: tombstone(rec, now)})
			n.release(rec)
			rec = nil
		}
		if gone {
			continue
		}
		next, ok, err := p.record(&changes[i], rec, &legacy[i], users, n, now)
		if err != nil {
			return nil, err
		}
		if ok {
			writes = append(writes, Write{Record: next})
		}
	}
	return writes, nil
}

func (p *Provisioner) usersOU(ctx context.Context) (ID, error) {
	taken, err := p.Store.RDNsTaken(ctx, p.Info.GUID, []string{Fold(OUUsers)})
	if err != nil {
		return ID{}, err
	}
	id, ok := taken[Fold(OUUsers)]
	if !ok {
		return ID{}, ErrNoDomain
	}
	return id, nil
}

func tombstone(r *Record, now time.Time) Record {
	return Record{GUID: r.GUID, USN: r.USN, Kind: r.Kind, Class: r.Class, Source: r.Source, Generation: r.Generation,
		RID: r.RID, Created: r.Created, Changed: now, Deleted: true}
}

// namer hands out names: what the store holds, and what this plan has given.
type namer struct{ sams, rdns map[string]ID }

func (n *namer) release(r *Record) {
	if n.sams[Fold(r.SAM)] == r.GUID {
		delete(n.sams, Fold(r.SAM))
	}
	if n.rdns[Fold(r.RDN)] == r.GUID {
		delete(n.rdns, Fold(r.RDN))
	}
}

// take gives the first of the candidates that is free or the object's own.
func take(taken map[string]ID, guid ID, candidates []string) (string, bool) {
	for _, c := range candidates {
		if holder, held := taken[Fold(c)]; !held || holder == guid {
			taken[Fold(c)] = guid
			return c, true
		}
	}
	return "", false
}

// record maps a tenant object to its record. ok is false where the domain has
// none: a cloud-only user before the first password change.
func (p *Provisioner) record(c *tenant.Change, old *Record, legacy *opened, users ID, n *namer, now time.Time) (Record, bool, error) {
	o := &c.Object
	rec := Record{Source: o.ID, Generation: o.Generation, Parent: users, Created: now, Kind: User, Class: "user"}
	if o.Kind == tenant.Group {
		rec.Kind, rec.Class = Group, "group"
	}
	if old != nil {
		rec = *old
	} else {
		if rec.Kind == User && !o.Synced() && (c.Credential == nil || c.Credential.Legacy == "") {
			return Record{}, false, nil
		}
		id, err := tenant.NewID(p.Rand)
		if err != nil {
			return Record{}, false, err
		}
		rec.GUID = id
	}
	rec.Changed = now
	// A name once given stays while it is one of those that the object asks for,
	// though a better one may be free by now: others know the account by it.
	give := func(taken map[string]ID, candidates []string, has string) (string, bool) {
		candidates = append(candidates, spare(rec.GUID))
		if slices.Contains(candidates, has) {
			return has, true
		}
		return take(taken, rec.GUID, candidates)
	}
	sam, ok := give(n.sams, samCandidates(o), rec.SAM)
	if !ok {
		return Record{}, false, ErrConflict
	}
	rdn, ok := give(n.rdns, rdnCandidates(o, sam), rec.RDN)
	if !ok {
		return Record{}, false, ErrConflict
	}
	rec.SAM, rec.RDN = sam, rdn
	rec.Attrs = attributes(o)
	if rec.Kind == Group {
		rec.Members = c.Members
		return rec, true, nil
	}
	rec.UPN = o.UPN
	rec.UAC = UACNormal
	if !o.Enabled {
		rec.UAC |= UACDisabled
	}
	if c.Credential != nil && c.Credential.NeverExpires || strings.Contains(o.Profile.PasswordPolicies, "DisablePasswordExpiration") {
		rec.UAC |= UACDontExpirePassword
	}
	rec.Secrets = p.secrets(c, rec.Secrets, legacy)
	return rec, true, nil
}

// secrets takes in the credential of a change. Without a newer one, what stands
// stays; with a newer one that has no legacy hashes, or none that open, the
// account has no password here any more.
func (p *Provisioner) secrets(c *tenant.Change, was Secrets, legacy *opened) Secrets {
	if c.Credential == nil || c.Credential.Version == was.Version {
		return was
	}
	next := was
	next.Version = c.Credential.Version
	next.Set = c.Credential.Changed()
	if c.Credential.MustChange {
		next.Set = time.Time{}
	}
	// A re-send of the same password makes no new key version: tickets and
	// keytabs that name the old one stay good.
	if !legacy.legacy.SamePassword(was.Current) {
		next.KVNO++
		next.History = was.replaced()
		next.Previous = cred.Legacy{} // a person's old password ends with the change
		next.Current = legacy.legacy.WithKVNO(next.KVNO)
	}
	return next
}

// attributes maps a tenant object's profile to LDAP's names (EDS/synchronization).
func attributes(o *tenant.Object) map[string][][]byte {
	out := map[string][][]byte{}
	put := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				out[name] = append(out[name], []byte(v))
			}
		}
	}
	p := &o.Profile
	put("displayName", p.DisplayName)
	put("description", p.Description)
	put("mail", p.Mail)
	put("proxyAddresses", p.ProxyAddresses...)
	put("msDS-AzureADMailNickname", p.MailNickname)
	if s, err := sid.Parse(p.OnPremisesSecurityIdentifier); err == nil {
		out["sIDHistory"] = [][]byte{[]byte(s)}
	}
	if o.Kind == tenant.Group {
		// Synced groups of an old agent may lack the flag; a group that is not
		// mail-enabled is a security group.
		if p.SecurityEnabled || !p.MailEnabled {
			put("groupType", GroupGlobalSecurity)
		} else {
			put("groupType", GroupGlobalDistribution)
		}
		return out
	}
	put("givenName", p.GivenName)
	put("sn", p.Surname)
	put("title", p.JobTitle)
	put("department", p.Department)
	put("company", p.CompanyName)
	put("employeeID", p.EmployeeID)
	put("telephoneNumber", firstOf(p.BusinessPhones...))
	put("mobile", p.MobilePhone)
	put("facsimileTelephoneNumber", p.FaxNumber)
	put("streetAddress", p.StreetAddress)
	put("l", p.City)
	put("st", p.State)
	put("co", p.Country)
	put("postalCode", p.PostalCode)
	put("physicalDeliveryOfficeName", p.OfficeLocation)
	put("preferredLanguage", p.PreferredLanguage)
	return out
}
