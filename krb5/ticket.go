package krb5

import (
	"time"

	"skyrealm/der"
)

// EncryptedData is ciphertext and what it takes to find its key.
//
//	EncryptedData ::= SEQUENCE {
//	    etype  [0] Int32,
//	    kvno   [1] UInt32 OPTIONAL,
//	    cipher [2] OCTET STRING }
type EncryptedData struct {
	EType  int32
	KVNO   uint32 // 0: absent
	Cipher []byte // never empty where it is present
}

// IsZero reports whether the data is absent.
func (e EncryptedData) IsZero() bool { return len(e.Cipher) == 0 }

// WrapEncryptedData makes an EncryptedData of the ciphertext that was written
// to w since Len returned mark; kvno 0 is left out. With it a part is encrypted
// where it stands:
//
//	mark := w.Len()
//	w.Space(tail)  // the MAC's place
//	part.Marshal(w)
//	w.Space(head)  // the confounder's place
//	encrypt(w.Bytes()[:w.Len()-mark])
//	krb5.WrapEncryptedData(w, mark, etype, kvno)
//
// [WrapTicket] and [KDCRep.Wrap] put around it what comes next.
func WrapEncryptedData(w *der.Writer, mark int, etype int32, kvno uint32) {
	w.Wrap(der.OctetString, mark)
	w.Wrap(der.Context(2), mark)
	if kvno != 0 {
		putInt(w, 1, int64(kvno))
	}
	putInt(w, 0, int64(etype))
	w.Wrap(der.Sequence, mark)
}

// Marshal puts the SEQUENCE in front of w.
func (e EncryptedData) Marshal(w *der.Writer) {
	mark := w.Len()
	w.Raw(e.Cipher)
	WrapEncryptedData(w, mark, e.EType, e.KVNO)
}

// Unmarshal decodes the whole of b: the value of PA-ENC-TIMESTAMP is one.
func (e *EncryptedData) Unmarshal(b []byte) error {
	var d decoder
	r := der.NewReader(b)
	d.encrypted(&r, e)
	return d.err("EncryptedData")
}

// encrypted reads the SEQUENCE that must be all of r.
func (d *decoder) encrypted(r *der.Reader, e *EncryptedData) {
	in := d.whole(r)
	e.EType = d.int32(&in, 0)
	e.KVNO = d.optUint32(&in, 1)
	e.Cipher = d.octets(&in, 2)
	d.end(&in)
	if len(e.Cipher) == 0 {
		d.bad = true
	}
}

func (d *decoder) encryptedAt(r *der.Reader, n int, e *EncryptedData) {
	in := d.enter(r, der.Context(n))
	d.encrypted(&in, e)
}

func putEncrypted(w *der.Writer, n int, e EncryptedData) {
	mark := w.Len()
	e.Marshal(w)
	w.Wrap(der.Context(n), mark)
}

// Ticket is what a client shows to a service and can't read.
//
//	Ticket ::= [APPLICATION 1] SEQUENCE {
//	    tkt-vno  [0] INTEGER (5),
//	    realm    [1] Realm,
//	    sname    [2] PrincipalName,
//	    enc-part [3] EncryptedData -- EncTicketPart }
type Ticket struct {
	Realm   string
	SName   PrincipalName
	EncPart EncryptedData
}

// WrapTicket makes a Ticket of the EncryptedData that was written to w since
// Len returned mark.
func WrapTicket(w *der.Writer, mark int, realm string, sname PrincipalName) {
	w.Wrap(der.Context(3), mark)
	putName(w, 2, sname)
	putText(w, 1, realm)
	putInt(w, 0, ProtocolVersion)
	wrapMessage(w, tagTicket, mark)
}

// Marshal puts the ticket in front of w.
func (t *Ticket) Marshal(w *der.Writer) {
	mark := w.Len()
	t.EncPart.Marshal(w)
	WrapTicket(w, mark, t.Realm, t.SName)
}

// Unmarshal decodes the whole of b.
func (t *Ticket) Unmarshal(b []byte) error {
	var d decoder
	r := der.NewReader(b)
	d.ticket(&r, t)
	d.end(&r)
	return d.err("Ticket")
}

// ticket reads the next element of r.
func (d *decoder) ticket(r *der.Reader, t *Ticket) {
	app := d.enter(r, der.Application(tagTicket))
	in := d.whole(&app)
	d.want(&in, 0, ProtocolVersion)
	t.Realm = d.text(&in, 1)
	d.name(&in, 2, &t.SName)
	d.encryptedAt(&in, 3, &t.EncPart)
	d.end(&in)
}

func (d *decoder) ticketAt(r *der.Reader, n int, t *Ticket) {
	in := d.enter(r, der.Context(n))
	d.ticket(&in, t)
	d.end(&in)
}

