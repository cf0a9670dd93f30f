package krb5

import (
	"bytes"
	"io"
	"testing"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"

	"skyrealm/der"
	"skyrealm/krb5/etype"
)

// counter is randomness that repeats itself from run to run.
type counter byte

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		*c++
		p[i] = byte(*c)
	}
	return len(p), nil
}

// seal encrypts a part where it stands, as a KDC does.
func seal(w *der.Writer, part Marshaler, c *etype.Cipher, id etype.ID, kvno uint32, rand io.Reader) error {
	mark := w.Len()
	w.Space(id.Overhead() - id.Confounder())
	part.Marshal(w)
	w.Space(id.Confounder())
	if err := c.EncryptInPlace(w.Bytes()[:w.Len()-mark], rand); err != nil {
		return err
	}
	WrapEncryptedData(w, mark, int32(id), kvno)
	return nil
}

type repKeys struct {
	id          etype.ID
	user, tgs   etype.Key
	part, inner *etype.Cipher
}

func newRepKeys(t testing.TB, id etype.ID) (k repKeys) {
	t.Helper()
	k.id = id
	raw := bytes.Repeat([]byte("k"), id.KeySize())
	var err error
	if k.user, err = etype.NewKey(id, raw); err != nil {
		t.Fatal(err)
	}
	raw[0]++
	if k.tgs, err = etype.NewKey(id, raw); err != nil {
		t.Fatal(err)
	}
	k.part, k.inner = k.user.Cipher(UsageASRepPart), k.tgs.Cipher(UsageTicket)
	return k
}

func buildASRep(w *der.Writer, k repKeys, rep *KDCRep, tkt *EncTicketPart, part *EncKDCRepPart, rand io.Reader) error {
	end := w.Len()
	if err := seal(w, part, k.part, k.id, 3, rand); err != nil {
		return err
	}
	WrapRepEncPart(w, end)
	mark := w.Len()
	if err := seal(w, tkt, k.inner, k.id, 2, rand); err != nil {
		return err
	}
	WrapTicket(w, mark, realm, someSPN)
	WrapRepTicket(w, mark)
	rep.Wrap(w, end)
	return nil
}

func sampleASRep() (*KDCRep, *EncTicketPart, *EncKDCRepPart) {
	tkt := kinds()[indexOf("EncTicketPart")].full.(*EncTicketPart)
	tkt.PAC = bytes.Repeat([]byte("PAC "), 300)
	return &KDCRep{MsgType: MsgASRep, CRealm: realm, CName: someName}, tkt, fullRepPart(MsgASRep)
}

// TestSealInPlace builds an AS-REP without copying a plaintext, and lets gokrb5
// decrypt both of its parts.
func TestSealInPlace(t *testing.T) {
	for _, id := range []etype.ID{17, 18, 19, 20, 23} {
		k := newRepKeys(t, id)
		rep, tkt, part := sampleASRep()
		w := der.NewWriter(nil)
		if err := buildASRep(w, k, rep, tkt, part, new(counter)); err != nil {
			t.Fatal(err)
		}
		var ours KDCRep
		if err := ours.Unmarshal(w.Bytes()); err != nil || !bytes.Equal(Encode(&ours), w.Bytes()) {
			t.Fatalf("%v: %v", id, err)
		}
		var g messages.ASRep
		if err := g.Unmarshal(w.Bytes()); err != nil {
			t.Fatalf("%v: gokrb5: %v", id, err)
		}
		open := func(e types.EncryptedData, key etype.Key, usage, kvno int) []byte {
			plain, err := crypto.DecryptEncPart(e, types.EncryptionKey{KeyType: int32(id), KeyValue: key.Expose()}, uint32(usage))
			if err != nil || e.KVNO != kvno {
				t.Fatalf("%v: gokrb5 can't decrypt: %v, kvno %d", id, err, e.KVNO)
			}
			return plain
		}
		if plain := open(g.EncPart, k.user, 3, 3); !bytes.Equal(plain, Encode(part)) {
			t.Errorf("%v: enc-part %x", id, plain)
		}
		if plain := open(g.Ticket.EncPart, k.tgs, 2, 2); !bytes.Equal(plain, Encode(tkt)) {
			t.Errorf("%v: ticket %x", id, plain)
		}
	}
}

