package pkinit

import (
	"bytes"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
	"math/big"

	"skyrealm/der"
)

// ErrGroup is returned for parameters of a key agreement that are not taken, and
// for a public value that is none in them.
var ErrGroup = errors.New("pkinit: key agreement parameters not accepted")

// PublicValue is the client's half of a key agreement.
//
//	SubjectPublicKeyInfo ::= SEQUENCE {
//	    algorithm        AlgorithmIdentifier,
//	    subjectPublicKey BIT STRING }
type PublicValue struct {
	Algorithm Algorithm
	Key       []byte // the bit string: an INTEGER in DER, or a point
}

func (d *decoder) publicValue(r *der.Reader) *PublicValue {
	in := d.enter(r, der.Sequence)
	p := &PublicValue{Algorithm: d.algorithm(&in)}
	p.Key = d.bits(&in)
	d.end(&in)
	return p
}

// Marshal puts the SEQUENCE in front of w.
func (p *PublicValue) Marshal(w *der.Writer) {
	end := w.Len()
	putBits(w, p.Key)
	p.Algorithm.Marshal(w)
	w.Wrap(der.Sequence, end)
}

// Group is where a key agreement takes place.
type Group struct {
	name   string
	prime  *big.Int // with generator 2; nil for a curve
	secret int      // octets of a private exponent: twice the group's strength and more
	curve  ecdh.Curve
	id     OID // of the curve
}

func (g *Group) String() string { return g.name }

// Modulus returns the prime and the order of the generator; not for curves.
func (g *Group) Modulus() (p, q *big.Int) {
	return new(big.Int).Set(g.prime), new(big.Int).Rsh(g.prime, 1)
}

// The groups of RFC 4556 §3.2.3.1 and RFC 5349 §4. Group2 has 1024 bits, which
// a state can break: it is there for old clients, where an administrator says so.
var (
	Group2  = &Group{name: "MODP group 2", prime: modp(1024), secret: 32}
	Group14 = &Group{name: "MODP group 14", prime: modp(2048), secret: 32}
	Group16 = &Group{name: "MODP group 16", prime: modp(4096), secret: 40}
	P256    = &Group{name: "P-256", curve: ecdh.P256(), id: oid(1, 2, 840, 10045, 3, 1, 7)}
	P384    = &Group{name: "P-384", curve: ecdh.P384(), id: oid(1, 3, 132, 0, 34)}
	P521    = &Group{name: "P-521", curve: ecdh.P521(), id: oid(1, 3, 132, 0, 35)}
)

// StrongGroups are those that are always taken, in order of preference.
var StrongGroups = []*Group{P256, Group14, P384, Group16, P521}

// modp makes the prime of the Oakley groups from its definition (RFC 2409 §6.2,
// RFC 3526): 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) pi) + c).
func modp(n int) *big.Int {
	c := map[int]int64{1024: 129093, 2048: 124476, 4096: 240904}[n]
	one := big.NewInt(1)
	p := pi(n - 130)
	p.Add(p, big.NewInt(c))
	p.Lsh(p, 64)
	p.Sub(p, one)
	p.Sub(p, new(big.Int).Lsh(one, uint(n-64)))
	return p.Add(p, new(big.Int).Lsh(one, uint(n)))
}

// pi returns floor(2^bits pi), by Machin: pi/4 = 4 arctan 1/5 - arctan 1/239.
func pi(bits int) *big.Int {
	const guard = 64
	one := new(big.Int).Lsh(big.NewInt(1), uint(bits+guard))
	arctan := func(x int64) *big.Int {
		power := new(big.Int).Div(one, big.NewInt(x))
		sum, square := new(big.Int).Set(power), big.NewInt(x*x)
		for i := int64(1); power.Sign() != 0; i++ {
			power.Div(power, square)
			term := new(big.Int).Div(power, big.NewInt(2*i+1))
			if i%2 == 1 {
				term.Neg(term)
			}
			sum.Add(sum, term)
		}
		return sum
	}
	p := arctan(5)
	p.Mul(p, big.NewInt(4)).Sub(p, arctan(239)).Mul(p, big.NewInt(4))
	return p.Rsh(p, guard)
}

// Algorithm returns the group as clients name it (RFC 3279 §2.3.3, §2.3.5).
func (g *Group) Algorithm() Algorithm {
	w := der.NewWriter(nil)
	if g.curve != nil {
		w.String(der.OID, string(g.id))
		return Algorithm{OID: ecPublicKey, Params: w.Bytes()}
	}
	end := w.Len()
	putUnsigned(w, new(big.Int).Rsh(g.prime, 1).Bytes()) // q
	putUnsigned(w, []byte{2})
	putUnsigned(w, g.prime.Bytes())
	w.Wrap(der.Sequence, end)
	return Algorithm{OID: dhPublicNumber, Params: w.Bytes()}
}

