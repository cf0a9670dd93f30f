package krb5

import (
	"time"

	"skyrealm/der"
)

// Flexible Authentication Secure Tunneling (RFC 6113 §5.4): a request and its
// reply inside an encrypted and authenticated channel, under an armor key that a
// ticket of somebody else's, or the client's own TGT, gives.
//
// All these types have extension markers; what a later version adds behind the
// known fields is passed over.

// ArmorAPRequest is the one armor type (RFC 6113 §5.4.1.1): an AP-REQ.
const ArmorAPRequest int32 = 1

// FASTOptions are the options of a KrbFastReq, bit 0 as the highest.
type FASTOptions uint32

// The options. Who does not know one of the critical ones, which are the upper
// sixteen, refuses the request.
const (
	FASTHideClientNames    FASTOptions = 1 << (31 - 1)
	FASTKDCFollowReferrals FASTOptions = 1 << (31 - 16)
	FASTCritical           FASTOptions = 0xffff0000
)

// FASTArmoredReq is the value of PA-FX-FAST in a request.
//
//	PA-FX-FAST-REQUEST ::= CHOICE { armored-data [0] KrbFastArmoredReq, ... }
//	KrbFastArmoredReq ::= SEQUENCE {
//	    armor        [0] KrbFastArmor OPTIONAL,
//	    req-checksum [1] Checksum,
//	    enc-fast-req [2] EncryptedData -- KrbFastReq --, ... }
//	KrbFastArmor ::= SEQUENCE {
//	    armor-type  [0] Int32,
//	    armor-value [1] OCTET STRING, ... }
type FASTArmoredReq struct {
	ArmorType  int32
	ArmorValue []byte // nil: absent, as in a TGS-REQ
	Checksum   Checksum
	EncReq     EncryptedData
}

// Marshal puts the CHOICE in front of w.
func (f *FASTArmoredReq) Marshal(w *der.Writer) {
	end := w.Len()
	putEncrypted(w, 2, f.EncReq)
	putChecksum(w, 1, f.Checksum)
	if f.ArmorValue != nil {
		mark := w.Len()
		putOctets(w, 1, f.ArmorValue)
		putInt(w, 0, int64(f.ArmorType))
		wrapSequence(w, 0, mark)
	}
	wrapSequence(w, 0, end)
}

// Unmarshal decodes the whole of b.
func (f *FASTArmoredReq) Unmarshal(b []byte) error {
	var d decoder
	r := d.choice(b)
	f.ArmorType, f.ArmorValue = 0, nil
	if d.has(&r, 0) {
		armor := d.sequenceAt(&r, 0)
		f.ArmorType = d.int32(&armor, 0)
		f.ArmorValue = d.octets(&armor, 1)
		d.extensions(&armor)
	}
	f.Checksum = d.checksum(&r, 1)
	d.encryptedAt(&r, 2, &f.EncReq)
	d.extensions(&r)
	return d.err("PA-FX-FAST-REQUEST")
}

// FASTReq is the request that counts.
//
//	KrbFastReq ::= SEQUENCE {
//	    fast-options [0] FastOptions,
//	    padata       [1] SEQUENCE OF PA-DATA,
//	    req-body     [2] KDC-REQ-BODY, ... }
type FASTReq struct {
	Options FASTOptions
	PAData  MethodData
	Body    []byte // for [KDCReq.UnmarshalBody]
}