// TestAllocations holds what the KDC's speed rests on.
func TestAllocations(t *testing.T) {
	asReq := benchASReq()
	var q KDCReq
	if n := testing.AllocsPerRun(100, func() {
		if err := q.Unmarshal(asReq); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("decoding an AS-REQ takes %v allocations", n)
	}
	rep, tkt, part := sampleASRep()
	buf := make([]byte, 4096)
	w := der.NewWriter(buf)
	rep.EncPart, rep.Ticket = someData, someTkt
	if n := testing.AllocsPerRun(100, func() {
		w.Reset(buf)
		rep.Marshal(w)
		w.Reset(buf)
		tkt.Marshal(w)
		w.Reset(buf)
		part.Marshal(w)
	}); n != 0 {
		t.Errorf("encoding a reply takes %v allocations", n)
	}
}

// benchASReq is a request like MIT's kinit sends: eight etypes, four padata.
func benchASReq() []byte {
	q := KDCReq{
		MsgType: MsgASReq,
		PAData: MethodData{{PAEncTimestamp, Encode(EncryptedData{EType: 18, Cipher: make([]byte, 57)})}, {PAReqEncPARep, []byte{}},
			{PAFXCookie, []byte("MIT")}, {PAPACRequest, Encode(PACRequest(true))}},
		Options: OptForwardable | OptCanonicalize | OptRenewableOK, CName: someName, Realm: realm, SName: someSPN,
		Till: someTime, RTime: someTime, Nonce: 1234567890, ETypes: []int32{18, 17, 20, 19, 16, 23, 25, 26},
	}
	return Encode(&q)
}

func BenchmarkASReqUnmarshal(b *testing.B) {
	wire := benchASReq()
	var q KDCReq
	b.ReportAllocs()
	for b.Loop() {
		if err := q.Unmarshal(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkASReqUnmarshalGokrb5(b *testing.B) {
	wire := benchASReq()
	b.ReportAllocs()
	for b.Loop() {
		var q messages.ASReq
		if err := q.Unmarshal(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkASRepMarshal(b *testing.B) {
	rep, tkt, part := sampleASRep()
	rep.EncPart, rep.Ticket = EncryptedData{18, 1, make([]byte, 300)}, Ticket{realm, someSPN, EncryptedData{18, 1, make([]byte, 1500)}}
	buf := make([]byte, 4096)
	w := der.NewWriter(buf)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(buf)
		tkt.Marshal(w)
		w.Reset(buf)
		part.Marshal(w)
		w.Reset(buf)
		rep.Marshal(w)
	}
}

func BenchmarkASRepSealed(b *testing.B) {
	k := newRepKeys(b, 18)
	rep, tkt, part := sampleASRep()
	buf, rand := make([]byte, 4096), new(counter)
	w := der.NewWriter(buf)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(buf)
		if err := buildASRep(w, k, rep, tkt, part, rand); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPreauthRequired(b *testing.B) {
	info := ETypeInfo2{{EType: 18, Salt: realm + "zoë"}, {EType: 17, Salt: realm + "zoë"}, {EType: 23, NoSalt: true}}
	buf := make([]byte, 2048)
	w := der.NewWriter(buf)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(buf)
		info.Marshal(w)
		n := w.Len()
		data := MethodData{{PAETypeInfo2, w.Bytes()}, {PAEncTimestamp, nil}, {PAPKASReq, nil}}
		data.Marshal(w)
		e := Error{STime: someTime, Code: ErrPreauthRequired, Realm: realm, SName: someSPN, EData: w.Bytes()[:w.Len()-n]}
		e.Marshal(w)
	}
}
