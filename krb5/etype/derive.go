package etype

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
)

// The last byte of a key derivation constant (RFC 3961 §5.3).
const (
	forChecksum   = 0x99
	forEncryption = 0xaa
	forIntegrity  = 0x55
)

type aesBlock = [aes.BlockSize]byte

// nFold stretches or shrinks in to fill out (RFC 3961 §5.1): copies of in, each
// turned right by 13 bits more, are added up in ones' complement arithmetic.
func nFold(out, in []byte) {
	n, m := len(out), len(in)
	total := n * m / gcd(n, m)
	clear(out)
	carry := 0
	for i := total - 1; i >= 0; i-- {
		// The bits of copy i/m, byte i%m, after its rotation.
		at := (i%m*8 - 13*(i/m)) % (m * 8)
		if at < 0 {
			at += m * 8
		}
		hi, lo := in[at/8], in[(at/8+1)%m]
		carry += int(byte((uint16(hi)<<8 | uint16(lo)) >> (8 - at%8)))
		carry += int(out[i%n])
		out[i%n] = byte(carry)
		carry >>= 8
	}
	for i := n - 1; carry > 0; i-- { // end-around carry
		carry += int(out[i])
		out[i] = byte(carry)
		carry >>= 8
		if i == 0 {
			i = n
		}
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// foldedUsages is how many key usages have their constants folded beforehand:
// folding costs more than all the rest of a key derivation, and Kerberos itself
// uses numbers below 64.
const foldedUsages = 64

var (
	folded       [foldedUsages][3]aesBlock
	kerberosFold aesBlock
	prfFold      aesBlock
)

func init() {
	for u := range uint32(foldedUsages) {
		for _, what := range []byte{forChecksum, forEncryption, forIntegrity} {
			folded[u][foldIndex(what)] = fold(u, what)
		}
	}
	nFold(kerberosFold[:], []byte("kerberos"))
	nFold(prfFold[:], []byte("prf"))
}

// foldIndex numbers the three constants, 0x99, 0xaa and 0x55.
func foldIndex(what byte) int { return int(what>>4) % 3 }

func fold(usage uint32, what byte) (b aesBlock) {
	c := [5]byte{4: what}
	binary.BigEndian.PutUint32(c[:], usage)
	nFold(b[:], c[:])
	return b
}

func usageFold(usage uint32, what byte) aesBlock {
	if usage < foldedUsages {
		return folded[usage][foldIndex(what)]
	}
	return fold(usage, what)
}

func newAES(key []byte) cipher.Block {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic("etype: " + err.Error()) // every caller's length comes from profiles
	}
	return b
}

// deriveAES is DK of RFC 3961 §5.1 for AES: the folded constant, encrypted over
// and over, is the key, as random-to-key is the identity. It clobbers fold.
func deriveAES(base cipher.Block, fold *aesBlock, out []byte) {
	for len(out) > 0 {
		base.Encrypt(fold[:], fold[:])
		out = out[copy(out, fold[:]):]
	}
}

// kdf is KDF-HMAC-SHA2 of RFC 8009 §3 for up to one digest of output. The
// result is valid until the engine's next use.
func (e *engine) kdf(m *mac, label, context []byte, n int) []byte {
	e.begin(m)
	binary.BigEndian.PutUint32(e.tmp[:], 1)
	e.h.Write(e.tmp[:4])
	e.h.Write(label)
	e.tmp[4] = 0
	e.h.Write(e.tmp[4:5])
	e.h.Write(context)
	binary.BigEndian.PutUint32(e.tmp[:], uint32(n)*8)
	e.h.Write(e.tmp[:4])
	return e.end(m)[:n]
}

// usageKey derives the key for one usage and purpose into out.
func (k *Key) usageKey(e *engine, base *base, usage uint32, what byte, out []byte) {
	if base.block != nil {
		e.fold = usageFold(usage, what)
		deriveAES(base.block, &e.fold, out)
		return
	}
	binary.BigEndian.PutUint32(e.label[:], usage)
	e.label[4] = what
	copy(out, e.kdf(&base.mac, e.label[:], nil, len(out)))
}

// base is a protocol key made ready to derive from.
type base struct {
	block cipher.Block // 17, 18
	mac   mac          // 19, 20
}

// base makes b ready, unless the key has one that is; it returns the one to use.
func (k *Key) base(e *engine, b *base) *base {
	if k.ready != nil && k.ready.base != nil {
		return k.ready.base
	}
	e.own = *k
	key := e.own.b[:k.id.KeySize()]
	switch k.id {
	case AES128SHA1, AES256SHA1:
		b.block = newAES(key)
	case AES128SHA2, AES256SHA2:
		e.setKey(&b.mac, key)
	}
	return b
}

// PRF is the type's pseudo-random function. Its result has 16 bytes for types
// 17 and 18 (RFC 3962 §6), 32 and 48 for 19 and 20 (RFC 8009 §5), 20 for 23
// (HMAC-SHA1, as MIT and Windows have it; RFC 4757 defines none). The zero Key
// gives nil.
func (k Key) PRF(in []byte) []byte {
	if !k.id.Known() {
		return nil
	}
	e := k.id.prfAlg().get()
	defer e.put()
	var p prf
	p.init(e, &k)
	return p.append(e, nil, in)
}

// prf is a key made ready for its PRF.
type prf struct {
	block cipher.Block // 17, 18
	mac   mac
	id    ID
}

func (id ID) prfAlg() *hashAlg {
	if id == RC4 {
		return &sha1Alg
	}
	return id.profile().hash
}

func (p *prf) init(e *engine, k *Key) {
	p.id, e.own = k.id, *k
	key := e.own.b[:k.id.KeySize()]
	switch k.id {
	case AES128SHA1, AES256SHA1:
		e.fold = prfFold
		deriveAES(newAES(key), &e.fold, e.key[:len(key)])
		p.block = newAES(e.key[:len(key)])
	default:
		e.setKey(&p.mac, key)
	}
}

func (p *prf) append(e *engine, dst, in []byte) []byte {
	switch p.id {
	case AES128SHA1, AES256SHA1:
		e.h.Reset()
		e.h.Write(in)
		digest := e.h.Sum(e.sum[:0])
		dst = append(dst, digest[:aes.BlockSize]...)
		last := dst[len(dst)-aes.BlockSize:]
		p.block.Encrypt(last, last)
		return dst
	case RC4:
		return append(dst, e.hmac(&p.mac, in)...)
	}
	return append(dst, e.kdf(&p.mac, prfLabel, in, e.alg.size)...)
}

var prfLabel = []byte("prf")

// CF2 combines two keys into one of k1's type (KRB-FX-CF2, RFC 6113 §5.1).
func CF2(k1, k2 Key, pepper1, pepper2 string) (Key, error) {
	if !k1.id.Known() || !k2.id.Known() {
		return Key{}, ErrUnknown
	}
	n := k1.id.KeySize()
	a, b := k1.PRFPlus([]byte(pepper1), n), k2.PRFPlus([]byte(pepper2), n)
	for i := range a {
		a[i] ^= b[i]
	}
	return NewKey(k1.id, a)
}

// PRFPlus is n bytes of PRF+ (RFC 6113 §5.1); n is at most 255 times the length
// of the type's PRF. The zero Key gives nil.
func (k Key) PRFPlus(in []byte, n int) []byte {
	if !k.id.Known() {
		return nil
	}
	e := k.id.prfAlg().get()
	defer e.put()
	var p prf
	p.init(e, &k)
	const longest = 48
	room := make([]byte, 1+len(in)+n+longest)
	counted, out := room[:1+len(in):1+len(in)], room[1+len(in):1+len(in)]
	copy(counted[1:], in)
	for len(out) < n {
		if counted[0]++; counted[0] == 0 {
			panic("etype: PRF+ of more than 255 blocks")
		}
		out = p.append(e, out, counted)
	}
	return out[:n]
}
