package agent

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"skyrealm/cred"
	"skyrealm/krb5/etype"
)

// maxLine bounds one line: a user's with 10,000 memberships fits.
const maxLine = 1 << 20

// maxAnchor is the service's bound (entra-wire §D).
const maxAnchor = 60

// errLine is what is said of a line that can't be read. What the parser says
// would quote the line, and so a password.
var errLine = errors.New("it is no JSON object with the names of the documentation")

// hidden is text of a line that must not be printed.
type hidden struct{ s string }

func (h *hidden) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &h.s) }

func (hidden) String() string             { return "[redacted]" }
func (hidden) GoString() string           { return "[redacted]" }
func (hidden) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }
func (hidden) LogValue() slog.Value       { return slog.StringValue("[redacted]") }

// line is one line of a file: an object with the names that the on-premises
// directory gives its attributes (§5 of the design).
type line struct {
	number int

	Type              string     `json:"type"` // user (or nothing), group
	SourceAnchor      string     `json:"sourceAnchor"`
	UserPrincipalName string     `json:"userPrincipalName"`
	SAMAccountName    string     `json:"sAMAccountName"`
	CN                string     `json:"cn"`
	DistinguishedName string     `json:"distinguishedName"`
	ObjectSID         string     `json:"objectSid"`
	DNSDomainName     string     `json:"dnsDomainName"`
	NetBIOSName       string     `json:"netBiosName"`
	DisplayName       *string    `json:"displayName"`
	GivenName         *string    `json:"givenName"`
	SN                *string    `json:"sn"`
	Mail              *string    `json:"mail"`
	MailNickname      *string    `json:"mailNickname"`
	Department        *string    `json:"department"`
	Title             *string    `json:"title"`
	Company           *string    `json:"company"`
	Description       *string    `json:"description"`
	EmployeeID        *string    `json:"employeeID"`
	TelephoneNumber   *string    `json:"telephoneNumber"`
	Mobile            *string    `json:"mobile"`
	L                 *string    `json:"l"`
	AccountEnabled    *bool      `json:"accountEnabled"`
	ProxyAddresses    *[]string  `json:"proxyAddresses"`
	MemberOf          []string   `json:"memberOf"`
	PwdLastSet        moment     `json:"pwdLastSet"`
	Password          *hidden    `json:"password"`
	NTHash            *hidden    `json:"ntHash"`
	KerberosKeys      []kerberos `json:"kerberosKeys"`
}

type kerberos struct {
	Etype      int32  `json:"etype"`
	Salt       string `json:"salt"`
	Iterations uint32 `json:"iterations"`
	KVNO       uint32 `json:"kvno"`
	Key        hidden `json:"key"` // base64 or hex
}

// moment is RFC 3339, or AD's count of 100 ns since 1601 as a number or text. 0
// of those is "has to change at the next logon".
type moment struct {
	at         time.Time
	mustChange bool
}

func (m *moment) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" || text == "" {
		return nil
	}
	if ticks, err := strconv.ParseInt(text, 10, 64); err == nil {
		const between = 116444736000000000 // from 1601 to 1970
		switch {
		case ticks == 0:
			m.mustChange = true
		case ticks < between:
			return errLine
		default:
			ticks -= between
			m.at = time.Unix(ticks/1e7, ticks%1e7*100).UTC()
		}
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	m.at = at.UTC()
	return err
}

// decodeLine reads one line.
func decodeLine(b []byte, number int) (*line, error) {
	l := &line{number: number}
	if err := json.Unmarshal(b, l); err != nil {
		return &line{number: number}, errLine
	}
	switch strings.ToLower(l.Type) {
	case "", "user":
		l.Type = "user"
		if l.UserPrincipalName == "" {
			return l, errors.New("a user needs a userPrincipalName")
		}
		if l.SourceAnchor == "" {
			l.SourceAnchor = anchorOf("user", l.UserPrincipalName)
		}
	case "group":
		l.Type = "group"
		if l.name() == "" {
			return l, errors.New("a group needs a sAMAccountName, cn or displayName")
		}
		if l.SourceAnchor == "" {
			l.SourceAnchor = anchorOf("group", l.name())
		}
	default:
		return l, errors.New("type has to be user or group")
	}
	if len(l.SourceAnchor) > maxAnchor {
		return &line{number: number}, errors.New("sourceAnchor is too long")
	}
	return l, nil
}

// name is what a group goes by.
func (l *line) name() string {
	switch {
	case l.SAMAccountName != "":
		return l.SAMAccountName
	case l.CN != "":
		return l.CN
	case l.DisplayName != nil:
		return *l.DisplayName
	}
	return ""
}

