package etype

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Cipher encrypts and decrypts for one key and one usage, with the derived keys
// made ready. It is safe for concurrent use. Keep one for a key that is used
// again and again (the krbtgt's); for a user's key it does not pay.
type Cipher struct {
	id    ID
	block cipher.Block // AES under Ke
	mac   mac          // HMAC under Ki; for type 23 under K1
	modes *sync.Pool   // of cbcMode under Ke; nil where it serves once
}

// cbcMode is the standard library's, which can begin anew.
type cbcMode interface {
	cipher.BlockMode
	SetIV(iv []byte)
}

// Cipher derives the keys for a usage. That of the zero Key only gives errors.
func (k Key) Cipher(usage uint32) *Cipher {
	c := new(Cipher)
	if p := k.id.profile(); p.key != 0 {
		e := p.hash.get()
		c.init(e, &k, usage)
		e.put()
		if block := c.block; block != nil {
			c.modes = &sync.Pool{New: func() any { return cipher.NewCBCEncrypter(block, zeroBlock[:]) }}
		}
	}
	return c
}

func (c *Cipher) init(e *engine, k *Key, usage uint32) {
	p := k.id.profile()
	c.id = k.id
	if k.id == RC4 {
		e.rc4Usage(&c.mac, k, usage)
		return
	}
	var room base
	b := k.base(e, &room)
	k.usageKey(e, b, usage, forEncryption, e.key[:p.key])
	c.block = newAES(e.key[:p.key])
	k.usageKey(e, b, usage, forIntegrity, e.key[:p.integ])
	e.setKey(&c.mac, e.key[:p.integ])
}

// Encrypt appends the ciphertext of plaintext to dst: Overhead bytes more than
// the plaintext. dst and plaintext may overlap.
func (k Key) Encrypt(dst, plaintext []byte, usage uint32, rand io.Reader) ([]byte, error) {
	p := k.id.profile()
	if p.key == 0 {
		return nil, ErrUnknown
	}
	e := p.hash.get()
	defer e.put()
	e.once.init(e, &k, usage)
	return e.once.encrypt(e, dst, plaintext, rand)
}

// Decrypt appends the plaintext of ciphertext to dst, which must not overlap it.
// Whatever is wrong with the ciphertext, the error is ErrIntegrity and nothing
// of the plaintext is left in dst. The ciphertext is not modified.
func (k Key) Decrypt(dst, ciphertext []byte, usage uint32) ([]byte, error) {
	p := k.id.profile()
	if p.key == 0 {
		return nil, ErrUnknown
	}
	if len(ciphertext) < k.id.Overhead() {
		return nil, ErrIntegrity
	}
	e := p.hash.get()
	defer e.put()
	e.once.init(e, &k, usage)
	return e.once.decrypt(e, dst, ciphertext)
}

// Encrypt is Key.Encrypt with the usage given before.
func (c *Cipher) Encrypt(dst, plaintext []byte, rand io.Reader) ([]byte, error) {
	p := c.id.profile()
	if p.key == 0 {
		return nil, ErrUnknown
	}
	e := p.hash.get()
	defer e.put()
	return c.encrypt(e, dst, plaintext, rand)
}

// Decrypt is Key.Decrypt with the usage given before.
func (c *Cipher) Decrypt(dst, ciphertext []byte) ([]byte, error) {
	p := c.id.profile()
	if p.key == 0 {
		return nil, ErrUnknown
	}
	if len(ciphertext) < c.id.Overhead() {
		return nil, ErrIntegrity
	}
	e := p.hash.get()
	defer e.put()
	return c.decrypt(e, dst, ciphertext)
}

// EncryptInPlace makes a ciphertext of buf, which holds the plaintext after
// Confounder bytes of room and before the rest of the Overhead.
func (c *Cipher) EncryptInPlace(buf []byte, rand io.Reader) error {
	p := c.id.profile()
	if p.key == 0 {
		return ErrUnknown
	}
	if len(buf) < c.id.Overhead() {
		return ErrRoom
	}
	e := p.hash.get()
	defer e.put()
	return c.seal(e, buf, rand)
}

