package provisioning

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// Bounds of what is passed on to the rules, which have their own, narrower ones.
const (
	maxName       = 256
	maxDigest     = 1024
	maxProperties = 256
)

// refusal is why an item can't be passed on. The first one found counts.
type refusal struct {
	reason tenant.Reason
	detail string
}

func (f *refusal) set(reason tenant.Reason, detail string) {
	if f.reason == "" {
		f.reason, f.detail = reason, detail
	}
}

// results are those of a batch: one for each item, empty for those that were
// passed on.
type results []tenant.ItemResult

// merge puts the rules' results to the others, in order.
func (r results) merge(of []tenant.ItemResult) {
	for i := range r {
		if r[i].Reason == "" {
			r[i], of = of[0], of[1:]
		}
	}
}

// anchor reads one of an item's two names.
func anchor(e *nbfx.Element, f *refusal) string {
	s := strings.TrimSpace(e.Text())
	if len(s) > maxName {
		f.set(tenant.ReasonMalformed, e.Local+" is too long")
		return ""
	}
	return s
}

// cloudAnchor reads an object's id out of its name in the cloud.
func cloudAnchor(text string, f *refusal) tenant.ID {
	if text == "" {
		return tenant.ID{}
	}
	id, err := tenant.ParseCloudAnchor(text)
	if err != nil {
		f.set(tenant.ReasonUnknownAnchor, "the cloud anchor names no object")
	}
	return id
}

// boolean reads true and false; agents that guess types lose the case.
func boolean(text string) (v, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		return true, true
	case "false", "0", "":
		return false, true
	}
	return false, false
}

// date reads an xsd:dateTime. One without a zone is UTC: agents mean nothing
// else, and one that stamps its local time with a Z is not to be told from others.
func date(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

// property reads the value of a property (§A6): what i:type says it is, whatever
// record it came in. Nil clears.
func property(e *nbfx.Element, name string, f *refusal) any {
	if e == nil || e.IsNil() {
		return nil
	}
	namespace, kind := e.Type()
	if namespace != "" && namespace != nsXSD && namespace != nsArrays && namespace != nbfx.NSChange {
		f.set(tenant.ReasonAttributeInvalid, "the value of "+name+" is of an unknown type")
		return nil
	}
	switch kind {
	case "boolean":
		v, ok := boolean(e.Text())
		if !ok {
			f.set(tenant.ReasonAttributeInvalid, name+" has to be true or false")
		}
		return v
	case "long", "int", "short", "unsignedInt", "unsignedLong":
		text := strings.TrimSpace(e.Text())
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			f.set(tenant.ReasonAttributeInvalid, name+" has to be a number")
		}
		return json.Number(text)
	case "ArrayOfstring":
		list := []string{}
		for c := range e.Elements() {
			if c.Local == "string" && !c.IsNil() {
				list = append(list, c.Text())
			}
		}
		return list
	case "ArrayOfbase64Binary":
		list := [][]byte{}
		for c := range e.Elements() {
			b, err := c.Bytes()
			if err != nil {
				f.set(tenant.ReasonAttributeInvalid, name+" has to be a list of base64")
			}
			if c.Local == "base64Binary" && !c.IsNil() {
				list = append(list, b)
			}
		}
		return list
	case "SyncReferenceChangeCollection":
		return memberChanges(e, f)
	case "string", "base64Binary", "dateTime", "guid", "":
		return e.Text()
	}
	f.set(tenant.ReasonAttributeInvalid, "the value of "+name+" is of an unknown type")
	return nil
}

// Numbers of a SyncReferenceChange.
const (
	referenceCloud  = 1
	referenceSource = 2
	memberAdded     = 1
	memberRemoved   = 2
)

// memberChanges reads a SyncReferenceChangeCollection: who comes into a group and
// who goes, by either anchor. Its elements are known by their local names: the one
// public sender declares no namespace on them.
func memberChanges(e *nbfx.Element, f *refusal) tenant.MemberChanges {
	var out tenant.MemberChanges
	n := 0
	for list := range e.Elements() {
		for change := range list.Elements() {
			if list.Local != "referenceChanges" || change.Local != "SyncReferenceChange" {
				continue
			}
			if n++; n > tenant.MaxGroupMembers {
				f.set(tenant.ReasonTooManyMembers, "there are too many changes of members")
				return out
			}
			var m tenant.Member
			var name string
			kind, operation := 0, 0
			number := func(e *nbfx.Element) int {
				n, _ := strconv.Atoi(strings.TrimSpace(e.Text()))
				return n
			}
			for part := range change.Elements() {
				switch part.Local {
				case "operationInt":
					operation = number(part)
				case "Reference":
					for p := range part.Elements() {
						switch p.Local {
						case "Anchor":
							name = anchor(p, f)
						case "referenceTypeInt":
							kind = number(p)
						}
					}
				}
			}
			switch kind {
			case referenceCloud:
				m.ID = cloudAnchor(name, f)
			case referenceSource:
				m.Anchor = name
			}
			if m == (tenant.Member{}) {
				f.set(tenant.ReasonAttributeInvalid, "a change of members has to name a member by an anchor")
			}
			switch operation {
			case memberAdded:
				out.Add = append(out.Add, m)
			case memberRemoved:
				out.Remove = append(out.Remove, m)
			default:
				f.set(tenant.ReasonAttributeInvalid, "a change of members has to be an addition or a removal")
			}
		}
	}
	return out
}

func leafInt(w *nbfx.Writer, prefix, local string, n int) {
	w.Leaf(prefix, local, strconv.Itoa(n))
}

// leafOrNil writes a text, or nil where there is none.
func leafOrNil(w *nbfx.Writer, prefix, local, text string) {
	if text == "" {
		w.Nil(prefix, local)
		return
	}
	w.Leaf(prefix, local, text)
}

// element writes an element with content.
func element(w *nbfx.Writer, prefix, local string, content func()) {
	w.Start(prefix, local)
	content()
	w.End()
}
