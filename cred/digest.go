package cred

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What ParseDigest takes. The real service sends 10 bytes of salt and 1000
// iterations; other agents send more. Whoever can write a digest chooses what
// its verification costs, hence the bound.
const (
	MaxIterations     = 100_000
	maxSalt           = 64
	defaultSalt       = 10
	defaultIterations = 1000

	digestPrefix = "v1;PPH1_MD4,"
)

var (
	// ErrDigestSyntax is returned for text that is no digest.
	ErrDigestSyntax = errors.New("cred: malformed password digest")
	// ErrDigestIterations is returned for a digest with no iterations or more
	// than MaxIterations.
	ErrDigestIterations = errors.New("cred: iteration count of the password digest out of bounds")
)

// Digest is what the tenant keeps of a synced or cloud password to verify
// sign-ins with: PBKDF2-HMAC-SHA256 over the NT hash (entra-wire.md §B). The
// zero value is no digest and verifies nothing.
type Digest struct {
	secret
	salt       string
	iterations uint32
	hash       [sha256.Size]byte
}

// NewDigest makes the digest of an NT hash as the real agent does.
func NewDigest(nt NTHash, rand io.Reader) (Digest, error) {
	if nt.IsZero() {
		return Digest{}, ErrNTHash
	}
	var salt [defaultSalt]byte
	if _, err := io.ReadFull(rand, salt[:]); err != nil {
		return Digest{}, fmt.Errorf("cred: digest salt: %w", err)
	}
	d := Digest{salt: string(salt[:]), iterations: defaultIterations}
	d.hash = d.of(nt)
	return d, nil
}

// of is the digest's hash for an NT hash. PBKDF2's password is the NT hash as
// text: 32 upper-case hex digits in UTF-16LE.
func (d Digest) of(nt NTHash) (sum [sha256.Size]byte) {
	const digits = "0123456789ABCDEF"
	var text [4 * len(nt.b)]byte
	for i, c := range nt.b {
		text[4*i], text[4*i+2] = digits[c>>4], digits[c&15]
	}
	key, err := pbkdf2.Key(sha256.New, string(text[:]), []byte(d.salt), int(d.iterations), len(sum))
	if err != nil {
		panic("cred: " + err.Error()) // the length is right and the count positive
	}
	return [sha256.Size]byte(key)
}

// ParseDigest reads "v1;PPH1_MD4,<salt hex>,<iterations>,<hash hex>;". The last
// semicolon may be missing.
func ParseDigest(text string) (Digest, error) {
	body, ok := strings.CutPrefix(text, digestPrefix)
	if !ok {
		return Digest{}, fmt.Errorf("%w: not version v1;PPH1_MD4", ErrDigestSyntax)
	}
	salt, body, ok1 := strings.Cut(body, ",")
	count, hash, ok2 := strings.Cut(body, ",")
	if !ok1 || !ok2 {
		return Digest{}, fmt.Errorf("%w: fields are missing", ErrDigestSyntax)
	}
	var d Digest
	if len(salt) == 0 || len(salt) > 2*maxSalt || len(salt)%2 != 0 {
		return Digest{}, fmt.Errorf("%w: salt has not 1 to %d bytes", ErrDigestSyntax, maxSalt)
	}
	var raw [maxSalt]byte
	n, err := hex.Decode(raw[:], []byte(salt))
	if err != nil {
		return Digest{}, fmt.Errorf("%w: salt is not hex", ErrDigestSyntax)
	}
	d.salt = string(raw[:n])
	iterations, err := strconv.ParseUint(count, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && (iterations == 0 || iterations > MaxIterations) {
		return Digest{}, fmt.Errorf("%w: not 1 to %d", ErrDigestIterations, MaxIterations)
	} else if err != nil {
		return Digest{}, fmt.Errorf("%w: iterations are no number", ErrDigestSyntax)
	}
	d.iterations = uint32(iterations)
	hash = strings.TrimSuffix(hash, ";")
	if len(hash) != 2*len(d.hash) {
		return Digest{}, fmt.Errorf("%w: hash has not %d bytes", ErrDigestSyntax, len(d.hash))
	}
	if _, err := hex.Decode(d.hash[:], []byte(hash)); err != nil {
		return Digest{}, fmt.Errorf("%w: hash is not hex", ErrDigestSyntax)
	}
	return d, nil
}

// Verify reports whether password is the one. It costs the digest's iterations
// whether it is or not.
func (d Digest) Verify(password string) bool {
	if d.IsZero() || CheckPassword(password) != nil {
		return false
	}
	sum := d.of(NTHashOf(password))
	return subtle.ConstantTimeCompare(sum[:], d.hash[:]) == 1
}

// IsZero reports whether d is no digest.
func (d Digest) IsZero() bool { return d.iterations == 0 }

// Equal reports whether both are the same text; the hash is compared in
// constant time.
func (d Digest) Equal(o Digest) bool {
	return d.salt == o.salt && d.iterations == o.iterations &&
		subtle.ConstantTimeCompare(d.hash[:], o.hash[:]) == 1
}

// Expose returns the text form, as the real agent writes it; "" for the zero
// Digest. It is the only way out.
func (d Digest) Expose() string {
	if d.IsZero() {
		return ""
	}
	b := make([]byte, 0, len(digestPrefix)+2*len(d.salt)+2*len(d.hash)+10)
	b = append(b, digestPrefix...)
	b = hex.AppendEncode(b, []byte(d.salt))
	b = append(b, ',')
	b = strconv.AppendUint(b, uint64(d.iterations), 10)
	b = append(b, ',')
	b = hex.AppendEncode(b, d.hash[:])
	return string(append(b, ';'))
}
