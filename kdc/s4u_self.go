package kdc

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"slices"
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// toSelf is S4U2Self ([MS-SFU] §3.2.5.1): a service that knows by its own means
// who somebody is gets the ticket that this person would have shown it, and
// with that the groups.
func (x *exchange) toSelf(forUser, byID []byte) error {
	front := x.client
	// Only to itself, and by the account: a name can be another's by now
	// (CVE-2021-42287).
	if x.service.account.RID != front.RID {
		return refuse(krb5.ErrBadMatch, "S4U2Self to another account's service")
	}
	s := &s4u{front: front, vouched: true}
	var name krb5.PrincipalName
	var realm string
	var answer *krb5.S4UX509User
	if forUser != nil {
		var u krb5.ForUser
		if err := x.readForUser(forUser, &u); err != nil {
			return err
		}
		name, realm = u.Name, u.Realm
	}
	var cert []byte
	// An RC4 client puts a plain MD4 there ([MS-SFU] §2.2.2), which anybody can
	// make; its PA-FOR-USER has said the same, under a key.
	if byID != nil && (forUser == nil || x.reply.key.ID() != etype.RC4) {
		var u krb5.S4UX509User
		if err := x.readS4UX509User(byID, &u); err != nil {
			return err
		}
		if forUser != nil && (!u.Name.Equal(name) || u.Realm != realm) {
			return refuse(krb5.ErrBadMatch, "two names for one person")
		}
		name, realm, answer, cert = u.Name, u.Realm, &u, u.Certificate
	}

	// The person, of whom nothing is asked; but that the account is good. Its
	// password may have expired: nobody uses it here.
	if !x.k.isRealm(realm) {
		return refuse(krb5.ErrCPrincipalUnknown, "S4U2Self for another realm's client")
	}
	o, err := x.person(&name, cert)
	if err != nil {
		return err
	}
	if o.Disabled() || o.RID == domain.RIDKrbtgt {
		return refuseStatus(krb5.ErrClientRevoked, statusAccountDisabled, "client disabled")
	}
	if o.Settings.Expired(x.now) {
		return refuseStatus(krb5.ErrClientRevoked, statusAccountExpired, "client account expired")
	}
	// A service that signs the person in, and does not only look up the groups, asks
	// for this ([MS-SFU] §2.2.2).
	if answer != nil && answer.Options&krb5.S4UCheckLogonHours != 0 && o.Settings.Refuses(x.now, "") == domain.OutOfHours {
		return refuseStatus(krb5.ErrClientRevoked, statusInvalidLogonHours, "client outside of its logon hours")
	}
	// Who may pass people on to some services must have seen them, unless it is
	// trusted to do without. Who may pass them on to none by its own account
	// gets a ticket that a target can let it use ([MS-SFU] §3.2.5.1.3).
	s.bound = front.Delegates() && !front.TrustedToAuth()
	// An enterprise name is none that a ticket has; any other stays as it is,
	// which is what clients compare the ticket with.
	if name.Type == krb5.NTEnterprise {
		name = krb5.Principal(krb5.NTPrincipal, o.SAM)
	}
	x.client, x.cname, x.s4u = o, name, s
	if answer != nil {
		x.answerS4UX509User(answer, s)
	}
	return nil
}

// person finds the account by name, certificate, or both, which must be of one
// then. Without a name that one becomes the account's; the subject of the
// certificate, which Windows puts there, is none.
func (x *exchange) person(name *krb5.PrincipalName, cert []byte) (o *domain.Object, err error) {
	byName := cert == nil || !name.IsZero() && name.Type != krb5.NTX500Principal
	if byName {
		if o = x.k.clientByName(*name); o == nil {
			return nil, refuse(krb5.ErrCPrincipalUnknown, "no such client")
		}
	}
	if cert == nil {
		return o, nil
	}
	if o, err = x.holderOf(cert, o); err == nil && !byName {
		*name = krb5.Principal(krb5.NTPrincipal, o.SAM)
	}
	return o, err
}