func (c *Cipher) encrypt(e *engine, dst, plaintext []byte, rand io.Reader) ([]byte, error) {
	n, total := len(dst), len(plaintext)+c.id.Overhead()
	dst = slices.Grow(dst, total)[:n+total]
	copy(dst[n+c.id.Confounder():], plaintext)
	if err := c.seal(e, dst[n:], rand); err != nil {
		return nil, err
	}
	return dst, nil
}

// seal is EncryptInPlace after its checks.
func (c *Cipher) seal(e *engine, buf []byte, rand io.Reader) error {
	if c.id == RC4 {
		return c.sealRC4(e, buf, rand)
	}
	p := c.id.profile()
	body, tag := buf[:len(buf)-p.mac], buf[len(buf)-p.mac:]
	if _, err := io.ReadFull(rand, body[:aes.BlockSize]); err != nil {
		return fmt.Errorf("etype: confounder: %w", err)
	}
	if c.id == AES128SHA1 || c.id == AES256SHA1 { // RFC 3961 §5.3: over the plaintext
		e.begin(&c.mac)
		e.h.Write(body)
		copy(tag, e.end(&c.mac))
		c.ctsEncrypt(e, body)
		return nil
	}
	c.ctsEncrypt(e, body)
	copy(tag, c.tagSHA2(e, body))
	return nil
}

// tagSHA2 is the HMAC over cipher state and ciphertext (RFC 8009 §5). The state
// of a single message is the zero block.
func (c *Cipher) tagSHA2(e *engine, body []byte) []byte {
	e.begin(&c.mac)
	e.h.Write(zeroBlock[:])
	e.h.Write(body)
	return e.end(&c.mac)
}

// decrypt expects at least Overhead bytes.
func (c *Cipher) decrypt(e *engine, dst, ciphertext []byte) ([]byte, error) {
	if c.id == RC4 {
		return c.openRC4(e, dst, ciphertext)
	}
	p := c.id.profile()
	body, tag := ciphertext[:len(ciphertext)-p.mac], ciphertext[len(ciphertext)-p.mac:]
	sha1 := c.id == AES128SHA1 || c.id == AES256SHA1
	if !sha1 && !hmac.Equal(c.tagSHA2(e, body)[:p.mac], tag) {
		return nil, ErrIntegrity
	}
	n := len(dst)
	dst = slices.Grow(dst, len(body)-aes.BlockSize)[:n+len(body)-aes.BlockSize]
	c.ctsDecrypt(e, dst[n:], body)
	if sha1 {
		e.begin(&c.mac)
		e.h.Write(e.conf[:])
		e.h.Write(dst[n:])
		if !hmac.Equal(e.end(&c.mac)[:p.mac], tag) {
			clear(dst[n:])
			return nil, ErrIntegrity
		}
	}
	return dst, nil
}

var zeroBlock aesBlock

// ctsEncrypt encrypts b in place, in CBC mode with ciphertext stealing as of
// RFC 3962 §5: the last two blocks are always swapped, unless there is only one.
func (c *Cipher) ctsEncrypt(e *engine, b []byte) {
	const size = aes.BlockSize
	rest := len(b) % size
	whole := b[:len(b)-rest]
	c.cbcEncrypt(whole)
	if len(b) == size {
		return
	}
	if rest == 0 {
		rest = size
		whole = b[:len(b)-size]
		copy(e.block[:], b[len(whole):])
	} else {
		clear(e.block[:])
		copy(e.block[:], b[len(whole):])
		xorBlock(&e.block, whole[len(whole)-size:])
		c.block.Encrypt(e.block[:], e.block[:])
	}
	copy(b[len(whole):], whole[len(whole)-size:]) // cut to what is left
	copy(whole[len(whole)-size:], e.block[:])
}

