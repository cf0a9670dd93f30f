package domain

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"skyrealm/cred"
	"skyrealm/domain/dit"
)

// writer applies modifications to one record. Each attribute that can be
// written has its rule here; all others are refused (CVE-2026-58221 and its
// kin: what is not thought of must not be writable).
type writer struct {
	d        *Directory
	rec      *Record
	now      time.Time
	password string
	changed  bool // there is a new password
	expired  bool // which has to be changed before it is used
}

// plain are the attributes that hold what their owner puts there.
var plain = map[string]int{ // by name, the most values
	"description": 8, "displayName": 1, "givenName": 1, "sn": 1, "mail": 1, "title": 1, "department": 1,
	"company": 1, "telephoneNumber": 1, "info": 1, "operatingSystem": 1, "operatingSystemVersion": 1,
	"operatingSystemServicePack": 1, "dNSHostName": 1, "uidNumber": 1, "gidNumber": 1, "loginShell": 1, "unixHomeDirectory": 1,
	"managedBy": 1, "location": 1,
	"accountExpires": 1, "logonHours": 1, "userWorkstations": 1, "homeDirectory": 1, "homeDrive": 1, "profilePath": 1, "scriptPath": 1,
}

// owners are the kinds of object that have the attributes with rules of their own.
var owners = map[string][]Kind{
	"sAMAccountName":       {User, Computer, Group},
	"userPrincipalName":    {User, Computer},
	"servicePrincipalName": {User, Computer},
	"userAccountControl":   {User, Computer},
	"unicodePwd":           {User, Computer},
	"pwdLastSet":           {User, Computer},
	attrDelegateTo:         {User, Computer},
	attrActFor:             {User, Computer},
	attrEncTypes:           {User, Computer},
	"member":               {Group},
	"groupType":            {Group},
	"accountExpires":       {User, Computer},
	"logonHours":           {User, Computer},
	"userWorkstations":     {User, Computer},
}

const maxValue = 4096

// settableUAC are the bits that an administrator of the domain may set.
// Delegation to any service is none of them: it would hand people's TGTs out.
const settableUAC = UACDisabled | UACNormal | UACWorkstation | UACDontExpirePassword | UACNotDelegated | UACTrustedToAuth

func (w *writer) modify(m Mod) error {
	t := dit.Attr(m.Attr)
	if t == nil {
		return &ConstraintError{m.Attr, "there is no such attribute"}
	}
	for _, v := range m.Values {
		if len(v) == 0 || len(v) > maxValue {
			return &ConstraintError{t.Name, "a value has 1 to 4096 bytes"}
		}
	}
	if kinds, ok := owners[t.Name]; ok && !slices.Contains(kinds, w.rec.Kind) {
		return ErrAccessDenied
	}
	switch t.Name {
	case "sAMAccountName":
		return w.one(t, m, &w.rec.SAM)
	case "userPrincipalName":
		return w.one(t, m, &w.rec.UPN)
	case "servicePrincipalName":
		return w.spns(t, m)
	case "userAccountControl":
		return w.uac(t, m)
	case "unicodePwd":
		return w.unicodePwd(t, m)
	case "pwdLastSet":
		return w.pwdLastSet(t, m)
	case "member":
		return w.member(m)
	case attrDelegateTo:
		return w.delegateTo(t, m)
	case attrActFor:
		return w.actFor(t, m)
	case attrEncTypes:
		return w.encTypes(t, m)
	case "groupType":
		if len(m.Values) != 1 || m.Op == ModDelete {
			return &ConstraintError{t.Name, "it takes one value, by replace"}
		}
		if err := w.checkGroupType(string(m.Values[0])); err != nil {
			return err
		}
		w.rec.Attrs[t.Name] = m.Values
		return nil
	}
	if err := checkSetting(t.Name, m.Values); err != nil {
		return err
	}
	most, ok := plain[t.Name]
	if !ok {
		return ErrAccessDenied
	}
	values, err := merge(w.rec.Attrs[t.Name], m, func(v []byte) string { return dit.Normalise(t, v) })
	if err != nil {
		return err
	}
	return w.hold(t, values, most)
}

// hold makes them the attribute's values, up to most of them.
func (w *writer) hold(t *dit.AttrType, values [][]byte, most int) error {
	if len(values) > most {
		return &ConstraintError{t.Name, "it holds at most " + strconv.Itoa(most) + " values"}
	}
	if len(values) == 0 {
		delete(w.rec.Attrs, t.Name)
		return nil
	}
	if w.rec.Attrs == nil {
		w.rec.Attrs = map[string][][]byte{}
	}
	w.rec.Attrs[t.Name] = values
	return nil
}

// merge gives the values after a modification (RFC 4511 §4.6). Two values are
// one where their normal forms are. It looks at each value once: a list may have
// a million.
func merge(was [][]byte, m Mod, normal func([]byte) string) ([][]byte, error) {
	if m.Op == ModDelete && len(m.Values) == 0 && len(was) == 0 {
		return nil, ErrNoSuchAttribute
	}
	if m.Op == ModReplace || m.Op == ModDelete && len(m.Values) == 0 {
		was = nil
	}
	has := make(map[string]bool, len(was)+len(m.Values))
	for _, v := range was {
		has[normal(v)] = true
	}
	out := slices.Clone(was)
	switch m.Op {
	case ModAdd, ModReplace:
		for _, v := range m.Values {
			n := normal(v)
			if has[n] {
				return nil, ErrExists
			}
			has[n] = true
			out = append(out, bytes.Clone(v))
		}
		return out, nil
	case ModDelete:
		for _, v := range m.Values {
			n := normal(v)
			if !has[n] {
				return nil, ErrNoSuchAttribute
			}
			has[n] = false
		}
		return slices.DeleteFunc(out, func(v []byte) bool { return !has[normal(v)] }), nil
	}
	return nil, &ConstraintError{m.Attr, "there is no such modification"}
}

