package krb5

import (
	"encoding/binary"

	"skyrealm/der"
)

// ProxyMessage is a Kerberos message on its way through an HTTPS proxy
// ([MS-KKDCP] §2.2.2).
//
//	KDC-PROXY-MESSAGE ::= SEQUENCE {
//	    kerb-message   [0] OCTET STRING,
//	    target-domain  [1] KERB-REALM OPTIONAL,
//	    dclocator-hint [2] INTEGER OPTIONAL }
type ProxyMessage struct {
	// Message is the Kerberos message without the length that stands in front
	// of it as on TCP.
	Message []byte
	Realm   string // "" in replies
	Hint    int64  // flags for finding a domain controller; 0: absent
}

// Marshal puts the message in front of w.
func (p *ProxyMessage) Marshal(w *der.Writer) {
	end := w.Len()
	if p.Hint != 0 {
		putInt(w, 2, p.Hint)
	}
	if p.Realm != "" {
		putText(w, 1, p.Realm)
	}
	mark := w.Len()
	w.Raw(p.Message)
	binary.BigEndian.PutUint32(w.Space(4), uint32(len(p.Message)))
	w.Wrap(der.OctetString, mark)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b. The length in front of the Kerberos message
// has to be its own (CVE-2025-59089).
func (p *ProxyMessage) Unmarshal(b []byte) error {
	*p = ProxyMessage{}
	var d decoder
	r := d.sequence(b)
	framed := d.octets(&r, 0)
	p.Realm = d.optText(&r, 1)
	if d.has(&r, 2) {
		in := d.enter(&r, der.Context(2))
		v, ok := in.Int64(der.Integer)
		d.bad = d.bad || !ok || !in.Empty()
		p.Hint = v
	}
	d.end(&r)
	if d.bad || len(framed) <= 4 || uint64(binary.BigEndian.Uint32(framed)) != uint64(len(framed)-4) {
		return SyntaxError("KDC-PROXY-MESSAGE")
	}
	p.Message = framed[4:]
	return nil
}
