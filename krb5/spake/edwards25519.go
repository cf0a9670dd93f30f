package spake

import (
	"bytes"
	"fmt"
	"io"

	ed "filippo.io/edwards25519"
)

// edwards is group 1. Its curve has eight times as many points as the group has
// elements, so private scalars are multiples of eight: what an element brings
// along from the small subgroup falls away with the multiplication (RFC 9588
// §12.3.1).
type edwards struct{}

// The constants of RFC 9588 §12.3.1.
var (
	edwardsM = mustEdwards("d048032c6ea0b6d697ddc2e86bda85a33adac920f1bf18e1b0c6d166a5cecdaf")
	edwardsN = mustEdwards("d3bfb518f44f3430f29d0c92af503865a1ed3281dc69b35dd868ba85f886c4ab")
)

func mustEdwards(text string) *ed.Point {
	p, err := new(ed.Point).SetBytes(mustHex(text))
	if err != nil {
		panic("spake: " + err.Error()) // a constant of this file
	}
	return p
}

// mask is w times the constant of a party.
func (edwards) mask(role Role, w *[scalarSize]byte) *ed.Point {
	m := edwardsM
	if role == Client {
		m = edwardsN
	}
	// w is little-endian, and reduced by the group's order: M and N have it.
	var wide [64]byte
	copy(wide[:], w[:])
	s, err := new(ed.Scalar).SetUniformBytes(wide[:])
	clear(wide[:])
	if err != nil {
		panic("spake: " + err.Error()) // 64 bytes are what it takes
	}
	return new(ed.Point).ScalarMult(s, m)
}

// private is a scalar divided by eight.
func (edwards) private(b []byte) (*ed.Scalar, error) {
	if len(b) != scalarSize || b[0]&7 != 0 {
		return nil, ErrPrivate
	}
	var down [scalarSize]byte
	defer clear(down[:])
	for i := range down {
		down[i] = b[i] >> 3
		if i+1 < len(b) {
			down[i] |= b[i+1] << 5
		}
	}
	s, err := new(ed.Scalar).SetCanonicalBytes(down[:])
	if err != nil {
		return nil, ErrPrivate
	}
	return s, nil
}

func (c edwards) generate(role Role, w *[scalarSize]byte, rand io.Reader) (private, public []byte, err error) {
	var wide [64]byte // twice as long as a scalar, so that none comes up more often
	defer clear(wide[:])
	if _, err := io.ReadFull(rand, wide[:]); err != nil {
		return nil, nil, fmt.Errorf("spake: private scalar: %w", err)
	}
	s, err := new(ed.Scalar).SetUniformBytes(wide[:])
	if err != nil {
		panic("spake: " + err.Error()) // 64 bytes are what it takes
	}
	private = s.Bytes()
	for i := len(private) - 1; i >= 0; i-- {
		private[i] <<= 3
		if i > 0 {
			private[i] |= private[i-1] >> 5
		}
	}
	public, err = c.public(role, w, private)
	return private, public, err
}

func (c edwards) public(role Role, w *[scalarSize]byte, private []byte) ([]byte, error) {
	s, err := c.private(private)
	if err != nil {
		return nil, err
	}
	p := new(ed.Point).ScalarBaseMult(s)
	p.MultByCofactor(p)
	return p.Add(p, c.mask(role, w)).Bytes(), nil
}

func (c edwards) result(role Role, w *[scalarSize]byte, private, peer []byte) ([]byte, error) {
	s, err := c.private(private)
	if err != nil {
		return nil, err
	}
	p, err := new(ed.Point).SetBytes(peer)
	// The library takes a coordinate at or above the prime too. One element in
	// two forms would be one element with two transcripts.
	if err != nil || !bytes.Equal(p.Bytes(), peer) {
		return nil, ErrElement
	}
	none := ed.NewIdentityPoint()
	if new(ed.Point).MultByCofactor(p).Equal(none) == 1 {
		return nil, ErrElement
	}
	p.Subtract(p, c.mask(!role, w))
	p.MultByCofactor(p)
	p.ScalarMult(s, p)
	if p.Equal(none) == 1 {
		return nil, ErrElement
	}
	return p.Bytes(), nil
}
