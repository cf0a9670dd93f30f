package ldapsrv

import (
	"context"
	"errors"
	"fmt"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// Diagnostic messages in AD's form: a Win32 or directory error in hexadecimal,
// which tools and scripts look for, then the kind of error and its parts
// ([MS-ADTS] §3.1.1.3.1.9). The DSIDs are places in Microsoft's source; these are
// ones that servers in the field report.
const (
	textNeedBind  = "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563"
	textAuth      = "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data %x, v4563"
	textMethod    = "00002027: LdapErr: DSID-0C090593, comment: Invalid Authentication method, data 0, v4563"
	textEmptyPW   = "0000052E: LdapErr: DSID-0C0904DC, comment: A name needs a password: unauthenticated binds are refused, data 0, v4563"
	textProtocol  = "00000057: LdapErr: DSID-0C0C0095, comment: Error decoding ldap message, data 0, v4563"
	textControl   = "00002040: SvcErr: DSID-031401B5, problem 5010 (UNAVAIL_EXTENSION), data 0"
	textWillNot   = "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
	textTooLarge  = "00002024: SvcErr: DSID-03140000, problem 5008 (ADMIN_LIMIT_EXCEEDED), data 0"
	textBusy      = "000020D8: SvcErr: DSID-031A1236, problem 5001 (BUSY), data 0"
	textAway      = "0000200F: SvcErr: DSID-03150000, problem 5002 (UNAVAILABLE), data 0"
	textConfident = "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0: passwords need TLS"
	textAccess    = "00000005: SecErr: DSID-031A1190, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0"
	textExists    = "00000524: UpdErr: DSID-031A11E2, problem 6005 (ENTRY_EXISTS), data 0"
	textNotLeaf   = "00002015: UpdErr: DSID-031A124C, problem 6003 (CANT_ON_NON_LEAF), data 0"
	textHasValue  = "00002083: AtrErr: DSID-03151785, problem 1006 (ATT_OR_VALUE_EXISTS), data 0"
	textNoValue   = "00002085: AtrErr: DSID-03152A6E, problem 1001 (NO_ATTRIBUTE_OR_VAL), data 0"
	textNoAttr    = "00000057: LdapErr: DSID-0C090D8B, comment: Error in attribute conversion operation, data 0, v4563"
	textExtended  = "0000203D: LdapErr: DSID-0C09115F, comment: Unknown extended request OID, data 0, v4563"
	textPassword  = "0000052D: AtrErr: DSID-03191083, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)"
	textValue     = "00002081: AtrErr: DSID-03152B2D, problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att (%s): %s"
	textClass     = "0000207D: UpdErr: DSID-03151D14, problem 6002 (OBJ_CLASS_VIOLATION), data 0: %s: %s"
	textNoObject  = "0000208D: NameErr: DSID-0310028F, problem 2001 (NO_OBJECT), data 0, best match of:\n\t'%s'\n"
	textBadName   = "0000208F: NameErr: DSID-03100225, problem 2006 (BAD_NAME), data 8350"
	textReferral  = "0000202B: RefErr: DSID-0310084A, data 0, 1 access points\n\tref 1: '%s'\n"
)

// needBind is AD's answer to who has not signed in.
var needBind = ldapmsg.Result{Code: ldapmsg.OperationsError, Message: textNeedBind}

// result is the one map from errors to LDAP's results. What it does not know is
// logged and becomes "other", which tells the client nothing.
func (s *session) result(err error) ldapmsg.Result {
	var (
		refusal    domain.Refusal
		noObject   *domain.NoSuchObjectError
		constraint *domain.ConstraintError
	)
	give := func(code ldapmsg.ResultCode, format string, args ...any) ldapmsg.Result {
		if len(args) > 0 {
			format = fmt.Sprintf(format, args...)
		}
		return ldapmsg.Result{Code: code, Message: format}
	}
	switch {
	case err == nil:
		return ldapmsg.Result{}
	case errors.As(err, &refusal):
		return give(ldapmsg.InvalidCredentials, textAuth, uint32(refusal))
	case errors.As(err, &noObject):
		r := give(ldapmsg.NoSuchObject, textNoObject, noObject.Matched)
		r.MatchedDN = noObject.Matched.String()
		return r
	case errors.Is(err, domain.ErrNotFound): // gone since it was looked up
		return give(ldapmsg.NoSuchObject, textNoObject, "")
	case errors.Is(err, dit.ErrDNSyntax):
		return give(ldapmsg.InvalidDNSyntax, textBadName)
	case errors.Is(err, domain.ErrAccessDenied):
		return give(ldapmsg.InsufficientAccessRights, textAccess)
	case errors.Is(err, domain.ErrExists):
		return give(ldapmsg.EntryAlreadyExists, textExists)
	case errors.Is(err, domain.ErrNotLeaf):
		return give(ldapmsg.NotAllowedOnNonLeaf, textNotLeaf)
	case errors.Is(err, domain.ErrNoSuchAttribute):
		return give(ldapmsg.NoSuchAttribute, textNoValue)
	case errors.As(err, &constraint):
		switch constraint.Attr {
		case "unicodePwd":
			return give(ldapmsg.ConstraintViolation, textPassword)
		case "objectClass":
			return give(ldapmsg.ObjectClassViolation, textClass, constraint.Attr, constraint.Why)
		}
		return give(ldapmsg.ConstraintViolation, textValue, constraint.Attr, constraint.Why)
	case errors.Is(err, domain.ErrConflict):
		return give(ldapmsg.Busy, textBusy)
	case errors.Is(err, domain.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		s.log.Warn("LDAP request not performed", "error", err)
		return give(ldapmsg.Unavailable, textAway)
	}
	s.srv.Counters.Internal.Add(1)
	s.log.Error("LDAP request failed", "error", err)
	return give(ldapmsg.Other, "internal")
}
