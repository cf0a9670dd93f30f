package pac

import "skyrealm/krb5/etype"

// usage is KERB_NON_KERB_CKSUM_SALT, the key usage of all PAC signatures
// ([MS-PAC] §2.8.1).
const usage = 17

// macSize is the length of a keyed checksum, 0 for any other type. Signatures
// made with MD5 or CRC32, which need no key, were MS14-068.
func macSize(checksumType int32) int {
	switch checksumType {
	case -138: // HMAC-MD5, RC4's
		return 16
	case 15, 16: // HMAC-SHA1-96, of AES
		return 12
	case 19: // HMAC-SHA256-128
		return 16
	case 20: // HMAC-SHA384-192
		return 24
	}
	return 0
}

// Sign appends the PAC to dst, signed with the key that the ticket is encrypted
// in and the key of krbtgt ([MS-PAC] §2.8).
//
// A ticket for a service carries two more signatures, by which the KDC later
// knows it for its own (CVE-2020-17049, CVE-2022-37967): ticket is the DER of
// its EncTicketPart with a single zero byte for a PAC. In a TGT and for
// kadmin/changepw it is nil.
func (p *PAC) Sign(dst []byte, server, kdc etype.Key, ticket []byte) ([]byte, error) {
	if server.IsZero() || kdc.IsZero() {
		return nil, ErrNoKey
	}
	signatures := 2
	if ticket != nil {
		signatures = 4
	}
	var b builder
	if err := b.build(p, dst, signatures); err != nil {
		return nil, err
	}
	b.signature(TypeServerChecksum, server)
	b.signature(TypeKDCChecksum, kdc)
	if ticket != nil {
		b.signature(TypeTicketChecksum, kdc)
		b.signature(TypeFullChecksum, kdc)
	}
	b.base = b.start
	b.align(8)
	b.directory()

	// Each signature covers those made before it, and zeros for the others.
	all := b.b[b.start:]
	if ticket != nil {
		b.sign(TypeTicketChecksum, kdc, ticket)
		b.sign(TypeFullChecksum, kdc, all)
	}
	b.sign(TypeServerChecksum, server, all)
	e, _ := b.t.find(TypeServerChecksum)
	b.sign(TypeKDCChecksum, kdc, e.of(all)[4:])
	return b.b, nil
}

// signature puts a PAC_SIGNATURE_DATA with zeros for the signature.
func (b *builder) signature(kind uint32, key etype.Key) {
	b.begin(kind)
	checksum := key.ID().ChecksumType()
	b.u32(uint32(checksum))
	var zero [24]byte
	b.b = append(b.b, zero[:macSize(checksum)]...)
	b.end()
}

func (b *builder) sign(kind uint32, key etype.Key, msg []byte) {
	var room [24]byte
	e, _ := b.t.find(kind)
	copy(e.of(b.b[b.start:])[4:], key.Checksum(room[:0], msg, usage))
}

// Verify checks a PAC's signatures, in constant time for each.
//
// server is the key of the ticket; the zero Key leaves that signature out, for
// a KDC that has no such key. kdc are the keys that krbtgt had (a password
// rotates, and a signature does not name its key): one of them must have made
// all of the KDC's. Without any, only server's signature is looked at, which is
// all that a service can do.
//
// ticket is the DER of the EncTicketPart with a single zero byte for the PAC.
// It is nil where Sign's was; otherwise the ticket signature and the full one
// must be there and right.
func Verify(b []byte, server etype.Key, ticket []byte, kdc ...etype.Key) error {
	if server.IsZero() && len(kdc) == 0 {
		return ErrNoKey
	}
	var t table
	if err := t.read(b); err != nil {
		return err
	}
	serverSig, err := t.signature(b, TypeServerChecksum)
	if err != nil {
		return err
	}
	kdcSig, err := t.signature(b, TypeKDCChecksum)
	if err != nil {
		return err
	}
	zeroed := append(make([]byte, 0, len(b)), b...)
	t.zero(zeroed, TypeServerChecksum)
	t.zero(zeroed, TypeKDCChecksum)
	if !server.IsZero() && !serverSig.made(server, zeroed) {
		return ErrSignature
	}
	if len(kdc) == 0 {
		return nil
	}
	var signer etype.Key
	for _, k := range kdc {
		if kdcSig.made(k, serverSig.mac) {
			signer = k
			break
		}
	}
	if signer.IsZero() {
		return ErrSignature
	}
	_, full := t.find(TypeFullChecksum)
	if ticket == nil && !full {
		return nil
	}
	// A signature that is there is checked, needed or not.
	t.zero(zeroed, TypeFullChecksum)
	sig, err := t.signature(b, TypeFullChecksum)
	if err != nil {
		return err
	}
	if !sig.made(signer, zeroed) {
		return ErrSignature
	}
	if ticket == nil {
		return nil
	}
	if sig, err = t.signature(b, TypeTicketChecksum); err != nil {
		return err
	}
	if !sig.made(signer, ticket) {
		return ErrSignature
	}
	return nil
}

// signature is a PAC_SIGNATURE_DATA ([MS-PAC] §2.8).
type signature struct {
	kind int32
	mac  []byte
}

func (t *table) signature(b []byte, kind uint32) (signature, error) {
	e, ok := t.find(kind)
	if !ok {
		return signature{}, ErrMissing
	}
	data := e.of(b)
	if len(data) < 4 {
		return signature{}, SyntaxError("SIGNATURE_DATA")
	}
	s := signature{kind: int32(le.Uint32(data))}
	n := macSize(s.kind)
	// A read-only DC's signature ends with its identifier.
	if n == 0 || len(data) != 4+n && len(data) != 4+n+2 {
		return signature{}, ErrSignature
	}
	s.mac = data[4 : 4+n]
	return s, nil
}

// made reports whether key made the signature over msg.
func (s signature) made(key etype.Key, msg []byte) bool {
	return !key.IsZero() && key.ID().ChecksumType() == s.kind && key.VerifyChecksum(msg, s.mac, usage) == nil
}

// zero blanks a signature in a copy of the PAC.
func (t *table) zero(b []byte, kind uint32) {
	if e, ok := t.find(kind); ok && e.size > 4 {
		clear(e.of(b)[4:])
	}
}
