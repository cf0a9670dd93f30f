package pac

import (
	"time"

	"skyrealm/sid"
)

// ClientInfo ties the PAC to its ticket, buffer type 10 ([MS-PAC] §2.7): a TGS
// compares both with the ticket's cname and authtime.
type ClientInfo struct {
	AuthTime time.Time // in seconds, as in the ticket
	Name     string    // the cname without its realm
}

func (c *ClientInfo) append(w *writer) {
	n := units(c.Name)
	if n > maxString {
		w.long, n = true, 0
	}
	w.time(FileTimeOf(c.AuthTime))
	w.u16(uint16(2 * n))
	w.utf16(c.Name)
}

func parseClientInfo(b []byte) (*ClientInfo, error) {
	r := reader{b: b}
	c := &ClientInfo{AuthTime: r.time().Time()}
	c.Name = r.utf16(int(r.u16()))
	if r.bad || r.off != len(b) {
		return nil, SyntaxError("CLIENT_INFO")
	}
	return c, nil
}

// Flags of UPN_DNS_INFO ([MS-PAC] §2.10).
const (
	upnConstructed uint32 = 1 << 0
	upnExtended    uint32 = 1 << 1
)

// UPNDNSInfo is buffer type 12 ([MS-PAC] §2.10). With SAM and SID a service
// knows the account by what nobody can rename (CVE-2020-25721).
type UPNDNSInfo struct {
	UPN         string
	DNSDomain   string // upper or lower case as the realm is written
	Constructed bool   // flag U: the account has no UPN; this one was made from the SAM name
	SAM         string // sAMAccountName; with SID, flag S
	SID         sid.SID
}

func (u *UPNDNSInfo) append(w *writer) {
	start := len(w.b)
	flags, head := uint32(0), 16
	if u.Constructed {
		flags |= upnConstructed
	}
	extended := u.SAM != "" || u.SID != ""
	if extended {
		flags, head = flags|upnExtended, 24
	}
	w.base = start
	w.b = append(w.b, make([]byte, head)...)
	le.PutUint32(w.b[start+8:], flags)
	// The layout is Windows Server 2022's, down to the SID that is not aligned
	// and the padding that counts.
	w.text(0, u.UPN)
	w.text(4, u.DNSDomain)
	if extended {
		w.text(12, u.SAM)
		offset := len(w.b)
		w.b = append(w.b, u.SID...)
		w.field(16, offset)
	}
	w.align(8)
}

// text puts s at the next multiple of eight.
func (w *writer) text(head int, s string) {
	w.align(8)
	offset := len(w.b)
	w.utf16(s)
	w.field(head, offset)
}

// field notes length and offset of what was put since offset, at head.
func (w *writer) field(head, offset int) {
	if len(w.b)-w.base > 1<<16-1 {
		w.long = true
	}
	le.PutUint16(w.b[w.base+head:], uint16(len(w.b)-offset))
	le.PutUint16(w.b[w.base+head+2:], uint16(offset-w.base))
}

func parseUPNDNSInfo(b []byte) (*UPNDNSInfo, error) {
	r := reader{b: b}
	u := new(UPNDNSInfo)
	upn, dns := r.field(), r.field()
	flags := r.u32()
	u.Constructed = flags&upnConstructed != 0
	u.UPN = upn.utf16(len(upn.b))
	u.DNSDomain = dns.utf16(len(dns.b))
	bad := upn.bad || dns.bad
	if flags&upnExtended != 0 {
		sam, id := r.field(), r.field()
		u.SAM = sam.utf16(len(sam.b))
		bad = bad || sam.bad || id.bad
		if len(id.b) > 0 {
			s, err := sid.FromBytes(id.b)
			bad = bad || err != nil
			u.SID = s
		}
	}
	if bad || r.bad {
		return nil, SyntaxError("UPN_DNS_INFO")
	}
	return u, nil
}

// field reads length and offset and returns a reader over what they point to.
func (r *reader) field() reader {
	length, offset := int(r.u16()), int(r.u16())
	if offset+length > len(r.b) {
		return reader{bad: true}
	}
	return reader{b: r.b[offset : offset+length]}
}

// Attributes is the flags of PAC_ATTRIBUTES_INFO, buffer type 17 ([MS-PAC]
// §2.14). A TGT carries it: did the client ask for a PAC?
type Attributes uint32

// The attributes. None set is a client that asked for no PAC.
const (
	PACRequested Attributes = 1 << 0
	// PACImplicit: the client did not say.
	PACImplicit Attributes = 1 << 1
)

func (a Attributes) append(w *writer) {
	w.u32(2) // how many bits of the flags have a meaning
	w.u32(uint32(a))
}

func parseAttributes(b []byte) (*Attributes, error) {
	r := reader{b: b}
	bits := r.u32()
	a := Attributes(r.u32())
	if r.bad || r.off != len(b) || bits == 0 || bits > 32 {
		return nil, SyntaxError("ATTRIBUTES_INFO")
	}
	return &a, nil
}
