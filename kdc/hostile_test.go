package kdc

import (
	"bytes"
	"encoding/hex"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// calm fails on a panic that Handle caught, and on an answer that is neither an
// error nor a reply.
func (w *world) calm(b []byte) []byte {
	w.t.Helper()
	reply := w.sendRaw(b)
	if n := w.kdc.Count.Panics.Load(); n != 0 {
		w.t.Fatalf("panic on %x", b)
	}
	var e krb5.Error
	var rep krb5.KDCRep
	if reply != nil && e.Unmarshal(reply) != nil && rep.Unmarshal(reply) != nil {
		w.t.Fatalf("answer to %x is %x", b, reply)
	}
	return reply
}

// valid are requests of both kinds that get a ticket.
func (w *world) valid() [][]byte {
	as := w.proven("alice", etype.AES256SHA1)
	as.PAData = append(as.PAData, krb5.PAData{Type: krb5.PAReqEncPARep, Value: []byte{}}, krb5.PAData{Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(true))})
	q := w.tgsReq(w.login("alice"), webSPN)
	q.auth.Subkey = krb5.NewEncryptionKey(17, mustKey(w.t, 17).Expose())
	// And both inside FAST.
	a := w.armor(w.login("WS1$"))
	armored := w.asReq("alice")
	armored.PAData = krb5.MethodData{a.challenge(w.key("alice", etype.AES256SHA1))}
	b := w.armor(w.login("web"))
	return [][]byte{krb5.Encode(as), w.encode(q), a.wrap(armored), b.tgs(w.tgsReq(b.grant(), webSPN))}
}

// TestTruncated cuts valid requests at each byte (trust.md K02).
func TestTruncated(t *testing.T) {
	w := newWorld(t)
	for _, b := range w.valid() {
		reply := w.calm(b)
		for n := range b {
			w.calm(b[:n])
			// Cut, but with lengths that fit: the same where der stops looking.
			w.calm(append(bytes.Clone(b[:n]), make([]byte, len(b)-n)...))
		}
		if reply[0] == 0x7e || !bytes.Equal(w.calm(b), reply) {
			t.Errorf("%.8x", reply)
		}
	}
}

// TestFlipped changes every byte of valid requests, and gets no ticket where the
// change touched what is vouched for.
func TestFlipped(t *testing.T) {
	w := newWorld(t)
	for _, b := range w.valid() {
		for i := range b {
			for _, bit := range []byte{1, 0x20, 0x80} {
				c := bytes.Clone(b)
				c[i] ^= bit
				w.calm(c)
			}
		}
	}
}

// TestNested sends elements within elements (trust.md K01, CVE-2020-28196).
func TestNested(t *testing.T) {
	w := newWorld(t)
	for _, depth := range []int{10, 100, 1000, 10000} {
		d := der.NewWriter(nil)
		for range depth {
			d.Wrap(der.Sequence, 0)
		}
		d.Wrap(der.Application(krb5.MsgASReq), 0)
		start := time.Now()
		w.calm(bytes.Clone(d.Bytes()))
		w.calm(append([]byte{0x6a, 0x80}, bytes.Repeat([]byte{0x30, 0x80}, depth)...)) // indefinite

		// Within a PA-DATA, where the decoder of the message does not look.
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{{Type: krb5.PAEncTimestamp, Value: bytes.Clone(d.Bytes())}}
		w.calm(krb5.Encode(q))
		if took := time.Since(start); took > 150*time.Millisecond {
			t.Errorf("depth %d took %v", depth, took)
		}
	}
	w.login("alice")
}

// TestNoAnswer: what is no request is not answered, least of all errors and
// replies, or two KDCs would talk for ever.
func TestNoAnswer(t *testing.T) {
	w := newWorld(t)
	valid := w.valid()
	for _, b := range [][]byte{
		nil, {}, {0}, {0x6a}, {0x6a, 0}, {0x6a, 0x84, 0xff, 0xff, 0xff, 0xff}, []byte("GET / HTTP/1.1\r\n\r\n"),
		krb5.Encode(&krb5.Error{STime: w.now, Code: krb5.ErrGeneric, Realm: testRealm, SName: krb5.Principal(1, "x")}),
		w.sendRaw(valid[0]), w.sendRaw(valid[1]),
		krb5.Encode(&krb5.APReq{Ticket: krb5.Ticket{Realm: testRealm, SName: krb5.Principal(1, "x"), EncPart: krb5.EncryptedData{EType: 18, Cipher: []byte{1}}},
			Authenticator: krb5.EncryptedData{EType: 18, Cipher: []byte{1}}}),
		append(bytes.Clone(valid[0]), 0), // something follows
	} {
		before := w.kdc.Count.Dropped.Load()
		if reply := w.sendRaw(b); reply != nil || w.kdc.Count.Dropped.Load() != before+1 {
			t.Errorf("%.40x is answered with %x", b, reply)
		}
	}
}

