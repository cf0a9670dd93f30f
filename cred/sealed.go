package cred

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Sealing is written by hand (RFC 7516 §7.1, RFC 7518 §4.6) and not with
// go-jose: that takes its randomness from a package variable, and builds maps
// for a header of which one form is allowed. go-jose is the oracle in the tests.
const (
	sealAlg = "ECDH-ES"
	sealEnc = "A256GCM"

	// MaxSealed is the size of a Sealed in bytes. A user's takes about 900.
	MaxSealed = 8 << 10

	maxHeader = 1 << 10 // base64url
	gcmNonce  = 12
	gcmTag    = 16
)

var (
	// ErrUnsealable is the one answer of Open: what distinguishes a blob for
	// another key, for another user and a changed one is nobody's business.
	ErrUnsealable = errors.New("cred: sealed legacy hashes can't be opened")
	// ErrBinding is returned by Seal for a binding without tenant or subject.
	ErrBinding = errors.New("cred: sealing needs a tenant and a subject")
	// ErrSealedSize is returned for a Sealed longer than MaxSealed.
	ErrSealedSize = errors.New("cred: sealed legacy hashes are too long")
	// ErrSealedSyntax is returned for what is not the allowed form of JWE.
	ErrSealedSyntax = errors.New("cred: malformed sealed legacy hashes")
	// ErrSealedKey is returned where the sealing was for another key.
	ErrSealedKey = errors.New("cred: legacy hashes are sealed for another key")
)

// Sealed is legacy hashes that only the managed domain can open: a JWE in
// compact form with ECDH-ES on P-256 straight to A256GCM. Its header has alg,
// enc, kid and epk, and may have typ and cty; it has nothing else, as
// compression leaks and critical extensions or party data would go unheeded.
type Sealed string

// Binding says whose hashes they are. It stands inside, authenticated: a blob
// moved to another user or tenant, or brought back after a newer one, does not
// open.
type Binding struct {
	Tenant  string
	Subject string // sourceAnchor, or object id of a cloud-only user
	// Version is the change date in Unix microseconds. A blob opens for its own
	// and for older ones: the tenant clamps a date that lies in the future to
	// the time of receipt, which the agent that sealed it could not know.
	Version int64
}

// Seal encrypts l to p. Errors: ErrBinding, ErrLegacy, ErrSealedSize, and that
// of the randomness.
func (p PublicKey) Seal(b Binding, l Legacy, rand io.Reader) (Sealed, error) {
	plain, err := marshalPayload(b, l)
	if err != nil {
		return "", err
	}
	return p.seal(plain, MaxSealed, rand)
}

// seal encrypts plain, and clears it.
func (p PublicKey) seal(plain []byte, most int, rand io.Reader) (Sealed, error) {
	defer clear(plain)
	if p.key == nil {
		return "", ErrPublicKey
	}
	ephemeral, err := generate(rand)
	if err != nil {
		return "", err
	}
	z, err := ephemeral.ECDH(p.key)
	if err != nil {
		return "", ErrPublicKey
	}
	point := ephemeral.PublicKey().Bytes()

	header := make([]byte, 0, 256)
	header = append(header, `{"alg":"`+sealAlg+`","enc":"`+sealEnc+`","epk":{"crv":"P-256","kty":"EC","x":"`...)
	header = b64.AppendEncode(header, point[1:33])
	header = append(header, `","y":"`...)
	header = b64.AppendEncode(header, point[33:])
	header = append(header, `"},"kid":"`+p.kid+`"}`...)

	n := b64.EncodedLen
	size := n(len(header)) + 2 + n(gcmNonce) + 1 + n(len(plain)) + 1 + n(gcmTag)
	if size > most {
		return "", ErrSealedSize
	}
	out := b64.AppendEncode(make([]byte, 0, size), header)
	box := make([]byte, gcmNonce, gcmNonce+len(plain)+gcmTag)
	if _, err := io.ReadFull(rand, box); err != nil {
		return "", fmt.Errorf("cred: seal: %w", err)
	}
	box = sealAEAD(z).Seal(box, box, plain, out)
	end := len(box) - gcmTag
	out = append(out, '.', '.') // no encrypted key: agreed directly
	out = append(b64.AppendEncode(out, box[:gcmNonce]), '.')
	out = append(b64.AppendEncode(out, box[gcmNonce:end]), '.')
	return Sealed(b64.AppendEncode(out, box[end:])), nil
}

// concatInfo is what follows the shared secret in the key derivation of
// RFC 7518 §4.6.2: algorithm, no party names, 256 bits.
const concatInfo = "\x00\x00\x00\x07" + sealEnc + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x01\x00"

// sealAEAD derives the content key from the shared secret and clears that.
func sealAEAD(z []byte) cipher.AEAD {
	var in [4 + 32 + len(concatInfo)]byte
	in[3] = 1 // the one round that 256 bits need
	copy(in[4:], z)
	copy(in[36:], concatInfo)
	key := sha256.Sum256(in[:])
	clear(z)
	clear(in[:])
	return newGCM(&key)
}

// newGCM takes the key and clears it.
func newGCM(key *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("cred: " + err.Error()) // 32 bytes are a key
	}
	clear(key[:])
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("cred: " + err.Error()) // AES has the block size of GCM
	}
	return aead
}

