package kdc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// TestProxy: AS, TGS and password changes for the own realm, however it is
// written, and nothing for another (trust.md P07).
func TestProxy(t *testing.T) {
	h := newHouse(t)
	p := &Proxy{KDC: h.kdc, Kpasswd: h.kpasswd}
	ask := func(realm string, message []byte) ([]byte, error) {
		reply, err := p.Handle(t.Context(), krb5.Encode(&krb5.ProxyMessage{Message: message, Realm: realm, Hint: 0x40000000}), client4)
		if err != nil {
			return nil, err
		}
		var m krb5.ProxyMessage
		if err := m.Unmarshal(reply); err != nil || m.Realm != "" || m.Hint != 0 {
			t.Fatal(m, err)
		}
		return m.Message, nil
	}
	for _, realm := range []string{testRealm, strings.ToLower(testRealm), "AADDS", "aadds"} {
		reply, err := ask(realm, krb5.Encode(h.proven("cleo", etype.AES256SHA1)))
		if err != nil {
			t.Fatal(realm, err)
		}
		g := h.open(reply, h.key18("cleo"), krb5.UsageASRepPart)
		q := h.tgsReq(g, webSPN)
		if reply, err = ask(realm, h.encode(q)); err != nil {
			t.Fatal(err)
		}
		h.open(reply, q.key, krb5.UsageTGSRepPartSession)
		for _, c := range []*changing{h.changing(h.changeTicket("cleo"), "short"), h.setting(h.changeTicket("cleo"), "", "short")} {
			if reply, err = ask(realm, h.wire(c)); err != nil {
				t.Fatal(err)
			}
			if result, text := h.answer(c, reply); result != krb5.KpasswdSoftError {
				t.Error(result, text)
			}
		}
		h.now = h.now.Add(1000)
	}

	good := krb5.Encode(h.asReq("alice"))
	count := h.kdc.Count.AS.Load()
	for _, realm := range []string{"", "CONTOSO.TEST", "OTHER.TEST", "127.0.0.1", "localhost", "169.254.169.254", "[::1]", "AADDS.CONTOSO.TEST.EVIL.TEST", "AADDS.CONTOSO.TEST.", " AADDS"} {
		if _, err := ask(realm, good); !errors.Is(err, ErrProxyRealm) {
			t.Errorf("realm %q: %v", realm, err)
		}
	}
	if h.kdc.Count.AS.Load() != count {
		t.Error("a request for another realm got to the KDC")
	}
	e := krb5.Encode(&krb5.Error{STime: h.now, Code: krb5.ErrGeneric, Realm: testRealm, SName: krb5.Principal(1, "x")})
	for what, b := range map[string][]byte{"text": []byte("GET / HTTP/1.1"), "an error": e, "a reply": h.send(h.proven("alice", etype.AES256SHA1)), "a byte": {0}} {
		if _, err := ask(testRealm, b); !errors.Is(err, ErrProxyMessage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestProxyLengths: the length in front of the message is its own, or there is no
// message (trust.md P08).
func TestProxyLengths(t *testing.T) {
	h := newHouse(t)
	p := &Proxy{KDC: h.kdc, Kpasswd: h.kpasswd}
	good := krb5.Encode(h.asReq("alice"))
	whole := krb5.Encode(&krb5.ProxyMessage{Message: good, Realm: testRealm})
	at := bytes.Index(whole, good) - 4
	for _, n := range []uint32{0, 1, uint32(len(good)) - 1, uint32(len(good)) + 1, uint32(len(good)) + 6, 1 << 16, 1 << 31, 1<<31 + uint32(len(good)), 1<<32 - 1} {
		b := bytes.Clone(whole)
		binary.BigEndian.PutUint32(b[at:], n)
		if _, err := p.Handle(t.Context(), b, client4); !errors.Is(err, ErrProxyMessage) {
			t.Errorf("length %d of %d: %v", n, len(good), err)
		}
	}
	for n := range whole {
		if _, err := p.Handle(t.Context(), whole[:n], client4); !errors.Is(err, ErrProxyMessage) {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	// A request that is good but for its length.
	q := h.asReq("alice")
	q.PAData = krb5.MethodData{{Type: 999, Value: []byte{}}}
	for _, n := range []int{MaxTCPMessage, MaxTCPMessage + 1} {
		for range 4 { // the lengths in front have lengths of their own
			q.PAData[0].Value = make([]byte, len(q.PAData[0].Value)+n-len(krb5.Encode(q)))
		}
		large := krb5.Encode(q)
		_, err := p.Handle(t.Context(), krb5.Encode(&krb5.ProxyMessage{Message: large, Realm: testRealm}), client4)
		if over := len(large) > MaxTCPMessage; len(large) != n || over != errors.Is(err, ErrProxyMessage) || !over && err != nil {
			t.Errorf("a message of %d bytes: %v", len(large), err)
		}
	}
	if _, err := p.Handle(t.Context(), whole, client4); err != nil {
		t.Error(err)
	}
}
