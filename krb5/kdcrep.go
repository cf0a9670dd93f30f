package krb5

import (
	"time"

	"skyrealm/der"
)

// KDCRep is an AS-REP or a TGS-REP.
//
//	KDC-REP ::= SEQUENCE {
//	    pvno     [0] INTEGER (5),
//	    msg-type [1] INTEGER (11 -- AS -- | 13 -- TGS --),
//	    padata   [2] SEQUENCE OF PA-DATA OPTIONAL,
//	    crealm   [3] Realm,
//	    cname    [4] PrincipalName,
//	    ticket   [5] Ticket,
//	    enc-part [6] EncryptedData -- EncKDCRepPart }
type KDCRep struct {
	MsgType int // MsgASRep or MsgTGSRep
	PAData  MethodData
	CRealm  string
	CName   PrincipalName
	Ticket  Ticket
	EncPart EncryptedData
}

// Marshal puts the message in front of w.
func (m *KDCRep) Marshal(w *der.Writer) {
	end := w.Len()
	m.EncPart.Marshal(w)
	WrapRepEncPart(w, end)
	mark := w.Len()
	m.Ticket.Marshal(w)
	WrapRepTicket(w, mark)
	m.Wrap(w, end)
}

// WrapRepEncPart makes the EncryptedData that was written to w since mark the
// enc-part of a KDC-REP, its last field.
func WrapRepEncPart(w *der.Writer, mark int) { w.Wrap(der.Context(6), mark) }

// WrapRepTicket makes the Ticket that was written to w since mark the ticket of
// a KDC-REP, the field before the enc-part.
func WrapRepTicket(w *der.Writer, mark int) { w.Wrap(der.Context(5), mark) }

// Wrap makes the message of the two fields that were written to w since mark,
// ticket and enc-part. Ticket and EncPart of m are not looked at.
func (m *KDCRep) Wrap(w *der.Writer, mark int) {
	putName(w, 4, m.CName)
	putText(w, 3, m.CRealm)
	putOptPAData(w, 2, m.PAData)
	putInt(w, 1, int64(m.MsgType))
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, m.MsgType, mark)
}

// Unmarshal decodes the whole of b, either kind.
func (m *KDCRep) Unmarshal(b []byte) error {
	m.MsgType = MsgASRep
	if len(b) > 0 && der.Tag(b[0]) == der.Application(MsgTGSRep) {
		m.MsgType = MsgTGSRep
	}
	var d decoder
	r := d.message(b, m.MsgType)
	d.want(&r, 0, ProtocolVersion)
	d.want(&r, 1, int32(m.MsgType))
	m.PAData = d.optPAData(&r, 2, m.PAData)
	m.CRealm = d.text(&r, 3)
	d.name(&r, 4, &m.CName)
	d.ticketAt(&r, 5, &m.Ticket)
	d.encryptedAt(&r, 6, &m.EncPart)
	d.end(&r)
	return d.err("KDC-REP")
}

// LastReq is one entry of last-req.
type LastReq struct {
	Type int32
	Time time.Time
}

// EncKDCRepPart is what the client reads in a KDC-REP.
//
//	EncASRepPart  ::= [APPLICATION 25] EncKDCRepPart
//	EncTGSRepPart ::= [APPLICATION 26] EncKDCRepPart
//	EncKDCRepPart ::= SEQUENCE {
//	    key               [0] EncryptionKey,
//	    last-req          [1] SEQUENCE OF SEQUENCE {
//	                              lr-type [0] Int32, lr-value [1] KerberosTime },
//	    nonce             [2] UInt32,
//	    key-expiration    [3] KerberosTime OPTIONAL,
//	    flags             [4] TicketFlags,
//	    authtime          [5] KerberosTime,
//	    starttime         [6] KerberosTime OPTIONAL,
//	    endtime           [7] KerberosTime,
//	    renew-till        [8] KerberosTime OPTIONAL,
//	    srealm            [9] Realm,
//	    sname             [10] PrincipalName,
//	    caddr             [11] HostAddresses OPTIONAL,
//	    encrypted-pa-data [12] METHOD-DATA OPTIONAL -- RFC 6806 §11 -- }
type EncKDCRepPart struct {
	// MsgType is MsgASRep or MsgTGSRep. A decoder takes either for either
	// reply: some KDCs write 26 always (RFC 4120 §5.4.2).
	MsgType       int
	Key           EncryptionKey
	LastReq       []LastReq
	Nonce         int64 // as in KDCReq
	KeyExpiration time.Time
	Flags         TicketFlags
	AuthTime      time.Time
	StartTime     time.Time
	EndTime       time.Time
	RenewTill     time.Time
	SRealm        string
	SName         PrincipalName
	Addresses     []HostAddress
	EncPAData     MethodData
}

func (p *EncKDCRepPart) tag() int {
	if p.MsgType == MsgTGSRep {
		return tagEncTGSRepPart
	}
	return tagEncASRepPart
}

// Marshal puts the part in front of w.
func (p *EncKDCRepPart) Marshal(w *der.Writer) {
	end := w.Len()
	putOptPAData(w, 12, p.EncPAData)
	putAddresses(w, 11, p.Addresses)
	putName(w, 10, p.SName)
	putText(w, 9, p.SRealm)
	putOptTime(w, 8, p.RenewTill)
	putTime(w, 7, p.EndTime)
	putOptTime(w, 6, p.StartTime)
	putTime(w, 5, p.AuthTime)
	putFlags(w, 4, uint32(p.Flags))
	putOptTime(w, 3, p.KeyExpiration)
	putInt(w, 2, p.Nonce)
	mark := w.Len()
	for i := len(p.LastReq) - 1; i >= 0; i-- {
		one := w.Len()
		putTime(w, 1, p.LastReq[i].Time)
		putInt(w, 0, int64(p.LastReq[i].Type))
		w.Wrap(der.Sequence, one)
	}
	wrapSequence(w, 1, mark)
	putKey(w, 0, p.Key)
	wrapMessage(w, p.tag(), end)
}

// Unmarshal decodes the whole of b, either kind.
func (p *EncKDCRepPart) Unmarshal(b []byte) error {
	p.MsgType = MsgASRep
	if len(b) > 0 && der.Tag(b[0]) == der.Application(tagEncTGSRepPart) {
		p.MsgType = MsgTGSRep
	}
	var d decoder
	r := d.message(b, p.tag())
	p.Key = d.key(&r, 0)
	p.LastReq = p.LastReq[:0]
	list := d.sequenceAt(&r, 1)
	for !list.Empty() && !d.bad {
		if len(p.LastReq) == MaxLastReq {
			d.bad = true
			break
		}
		one := d.enter(&list, der.Sequence)
		l := LastReq{Type: d.int32(&one, 0)}
		l.Time = d.time(&one, 1)
		d.end(&one)
		p.LastReq = append(p.LastReq, l)
	}
	p.Nonce = d.nonce(&r, 2)
	p.KeyExpiration = d.optTime(&r, 3)
	p.Flags = TicketFlags(d.flags(&r, 4))
	p.AuthTime = d.time(&r, 5)
	p.StartTime = d.optTime(&r, 6)
	p.EndTime = d.time(&r, 7)
	p.RenewTill = d.optTime(&r, 8)
	p.SRealm = d.text(&r, 9)
	d.name(&r, 10, &p.SName)
	p.Addresses = d.optAddresses(&r, 11, p.Addresses)
	p.EncPAData = d.optPAData(&r, 12, p.EncPAData)
	d.end(&r)
	return d.err("EncKDCRepPart")
}