// TestOmitted leaves out each combination of optional fields (trust.md K04,
// CVE-2021-37750).
func TestOmitted(t *testing.T) {
	w := newWorld(t)
	sealed := krb5.EncryptedData{EType: 18, Cipher: []byte("no ciphertext")}
	full := func(kind int) *krb5.KDCReq {
		q := w.asReq("alice")
		q.MsgType, q.From = kind, w.now
		q.PAData = krb5.MethodData{{Type: krb5.PATGSReq, Value: []byte{0x30, 0}}, {Type: krb5.PAEncTimestamp, Value: krb5.Encode(sealed)}}
		q.Addresses = []krb5.HostAddress{{Type: krb5.AddrIPv4, Address: []byte{127, 0, 0, 1}}}
		q.EncAuthData = sealed
		q.AdditionalTickets = []krb5.Ticket{{Realm: testRealm, SName: krb5.Principal(1, "x"), EncPart: sealed}}
		return q
	}
	for _, kind := range []int{krb5.MsgASReq, krb5.MsgTGSReq} {
		for mask := range 1 << 8 {
			q := full(kind)
			for i, omit := range []func(){
				func() { q.PAData = nil }, func() { q.CName = krb5.PrincipalName{} }, func() { q.SName = krb5.PrincipalName{} },
				func() { q.From = time.Time{} }, func() { q.RTime = time.Time{} }, func() { q.Addresses = nil },
				func() { q.EncAuthData = krb5.EncryptedData{} }, func() { q.AdditionalTickets = nil },
			} {
				if mask>>i&1 != 0 {
					omit()
				}
			}
			if reply := w.calm(krb5.Encode(q)); reply == nil {
				t.Errorf("kind %d without %08b: no answer", kind, mask)
			}
		}
	}

	// And of the parts that only the keys' owners can write.
	g := w.login("alice")
	for _, alter := range []func(q *tgsReq){
		func(q *tgsReq) { q.auth.SeqNumber = 0 },
		func(q *tgsReq) { q.noSum = true },
		func(q *tgsReq) { q.tgt.EncPart.KVNO = 0 },
	} {
		q := w.tgsReq(g, webSPN)
		alter(q)
		w.calm(w.encode(q))
	}
	if raw, err := hex.DecodeString("6e0530030201ff"); err == nil {
		q := w.tgsReq(g, webSPN)
		q.body.PAData = krb5.MethodData{{Type: krb5.PATGSReq, Value: raw}}
		w.refused(w.send(&q.body), krb5.ErrGeneric)
	}
}

// TestManyETypes: any list is logged and answered (trust.md K06,
// CVE-2019-14844).
func TestManyETypes(t *testing.T) {
	for _, n := range []int{1, krb5.MaxETypes - 1, krb5.MaxETypes, krb5.MaxETypes + 1, 1000} {
		w := newWorld(t)
		var log bytes.Buffer
		w.kdc.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		q := w.asReq("alice")
		q.ETypes = nil
		for i := range n {
			q.ETypes = append(q.ETypes, int32(i)*-7919)
		}
		reply := w.calm(krb5.Encode(q))
		if over := n > krb5.MaxETypes; (reply == nil) != over {
			t.Errorf("%d etypes: answer %x", n, reply)
		} else if !over {
			w.refused(reply, krb5.ErrETypeNoSupp)
		}
	}
}

// TestLog: one line for each refusal, with names, and nothing of what must not
// be in a log.
func TestLog(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.kdc.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	q := w.proven("alice", 18)
	e, ok := q.PAData.Find(krb5.PAEncTimestamp)
	q.Nonce++
	q.CName.Name[0] = strings.Repeat("é\n\x1b[2J", 90)
	w.refused(w.send(q), krb5.ErrCPrincipalUnknown)
	line := log.String()
	if !ok || strings.Count(line, "\n") != 1 || !strings.Contains(line, `"code":"KDC_ERR_C_PRINCIPAL_UNKNOWN"`) || !strings.Contains(line, `"service":"krbtgt/`+testRealm) ||
		!strings.Contains(line, `"from":"127.0.0.1:40000"`) || strings.Contains(line, hex.EncodeToString(e[20:30])) || len(line) > 1500 {
		t.Errorf("log: %s", line)
	}
	log.Reset()
	w.login("alice")
	if log.Len() != 0 {
		t.Errorf("a sign-in that went well left %s", &log)
	}
}

