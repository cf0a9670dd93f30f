package domain

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"skyrealm/cred"
	"skyrealm/krb5/etype"
)

// Decoys make accounts that stand for the names that nobody has, so that who asks
// can't tell them from others (K11). A decoy is always the same for a name, at all
// replicas and after a restart; it has no RID, and keys that nobody can know.
//
// Not all real accounts look alike to a client: some have keys with a salt of the
// directory that they came from, some an NT hash and no more. So each decoy takes
// after one of the domain's accounts, as many after each sort as there are of it.
// As these come and go, one name in as many changes its looks, which a real
// account does as well when its password changes.
type Decoys struct {
	info   Info
	secret []byte

	// The writer's own.
	alike    map[likeness]int // how many accounts look so
	suffixes map[string]int   // of user principal names
	changed  bool

	seen atomic.Pointer[population]
}

const (
	// maxDecoyName is longer than any account's name.
	maxDecoyName = 256
	// maxSorts is how many sorts of accounts are counted. Where each has a salt of a
	// sort of its own, decoys can't be like them.
	maxSorts = 1 << 10
	// maxLooks is how many sorts of accounts decoys take after, the usual ones.
	maxLooks = 16
)

// likeness is what a client sees of an account without its password, and what it
// costs to answer, but for names.
type likeness struct {
	kind          Kind
	service       bool // a person's account with names of services
	encTypes      EncTypes
	forms         string // of the password and those before it; see formsOf
	before, after string // of the salt: what is around the name
	letters       letters
}

// letters are how a salt writes the account's name.
type letters uint8

const (
	lower letters = iota
	upper
	title // Ada.Lovelace
)

// population is one moment of what the domain's accounts look like.
type population struct {
	users, computers []looks
	suffixes         map[string]bool
}

// looks is a likeness, ready to be given to decoys.
type looks struct {
	likeness
	id    uint64
	n     float64
	forms []form // the first of the present password
	room  int    // random bytes that it takes
}

type form struct {
	nt   bool
	keys []keyForm
}

type keyForm struct {
	id         etype.ID
	iterations uint32
}

// NewDecoys makes those of a domain. The secret is the domain's own: who has it can
// tell decoys from accounts.
func NewDecoys(info Info, secret []byte) *Decoys {
	d := &Decoys{info: info, secret: slices.Clone(secret), alike: map[likeness]int{}, suffixes: map[string]int{}, changed: true}
	d.publish()
	return d
}

// IsDecoy reports whether the account is nobody's.
func (o *Object) IsDecoy() bool { return o.RID == 0 }

// Someone returns an account or a group that has nothing to do with a decoy, or nil.
// Who has looked at it has waited as long for memory as for an account.
func (r *Replica) Someone(decoy *Object) *Object {
	return r.bySAM.near(binary.BigEndian.Uint64(decoy.GUID[:]))
}

// Named returns the decoy for a name of one component or, as services have, of
// several; nil for what can be no account's name.
func (d *Decoys) Named(name ...string) *Object {
	long := 0
	for _, part := range name {
		long += len(part)
	}
	if long == 0 || long > maxDecoyName {
		return nil
	}
	c := d.seen.Load()
	sam := Fold(d.account(c, name))
	if sam == "" {
		return nil
	}
	m := hmac.New(sha256.New, d.secret)
	m.Write([]byte(sam))
	seed := m.Sum(make([]byte, 0, sha256.Size))

	kind, stem, all := User, sam, c.users
	if host, ok := strings.CutSuffix(sam, "$"); ok || len(name) > 1 {
		kind, stem, all = Computer, host, c.computers
	} else if at := strings.LastIndexByte(sam, '@'); at > 0 {
		stem = sam[:at] // another domain's, and yet the salt is of a name without it
	}
	l := choose(all, binary.BigEndian.Uint64(seed))
	block, err := aes.NewCipher(seed)
	if err != nil {
		panic("domain: " + err.Error()) // 32 bytes are a key
	}
	random := make([]byte, l.room)
	cipher.NewCTR(block, seed[:aes.BlockSize]).XORKeyStream(random, random)

	o := &Object{Kind: kind, SAM: sam, UAC: UACNormal, Particulars: &Particulars{EncTypes: l.encTypes}}
	random = random[copy(o.GUID[:], random):]
	o.Key = o.GUID
	if l.service {
		o.SPNs = []string{sam}
	}
	salt := l.before + l.letters.write(stem) + l.after
	o.Secrets = AccountSecrets{KVNO: 1, Set: d.info.Created, Earlier: &Earlier{}}
	o.Secrets.Current, random = l.forms[0].legacy(salt, random)
	if n := len(l.forms) - 1; n > 0 {
		o.Secrets.History = make([]cred.Legacy, n)
		for i := range o.Secrets.History {
			o.Secrets.History[i], random = l.forms[1+i].legacy(salt, random)
		}
	}
	return o
}

