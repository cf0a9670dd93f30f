package kdc

import (
	"crypto"
	"crypto/sha1" // RFC 4556 §3.2.1: paChecksum
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"hash"
	"slices"
	"sync/atomic"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pkinit"
)

// PKINIT is what it takes to sign people in with certificates (RFC 4556), and
// nobody in particular without one (RFC 8062). Call Use before the first request,
// and again whenever the KDC has a new certificate.
type PKINIT struct {
	// Clients are the authorities whose certificates sign in: only of those
	// that issue none but to people who were identified, as whoever has such a
	// certificate needs no password. None: only anonymous tickets are issued.
	Clients []*x509.Certificate
	// RequireFreshness refuses what could have been signed before, by somebody
	// who had the card for an hour (RFC 8070). Clients older than it are out.
	RequireFreshness bool
	// AllowGroup2 lets clients use Diffie-Hellman with 1,024 bits.
	AllowGroup2 bool

	own      atomic.Pointer[ownCertificate]
	nobodies atomic.Int32 // anonymous requests that are worked on
}

type ownCertificate struct {
	chain []*x509.Certificate
	key   crypto.Signer
}

// Use sets the KDC's own certificate, and what stands between it and the one
// that clients trust.
func (p *PKINIT) Use(chain []*x509.Certificate, key crypto.Signer) {
	p.own.Store(&ownCertificate{chain, key})
}

func (p *PKINIT) groups() []*pkinit.Group {
	if p.AllowGroup2 {
		return append(slices.Clone(pkinit.StrongGroups), pkinit.Group2)
	}
	return pkinit.StrongGroups
}

// certificates is PA-PK-AS-REQ. It needs no key of the account's, so people
// whose hashes have not come sign in with it all the same.
var certificates = mechanism{
	kind: krb5.PAPKASReq, place: anywhere,
	offer: func(x *exchange, to krb5.MethodData) krb5.MethodData {
		if _, ok := x.strongest(); !ok {
			return to // a client of RC4 alone hears what is wrong with that
		}
		to = append(to, krb5.PAData{Type: krb5.PAPKASReq, Value: []byte{}})
		// A client that knows RFC 8070 says so with an empty element (§2.1).
		if _, ok := x.req.PAData.Find(krb5.PAASFreshness); ok {
			if token, err := x.bakeCookie(krb5.PAASFreshness, nil); err == nil {
				to = append(to, krb5.PAData{Type: krb5.PAASFreshness, Value: token})
			}
		}
		return to
	},
	prove: (*exchange).proveCertificate,
}

// proveCertificate judges what a client has signed, and agrees on a key with it.
// What costs most comes last.
func (x *exchange) proveCertificate(value []byte) error {
	p := x.k.PKINIT
	own := p.own.Load()
	if own == nil {
		return refuse(krb5.ErrPADataTypeNoSupp, "the KDC has no certificate yet")
	}
	var req pkinit.ASReq
	var signed pkinit.SignedData
	if req.Unmarshal(value) != nil {
		return refuse(krb5.ErrPreauthFailed, "malformed PA-PK-AS-REQ")
	}
	if err := signed.Unmarshal(req.SignedAuthPack, pkinit.AuthData); err != nil {
		return refuse(krb5.ErrPreauthFailed, err.Error())
	}
	if x.mayNotWait {
		return errLater // it takes the time of a hundred passwords
	}
	switch {
	case (x.client == nil) == signed.Signed:
		return refuse(krb5.ErrPreauthFailed, "a signature of nobody, or none of somebody")
	case signed.Signed:
		if err := x.checkSigner(&signed); err != nil {
			return err
		}
	}
	var pack pkinit.AuthPack
	if pack.Unmarshal(signed.Content) != nil {
		return refuse(krb5.ErrPreauthFailed, "malformed AuthPack")
	}
	if err := x.checkAuthPack(&pack); err != nil {
		return err
	}
	x.proof = req.SignedAuthPack
	return x.agree(&pack, own)
}