// readForUser decodes and verifies PA-FOR-USER. Its checksum is HMAC-MD5 under
// the TGT's session key, whatever type that is of, or the key's own. One that
// needs no key lets a client that is asked for one name change it for another
// (CVE-2018-16860).
func (x *exchange) readForUser(b []byte, u *krb5.ForUser) error {
	if u.Unmarshal(b) != nil {
		return refuse(krb5.ErrGeneric, "malformed PA-FOR-USER")
	}
	session, err := etype.NewKey(etype.ID(x.tgt.Key.Type), x.tgt.Key.Expose())
	if err != nil {
		return refuse(krb5.ErrBadIntegrity, "the TGT's session key is none")
	}
	const hmacMD5 = -138
	switch u.Checksum.Type {
	case hmacMD5:
		if !hmac.Equal(u.Checksum.Value, hmacMD5Sum(x.tgt.Key.Expose(), krb5.UsagePACChecksum, u.Signed())) {
			return refuse(krb5.ErrModified, "PA-FOR-USER is not what its checksum covers")
		}
	case session.ID().ChecksumType():
		if session.VerifyChecksum(u.Signed(), u.Checksum.Value, krb5.UsagePACChecksum) != nil {
			return refuse(krb5.ErrModified, "PA-FOR-USER is not what its checksum covers")
		}
	default:
		return refuse(krb5.ErrInappCksum, "PA-FOR-USER under no key")
	}
	if !strings.EqualFold(u.Package, "Kerberos") {
		return refuse(krb5.ErrGeneric, "PA-FOR-USER of another package")
	}
	return nil
}

// hmacMD5Sum is KERB_CHECKSUM_HMAC_MD5 (RFC 4757 §4) under a key of any length.
func hmacMD5Sum(key []byte, usage uint32, msg []byte) []byte {
	h := hmac.New(md5.New, key)
	h.Write([]byte("signaturekey\x00"))
	sign := h.Sum(nil)
	m := md5.New()
	m.Write(binary.LittleEndian.AppendUint32(nil, usage))
	m.Write(msg)
	h = hmac.New(md5.New, sign)
	h.Write(m.Sum(nil))
	return h.Sum(nil)
}

// readS4UX509User decodes and verifies PA-S4U-X509-USER, which is under the
// subkey, where there is one.
func (x *exchange) readS4UX509User(b []byte, u *krb5.S4UX509User) error {
	if u.Unmarshal(b) != nil {
		return refuse(krb5.ErrGeneric, "malformed PA-S4U-X509-USER")
	}
	key := x.reply.key
	if u.Checksum.Type != key.ID().ChecksumType() {
		return refuse(krb5.ErrInappCksum, "PA-S4U-X509-USER under no key")
	}
	if key.VerifyChecksum(u.RawUserID, u.Checksum.Value, krb5.UsageS4UX509Request) != nil {
		return refuse(krb5.ErrModified, "PA-S4U-X509-USER is not what its checksum covers")
	}
	if u.Nonce != x.req.Nonce {
		return refuse(krb5.ErrModified, "PA-S4U-X509-USER of another request")
	}
	return nil
}

// answerS4UX509User tells the client that its PA-S4U-X509-USER was heeded: a KDC
// that does not know it answers with a ticket of the service's own. The name is
// that of the ticket.
func (x *exchange) answerS4UX509User(u *krb5.S4UX509User, s *s4u) {
	key, usage := x.reply.key, krb5.UsageS4UX509Request
	r := krb5.S4UX509User{Nonce: u.Nonce, Name: x.cname, Realm: x.k.realm, Options: u.Options & krb5.S4UReplyKeyUsage}
	if r.Options != 0 {
		usage = krb5.UsageS4UX509Reply
	}
	mark := x.aux.Len()
	r.MarshalUserID(&x.aux)
	r.Checksum = krb5.Checksum{Type: key.ID().ChecksumType(), Value: key.Checksum(nil, x.aux.Bytes()[:x.aux.Len()-mark], usage)}
	x.repPAData = append(x.repPAData, krb5.PAData{Type: krb5.PAS4UX509User, Value: krb5.Encode(&r)})
	if key.ID() == etype.RC4 {
		// Where the reply may have come from a KDC that does not know of this
		// ([MS-SFU] §3.2.5.1.4), both checksums once more, encrypted.
		s.encPAData = krb5.MethodData{{Type: krb5.PAS4UX509User, Value: slices.Concat(u.Checksum.Value, r.Checksum.Value)}}
	}
}
