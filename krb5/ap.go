package krb5

import (
	"time"

	"skyrealm/der"
)

// APReq shows a ticket to a service, or to the KDC inside PA-TGS-REQ.
//
//	AP-REQ ::= [APPLICATION 14] SEQUENCE {
//	    pvno          [0] INTEGER (5),
//	    msg-type      [1] INTEGER (14),
//	    ap-options    [2] APOptions,
//	    ticket        [3] Ticket,
//	    authenticator [4] EncryptedData }
type APReq struct {
	Options       uint32
	Ticket        Ticket
	Authenticator EncryptedData
}

// Marshal puts the message in front of w.
func (a *APReq) Marshal(w *der.Writer) {
	end := w.Len()
	putEncrypted(w, 4, a.Authenticator)
	putTicket(w, 3, &a.Ticket)
	putFlags(w, 2, a.Options)
	putInt(w, 1, MsgAPReq)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, MsgAPReq, end)
}

// Unmarshal decodes the whole of b.
func (a *APReq) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, MsgAPReq)
	d.want(&r, 0, ProtocolVersion)
	d.want(&r, 1, MsgAPReq)
	a.Options = d.flags(&r, 2)
	d.ticketAt(&r, 3, &a.Ticket)
	d.encryptedAt(&r, 4, &a.Authenticator)
	d.end(&r)
	return d.err("AP-REQ")
}

// Authenticator proves that the sender of an AP-REQ knows the session key.
//
//	Authenticator ::= [APPLICATION 2] SEQUENCE {
//	    authenticator-vno  [0] INTEGER (5),
//	    crealm             [1] Realm,
//	    cname              [2] PrincipalName,
//	    cksum              [3] Checksum OPTIONAL,
//	    cusec              [4] Microseconds,
//	    ctime              [5] KerberosTime,
//	    subkey             [6] EncryptionKey OPTIONAL,
//	    seq-number         [7] UInt32 OPTIONAL,
//	    authorization-data [8] AuthorizationData OPTIONAL }
type Authenticator struct {
	CRealm    string
	CName     PrincipalName
	Checksum  Checksum
	CTime     time.Time // to the microsecond
	Subkey    EncryptionKey
	SeqNumber uint32 // 0 and absent mean the same (RFC 4121 §4.2.6)
	AuthData  AuthorizationData
}

// Marshal puts the authenticator in front of w.
func (a *Authenticator) Marshal(w *der.Writer) {
	end := w.Len()
	putAuthData(w, 8, a.AuthData)
	if a.SeqNumber != 0 {
		putInt(w, 7, int64(a.SeqNumber))
	}
	if !a.Subkey.IsZero() {
		putKey(w, 6, a.Subkey)
	}
	putTime(w, 5, a.CTime)
	putMicros(w, 4, a.CTime)
	if a.Checksum.Value != nil {
		putChecksum(w, 3, a.Checksum)
	}
	putName(w, 2, a.CName)
	putText(w, 1, a.CRealm)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, tagAuthenticator, end)
}

// Unmarshal decodes the whole of b.
func (a *Authenticator) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, tagAuthenticator)
	d.want(&r, 0, ProtocolVersion)
	a.CRealm = d.text(&r, 1)
	d.name(&r, 2, &a.CName)
	a.Checksum = Checksum{}
	if d.has(&r, 3) {
		a.Checksum = d.checksum(&r, 3)
	}
	us := d.micros(&r, 4)
	a.CTime = d.time(&r, 5).Add(us)
	a.Subkey = d.optKey(&r, 6)
	a.SeqNumber = d.optUint32(&r, 7)
	a.AuthData = d.optAuthData(&r, 8, a.AuthData)
	d.end(&r)
	return d.err("Authenticator")
}

// APRep answers an AP-REQ that asked for mutual authentication.
//
//	AP-REP ::= [APPLICATION 15] SEQUENCE {
//	    pvno     [0] INTEGER (5),
//	    msg-type [1] INTEGER (15),
//	    enc-part [2] EncryptedData -- EncAPRepPart }
type APRep struct{ EncPart EncryptedData }

// Marshal puts the message in front of w.
func (a *APRep) Marshal(w *der.Writer) {
	end := w.Len()
	putEncrypted(w, 2, a.EncPart)
	putInt(w, 1, MsgAPRep)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, MsgAPRep, end)
}

// Unmarshal decodes the whole of b.
func (a *APRep) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, MsgAPRep)
	d.want(&r, 0, ProtocolVersion)
	d.want(&r, 1, MsgAPRep)
	d.encryptedAt(&r, 2, &a.EncPart)
	d.end(&r)
	return d.err("AP-REP")
}

// EncAPRepPart repeats the authenticator's time, which only the service could
// read.
//
//	EncAPRepPart ::= [APPLICATION 27] SEQUENCE {
//	    ctime      [0] KerberosTime,
//	    cusec      [1] Microseconds,
//	    subkey     [2] EncryptionKey OPTIONAL,
//	    seq-number [3] UInt32 OPTIONAL }
type EncAPRepPart struct {
	CTime     time.Time
	Subkey    EncryptionKey
	SeqNumber uint32
}

// Marshal puts the part in front of w.
func (p *EncAPRepPart) Marshal(w *der.Writer) {
	end := w.Len()
	if p.SeqNumber != 0 {
		putInt(w, 3, int64(p.SeqNumber))
	}
	if !p.Subkey.IsZero() {
		putKey(w, 2, p.Subkey)
	}
	putMicros(w, 1, p.CTime)
	putTime(w, 0, p.CTime)
	wrapMessage(w, tagEncAPRepPart, end)
}

// Unmarshal decodes the whole of b.
func (p *EncAPRepPart) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, tagEncAPRepPart)
	p.CTime = d.time(&r, 0)
	p.CTime = p.CTime.Add(d.micros(&r, 1))
	p.Subkey = d.optKey(&r, 2)
	p.SeqNumber = d.optUint32(&r, 3)
	d.end(&r)
	return d.err("EncAPRepPart")
}
