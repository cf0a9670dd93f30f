package ldapsrv

import (
	"context"
	"errors"

	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

// modify changes an entry (RFC 4511 §4.6).
func (s *session) modify(q *ldapmsg.ModifyRequest) ldapmsg.Result {
	attrs := make([]ldapmsg.Attribute, len(q.Changes))
	mods := make([]domain.Mod, len(q.Changes))
	for i, c := range q.Changes {
		attrs[i] = c.Attribute
		switch c.Op {
		case ldapmsg.ChangeAdd:
			mods[i].Op = domain.ModAdd
		case ldapmsg.ChangeDelete:
			mods[i].Op = domain.ModDelete
		case ldapmsg.ChangeReplace:
			mods[i].Op = domain.ModReplace
		default: // increment (RFC 4525), which AD does not have either
			return ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textProtocol}
		}
		mods[i].Values = c.Values
		if c.Type != nil {
			mods[i].Attr = c.Type.Name
		}
	}
	var held bool
	r := s.change("modify", q.DN, attrs, func(ctx context.Context, who *domain.Object) error {
		dn, err := s.base(q.DN)
		if err != nil {
			return err
		}
		err = s.srv.Directory.Modify(ctx, who, dn, mods)
		held = errors.Is(err, domain.ErrExists)
		return err
	})
	if held { // here it is a value that was there before, not an entry
		return ldapmsg.Result{Code: ldapmsg.AttributeOrValueExists, Message: textHasValue}
	}
	return r
}
