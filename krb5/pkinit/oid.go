package pkinit

import (
	"crypto"
	_ "crypto/sha1" // of KDFSHA1
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
)

// OID is an object identifier: its contents in DER, so that two are equal where
// the bytes are.
type OID string

func oid(arcs ...int) OID {
	b, err := asn1.Marshal(asn1.ObjectIdentifier(arcs))
	if err != nil {
		panic("pkinit: " + err.Error()) // the constants below are well formed
	}
	return OID(b[2:])
}

// The object identifiers of PKINIT (RFC 4556 §3.1.1, RFC 8636 §6) and Windows.
var (
	AuthData  = oid(1, 3, 6, 1, 5, 2, 3, 1) // what the client signs
	DHKeyData = oid(1, 3, 6, 1, 5, 2, 3, 2) // what the KDC signs

	KDFSHA1   = oid(1, 3, 6, 1, 5, 2, 3, 6, 1)
	KDFSHA256 = oid(1, 3, 6, 1, 5, 2, 3, 6, 2)
	KDFSHA512 = oid(1, 3, 6, 1, 5, 2, 3, 6, 3)
	KDFSHA384 = oid(1, 3, 6, 1, 5, 2, 3, 6, 4)

	signedData      = oid(1, 2, 840, 113549, 1, 7, 2)
	attrContentType = oid(1, 2, 840, 113549, 1, 9, 3)
	attrDigest      = oid(1, 2, 840, 113549, 1, 9, 4)

	dhPublicNumber = oid(1, 2, 840, 10046, 2, 1)
	ecPublicKey    = oid(1, 2, 840, 10045, 2, 1)

	SHA256 = oid(2, 16, 840, 1, 101, 3, 4, 2, 1)
	SHA384 = oid(2, 16, 840, 1, 101, 3, 4, 2, 2)
	SHA512 = oid(2, 16, 840, 1, 101, 3, 4, 2, 3)

	rsaEncryption = oid(1, 2, 840, 113549, 1, 1, 1)
)

// The same where crypto/x509 wants arcs.
var (
	EKUClient    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 3, 4}          // id-pkinit-KPClientAuth
	EKUKDC       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 2, 3, 5}          // id-pkinit-KPKdc
	EKUSmartCard = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 20, 2, 2} // Windows' smart card logon
	oidSAN       = asn1.ObjectIdentifier{2, 5, 29, 17}                    // subjectAltName
	oidSID       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 25, 2}    // szOID_NTDS_CA_SECURITY_EXT
	oidObjectSID = oid(1, 3, 6, 1, 4, 1, 311, 25, 2, 1)                   // szOID_NTDS_OBJECTSID
	oidUPN       = oid(1, 3, 6, 1, 4, 1, 311, 20, 2, 3)                   // szOID_NT_PRINCIPAL_NAME
	oidKRB5Name  = oid(1, 3, 6, 1, 5, 2, 2)                               // id-pkinit-san
)

// digests are those that a signature may be over. SHA-1 is not among them:
// what a client signs may be in part an attacker's choice.
var digests = map[OID]crypto.Hash{SHA256: crypto.SHA256, SHA384: crypto.SHA384, SHA512: crypto.SHA512}

// signatures are the algorithms of a SignerInfo; the first two name no digest,
// and go with the one of the SignerInfo.
var signatures = map[OID]struct {
	rsa  bool
	hash crypto.Hash
}{
	rsaEncryption:                    {true, 0},
	ecPublicKey:                      {false, 0},
	oid(1, 2, 840, 113549, 1, 1, 11): {true, crypto.SHA256},
	oid(1, 2, 840, 113549, 1, 1, 12): {true, crypto.SHA384},
	oid(1, 2, 840, 113549, 1, 1, 13): {true, crypto.SHA512},
	oid(1, 2, 840, 10045, 4, 3, 2):   {false, crypto.SHA256},
	oid(1, 2, 840, 10045, 4, 3, 3):   {false, crypto.SHA384},
	oid(1, 2, 840, 10045, 4, 3, 4):   {false, crypto.SHA512},
}
