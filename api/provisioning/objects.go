package provisioning

import (
	"strings"

	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// sent is how an item named itself: results repeat it.
type sent struct {
	source, cloud   string
	kind, operation string
}

// objects is ProvisionAzureADSyncObjects and its second version.
func (c *call) objects(element string) (func(*nbfx.Writer), error) {
	var (
		items []tenant.ObjectItem
		names []sent
		done  results
	)
	list := c.body.Child(nbfx.NSChange, "syncRequest").Child(nsObjects, "SyncObjects")
	for e := range list.Elements() {
		if !e.Is(nsObjects, "AzureADSyncObject") {
			continue
		}
		if len(names) == tenant.MaxBatchItems {
			return nil, tenant.ErrBatchTooLarge
		}
		item, name, f := objectItem(e)
		names = append(names, name)
		done = append(done, tenant.ItemResult{Anchor: name.source, Reason: f.reason, Detail: f.detail})
		if f.reason == "" {
			items = append(items, item)
		}
	}
	// Also without one good item: the rules say whether the tenant takes any.
	result, err := c.Tenant.SyncObjects(c.r.Context(), c.from, items)
	if err != nil {
		return nil, err
	}
	done.merge(result.Items)
	changed, err := c.changed(done)
	if err != nil {
		return nil, err
	}
	return func(w *nbfx.Writer) {
		// The namespace i stands here and not on the items (§A7).
		w.Start("", element)
		w.Xmlns("b", nsObjects)
		w.Xmlns("i", nbfx.NSXSI)
		w.Start("b", "SyncObjectResults")
		for i := range done {
			objectResult(w, &names[i], &done[i], changed[done[i].ID])
		}
		w.End()
		w.End()
	}, nil
}

// changed returns the objects that were stored otherwise than they were sent.
func (c *call) changed(done results) (map[tenant.ID]*tenant.Object, error) {
	var ids []tenant.ID
	for i := range done {
		if done[i].Reason == tenant.ReasonQuarantined {
			ids = append(ids, done[i].ID)
		}
	}
	if ids == nil {
		return nil, nil
	}
	objects, err := c.Tenant.Store.Objects(c.r.Context(), ids)
	if err != nil {
		return nil, err
	}
	out := make(map[tenant.ID]*tenant.Object, len(objects))
	for i := range objects {
		out[objects[i].ID] = &objects[i]
	}
	return out, nil
}

var kinds = map[string]tenant.Kind{"user": tenant.User, "group": tenant.Group, "contact": tenant.Contact,
	"device": tenant.Device, "inetorgperson": tenant.InetOrgPerson}

func objectItem(e *nbfx.Element) (item tenant.ObjectItem, name sent, f refusal) {
	// Only what the service knows is repeated.
	kind := strings.TrimSpace(e.Child(nsObjects, "SyncObjectType").Text())
	if item.Kind = kinds[strings.ToLower(kind)]; item.Kind == 0 {
		f.set(tenant.ReasonUnsupportedFeature, "there is no such SyncObjectType")
	} else {
		name.kind = item.Kind.Wire()
	}
	switch strings.TrimSpace(e.Child(nsObjects, "SyncOperation").Text()) {
	case "Set", "Add": // an agent that thinks an object new may be wrong
		item.Operation, name.operation = tenant.Set, "Set"
	case "Delete":
		item.Operation, name.operation = tenant.Delete, "Delete"
	default:
		f.set(tenant.ReasonMalformed, "SyncOperation has to be Set, Add or Delete")
	}

	item.Attributes = make(map[string]any, 32)
	seen := make(map[string]bool, 32)
	for p := range e.Child(nsObjects, "PropertyValues").Elements() {
		if !p.Is(nsArrays, "KeyValueOfstringanyType") {
			continue
		}
		key, value := p.Child(nsArrays, "Key").Text(), p.Child(nsArrays, "Value")
		lower := strings.ToLower(key)
		switch {
		case len(key) > maxName || len(seen) == maxProperties:
			f.set(tenant.ReasonMalformed, "the item has too many properties, or too long a name")
			continue
		case seen[lower]: // which would be the right one?
			f.set(tenant.ReasonMalformed, "a property is there twice")
			continue
		}
		seen[lower] = true
		switch lower {
		case "sourceanchor":
			name.source = anchor(value, &f)
			item.Anchor = name.source
		case "cloudanchor":
			name.cloud = anchor(value, &f)
			item.Object = cloudAnchor(name.cloud, &f)
		default:
			item.Attributes[key] = property(value, key, &f)
		}
	}
	return item, name, f
}

// exportErrors are the real service's names for what the rules refuse (§A8).
var exportErrors = map[tenant.Reason]string{
	tenant.ReasonMalformed:          "IdentityDataValidationFailed",
	tenant.ReasonUnknownAnchor:      "ObjectNotFound",
	tenant.ReasonDuplicateInBatch:   "IdentityDataValidationFailed",
	tenant.ReasonTypeMismatch:       "ObjectTypeMismatch",
	tenant.ReasonUPNTaken:           "AttributeValueMustBeUnique",
	tenant.ReasonProxyTaken:         "AttributeValueMustBeUnique",
	tenant.ReasonUPNInvalid:         "IdentityDataValidationFailed",
	tenant.ReasonAttributeInvalid:   "IdentityDataValidationFailed",
	tenant.ReasonAttributeTooLong:   "ExceededAllowedLength",
	tenant.ReasonTooManyMembers:     "LargeObject",
	tenant.ReasonAdminRoleConflict:  "ExistingAdminRoleConflict",
	tenant.ReasonHardMatchBlocked:   "InvalidHardMatch",
	tenant.ReasonCloudMastered:      "InvalidOperation",
	tenant.ReasonUnsupportedFeature: "IdentityDataValidationFailed",
	tenant.ReasonQuarantined:        "AttributeValueMustBeUnique",
}

// objectResult writes one AzureADSyncObjectResult. An agent takes any text in
// ResultErrorDescription for an error, and wants the element where there is none.
func objectResult(w *nbfx.Writer, name *sent, result *tenant.ItemResult, changed *tenant.Object) {
	code, description := "Success", ""
	switch {
	case !result.Reason.OK():
		code = "Failure"
		description = "Unable to update this object in Azure Active Directory: " + result.Detail + ". (" + string(result.Reason) + ")"
	case result.Reason == tenant.ReasonQuarantined:
		description = quarantined(changed)
	}
	cloud := name.cloud
	if !result.ID.IsZero() && name.kind != "" {
		cloud = name.kind + "_" + result.ID.String()
	}
	w.Start("b", "AzureADSyncObjectResult")
	leafOrNil(w, "b", "CloudAnchor", cloud)
	leafOrNil(w, "b", "ObjectType", name.kind)
	w.Leaf("b", "ResultCode", code)
	leafOrNil(w, "b", "ResultErrorCode", exportErrors[result.Reason])
	leafOrNil(w, "b", "ResultErrorDescription", description)
	leafOrNil(w, "b", "SourceAnchor", result.Anchor)
	leafOrNil(w, "b", "SyncOperation", name.operation)
	w.End()
}

// quarantined says which values another object holds, in the words by which
// administrators look for it.
func quarantined(o *tenant.Object) string {
	var values strings.Builder
	if o != nil {
		for _, e := range o.Profile.Errors {
			property := e.Property
			if property == tenant.ConflictProxy {
				property = "ProxyAddresses" // as the attribute is called here
			}
			values.WriteString(property + " " + e.Value + ";")
		}
	}
	return "This object has been updated in your Azure Active Directory, but with some modified properties, because the following " +
		"attributes are associated with another object [" + values.String() + "]. See duplicateattributeresiliency."
}
