package rules

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// Namespaces of the sync service's bodies (§A6 of the wire reference).
const (
	nsObjects     = "http://schemas.microsoft.com/online/aws/change/2014/06"
	nsCredentials = "http://schemas.datacontract.org/2004/07/Microsoft.Online.Coexistence.Schema"
	nsArrays      = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
	perRequest    = 50 // what the real agent puts in one
)

// wire is the real service's own protocol.
var wire = way{
	envelopes: true,
	objects: func(w *world, items []tenant.ObjectItem) []string {
		var out []string
		for len(items) > 0 {
			n := min(len(items), perRequest)
			body, err := w.soap("ProvisionAzureADSyncObjects", func(b *nbfx.Writer) { writeObjects(b, items[:n]) })
			w.must(err)
			list := body.Child(nbfx.NSChange, "ProvisionAzureADSyncObjectsResult").Child(nsObjects, "SyncObjectResults")
			for e := range list.Elements() {
				reason := "stored"
				if e.Child(nsObjects, "ResultCode").Text() != "Success" {
					reason = e.Child(nsObjects, "ResultErrorDescription").Text()
				}
				out = append(out, reason)
			}
			items = items[n:]
		}
		return out
	},
	hashes: func(w *world, items []tenant.HashItem) ([]string, error) {
		var out []string
		for len(items) > 0 {
			n := min(len(items), perRequest)
			body, err := w.soap("ProvisionCredentials", func(b *nbfx.Writer) { writeHashes(b, items[:n]) })
			if err != nil {
				return nil, err
			}
			// The wire says taken or not; which kind of success it was, and that it
			// was put on record, the tenant's record tells.
			records, err := w.Store.Records(w.ctx, tenant.RecordQuery{Kind: tenant.HashBatch, Limit: 1})
			w.must(err)
			recorded := 0
			for e := range body.Child(nbfx.NSChange, "ProvisionCredentialsResult").Child(nsCredentials, "Results").Elements() {
				why, _, _ := strings.Cut(e.Child(nsCredentials, "ExtendedErrorInformation").Text(), ":")
				switch result := e.Child(nsCredentials, "Result").Text(); {
				case why != "":
					out = append(out, why)
					if recorded < len(records[0].Items) && string(records[0].Items[recorded].Reason) == why {
						recorded++
					}
				case result == "2":
					out = append(out, string(tenant.ReasonUnknownAnchor))
					recorded++
				case result == "0":
					out = append(out, string(records[0].Items[recorded].Reason))
					recorded++
				default:
					w.t.Fatalf("result %q without words", result)
				}
			}
			items = items[n:]
		}
		return out, nil
	},
}

func writeObjects(b *nbfx.Writer, items []tenant.ObjectItem) {
	b.Start("", "syncRequest")
	b.Xmlns("b", nsObjects)
	b.Xmlns("i", nbfx.NSXSI)
	b.Start("b", "SyncObjects")
	for _, item := range items {
		b.Start("b", "AzureADSyncObject")
		b.Start("b", "PropertyValues")
		b.Xmlns("c", nsArrays)
		property := func(key, value string) {
			b.Start("c", "KeyValueOfstringanyType")
			b.Leaf("c", "Key", key)
			b.Start("c", "Value")
			b.Xmlns("d", "http://www.w3.org/2001/XMLSchema")
			b.Attr("i", "type", "d:string")
			b.Text(value)
			b.End()
			b.End()
		}
		property("SourceAnchor", item.Anchor)
		for k, v := range item.Attributes {
			property(k, fmt.Sprint(v))
		}
		b.End()
		b.Leaf("b", "SyncObjectType", "User")
		b.Leaf("b", "SyncOperation", "Set")
		b.End()
	}
	b.End()
	b.End()
}

func writeHashes(b *nbfx.Writer, items []tenant.HashItem) {
	b.Start("", "request")
	b.Xmlns("b", nsCredentials)
	b.Xmlns("i", nbfx.NSXSI)
	b.Start("b", "RequestItems")
	for _, item := range items {
		b.Start("b", "SyncCredentialsChangeItem")
		b.Leaf("b", "ChangeDate", item.Changed.UTC().Format("2006-01-02T15:04:05.999999Z"))
		b.Leaf("b", "CredentialData", item.Digest)
		b.Leaf("b", "ForcePasswordChangeOnLogon", fmt.Sprint(item.MustChange))
		b.Leaf("b", "SourceAnchor", item.Anchor)
		if item.WindowsLegacy != nil {
			b.Leaf("b", "WindowsLegacyCredentials", base64.StdEncoding.EncodeToString(item.WindowsLegacy))
		}
		b.End()
	}
	b.End()
	b.End()
}

// soap makes one request of the sync service and returns its response element.
func (w *world) soap(operation string, content func(*nbfx.Writer)) (*nbfx.Element, error) {
	w.t.Helper()
	build := w.build
	if build == "" {
		build = "2.4.21.0"
	}
	b := new(nbfx.Writer)
	b.Start("s", "Envelope")
	b.Xmlns("s", nbfx.NSSoap)
	b.Xmlns("a", nbfx.NSAddressing)
	b.Start("s", "Header")
	b.Start("a", "Action")
	b.Attr("s", "mustUnderstand", "1")
	b.Text(nbfx.NSChange + "/IProvisioningWebService/" + operation)
	b.End()
	b.Start("", "SyncToken")
	b.Xmlns("", nbfx.NSAdmin)
	for _, part := range [][2]string{{"ApplicationId", "1651564e-7ce4-4d99-88be-0a65050d8dc3"}, {"BearerToken", w.token("https://graph.windows.net/.default")}, {"ClientVersion", "8.0"},
		{"DirSyncBuildNumber", build}, {"ProtocolVersion", "2.0"}, {"TrackingId", w.settings.TenantID.String()}} {
		b.Start("", part[0])
		b.Xmlns("", nbfx.NSChange)
		b.Text(part[1])
		b.End()
	}
	b.End()
	b.Leaf("a", "MessageID", "urn:uuid:"+w.settings.TenantID.String())
	b.End()
	b.Start("s", "Body")
	b.Start("", operation)
	b.Xmlns("", nbfx.NSChange)
	content(b)
	b.End()
	b.End()
	b.End()
	message, err := b.Bytes()
	w.must(err)
	answer := w.post("/provisioningservice.svc", nbfx.ContentType, "", message)
	root, err := nbfx.Decode(answer.Body.Bytes(), nbfx.Defaults)
	w.must(err)
	body := root.Child(nbfx.NSSoap, "Body")
	if answer.Code != http.StatusOK {
		return nil, errors.New(body.Child(nbfx.NSSoap, "Fault").Child(nbfx.NSSoap, "Reason").Child(nbfx.NSSoap, "Text").Text())
	}
	return body.Child(nbfx.NSChange, operation+"Response"), nil
}