// Suffix reports whether a user principal name may be an account's, by what stands
// after its @.
func (d *Decoys) Suffix(upn string) bool {
	at := strings.LastIndexByte(upn, '@')
	return at > 0 && d.ours(d.seen.Load(), upn[at+1:])
}

// account makes one name of the forms that mean one account, if it were there, so
// that it is locked by all of them.
func (d *Decoys) account(c *population, name []string) string {
	if len(name) > 1 { // host/web.contoso.test is WEB$
		host := Fold(name[1])
		host, _ = strings.CutSuffix(host, "."+d.info.DNSName)
		if len(name) == 2 && strings.IndexByte(host, '.') < 0 {
			return host + "$"
		}
		return strings.Join(name, "/")
	}
	whole := name[0]
	if at := strings.IndexByte(whole, '\\'); at >= 0 {
		if realm := Fold(whole[:at]); realm == Fold(d.info.NetBIOS) || realm == d.info.DNSName {
			return whole[at+1:]
		}
		return whole
	}
	if at := strings.LastIndexByte(whole, '@'); at >= 0 && d.ours(c, whole[at+1:]) {
		return whole[:at]
	}
	return whole
}

func (d *Decoys) ours(c *population, suffix string) bool {
	suffix = Fold(suffix)
	return suffix == d.info.DNSName || suffix == Fold(d.info.NetBIOS) || c.suffixes[suffix]
}

// choose picks one, each as likely as it is usual. A name keeps its choice while
// the numbers change, but for as few names as there must be (weighted rendezvous).
func choose(all []looks, seed uint64) *looks {
	best, least := 0, math.Inf(1)
	for i := range all {
		// The finalizer of SplitMix64; the seed is a secret.
		z := seed ^ all[i].id
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		z ^= z >> 31
		if score := -math.Log((float64(z>>11)+0.5)/(1<<53)) / all[i].n; score < least {
			best, least = i, score
		}
	}
	return &all[best]
}

func (f *form) legacy(salt string, random []byte) (cred.Legacy, []byte) {
	var l cred.Legacy
	if f.nt {
		l.NT, _ = cred.ParseNTHash(random[:16])
		random = random[16:]
	}
	if len(f.keys) > 0 {
		l.Keys = make([]cred.KerberosKey, len(f.keys))
	}
	for i, k := range f.keys {
		n := k.id.KeySize()
		key, err := etype.NewKey(k.id, random[:n])
		if err != nil {
			panic("domain: " + err.Error()) // a type that an account has, and its length
		}
		l.Keys[i], random = cred.KerberosKey{Key: key, Salt: salt, Iterations: k.iterations}, random[n:]
	}
	return l, random
}

func (l letters) write(name string) string {
	switch l {
	case upper:
		return strings.ToUpper(name)
	case title:
		b := []byte(name)
		for i := range b {
			if (i == 0 || b[i-1] == '.' || b[i-1] == '-' || b[i-1] == '_') && 'a' <= b[i] && b[i] <= 'z' {
				b[i] -= 'a' - 'A'
			}
		}
		return string(b)
	}
	return name
}

// count takes an account in, or out.
func (d *Decoys) count(o *Object, n int) {
	if d == nil || !o.SignsIn() || o.RID == RIDKrbtgt {
		return
	}
	if at := strings.LastIndexByte(o.UPN, '@'); at >= 0 {
		add(d.suffixes, Fold(o.UPN[at+1:]), n)
		d.changed = true
	}
	if l, ok := likenessOf(o); ok {
		add(d.alike, l, n)
		d.changed = true
	}
}

// add counts up to maxSorts different things, as all are looked at after a change.
func add[K comparable](m map[K]int, k K, n int) {
	had, ok := m[k]
	switch {
	case !ok && (n < 0 || len(m) >= maxSorts):
	case had+n == 0:
		delete(m, k)
	default:
		m[k] = had + n
	}
}

