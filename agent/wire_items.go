package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"skyrealm/nbfx"
	"skyrealm/sid"
)

// Namespaces of the wire's bodies (entra-wire §A6).
const (
	nsWireObjects     = "http://schemas.microsoft.com/online/aws/change/2014/06"
	nsWireCredentials = "http://schemas.datacontract.org/2004/07/Microsoft.Online.Coexistence.Schema"
	nsWireArrays      = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
	nsWireXSD         = "http://www.w3.org/2001/XMLSchema"
)

// sidAttribute goes as bytes on the wire, and as people write it in the API.
const sidAttribute = "onPremiseSecurityIdentifier"

// writable says what can't be written as an object of the wire.
func writable(o *Object) error {
	for name, value := range o.Attributes {
		switch v := value.(type) {
		case nil, bool, []string:
		case string:
			if _, err := sid.Parse(v); name == sidAttribute && v != "" && err != nil {
				return fmt.Errorf("agent: %s of %s is no SID", name, o.Anchor)
			}
		default:
			return fmt.Errorf("agent: %s of %s is a %T, which the wire has no form for", name, o.Anchor, value)
		}
	}
	return nil
}

var wireKinds = map[string]string{"user": "User", "group": "Group"}

// writeObjects writes the content of ProvisionAzureADSyncObjects.
func writeObjects(b *nbfx.Writer, items []Object) {
	b.Start("", "syncRequest")
	b.Xmlns("b", nsWireObjects)
	b.Xmlns("i", nbfx.NSXSI)
	b.Start("b", "SyncObjects")
	for i := range items {
		o := &items[i]
		b.Start("b", "AzureADSyncObject")
		b.Start("b", "PropertyValues")
		b.Xmlns("c", nsWireArrays)
		writeProperty(b, "SourceAnchor", o.Anchor)
		operation := "Delete"
		if o.Operation == "set" {
			operation = "Set"
			for _, name := range slices.Sorted(maps.Keys(o.Attributes)) {
				writeProperty(b, name, o.Attributes[name])
			}
		}
		b.End()
		b.Leaf("b", "SyncObjectType", wireKinds[o.Type])
		b.Leaf("b", "SyncOperation", operation)
		b.End()
	}
	b.End()
	b.End()
}

// writeProperty writes one, with the type that says what it is (entra-wire §A6).
func writeProperty(b *nbfx.Writer, name string, value any) {
	b.Start("c", "KeyValueOfstringanyType")
	b.Leaf("c", "Key", name)
	typed := func(kind, text string) {
		b.Start("c", "Value")
		b.Xmlns("d", nsWireXSD)
		b.Attr("i", "type", "d:"+kind)
		b.Text(text)
		b.End()
	}
	switch v := value.(type) {
	case nil:
		b.Nil("c", "Value")
	case bool:
		typed("boolean", fmt.Sprint(v))
	case []string:
		b.Start("c", "Value")
		b.Attr("i", "type", "c:ArrayOfstring")
		for _, s := range v {
			b.Leaf("c", "string", s)
		}
		b.End()
	case string:
		switch id, err := sid.Parse(v); {
		case v == "":
			b.Nil("c", "Value")
		case name == sidAttribute && err == nil:
			typed("base64Binary", encode64([]byte(id)))
		default:
			typed("string", v)
		}
	}
	b.End()
}

// writeHashes writes the content of ProvisionCredentials.
func writeHashes(b *nbfx.Writer, items []Hash) {
	b.Start("", "request")
	b.Xmlns("b", nsWireCredentials)
	b.Xmlns("i", nbfx.NSXSI)
	b.Start("b", "RequestItems")
	for i := range items {
		h := &items[i]
		blob := func(name string, value []byte) {
			if value == nil {
				b.Nil("b", name)
				return
			}
			b.Leaf("b", name, encode64(value))
		}
		b.Start("b", "SyncCredentialsChangeItem") // members in the order of a data contract
		b.Leaf("b", "ChangeDate", h.Changed)
		b.Nil("b", "CloudAnchor")
		b.Leaf("b", "CredentialData", h.Digest)
		b.Bool("b", "ForcePasswordChangeOnLogon", h.MustChange)
		b.Leaf("b", "SourceAnchor", h.Anchor)
		blob("WindowsLegacyCredentials", h.windowsLegacy)
		blob("WindowsSupplementalCredentials", h.windowsSupplemental)
		b.End()
	}
	b.End()
	b.End()
}

// objectResult reads an AzureADSyncObjectResult. Why an object was refused stands at
// the end of the description, as the sync API's reason in brackets; of a service
// that has no such words there is the error's code.
func objectResult(e *nbfx.Element) Result {
	text := func(name string) string { return strings.TrimSpace(e.Child(nsWireObjects, name).Text()) }
	out := Result{Anchor: text("SourceAnchor"), Status: "ok", Reason: "stored", Detail: text("ResultErrorDescription")}
	_, out.ID, _ = strings.Cut(text("CloudAnchor"), "_")
	if text("ResultCode") == "Success" {
		if out.Detail != "" {
			out.Reason = "quarantined"
		}
		return out
	}
	out.Status, out.Reason = "error", text("ResultErrorCode")
	if at := strings.LastIndexByte(out.Detail, '('); at >= 0 && strings.HasSuffix(out.Detail, ")") {
		out.Detail, out.Reason = strings.TrimSpace(out.Detail[:at]), out.Detail[at+1:len(out.Detail)-1]
	}
	if out.Reason == "" {
		out.Reason = "refused"
	}
	return out
}

// hashResult reads a SyncCredentialsChangeResult (entra-wire §A8).
func hashResult(e *nbfx.Element) Result {
	text := func(name string) string { return strings.TrimSpace(e.Child(nsWireCredentials, name).Text()) }
	out := Result{Anchor: text("SourceAnchor"), Status: "ok", Reason: "stored"}
	switch text("Result") {
	case "0":
		return out
	case "2":
		out.Reason = "unknownAnchor"
	default:
		out.Reason, out.Detail, _ = strings.Cut(text("ExtendedErrorInformation"), ": ")
		if out.Reason == "" {
			out.Reason = "refused"
		}
	}
	out.Status = "error"
	return out
}
