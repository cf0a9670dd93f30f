package ldapsrv

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// everything is the filter that is always true (RFC 4526).
var everything = dit.And()

// looks is how many objects a search looks at between two looks at the clock.
const looks = 128

// search performs a search (RFC 4511 §4.5) and gathers its entries; it returns
// the result at its end. Any account may read all that is not secret, as in AD.
func (s *session) search(m *ldapmsg.Message, q *ldapmsg.SearchRequest) (ldapmsg.Result, []ldapmsg.Control) {
	s.srv.Counters.Searches.Add(1)

	// 1. May they, and is it for us?
	if q.Base == "" && q.Scope == dit.Base {
		s.rootDSE(m.ID, q)
		return ldapmsg.Result{}, nil
	}
	if s.actor() == nil {
		return needBind, nil
	}
	base, err := s.base(q.Base)
	if err != nil {
		return s.absent(base, err), nil
	}

	// 2. How much of it?
	p, r := s.page(m.Control(ldapmsg.PagedResults), q, base)
	if r.Code != ldapmsg.Success {
		return r, nil
	}
	if p.end {
		return ldapmsg.Result{}, []ldapmsg.Control{ldapmsg.PagedControl(0, nil)}
	}

	// 3. Look.
	f := finder{session: s, id: m.ID, q: q, most: p.most, place: p.after}
	filter := q.Filter
	if !s.srv.Replica.Indexed(filter) {
		// Many to look at: the clock has to be seen between those that do not
		// match as well.
		filter, f.filter = everything, q.Filter
	}
	err = s.srv.Replica.Search(base, q.Scope, filter, p.after, f.found)
	s.srv.Counters.Entries.Add(int64(f.sent))
	switch {
	case err != nil:
		return s.absent(base, err), nil
	case s.gone != nil:
		return ldapmsg.Result{}, nil // for nobody
	case f.err != nil:
		return s.result(f.err), nil
	case f.late:
		return ldapmsg.Result{Code: ldapmsg.TimeLimitExceeded}, nil
	}
	return s.turn(p, &f)
}

// finder gathers what a search finds.
type finder struct {
	*session
	id     int32
	q      *ldapmsg.SearchRequest
	filter *dit.Filter // to match here, or nil
	most   int
	until  time.Time // known from the first look at the clock

	looked int
	sent   int
	place  string // of the last that was sent
	more   bool   // there is more than most
	late   bool
	err    error
}

// time is how long the search may take.
func (f *finder) time() time.Duration {
	if f.q.TimeLimit > 0 {
		return min(f.limits.Query, time.Duration(f.q.TimeLimit)*time.Second)
	}
	return f.limits.Query
}

// found takes the next object; it returns false to end the search.
func (f *finder) found(o *domain.Object) bool {
	if f.looked++; f.looked%looks == 0 {
		if f.err = f.ctx.Err(); f.err != nil {
			return false
		}
		if now := f.srv.Now(); f.until.IsZero() {
			f.until = now.Add(f.time())
		} else if now.After(f.until) {
			f.late = true
			return false
		}
	}
	if f.filter != nil && !f.filter.Match(o.Entry, f.srv.Replica) {
		return true
	}
	if f.sent == f.most {
		f.more = true
		return false
	}
	f.sent++
	f.place = o.Place()
	f.out = ldapmsg.AppendEntry(f.out, f.id, o.Entry, &f.q.Attrs, f.q.TypesOnly, f.srv.Replica)
	if len(f.out) >= flushAt {
		// Nothing piles up for a client that does not read.
		f.err = f.flush()
	}
	return f.err == nil
}

// base finds the name of the object that a request means by any form of
// reference ([MS-ADTS] §3.1.1.3.1.2.4). The error is dit.ErrDNSyntax or a
// domain.NoSuchObjectError.
func (s *session) base(text string) (dit.DN, error) {
	if text == s.lastBase {
		return s.lastDN, nil
	}
	ref, err := dit.ParseReference(text)
	if err != nil {
		return dit.DN{}, err
	}
	if ref.GUID == nil && ref.SID == "" && ref.WellKnown == nil {
		s.lastBase, s.lastDN = text, ref.DN
		return ref.DN, nil
	}
	o := s.srv.Replica.ByReference(ref)
	if o == nil {
		return ref.DN, &domain.NoSuchObjectError{}
	}
	return o.Entry.DN, nil
}

// absent is the result for a base that the domain does not hold: a referral
// where another domain may, as AD gives (RFC 4511 §4.1.10). The server itself
// never follows one (CVE-2025-26673).
func (s *session) absent(base dit.DN, err error) ldapmsg.Result {
	var no *domain.NoSuchObjectError
	if errors.As(err, &no) && no.Matched.IsRoot() && !base.IsDescendantOf(s.srv.Replica.Info.BaseDN()) {
		if host := dnsName(base); host != "" {
			u := url.URL{Scheme: "ldap", Host: host, Path: "/" + base.String()}
			return ldapmsg.Result{Code: ldapmsg.Referral, Message: fmt.Sprintf(textReferral, host), Referrals: []string{u.String()}}
		}
	}
	return s.result(err)
}

// dnsName makes the DNS name of the domain that a DN's last parts tell, or "".
func dnsName(dn dit.DN) string {
	var labels []string
	for ; !dn.IsRoot(); dn = dn.Parent() {
		attr, value := dn.RDN()
		switch {
		case !strings.EqualFold(attr, "dc"):
			labels = labels[:0]
		case strings.IndexFunc(value, notInHost) >= 0:
			return ""
		default:
			labels = append(labels, value)
		}
	}
	return strings.Join(labels, ".")
}

func notInHost(c rune) bool {
	return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
}

// unlimited is the number of entries that a search without a limit may have.
const unlimited = math.MaxInt32
