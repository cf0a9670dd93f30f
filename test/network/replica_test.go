package network

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/test/harness"
)

// replayed: who has seen a sign-in go by and sends it again gets from the same process
// the same reply, and from another on the same database, which knows nothing of it,
// one with the same session key, that opens with the client's key alone (K13).
func (x *hostile) replayed(t *testing.T) {
	s := x.s
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	ring, err := os.ReadFile(filepath.Join(s.Dir, "keys", "domain.ring"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "keys", "domain.ring"), ring, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	other := harness.StartIn(t, dir, "--database", x.database, "--roles", "domain")

	q := &krb5.KDCReq{MsgType: krb5.MsgASReq, CName: krb5.Principal(1, "ada"), Realm: s.Realm, SName: krb5.Principal(2, "krbtgt", s.Realm),
		Till: time.Now().Add(time.Hour), Nonce: 1, ETypes: []int32{int32(etype.AES256SHA1)}}
	key := clientKey(t, exchange(t, s.KDC, krb5.Encode(q)), adaPassword)
	cipher, err := key.Encrypt(nil, krb5.Encode(krb5.PAEncTSEnc{Time: time.Now()}), krb5.UsageASReqTimestamp, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	q.PAData = krb5.MethodData{{Type: krb5.PAEncTimestamp, Value: krb5.Encode(krb5.EncryptedData{EType: int32(key.ID()), Cipher: cipher})}}
	captured := krb5.Encode(q)
	q.Nonce++
	altered := krb5.Encode(q) // the same proof in another request
	opened := func(reply []byte, nonce int64) []byte {
		t.Helper()
		var rep krb5.KDCRep
		if err := rep.Unmarshal(reply); err != nil {
			t.Fatalf("no ticket: %v, %x", err, reply)
		}
		plain, err := key.Decrypt(nil, rep.EncPart.Cipher, krb5.UsageASRepPart)
		if err != nil {
			t.Fatalf("the reply is under another key than the client's: %v", err)
		}
		var part krb5.EncKDCRepPart
		if err := part.Unmarshal(plain); err != nil || part.Nonce != nonce {
			t.Fatalf("the reply's part: %v, nonce %d", err, part.Nonce)
		}
		return part.Key.Expose()
	}
	repeat := func(at *harness.Server) {
		t.Helper()
		var e krb5.Error
		if reply := exchange(t, at.KDC, altered); e.Unmarshal(reply) != nil || e.Code != krb5.ErrRepeat {
			t.Errorf("the proof in another request: %v, %x", e.Code, reply)
		}
	}

	reply := exchange(t, s.KDC, captured)
	session := opened(reply, 1)
	repeat(s)
	for range 3 {
		if again := exchange(t, s.KDC, captured); !bytes.Equal(again, reply) {
			t.Fatalf("the same process answers a repetition with another reply:\n%x\n%x", reply, again)
		}
	}
	elsewhere := exchange(t, other.KDC, captured)
	if !bytes.Equal(opened(elsewhere, 1), session) {
		t.Error("the other process has made another session key")
	}
	repeat(other)
	if again := exchange(t, other.KDC, captured); !bytes.Equal(again, elsewhere) {
		t.Error("the other process answers a repetition with another reply")
	}

	other.Client(t).Run(adaPassword+"\n", "kinit", "ada")
}

// clientKey makes a key as the KDC's first answer says (RFC 4120 §5.2.7.5).
func clientKey(t *testing.T, answer []byte, password string) etype.Key {
	t.Helper()
	var e krb5.Error
	var methods krb5.MethodData
	var info krb5.ETypeInfo2
	if err := e.Unmarshal(answer); err != nil {
		t.Fatal(err)
	}
	if err := methods.Unmarshal(e.EData); err != nil {
		t.Fatal(err)
	}
	value, _ := methods.Find(krb5.PAETypeInfo2)
	if err := info.Unmarshal(value); err != nil || len(info) == 0 {
		t.Fatalf("%v, %d", err, len(info))
	}
	var rounds uint32
	if len(info[0].S2KParams) == 4 {
		rounds = binary.BigEndian.Uint32(info[0].S2KParams)
	}
	key, err := etype.StringToKey(etype.ID(info[0].EType), password, info[0].Salt, rounds)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// exchange is a request and its reply by TCP.
func exchange(t *testing.T, to string, request []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(harness.Patience))
	if _, err := c.Write(framed(request)); err != nil {
		t.Fatal(err)
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, reply); err != nil {
		t.Fatal(err)
	}
	return reply
}
