package tenant

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"skyrealm/sid"
)

// Bounds of attributes (§D, §F of the wire reference; AD's own for the rest).
const (
	maxText         = 1024
	maxAnchor       = 60
	maxProxies      = 300
	maxCertificates = 15
	maxCertificate  = 8 << 10
)

// attributeError says which attribute of an item can't be taken, and why.
type attributeError struct {
	reason Reason
	detail string
}

func (e *attributeError) Error() string { return e.detail }

func invalid(name, want string) error {
	return &attributeError{ReasonAttributeInvalid, name + " has to be " + want}
}

func tooLong(name string, limit int) error {
	return &attributeError{ReasonAttributeTooLong, fmt.Sprintf("%s is longer than %d", name, limit)}
}

// setter puts a value of the wire into an object.
type setter func(o *Object, name string, value any) error

func text(field func(*Object) *string) setter {
	return func(o *Object, name string, value any) error {
		v, err := textOf(name, value)
		if err == nil {
			*field(o) = v
		}
		return err
	}
}

func textOf(name string, value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		if len(v) > maxText {
			return "", tooLong(name, maxText)
		}
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			return "", invalid(name, "text")
		}
		return strings.TrimSpace(v), nil
	case json.Number:
		return v.String(), nil
	}
	return "", invalid(name, "text")
}

func boolean(field func(*Object) *bool, cleared bool) setter {
	return func(o *Object, name string, value any) error {
		switch v := value.(type) {
		case nil:
			*field(o) = cleared
		case bool:
			*field(o) = v
		case string: // an agent that guesses types sends "True"
			if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
				return invalid(name, "true or false")
			}
			*field(o) = strings.EqualFold(v, "true")
		default:
			return invalid(name, "true or false")
		}
		return nil
	}
}

func list(field func(*Object) *[]string, most int) setter {
	return func(o *Object, name string, value any) error {
		var out []string
		switch v := value.(type) {
		case nil:
		case string:
			out = []string{v}
		case []string:
			out = v
		default:
			return invalid(name, "a list of text")
		}
		if len(out) > most {
			return tooLong(name, most)
		}
		for i, one := range out {
			clean, err := textOf(name, one)
			if err != nil {
				return err
			}
			out[i] = clean
		}
		*field(o) = out
		return nil
	}
}

// securityIdentifier takes the binary form in base64, which agents of the real
// service send, or the string form.
func securityIdentifier(o *Object, name string, value any) error {
	v, err := textOf(name, value)
	if err != nil || v == "" {
		o.Profile.OnPremisesSecurityIdentifier = ""
		return err
	}
	id, err := sid.Parse(v)
	if err != nil {
		raw, _ := base64.StdEncoding.DecodeString(v)
		if id, err = sid.FromBytes(raw); err != nil {
			return invalid(name, "a security identifier")
		}
	}
	o.Profile.OnPremisesSecurityIdentifier = id.String()
	return nil
}

func certificates(o *Object, name string, value any) error {
	var out [][]byte
	switch v := value.(type) {
	case nil:
	case [][]byte:
		out = v
	case []string:
		for _, s := range v {
			raw, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return invalid(name, "a list of base64")
			}
			out = append(out, raw)
		}
	default:
		return invalid(name, "a list of base64")
	}
	if len(out) > maxCertificates {
		return tooLong(name, maxCertificates)
	}
	for _, c := range out {
		if len(c) > maxCertificate {
			return tooLong(name, maxCertificate)
		}
	}
	o.Profile.UserCertificates = out
	return nil
}

