package etype

import (
	"crypto/hmac"
	"crypto/rc4"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Layout of a type 23 ciphertext: tag, confounder, data (RFC 4757 §4).
const (
	rc4Tag        = 16
	rc4Confounder = 8
)

// rc4KeyUsage turns a Kerberos key usage into Microsoft's message type
// (RFC 4757 §3).
//
// DIVERGES: the RFC also turns 9, the encrypted part of a TGS-REP under a
// subkey, into 8. Windows sends 9, and so do MIT krb5 and Heimdal.
func rc4KeyUsage(usage uint32) uint32 {
	switch usage {
	case 3: // encrypted part of AS-REP
		return 8
	case 23: // GSS MIC
		return 13
	}
	return usage
}

// rc4Usage makes m the HMAC under K1 = HMAC(K, T).
func (e *engine) rc4Usage(m *mac, k *Key, usage uint32) {
	e.own = *k
	e.setKey(m, e.own.b[:16])
	binary.LittleEndian.PutUint32(e.label[:], rc4KeyUsage(usage))
	copy(e.key[:], e.hmac(m, e.label[:4]))
	e.setKey(m, e.key[:16])
}

// rc4Stream encrypts or decrypts under K3 = HMAC(K1, tag).
func (c *Cipher) rc4Stream(e *engine, tag []byte) *rc4.Cipher {
	s, err := rc4.NewCipher(e.hmac(&c.mac, tag))
	if err != nil {
		panic("etype: " + err.Error()) // 16 bytes are a key
	}
	return s
}

func (c *Cipher) sealRC4(e *engine, buf []byte, rand io.Reader) error {
	tag, body := buf[:rc4Tag], buf[rc4Tag:]
	if _, err := io.ReadFull(rand, body[:rc4Confounder]); err != nil {
		return fmt.Errorf("etype: confounder: %w", err)
	}
	copy(tag, e.hmac(&c.mac, body))
	c.rc4Stream(e, tag).XORKeyStream(body, body)
	return nil
}

func (c *Cipher) openRC4(e *engine, dst, ciphertext []byte) ([]byte, error) {
	tag, body := ciphertext[:rc4Tag], ciphertext[rc4Tag:]
	s := c.rc4Stream(e, tag)
	conf := e.conf[:rc4Confounder]
	s.XORKeyStream(conf, body[:rc4Confounder])
	n := len(dst)
	dst = slices.Grow(dst, len(body)-rc4Confounder)[:n+len(body)-rc4Confounder]
	s.XORKeyStream(dst[n:], body[rc4Confounder:])
	e.begin(&c.mac)
	e.h.Write(conf)
	e.h.Write(dst[n:])
	if !hmac.Equal(e.end(&c.mac), tag) {
		clear(dst[n:])
		return nil, ErrIntegrity
	}
	return dst, nil
}

// rc4Checksum is HMAC(HMAC(K, "signaturekey"), MD5(T | msg)), RFC 4757 §4.
func (e *engine) rc4Checksum(k *Key, msg []byte, usage uint32) []byte {
	m := &e.once.mac
	e.own = *k
	e.setKey(m, e.own.b[:16])
	copy(e.key[:], e.hmac(m, signatureKey))
	e.setKey(m, e.key[:16])
	binary.LittleEndian.PutUint32(e.label[:], rc4KeyUsage(usage))
	e.h.Reset()
	e.h.Write(e.label[:4])
	e.h.Write(msg)
	copy(e.key[:], e.h.Sum(e.sum[:0]))
	return e.hmac(m, e.key[:16])
}

var signatureKey = []byte("signaturekey\x00")
