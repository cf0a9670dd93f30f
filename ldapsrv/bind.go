package ldapsrv

import (
	"errors"
	"net"
	"time"
	"unicode/utf8"

	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

// bind signs in (RFC 4511 §4.2, [MS-ADTS] §5.1.1.1).
func (s *session) bind(b *ldapmsg.BindRequest) ldapmsg.Result {
	// Whatever comes of it, who was bound before is so no more: a refused bind
	// leaves an anonymous connection (RFC 4511 §4.2.1; CVE-2019-13565).
	s.who = nil
	s.pages.clear()
	if b.Version != 3 {
		return ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textMethod}
	}
	if b.Auth != ldapmsg.AuthSimple {
		return ldapmsg.Result{Code: ldapmsg.AuthMethodNotSupported, Message: textMethod}
	}
	return s.simpleBind(b)
}

// simpleBind takes a DN, a UPN or DOMAIN\name with its password.
//
// As in AD's default the password may come in the clear: old appliances know
// nothing else, and the real managed domain lets them on 389.
func (s *session) simpleBind(b *ldapmsg.BindRequest) ldapmsg.Result {
	password := b.Credentials.Expose()
	switch {
	case b.Name == "" && len(password) == 0: // anonymous (RFC 4513 §5.1.1)
		return ldapmsg.Result{}
	case len(password) == 0:
		// DIVERGES: AD takes this as anonymous and says success, from which
		// applications conclude that the password was right (RFC 4513 §5.1.2).
		s.refused(b.Name, "empty password")
		return ldapmsg.Result{Code: ldapmsg.UnwillingToPerform, Message: textEmptyPW}
	}
	now := s.srv.Now()
	o, err := s.srv.Replica.Authenticate(s.ctx, now, b.Name, string(password))
	if err == nil {
		// The client of a simple bind names no workstation, so who is bound to some
		// can't bind from any, as in AD.
		if why := o.Settings.Refuses(now, ""); why != 0 {
			err = why
		}
	}
	s.audit(now, b.Name, o, err)
	if err != nil {
		s.refused(b.Name, err.Error())
		return s.result(err)
	}
	s.who = o
	s.srv.Counters.Binds.Add(1)
	return ldapmsg.Result{}
}

// refused notes a failed sign-in.
func (s *session) refused(name, why string) {
	s.srv.Counters.BindsRefused.Add(1)
	s.log.Info("LDAP bind refused", "name", clip(name), "reason", why)
}

// clip shortens what a stranger has us log.
func clip(text string) string {
	const most = 128
	if len(text) <= most {
		return text
	}
	end := most
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// audit writes down a sign-in and what became of it, as Windows does of simple
// binds (event 4776).
func (s *session) audit(now time.Time, name string, o *domain.Object, err error) {
	e := domain.Event{ID: domain.EventValidation, At: now, EType: -1, Status: ntStatus(o, err)}
	if o != nil {
		e.Account, e.RID = o.SAM, o.RID
	} else {
		e.Account = clip(name)
	}
	if a, ok := s.raw.RemoteAddr().(*net.TCPAddr); ok {
		e.From = a.AddrPort()
	}
	s.srv.Replica.Audit.Put(&e)
}

// ntStatus is the truth about a sign-in ([MS-ERREF] §2.3.1), which the client is
// not always told.
func ntStatus(o *domain.Object, err error) uint32 {
	var r domain.Refusal
	errors.As(err, &r)
	switch {
	case err == nil:
		return 0
	case o == nil:
		return 0xc0000064 // STATUS_NO_SUCH_USER
	case r == domain.AccountLocked:
		return 0xc0000234 // STATUS_ACCOUNT_LOCKED_OUT
	case r == domain.AccountOff:
		return 0xc0000072 // STATUS_ACCOUNT_DISABLED
	case r == domain.OutOfHours:
		return 0xc000006f // STATUS_INVALID_LOGON_HOURS
	case r == domain.NotFromThere:
		return 0xc0000070 // STATUS_INVALID_WORKSTATION
	case r == domain.AccountExpired:
		return 0xc0000193 // STATUS_ACCOUNT_EXPIRED
	case r == domain.MustChangePW:
		return 0xc0000224 // STATUS_PASSWORD_MUST_CHANGE
	case r == domain.PasswordOld:
		return 0xc0000071 // STATUS_PASSWORD_EXPIRED
	}
	return 0xc000006a // STATUS_WRONG_PASSWORD
}
