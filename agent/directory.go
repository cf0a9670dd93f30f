package agent

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"skyrealm/cred"
)

// GUID is an objectGUID in its binary form ([MS-DTYP] §2.3.4.2), whose base64 is
// the anchor that agents of the real service make of it.
type GUID [16]byte

// IsZero reports whether there is none.
func (g GUID) IsZero() bool { return g == GUID{} }

// String is the form that people know, as in 1131f6aa-9c07-11d1-f79f-00c04fc2dcd2.
func (g GUID) String() string {
	var b [16]byte
	binary.BigEndian.PutUint32(b[:], binary.LittleEndian.Uint32(g[:]))
	binary.BigEndian.PutUint16(b[4:], binary.LittleEndian.Uint16(g[4:]))
	binary.BigEndian.PutUint16(b[6:], binary.LittleEndian.Uint16(g[6:]))
	copy(b[8:], g[8:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (g GUID) base64() string { return base64.StdEncoding.EncodeToString(g[:]) }

// MarshalText writes base64: the state has a million of them.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.base64()), nil }

// UnmarshalText is its inverse.
func (g *GUID) UnmarshalText(b []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(b))
	if err != nil || len(raw) != len(g) {
		return errors.New("agent: no GUID")
	}
	copy(g[:], raw)
	return nil
}

// Domain is what a directory calls itself.
type Domain struct {
	DN      string `json:"dn"`
	DNS     string `json:"dns"`
	NetBIOS string `json:"netbios"`
}

// Cookie says up to where a directory has been read ([MS-DRSR] §4.1.10.2.1: the
// source's place in its own sequence, and per originating DC the place up to
// which its changes are known, so that another DC can go on). The zero value is
// the beginning.
type Cookie struct {
	Source       GUID           `json:"source"` // invocation ID of the DC
	HighObject   int64          `json:"highObject"`
	HighProperty int64          `json:"highProperty"`
	Reserved     int64          `json:"reserved,omitempty"` // the DC's own, to be given back
	UpToDate     map[GUID]int64 `json:"upToDate,omitempty"`
}

// IsZero reports whether the directory is to be read from its beginning.
func (c Cookie) IsZero() bool { return c.Source.IsZero() && len(c.UpToDate) == 0 }

// class is the kind of object, as far as the agent cares.
type class uint8

const (
	classUnsaid    class = iota
	classUser            // a person
	classGroup           // security or distribution
	classContainer       // what others stand in: OU, container, the domain
	classInetOrg         // inetOrgPerson, refused by name
	classOther           // computer, contact: said, and not of interest
)

// change is what a directory says of one object: all of it where class is set,
// else what has changed.
type change struct {
	guid    GUID
	dn      string
	class   class
	deleted bool
	attrs   map[string][]string // by LDAP name; no values: cleared
	links   []link              // attributes with links as values, which count as a whole
	cleared []string            // link attributes without a value
	version uint32              // of unicodePwd; 0: not said
	changed time.Time           // of unicodePwd, to the second
	legacy  cred.Legacy         // the password's forms, where it came along
	noKeys  error               // why there are no Kerberos keys in legacy
}

// link is one value of a linked attribute.
type link struct {
	from, to GUID
	attr     string // member, manager
	present  bool
}

// page is one answer of a directory.
type page struct {
	changes []change
	links   []link
	total   int // objects in the directory, where it says so
}

// Source is a directory that can be read by its changes.
type Source interface {
	// Domain asks the directory for its names.
	Domain(ctx context.Context) (Domain, error)
	// Read hands over what has changed since the cookie, in order, and returns
	// the cookie for the next time.
	Read(ctx context.Context, since Cookie, each func(page) error) (Cookie, error)
	// Objects hands over all of some objects, one page for each. One that is not
	// there any more comes as deleted.
	Objects(ctx context.Context, which []GUID, each func(page) error) error
}

// syntax is how an attribute's values stand on the wire ([MS-DRSR] §5.16.4).
type syntax uint8

const (
	text    syntax = iota // UTF-16LE
	integer               // 4 bytes
	large                 // 8 bytes
	boolean               // 4 bytes
	binaries
	identifier // SID
	linked     // DSNAME
	classes    // ATTRTYP of classes
	secret
)

// attribute is one that the agent reads.
type attribute struct {
	name   string // LDAP
	syntax syntax
	api    string // as the sync API has it, "" for one that is not just passed on
	many   bool
}

// attributes by OID, from the AD schema ([MS-ADA1], [MS-ADA2], [MS-ADA3]).
var attributes = map[string]attribute{
	"2.5.4.0":                    {"objectClass", classes, "", true},
	"1.2.840.113556.1.2.48":      {"isDeleted", boolean, "", false},
	"1.2.840.113556.1.4.868":     {"isCriticalSystemObject", boolean, "", false},
	"1.2.840.113556.1.4.8":       {"userAccountControl", integer, "", false},
	"1.2.840.113556.1.4.750":     {"groupType", integer, "", false},
	"1.2.840.113556.1.4.96":      {"pwdLastSet", large, "", false},
	"1.2.840.113556.1.4.90":      {"unicodePwd", secret, "", false},
	"1.2.840.113556.1.4.125":     {"supplementalCredentials", secret, "", false},
	"1.2.840.113556.1.4.1360":    {"mS-DS-ConsistencyGuid", binaries, "", false},
	"2.5.4.31":                   {"member", linked, "", true},
	"0.9.2342.19200300.100.1.10": {"manager", linked, "", false},
	"1.2.840.113556.1.4.656":     {"userPrincipalName", text, "", false},
	"1.2.840.113556.1.4.221":     {"sAMAccountName", text, "onPremisesSamAccountName", false},
	"1.2.840.113556.1.4.146":     {"objectSid", identifier, "onPremiseSecurityIdentifier", false}, // sic: so it is on the real wire
	"1.2.840.113556.1.2.13":      {"displayName", text, "displayName", false},
	"2.5.4.13":                   {"description", text, "description", false},
	"0.9.2342.19200300.100.1.3":  {"mail", text, "mail", false},
	"1.2.840.113556.1.2.447":     {"mailNickname", text, "mailNickname", false}, // Exchange's schema
	"1.2.840.113556.1.2.210":     {"proxyAddresses", text, "proxyAddresses", true},
	"2.5.4.42":                   {"givenName", text, "givenName", false},
	"2.5.4.4":                    {"sn", text, "surname", false},
	"2.5.4.12":                   {"title", text, "title", false},
	"1.2.840.113556.1.2.141":     {"department", text, "department", false},
	"1.2.840.113556.1.2.146":     {"company", text, "company", false},
	"1.2.840.113556.1.4.35":      {"employeeID", text, "employeeId", false},
	"1.2.840.113556.1.2.613":     {"employeeType", text, "employeeType", false},
	"2.5.4.20":                   {"telephoneNumber", text, "telephoneNumber", false},
	"0.9.2342.19200300.100.1.41": {"mobile", text, "mobile", false},
	"2.5.4.23":                   {"facsimileTelephoneNumber", text, "facsimileTelephoneNumber", false},
	"1.2.840.113556.1.2.256":     {"streetAddress", text, "streetAddress", false},
	"2.5.4.7":                    {"l", text, "city", false},
	"2.5.4.8":                    {"st", text, "state", false},
	"2.5.4.17":                   {"postalCode", text, "postalCode", false},
	"1.2.840.113556.1.2.131":     {"co", text, "country", false},
	"2.5.4.19":                   {"physicalDeliveryOfficeName", text, "physicalDeliveryOfficeName", false},
	"2.16.840.1.113730.3.1.39":   {"preferredLanguage", text, "preferredLanguage", false},
	"2.5.4.36":                   {"userCertificate", binaries, "userCertificate", true},
}

// classOIDs are the classes that decide what an object is.
var classOIDs = map[string]class{
	"1.2.840.113556.1.5.9":    classUser,
	"1.2.840.113556.1.5.8":    classGroup,
	"2.5.6.5":                 classContainer, // organizationalUnit
	"1.2.840.113556.1.3.23":   classContainer,
	"1.2.840.113556.1.5.67":   classContainer, // domainDNS
	"1.2.840.113556.1.5.4":    classContainer, // builtinDomain
	"2.16.840.1.113730.3.2.2": classInetOrg,
	"1.2.840.113556.1.3.30":   classOther, // computer; service accounts that machines hold derive from it
}

// classOf finds the class by all of an object's: a computer is also a user, and
// so is an inetOrgPerson.
func classOf(oids []string) class {
	out := classOther
	for _, oid := range oids {
		switch c := classOIDs[oid]; c {
		case classInetOrg, classOther:
			return c
		case classUser, classGroup:
			out = c
		case classContainer:
			if out == classOther {
				out = c
			}
		}
	}
	return out
}

// fileTime turns AD's count of 100 ns since 1601 into a time; ok is false for 0,
// "has to change at the next logon", and for what is no time.
func fileTime(ticks int64) (at time.Time, ok bool) {
	const between = 116444736000000000 // from 1601 to 1970
	if ticks < between {
		return time.Time{}, false
	}
	ticks -= between
	return time.Unix(ticks/1e7, ticks%1e7*100).UTC(), true
}

// dsTime is a DSTIME: seconds since 1601 ([MS-DRSR] §5.52).
func dsTime(seconds int64) time.Time {
	const between = 11644473600
	return time.Unix(seconds-between, 0).UTC()
}

var errDirectory = errors.New("agent: the directory's answer can't be read")

func malformed(what string) error { return fmt.Errorf("%w: %s", errDirectory, what) }