// attributes maps the names of the sync wire, in lower case, to where their
// values go. userPrincipalName and member are not here: they need the rest of
// the batch.
var attributes = map[string]setter{
	"accountenabled":              boolean(func(o *Object) *bool { return &o.Enabled }, true),
	"displayname":                 text(func(o *Object) *string { return &o.Profile.DisplayName }),
	"commonname":                  text(func(o *Object) *string { return new(string) }),
	"givenname":                   text(func(o *Object) *string { return &o.Profile.GivenName }),
	"surname":                     text(func(o *Object) *string { return &o.Profile.Surname }),
	"description":                 text(func(o *Object) *string { return &o.Profile.Description }),
	"title":                       text(func(o *Object) *string { return &o.Profile.JobTitle }),
	"department":                  text(func(o *Object) *string { return &o.Profile.Department }),
	"company":                     text(func(o *Object) *string { return &o.Profile.CompanyName }),
	"employeeid":                  text(func(o *Object) *string { return &o.Profile.EmployeeID }),
	"employeetype":                text(func(o *Object) *string { return &o.Profile.EmployeeType }),
	"mail":                        text(func(o *Object) *string { return &o.Profile.Mail }),
	"mailnickname":                text(func(o *Object) *string { return &o.Profile.MailNickname }),
	"alias":                       text(func(o *Object) *string { return &o.Profile.MailNickname }),
	"proxyaddresses":              list(func(o *Object) *[]string { return &o.Profile.ProxyAddresses }, maxProxies),
	"telephonenumber":             phone,
	"mobile":                      text(func(o *Object) *string { return &o.Profile.MobilePhone }),
	"facsimiletelephonenumber":    text(func(o *Object) *string { return &o.Profile.FaxNumber }),
	"streetaddress":               text(func(o *Object) *string { return &o.Profile.StreetAddress }),
	"city":                        text(func(o *Object) *string { return &o.Profile.City }),
	"state":                       text(func(o *Object) *string { return &o.Profile.State }),
	"postalcode":                  text(func(o *Object) *string { return &o.Profile.PostalCode }),
	"country":                     text(func(o *Object) *string { return &o.Profile.Country }),
	"physicaldeliveryofficename":  text(func(o *Object) *string { return &o.Profile.OfficeLocation }),
	"preferredlanguage":           text(func(o *Object) *string { return &o.Profile.PreferredLanguage }),
	"usagelocation":               text(func(o *Object) *string { return &o.Profile.UsageLocation }),
	"usertype":                    text(func(o *Object) *string { return &o.Profile.UserType }),
	"manager":                     text(func(o *Object) *string { return &o.Profile.Manager }),
	"securityenabled":             boolean(func(o *Object) *bool { return &o.Profile.SecurityEnabled }, false),
	"mailenabled":                 boolean(func(o *Object) *bool { return &o.Profile.MailEnabled }, false),
	"onpremisessamaccountname":    text(func(o *Object) *string { return &o.Profile.OnPremisesSAMAccountName }),
	"onpremisesdistinguishedname": text(func(o *Object) *string { return &o.Profile.OnPremisesDistinguishedName }),
	"dnsdomainname":               text(func(o *Object) *string { return &o.Profile.OnPremisesDomainName }),
	"netbiosname":                 text(func(o *Object) *string { return &o.Profile.OnPremisesNetBIOSName }),
	"onpremisesecurityidentifier": securityIdentifier, // sic: the wire says "onPremise"
	"usercertificate":             certificates,
	"deviceid":                    deviceID,
	"devicetrusttype":             text(func(o *Object) *string { return &o.Profile.TrustType }),
	"deviceostype":                text(func(o *Object) *string { return &o.Profile.OS }),
	"deviceosversion":             text(func(o *Object) *string { return &o.Profile.OSVersion }),
}

// phone keeps telephoneNumber as the first business phone, as Graph shows it.
func phone(o *Object, name string, value any) error {
	v, err := textOf(name, value)
	if err != nil {
		return err
	}
	o.Profile.BusinessPhones = nil
	if v != "" {
		o.Profile.BusinessPhones = []string{v}
	}
	return nil
}

// checkAnchor holds the anchor to what can be a key in every store and log.
// Real anchors are base64 of a GUID; the rest of the documented exclusions bind
// agents that make anchors of text, not the service.
func checkAnchor(anchor string) error {
	if anchor == "" || len(anchor) > maxAnchor {
		return &attributeError{ReasonMalformed, fmt.Sprintf("sourceAnchor has to be 1 to %d characters", maxAnchor)}
	}
	for _, c := range []byte(anchor) {
		if c <= ' ' || c > '~' {
			return &attributeError{ReasonMalformed, "sourceAnchor has to be printable ASCII"}
		}
	}
	return nil
}
