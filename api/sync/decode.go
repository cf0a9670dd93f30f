package sync

import (
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"skyrealm/api/problem"
	"skyrealm/cred"
	"skyrealm/tenant"
)

// Bounds of what a decoder passes on. The rules have their own, narrower ones.
const (
	maxName       = 256 // attribute names, anchors, enumerations
	maxDigest     = 1024
	maxLegacy     = 32 << 10
	maxAttributes = 128
)

// errBody is a body that is no batch.
var errBody = &problem.Error{Status: http.StatusBadRequest, Code: "MalformedBatch",
	Message: `The body has to be a JSON object {"items":[…]} in UTF-8.`}

// batch is a decoded body: the items that can be passed to the rules, and one
// result for every item, empty for those.
type batch[T any] struct {
	good    []T
	results []tenant.ItemResult
}

// decode reads {"items":[…]}. item reads one, and returns why it can't be taken.
func decode[T any](body string, item func(*scanner, *T) fault, anchor func(*T) string) (*batch[T], error) {
	if !utf8.ValidString(body) {
		return nil, errBody
	}
	var (
		c    = &scanner{s: body}
		b    = &batch[T]{}
		seen bool
		full bool
	)
	c.object(func(name string) {
		if name != "items" {
			c.skip(1)
			return
		}
		if seen { // which of the two lists would be the right one?
			c.fail()
			return
		}
		seen = true
		c.array(func() {
			if len(b.results) == tenant.MaxBatchItems {
				full = true
				c.fail()
				return
			}
			var one T
			f := fault{tenant.ReasonMalformed, "an item has to be an object"}
			if c.next() == '{' {
				f = item(c, &one)
			} else {
				c.skip(2)
			}
			b.results = append(b.results, tenant.ItemResult{Anchor: anchor(&one), Reason: f.reason, Detail: f.detail})
			if f.reason == "" {
				b.good = append(b.good, one)
			}
		})
	})
	switch {
	case full:
		return nil, tenant.ErrBatchTooLarge
	case c.next() != 0 || c.i != len(c.s) || c.bad || !seen:
		return nil, errBody
	}
	return b, nil
}

// merge puts the rules' results for the good items to the others, in order.
func (b *batch[T]) merge(of []tenant.ItemResult) []tenant.ItemResult {
	for i := range b.results {
		if b.results[i].Reason == "" {
			b.results[i] = of[0]
			of = of[1:]
		}
	}
	return b.results
}

// fault is why an item can't be taken. The first one found counts.
type fault struct {
	reason tenant.Reason
	detail string
}

func (f *fault) set(reason tenant.Reason, detail string) {
	if f.reason == "" {
		f.reason, f.detail = reason, detail
	}
}

// member is one known member of an item.
type member uint

// once notes a member and reports a second one of the same name as a fault:
// whether the first or the last counts differs among readers.
func once(seen *member, m member, name string, f *fault) {
	if *seen&m != 0 {
		f.set(tenant.ReasonMalformed, "the item has "+name+" twice")
	}
	*seen |= m
}

// field reads a string of at most most bytes, or null.
func field(c *scanner, f *fault, name string, most int) string {
	switch c.next() {
	case '"':
		s := c.text()
		if len(s) > most {
			f.set(tenant.ReasonMalformed, name+" is too long")
			return ""
		}
		return s
	case 'n':
		c.literal("null")
	default:
		c.skip(3)
		f.set(tenant.ReasonMalformed, name+" has to be a string")
	}
	return ""
}

func decodeHashes(body string) (*batch[tenant.HashItem], error) {
	return decode(body, hashItem, func(i *tenant.HashItem) string { return i.Anchor })
}