// Open decrypts what was sealed for this key and this binding. The error is
// always ErrUnsealable.
func (p PrivateKey) Open(b Binding, s Sealed) (Legacy, error) {
	if len(s) > MaxSealed {
		return Legacy{}, ErrUnsealable
	}
	plain, err := p.open(s)
	if err != nil {
		return Legacy{}, err
	}
	defer clear(plain)
	return unmarshalPayload(plain, b)
}

// open decrypts; what is inside is the caller's to judge, and to clear.
func (p PrivateKey) open(s Sealed) ([]byte, error) {
	parts, err := splitSealed(string(s))
	if p.key == nil || err != nil {
		return nil, ErrUnsealable
	}
	var buf [maxHeader]byte
	h, err := parseHeader(buf[:], parts.header)
	if err != nil || string(h.kid) != p.public.kid {
		return nil, ErrUnsealable
	}
	epk, err := parsePoint(string(h.x), string(h.y))
	if err != nil {
		return nil, ErrUnsealable
	}
	// Nonce, ciphertext and tag go into one piece, as the AEAD wants them.
	box := make([]byte, 0, len(parts.text)+gcmNonce+2*gcmTag)
	for _, part := range []string{parts.nonce, parts.text, parts.tag} {
		if box, err = b64.AppendDecode(box, []byte(part)); err != nil {
			return nil, ErrUnsealable
		}
	}
	z, err := p.key.ECDH(epk)
	if err != nil {
		return nil, ErrUnsealable
	}
	text := box[gcmNonce:]
	plain, err := sealAEAD(z).Open(text[:0], box[:gcmNonce], text, []byte(parts.header))
	if err != nil {
		return nil, ErrUnsealable
	}
	return plain, nil
}

// CheckSealed checks what can be checked without the private key: that s is the
// allowed form of JWE, of bounded size, and for the key named keyID. Errors:
// ErrSealedSize, ErrSealedSyntax, ErrSealedKey. It allocates nothing.
func CheckSealed(s Sealed, keyID string) error {
	if len(s) > MaxSealed {
		return ErrSealedSize
	}
	parts, err := splitSealed(string(s))
	if err != nil {
		return err
	}
	for i := range len(parts.text) {
		if !base64url[parts.text[i]] {
			return ErrSealedSyntax
		}
	}
	var buf [maxHeader]byte
	h, err := parseHeader(buf[:], parts.header)
	if err != nil {
		return err
	}
	if string(h.kid) != keyID {
		return ErrSealedKey
	}
	return nil
}

var base64url = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		t[c] = true
	}
	return t
}()

type sealedParts struct{ header, nonce, text, tag string }

// splitSealed takes a compact JWE apart and checks the length of each part.
func splitSealed(s string) (p sealedParts, err error) {
	if len(s) > maxWrapped {
		return p, ErrSealedSize
	}
	var key, rest string
	var ok [3]bool
	p.header, rest, ok[0] = strings.Cut(s, ".")
	key, rest, ok[1] = strings.Cut(rest, ".")
	p.nonce, rest, ok[2] = strings.Cut(rest, ".")
	if !ok[0] || !ok[1] || !ok[2] || key != "" {
		return p, ErrSealedSyntax
	}
	text, tag, found := strings.Cut(rest, ".")
	if !found || strings.IndexByte(tag, '.') >= 0 || text == "" || len(p.header) > maxHeader ||
		len(p.nonce) != b64.EncodedLen(gcmNonce) || len(tag) != b64.EncodedLen(gcmTag) {
		return p, ErrSealedSyntax
	}
	p.text, p.tag = text, tag
	return p, nil
}

// sealedHeader is the protected header; its slices point into the buffer.
type sealedHeader struct{ kid, x, y []byte }

// parseHeader reads the header into buf. All members are strings but epk, which
// is an object of strings; none may come twice.
func parseHeader(buf []byte, text string) (h sealedHeader, err error) {
	n, err := decodeInto(buf, text)
	if err != nil {
		return h, ErrSealedSyntax
	}
	var alg, enc, kty, crv, typ, cty []byte
	var epk bool
	s := scanner{b: buf[:n]}
	for name, ok := s.first(); ok; name, ok = s.more() {
		switch string(name) {
		case "alg":
			alg = s.once(alg)
		case "enc":
			enc = s.once(enc)
		case "kid":
			h.kid = s.once(h.kid)
		case "typ":
			typ = s.once(typ)
		case "cty":
			cty = s.once(cty)
		case "epk":
			s.bad = s.bad || epk
			epk = true
			for name, ok := s.first(); ok; name, ok = s.more() {
				switch string(name) {
				case "kty":
					kty = s.once(kty)
				case "crv":
					crv = s.once(crv)
				case "x":
					h.x = s.once(h.x)
				case "y":
					h.y = s.once(h.y)
				default:
					s.bad = true
				}
			}
		default:
			s.bad = true
		}
	}
	s.space()
	if s.bad || len(s.b) != 0 || string(alg) != sealAlg || string(enc) != sealEnc || string(kty) != "EC" ||
		string(crv) != "P-256" || len(h.x) != coordinate || len(h.y) != coordinate {
		return h, ErrSealedSyntax
	}
	return h, nil
}
