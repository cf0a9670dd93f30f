package pkinit

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"unicode/utf8"

	"skyrealm/der"
)

// Identity is whom a certificate names.
type Identity struct {
	Names []Name   // id-pkinit-san (RFC 4556 §3.2.2)
	UPNs  []string // Windows' principal name
	SID   string   // the SID extension (KB5014754); "" where there is none
	URIs  []string // of the tenant's object: urn:uuid:…, or tag:microsoft.com,2022-09-14:sid:…
}

// sidURI is how a SID stands in an alternative name, for authorities that can't
// write the extension (KB5014754).
const sidURI = "tag:microsoft.com,2022-09-14:sid:"

// IdentityOf reads the names that crypto/x509 does not.
func IdentityOf(c *x509.Certificate) (Identity, error) {
	var who Identity
	var d decoder
	for i := range c.Extensions {
		switch e := &c.Extensions[i]; {
		case e.Id.Equal(oidSAN):
			who.alternatives(&d, e.Value)
		case e.Id.Equal(oidSID):
			//	GeneralNames with one OtherName: the SID as text
			list := d.whole(e.Value, der.Sequence)
			kind, value := d.other(&list)
			if kind == oidObjectSID {
				r := der.NewReader(value)
				who.SID = string(d.bytes(&r, der.OctetString))
			}
			d.end(&list)
		}
	}
	for _, u := range who.URIs {
		if s, ok := strings.CutPrefix(u, sidURI); ok && who.SID == "" {
			who.SID = s
		}
	}
	return who, d.err("names in the certificate")
}

// alternatives reads the GeneralNames of a subjectAltName.
//
//	OtherName ::= [0] IMPLICIT SEQUENCE {
//	    type-id OBJECT IDENTIFIER,
//	    value   [0] EXPLICIT ANY }
//	uniformResourceIdentifier ::= [6] IMPLICIT IA5String
func (who *Identity) alternatives(d *decoder, b []byte) {
	list := d.whole(b, der.Sequence)
	for n := 0; !list.Empty() && !d.bad; n++ {
		if n == MaxNames {
			d.bad = true
			return
		}
		switch {
		case d.has(&list, der.Context(0)):
			kind, value := d.other(&list)
			r := der.NewReader(value)
			switch kind {
			case oidKRB5Name:
				who.Names = append(who.Names, d.name(&r))
				d.end(&r)
			case oidUPN:
				upn := d.text(d.bytes(&r, der.UTF8String))
				d.end(&r)
				d.bad = d.bad || !utf8.ValidString(upn)
				who.UPNs = append(who.UPNs, upn)
			}
		case d.has(&list, der.ContextPrimitive(6)):
			who.URIs = append(who.URIs, d.text(d.bytes(&list, der.ContextPrimitive(6))))
		default:
			_, _, _, ok := list.Any()
			d.bad = !ok
		}
	}
}

func (d *decoder) other(list *der.Reader) (kind OID, value []byte) {
	in := d.enter(list, der.Context(0))
	kind = OID(d.bytes(&in, der.OID))
	field := d.enter(&in, der.Context(0))
	d.end(&in)
	return kind, field.Rest()
}

// Extensions are those that say it: the alternative names, with the host's names
// in DNS for a KDC, and the SID. crypto/x509 writes none of them.
func (who *Identity) Extensions(dns ...string) []pkix.Extension {
	w := der.NewWriter(nil)
	for _, u := range who.URIs {
		w.String(der.ContextPrimitive(6), u)
	}
	for _, n := range dns {
		w.String(der.ContextPrimitive(2), n)
	}
	for _, u := range who.UPNs {
		mark := w.Len()
		w.String(der.UTF8String, u)
		wrapOther(w, oidUPN, mark)
	}
	for i := range who.Names {
		mark := w.Len()
		who.Names[i].Marshal(w)
		wrapOther(w, oidKRB5Name, mark)
	}
	w.Wrap(der.Sequence, 0)
	all := []pkix.Extension{{Id: oidSAN, Value: w.Bytes()}}
	if who.SID != "" {
		w := der.NewWriter(nil)
		w.String(der.OctetString, who.SID)
		wrapOther(w, oidObjectSID, 0)
		w.Wrap(der.Sequence, 0)
		all = append(all, pkix.Extension{Id: oidSID, Value: w.Bytes()})
	}
	return all
}

func wrapOther(w *der.Writer, kind OID, mark int) {
	w.Wrap(der.Context(0), mark)
	w.String(der.OID, string(kind))
	w.Wrap(der.Context(0), mark)
}
