package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"skyrealm/api/managed"
	"skyrealm/api/problem"
	"skyrealm/domain"
)

// managed is the managed domain as its administrators reach it over HTTP.
func (s *service) managed() *managed.Handler {
	dir := &domain.Directory{Replica: s.rep, Store: s.domain, Now: time.Now, Rand: rand.Reader}
	return &managed.Handler{
		Policy: func() managed.Policy { return policyOut(s.rep.Policy()) },
		SetPolicy: func(ctx context.Context, change managed.Policy) (managed.Policy, error) {
			p, err := dir.SetPolicy(ctx, func(p *domain.Policy) { policyIn(&change, p) })
			var no *domain.ConstraintError
			if errors.As(err, &no) {
				err = &problem.Error{Status: http.StatusBadRequest, Code: "Request_BadRequest", Message: "The policy can't be set.",
					Target: no.Attr, Detail: "InvalidValue", DetailMessage: no.Why}
			}
			return policyOut(&p), err
		},
		RollKrbtgt: func(ctx context.Context) (uint32, time.Time, error) {
			return domain.RollKrbtgt(ctx, s.domain, &s.info, time.Now(), rand.Reader)
		},
		Events: s.events,
	}
}

func policyOut(p *domain.Policy) managed.Policy {
	seconds := func(d time.Duration) *int64 { n := int64(d / time.Second); return &n }
	n := p.Threshold
	return managed.Policy{Threshold: &n, Window: seconds(p.Window), Duration: seconds(p.Duration), MaxPasswordAge: seconds(p.MaxAge)}
}

// policyIn takes in what a change names. What does not fit in a time.Duration is
// out of bounds in any case.
func policyIn(change *managed.Policy, p *domain.Policy) {
	seconds := func(from *int64, to *time.Duration) {
		switch {
		case from == nil:
		case *from < 0 || *from > 1<<33:
			*to = -1
		default:
			*to = time.Duration(*from) * time.Second
		}
	}
	if change.Threshold != nil {
		p.Threshold = *change.Threshold
	}
	seconds(change.Window, &p.Window)
	seconds(change.Duration, &p.Duration)
	seconds(change.MaxPasswordAge, &p.MaxAge)
}

func (s *service) events(ctx context.Context, account string, id uint16, before int64, limit int) ([]managed.Event, error) {
	found, err := s.domain.Events(ctx, domain.EventQuery{Account: account, ID: id, Before: before, Limit: limit})
	if err != nil {
		return nil, err
	}
	sid := func(rid uint32) string {
		if rid == 0 {
			return ""
		}
		return s.info.SID.Append(rid).String()
	}
	out := make([]managed.Event, len(found))
	for i, f := range found {
		e := managed.Event{Number: f.Number, ID: f.ID, At: f.At, Account: f.Account, SID: sid(f.RID), Service: f.Service,
			ServiceSID: sid(f.ServiceRID), Status: fmt.Sprintf("0x%x", f.Status), PreAuth: f.PreAuth}
		if f.ID != domain.EventValidation && f.ID != domain.EventLockedOut {
			e.Options, e.EType = fmt.Sprintf("0x%08x", f.Options), fmt.Sprintf("0x%x", uint32(f.EType))
		}
		if f.From.IsValid() {
			e.Address, e.Port = f.From.Addr().String(), f.From.Port()
		}
		out[i] = e
	}
	return out, nil
}
