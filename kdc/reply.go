package kdc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"skyrealm/der"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// issue is phase 5: ticket and reply, from what the phases before it have put
// into the exchange. Both are written from their ends, each part encrypted
// where it stands, into one buffer.
func (x *exchange) issue(attributes pac.Attributes) ([]byte, error) {
	tgs, err := x.krbtgtKeys()
	if err != nil {
		return nil, err
	}
	if err := x.makeSession(tgs.current); err != nil {
		return nil, err
	}

	t := &x.ticket
	t.Key, t.CRealm, t.CName = x.session.wire(), x.crealm, x.cname
	t.Transited = krb5.TransitedEncoding{Type: krb5.TransitedX500Compress, Contents: []byte{}}
	t.Addresses = nil // as AD: clients behind address translation have others than they know
	if x.client == nil {
		t.PAC = nil // nobody has no groups; the TGS takes no such ticket
	} else if err := x.sealPAC(tgs.current.key, attributes); err != nil {
		return nil, err
	}
	if x.fast != nil {
		if err := x.strengthenReply(); err != nil {
			return nil, err
		}
	}
	x.fillPart()

	w, service := &x.out, x.service.keys.current
	end := w.Len()
	if err := x.sealPart(w); err != nil {
		return nil, err
	}
	krb5.WrapRepEncPart(w, end)
	mark := w.Len()
	if err := x.sealTicket(w, service); err != nil {
		return nil, err
	}
	krb5.WrapTicket(w, mark, x.k.realm, x.service.name)
	ticket := w.Bytes()[:w.Len()-mark]
	krb5.WrapRepTicket(w, mark)
	x.rep = krb5.KDCRep{MsgType: x.part.MsgType, CRealm: x.crealm, CName: x.cname}
	if x.part.MsgType == krb5.MsgASRep {
		// How the key of this reply is made, for clients that guessed (RFC 4120
		// §5.2.7.5).
		x.etypeInfo = x.etypeInfo[:0]
		if id := x.reply.key.ID(); id != etype.RC4 && x.reply.kvno != 0 {
			x.addETypeInfo(id)
			x.repPAData = append(x.repPAData, krb5.PAData{Type: krb5.PAETypeInfo2, Value: x.aside(&x.etypeInfo)})
		}
	}
	x.rep.PAData = x.repPAData
	if x.fast != nil {
		if err := x.armorReply(ticket); err != nil {
			return nil, err
		}
	}
	x.rep.Wrap(w, end)
	return x.once(bytes.Clone(w.Bytes()))
}

// makeSession makes the session key, of the request and of a secret that goes with the
// krbtgt's key: a request that comes again, to another replica or after a start, brings no
// second key into being (K13). It is of the whole request: who exchanges the name of the
// service in what somebody else has sent is not given that one's key. Both parts that are
// hashed have one length, so that no key leads to another.
func (x *exchange) makeSession(krbtgt *keyVersion) error {
	s := &x.session
	switch {
	case s.made:
	case x.proof != nil:
		request := sha256.Sum256(x.raw)
		in := append(append(make([]byte, 0, 80), krbtgt.sessions...), byte(s.id))
		s.bytes = sha256.Sum256(append(in, request[:]...))
	default: // whoever asks so, asks as often as he likes
		if _, err := io.ReadFull(x.k.Rand, s.bytes[:s.id.KeySize()]); err != nil {
			return fmt.Errorf("kdc: session key: %w", err)
		}
	}
	return nil
}

// fillPart fills in what the client reads (RFC 4120 §5.4.2).
func (x *exchange) fillPart() {
	t := &x.ticket
	x.lastReq[0] = krb5.LastReq{Type: krb5.LRNone, Time: x.now}
	x.part = krb5.EncKDCRepPart{
		MsgType: krb5.MsgTGSRep,
		Key:     t.Key, LastReq: x.lastReq[:], Nonce: x.req.Nonce, Flags: t.Flags,
		AuthTime: t.AuthTime, StartTime: t.StartTime, EndTime: t.EndTime, RenewTill: t.RenewTill,
		SRealm: x.k.realm, SName: x.service.name,
	}
	x.padata = x.padata[:0]
	if x.req.MsgType == krb5.MsgASReq {
		x.part.MsgType = krb5.MsgASRep
		if t.Flags&krb5.FlagEncPARep != 0 {
			x.padata = append(x.padata, krb5.PAData{Type: krb5.PAReqEncPARep, Value: x.requestChecksum()},
				krb5.PAData{Type: krb5.PAFXFast, Value: []byte{}}) // FAST is understood here
		}
	}
	// What the service can do, so that the client offers no less ([MS-KILE]
	// §3.3.5.7).
	mark := x.aux.Len()
	types := x.service.keys.supported
	if x.service.tgs {
		types |= krb5.SupportedFAST
	}
	types.Marshal(&x.aux)
	x.padata = append(x.padata, krb5.PAData{Type: krb5.PASupportedEncTypes, Value: x.aux.Bytes()[:x.aux.Len()-mark]})
	if x.s4u != nil {
		x.padata = append(x.padata, x.s4u.encPAData...)
	}
	x.part.EncPAData = x.padata
}

// requestChecksum vouches for the whole AS-REQ, unprotected as it came, under
// the reply's key (RFC 6806 §11): the client sees what was changed on the way.
func (x *exchange) requestChecksum() []byte {
	var room [24]byte
	sum := x.reply.key.Checksum(room[:0], x.raw, krb5.UsageASReq)
	w := &x.aux
	end := w.Len()
	w.Octets(der.OctetString, sum)
	w.Wrap(der.Context(1), end)
	mark := w.Len()
	w.Int(der.Integer, int64(x.reply.key.ID().ChecksumType()))
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
	return w.Bytes()[:w.Len()-end]
}

// sealPart encrypts the client's part in the reply key, which serves once and
// is not kept ready.
func (x *exchange) sealPart(w *der.Writer) error {
	k := &x.reply
	id := k.key.ID()
	head, tail := id.Confounder(), id.Overhead()-id.Confounder()
	mark := w.Len()
	w.Space(tail)
	x.part.Marshal(w)
	w.Space(head)
	room := w.Bytes()[:w.Len()-mark]
	if _, err := k.key.Encrypt(room[:0], room[head:len(room)-tail], k.usage, x.k.Rand); err != nil {
		return err
	}
	krb5.WrapEncryptedData(w, mark, int32(id), k.kvno)
	return nil
}

// sealTicket encrypts the service's part.
func (x *exchange) sealTicket(w *der.Writer, v *keyVersion) error {
	id := v.key.ID()
	mark := w.Len()
	w.Space(id.Overhead() - id.Confounder())
	x.ticket.Marshal(w)
	w.Space(id.Confounder())
	if err := v.ticket.EncryptInPlace(w.Bytes()[:w.Len()-mark], x.k.Rand); err != nil {
		return err
	}
	krb5.WrapEncryptedData(w, mark, int32(id), v.kvno)
	return nil
}
