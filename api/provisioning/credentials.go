package provisioning

import (
	"strings"

	"skyrealm/cred"
	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// maxCredentials is how many users the real agent puts in a request (§A6).
const maxCredentials = 50

// credentials is ProvisionCredentials. An agent that has nothing to send sends
// nothing: that is its ping [I].
func (c *call) credentials() (func(*nbfx.Writer), error) {
	var (
		items []tenant.HashItem
		names []sent
		done  results
	)
	list := c.body.Child(nbfx.NSChange, "request").Child(nsCredentials, "RequestItems")
	for e := range list.Elements() {
		if !e.Is(nsCredentials, "SyncCredentialsChangeItem") {
			continue
		}
		if len(names) == maxCredentials {
			return nil, tenant.ErrBatchTooLarge
		}
		item, name, f := hashItem(e)
		names = append(names, name)
		done = append(done, tenant.ItemResult{Anchor: name.source, Reason: f.reason, Detail: f.detail})
		if f.reason == "" {
			items = append(items, item)
		}
	}
	if len(names) == 0 {
		return c.ping()
	}
	result, err := c.Tenant.SyncHashes(c.r.Context(), c.from, items)
	if err != nil {
		return nil, err
	}
	done.merge(result.Items)
	return credentialResults(names, done), nil
}

// ping notes that the agent lives, and says whether its passwords would be taken.
func (c *call) ping() (func(*nbfx.Writer), error) {
	if err := c.Tenant.Ping(c.r.Context(), c.from); err != nil {
		return nil, err
	}
	return credentialResults(nil, nil), nil
}

func hashItem(e *nbfx.Element) (item tenant.HashItem, name sent, f refusal) {
	var ok bool
	for m := range e.Elements() {
		if m.Namespace != nsCredentials || m.IsNil() {
			continue
		}
		switch m.Local {
		case "SourceAnchor":
			name.source = anchor(m, &f)
			item.Anchor = name.source
		case "CloudAnchor":
			name.cloud = anchor(m, &f)
			item.Object = cloudAnchor(name.cloud, &f)
		case "ChangeDate":
			if item.Changed, ok = date(m.Text()); !ok {
				f.set(tenant.ReasonDateMalformed, "ChangeDate has to be an xsd:dateTime")
			}
		case "CredentialData":
			if item.Digest = strings.TrimSpace(m.Text()); len(item.Digest) > maxDigest {
				f.set(tenant.ReasonDigestMalformed, "CredentialData is too long")
			}
		case "ForcePasswordChangeOnLogon":
			if item.MustChange, ok = boolean(m.Text()); !ok {
				f.set(tenant.ReasonMalformed, "ForcePasswordChangeOnLogon has to be true or false")
			}
		case "WindowsLegacyCredentials":
			item.WindowsLegacy = envelope(m, &f)
		case "WindowsSupplementalCredentials":
			item.WindowsSupplemental = envelope(m, &f)
		}
	}
	return item, name, f
}

// envelope reads an ADAuthInfo. What is in it only the managed domain can tell.
func envelope(m *nbfx.Element, f *refusal) []byte {
	b, err := m.Bytes()
	if err != nil || len(b) > cred.MaxEnvelope {
		f.set(tenant.ReasonSealedMalformed, m.Local+" has to be the base64 of an envelope")
		return nil
	}
	return b
}

// Results of an item. 0 and 2 are the real service's; what it has beside them is
// not known (§A8), so all other refusals are 1 with the reason in words.
const (
	resultTaken   = 0
	resultRefused = 1
	resultUnknown = 2
)

func credentialResults(names []sent, done results) func(*nbfx.Writer) {
	return func(w *nbfx.Writer) {
		w.Start("", "ProvisionCredentialsResult")
		w.Xmlns("b", nsCredentials)
		w.Xmlns("i", nbfx.NSXSI)
		w.Start("b", "Results")
		for i := range done {
			result, why := resultTaken, ""
			switch {
			case done[i].Reason.OK():
			case done[i].Reason == tenant.ReasonUnknownAnchor:
				// Without words: by that agents know that the user may be on its
				// way, and try again.
				result = resultUnknown
			default:
				result, why = resultRefused, string(done[i].Reason)+": "+done[i].Detail
			}
			w.Start("b", "SyncCredentialsChangeResult")
			leafOrNil(w, "b", "CloudAnchor", names[i].cloud)
			if why != "" {
				w.Leaf("b", "ExtendedErrorInformation", why)
			}
			leafInt(w, "b", "Result", result)
			leafOrNil(w, "b", "SourceAnchor", names[i].source)
			w.End()
		}
		w.End()
		w.End()
	}
}
