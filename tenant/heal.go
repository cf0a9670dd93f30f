package tenant

import (
	"context"
	"errors"
	"reflect"
	"strings"
)

// Heal gives objects the names and addresses that stand in quarantine, as far
// as they are free by now. The real service does so every hour
// (EHC/how-to-connect-syncservice-duplicate-attribute-resiliency). It returns
// how many objects it changed.
func (s *Service) Heal(ctx context.Context) (int, error) {
	for try := 0; ; try++ {
		n, err := s.heal(ctx)
		if !errors.Is(err, ErrConflict) || try == 2 {
			return n, err
		}
	}
}

func (s *Service) heal(ctx context.Context) (int, error) {
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return 0, err
	}
	waiting, err := s.Store.ObjectsInConflict(ctx, MaxBatchItems)
	if err != nil || len(waiting) == 0 {
		return 0, err
	}
	var upns, addresses []string
	for i := range waiting {
		for _, e := range waiting[i].Profile.Errors {
			switch e.Property {
			case ConflictUPN:
				upns = append(upns, e.Value)
			case ConflictProxy:
				_, a, _ := strings.Cut(e.Value, ":")
				addresses = append(addresses, strings.ToLower(a))
			}
		}
	}
	var h holders
	if err := h.learn(ctx, s.Store, upns, addresses); err != nil {
		return 0, err
	}
	now := s.Now().UTC()
	var writes []ObjectWrite
	for _, before := range waiting {
		o := before
		var taken []ProvisioningError
		for _, e := range o.Profile.Errors {
			switch holder := h.upns[strings.ToLower(e.Value)]; {
			case e.Property != ConflictUPN:
			case holder == nil || holder.ID == o.ID:
				o.UPN = e.Value
			default: // it keeps the name that it was given
				taken = append(taken, e)
			}
		}
		if err := h.settleNames(&settings, &o, now, s.Rand); err != nil {
			return 0, err
		}
		if taken != nil {
			o.Profile.Errors = append(taken, o.Profile.Errors...)
		}
		if reflect.DeepEqual(before, o) {
			continue
		}
		o.Changed = now
		writes = append(writes, ObjectWrite{Object: o})
	}
	_, err = s.Store.PutObjects(ctx, writes, nil)
	return len(writes), err
}
