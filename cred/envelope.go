package cred

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// An envelope is how agents of the real service seal legacy hashes, one
// attribute in each (ADAuthInfo, entra-wire.md §C2 and §C3). All integers are
// little-endian.
//
//	0    version 1, reserved 0, RSA-OAEP 1, AES-256-CBC 1   4 x u32
//	16   sizes of thumbprint, key, IV and data              4 x u32
//	32   SHA-1 of the certificate
//	52   RSA-OAEP (SHA-1) of the AES key, last byte first
//	308  IV
//	324  AES-256-CBC, PKCS#7: attribute u32, size u32, value
//
// Unlike a Sealed it names neither user nor tenant nor date, and nothing in it
// is authenticated: whoever has the certificate makes one, one that is put into
// another user's row opens there, and whoever changes the IV of one with an NT
// hash turns bits in the hash's first half. So the tenant takes envelopes only
// from an agent that it has authenticated, and whoever stores one has to bind it
// to its user, tenant and date, as a Binding and a Place do.
const (
	envThumb = 32
	envKey   = envThumb + sha1.Size
	envIV    = envKey + envelopeRSA
	envData  = envIV + aes.BlockSize
	envFrame = 8 // attribute and size, before the value

	envelopeRSA = 256 // bytes of a 2048-bit modulus

	// envelopeHead is all before the size of the data. Agents write nothing else,
	// and as no byte of it is authenticated, nothing else is read.
	envelopeHead = "\x01\x00\x00\x00" + "\x00\x00\x00\x00" + "\x01\x00\x00\x00" + "\x01\x00\x00\x00" +
		"\x14\x00\x00\x00" + "\x00\x01\x00\x00" + "\x10\x00\x00\x00"
)

// MaxEnvelope is the size of an envelope in bytes. That of an NT hash has 356,
// one with all that Windows or Samba keep of a user's password 2,500 to 3,500.
const MaxEnvelope = 16 << 10

// The attributes that travel in envelopes, by their numbers in DRSUAPI.
const (
	AttrUnicodePwd              uint32 = 0x0009005a // an NT hash
	AttrSupplementalCredentials uint32 = 0x0009007d // UserProperties.Marshal
)

// CheckEnvelope checks what can be checked without the private key: size,
// version, algorithms, and that it is for the certificate with the thumbprint.
// Errors: ErrSealedSize, ErrSealedSyntax, ErrSealedKey. It allocates nothing.
func CheckEnvelope(blob []byte, thumbprint [sha1.Size]byte) error {
	if len(blob) > MaxEnvelope {
		return ErrSealedSize
	}
	if len(blob) < envData+aes.BlockSize || string(blob[:len(envelopeHead)]) != envelopeHead {
		return ErrSealedSyntax
	}
	n := binary.LittleEndian.Uint32(blob[len(envelopeHead):])
	if uint64(n) != uint64(len(blob)-envData) || n%aes.BlockSize != 0 {
		return ErrSealedSyntax
	}
	if [sha1.Size]byte(blob[envThumb:]) != thumbprint {
		return ErrSealedKey
	}
	return nil
}

// SealEnvelope seals the value of an attribute for the holder of the
// certificate's key. It takes 32 bytes of randomness for the AES key, 16 for the
// IV and 20 for OAEP. Errors: ErrEnvelopeKey for what is no certificate with an
// RSA-2048 key, ErrSealedSize, and that of the randomness.
func SealEnvelope(certDER []byte, attribute uint32, value []byte, rand io.Reader) ([]byte, error) {
	public, err := envelopePublic(certDER)
	if err != nil {
		return nil, err
	}
	if len(value) > MaxEnvelope-envData-envFrame-aes.BlockSize {
		return nil, ErrSealedSize
	}
	pad := aes.BlockSize - (envFrame+len(value))%aes.BlockSize
	n := envFrame + len(value) + pad

	var random [32 + aes.BlockSize]byte
	key, iv := random[:32], random[32:]
	defer clear(key)
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return nil, fmt.Errorf("cred: seal envelope: %w", err)
	}
	wrapped, err := rsa.EncryptOAEP(sha1.New(), rand, public, key, nil)
	if err != nil {
		return nil, fmt.Errorf("cred: seal envelope: %w", err)
	}
	slices.Reverse(wrapped) // as the Windows CryptoAPI writes it

	thumbprint := Thumbprint(certDER)
	out := append(make([]byte, 0, envData+n), envelopeHead...)
	out = binary.LittleEndian.AppendUint32(out, uint32(n))
	out = append(append(append(out, thumbprint[:]...), wrapped...), iv...)
	out = binary.LittleEndian.AppendUint32(out, attribute)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(value)))
	out = append(out, value...)
	for range pad {
		out = append(out, byte(pad))
	}
	// In place, so that no copy of the value is left behind.
	cipher.NewCBCEncrypter(newAES(key), iv).CryptBlocks(out[envData:], out[envData:])
	return out, nil
}