// cbcEncrypt encrypts whole blocks in place, under the zero vector.
func (c *Cipher) cbcEncrypt(b []byte) {
	if c.modes != nil {
		if m, ok := c.modes.Get().(cbcMode); ok {
			m.SetIV(zeroBlock[:])
			m.CryptBlocks(b, b)
			c.modes.Put(m)
			return
		}
	}
	if len(b) > oneMode {
		cipher.NewCBCEncrypter(c.block, zeroBlock[:]).CryptBlocks(b, b)
		return
	}
	const size = aes.BlockSize
	c.block.Encrypt(b[:size], b[:size])
	for i := size; i < len(b); i += size {
		block := (*aesBlock)(b[i : i+size])
		xorBlock(block, b[i-size:])
		c.block.Encrypt(block[:], block[:])
	}
}

// ctsDecrypt decrypts b (at least one block): the first block of the plaintext,
// which is the confounder, goes to e.conf, the others to dst.
func (c *Cipher) ctsDecrypt(e *engine, dst, b []byte) {
	const size = aes.BlockSize
	if len(b) == size {
		c.block.Decrypt(e.conf[:], b)
		return
	}
	rest := len(b) % size
	if rest == 0 {
		rest = size
	}
	// head | X (whole) | Y (rest bytes)
	head := b[:len(b)-size-rest]
	x, y := b[len(head):len(head)+size], b[len(head)+size:]

	// The last plaintext, and with it the stolen end of Y.
	c.block.Decrypt(e.block[:], x)
	last := dst[len(dst)-rest:]
	for i := range y {
		last[i] = e.block[i] ^ y[i]
	}
	copy(e.block[:], y)
	c.block.Decrypt(e.block[:], e.block[:])
	if len(head) == 0 {
		e.conf = e.block
		return
	}
	xorBlock(&e.block, head[len(head)-size:])
	copy(dst[len(dst)-rest-size:], e.block[:])
	c.block.Decrypt(e.conf[:], head)
	if len(head) > oneMode {
		cipher.NewCBCDecrypter(c.block, head[:size]).CryptBlocks(dst[:len(head)-size], head[size:])
		return
	}
	for i := size; i < len(head); i += size {
		c.block.Decrypt(e.block[:], head[i:i+size])
		xorBlock(&e.block, head[i-size:])
		copy(dst[i-size:], e.block[:])
	}
}

// oneMode is from how many bytes on the library's mode saves more than it costs to make.
const oneMode = 512

func xorBlock(a *aesBlock, b []byte) {
	_ = b[15]
	ne := binary.NativeEndian
	ne.PutUint64(a[:], ne.Uint64(a[:])^ne.Uint64(b))
	ne.PutUint64(a[8:], ne.Uint64(a[8:])^ne.Uint64(b[8:]))
}

// Checksum appends the type's keyed checksum of msg to dst; the zero Key appends
// nothing.
func (k Key) Checksum(dst, msg []byte, usage uint32) []byte {
	p := k.id.profile()
	if p.key == 0 {
		return dst
	}
	e := p.hash.get()
	defer e.put()
	return append(dst, k.checksum(e, msg, usage)...)
}

// VerifyChecksum checks a checksum of the key's own type, in constant time. The
// caller has compared the announced checksum type with ChecksumType: unkeyed
// checksums (CRC, plain MD5 and SHA-1) have no way in here.
func (k Key) VerifyChecksum(msg, mac []byte, usage uint32) error {
	p := k.id.profile()
	if p.key == 0 {
		return ErrUnknown
	}
	e := p.hash.get()
	defer e.put()
	if !hmac.Equal(k.checksum(e, msg, usage), mac) {
		return ErrIntegrity
	}
	return nil
}

func (k *Key) checksum(e *engine, msg []byte, usage uint32) []byte {
	if k.id == RC4 {
		return e.rc4Checksum(k, msg, usage)
	}
	m := &e.once.mac
	if k.ready != nil && k.ready.sum != nil && k.ready.sum.usage == usage {
		m = &k.ready.sum.mac
	} else {
		k.checksumKey(e, m, usage)
	}
	e.begin(m)
	e.h.Write(msg)
	return e.end(m)[:k.id.profile().mac]
}

// checksumKey is HMAC under Kc.
func (k *Key) checksumKey(e *engine, m *mac, usage uint32) {
	n := k.id.profile().integ
	var room base
	k.usageKey(e, k.base(e, &room), usage, forChecksum, e.key[:n])
	e.setKey(m, e.key[:n])
}
