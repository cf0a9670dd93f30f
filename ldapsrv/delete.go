package ldapsrv

import (
	"context"

	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

// delete removes an entry (RFC 4511 §4.8).
func (s *session) delete(q *ldapmsg.DeleteRequest) ldapmsg.Result {
	return s.change("delete", q.DN, nil, func(ctx context.Context, who *domain.Object) error {
		dn, err := s.base(q.DN)
		if err != nil {
			return err
		}
		return s.srv.Directory.Delete(ctx, who, dn)
	})
}
