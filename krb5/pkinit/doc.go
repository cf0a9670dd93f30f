// Package pkinit is what a KDC needs to believe a certificate instead of a
// password: the messages of PKINIT, the signed containers that they come in,
// key agreement, and the key of the reply. It knows no clock, no accounts and no
// policy; whose certificates count, its caller says.
//
//	asreq.go     PA-PK-AS-REQ and the AuthPack in it
//	asrep.go     PA-PK-AS-REP and the KDCDHKeyInfo in it
//	cms.go       SignedData read; sign.go: SignedData written
//	group.go     Diffie-Hellman, with primes and with curves
//	kdf.go       the reply's key
//	cert.go      the names in a certificate
//	typed.go     what an error says to the client
//
// Everything that is decoded here comes from somebody who is not known yet.
// Sizes are checked before anything is handed to crypto/x509, whose work grows
// faster than its input (CVE-2025-61729, CVE-2026-32280).
//
// References: RFC 4556 (PKINIT), RFC 5349 (with curves), RFC 8636 (algorithm
// agility), RFC 8070 (freshness), RFC 5652 (CMS), [MS-PKCA].
package pkinit

// Limits on what a client may send. A chain of real cards has two or three
// certificates of two kilobytes.
const (
	MaxCertificates = 6
	MaxCertificate  = 8 << 10
	MaxNames        = 32 // alternative names that are looked at in a certificate
	maxAlgorithms   = 32 // of each list
	maxAttributes   = 16
	maxNonce        = 256
	maxToken        = 4 << 10
)

// SyntaxError says what could not be decoded.
type SyntaxError string

func (e SyntaxError) Error() string { return "pkinit: malformed " + string(e) }
