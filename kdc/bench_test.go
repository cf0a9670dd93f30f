package kdc

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/asn1tools"
	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pkinit"
)

// requests are more than the replay cache remembers, so that each is new.
const requests = 3 * recentShards * replayEntries

func benchWorld(b *testing.B) *world {
	w := newWorld(b)
	w.kdc.Rand = rand.Reader
	return w
}

func asRequests(w *world) [][]byte {
	out := make([][]byte, requests)
	key := w.key("alice", etype.AES256SHA1)
	q := w.asReq("alice")
	for i := range out {
		q.PAData = krb5.MethodData{w.proof(key, w.now.Add(time.Duration(i)*time.Microsecond)), {Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(true))}}
		out[i] = krb5.Encode(q)
	}
	return out
}

func mustIssue(b *testing.B, w *world, reply []byte, msg byte) {
	if len(reply) == 0 || reply[0] != 0x60|msg {
		w.refused(reply, krb5.ErrNone)
	}
}

// BenchmarkAS is AS-REQ with PA-ENC-TIMESTAMP to AS-REP with a full PAC, AES256.
func BenchmarkAS(b *testing.B) {
	w := benchWorld(b)
	in := asRequests(w)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		reply := w.kdc.Handle(b.Context(), in[i%len(in)], client4, true)
		if n = len(reply); reply[0] != 0x6b {
			mustIssue(b, w, reply, krb5.MsgASRep)
		}
	}
	b.ReportMetric(float64(n), "reply-B")
}

// BenchmarkASFAST is the same inside FAST: armor, encrypted challenge, and a
// strengthened reply.
func BenchmarkASFAST(b *testing.B) {
	w := benchWorld(b)
	a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
	in := make([][]byte, requests)
	q := w.asReq("alice")
	for i := range in {
		q.PAData = krb5.MethodData{a.challenge(key), {Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(true))}}
		in[i] = a.wrap(q)
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		reply := w.kdc.Handle(b.Context(), in[i%len(in)], client4, true)
		if n = len(reply); reply[0] != 0x6b {
			mustIssue(b, w, reply, krb5.MsgASRep)
		}
	}
	b.ReportMetric(float64(n), "reply-B")
}

// BenchmarkASGokrb5 does the same work on gokrb5's types. It is given the PAC
// ready, as it can't encode one, has one account with its keys at hand, and
// keeps no replay cache.
func BenchmarkASGokrb5(b *testing.B) {
	w := benchWorld(b)
	in := asRequests(w)
	krbtgt := w.key("krbtgt", etype.AES256SHA1)
	ready := w.ticket(&w.login("alice").rep.Ticket, krbtgt).PAC
	old := gokrb5KDC{
		user: types.EncryptionKey{KeyType: 18, KeyValue: w.key("alice", etype.AES256SHA1).Expose()},
		tgs:  types.EncryptionKey{KeyType: 18, KeyValue: krbtgt.Expose()},
		pac:  ready, now: w.now,
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		reply, err := old.as(in[i%len(in)])
		if err != nil {
			b.Fatal(err)
		}
		n = len(reply)
	}
	b.ReportMetric(float64(n), "reply-B")
}

type gokrb5KDC struct {
	user, tgs types.EncryptionKey
	pac       []byte
	now       time.Time
}

func (k *gokrb5KDC) as(request []byte) ([]byte, error) {
	var q messages.ASReq
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	for _, pa := range q.PAData {
		if pa.PADataType != 2 {
			continue
		}
		var e types.EncryptedData
		if err := e.Unmarshal(pa.PADataValue); err != nil {
			return nil, err
		}
		plain, err := crypto.DecryptEncPart(e, k.user, 1)
		if err != nil {
			return nil, err
		}
		var ts types.PAEncTSEnc
		if err := ts.Unmarshal(plain); err != nil {
			return nil, err
		}
		if ts.PATimestamp.Sub(k.now).Abs() > 5*time.Minute {
			return nil, krb5.ErrSkew
		}
	}
	ticket, part, err := k.grant(&q.ReqBody, q.ReqBody.CName, k.tgs)
	if err != nil {
		return nil, err
	}
	inner, err := part.Marshal()
	if err != nil {
		return nil, err
	}
	enc, err := crypto.GetEncryptedData(inner, k.user, 3, 2)
	if err != nil {
		return nil, err
	}
	rep := messages.ASRep{KDCRepFields: messages.KDCRepFields{PVNO: 5, MsgType: 11, CRealm: testRealm, CName: q.ReqBody.CName, Ticket: ticket, EncPart: enc}}
	return rep.Marshal()
}

