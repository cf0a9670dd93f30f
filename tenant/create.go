package tenant

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"time"
)

// DCAdministrators is what the group is called at first whose members administer
// the managed domain (EDS/administration-concepts). It is known by its object id
// ([Settings.Administrators]): another group of this name has no rights.
const DCAdministrators = "AAD DC Administrators"

// Founding is a tenant that does not exist yet: what has to be stored, and the
// two secrets that are shown once.
type Founding struct {
	Settings      Settings
	Objects       []ObjectWrite // the administrator, and the group that administers the domain
	App           App           // the sync agent's
	AdminUPN      string
	AdminPassword string
	AgentSecret   string
}

// Found makes a tenant with an administrator, the group AAD DC Administrators
// and an agent. Directory sync, password hash sync and Domain Services are on.
// realm is the managed domain's, domainKey the JWK that legacy hashes are
// sealed for, certificate what agents of the real service encrypt them for.
func Found(initialDomain, realm string, domainKey, certificate []byte, now time.Time, rand io.Reader) (*Founding, error) {
	var ids [4]ID
	for i := range ids {
		var err error
		if ids[i], err = NewID(rand); err != nil {
			return nil, err
		}
	}
	secret := make([]byte, 32)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, err
	}
	password, err := NewPassword(rand)
	if err != nil {
		return nil, err
	}
	f := &Founding{
		Settings: Settings{
			TenantID:        ids[0],
			DisplayName:     initialDomain,
			InitialDomain:   initialDomain,
			VerifiedDomains: []string{initialDomain},
			DirSync:         true,
			Features:        PasswordHashSync | DuplicateUPNResiliency | DuplicateProxyResiliency | SoftMatchOnUPN | SynchronizeUPNForManaged,
			DomainServices:  true,
			Deletions:       Deletions{DeletionsByCount, 500}, // the real agent's default
			Realm:           realm,
			DomainKey:       domainKey,
			Administrators:  ids[2],

			EnvelopeCertificate: certificate,
		},
		AdminUPN:      "admin@" + initialDomain,
		AdminPassword: password,
		AgentSecret:   base64.RawURLEncoding.EncodeToString(secret),
	}
	f.App = App{ClientID: ids[3], DisplayName: "Skyrealm sync agent", SecretHash: sha256.Sum256([]byte(f.AgentSecret)), Roles: []string{RoleSync}}

	admin := Object{
		ID: ids[1], Kind: User, UPN: f.AdminUPN, Enabled: true,
		Profile: Profile{DisplayName: "Administrator of " + initialDomain, MailNickname: "admin"},
		Roles:   []string{RoleGlobalAdministrator}, Created: now, Changed: now,
	}
	group := Object{
		ID: ids[2], Kind: Group, Enabled: true,
		Profile: Profile{DisplayName: DCAdministrators, MailNickname: "AADDCAdministrators", SecurityEnabled: true,
			Description: "Members administer the managed domain"},
		Created: now, Changed: now,
	}
	s := &Service{Now: func() time.Time { return now }, Rand: rand}
	// The first administrator has to be able to administer the domain as well:
	// the password counts as changed, with all of its forms.
	set, err := s.credential(&f.Settings, &admin, password, FromChange, 0)
	if err != nil {
		return nil, err
	}
	f.Objects = []ObjectWrite{
		{Object: admin, Credential: &set},
		{Object: group, Members: &[]Member{{ID: admin.ID}}},
	}
	return f, nil
}

// NewPassword draws a password of 20 characters that every policy here takes:
// about 117 random bits, without characters that look alike or that a shell reads.
func NewPassword(rand io.Reader) (string, error) {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
	for {
		var b [20]byte
		for i := range b {
			n, err := randomInt(rand, len(alphabet))
			if err != nil {
				return "", err
			}
			b[i] = alphabet[n]
		}
		b[6], b[13] = '-', '-' // the symbol class, and easier to read out
		if checkPolicy(string(b[:]), "") == nil {
			return string(b[:]), nil
		}
	}
}

// randomInt draws from 0 to n-1 (n up to 256) without bias.
func randomInt(rand io.Reader, n int) (int, error) {
	var b [1]byte
	for {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return 0, err
		}
		if int(b[0]) < 256-256%n {
			return int(b[0]) % n, nil
		}
	}
}