func putTicket(w *der.Writer, n int, t *Ticket) {
	mark := w.Len()
	t.Marshal(w)
	w.Wrap(der.Context(n), mark)
}

// TransitedEncoding lists the realms that a ticket crossed.
//
//	TransitedEncoding ::= SEQUENCE {
//	    tr-type  [0] Int32,
//	    contents [1] OCTET STRING }
type TransitedEncoding struct {
	Type     int32
	Contents []byte
}

// EncTicketPart is what the service reads in a ticket.
//
//	EncTicketPart ::= [APPLICATION 3] SEQUENCE {
//	    flags              [0] TicketFlags,
//	    key                [1] EncryptionKey,
//	    crealm             [2] Realm,
//	    cname              [3] PrincipalName,
//	    transited          [4] TransitedEncoding,
//	    authtime           [5] KerberosTime,
//	    starttime          [6] KerberosTime OPTIONAL,
//	    endtime            [7] KerberosTime,
//	    renew-till         [8] KerberosTime OPTIONAL,
//	    caddr              [9] HostAddresses OPTIONAL,
//	    authorization-data [10] AuthorizationData OPTIONAL }
type EncTicketPart struct {
	Flags     TicketFlags
	Key       EncryptionKey
	CRealm    string
	CName     PrincipalName
	Transited TransitedEncoding
	AuthTime  time.Time
	StartTime time.Time
	EndTime   time.Time
	RenewTill time.Time
	Addresses []HostAddress

	// PAC is the [MS-PAC] PACTYPE that stands alone in an AD-IF-RELEVANT in
	// front of all other authorization data, where Windows, MIT and we put
	// it; nil where none stands there. The PAC's ticket checksum covers the
	// part with PAC = []byte{0} ([MS-PAC] §2.8.3).
	PAC []byte
	// AuthData is the rest. Whoever issues a ticket must let no
	// AD-WIN2K-PAC in here: services differ in which of two they believe.
	AuthData AuthorizationData
}

// Marshal puts the part in front of w.
func (p *EncTicketPart) Marshal(w *der.Writer) {
	end := w.Len()
	if p.PAC != nil || len(p.AuthData) > 0 {
		p.AuthData.entries(w)
		if p.PAC != nil {
			mark := w.Len()
			putOctets(w, 1, p.PAC)
			putInt(w, 0, int64(ADWin2kPAC))
			w.Wrap(der.Sequence, mark)
			w.Wrap(der.Sequence, mark)
			w.Wrap(der.OctetString, mark)
			w.Wrap(der.Context(1), mark)
			putInt(w, 0, int64(ADIfRelevant))
			w.Wrap(der.Sequence, mark)
		}
		wrapSequence(w, 10, end)
	}
	putAddresses(w, 9, p.Addresses)
	putOptTime(w, 8, p.RenewTill)
	putTime(w, 7, p.EndTime)
	putOptTime(w, 6, p.StartTime)
	putTime(w, 5, p.AuthTime)
	mark := w.Len()
	putOctets(w, 1, p.Transited.Contents)
	putInt(w, 0, int64(p.Transited.Type))
	wrapSequence(w, 4, mark)
	putName(w, 3, p.CName)
	putText(w, 2, p.CRealm)
	putKey(w, 1, p.Key)
	putFlags(w, 0, uint32(p.Flags))
	wrapMessage(w, tagEncTicketPart, end)
}

// Unmarshal decodes the whole of b.
func (p *EncTicketPart) Unmarshal(b []byte) error {
	var d decoder
	r := d.message(b, tagEncTicketPart)
	p.Flags = TicketFlags(d.flags(&r, 0))
	p.Key = d.key(&r, 1)
	p.CRealm = d.text(&r, 2)
	d.name(&r, 3, &p.CName)
	tr := d.sequenceAt(&r, 4)
	p.Transited.Type = d.int32(&tr, 0)
	p.Transited.Contents = d.octets(&tr, 1)
	d.end(&tr)
	p.AuthTime = d.time(&r, 5)
	p.StartTime = d.optTime(&r, 6)
	p.EndTime = d.time(&r, 7)
	p.RenewTill = d.optTime(&r, 8)
	p.Addresses = d.optAddresses(&r, 9, p.Addresses)
	p.AuthData = d.optAuthData(&r, 10, p.AuthData)
	p.PAC = nil
	if len(p.AuthData) > 0 && !d.bad {
		if p.PAC = p.AuthData[0].lonePAC(); p.PAC != nil {
			p.AuthData = append(p.AuthData[:0], p.AuthData[1:]...)
		}
	}
	d.end(&r)
	return d.err("EncTicketPart")
}