// checkAuthPack asks whether it was signed for this request, and now.
func (x *exchange) checkAuthPack(pack *pkinit.AuthPack) error {
	if !x.current(pack.Time) {
		return refuse(krb5.ErrSkew, "the client's clock is off")
	}
	if pack.Checksum == nil {
		return refuse(krb5.ErrPAChecksumMissing, "no checksum of the request")
	}
	sum := sha1.Sum(x.req.RawBody) // RFC 4556 §3.2.1
	if subtle.ConstantTimeCompare(sum[:], pack.Checksum) != 1 {
		return refuse(krb5.ErrModified, "the body is not what the client signed for")
	}
	if pack.Checksum2 != nil { // [MS-PKCA] §3.1.5.2.1: the same without SHA-1
		var h hash.Hash
		switch pack.Checksum2Type {
		case pkinit.SHA256:
			h = sha256.New()
		case pkinit.SHA384:
			h = sha512.New384()
		case pkinit.SHA512:
			h = sha512.New()
		default:
			return refuse(krb5.ErrSumTypeNoSupp, "paChecksum2 of a type that we don't know")
		}
		h.Write(x.req.RawBody)
		if subtle.ConstantTimeCompare(h.Sum(nil), pack.Checksum2) != 1 {
			return refuse(krb5.ErrModified, "the body is not what the client signed for")
		}
	}
	if x.client == nil {
		return nil // nobody signs nothing, so there is nothing to be fresh
	}
	if pack.Token == nil {
		if x.k.PKINIT.RequireFreshness {
			return x.askFor(krb5.ErrPreauthFailed, "no freshness token")
		}
		return nil
	}
	if _, ok := x.openCookie(krb5.PAASFreshness, pack.Token); !ok {
		// RFC 8070 §2.3: the client takes the new one and tries again.
		x.req.PAData = append(x.req.PAData, krb5.PAData{Type: krb5.PAASFreshness})
		return x.askFor(krb5.ErrPreauthExpired, "a freshness token that is stale, or none of ours")
	}
	return nil
}

// agree makes the key of the reply, and what the client needs to make it too.
func (x *exchange) agree(pack *pkinit.AuthPack, own *ownCertificate) error {
	if pack.Public == nil {
		return refuse(krb5.ErrPublicKeyEncryption, "a key encrypted to the client's certificate is not given")
	}
	id, ok := x.strongest()
	if !ok {
		return refuse(krb5.ErrETypeNoSupp, "no type of key in common")
	}
	var rep pkinit.ASRep
	if pack.KDFs != nil {
		if rep.KDF, ok = pkinit.ChooseKDF(pack.KDFs); !ok {
			return refuse(krb5.ErrNoAcceptableKDF, "no key derivation function in common")
		}
	}
	groups := x.k.PKINIT.groups()
	public, secret, err := pack.Public.Agree(groups, x.k.Rand)
	if errors.Is(err, pkinit.ErrGroup) {
		return x.typed(krb5.ErrDHParamNotAccepted, "key agreement in another group, or a value that is none", pkinit.DHParameters(groups))
	}
	if err != nil {
		return err
	}
	info := krb5.Encode(&pkinit.DHKeyInfo{Public: public, Nonce: pack.Nonce})
	if rep.DHSignedData, err = pkinit.Sign(pkinit.DHKeyData, info, own.chain, own.key, x.k.Rand); err != nil {
		return err
	}
	answer := krb5.Encode(&rep)
	var key etype.Key
	if rep.KDF == "" {
		key, err = pkinit.OctetStringToKey(id, secret)
	} else {
		key, err = pkinit.DeriveKey(rep.KDF, id, secret, &pkinit.Exchange{
			Client: x.partyU(),
			Server: pkinit.Name{Realm: x.req.Realm, Principal: x.req.SName},
			ASReq:  x.raw, ASRep: answer,
		})
	}
	clear(secret)
	if err != nil {
		return err
	}
	x.repPAData = append(x.repPAData, krb5.PAData{Type: krb5.PAPKASRep, Value: answer})
	x.replyWith(key, 0)
	return nil
}

// partyU is the client as the key is bound to it: by the name in the request, and
// nobody by the one in the reply, as MIT and Heimdal have it.
func (x *exchange) partyU() pkinit.Name {
	if x.client == nil {
		return pkinit.Name{Realm: anonymousRealm, Principal: anonymous}
	}
	return pkinit.Name{Realm: x.req.Realm, Principal: x.req.CName}
}

// strongest picks the type of the reply's key, which is no account's.
func (x *exchange) strongest() (etype.ID, bool) {
	for _, id := range strengths {
		if x.listed(id) && id != etype.RC4 {
			return id, true
		}
	}
	return 0, false
}

// typed refuses with typed data of one element, which inside FAST stands among
// the METHOD-DATA (RFC 6113 §5.4.4).
func (x *exchange) typed(code krb5.ErrorCode, why string, d pkinit.Typed) error {
	if x.armored() {
		return &refusal{code: code, why: why, methods: krb5.MethodData{{Type: d.Type, Value: d.Value}}}
	}
	return &refusal{code: code, why: why, data: krb5.Encode(d)}
}
