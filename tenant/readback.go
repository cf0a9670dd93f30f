package tenant

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"

	"skyrealm/sid"
)

// Listed is an object as an agent reads it back, at its place on the feed.
type Listed struct {
	USN     USN
	Object  Object
	Members []Ref // a group's, that exist
}

// Since says how far an agent has read back. The zero value is the start.
type Since struct {
	USN  USN // the last one it has
	From USN // the head when it began: what had been deleted by then it never needs
}

// ReadBack returns up to limit objects that were written after since, deleted
// ones among them, and where to go on. more tells whether there were more at once.
func (s *Service) ReadBack(ctx context.Context, since Since, limit int) (page []Listed, next Since, more bool, err error) {
	page, head, err := s.Store.ReadBack(ctx, since, limit)
	if err != nil {
		return nil, since, false, err
	}
	if since == (Since{}) {
		since.From = head
	}
	if len(page) > 0 {
		since.USN = page[len(page)-1].USN
	}
	return page, since, len(page) == limit, nil
}

// OldestBuild is the first build of the real agent that the real service still
// takes: those before 2.0 stopped working in October 2023.
const OldestBuild = "2.0.0.0"

// Retired reports whether the agent says that it is of a build before OldestBuild.
func (o Origin) Retired() bool { return o.Build != "" && before(o.Build, OldestBuild) }

