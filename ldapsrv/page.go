package ldapsrv

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// page is the part of a search that one request asks for.
type page struct {
	paged bool
	end   bool   // the client wants no more
	after string // place of the last object of the page before, or ""
	most  int    // entries that it can have
	left  int    // entries that the whole search may still have, this page included
	mark  mark
}

// mark tells one search from others: pages of a search can't be asked for under
// another filter or from another base. (A bind drops all pages.)
type mark [sha256.Size]byte

func markOf(q *ldapmsg.SearchRequest, base dit.DN) mark {
	h := sha256.New()
	h.Write([]byte{byte(q.Scope)})
	h.Write([]byte(base.Key()))
	h.Write([]byte{0}) // ends the name, in which it can't be
	h.Write([]byte(q.Filter.String()))
	return mark(h.Sum(nil))
}

// page works out what a request asks for. Without the control a search has one
// page, at most as long as the server's limit.
func (s *session) page(c *ldapmsg.Control, q *ldapmsg.SearchRequest, base dit.DN) (page, ldapmsg.Result) {
	p := page{left: unlimited}
	if q.SizeLimit > 0 {
		p.left = int(q.SizeLimit)
	}
	p.most = min(p.left, s.limits.PageSize)
	if c == nil {
		return p, ldapmsg.Result{}
	}
	size, cookie, ok := c.Paged()
	if !ok {
		return p, ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textProtocol}
	}
	if len(cookie) == 0 && size == 0 {
		return p, ldapmsg.Result{} // a page of nothing is no page (CVE-2017-9287)
	}
	p.paged, p.mark = true, markOf(q, base)
	if len(cookie) > 0 {
		was, ok := s.pages.take(cookie)
		if !ok || was.mark != p.mark {
			return p, ldapmsg.Result{Code: ldapmsg.UnwillingToPerform, Message: textWillNot}
		}
		p.after, p.left = was.after, was.left
		p.end = size == 0 // the client gives the search up
	}
	p.most = min(int(size), p.left, s.limits.PageSize)
	return p, ldapmsg.Result{}
}

// turn ends a page: the result, and the cookie for the next.
func (s *session) turn(p page, f *finder) (r ldapmsg.Result, controls []ldapmsg.Control) {
	if f.more && (!p.paged || f.sent == p.left) {
		r.Code = ldapmsg.SizeLimitExceeded
	}
	if !p.paged {
		return r, nil
	}
	var cookie []byte
	if f.more && r.Code == ldapmsg.Success {
		cookie = s.pages.put(bookmark{mark: p.mark, after: f.place, left: p.left - f.sent})
	}
	return r, []ldapmsg.Control{ldapmsg.PagedControl(0, cookie)}
}

// pages are the paged searches of a connection that have more to give. A cookie
// is a number in this table and so worth nothing on another connection; it
// works once.
type pages struct {
	most int
	last uint64
	open []bookmark
}

type bookmark struct {
	id    uint64
	mark  mark
	after string
	left  int
}

// put keeps a bookmark and returns its cookie; the oldest makes room.
func (p *pages) put(b bookmark) []byte {
	p.last++
	b.id = p.last
	if len(p.open) >= p.most {
		p.open = slices.Delete(p.open, 0, 1)
	}
	p.open = append(p.open, b)
	return binary.BigEndian.AppendUint64(nil, b.id)
}

// take removes the bookmark of a cookie.
func (p *pages) take(cookie []byte) (bookmark, bool) {
	if len(cookie) != 8 {
		return bookmark{}, false
	}
	id := binary.BigEndian.Uint64(cookie)
	for i, b := range p.open {
		if b.id == id {
			p.open = slices.Delete(p.open, i, i+1)
			return b, true
		}
	}
	return bookmark{}, false
}

func (p *pages) clear() { p.open = nil }