func (w *writer) one(t *dit.AttrType, m Mod, field *string) error {
	if m.Op == ModDelete || len(m.Values) != 1 {
		return &ConstraintError{t.Name, "it takes one value, by replace"}
	}
	*field = string(m.Values[0])
	return nil
}

func (w *writer) spns(t *dit.AttrType, m Mod) error {
	was := make([][]byte, len(w.rec.SPNs))
	for i, s := range w.rec.SPNs {
		was[i] = []byte(s)
	}
	values, err := merge(was, m, func(v []byte) string { return Fold(string(v)) })
	if err != nil {
		return err
	}
	w.rec.SPNs = nil
	for _, v := range values {
		spn := string(v)
		if err := w.checkSPN(spn); err != nil {
			return err
		}
		w.rec.SPNs = append(w.rec.SPNs, spn)
	}
	return nil
}

func (w *writer) uac(t *dit.AttrType, m Mod) error {
	if m.Op == ModDelete || len(m.Values) != 1 {
		return &ConstraintError{t.Name, "it takes one value, by replace"}
	}
	v, err := strconv.ParseInt(string(m.Values[0]), 10, 32)
	if err != nil || v < 0 || v&^settableUAC != 0 {
		return &ConstraintError{t.Name, "it holds bits that can't be set"}
	}
	want := UACNormal
	if w.rec.Kind == Computer {
		want = UACWorkstation
	}
	if int(v)&(UACNormal|UACWorkstation) != want {
		return &ConstraintError{t.Name, "the account type does not fit the object class"}
	}
	w.rec.UAC = uint32(v)
	return nil
}

// unicodePwd takes a reset: one value, the password in quotes as UTF-16
// ([MS-ADTS] §3.1.1.3.1.5.1). The directory server has made sure that the
// connection is encrypted.
func (w *writer) unicodePwd(t *dit.AttrType, m Mod) error {
	if m.Op != ModReplace || len(m.Values) != 1 {
		return &ConstraintError{t.Name, "it takes one value, by replace"}
	}
	password, err := cred.ParseUnicodePwd(m.Values[0])
	if err != nil || checkPassword(password) != nil {
		return &ConstraintError{t.Name, "the password does not meet the length, complexity or history requirements"}
	}
	w.password, w.changed = password, true
	return nil
}

// pwdLastSet takes the two values that AD takes: 0, by which the password has to be
// changed before it is used, and -1, by which it counts as changed now ([MS-ADTS]
// §3.1.1.5.3.2).
func (w *writer) pwdLastSet(t *dit.AttrType, m Mod) error {
	if m.Op != ModReplace || len(m.Values) != 1 {
		return &ConstraintError{t.Name, "it takes one value, by replace"}
	}
	switch string(m.Values[0]) {
	case "0":
		w.rec.Secrets.Set, w.expired = time.Time{}, true
	case "-1":
		w.rec.Secrets.Set = w.now
	default:
		return &ConstraintError{t.Name, "it can be set to 0 or -1"}
	}
	return nil
}

// member changes a group's own list. Values are names; the list holds keys.
func (w *writer) member(m Mod) error {
	was := make([][]byte, len(w.rec.Members))
	for i := range w.rec.Members {
		was[i] = w.rec.Members[i][:]
	}
	keys := m
	keys.Values = nil
	for _, v := range m.Values {
		dn, err := dit.ParseDN(string(v))
		if err != nil {
			return &ConstraintError{m.Attr, "it holds distinguished names"}
		}
		o := w.d.Replica.ByDN(dn)
		if o == nil || o.Kind == Container {
			return &NoSuchObjectError{w.d.Replica.matched(dn)}
		}
		keys.Values = append(keys.Values, o.Key[:])
	}
	values, err := merge(was, keys, func(v []byte) string { return string(v) })
	if err != nil {
		return err
	}
	w.rec.Members = nil
	for _, v := range values {
		w.rec.Members = append(w.rec.Members, ID(v))
	}
	return nil
}

// finish checks the record as a whole and makes the keys of a new password,
// whose salt hangs on the final name.
func (w *writer) finish() error {
	r := w.rec
	if r.Kind == Container {
		return nil
	}
	if err := w.checkNames(); err != nil {
		return err
	}
	if err := w.checkNesting(); err != nil {
		return err
	}
	if !w.changed {
		return nil
	}
	realm := w.d.Replica.Info.Realm()
	salt := realm + r.SAM
	if r.Kind == Computer {
		// [MS-KILE] §3.1.1.2
		salt = realm + "host" + strings.ToLower(strings.TrimSuffix(r.SAM, "$")) + "." + w.d.Replica.Info.DNSName
	}
	legacy, err := cred.NewLegacy(w.password, salt, r.encTypes().Extra()...)
	if err != nil {
		return &ConstraintError{"unicodePwd", "the password can't be used"}
	}
	s := Secrets{KVNO: r.Secrets.KVNO + 1, Set: w.now, Previous: r.Secrets.Current, History: r.Secrets.replaced()}
	if w.expired {
		s.Set = time.Time{}
	}
	s.Current = legacy.WithKVNO(s.KVNO)
	r.Secrets = s
	return nil
}