// likenessOf reports false for an account without keys, which itself takes after
// others, and for one with a salt that others' names don't lead to.
func likenessOf(o *Object) (likeness, bool) {
	l := likeness{kind: o.Kind, service: o.Kind == User && len(o.SPNs) > 0, encTypes: o.EncTypes}
	s := &o.Secrets
	if !o.HasKeys() {
		return l, false
	}
	b := formsOf(nil, &s.Current)
	for i := range s.History {
		b = formsOf(b, &s.History[i])
	}
	l.forms = string(b)
	keys := s.Current.Keys
	if len(keys) == 0 {
		return l, true
	}
	salt := keys[0].Salt
	for _, k := range keys {
		if k.Salt != salt || !k.Key.ID().Known() {
			return l, false
		}
	}
	if o.Kind == Computer {
		host := "host" + Fold(strings.TrimSuffix(o.SAM, "$")) + "."
		if before, after, ok := strings.Cut(salt, host); ok {
			l.before, l.after = before+"host", "."+after
			return l, true
		}
	}
	prefix, _, _ := strings.Cut(o.UPN, "@")
	for _, name := range []string{strings.TrimSuffix(o.SAM, "$"), prefix} {
		if i := len(salt) - len(name); name != "" && i >= 0 && strings.EqualFold(salt[i:], name) {
			l.before = salt[:i]
			for _, l.letters = range []letters{lower, upper, title} {
				if l.letters.write(Fold(name)) == salt[i:] {
					return l, true
				}
			}
			l.letters = lower // of a kind of its own
			return l, true
		}
	}
	return l, false
}

// formsOf appends which keys there are, without them: NT hash (1), number (1), and of
// each type (1) and iterations (4).
func formsOf(to []byte, l *cred.Legacy) []byte {
	nt := byte(1)
	if l.NT.IsZero() {
		nt = 0
	}
	to = append(to, nt, byte(len(l.Keys)))
	for i := range l.Keys {
		to = binary.BigEndian.AppendUint32(append(to, byte(l.Keys[i].Key.ID())), l.Keys[i].Iterations)
	}
	return to
}

func (l likeness) looks(n int) looks {
	text := sha256.Sum256(fmt.Appendf(nil, "%d %t %d %x %q %q %d", l.kind, l.service, l.encTypes, l.forms, l.before, l.after, l.letters))
	out := looks{likeness: l, n: float64(n), id: binary.BigEndian.Uint64(text[:]), room: len(ID{})}
	for b := []byte(l.forms); len(b) > 0; {
		f, count := form{nt: b[0] == 1}, int(b[1])
		if b = b[2:]; f.nt {
			out.room += 16
		}
		for range count {
			k := keyForm{etype.ID(b[0]), binary.BigEndian.Uint32(b[1:])}
			b = b[5:]
			f.keys, out.room = append(f.keys, k), out.room+k.id.KeySize()
		}
		out.forms = append(out.forms, f)
	}
	return out
}

// publish shows what was counted.
func (d *Decoys) publish() {
	if d == nil || !d.changed {
		return
	}
	d.changed = false
	c := &population{suffixes: make(map[string]bool, len(d.suffixes))}
	for s := range d.suffixes {
		c.suffixes[s] = true
	}
	for l, n := range d.alike {
		if l.kind == User {
			c.users = append(c.users, l.looks(n))
		} else {
			c.computers = append(c.computers, l.looks(n))
		}
	}
	c.users, c.computers = usual(c.users), usual(c.computers)
	// What an account of ours has where there is none to take after.
	own := likeness{kind: User, before: d.info.Realm(), forms: ownForms}
	if c.users == nil {
		c.users = []looks{own.looks(1)}
	}
	if own.kind = Computer; c.computers == nil {
		own.before, own.after = own.before+"host", "."+d.info.DNSName
		c.computers = []looks{own.looks(1)}
	}
	d.seen.Store(c)
}

// ownForms are those that [cred.NewLegacy] makes.
const ownForms = "\x01\x02" + "\x12\x00\x00\x10\x00" + "\x11\x00\x00\x10\x00"

func usual(all []looks) []looks {
	slices.SortFunc(all, func(a, b looks) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.id, b.id)) })
	return all[:min(len(all), maxLooks)]
}