// named resolves the items that name their object by its id instead of its
// anchor: it returns them with their anchors, and refuses those whose object has
// none or another than the item says. at reaches an item's two names.
func named[T any](ctx context.Context, store Store, items []T, at func(*T) (object *ID, anchor *string)) ([]T, map[int]*attributeError, error) {
	var ids []ID
	for i := range items {
		if id, _ := at(&items[i]); !id.IsZero() {
			ids = append(ids, *id)
		}
	}
	if ids == nil {
		return items, nil, nil
	}
	items = slices.Clone(items) // a second try begins with what the agent said
	objects, err := store.Objects(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	anchors := make(map[ID]string, len(objects))
	for i := range objects {
		anchors[objects[i].ID] = objects[i].Anchor
	}
	refused := map[int]*attributeError{}
	for i := range items {
		id, anchor := at(&items[i])
		if id.IsZero() {
			continue
		}
		real, found := anchors[*id]
		switch {
		case !found:
			*id = ID{}
			refused[i] = &attributeError{ReasonUnknownAnchor, "there is no object with this cloud anchor"}
		case real == "":
			// An agent that could stamp any cloud object with its anchor would
			// master it from then on: that is what matching has rules for.
			refused[i] = &attributeError{ReasonCloudMastered, "the cloud masters the object with this cloud anchor"}
		case *anchor != "" && *anchor != real:
			refused[i] = &attributeError{ReasonMalformed, "the two anchors are not of one object"}
		default:
			*anchor = real
		}
	}
	return items, refused, nil
}

// WireAttribute is an attribute under its name on the sync wire. The value is a
// string, bool, []byte, []string, [][]byte, or nil where the object has none.
type WireAttribute struct {
	Name  string
	Value any
}

// WireAttributes returns what read-back shows of the object itself, in the order
// of the names; what would name other objects is not among them.
func (o *Object) WireAttributes() []WireAttribute {
	p := &o.Profile
	var phone string
	if len(p.BusinessPhones) > 0 {
		phone = p.BusinessPhones[0]
	}
	out := []WireAttribute{
		{"AccountEnabled", o.Enabled},
		{"Alias", p.MailNickname},
		{"City", p.City},
		{"CloudMastered", !o.Synced()},
		{"Company", p.CompanyName},
		{"Country", p.Country},
		{"Department", p.Department},
		{"Description", p.Description},
		{"DeviceId", deviceBytes(p.DeviceID)},
		{"DeviceOSType", p.OS},
		{"DeviceOSVersion", p.OSVersion},
		{"DeviceTrustType", p.TrustType},
		{"DisplayName", p.DisplayName},
		{"DnsDomainName", p.OnPremisesDomainName},
		{"EmployeeId", p.EmployeeID},
		{"EmployeeType", p.EmployeeType},
		{"FacsimileTelephoneNumber", p.FaxNumber},
		{"GivenName", p.GivenName},
		{"Mail", p.Mail},
		{"Manager", p.Manager},
		{"Mobile", p.MobilePhone},
		{"NetBiosName", p.OnPremisesNetBIOSName},
		{"OnPremiseSecurityIdentifier", sidBytes(p.OnPremisesSecurityIdentifier)}, // sic
		{"OnPremisesDistinguishedName", p.OnPremisesDistinguishedName},
		{"OnPremisesSamAccountName", p.OnPremisesSAMAccountName},
		{"PhysicalDeliveryOfficeName", p.OfficeLocation},
		{"PostalCode", p.PostalCode},
		{"PreferredLanguage", p.PreferredLanguage},
		{"ProxyAddresses", p.ProxyAddresses},
		{"SecurityEnabled", o.Kind == Group && p.SecurityEnabled},
		{"SourceAnchor", o.Anchor},
		{"State", p.State},
		{"StreetAddress", p.StreetAddress},
		{"Surname", p.Surname},
		{"TelephoneNumber", phone},
		{"Title", p.JobTitle},
		{"UsageLocation", p.UsageLocation},
		{"UserCertificate", p.UserCertificates},
		{"UserPrincipalName", o.UPN},
		{"UserType", p.UserType},
	}
	for i := range out {
		a := &out[i]
		switch v := a.Value.(type) {
		case string:
			if v == "" {
				a.Value = nil
			}
		case []byte:
			if v == nil {
				a.Value = nil
			}
		case []string:
			if v == nil {
				a.Value = nil
			}
		case [][]byte:
			if v == nil {
				a.Value = nil
			}
		case bool:
			if a.Name == "SecurityEnabled" && o.Kind != Group {
				a.Value = nil
			}
		}
	}
	return out
}

func sidBytes(text string) []byte {
	id, err := sid.Parse(text)
	if err != nil {
		return nil
	}
	return []byte(id)
}

// A device's id is a GUID; on the wire it is the base64 of its bytes, as AD has
// them: the first three numbers with the low byte first.
func deviceBytes(text string) []byte {
	id, err := ParseID(text)
	if err != nil {
		return nil
	}
	swapped := swapGUID(id)
	return swapped[:]
}

func swapGUID(b ID) ID {
	return ID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// deviceID takes the base64 of a GUID's bytes, which agents of the real service
// send, or its text.
func deviceID(o *Object, name string, value any) error {
	v, err := textOf(name, value)
	if err != nil || v == "" {
		o.Profile.DeviceID = ""
		return err
	}
	id, err := ParseID(v)
	if err != nil {
		raw, _ := base64.StdEncoding.DecodeString(v)
		if len(raw) != len(ID{}) {
			return invalid(name, "a GUID")
		}
		id = swapGUID(ID(raw))
	}
	o.Profile.DeviceID = id.String()
	return nil
}

// CloudAnchor is the name that the cloud gives an object on the sync wire:
// User_ and the object id.
func (o *Object) CloudAnchor() string { return cloudAnchor(o.Kind, o.ID) }

// CloudAnchor is [Object.CloudAnchor].
func (r *Ref) CloudAnchor() string { return cloudAnchor(r.Kind, r.ID) }

func cloudAnchor(kind Kind, id ID) string { return kind.Wire() + "_" + id.String() }

// Wire is the kind's name on the sync wire, which knows no inetOrgPerson: to the
// cloud those are users.
func (k Kind) Wire() string {
	switch k {
	case User, InetOrgPerson:
		return "User"
	case Group:
		return "Group"
	case Contact:
		return "Contact"
	}
	return "Device"
}

// ParseCloudAnchor reads what CloudAnchor returns.
func ParseCloudAnchor(text string) (ID, error) {
	kind, id, _ := strings.Cut(text, "_")
	switch kind {
	case "User", "Group", "Contact", "Device":
		return ParseID(id)
	}
	return ID{}, ErrIDSyntax
}
