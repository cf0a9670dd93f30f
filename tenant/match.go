package tenant

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// holders are whose names and addresses a batch meets: what the store says, and
// then what the batch itself gives away.
type holders struct {
	upns      map[string]*Object // by lower-case sign-in name
	addresses map[string]*Object // by lower-case mail address
}

func (h *holders) learn(ctx context.Context, store Store, upns, addresses []string) error {
	named, err := store.ObjectsByUPN(ctx, upns)
	if err != nil {
		return err
	}
	mailed, err := store.ObjectsByAddress(ctx, addresses)
	if err != nil {
		return err
	}
	h.upns, h.addresses = make(map[string]*Object, len(named)), make(map[string]*Object, len(mailed))
	for i := range named {
		h.upns[strings.ToLower(named[i].UPN)] = &named[i]
	}
	for i := range mailed {
		for _, a := range mailed[i].Addresses() {
			if h.addresses[a] == nil {
				h.addresses[a] = &mailed[i]
			}
		}
	}
	return nil
}

// take notes that the object has its names now.
func (h *holders) take(o *Object) {
	if o.Kind.Person() {
		h.upns[strings.ToLower(o.UPN)] = o
	}
	for _, a := range o.Addresses() {
		h.addresses[a] = o
	}
}

// release notes that the object has given its names up.
func (h *holders) release(o *Object) {
	if holder := h.upns[strings.ToLower(o.UPN)]; holder != nil && holder.ID == o.ID {
		delete(h.upns, strings.ToLower(o.UPN))
	}
	for _, a := range o.Addresses() {
		if holder := h.addresses[a]; holder != nil && holder.ID == o.ID {
			delete(h.addresses, a)
		}
	}
}

// hardMatch decides whether an agent may take over the object that has its
// anchor (EHC/how-to-connect-install-existing-tenant).
func hardMatch(s *Settings, o *Object) error {
	if o.Synced() {
		return nil
	}
	// An administrator's account must not fall to whoever can name its anchor
	// (EHC, "disable hard match takeover"; A07).
	if len(o.Roles) > 0 {
		return &attributeError{ReasonAdminRoleConflict, "the object with this sourceAnchor holds an administrator role"}
	}
	if s.Features.Has(BlockCloudObjectTakeoverHMF) {
		return &attributeError{ReasonHardMatchBlocked, "taking over the object with this sourceAnchor is blocked in the tenant"}
	}
	return nil
}

// softMatch finds the cloud object that a new object of an agent means: the one
// with its sign-in name or its primary address. nil is none.
func (h *holders) softMatch(s *Settings, kind Kind, upn, primary string) (*Object, error) {
	if s.Features.Has(BlockSoftMatch) {
		return nil, nil
	}
	var found *Object
	if primary != "" {
		found = h.addresses[primary]
	}
	if found == nil && kind.Person() && s.Features.Has(SoftMatchOnUPN) {
		found = h.upns[strings.ToLower(upn)]
	}
	switch {
	case found == nil, found.Anchor != "", found.Profile.SyncEnabled != nil:
		return nil, nil // an agent's own, of this time or an earlier one: a conflict, not a match
	case found.Kind != kind:
		return nil, &attributeError{ReasonTypeMismatch, fmt.Sprintf("the object with this name or address is a %s", found.Kind)}
	case len(found.Roles) > 0:
		return nil, &attributeError{ReasonAdminRoleConflict, "the object with this name or address holds an administrator role"}
	}
	return found, nil
}

// settleNames gives the object the names that it asks for as far as they are
// free. With the resiliency features on, one that is taken is left out and put
// on record; otherwise the object is refused
// (EHC/how-to-connect-syncservice-duplicate-attribute-resiliency).
func (h *holders) settleNames(s *Settings, o *Object, now time.Time, rand io.Reader) error {
	was := o.Profile.Errors
	o.Profile.Errors = nil
	quarantine := func(property, value string) {
		e := ProvisioningError{Category: PropertyConflict, Occurred: now, Property: property, Value: value}
		for _, old := range was {
			if old.Property == property && old.Value == value {
				e.Occurred = old.Occurred // one conflict, since then
			}
		}
		o.Profile.Errors = append(o.Profile.Errors, e)
	}
	if holder := h.upns[strings.ToLower(o.UPN)]; o.Kind.Person() && holder != nil && holder.ID != o.ID {
		if !s.Features.Has(DuplicateUPNResiliency) {
			return &attributeError{ReasonUPNTaken, "another user of the tenant has this userPrincipalName"}
		}
		quarantine(ConflictUPN, o.UPN)
		free, err := h.freeUPN(s, o.UPN, rand)
		if err != nil {
			return err
		}
		o.UPN = free
	}
	// What stands in quarantine is asked for again each time.
	wanted := o.Profile.ProxyAddresses
	for _, e := range was {
		if e.Property == ConflictProxy && !slices.Contains(wanted, e.Value) {
			wanted = append(slices.Clip(wanted), e.Value)
		}
	}
	var free []string
	for _, p := range wanted {
		kind, a, _ := strings.Cut(p, ":")
		holder := h.addresses[strings.ToLower(a)]
		if holder == nil || holder.ID == o.ID || !strings.EqualFold(kind, "smtp") {
			free = append(free, p)
			continue
		}
		if !s.Features.Has(DuplicateProxyResiliency) {
			return &attributeError{ReasonProxyTaken, "another object of the tenant has one of the proxyAddresses"}
		}
		quarantine(ConflictProxy, p)
	}
	o.Profile.ProxyAddresses = free
	h.take(o)
	return nil
}

// freeUPN makes the sign-in name of one that is taken: four digits behind its
// prefix, in the initial domain.
func (h *holders) freeUPN(s *Settings, taken string, rand io.Reader) (string, error) {
	prefix, _, _ := strings.Cut(taken, "@")
	for {
		var digits [4]byte
		for i := range digits {
			n, err := randomInt(rand, 10)
			if err != nil {
				return "", err
			}
			digits[i] = '0' + byte(n)
		}
		upn := fmt.Sprintf("%s+%s@%s", prefix[:min(len(prefix), maxUPNPrefix-5)], digits, s.InitialDomain)
		if h.upns[strings.ToLower(upn)] == nil {
			return upn, nil
		}
	}
}