// group finds the one that the client means. Its own parameters are never used:
// a prime of its choice can be none, or have small subgroups.
func (p *PublicValue) group(accepted []*Group) *Group {
	for _, g := range accepted {
		switch {
		case g.curve != nil && p.Algorithm.OID == ecPublicKey:
			var d decoder
			r := der.NewReader(p.Algorithm.Params)
			if id := OID(d.bytes(&r, der.OID)); id == g.id && r.Empty() && !d.bad {
				return g
			}
		case g.curve == nil && p.Algorithm.OID == dhPublicNumber:
			//	DomainParameters ::= SEQUENCE { p INTEGER, g INTEGER,
			//	    q INTEGER, j INTEGER OPTIONAL, … }
			var d decoder
			in := d.whole(p.Algorithm.Params, der.Sequence)
			prime, base := d.unsigned(&in), d.unsigned(&in)
			if !d.bad && bytes.Equal(prime, g.prime.Bytes()) && bytes.Equal(base, []byte{2}) {
				return g
			}
		}
	}
	return nil
}

// Agree makes the other half of a key agreement in one of the accepted groups.
// public is for DHKeyInfo, shared the secret, as long as the group's elements.
func (p *PublicValue) Agree(accepted []*Group, rand io.Reader) (public, shared []byte, err error) {
	g := p.group(accepted)
	switch {
	case g == nil:
		return nil, nil, ErrGroup
	case g.curve != nil:
		return g.onCurve(p.Key, rand)
	}
	var d decoder
	r := der.NewReader(p.Key)
	theirs := new(big.Int).SetBytes(d.unsigned(&r))
	if d.bad || !r.Empty() || !g.valid(theirs) {
		return nil, nil, ErrGroup
	}
	secret := make([]byte, g.secret)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, nil, fmt.Errorf("pkinit: key agreement: %w", err)
	}
	secret[0] |= 0x80
	x := new(big.Int).SetBytes(secret)
	w := der.NewWriter(nil)
	putUnsigned(w, new(big.Int).Exp(big.NewInt(2), x, g.prime).Bytes())
	shared = make([]byte, (g.prime.BitLen()+7)/8)
	return w.Bytes(), new(big.Int).Exp(theirs, x, g.prime).FillBytes(shared), nil
}

// valid refuses 0, 1, -1 and what is no number below the prime: with those the
// secret is one of two, for everybody to try (RFC 2631 §2.1.5). The groups have
// no other small subgroups, as half of the prime is one.
func (g *Group) valid(y *big.Int) bool {
	return y.Cmp(big.NewInt(1)) > 0 && y.Cmp(new(big.Int).Sub(g.prime, big.NewInt(1))) < 0
}

func (g *Group) onCurve(point []byte, rand io.Reader) (public, shared []byte, err error) {
	theirs, err := g.curve.NewPublicKey(point) // which is on the curve, and not at infinity
	if err != nil {
		return nil, nil, ErrGroup
	}
	ours, err := g.newKey(rand)
	if err != nil {
		return nil, nil, err
	}
	if shared, err = ours.ECDH(theirs); err != nil {
		return nil, nil, ErrGroup
	}
	return ours.PublicKey().Bytes(), shared, nil
}

// newKey takes a number from rand, another where it is above the curve's order:
// crypto/ecdh would take its randomness from the system, and no recorded
// conversation could be replayed.
func (g *Group) newKey(rand io.Reader) (*ecdh.PrivateKey, error) {
	size := map[*Group]int{P256: 32, P384: 48, P521: 66}[g]
	b := make([]byte, size)
	for range 64 {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("pkinit: key agreement: %w", err)
		}
		if g == P521 {
			b[0] &= 1
		}
		if k, err := g.curve.NewPrivateKey(b); err == nil {
			return k, nil
		}
	}
	return nil, errors.New("pkinit: the source of randomness is broken")
}

// Key is a private key of a client, for what signs in itself: tests, tools.
type Key struct {
	group *Group
	x     *big.Int
	ec    *ecdh.PrivateKey
}

// NewKey makes a client's half.
func (g *Group) NewKey(rand io.Reader) (*Key, *PublicValue, error) {
	k := &Key{group: g}
	pub := &PublicValue{Algorithm: g.Algorithm()}
	if g.curve != nil {
		var err error
		if k.ec, err = g.newKey(rand); err != nil {
			return nil, nil, err
		}
		pub.Key = k.ec.PublicKey().Bytes()
		return k, pub, nil
	}
	b := make([]byte, g.secret)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, nil, fmt.Errorf("pkinit: key agreement: %w", err)
	}
	k.x = new(big.Int).SetBytes(b)
	w := der.NewWriter(nil)
	putUnsigned(w, new(big.Int).Exp(big.NewInt(2), k.x, g.prime).Bytes())
	pub.Key = w.Bytes()
	return k, pub, nil
}

// Shared is the secret, from the public half in a DHKeyInfo.
func (k *Key) Shared(public []byte) ([]byte, error) {
	if k.ec != nil {
		theirs, err := k.group.curve.NewPublicKey(public)
		if err != nil {
			return nil, ErrGroup
		}
		return k.ec.ECDH(theirs)
	}
	var d decoder
	r := der.NewReader(public)
	y := new(big.Int).SetBytes(d.unsigned(&r))
	if d.bad || !k.group.valid(y) {
		return nil, ErrGroup
	}
	return new(big.Int).Exp(y, k.x, k.group.prime).FillBytes(make([]byte, (k.group.prime.BitLen()+7)/8)), nil
}
