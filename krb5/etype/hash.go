package etype

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"hash"
	"sync"
)

// HMAC here is built on the chaining value of the hash instead of crypto/hmac:
// a key's two chaining values (after the inner and the outer pad) are computed
// once, kept as plain bytes in a Cipher, and loaded into a pooled hash for each
// message. That needs no allocation, makes a Cipher safe for concurrent use,
// and is what makes PBKDF2 fast.

const (
	maxBlock = sha512.BlockSize
	maxState = 64                          // chaining value of SHA-512
	maxImage = 4 + maxState + maxBlock + 8 // marshalled hash state
)

// hashAlg is a hash function and a pool of engines that compute it.
type hashAlg struct {
	new   func() hash.Hash
	size  int // bytes of the result
	block int
	chain int // bytes of the chaining value
	// padded says that the hash pads with a big-endian bit count and gives its
	// chaining value as the result, so that the last block of a message can be
	// laid out by hand.
	padded bool
	pool   sync.Pool
}

var (
	sha1Alg   = hashAlg{new: sha1.New, size: 20, block: 64, chain: 20, padded: true}
	sha256Alg = hashAlg{new: sha256.New, size: 32, block: 64, chain: 32, padded: true}
	sha384Alg = hashAlg{new: sha512.New384, size: 48, block: 128, chain: 64, padded: true}
	md5Alg    = hashAlg{new: md5.New, size: 16, block: 64, chain: 16}
)

type hashState interface {
	hash.Hash
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// engine computes one hash at a time. All buffers that go through the hash's
// interface live in it, as whatever goes through an interface escapes.
type engine struct {
	alg *hashAlg
	h   hashState
	// image is the marshalled state of a hash that has taken in one block:
	// 4 bytes of magic, the chaining value, an empty buffer, the length.
	image [maxImage]byte
	out   [maxImage]byte
	// last is the block that ends an HMAC: a digest, 0x80, zeros, bit count.
	last [maxBlock]byte
	sum  [64]byte
	pad  [maxBlock]byte
	tmp  [64]byte

	// Room for the cryptosystem's own steps.
	own   Key // what it works for; a copy, as it escapes
	key   [32]byte
	label [5]byte
	fold  aesBlock
	block aesBlock
	conf  aesBlock
	once  Cipher // of a Key used directly
}

func (a *hashAlg) get() *engine {
	if e, ok := a.pool.Get().(*engine); ok {
		return e
	}
	e := &engine{alg: a, h: a.new().(hashState)}
	e.h.Write(e.pad[:a.block])
	e.h.AppendBinary(e.image[:0])
	e.last[a.size] = 0x80
	binary.BigEndian.PutUint64(e.last[a.block-8:], uint64(a.block+a.size)*8)
	return e
}

// put clears what a key or plaintext left behind and gives the engine back.
func (e *engine) put() {
	clear(e.sum[:])
	clear(e.tmp[:])
	clear(e.key[:])
	e.own = Key{}
	clear(e.out[:])
	clear(e.last[:e.alg.size])
	e.once = Cipher{}
	e.alg.pool.Put(e)
}

func (e *engine) imageLen() int { return 4 + e.alg.chain + e.alg.block + 8 }

// load sets the hash to the state after one block, given its chaining value.
func (e *engine) load(chain *[maxState]byte) {
	copy(e.image[4:4+e.alg.chain], chain[:])
	if err := e.h.UnmarshalBinary(e.image[:e.imageLen()]); err != nil {
		panic("etype: hash state: " + err.Error()) // the image is our own
	}
}

// chainInto reads the chaining value of a hash at a block boundary.
func (e *engine) chainInto(dst []byte) {
	b, err := e.h.AppendBinary(e.out[:0])
	if err != nil {
		panic("etype: hash state: " + err.Error())
	}
	copy(dst, b[4:4+e.alg.chain])
}

// mac is an HMAC key in the form of its two chaining values.
type mac struct{ inner, outer [maxState]byte }

// setKey prepares m for a key of any length (RFC 2104 §2).
func (e *engine) setKey(m *mac, key []byte) {
	block := e.alg.block
	if len(key) > block {
		e.h.Reset()
		e.h.Write(key)
		key = e.h.Sum(e.sum[:0])
	}
	pad := e.pad[:block]
	clear(pad)
	copy(pad, key)
	for i := range pad {
		pad[i] ^= 0x36
	}
	e.h.Reset()
	e.h.Write(pad)
	e.chainInto(m.inner[:])
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	e.h.Reset()
	e.h.Write(pad)
	e.chainInto(m.outer[:])
	clear(pad)
}

// begin starts an HMAC; the message is then written to e.h.
func (e *engine) begin(m *mac) { e.load(&m.inner) }

// end finishes it. The result is valid until the engine's next use.
func (e *engine) end(m *mac) []byte {
	n := e.alg.size
	if !e.alg.padded {
		e.h.Sum(e.tmp[:0])
		e.load(&m.outer)
		e.h.Write(e.tmp[:n])
		return e.h.Sum(e.sum[:0])
	}
	e.h.Sum(e.last[:0])
	e.load(&m.outer)
	e.h.Write(e.last[:e.alg.block])
	e.chainInto(e.sum[:])
	return e.sum[:n]
}

// hmac is the HMAC of one short piece.
func (e *engine) hmac(m *mac, msg []byte) []byte {
	e.begin(m)
	e.h.Write(msg)
	return e.end(m)
}

// pbkdf2 fills out (RFC 8018 §5.2). Each round is two compressions and the
// moving of two chaining values; the block around the digest never changes.
func (a *hashAlg) pbkdf2(out, password, salt []byte, rounds uint32) {
	e := a.get()
	defer e.put()
	var m mac
	e.setKey(&m, password)
	var (
		n     = a.size
		end   = e.imageLen()
		block = e.last[:a.block]
		outer = a.get() // a second set of buffers, for the outer hash's image
		acc   [64]byte
	)
	defer outer.put()
	for i := uint32(1); len(out) > 0; i++ {
		e.begin(&m)
		e.h.Write(salt)
		binary.BigEndian.PutUint32(e.tmp[:], i)
		e.h.Write(e.tmp[:4])
		copy(acc[:n], e.end(&m))
		copy(block, acc[:n])
		copy(e.image[4:4+a.chain], m.inner[:])
		copy(outer.image[4:4+a.chain], m.outer[:])
		for r := uint32(1); r < rounds; r++ {
			e.h.UnmarshalBinary(e.image[:end])
			e.h.Write(block)
			e.h.AppendBinary(e.out[:0])
			copy(block[:n], e.out[4:])
			e.h.UnmarshalBinary(outer.image[:end])
			e.h.Write(block)
			e.h.AppendBinary(e.out[:0])
			copy(block[:n], e.out[4:])
			for j := 0; j < n; j += 4 {
				binary.NativeEndian.PutUint32(acc[j:],
					binary.NativeEndian.Uint32(acc[j:])^binary.NativeEndian.Uint32(block[j:]))
			}
		}
		out = out[copy(out, acc[:n]):]
	}
	clear(acc[:])
}