// anchorOf makes the anchor of an object that has none: the same one in every
// run, and short enough for the service.
func anchorOf(kind, name string) string {
	sum := sha256.Sum256([]byte("skyrealm push\x00" + kind + "\x00" + strings.ToLower(name)))
	return base64.StdEncoding.EncodeToString(sum[:20])
}

// object returns the line in the API's form, without a group's members.
func (l *line) object() Object {
	a := make(map[string]any, 16)
	text := func(name, value string) {
		if value != "" {
			a[name] = value
		}
	}
	field := func(name string, value *string) {
		if value != nil {
			a[name] = *value
		}
	}
	text("onPremisesSamAccountName", l.SAMAccountName)
	text("onPremiseSecurityIdentifier", l.ObjectSID) // sic: so it is on the real wire
	text("onPremisesDistinguishedName", l.DistinguishedName)
	text("dnsDomainName", l.DNSDomainName)
	text("netBiosName", l.NetBIOSName)
	field("displayName", l.DisplayName)
	field("description", l.Description)
	field("mail", l.Mail)
	field("mailNickname", l.MailNickname)
	if l.ProxyAddresses != nil {
		a["proxyAddresses"] = *l.ProxyAddresses
	}
	if l.Type == "group" {
		if l.DisplayName == nil {
			a["displayName"] = l.name()
		}
		a["securityEnabled"] = true
		return Object{"group", "set", l.SourceAnchor, a}
	}
	text("userPrincipalName", l.UserPrincipalName)
	field("givenName", l.GivenName)
	field("surname", l.SN)
	field("department", l.Department)
	field("title", l.Title)
	field("company", l.Company)
	field("employeeId", l.EmployeeID)
	field("telephoneNumber", l.TelephoneNumber)
	field("mobile", l.Mobile)
	field("city", l.L)
	if l.AccountEnabled != nil {
		a["accountEnabled"] = *l.AccountEnabled
	}
	return Object{"user", "set", l.SourceAnchor, a}
}

// hasPassword reports whether there is anything to make a hash item of.
func (l *line) hasPassword() bool {
	return l.Type == "user" && (l.Password != nil || l.NTHash != nil || len(l.KerberosKeys) > 0)
}

// sealer is what hash items are made with.
type sealer struct {
	tenant string
	key    *cred.PublicKey // nil: the tenant takes no legacy hashes, or takes them in envelopes
	// certificate is what envelopes are for, on the wire of the real service;
	// noNTHash leaves the NT hash out of them.
	certificate []byte
	noNTHash    bool
	saltKey     []byte // of a push's salts
	now         func() time.Time
	rand        io.Reader
}

// hash makes the line's hash item.
func (s *sealer) hash(l *line) (Hash, error) {
	legacy, err := l.legacy()
	if err != nil {
		return Hash{}, err
	}
	if legacy.NT.IsZero() {
		return Hash{}, errors.New("without a password or an ntHash there is nothing to sign in with")
	}

	return s.item(l.SourceAnchor, legacy, l.PwdLastSet.at, l.PwdLastSet.mustChange, func(anchor string, at time.Time, legacy cred.Legacy) []byte {
		return saltOf(s.saltKey, s.tenant, anchor, at, legacy.NT)
	})
}

// saltOf makes the salt of a digest: 10 fresh bytes for each change of each user in
// each tenant by each agent, and the same ones when a change is sent again, as an
// agent was killed before it had noted the answer. The service then sees the digest
// that it has and changes nothing. A random salt would have to be kept until the
// answer is noted, and a salt beside a user's name in a retry queue is half of a
// digest, in a file that is to hold nothing hash-like at all.
//
// The NT hash is part of it, so that two passwords of one moment have two salts;
// the key is the agent's, so that a salt tells nothing of the hash: without the
// key it would be a way to try passwords that costs a thousandth of the digest's.
func saltOf(key []byte, tenant, anchor string, at time.Time, nt cred.NTHash) []byte {
	m := hmac.New(sha256.New, key)
	fmt.Fprintf(m, "%s\x00%s\x00%s\x00", tenant, anchor, at.UTC().Format(time.RFC3339Nano))
	m.Write(nt.Expose())
	return m.Sum(nil)
}