// OpenNTHash opens an envelope of AttrUnicodePwd. The error is always
// ErrUnsealable.
func (k EnvelopeKey) OpenNTHash(blob []byte) (NTHash, error) {
	value, err := k.open(blob, AttrUnicodePwd)
	if err != nil {
		return NTHash{}, err
	}
	defer clear(value)
	nt, err := ParseNTHash(value)
	if err != nil {
		return NTHash{}, ErrUnsealable
	}
	return nt, nil
}

// OpenSupplemental opens an envelope of AttrSupplementalCredentials and returns
// the value as the agent wrote it. The error is always ErrUnsealable.
func (k EnvelopeKey) OpenSupplemental(blob []byte) ([]byte, error) {
	return k.open(blob, AttrSupplementalCredentials)
}

// OpenLegacy opens the two envelopes of one password, of which either may be
// empty. The error is always ErrUnsealable, also where only one of them does not
// open: half of a password would look like a whole one. Who wants the NT hash
// although the agent's Kerberos keys make no sense asks without them.
func (k EnvelopeKey) OpenLegacy(legacy, supplemental []byte) (Legacy, error) {
	var l Legacy
	if len(legacy) > 0 {
		nt, err := k.OpenNTHash(legacy)
		if err != nil {
			return Legacy{}, err
		}
		l.NT = nt
	}
	if len(supplemental) > 0 {
		value, err := k.OpenSupplemental(supplemental)
		if err != nil {
			return Legacy{}, err
		}
		defer clear(value)
		if l.Keys, err = supplementalKeys(value); err != nil {
			return Legacy{}, ErrUnsealable
		}
	}
	if l.check() != nil {
		return Legacy{}, ErrUnsealable
	}
	return l, nil
}

// open decrypts an envelope and checks that it holds the attribute. Whoever may
// write envelopes and watch what becomes of them must not learn at which step
// one fails: that is a padding oracle, which decrypts other users' (Manger's for
// RSA, Vaudenay's for CBC). So after the header, which is public, all steps are
// always taken, and the verdict falls once.
func (k EnvelopeKey) open(blob []byte, attribute uint32) ([]byte, error) {
	if k.key == nil || CheckEnvelope(blob, k.thumbprint) != nil {
		return nil, ErrUnsealable
	}
	var wrapped [envelopeRSA]byte
	copy(wrapped[:], blob[envKey:envIV])
	slices.Reverse(wrapped[:])
	key, err := rsa.DecryptOAEP(sha1.New(), nil, k.key, wrapped[:], nil)
	ok := 1
	if err != nil || len(key) != 32 {
		key, ok = make([]byte, 32), 0 // go on with any key
	}
	defer clear(key)
	return openFrame(key, ok, blob[envIV:envData], blob[envData:], attribute)
}

// openFrame decrypts whole blocks, at least one, and returns the value in them
// if they are the attribute's and ok is 1.
func openFrame(key []byte, ok int, iv, data []byte, attribute uint32) ([]byte, error) {
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(newAES(key), iv).CryptBlocks(plain, data)

	n := len(plain)
	pad := int(plain[n-1])
	ok &= subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i := 1; i <= aes.BlockSize; i++ {
		same := subtle.ConstantTimeByteEq(plain[n-i], byte(pad))
		ok &= subtle.ConstantTimeSelect(subtle.ConstantTimeLessOrEq(i, pad), same, 1)
	}
	// Below zero where padding reaches into the frame. It then has the last byte of
	// the frame's size too, which for a negative number would have to be 255.
	size := n - envFrame - pad
	ok &= subtle.ConstantTimeEq(int32(binary.LittleEndian.Uint32(plain)), int32(attribute))
	ok &= subtle.ConstantTimeEq(int32(binary.LittleEndian.Uint32(plain[4:])), int32(size))
	if ok != 1 {
		clear(plain)
		return nil, ErrUnsealable
	}
	return plain[envFrame : envFrame+size], nil
}

// newAES is for a key of 32 bytes.
func newAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("cred: " + err.Error())
	}
	return block
}
