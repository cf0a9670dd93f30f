package kdc

import (
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// strengths is the order in which Active Directory chooses ([MS-KILE]
// §3.1.5.2): longer keys first, and of two as long the one with SHA-2. The order
// of a client's list does not count, only what is in it: the list is not
// protected, and who shortens it must not win RC4 by that.
var strengths = [...]etype.ID{etype.AES256SHA2, etype.AES256SHA1, etype.AES128SHA2, etype.AES128SHA1, etype.RC4}

// allowed reports whether an account with these keys may use an etype. What it
// says by itself holds ([MS-KILE] §3.3.5.7); where it says nothing, RC4 is for
// accounts that have nothing better (CVE-2022-37966).
func (p *Policy) allowed(o *domain.Object, l *cred.Legacy, id etype.ID) bool {
	if o.EncTypes.Says() {
		return o.EncTypes.Has(id)
	}
	// The key of type 23 never stands among the others.
	if id == etype.RC4 && !p.AllowRC4 && len(l.Keys) > 0 {
		return false
	}
	return true
}

// listed reports whether the client can use an etype.
func (x *exchange) listed(id etype.ID) bool { return slices.Contains(x.req.ETypes, int32(id)) }

// clientKey returns the client's key of an etype that it may and can use.
func (x *exchange) clientKey(id etype.ID) (cred.KerberosKey, bool) {
	l := x.secrets
	if !x.listed(id) || !x.k.Policy.allowed(x.client, l, id) {
		return cred.KerberosKey{}, false
	}
	return l.Key(id)
}

// oldETypes reports whether a client lists none of the etypes that came with RFC
// 4120, so that it may be one that reads ETYPE-INFO only (§5.2.7.4, §5.2.7.5). Who
// lists a newer one must not be sent it: it could make a key without the count of
// iterations. PA-PW-SALT, older still, is of no use, as the one old etype left,
// RC4, has no salt.
func (x *exchange) oldETypes() bool {
	for _, id := range x.req.ETypes {
		if id >= 17 && id <= 20 || id > 24 {
			return false
		}
	}
	return true
}

// replyKey is what a reply is encrypted in.
type replyKey struct {
	key   etype.Key
	kvno  uint32
	usage uint32
}

// sessionKey is the key that client and service are given.
type sessionKey struct {
	id    etype.ID
	bytes [32]byte
	made  bool // otherwise issue takes it from chance
}

func (s *sessionKey) wire() krb5.EncryptionKey {
	return krb5.NewEncryptionKey(int32(s.id), s.bytes[:s.id.KeySize()])
}

// ownSessions is the order for sessions with the KDC itself, which knows all of
// them: of two keys as long that with SHA-1, which costs a client's every
// request less. MIT's clients list SHA-2 too, unasked.
var ownSessions = [...]etype.ID{etype.AES256SHA1, etype.AES256SHA2, etype.AES128SHA1, etype.AES128SHA2, etype.RC4}

// chooseSession picks the strongest etype that client and service share.
func (x *exchange) chooseSession() error {
	order := &strengths
	if x.service.account.RID == domain.RIDKrbtgt {
		order = &ownSessions
	}
	for _, id := range order {
		if x.listed(id) && x.k.Policy.session(x.service.account, id) {
			x.session.id = id
			return nil
		}
	}
	return refuse(krb5.ErrETypeNoSupp, "no session key type in common")
}

// session reports whether a service takes session keys of a type. That it has
// SHA-1 keys of AES says that it can use them, of either length; one that has
// only an NT hash runs, as far as we know, on a machine with AES all the same,
// so a client that can is given AES for the session (as AD since November
// 2022). SHA-2 is known only to who has a key of it, and to the KDC.
func (p *Policy) session(o *domain.Object, id etype.ID) bool {
	l := &o.Secrets.Current
	switch {
	case o.EncTypes.Says():
		return o.EncTypes.HasSession(id)
	case id == etype.AES256SHA2 || id == etype.AES128SHA2:
		_, ok := l.Key(id)
		return ok || o.RID == domain.RIDKrbtgt
	}
	return p.allowed(o, l, id)
}

// supported is PA-SUPPORTED-ENCTYPES for a service: what it says by itself, or
// what its keys say.
func supported(o *domain.Object) krb5.SupportedEncTypes {
	if o.EncTypes.Says() {
		return krb5.SupportedEncTypes(o.EncTypes.Bits())
	}
	var types domain.EncTypes
	for i := range o.Secrets.Current.Keys {
		switch id := o.Secrets.Current.Keys[i].Key.ID(); id {
		case etype.AES256SHA1:
			types = types.With(etype.AES128SHA1) // what can the one can the other
			fallthrough
		default:
			types = types.With(id)
		}
	}
	if !types.Says() {
		types = types.With(etype.RC4)
	}
	return krb5.SupportedEncTypes(types.Bits())
}

// keyVersion is one version of an account's ticket key.
type keyVersion struct {
	kvno   uint32
	key    etype.Key     // signs PACs
	ticket *etype.Cipher // encrypts tickets
	// sessions is what session keys are made of; see makeSession. The krbtgt's alone.
	sessions []byte
}

// newVersion takes the strongest key that the account says it can use.
func newVersion(o *domain.Object, l *cred.Legacy, kvno uint32) *keyVersion {
	for _, id := range strengths {
		if o.EncTypes.Says() && !o.EncTypes.Has(id) {
			continue
		}
		if k, ok := l.Key(id); ok {
			v := &keyVersion{kvno: kvno, key: k.Key.WithChecksum(krb5.UsagePACChecksum), ticket: k.Key.Cipher(krb5.UsageTicket)}
			if o.RID == domain.RIDKrbtgt {
				v.sessions = k.Key.PRFPlus([]byte("session keys"), sha256.Size)
			}
			return v
		}
	}
	return nil
}

// serviceKeys is what it takes to issue tickets for an account. Only its
// strongest key is in use: the krbtgt's NT hash, which every copy of the
// account database yields first, neither makes nor opens a ticket.
type serviceKeys struct {
	account   *domain.Object
	supported krb5.SupportedEncTypes
	current   *keyVersion
	previous  *keyVersion // tickets live on when a key changes
	// What takes its place before and after the time of the previous one; nil
	// where there is none. See keyage.go.
	early, late *serviceKeys
}

// find returns the version that an encrypted part names.
func (s *serviceKeys) find(e *krb5.EncryptedData) (*keyVersion, error) {
	v := s.current
	if e.KVNO != 0 && e.KVNO != v.kvno {
		if v = s.previous; v == nil || e.KVNO != v.kvno {
			return nil, refuse(krb5.ErrBadKeyVer, "no such version of the key")
		}
	}
	if e.EType != int32(v.key.ID()) {
		return nil, refuse(krb5.ErrETypeNoSupp, "tickets are not issued under this type of key")
	}
	return v, nil
}

// keyCache keeps derived ticket keys, by RID. An entry serves one version of the
// account only; a changed account has another Object and replaces it.
type keyCache struct {
	byRID sync.Map
	n     atomic.Int64
}

// maxCachedKeys bounds the cache: 1 kB each, and a domain with more services
// than this derives some again.
const maxCachedKeys = 1 << 14

// of returns nil for an account without keys that it can use.
func (c *keyCache) of(o *domain.Object) *serviceKeys {
	if v, ok := c.byRID.Load(o.RID); ok {
		if s := v.(*serviceKeys); s.account == o {
			return s
		}
	}
	s := &serviceKeys{account: o, supported: supported(o), current: newVersion(o, &o.Secrets.Current, o.Secrets.KVNO)}
	if s.current == nil {
		return nil
	}
	if o.Secrets.KVNO > 1 {
		s.previous = newVersion(o, &o.Secrets.Previous, o.Secrets.KVNO-1)
	}
	s.age()
	if _, was := c.byRID.Swap(o.RID, s); !was && c.n.Add(1) > maxCachedKeys {
		c.n.Store(0)
		c.byRID.Clear()
	}
	return s
}
