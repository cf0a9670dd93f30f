package krb5

import (
	"time"

	"skyrealm/der"
)

// Priv is a KRB-PRIV, as kpasswd sends it.
//
//	KRB-PRIV ::= [APPLICATION 21] SEQUENCE {
//	    pvno     [0] INTEGER (5),
//	    msg-type [1] INTEGER (21),
//	    enc-part [3] EncryptedData -- EncKrbPrivPart }
type Priv struct{ EncPart EncryptedData }

// Marshal puts the message in front of w.
func (p *Priv) Marshal(w *der.Writer) {
	end := w.Len()
	putEncrypted(w, 3, p.EncPart)
	putInt(w, 1, MsgPriv)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, MsgPriv, end)
}

// Unmarshal decodes the whole of b.
func (p *Priv) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, MsgPriv)
	d.want(&r, 0, ProtocolVersion)
	d.want(&r, 1, MsgPriv)
	d.encryptedAt(&r, 3, &p.EncPart)
	d.end(&r)
	return d.err("KRB-PRIV")
}

// EncPrivPart is the plaintext of a KRB-PRIV.
//
//	EncKrbPrivPart ::= [APPLICATION 28] SEQUENCE {
//	    user-data  [0] OCTET STRING,
//	    timestamp  [1] KerberosTime OPTIONAL,
//	    usec       [2] Microseconds OPTIONAL,
//	    seq-number [3] UInt32 OPTIONAL,
//	    s-address  [4] HostAddress,
//	    r-address  [5] HostAddress OPTIONAL }
type EncPrivPart struct {
	UserData  Secret    // a password, in kpasswd
	Time      time.Time // to the microsecond
	SeqNumber uint32    // 0: absent
	Sender    HostAddress
	Recipient HostAddress // without bytes: absent
}

// Marshal puts the part in front of w.
func (p *EncPrivPart) Marshal(w *der.Writer) {
	end := w.Len()
	if p.Recipient.Address != nil {
		mark := w.Len()
		p.Recipient.put(w)
		w.Wrap(der.Context(5), mark)
	}
	mark := w.Len()
	p.Sender.put(w)
	w.Wrap(der.Context(4), mark)
	if p.SeqNumber != 0 {
		putInt(w, 3, int64(p.SeqNumber))
	}
	if !p.Time.IsZero() {
		putMicros(w, 2, p.Time)
		putTime(w, 1, p.Time)
	}
	putOctets(w, 0, p.UserData.value)
	wrapMessage(w, tagEncKrbPrivPart, end)
}

// Unmarshal decodes the whole of b.
func (p *EncPrivPart) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, tagEncKrbPrivPart)
	p.UserData = NewSecret(d.octets(&r, 0))
	p.Time = d.optTime(&r, 1)
	p.Time = d.optMicros(&r, 2, p.Time)
	p.SeqNumber = d.optUint32(&r, 3)
	in := d.enter(&r, der.Context(4))
	p.Sender = d.address(&in)
	d.end(&in)
	p.Recipient = HostAddress{}
	if d.has(&r, 5) {
		in := d.enter(&r, der.Context(5))
		p.Recipient = d.address(&in)
		d.end(&in)
	}
	d.end(&r)
	return d.err("EncKrbPrivPart")
}
