package domain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"encoding/binary"

	"skyrealm/cred"
	"skyrealm/domain/dit"
	"skyrealm/krb5/etype"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// Names of the OUs that the real service keeps synced objects and joined
// machines in (EDS/create-ou).
const (
	OUUsers     = "AADDC Users"
	OUComputers = "AADDC Computers"
)

// maxNetBIOS is the most a NetBIOS name holds.
const maxNetBIOS = 15

// InfoError is a name that no domain can have.
type InfoError struct{ Reason string }

func (e *InfoError) Error() string { return "domain: " + e.Reason }

// NewInfo names a new domain: dnsName is its full name, whose first label
// becomes the NetBIOS name.
func NewInfo(dnsName string, tenantID tenant.ID, now time.Time, rand io.Reader) (Info, error) {
	dnsName = strings.ToLower(strings.TrimSuffix(dnsName, "."))
	prefix, rest, ok := strings.Cut(dnsName, ".")
	if _, err := dit.ParseDN("DC=" + strings.ReplaceAll(dnsName, ".", ",DC=")); err != nil || !ok || rest == "" {
		return Info{}, &InfoError{fmt.Sprintf("%q is no DNS name of two labels or more", dnsName)}
	}
	for _, c := range []byte(dnsName) {
		if letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.'; !letter {
			return Info{}, &InfoError{fmt.Sprintf("%q is no DNS name", dnsName)}
		}
	}
	if len(prefix) > maxNetBIOS {
		return Info{}, &InfoError{fmt.Sprintf("the prefix %q is longer than %d characters", prefix, maxNetBIOS)}
	}
	var raw [12]byte
	if _, err := io.ReadFull(rand, raw[:]); err != nil {
		return Info{}, err
	}
	guid, err := tenant.NewID(rand)
	if err != nil {
		return Info{}, err
	}
	part := func(i int) uint32 { return binary.LittleEndian.Uint32(raw[i:]) }
	return Info{
		DNSName: dnsName,
		NetBIOS: strings.ToUpper(prefix),
		SID:     sid.New(5, 21, part(0), part(4), part(8)),
		GUID:    guid,
		DC:      "DC1",
		Tenant:  tenantID,
		Created: now.UTC().Truncate(time.Microsecond),
	}, nil
}

// Found makes the records of a new domain: its head, the containers and groups
// that every domain has, krbtgt and the domain controller.
func Found(info Info, rand io.Reader) ([]Record, error) {
	f := &founder{info: info, rand: rand}
	head := f.add(Record{GUID: info.GUID, Kind: Container, Class: "domainDNS", RDN: strings.SplitN(info.DNSName, ".", 2)[0]})
	users := f.container(head, "container", "Users")
	f.container(head, "container", "Computers")
	f.container(head, "container", "System")
	f.container(head, "builtinDomain", "Builtin")
	f.container(head, "organizationalUnit", OUUsers)
	f.container(head, "organizationalUnit", OUComputers)
	dcs := f.container(head, "organizationalUnit", "Domain Controllers")
	for _, g := range []struct {
		rid  uint32
		name string
	}{
		{RIDDomainAdmins, "Domain Admins"},
		{RIDDomainUsers, "Domain Users"},
		{RIDDomainComputers, "Domain Computers"},
		{RIDDomainControllers, "Domain Controllers"},
	} {
		f.add(Record{Kind: Group, Class: "group", RID: g.rid, Parent: users, RDN: g.name, SAM: g.name,
			Attrs: map[string][][]byte{"groupType": {[]byte(GroupGlobalSecurity)}}})
	}

	realm := info.Realm()
	f.add(Record{Kind: User, Class: "user", RID: RIDKrbtgt, Parent: users, RDN: "krbtgt", SAM: "krbtgt",
		UAC: UACNormal | UACDisabled, SPNs: []string{"kadmin/changepw"},
		Secrets: f.random(realm + "krbtgt")})
	host, full := strings.ToLower(info.DC), info.DCName()
	f.add(Record{Kind: Computer, Class: "computer", RID: RIDFirstDC, Parent: dcs, RDN: info.DC, SAM: info.DC + "$",
		UAC:   UACServer | UACTrustedForDeleg, // as every controller
		SPNs:  []string{"HOST/" + full, "HOST/" + host, "ldap/" + full, "ldap/" + host, "ldap/" + info.DNSName, "ldap/" + full + "/" + info.DNSName, "GC/" + full + "/" + info.DNSName},
		Attrs: map[string][][]byte{"dNSHostName": {[]byte(full)}, "operatingSystem": {[]byte("Skyrealm")}},
		// [MS-KILE] §3.1.1.2: a computer's salt is host and its full name in lower case.
		Secrets: f.random(realm + "host" + full)})
	f.add(protectedUsers(&info, users, nameProtectedUsers))
	return f.records, f.err
}

type founder struct {
	info    Info
	rand    io.Reader
	records []Record
	err     error
}

func (f *founder) add(r Record) ID {
	if r.GUID.IsZero() {
		id, err := tenant.NewID(f.rand)
		if err != nil {
			f.err = err
		}
		r.GUID = id
	}
	r.Created, r.Changed = f.info.Created, f.info.Created
	if r.Attrs == nil {
		r.Attrs = map[string][][]byte{}
	}
	r.Attrs["isCriticalSystemObject"] = [][]byte{[]byte("TRUE")}
	f.records = append(f.records, r)
	return r.GUID
}

func (f *founder) container(parent ID, class, name string) ID {
	return f.add(Record{Kind: Container, Class: class, Parent: parent, RDN: name})
}

// random makes keys that no password leads to.
func (f *founder) random(salt string) Secrets {
	s, err := RandomSecrets(salt, f.info.Created, f.rand)
	if err != nil {
		f.err = err
	}
	return s
}

// RandomSecrets draws keys of etypes 18, 17 and 23 for an account that no
// password leads to.
func RandomSecrets(salt string, now time.Time, rand io.Reader) (Secrets, error) {
	s := Secrets{KVNO: 1, Set: now}
	for _, id := range []etype.ID{etype.AES256SHA1, etype.AES128SHA1} {
		k, err := etype.Random(id, rand)
		if err != nil {
			return Secrets{}, err
		}
		s.Current.Keys = append(s.Current.Keys, cred.KerberosKey{Key: k, Salt: salt, Iterations: id.DefaultIterations(), KVNO: 1})
	}
	var nt [16]byte
	if _, err := io.ReadFull(rand, nt[:]); err != nil {
		return Secrets{}, err
	}
	var err error
	s.Current.NT, err = cred.ParseNTHash(nt[:])
	return s, err
}