// item makes a hash item of a password that was changed at a time, zero for now.
// salt makes the salt of the digest from what is always the same of one change,
// so that a re-send gives the same digest; where there is no date, it is random.
func (s *sealer) item(anchor string, legacy cred.Legacy, at time.Time, mustChange bool, salt func(string, time.Time, cred.Legacy) []byte) (Hash, error) {
	// The date orders a user's changes, and what is sealed is bound to it. The
	// service moves a date in its future to the present, and then what was
	// sealed would open no more: so it is never later than its clock.
	changed, random := s.now(), s.rand
	if !at.IsZero() && at.Before(changed) {
		changed, random = at, bytes.NewReader(salt(anchor, at, legacy))
	}
	changed = changed.UTC().Truncate(time.Microsecond)
	digest, err := cred.NewDigest(legacy.NT, random)
	if err != nil {
		return Hash{}, err
	}
	out := Hash{
		Anchor:     anchor,
		Changed:    changed.Format("2006-01-02T15:04:05.000000Z"),
		Digest:     digest.Expose(), // the one thing that the tenant verifies with
		MustChange: mustChange,
	}
	if s.key != nil {
		bound := cred.Binding{Tenant: s.tenant, Subject: anchor, Version: changed.UnixMicro()}
		sealed, err := s.key.Seal(bound, legacy, s.rand)
		if err != nil {
			return Hash{}, err
		}
		out.Legacy = string(sealed)
	}
	if s.certificate != nil {
		if err := s.envelopes(&out, legacy); err != nil {
			return Hash{}, err
		}
	}
	return out, nil
}

// envelopes adds the legacy hashes in the real service's form: the NT hash in one,
// the Kerberos keys as a domain controller stores them in the other (entra-wire §C3).
func (s *sealer) envelopes(h *Hash, legacy cred.Legacy) error {
	var err error
	if !s.noNTHash {
		if h.windowsLegacy, err = cred.SealEnvelope(s.certificate, cred.AttrUnicodePwd, legacy.NT.Expose(), s.rand); err != nil {
			return err
		}
	}
	if len(legacy.Keys) == 0 {
		return nil
	}
	properties, err := cred.NewUserProperties(legacy.Keys)
	if err != nil {
		return err
	}
	h.windowsSupplemental, err = cred.SealEnvelope(s.certificate, cred.AttrSupplementalCredentials, properties.Marshal(), s.rand)
	return err
}

// legacy makes all forms of the line's password, or takes those it has. Errors
// name the field and never what stands in it.
func (l *line) legacy() (cred.Legacy, error) {
	if l.Password != nil {
		if l.Password.s == "" {
			return cred.Legacy{}, errors.New("password is empty")
		}
		return cred.NewLegacy(l.Password.s, l.salt())
	}
	var out cred.Legacy
	if l.NTHash != nil {
		raw, err := hex.DecodeString(l.NTHash.s)
		if err != nil {
			return out, errors.New("ntHash is not hexadecimal")
		}
		if out.NT, err = cred.ParseNTHash(raw); err != nil {
			return out, err
		}
	}
	for i := range l.KerberosKeys {
		k := &l.KerberosKeys[i]
		id := etype.ID(k.Etype)
		if id == etype.RC4 || !id.Known() {
			continue // 23 is the NT hash; DES is nothing that a domain uses
		}
		raw, err := hex.DecodeString(k.Key.s)
		if err != nil || len(raw) != id.KeySize() {
			if raw, err = base64.StdEncoding.DecodeString(k.Key.s); err != nil {
				return out, fmt.Errorf("kerberosKeys: the key of etype %d is neither hexadecimal nor base64", k.Etype)
			}
		}
		key, err := etype.NewKey(id, raw)
		if err != nil {
			return out, fmt.Errorf("kerberosKeys: the key of etype %d has a wrong length", k.Etype)
		}
		out.Keys = append(out.Keys, cred.KerberosKey{Key: key, Salt: k.Salt, Iterations: k.Iterations, KVNO: k.KVNO})
	}
	return out, nil
}

// salt is the one that the on-premises directory gave the user's keys: its DNS
// name in upper case and the account name (entra-wire §C4).
func (l *line) salt() string {
	prefix, suffix, _ := strings.Cut(l.UserPrincipalName, "@")
	if l.DNSDomainName != "" {
		suffix = l.DNSDomainName
	}
	if l.SAMAccountName != "" {
		prefix = l.SAMAccountName
	}
	return strings.ToUpper(suffix) + prefix
}

// lines calls one for every line that is not blank.
func lines(r io.Reader, one func(number int, text []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	number := 0
	for s.Scan() {
		number++
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 {
			continue
		}
		if err := one(number, text); err != nil {
			return err
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("agent: line %d is longer than %d bytes", number+1, maxLine)
	}
	return s.Err()
}
