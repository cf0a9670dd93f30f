package ldapsrv

import (
	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// compare asks whether an entry has a value (RFC 4511 §4.10). A secret attribute
// answers like one that the entry lacks (CVE-2026-58222).
func (s *session) compare(q *ldapmsg.CompareRequest) ldapmsg.Result {
	if s.actor() == nil {
		return needBind
	}
	dn, err := s.base(q.DN)
	if err != nil {
		return s.absent(dn, err)
	}
	var o *domain.Object
	err = s.srv.Replica.Search(dn, dit.Base, everything, "", func(found *domain.Object) bool { o = found; return false })
	if err != nil {
		return s.absent(dn, err)
	}
	if q.Type == nil {
		return ldapmsg.Result{Code: ldapmsg.NoSuchAttribute, Message: textNoAttr}
	}
	return ldapmsg.Result{Code: s.holds(o, q.Type, q.Value.Expose())}
}

func (s *session) holds(o *domain.Object, t *dit.AttrType, value []byte) ldapmsg.ResultCode {
	values := dit.AppendValues(nil, o.Entry, t, s.srv.Replica)
	if len(values) == 0 {
		return ldapmsg.NoSuchAttribute
	}
	want := dit.Normalise(t, value)
	for _, v := range values {
		if dit.Normalise(t, v) == want {
			return ldapmsg.CompareTrue
		}
	}
	return ldapmsg.CompareFalse
}