// TestPanicIsContained: a fault of ours ends one request.
func TestPanicIsContained(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.kdc.Log = slog.New(slog.NewJSONHandler(&log, nil))
	w.kdc.Rand = nil
	if reply := w.send(w.proven("alice", 18)); reply != nil {
		t.Errorf("answered with %x", reply)
	}
	if w.kdc.Count.Panics.Load() != 1 || !strings.Contains(log.String(), "panic") || strings.Contains(log.String(), "alice") {
		t.Errorf("log: %s", &log)
	}
	w.kdc.Rand = w.rand
	w.login("alice")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestInternalErrors: what goes wrong inside stays inside.
func TestInternalErrors(t *testing.T) {
	w := newWorld(t)
	w.kdc.Rand = broken{}
	if e := w.refused(w.send(w.proven("alice", 18)), krb5.ErrGeneric); e.EText != "" || e.EData != nil {
		t.Errorf("the client is told %q", e.EText)
	}
}

// TestTooBig: a reply that does not fit a datagram sends the client to TCP,
// where the very same request gets the reply.
func TestTooBig(t *testing.T) {
	w := newWorld(t)
	request := krb5.Encode(w.proven("alice", 18))
	w.refused(w.kdc.Handle(t.Context(), request, client4, false), krb5.ErrResponseTooBig)
	w.open(w.sendRaw(request), w.key("alice", 18), krb5.UsageASRepPart)

	// To the byte.
	w = newWorld(t)
	n := len(w.sendRaw(request))
	for limit, fits := range map[int]bool{n - 1: false, n: true} {
		w = newWorld(t)
		w.kdc.Policy.MaxUDPReply = limit
		if reply := w.kdc.Handle(t.Context(), request, client4, false); (reply[0] == 0x6b) != fits {
			t.Errorf("a reply of %d bytes with a limit of %d: %x", n, limit, reply[:4])
		}
	}
}

// TestConcurrent lets the race detector look at the caches.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	var in [][]byte
	for i := range 40 {
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{w.proof(w.key("alice", 18), w.now.Add(time.Duration(i)))}
		in = append(in, krb5.Encode(q), krb5.Encode(w.asReq("bob")), w.encode(w.tgsReq(g, webSPN)))
	}
	done := make(chan bool)
	for range 4 {
		go func() {
			for _, b := range in {
				if reply := w.sendRaw(b); reply == nil {
					t.Error("no answer")
				}
			}
			done <- true
		}()
	}
	for range 10 {
		w.change("web", func(r *domain.Record) { r.SPNs = slices.Clone(r.SPNs) })
	}
	for range 4 {
		<-done
	}
	if n := w.kdc.Count.Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
}

// FuzzHandle: no input ends in a panic, or in an answer that is none.
func FuzzHandle(f *testing.F) {
	w := newWorld(f)
	for _, b := range w.valid() {
		f.Add(b)
	}
	f.Add(krb5.Encode(w.asReq("müller")))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := *w
		w.t = t
		w.calm(b)
	})
}

// FuzzFAST reaches what only the holder of armor does: the inner request is the
// fuzzer's.
func FuzzFAST(f *testing.F) {
	w := newWorld(f)
	a := w.armor(w.login("WS1$"))
	for _, q := range []*krb5.KDCReq{w.asReq("alice"), w.asReq("carol"), w.proven("bob", etype.RC4)} {
		q.PAData = append(q.PAData, a.challenge(w.key("alice", etype.AES256SHA1)))
		f.Add(krb5.Encode(&krb5.FASTReq{Options: krb5.FASTHideClientNames, PAData: q.PAData, Body: krb5.Encode(marshalBody{q})}))
	}
	f.Fuzz(func(t *testing.T, inner []byte) {
		w := *w
		w.t = t
		a := *a
		a.w = &w
		a.envelop = func(f *krb5.FASTArmoredReq) { f.EncReq = a.encrypt(a.key, inner, krb5.UsageFASTEncrypt) }
		w.calm(a.wrap(w.asReq("alice")))
	})
}

// FuzzTGS reaches what only the holder of a TGT does: the body is the fuzzer's,
// the proof is right.
func FuzzTGS(f *testing.F) {
	w := newWorld(f)
	g := w.login("alice")
	q := w.tgsReq(g, webSPN)
	f.Add(krb5.Encode(marshalBody{&q.body}), []byte("x"))
	q.body.SName = w.kdc.tgs
	q.body.Options = krb5.OptRenew
	f.Add(krb5.Encode(marshalBody{&q.body}), krb5.Encode(krb5.AuthorizationData{{Type: 1, Data: []byte{0x30, 0}}}))
	f.Fuzz(func(t *testing.T, body, authData []byte) {
		w := *w
		w.t = t
		q := w.tgsReq(g, webSPN)
		if q.body.UnmarshalBody(body) != nil {
			return
		}
		if cipher, err := g.session.Encrypt(nil, authData, krb5.UsageTGSReqAuthDataSession, w.rand); err == nil && len(authData) > 0 {
			q.body.EncAuthData = krb5.EncryptedData{EType: 18, Cipher: cipher}
		}
		w.calm(w.encode(q))
	})
}
