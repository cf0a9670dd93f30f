package ldapsrv

import "skyrealm/ldapsrv/ldapmsg"

// extended performs the operations that have a name (RFC 4511 §4.12); it returns
// false at the session's end.
func (s *session) extended(m *ldapmsg.Message, q *ldapmsg.ExtendedRequest) bool {
	switch q.Name {
	case ldapmsg.StartTLS:
		return s.startTLS(m)
	case ldapmsg.WhoAmI:
		s.out = ldapmsg.AppendExtended(s.out, m.ID, ldapmsg.Result{}, "", []byte(s.whoAmI()))
		return true
	}
	clear(q.Value.Expose()) // of some it is a password
	s.answer(m, ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textExtended})
	return true
}

// whoAmI is the authorization identity in AD's form, "" for anonymous (RFC 4532
// §2.2, [MS-ADTS] §3.1.1.3.4.2.4).
func (s *session) whoAmI() string {
	who := s.actor()
	if who == nil {
		return ""
	}
	return "u:" + s.srv.Replica.Info.NetBIOS + `\` + who.SAM
}

// startTLS puts TLS between two messages (RFC 4511 §4.14).
func (s *session) startTLS(m *ldapmsg.Message) bool {
	give := func(code ldapmsg.ResultCode, text string) {
		s.out = ldapmsg.AppendExtended(s.out, m.ID, ldapmsg.Result{Code: code, Message: text}, ldapmsg.StartTLS, nil)
	}
	switch {
	case s.secure: // §4.14.2
		give(ldapmsg.OperationsError, "TLS is on already")
		return true
	case s.srv.TLS == nil:
		give(ldapmsg.Unavailable, textAway)
		return true
	case s.in.Buffered() > 0:
		// A client sends nothing before the answer (RFC 4511 §4.14.1). What came
		// all the same may be another's, who hopes to have it performed under the
		// identity of the bind that follows inside TLS. Where it ends nobody
		// knows, so the connection does.
		give(ldapmsg.OperationsError, "requests are outstanding")
		s.srv.Counters.Disconnected.Add(1)
		s.farewell()
		return false
	}
	give(ldapmsg.Success, "")
	if s.flush() != nil {
		return false
	}
	// A client gets as long for the handshake as for a request.
	s.restart()
	return s.handshake() == nil
}
