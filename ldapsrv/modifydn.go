package ldapsrv

import "skyrealm/ldapsrv/ldapmsg"

// modifyDN would rename or move an entry (RFC 4511 §4.9). The names of synced
// objects follow the tenant, and the domain moves none of its own.
func (s *session) modifyDN(q *ldapmsg.ModifyDNRequest) ldapmsg.Result {
	who := s.actor()
	if who == nil {
		return needBind
	}
	s.log.Info("LDAP rename refused", "account", who.SAM, "dn", clip(q.DN))
	return ldapmsg.Result{Code: ldapmsg.UnwillingToPerform, Message: textWillNot}
}
