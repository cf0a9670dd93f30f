package spake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	ed "filippo.io/edwards25519"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

var groups = []Group{Edwards25519, P256}

func secret(t testing.TB, g Group, password string) Secret {
	t.Helper()
	key, err := etype.StringToKey(etype.AES256SHA1, password, "salt", 1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSecret(g, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBothPartiesAgree(t *testing.T) {
	chance := rand.New(rand.NewSource(1))
	for _, g := range groups {
		right, wrong := secret(t, g, "right"), secret(t, g, "wrong")
		// A w above the order of P-256, which PRF+ gives once in 2^32 times.
		high := right
		copy(high.w[:], bytes.Repeat([]byte{0xff}, scalarSize))
		for name, c := range map[string]struct {
			kdc, client Secret
			agree       bool
		}{
			"the same password": {right, right, true},
			"another password":  {right, wrong, false},
			"the largest w":     {high, high, true},
		} {
			x, pub, err := c.kdc.Generate(KDC, chance)
			if err != nil {
				t.Fatal(err)
			}
			y, peer, err := c.client.Generate(Client, chance)
			if err != nil {
				t.Fatal(err)
			}
			k1, err1 := c.kdc.Result(KDC, x, peer)
			k2, err2 := c.client.Result(Client, y, pub)
			if err1 != nil || err2 != nil || bytes.Equal(k1, k2) != c.agree {
				t.Errorf("%v, %s: %x %v, %x %v", g, name, k1, err1, k2, err2)
			}
		}
	}
}

// The scalar w is reduced by the group's order before it multiplies M and N,
// which is right only if that is their order.
func TestConstantsHaveTheGroupsOrder(t *testing.T) {
	eight, err := new(ed.Scalar).SetCanonicalBytes(append([]byte{8}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*ed.Point{edwardsM, edwardsN} {
		q := new(ed.Point).MultByCofactor(p)
		if q.ScalarMult(new(ed.Scalar).Invert(eight), q).Equal(p) != 1 {
			t.Errorf("%x has a part of small order", p.Bytes())
		}
	}
}

// smallOrder are the encodings of all points of group 1 whose order divides
// eight, canonical or not.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000", // the identity
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestBadElements(t *testing.T) {
	bad := map[Group]map[string]string{
		Edwards25519: {
			"nothing": "", "31 bytes": strings.Repeat("01", 31), "33 bytes": strings.Repeat("01", 33),
			"no point": "0200000000000000000000000000000000000000000000000000000000000000",
			// y = 2^255-16 is p+3: a point of large order, but not in its one form.
			"above the prime": "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		},
		P256: {
			"nothing": "", "infinity": "00", "infinity, long": strings.Repeat("00", 33),
			"32 bytes": strings.Repeat("02", 32), "34 bytes": "02" + strings.Repeat("02", 33),
			"no point":        "020000000000000000000000000000000000000000000000000000000000000001",
			"above the prime": "02ffffffff00000001000000000000000000000001000000000000000000000004",
			"prefix 4":        "0488" + "6e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f",
			"prefix 5":        "05886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f",
			"uncompressed": "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296" +
				"4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
		},
	}
	for i, p := range smallOrder {
		bad[Edwards25519][fmt.Sprintf("small order, %d", i)] = p
	}
	for g, cases := range bad {
		s := secret(t, g, "password")
		x, _, err := s.Generate(KDC, rand.New(rand.NewSource(2)))
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range cases {
			for _, role := range []Role{KDC, Client} {
				if k, err := s.Result(role, x, unhex(t, p)); !errors.Is(err, ErrElement) {
					t.Errorf("%v, %s: %x %v", g, name, k, err)
				}
			}
		}
		// The other party's mask alone: without it, that is the identity, and
		// the result would be the same whatever x is.
		for _, role := range []Role{KDC, Client} {
			var mask []byte
			if g == Edwards25519 {
				mask = edwards{}.mask(!role, &s.w).Bytes()
			} else {
				mask = p256{}.mask(!role, plus, &s.w).BytesCompressed()
			}
			if k, err := s.Result(role, x, mask); !errors.Is(err, ErrElement) {
				t.Errorf("%v, wN: %x %v", g, k, err)
			}
		}
		// The point above the prime is a point, so it is the form that is refused.
		if g == Edwards25519 {
			if _, err := new(ed.Point).SetBytes(unhex(t, cases["above the prime"])); err != nil {
				t.Error("the example for a form that is not canonical is no point")
			}
		}
	}
}

// An element with a part of small order gives the result that it gives without.
func TestSmallPartFallsAway(t *testing.T) {
	s := secret(t, Edwards25519, "password")
	chance := rand.New(rand.NewSource(3))
	x, _, err := s.Generate(KDC, chance)
	if err != nil {
		t.Fatal(err)
	}
	_, peer, err := s.Generate(Client, chance)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.Result(KDC, x, peer)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := new(ed.Point).SetBytes(peer)
	eighth, _ := new(ed.Point).SetBytes(unhex(t, smallOrder[4]))
	if got, err := s.Result(KDC, x, p.Add(p, eighth).Bytes()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x %v, expect %x", got, err, want)
	}
}

func TestBadPrivate(t *testing.T) {
	for g, cases := range map[Group][]string{
		Edwards25519: {"", strings.Repeat("08", 31), strings.Repeat("08", 33), "09" + strings.Repeat("00", 31), "f8" + strings.Repeat("ff", 31)},
		P256:         {"", strings.Repeat("08", 31), strings.Repeat("08", 33), strings.Repeat("00", 32), strings.Repeat("ff", 32)},
	} {
		s := secret(t, g, "password")
		_, peer, err := s.Generate(Client, rand.New(rand.NewSource(4)))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			if _, err := s.Result(KDC, unhex(t, c), peer); !errors.Is(err, ErrPrivate) {
				t.Errorf("%v: private %q: %v", g, c, err)
			}
		}
	}
}

func TestUnknownGroup(t *testing.T) {
	key, err := etype.StringToKey(etype.RC4, "password", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []Group{-1, 0, 3, 4, 1 << 30} {
		if _, err := NewSecret(g, key); !errors.Is(err, ErrGroup) || g.Known() {
			t.Errorf("%v: %v", g, err)
		}
	}
	if _, err := NewSecret(P256, etype.Key{}); !errors.Is(err, etype.ErrUnknown) {
		t.Error("a secret of no key", err)
	}
	var none Secret
	if _, _, err := none.Generate(KDC, nil); !errors.Is(err, ErrGroup) {
		t.Error("the zero Secret generates", err)
	}
}

func TestSecretIsRedacted(t *testing.T) {
	s := secret(t, Edwards25519, "password")
	j, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %x %d", s, s, s, s, s, s), string(j)} {
		if strings.Trim(strings.ReplaceAll(text, redacted, ""), `" `) != "" {
			t.Errorf("prints %q", text)
		}
	}
}

func TestMalformedMessages(t *testing.T) {
	many := func(n int) string { // a support message with so many groups
		m := Message{Choice: Support, Groups: make([]Group, n)}
		return fmt.Sprintf("%x", krb5.Encode(&m))
	}
	long := Message{Choice: Challenge, Group: 1, PublicKey: make([]byte, maxElement+1), Factors: []Factor{{Type: 1}}}
	for name, c := range map[string]struct {
		in string
		ok bool
	}{
		"support":                {"a0093007a0053003020101", true},
		"support, extended":      {"a00e300ca0053003020101a103020105", true},
		"16 groups":              {many(maxGroups), true},
		"17 groups":              {many(maxGroups + 1), false},
		"no groups":              {many(0), false},
		"nothing":                {"", false},
		"choice 4":               {"a4093007a0053003020101", false},
		"another class":          {"60093007a0053003020101", false},
		"something after":        {"a0093007a005300302010100", false},
		"something after inside": {"a00b3007a00530030201010000", false},
		"no sequence":            {"a0023000", false},
		"long element":           {fmt.Sprintf("%x", krb5.Encode(&long)), false},
		"response without more":  {"a2093007a0050403010101", false},
		"encdata":                {"a311300fa003020112a20804060102030405ff", true},
		"encdata cut off":        {"a303300100", false},
	} {
		var m Message
		if err := m.Unmarshal(unhex(t, c.in)); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzMessage: what reads as a message writes and reads as the same again.
func FuzzMessage(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.support))
		f.Add(unhex(f, v.challenge))
	}
	enc := krb5.EncryptedData{EType: 18, Cipher: []byte("0123456789012345678901234567")}
	f.Add(krb5.Encode(&Message{Choice: Response, PublicKey: make([]byte, 32), Encrypted: enc}))
	f.Add(krb5.Encode(&Message{Choice: EncData, Encrypted: enc}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var m, again Message
		if m.Unmarshal(in) != nil {
			return
		}
		out := krb5.Encode(&m)
		if err := again.Unmarshal(out); err != nil || !bytes.Equal(krb5.Encode(&again), out) {
			t.Fatalf("%x became %x: %v", in, out, err)
		}
		if len(m.Groups) > maxGroups || len(m.Factors) > maxFactors || len(m.PublicKey) > maxElement {
			t.Fatal("over a limit")
		}
	})
}

func FuzzFactor(f *testing.F) {
	f.Add([]byte("\x30\x05\xa0\x03\x02\x01\x01"))
	f.Add(krb5.Encode(Factor{Type: 2, Data: []byte("data")}))
	f.Fuzz(func(t *testing.T, in []byte) {
		var a, b Factor
		if a.Unmarshal(in) != nil {
			return
		}
		if err := b.Unmarshal(krb5.Encode(a)); err != nil || b.Type != a.Type || !bytes.Equal(a.Data, b.Data) {
			t.Fatalf("%x: %v", in, err)
		}
	})
}

// FuzzElement: whatever a client sends as its element gives a result or
// ErrElement, and no two encodings are the same element.
func FuzzElement(f *testing.F) {
	for _, v := range vectors {
		f.Add(int32(v.group), unhex(f, v.s))
	}
	for _, p := range smallOrder {
		f.Add(int32(Edwards25519), unhex(f, p))
	}
	private := map[Group][]byte{}
	secrets := map[Group]Secret{}
	for _, g := range groups {
		secrets[g] = secret(f, g, "password")
		x, _, err := secrets[g].Generate(KDC, rand.New(rand.NewSource(5)))
		if err != nil {
			f.Fatal(err)
		}
		private[g] = x
	}
	f.Fuzz(func(t *testing.T, g int32, in []byte) {
		s, ok := secrets[Group(g)]
		if !ok {
			return
		}
		k, err := s.Result(KDC, private[Group(g)], in)
		if err != nil {
			if !errors.Is(err, ErrElement) {
				t.Fatal(err)
			}
			return
		}
		if len(k) != len(in) {
			t.Fatalf("result of %d bytes from an element of %d", len(k), len(in))
		}
	})
}

func BenchmarkChallenge(b *testing.B) {
	for _, g := range groups {
		b.Run(g.String(), func(b *testing.B) {
			s, chance := secret(b, g, "password"), rand.New(rand.NewSource(6))
			for b.Loop() {
				if _, _, err := s.Generate(KDC, chance); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResult(b *testing.B) {
	for _, g := range groups {
		b.Run(g.String(), func(b *testing.B) {
			s, chance := secret(b, g, "password"), rand.New(rand.NewSource(7))
			x, _, err := s.Generate(KDC, chance)
			if err != nil {
				b.Fatal(err)
			}
			_, peer, err := s.Generate(Client, chance)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Result(KDC, x, peer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
