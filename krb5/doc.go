// Package krb5 turns Kerberos messages into DER and back, one file per message
// family. It knows no cryptography, no clock and no policy: an encrypted part
// stays bytes here.
//
// Decoding. Unmarshal takes one whole message. Names, realms and texts are
// copied; every []byte of the result points into the input, which must stay
// unchanged as long as the result is in use. Optional fields that are absent
// are zero: a zero time, a name without components, a nil cipher; after an error
// the receiver holds nothing of use. What is
// malformed, over a limit below, or followed by anything gives a [SyntaxError];
// nothing is allocated from a count or length before the bytes for it are seen.
//
// Encoding. Marshal puts a message in front of what a [der.Writer] holds; see
// [WrapEncryptedData] for how a part is encrypted where it stands.
//
// References: RFC 4120 (appendix A has the ASN.1), RFC 6806 (canonicalization),
// RFC 3244 (password changes), [MS-KKDCP] (messages in HTTPS),
// RFC 6113 (FAST), [MS-KILE] §2.2.
package krb5

import "skyrealm/der"

// Limits on what a decoder takes. Real messages stay far below: the longest
// principal seen in the field has five components, Windows sends fewer than ten
// kinds of padata and fewer than ten etypes.
const (
	MaxComponents   = 16
	MaxComponent    = 1 << 10 // bytes of one component, realm or salt
	MaxName         = 4 << 10 // bytes of all components together
	MaxPAData       = 32
	MaxETypes       = 64
	MaxAddresses    = 32
	MaxTickets      = 4 // additional-tickets
	MaxAuthData     = 32
	MaxLastReq      = 32
	MaxErrorText    = 4 << 10
	maxMicroseconds = 999999 // RFC 4120 §5.2.4
)

// ProtocolVersion is the pvno of every message.
const ProtocolVersion = 5

// SyntaxError says which kind of message could not be decoded.
type SyntaxError string

func (e SyntaxError) Error() string { return "krb5: malformed " + string(e) }

// Marshaler is any message of this package.
type Marshaler interface{ Marshal(w *der.Writer) }

// Encode returns the DER of m in a slice of its own.
func Encode(m Marshaler) []byte {
	w := der.NewWriter(make([]byte, 0, 512))
	m.Marshal(w)
	return w.Bytes()
}
