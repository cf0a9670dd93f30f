package pkinit

import (
	"crypto"
	"crypto/sha1" // RFC 4556 §3.2.3.1
	"encoding/binary"

	"skyrealm/der"
	"skyrealm/krb5/etype"
)

// OctetStringToKey is octetstring2key of RFC 4556 §3.2.3.1: the key for clients
// that know no other function.
//
//	random-to-key(K-truncate(SHA1(0x00 | x) | SHA1(0x01 | x) | …))
func OctetStringToKey(id etype.ID, x []byte) (etype.Key, error) {
	var out []byte
	for i := byte(0); len(out) < id.KeySize(); i++ {
		h := sha1.New()
		h.Write([]byte{i})
		h.Write(x)
		out = h.Sum(out)
	}
	return etype.NewKey(id, out[:id.KeySize()])
}

// kdfs are the functions of RFC 8636 §6 in our order of preference.
var kdfs = []struct {
	oid  OID
	hash crypto.Hash
}{
	{KDFSHA512, crypto.SHA512}, {KDFSHA384, crypto.SHA384}, {KDFSHA256, crypto.SHA256}, {KDFSHA1, crypto.SHA1},
}

// ChooseKDF picks one of those that the client listed; ok is false where none is
// ours.
func ChooseKDF(offered []OID) (kdf OID, ok bool) {
	for i := range kdfs {
		for _, o := range offered {
			if o == kdfs[i].oid {
				return o, true
			}
		}
	}
	return "", false
}

// Exchange is what the key of a reply is bound to (RFC 8636 §4), so that nobody
// can change the request or the reply and leave the key as it was.
type Exchange struct {
	Client, Server Name
	ASReq          []byte // the whole message
	ASRep          []byte // the value of PA-PK-AS-REP
}

// DeriveKey makes the key of a reply from the secret that both sides have.
//
//	key = K-truncate(H(1 | Z | OtherInfo) | H(2 | Z | OtherInfo) | …)
func DeriveKey(kdf OID, id etype.ID, z []byte, x *Exchange) (etype.Key, error) {
	out := derive(kdf, id.KeySize(), z, x.otherInfo(kdf, int64(id)))
	if out == nil {
		return etype.Key{}, etype.ErrUnknown
	}
	return etype.NewKey(id, out)
}

func derive(kdf OID, n int, z, info []byte) (out []byte) {
	for i := range kdfs {
		if kdfs[i].oid != kdf {
			continue
		}
		for counter := uint32(1); len(out) < n; counter++ {
			h := kdfs[i].hash.New()
			var c [4]byte
			binary.BigEndian.PutUint32(c[:], counter)
			h.Write(c[:])
			h.Write(z)
			h.Write(info)
			out = h.Sum(out)
		}
		return out[:n]
	}
	return nil
}

// otherInfo is the DER of
//
//	OtherInfo ::= SEQUENCE {
//	    algorithmID   AlgorithmIdentifier,
//	    partyUInfo    [0] OCTET STRING, -- KRB5PrincipalName of the client
//	    partyVInfo    [1] OCTET STRING, -- of the server
//	    suppPubInfo   [2] OCTET STRING OPTIONAL, -- PkinitSuppPubInfo
//	    suppPrivInfo  [3] OCTET STRING OPTIONAL }
//	PkinitSuppPubInfo ::= SEQUENCE {
//	    enctype   [0] Int32,
//	    as-REQ    [1] OCTET STRING,
//	    pk-as-rep [2] OCTET STRING, ... }
func (x *Exchange) otherInfo(kdf OID, enctype int64) []byte {
	w := der.NewWriter(make([]byte, 0, 512+len(x.ASReq)+len(x.ASRep)))
	end := w.Len()
	putOctets(w, 2, x.ASRep)
	putOctets(w, 1, x.ASReq)
	mark := w.Len()
	w.Int(der.Integer, enctype)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
	w.Wrap(der.OctetString, end)
	w.Wrap(der.Context(2), end)
	putParty(w, 1, x.Server)
	putParty(w, 0, x.Client)
	Algorithm{OID: kdf}.Marshal(w)
	w.Wrap(der.Sequence, end)
	return w.Bytes()
}

func putParty(w *der.Writer, n int, party Name) {
	mark := w.Len()
	party.Marshal(w)
	w.Wrap(der.OctetString, mark)
	w.Wrap(der.Context(n), mark)
}