func hashItem(c *scanner, item *tenant.HashItem) (f fault) {
	var seen member
	c.object(func(name string) {
		switch name {
		case "sourceAnchor":
			once(&seen, 1, name, &f)
			item.Anchor = field(c, &f, name, maxName)
		case "changeDate":
			once(&seen, 2, name, &f)
			if date := field(c, &f, name, maxName); date != "" {
				at, err := time.Parse(time.RFC3339, date)
				if err != nil {
					f.set(tenant.ReasonDateMalformed, "changeDate has to be a date and time of RFC 3339")
				}
				item.Changed = at.UTC()
			}
		case "credentialData":
			once(&seen, 4, name, &f)
			item.Digest = field(c, &f, name, maxDigest)
		case "legacy":
			once(&seen, 8, name, &f)
			item.Legacy = cred.Sealed(field(c, &f, name, maxLegacy))
		case "forcePasswordChangeOnLogon":
			once(&seen, 16, name, &f)
			switch c.next() {
			case 't':
				c.literal("true")
				item.MustChange = true
			case 'f':
				c.literal("false")
			case 'n':
				c.literal("null")
			default:
				c.skip(3)
				f.set(tenant.ReasonMalformed, name+" has to be true or false")
			}
		default:
			c.skip(3)
		}
	})
	return f
}

func decodeObjects(body string) (*batch[tenant.ObjectItem], error) {
	return decode(body, objectItem, func(i *tenant.ObjectItem) string { return i.Anchor })
}

func objectItem(c *scanner, item *tenant.ObjectItem) (f fault) {
	var seen member
	c.object(func(name string) {
		switch name {
		case "sourceAnchor":
			once(&seen, 1, name, &f)
			item.Anchor = field(c, &f, name, maxName)
		case "type":
			once(&seen, 2, name, &f)
			item.Kind, _ = tenant.ParseKind(field(c, &f, name, maxName))
		case "operation":
			once(&seen, 4, name, &f)
			switch field(c, &f, name, maxName) {
			case "set":
				item.Operation = tenant.Set
			case "delete":
				item.Operation = tenant.Delete
			}
		case "attributes":
			once(&seen, 8, name, &f)
			switch c.next() {
			case '{':
				item.Attributes = attributes(c, &f)
			case 'n':
				c.literal("null")
			default:
				c.skip(3)
				f.set(tenant.ReasonMalformed, "attributes has to be an object")
			}
		default:
			c.skip(3)
		}
	})
	switch {
	case seen&2 != 0 && item.Kind == 0:
		f.set(tenant.ReasonUnsupportedFeature, "type has to be user or group")
	case item.Kind == 0:
		f.set(tenant.ReasonMalformed, "type is missing")
	case item.Operation == 0:
		f.set(tenant.ReasonMalformed, "operation has to be set or delete")
	}
	return f
}

// attributes reads names and values. Names count without regard to case, and so
// do doubles.
func attributes(c *scanner, f *fault) map[string]any {
	out := make(map[string]any, 16)
	c.object(func(name string) {
		switch {
		case len(out) == maxAttributes || len(name) > maxName:
			f.set(tenant.ReasonMalformed, "the item has too many attributes, or too long a name")
			c.skip(4)
			return
		case double(out, name):
			f.set(tenant.ReasonMalformed, "an attribute is there twice: "+name)
		}
		out[name] = value(c, f, name)
	})
	return out
}

func double(out map[string]any, name string) bool {
	if _, same := out[name]; same {
		return true
	}
	for other := range out {
		if len(other) == len(name) && strings.EqualFold(other, name) {
			return true
		}
	}
	return false
}

// value reads what an attribute can have: null, a string, a boolean, a number, or
// a list of strings.
func value(c *scanner, f *fault, name string) any {
	switch c.next() {
	case '[':
		list := []string{}
		c.array(func() {
			if c.next() != '"' {
				f.set(tenant.ReasonAttributeInvalid, name+" has to be a list of strings")
				c.skip(5)
				return
			}
			list = append(list, c.text())
		})
		return list
	case '{':
		f.set(tenant.ReasonAttributeInvalid, name+" can't be an object")
		c.skip(4)
		return nil
	}
	return c.scalar()
}
