package krb5

import (
	"bytes"
	"slices"
	"strings"

	"skyrealm/der"
)

// Name types (RFC 4120 §6.2, RFC 6806 §5, RFC 6111); Windows' own are negative.
const (
	NTUnknown       int32 = 0
	NTPrincipal     int32 = 1
	NTSrvInst       int32 = 2
	NTSrvHst        int32 = 3
	NTSrvXHst       int32 = 4
	NTUID           int32 = 5
	NTX500Principal int32 = 6
	NTSMTPName      int32 = 7
	NTEnterprise    int32 = 10
	NTWellKnown     int32 = 11
	NTMSPrincipal   int32 = -128
	NTMSPrincipalID int32 = -129
	NTEntPrincipal  int32 = -130
)

// PrincipalName is a name within a realm. One without components is absent; the
// decoder takes none such from the wire, because code that reads Name[0] of it
// is the classic remote crash (gokrb5's DecryptAuthenticator).
//
//	PrincipalName ::= SEQUENCE {
//	    name-type   [0] Int32,
//	    name-string [1] SEQUENCE OF KerberosString }
type PrincipalName struct {
	Type int32
	Name []string
}

// Principal makes a name.
func Principal(nameType int32, components ...string) PrincipalName {
	return PrincipalName{Type: nameType, Name: components}
}

// IsZero reports whether the name is absent.
func (p PrincipalName) IsZero() bool { return len(p.Name) == 0 }

// Equal compares the components and not the type, which is a hint and no part
// of the identity (RFC 4120 §6.2).
func (p PrincipalName) Equal(q PrincipalName) bool { return slices.Equal(p.Name, q.Name) }

// String joins the components with slashes. A slash or backslash in a
// component is escaped (RFC 1964 §2.1.1), so that two names never print alike.
func (p PrincipalName) String() string {
	if len(p.Name) == 1 && !strings.ContainsAny(p.Name[0], `/\@`) {
		return p.Name[0]
	}
	var b strings.Builder
	for i, c := range p.Name {
		if i > 0 {
			b.WriteByte('/')
		}
		for {
			j := strings.IndexAny(c, `/\@`)
			if j < 0 {
				break
			}
			b.WriteString(c[:j])
			b.WriteByte('\\')
			b.WriteByte(c[j])
			c = c[j+1:]
		}
		b.WriteString(c)
	}
	return b.String()
}

// name reads field [n] into p, whose slice is used again.
func (d *decoder) name(r *der.Reader, n int, p *PrincipalName) {
	in := d.sequenceAt(r, n)
	p.Type = d.int32(&in, 0)
	list := d.sequenceAt(&in, 1)
	d.end(&in)

	// One string holds all components; each is a part of it.
	var room [256]byte
	all, ends, count := room[:0], [MaxComponents]int{}, 0
	for !list.Empty() && !d.bad {
		b, ok := list.Bytes(der.GeneralString)
		if !ok || count == MaxComponents || len(b) > MaxComponent || len(all)+len(b) > MaxName || bytes.IndexByte(b, 0) >= 0 {
			d.bad = true
			break
		}
		all = append(all, b...)
		ends[count] = len(all)
		count++
	}
	p.Name = p.Name[:0]
	if d.bad || count == 0 {
		d.bad = true
		return
	}
	text, from := string(all), 0
	for _, end := range ends[:count] {
		p.Name = append(p.Name, text[from:end])
		from = end
	}
}

func (d *decoder) optName(r *der.Reader, n int, p *PrincipalName) {
	if !d.has(r, n) {
		p.Type, p.Name = 0, p.Name[:0]
		return
	}
	d.name(r, n, p)
}

func putName(w *der.Writer, n int, p PrincipalName) {
	end := w.Len()
	for i := len(p.Name) - 1; i >= 0; i-- {
		w.String(der.GeneralString, p.Name[i])
	}
	wrapSequence(w, 1, end)
	putInt(w, 0, int64(p.Type))
	wrapSequence(w, n, end)
}

func putOptName(w *der.Writer, n int, p PrincipalName) {
	if !p.IsZero() {
		putName(w, n, p)
	}
}
