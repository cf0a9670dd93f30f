package domain

import (
	"strings"

	"skyrealm/domain/dit"
)

// Realm is the domain's Kerberos realm: its DNS name in upper case.
func (i *Info) Realm() string { return strings.ToUpper(i.DNSName) }

// BaseDN is the name of the domain head, DC=aadds,DC=contoso,DC=test.
func (i *Info) BaseDN() dit.DN {
	return dit.MustParseDN("DC=" + strings.ReplaceAll(i.DNSName, ".", ",DC="))
}

// DCName is the domain controller's full name in DNS.
func (i *Info) DCName() string { return strings.ToLower(i.DC) + "." + i.DNSName }
