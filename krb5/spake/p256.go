package spake

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"io"

	"filippo.io/nistec"
)

// p256 is group 2. Elements are compressed points, scalars are big-endian (RFC
// 9588 §12.3.2).
type p256 struct{}

// The constants of RFC 9588 §12.3.2, and their negatives: of a compressed point
// the first byte is the sign.
var (
	p256M = [2]*nistec.P256Point{
		mustP256("02886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"),
		mustP256("03886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"),
	}
	p256N = [2]*nistec.P256Point{
		mustP256("03d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"),
		mustP256("02d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"),
	}
)

const (
	p256Element = 33
	plus        = 0 // of p256M and p256N
	minus       = 1
)

var p256Order = mustHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")

func mustP256(text string) *nistec.P256Point {
	p, err := nistec.NewP256Point().SetBytes(mustHex(text))
	if err != nil {
		panic("spake: " + err.Error()) // a constant of this file
	}
	return p
}

// mask is w times a constant, or the negative of that. The library takes a
// scalar above the order, which w can be, and reduces it.
func (p256) mask(role Role, sign int, w *[scalarSize]byte) *nistec.P256Point {
	m := &p256M
	if role == Client {
		m = &p256N
	}
	p, err := nistec.NewP256Point().ScalarMult(m[sign], w[:])
	if err != nil {
		panic("spake: " + err.Error()) // 32 bytes are what it takes
	}
	return p
}

// private checks a scalar: below the order, and not so that every result is the
// point at infinity.
func (p256) private(b []byte) error {
	if len(b) != scalarSize || bytes.Compare(b, p256Order) >= 0 || subtle.ConstantTimeCompare(b, make([]byte, scalarSize)) == 1 {
		return ErrPrivate
	}
	return nil
}

func (c p256) generate(role Role, w *[scalarSize]byte, rand io.Reader) (private, public []byte, err error) {
	private = make([]byte, scalarSize)
	for { // one in four thousand millions is drawn again
		if _, err := io.ReadFull(rand, private); err != nil {
			return nil, nil, fmt.Errorf("spake: private scalar: %w", err)
		}
		if c.private(private) == nil {
			break
		}
	}
	public, err = c.public(role, w, private)
	return private, public, err
}

func (c p256) public(role Role, w *[scalarSize]byte, private []byte) ([]byte, error) {
	if err := c.private(private); err != nil {
		return nil, err
	}
	p, err := nistec.NewP256Point().ScalarBaseMult(private)
	if err != nil {
		return nil, ErrPrivate
	}
	return p.Add(p, c.mask(role, plus, w)).BytesCompressed(), nil
}

func (c p256) result(role Role, w *[scalarSize]byte, private, peer []byte) ([]byte, error) {
	if err := c.private(private); err != nil {
		return nil, err
	}
	// Compressed only: the library takes an uncompressed point as well, and a
	// single zero for the one at infinity.
	if len(peer) != p256Element {
		return nil, ErrElement
	}
	p, err := nistec.NewP256Point().SetBytes(peer)
	if err != nil {
		return nil, ErrElement
	}
	p.Add(p, c.mask(!role, minus, w))
	if _, err := p.ScalarMult(p, private); err != nil {
		return nil, ErrPrivate
	}
	out := p.BytesCompressed()
	if len(out) != p256Element { // the point at infinity
		return nil, ErrElement
	}
	return out, nil
}
