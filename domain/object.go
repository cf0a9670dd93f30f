package domain

import (
	"strings"
	"sync/atomic"
	"time"

	"skyrealm/cred"
	"skyrealm/domain/dit"
	"skyrealm/secdesc"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// userAccountControl bits ([MS-ADTS] §2.2.16).
const (
	UACDisabled           = 0x2
	UACNormal             = 0x200
	UACWorkstation        = 0x1000
	UACServer             = 0x2000 // a domain controller
	UACDontExpirePassword = 0x10000
	UACTrustedForDeleg    = 0x80000 // for any service: a TGT of the person's goes along
	UACNotDelegated       = 0x100000
	UACTrustedToAuth      = 0x1000000 // see [Object.TrustedToAuth]
)

// RIDs of the accounts and groups that every domain has ([MS-ADTS] §3.1.1.6 and
// the well-known SIDs of [MS-DTYP] §2.4.2.4).
const (
	RIDKrbtgt            = 502
	RIDDomainAdmins      = 512
	RIDDomainUsers       = 513
	RIDDomainComputers   = 515
	RIDDomainControllers = 516
	RIDProtectedUsers    = 525
	RIDFirstDC           = 1000
)

// Object is one object of the domain in memory: its entry in the directory and,
// for users, groups and computers, what signs in. It never changes; a change of
// the record is a new Object.
type Object struct {
	GUID         ID
	Key          ID // what memberships name it by: the tenant's object id, or GUID
	RID          uint32
	PrimaryGroup uint32 // RID; 0 for groups and containers
	UAC          uint32
	Kind         Kind
	Security     bool  // groups: grants access, and so stands in a PAC
	Scope        Scope // groups
	SAM          string
	UPN          string
	Secrets      AccountSecrets
	Entry        *dit.Entry
	*Particulars

	closure atomic.Pointer[Membership]
}

// Particulars are what few objects have. All others share one that is empty: there
// may be a million.
type Particulars struct {
	SPNs     []string
	EncTypes EncTypes
	Members  []ID      // groups: by Key
	Settings *Settings // nil for most
	History  []sid.SID // of other domains, by which resources there know the account or group

	delegateTo []string // as [Fold] gives them; see delegation.go
	actFor     secdesc.Rules
}

var noParticulars = new(Particulars)

func (p *Particulars) empty() bool {
	return len(p.SPNs) == 0 && p.EncTypes == 0 && len(p.Members) == 0 && p.Settings == nil && len(p.History) == 0 && len(p.delegateTo) == 0 && p.actFor == nil
}

// AccountSecrets are a record's [Secrets] in memory.
type AccountSecrets struct {
	Current cred.Legacy
	KVNO    uint32
	Version int64
	Set     time.Time
	*Earlier
}

// Earlier are the passwords that were. Most have none and share an empty one.
type Earlier struct {
	Previous cred.Legacy
	History  []cred.Legacy
}

var nothingEarlier = new(Earlier)

func (s *Secrets) inMemory() AccountSecrets {
	a := AccountSecrets{s.Current, s.KVNO, s.Version, s.Set, nothingEarlier}
	if !s.Previous.IsZero() || len(s.History) > 0 {
		a.Earlier = &Earlier{s.Previous, s.History}
	}
	return a
}

// Record returns the secrets as a record has them.
func (a *AccountSecrets) Record() Secrets {
	return Secrets{Current: a.Current, Previous: a.Previous, History: a.History, KVNO: a.KVNO, Version: a.Version, Set: a.Set}
}

// SID is "" for containers.
func (o *Object) SID() sid.SID { return sid.SID(o.Entry.First(aSID)) }

// DisplayName is what people call it; "" where it has none.
func (o *Object) DisplayName() string { return o.Entry.First(aDisplayName) }

// Created is when it was made, to the second.
func (o *Object) Created() time.Time {
	t, _ := time.Parse(generalizedTime, o.Entry.First(aWhenCreated)) // as newObject wrote it
	return t
}

// Disabled reports whether the account may not sign in.
func (o *Object) Disabled() bool { return o.UAC&UACDisabled != 0 }

// SignsIn reports whether the object is an account.
func (o *Object) SignsIn() bool { return o.Kind == User || o.Kind == Computer }

// HasKeys reports whether there is any form of the account's password.
func (o *Object) HasKeys() bool { return !o.Secrets.Current.IsZero() }

// MustChange reports whether the password has to be changed before it is used.
func (o *Object) MustChange() bool { return o.Secrets.KVNO > 0 && o.Secrets.Set.IsZero() }

// Forms tells which forms of the password of the account that follows a tenant's
// user are here, without their values.
func (r *Replica) Forms(user tenant.ID) []tenant.Form {
	o := r.byKey.get(user)
	if o == nil {
		return nil
	}
	s := &o.Secrets
	var forms []tenant.Form
	if !s.Current.NT.IsZero() {
		forms = append(forms, tenant.Form{Name: "nt", Since: s.Set, KVNO: s.KVNO})
	}
	for _, k := range s.Current.Keys {
		forms = append(forms, tenant.Form{Name: k.Key.ID().String(), Since: s.Set, KVNO: k.KVNO})
	}
	return forms
}

// Scope is where a group counts ([MS-ADTS] §2.2.12): a domain-local one grants
// access to services of this domain, and so stands in tickets for those alone.
type Scope uint8

// The scopes.
const (
	ScopeGlobal Scope = iota
	ScopeUniversal
	ScopeLocal
)

// synced reports whether the object follows one of the tenant's.
func (o *Object) synced() bool { return o.Key != o.GUID }

// critical reports whether the object came with the domain, which nobody may
// change or delete.
func (o *Object) critical() bool { return o.Entry.First(aCritical) == "TRUE" }

// Fold is the form in which names compare, in the Replica and in a [Store] alike:
// without regard to case. It allocates nothing for a name in lower-case ASCII,
// which most requests carry.
func Fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return dit.Normalise(aSAM, []byte(s))
		}
	}
	return strings.ToLower(s)
}
