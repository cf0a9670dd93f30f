package krb5

import (
	"time"

	"skyrealm/der"
)

// KDCReq is an AS-REQ or a TGS-REQ. Unmarshal uses the slices of the receiver
// again, so that a server keeps one KDCReq per worker; what an earlier request
// left in them is overwritten, the strings are not.
//
//	KDC-REQ ::= SEQUENCE {
//	    pvno     [1] INTEGER (5),
//	    msg-type [2] INTEGER (10 -- AS -- | 12 -- TGS --),
//	    padata   [3] SEQUENCE OF PA-DATA OPTIONAL,
//	    req-body [4] KDC-REQ-BODY }
//	KDC-REQ-BODY ::= SEQUENCE {
//	    kdc-options            [0] KDCOptions,
//	    cname                  [1] PrincipalName OPTIONAL,
//	    realm                  [2] Realm,
//	    sname                  [3] PrincipalName OPTIONAL,
//	    from                   [4] KerberosTime OPTIONAL,
//	    till                   [5] KerberosTime,
//	    rtime                  [6] KerberosTime OPTIONAL,
//	    nonce                  [7] UInt32,
//	    etype                  [8] SEQUENCE OF Int32,
//	    addresses              [9] HostAddresses OPTIONAL,
//	    enc-authorization-data [10] EncryptedData OPTIONAL,
//	    additional-tickets     [11] SEQUENCE OF Ticket OPTIONAL }
type KDCReq struct {
	MsgType int // MsgASReq or MsgTGSReq
	PAData  MethodData

	Options   KDCOptions
	CName     PrincipalName
	Realm     string
	SName     PrincipalName
	From      time.Time
	Till      time.Time // 1970-01-01T00:00:00Z: as long as possible
	RTime     time.Time
	Nonce     int64 // -2^31 to 2^32-1, with the sign that the client wrote; replies repeat it so
	ETypes    []int32
	Addresses []HostAddress

	EncAuthData       EncryptedData
	AdditionalTickets []Ticket

	// RawBody is the req-body as it was received: the authenticator's
	// checksum covers these bytes and no others (RFC 4120 §5.5.1), however
	// the client encoded them.
	RawBody []byte
}

// Marshal puts the message in front of w.
func (q *KDCReq) Marshal(w *der.Writer) {
	end := w.Len()
	q.MarshalBody(w)
	w.Wrap(der.Context(4), end)
	putOptPAData(w, 3, q.PAData)
	putInt(w, 2, int64(q.MsgType))
	putInt(w, 1, ProtocolVersion)
	wrapMessage(w, q.MsgType, end)
}

// MarshalBody puts the KDC-REQ-BODY alone in front of w. It encodes the fields
// and pays no heed to RawBody.
func (q *KDCReq) MarshalBody(w *der.Writer) {
	end := w.Len()
	if len(q.AdditionalTickets) > 0 {
		for i := len(q.AdditionalTickets) - 1; i >= 0; i-- {
			q.AdditionalTickets[i].Marshal(w)
		}
		wrapSequence(w, 11, end)
	}
	if !q.EncAuthData.IsZero() {
		putEncrypted(w, 10, q.EncAuthData)
	}
	putAddresses(w, 9, q.Addresses)
	mark := w.Len()
	for i := len(q.ETypes) - 1; i >= 0; i-- {
		w.Int(der.Integer, int64(q.ETypes[i]))
	}
	wrapSequence(w, 8, mark)
	putInt(w, 7, q.Nonce)
	putOptTime(w, 6, q.RTime)
	putTime(w, 5, q.Till)
	putOptTime(w, 4, q.From)
	putOptName(w, 3, q.SName)
	putText(w, 2, q.Realm)
	putOptName(w, 1, q.CName)
	putFlags(w, 0, uint32(q.Options))
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b, either kind.
func (q *KDCReq) Unmarshal(b []byte) error {
	q.MsgType = MsgASReq
	if len(b) > 0 && der.Tag(b[0]) == der.Application(MsgTGSReq) {
		q.MsgType = MsgTGSReq
	}
	var d decoder
	r := d.message(b, q.MsgType)
	d.want(&r, 1, ProtocolVersion)
	d.want(&r, 2, int32(q.MsgType))
	q.PAData = d.optPAData(&r, 3, q.PAData)
	in := d.enter(&r, der.Context(4))
	d.end(&r)
	q.RawBody = in.Rest()
	d.body(&in, q)
	return d.err("KDC-REQ")
}

// UnmarshalBody decodes a KDC-REQ-BODY alone, the whole of b, as FAST carries
// it (RFC 6113 §5.4.2), and leaves MsgType and PAData as they are.
func (q *KDCReq) UnmarshalBody(b []byte) error {
	var d decoder
	in := der.NewReader(b)
	q.RawBody = b
	d.body(&in, q)
	return d.err("KDC-REQ-BODY")
}

func (d *decoder) body(in *der.Reader, q *KDCReq) {
	r := d.whole(in)
	q.Options = KDCOptions(d.flags(&r, 0))
	d.optName(&r, 1, &q.CName)
	q.Realm = d.text(&r, 2)
	d.optName(&r, 3, &q.SName)
	q.From = d.optTime(&r, 4)
	q.Till = d.time(&r, 5)
	q.RTime = d.optTime(&r, 6)
	q.Nonce = d.nonce(&r, 7)

	q.ETypes = q.ETypes[:0]
	list := d.sequenceAt(&r, 8)
	for !list.Empty() && !d.bad {
		v, ok := list.Int32(der.Integer)
		if !ok || len(q.ETypes) == MaxETypes {
			d.bad = true
			break
		}
		q.ETypes = append(q.ETypes, v)
	}
	q.Addresses = d.optAddresses(&r, 9, q.Addresses)

	q.EncAuthData = EncryptedData{}
	if d.has(&r, 10) {
		d.encryptedAt(&r, 10, &q.EncAuthData)
	}
	q.AdditionalTickets = q.AdditionalTickets[:0]
	if d.has(&r, 11) {
		list := d.sequenceAt(&r, 11)
		for !list.Empty() && !d.bad {
			if len(q.AdditionalTickets) == MaxTickets {
				d.bad = true
				break
			}
			var t Ticket
			d.ticket(&list, &t)
			q.AdditionalTickets = append(q.AdditionalTickets, t)
		}
	}
	d.end(&r)
}