// grant makes ticket and reply part for a request.
func (k *gokrb5KDC) grant(q *messages.KDCReqBody, cname types.PrincipalName, service types.EncryptionKey) (t messages.Ticket, part messages.EncKDCRepPart, err error) {
	session := make([]byte, 32)
	if _, err = rand.Read(session); err != nil {
		return t, part, err
	}
	key := types.EncryptionKey{KeyType: 18, KeyValue: session}
	flags := types.NewKrbFlags()
	types.SetFlags(&flags, []int{1, 3, 8, 9, 10})
	lone, err := asn1.Marshal(types.AuthorizationData{{ADType: 128, ADData: k.pac}})
	if err != nil {
		return t, part, err
	}
	start := k.now.Truncate(time.Second)
	end, renew := start.Add(10*time.Hour), start.Add(7*24*time.Hour)
	inner, err := asn1.Marshal(messages.EncTicketPart{
		Flags: flags, Key: key, CRealm: testRealm, CName: cname,
		Transited: messages.TransitedEncoding{TRType: 1, Contents: []byte{}},
		AuthTime:  start, StartTime: start, EndTime: end, RenewTill: renew,
		AuthorizationData: types.AuthorizationData{{ADType: 1, ADData: lone}},
	})
	if err != nil {
		return t, part, err
	}
	enc, err := crypto.GetEncryptedData(asn1tools.AddASNAppTag(inner, 3), service, 2, 1)
	if err != nil {
		return t, part, err
	}
	t = messages.Ticket{TktVNO: 5, Realm: testRealm, SName: q.SName, EncPart: enc}
	part = messages.EncKDCRepPart{
		Key: key, LastReqs: []messages.LastReq{{LRType: 0, LRValue: start}}, Nonce: q.Nonce, Flags: flags,
		AuthTime: start, StartTime: start, EndTime: end, RenewTill: renew, SRealm: testRealm, SName: q.SName,
	}
	return t, part, nil
}

// BenchmarkPreauthRequired is the first half of every sign-in.
func BenchmarkPreauthRequired(b *testing.B) {
	w := benchWorld(b)
	in := krb5.Encode(w.asReq("alice"))
	b.ReportAllocs()
	for b.Loop() {
		if reply := w.kdc.Handle(b.Context(), in, client4, false); reply[0] != 0x7e {
			b.Fatal("not an error")
		}
	}
}

func tgsRequests(w *world) [][]byte {
	g := w.login("alice")
	out := make([][]byte, requests)
	for i := range out {
		q := w.tgsReq(g, webSPN)
		q.auth.CTime = w.now.Add(time.Duration(i) * time.Microsecond)
		out[i] = w.encode(q)
	}
	return out
}

// BenchmarkTGS is TGS-REQ to a service ticket whose PAC has four signatures.
func BenchmarkTGS(b *testing.B) {
	w := benchWorld(b)
	in := tgsRequests(w)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		reply := w.kdc.Handle(b.Context(), in[i%len(in)], client4, true)
		if n = len(reply); reply[0] != 0x6d {
			mustIssue(b, w, reply, krb5.MsgTGSRep)
		}
	}
	b.ReportMetric(float64(n), "reply-B")
}

// BenchmarkTGSGokrb5 is the same on gokrb5's types, without looking into the
// TGT's PAC or signing the new one.
func BenchmarkTGSGokrb5(b *testing.B) {
	w := benchWorld(b)
	in := tgsRequests(w)
	krbtgt := w.key("krbtgt", etype.AES256SHA1)
	old := gokrb5KDC{
		user: types.EncryptionKey{KeyType: 18, KeyValue: w.key("web", etype.AES256SHA1).Expose()},
		tgs:  types.EncryptionKey{KeyType: 18, KeyValue: krbtgt.Expose()},
		pac:  w.ticket(&w.login("alice").rep.Ticket, krbtgt).PAC, now: w.now,
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for i := 0; b.Loop(); i++ {
		reply, err := old.tgsExchange(in[i%len(in)])
		if err != nil {
			b.Fatal(err)
		}
		n = len(reply)
	}
	b.ReportMetric(float64(n), "reply-B")
}

func (k *gokrb5KDC) tgsExchange(request []byte) ([]byte, error) {
	var q messages.TGSReq
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	var ap messages.APReq
	if err := ap.Unmarshal(q.PAData[0].PADataValue); err != nil {
		return nil, err
	}
	if err := ap.Ticket.Decrypt(k.tgs); err != nil {
		return nil, err
	}
	session := ap.Ticket.DecryptedEncPart.Key
	plain, err := crypto.DecryptEncPart(ap.EncryptedAuthenticator, session, 7)
	if err != nil {
		return nil, err
	}
	var a types.Authenticator
	if err := a.Unmarshal(plain); err != nil {
		return nil, err
	}
	body, err := q.ReqBody.Marshal()
	if err != nil {
		return nil, err
	}
	et, err := crypto.GetEtype(session.KeyType)
	if err != nil {
		return nil, err
	}
	if !et.VerifyChecksum(session.KeyValue, body, a.Cksum.Checksum, 6) {
		return nil, krb5.ErrModified
	}
	ticket, part, err := k.grant(&q.ReqBody, ap.Ticket.DecryptedEncPart.CName, k.user)
	if err != nil {
		return nil, err
	}
	inner, err := part.Marshal()
	if err != nil {
		return nil, err
	}
	enc, err := crypto.GetEncryptedData(inner, session, 8, 0)
	if err != nil {
		return nil, err
	}
	rep := messages.TGSRep{KDCRepFields: messages.KDCRepFields{PVNO: 5, MsgType: 13, CRealm: testRealm, CName: ap.Ticket.DecryptedEncPart.CName, Ticket: ticket, EncPart: enc}}
	return rep.Marshal()
}

// BenchmarkCertificate is a sign-in with a certificate: a path, a signature, a
// key agreement, and a signature of ours.
func BenchmarkCertificate(b *testing.B) {
	for _, g := range []*pkinit.Group{pkinit.P256, pkinit.Group14, pkinit.Group16} {
		b.Run(g.String(), func(b *testing.B) {
			w := newWorld(b)
			c := w.withPKINIT().card(person(w.anna()))
			c.group = g
			request, _ := w.request(w.asReq("alice"), c)
			for b.Loop() {
				w.kdc.replay = replayCache{}
				if len(w.sendRaw(request)) < 1000 {
					b.Fatal("refused")
				}
			}
		})
	}
}
