package ldapsrv

import (
	"context"

	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

// change performs a write: the steps that no operation may leave out, then what
// it does. Who may do what is the domain's to say.
func (s *session) change(what, dn string, attrs []ldapmsg.Attribute, do func(context.Context, *domain.Object) error) ldapmsg.Result {
	// 1. As AD, anonymous writes get the answer of anonymous searches.
	who := s.actor()
	if who == nil {
		return needBind
	}
	// 2. Does the schema have all of it, and may it come in the clear?
	for i := range attrs {
		switch t := attrs[i].Type; {
		case t == nil:
			return ldapmsg.Result{Code: ldapmsg.NoSuchAttribute, Message: textNoAttr}
		case t.Secret && !s.secure:
			// DIVERGES: AD says unwillingToPerform, with the same text
			// (CVE-2023-0922).
			return ldapmsg.Result{Code: ldapmsg.ConfidentialityRequired, Message: textConfident}
		}
	}
	if s.srv.Directory == nil {
		return ldapmsg.Result{Code: ldapmsg.UnwillingToPerform, Message: textWillNot}
	}
	// 3. Do it.
	ctx, cancel := context.WithTimeout(s.ctx, s.limits.Change)
	defer cancel()
	err := do(ctx, who)
	r := s.result(err)
	s.log.Info("LDAP "+what, "account", who.SAM, "dn", clip(dn), "result", int(r.Code))
	if err == nil {
		s.srv.Counters.Writes.Add(1)
	}
	return r
}