// Marshal puts the SEQUENCE in front of w.
func (f *FASTReq) Marshal(w *der.Writer) {
	end := w.Len()
	w.Raw(f.Body)
	w.Wrap(der.Context(2), end)
	mark := w.Len()
	f.PAData.Marshal(w)
	w.Wrap(der.Context(1), mark)
	putFlags(w, 0, uint32(f.Options))
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b, but for the body, which stays as it is.
func (f *FASTReq) Unmarshal(b []byte) error {
	var d decoder
	r := d.sequence(b)
	f.Options = FASTOptions(d.flags(&r, 0))
	list := d.sequenceAt(&r, 1)
	f.PAData = d.padata(&list, f.PAData[:0])
	body := d.enter(&r, der.Context(2))
	f.Body = body.Rest()
	d.whole(&body)
	d.extensions(&r)
	return d.err("KrbFastReq")
}

// FASTArmoredRep is the value of PA-FX-FAST in a reply and in an error.
//
//	PA-FX-FAST-REPLY ::= CHOICE { armored-data [0] KrbFastArmoredRep, ... }
//	KrbFastArmoredRep ::= SEQUENCE {
//	    enc-fast-rep [0] EncryptedData -- KrbFastResponse --, ... }
type FASTArmoredRep struct{ EncRep EncryptedData }

// Marshal puts the CHOICE in front of w.
func (f *FASTArmoredRep) Marshal(w *der.Writer) {
	end := w.Len()
	putEncrypted(w, 0, f.EncRep)
	wrapSequence(w, 0, end)
}

// Unmarshal decodes the whole of b.
func (f *FASTArmoredRep) Unmarshal(b []byte) error {
	var d decoder
	r := d.choice(b)
	d.encryptedAt(&r, 0, &f.EncRep)
	d.extensions(&r)
	return d.err("PA-FX-FAST-REPLY")
}

// FASTResponse is what the KDC has to say inside the armor.
//
//	KrbFastResponse ::= SEQUENCE {
//	    padata         [0] SEQUENCE OF PA-DATA,
//	    strengthen-key [1] EncryptionKey OPTIONAL,
//	    finished       [2] KrbFastFinished OPTIONAL,
//	    nonce          [3] UInt32, ... }
type FASTResponse struct {
	PAData     MethodData
	Strengthen EncryptionKey // absent in an error
	Finished   *FASTFinished // absent in an error
	Nonce      int64         // of the inner request, as in KDCReq
}

// FASTFinished says for whom which ticket was issued.
//
//	KrbFastFinished ::= SEQUENCE {
//	    timestamp       [0] KerberosTime,
//	    usec            [1] Microseconds,
//	    crealm          [2] Realm,
//	    cname           [3] PrincipalName,
//	    ticket-checksum [4] Checksum, ... }
type FASTFinished struct {
	Time   time.Time // to the microsecond
	CRealm string
	CName  PrincipalName
	Ticket Checksum
}

// Marshal puts the SEQUENCE in front of w.
func (f *FASTResponse) Marshal(w *der.Writer) {
	end := w.Len()
	putInt(w, 3, f.Nonce)
	if p := f.Finished; p != nil {
		mark := w.Len()
		putChecksum(w, 4, p.Ticket)
		putName(w, 3, p.CName)
		putText(w, 2, p.CRealm)
		putMicros(w, 1, p.Time)
		putTime(w, 0, p.Time)
		wrapSequence(w, 2, mark)
	}
	if !f.Strengthen.IsZero() {
		putKey(w, 1, f.Strengthen)
	}
	mark := w.Len()
	f.PAData.Marshal(w)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b.
func (f *FASTResponse) Unmarshal(b []byte) error {
	var d decoder
	r := d.sequence(b)
	list := d.sequenceAt(&r, 0)
	f.PAData = d.padata(&list, f.PAData[:0])
	f.Strengthen = d.optKey(&r, 1)
	f.Finished = nil
	if d.has(&r, 2) {
		in, p := d.sequenceAt(&r, 2), new(FASTFinished)
		p.Time = d.time(&in, 0)
		p.Time = p.Time.Add(d.micros(&in, 1))
		p.CRealm = d.text(&in, 2)
		d.name(&in, 3, &p.CName)
		p.Ticket = d.checksum(&in, 4)
		d.extensions(&in)
		f.Finished = p
	}
	f.Nonce = d.nonce(&r, 3)
	d.extensions(&r)
	return d.err("KrbFastResponse")
}

// choice opens alternative [0] of a CHOICE, a SEQUENCE, which must be all of b.
func (d *decoder) choice(b []byte) der.Reader {
	r := der.NewReader(b)
	in := d.enter(&r, der.Context(0))
	d.end(&r)
	return d.whole(&in)
}

// extensions passes over what follows the known fields.
func (d *decoder) extensions(r *der.Reader) {
	for !r.Empty() && !d.bad {
		if _, _, _, ok := r.Any(); !ok {
			d.bad = true
		}
	}
}
