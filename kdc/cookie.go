package kdc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
)

// A PA-FX-COOKIE (RFC 6113 §5.2) is the state of a half-done pre-authentication,
// kept by the client, so that a hundred thousand of them cost us nothing
// (CVE-2025-27479), and any replica takes up what another began.
//
//	cookie = version (1) | salt (16) | AES-256-GCM(time (8) | state)
//
// Its key is HMAC-SHA256(K, salt) where K comes from the krbtgt's key, current
// or previous: one key for each cookie, so the nonce can be constant. What the
// cookie is good for is associated data: realm, client, mechanism, and whether
// the conversation is inside FAST.
const (
	cookieVersion = 1
	cookieSalt    = 16
	cookieHead    = 1 + cookieSalt
	cookieOver    = cookieHead + 8 + 16
	// cookieLife is as long as somebody may take to type a password: a SPAKE
	// client asks for it between two rounds.
	cookieLife = 10 * time.Minute
	// maxCookie bounds what is decrypted. A transcript's hash and a private key
	// are some 200 bytes.
	maxCookie = 4 << 10
)

// noCookie says that there is nothing to remember. A client takes an error
// without any cookie for the end of the conversation (RFC 6113 §5.2; MIT's does
// so inside FAST).
var noCookie = []byte{0}

var (
	cookieLabel      = []byte("skyrealm PA-FX-COOKIE")
	errCookieTooLong = errors.New("kdc: pre-authentication state too long for a cookie")
)

// bakeCookie seals the state of the mechanism kind.
func (x *exchange) bakeCookie(kind int32, state []byte) ([]byte, error) {
	if len(state) > maxCookie-cookieOver {
		return nil, errCookieTooLong
	}
	keys, err := x.krbtgtKeys()
	if err != nil {
		return nil, err
	}
	out := make([]byte, cookieHead, cookieOver+len(state))
	out[0] = cookieVersion
	if _, err := io.ReadFull(x.k.Rand, out[1:]); err != nil {
		return nil, fmt.Errorf("kdc: cookie: %w", err)
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(state)), uint64(x.now.UnixMicro()))
	plain = append(plain, state...)
	var nonce [12]byte
	return keys.current.cookieAEAD(out[1:]).Seal(out, nonce[:], plain, x.cookieContext(kind)), nil
}

// cookie returns the state that [exchange.more] gave to this client for the
// mechanism kind; ok is false where the request brings none that is genuine and
// fresh, which is the first round.
func (x *exchange) cookie(kind int32) (state []byte, ok bool) {
	c, ok := x.req.PAData.Find(krb5.PAFXCookie)
	if !ok {
		return nil, false
	}
	return x.openCookie(kind, c)
}

// openCookie is [exchange.cookie] for one that came in another place.
func (x *exchange) openCookie(kind int32, c []byte) (state []byte, ok bool) {
	if len(c) < cookieOver || len(c) > maxCookie || c[0] != cookieVersion {
		return nil, false
	}
	keys, err := x.krbtgtKeys()
	if err != nil {
		return nil, false
	}
	context := x.cookieContext(kind)
	for _, v := range [...]*keyVersion{keys.current, keys.previous} {
		if v == nil {
			continue
		}
		var nonce [12]byte
		plain, err := v.cookieAEAD(c[1:cookieHead]).Open(nil, nonce[:], c[cookieHead:], context)
		if err != nil {
			continue
		}
		// Another replica's clock may be ahead of ours.
		age := x.now.Sub(time.UnixMicro(int64(binary.BigEndian.Uint64(plain))))
		if age > cookieLife || age < -x.k.Policy.skew() {
			return nil, false
		}
		return plain[8:], true
	}
	return nil, false
}

// cookieAEAD has a key of its own for each salt.
func (v *keyVersion) cookieAEAD(salt []byte) cipher.AEAD {
	m := hmac.New(sha256.New, v.key.PRFPlus(cookieLabel, sha256.Size))
	m.Write(salt)
	block, err := aes.NewCipher(m.Sum(nil))
	if err != nil {
		panic("kdc: " + err.Error()) // 32 bytes are a key
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("kdc: " + err.Error())
	}
	return aead
}

// cookieContext is what a cookie is bound to. An account is known by its RID,
// which is nobody else's ever; whoever has no account, by name.
func (x *exchange) cookieContext(kind int32) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 64), uint32(kind))
	b = append(b, x.k.realm...)
	if b = append(b, 0, 0); x.armored() {
		b[len(b)-1] = 1
	}
	if x.client != nil {
		b = binary.BigEndian.AppendUint32(append(b, 'A'), x.client.RID)
		if x.client.IsDecoy() { // which has none
			b = append(b, x.client.GUID[:]...)
		}
		return b
	}
	b = append(b, 'N')
	for _, c := range x.req.CName.Name {
		b = binary.BigEndian.AppendUint32(b, uint32(len(c)))
		b = append(b, c...)
	}
	return b
}

// krbtgtKeys returns the keys of the domain's TGTs.
func (x *exchange) krbtgtKeys() (*serviceKeys, error) {
	krbtgt := x.k.Replica.ByRID(domain.RIDKrbtgt)
	if krbtgt == nil {
		return nil, refuse(krb5.ErrNoKey, "the domain has no krbtgt")
	}
	keys := x.keysOf(krbtgt)
	if keys == nil {
		return nil, refuse(krb5.ErrNoKey, "the krbtgt has no keys")
	}
	return keys, nil
}
