package ldapsrv

import (
	"context"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// add makes an entry (RFC 4511 §4.7).
func (s *session) add(q *ldapmsg.AddRequest) ldapmsg.Result {
	return s.change("add", q.DN, q.Attrs, func(ctx context.Context, who *domain.Object) error {
		dn, err := dit.ParseDN(q.DN)
		if err != nil {
			return err
		}
		mods := make([]domain.Mod, len(q.Attrs))
		for i, a := range q.Attrs {
			mods[i] = domain.Mod{Op: domain.ModAdd, Attr: a.Type.Name, Values: a.Values}
		}
		return s.srv.Directory.Add(ctx, who, dn, mods)
	})
}
