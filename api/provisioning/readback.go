package provisioning

import (
	"encoding/base64"
	"encoding/binary"
	"strings"

	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// Bounds of a page. The Python agents read the first page alone, so one holds a
// whole tenant of ordinary size; the second bound is for large groups.
const (
	maxPage      = 5000
	maxPageBytes = 8 << 20
)

// A cookie says how far an agent has read, in base64: a version and two USNs. It
// is the agent's word for where to go on, so nothing keeps it from changing it.
const (
	cookieVersion = 1
	cookieSize    = 1 + 8 + 8
)

func makeCookie(s tenant.Since) []byte {
	b := append(make([]byte, 0, cookieSize), cookieVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(s.USN))
	return binary.BigEndian.AppendUint64(b, uint64(s.From))
}

func parseCookie(e *nbfx.Element) (s tenant.Since, err error) {
	if e == nil || e.IsNil() || e.Text() == "" {
		return s, nil
	}
	b, err := e.Bytes()
	if err == nil && len(b) == cookieSize && b[0] == cookieVersion {
		s.USN, s.From = tenant.USN(binary.BigEndian.Uint64(b[1:])), tenant.USN(binary.BigEndian.Uint64(b[9:]))
		if s.USN >= 0 && s.From >= 0 {
			return s, nil
		}
	}
	return tenant.Since{}, &fault{nbfx.Sender, 0, "inputCookie is none of this service's. Begin without one."}
}

// readBack is ReadBackAzureADSyncObjects and the same with a 2, which leaves out
// what is empty. Without a cookie it begins anew, as isFullSync does; the one that
// comes back leads to the next page, and then to what changes after it.
func (c *call) readBack(result string, empty bool) (func(*nbfx.Writer), error) {
	if _, ok := boolean(c.body.Child(nbfx.NSChange, "isFullSync").Text()); !ok {
		return nil, &fault{nbfx.Sender, 0, "isFullSync has to be true or false."}
	}
	since, err := parseCookie(c.body.Child(nbfx.NSChange, "inputCookie"))
	if err != nil {
		return nil, err
	}
	config, err := c.Tenant.Configuration(c.r.Context())
	if err != nil {
		return nil, err
	}
	if !config.DirSync {
		return nil, tenant.ErrDirSyncOff // agents match its text here (§A8)
	}
	page, next, more, err := c.Tenant.ReadBack(c.r.Context(), since, maxPage)
	if err != nil {
		return nil, err
	}
	if n := fits(page); n < len(page) {
		next.USN, more, page = page[n-1].USN, true, page[:n]
	}
	return func(w *nbfx.Writer) {
		w.Start("", result)
		w.Xmlns("b", nsObjects)
		w.Xmlns("i", nbfx.NSXSI)
		w.Xmlns("c", nsArrays)
		w.Xmlns("d", nsXSD)
		element(w, "b", "Cookie", func() { w.Base64(makeCookie(next)) }) // [I]
		w.Bool("b", "MoreObjects", more)                                 // [I]
		w.Start("b", "ResultObjects")
		for i := range page {
			listed(w, &page[i], empty)
		}
		w.End()
		w.End()
	}, nil
}

// fits is how many of the page's objects make a reply of about maxPageBytes, and
// at least one.
func fits(page []tenant.Listed) int {
	size := 0
	for i := range page {
		size += 1 << 10 // an ordinary object
		for _, m := range page[i].Members {
			size += len(m.Anchor) + 64
		}
		for _, certificate := range page[i].Object.Profile.UserCertificates {
			size += 2 * len(certificate)
		}
		if size > maxPageBytes && i > 0 {
			return i
		}
	}
	return len(page)
}

func listed(w *nbfx.Writer, l *tenant.Listed, empty bool) {
	o := &l.Object
	deleted := !o.Deleted.IsZero()
	w.Start("b", "AzureADSyncObject")
	w.Start("b", "PropertyValues")
	value(w, "CloudAnchor", o.CloudAnchor())
	for _, a := range o.WireAttributes() {
		if deleted && a.Name != "SourceAnchor" || a.Value == nil && (!empty || deleted) {
			continue
		}
		value(w, a.Name, a.Value)
	}
	if o.Kind == tenant.Group && !deleted {
		var names []string
		for i := range l.Members {
			name := l.Members[i].Anchor
			if name == "" {
				name = l.Members[i].CloudAnchor()
			}
			names = append(names, name)
		}
		if names != nil || empty {
			value(w, "Member", names)
		}
	}
	w.End()
	w.Leaf("b", "SyncObjectType", o.Kind.Wire())
	if deleted {
		w.Leaf("b", "SyncOperation", "Delete")
	} else {
		w.Leaf("b", "SyncOperation", "Set")
	}
	w.End()
}

// value writes a property. Its element always has an attribute, without which
// the Python agent can't read one (§A7).
func value(w *nbfx.Writer, key string, v any) {
	w.Start("c", "KeyValueOfstringanyType")
	w.Leaf("c", "Key", key)
	w.Start("c", "Value")
	typed := func(name, text string) {
		w.Attr("i", "type", name)
		w.Text(text)
	}
	switch v := v.(type) {
	case nil:
		w.Attr("i", "nil", "true")
	case bool:
		if v {
			typed("d:boolean", "true")
		} else {
			typed("d:boolean", "false")
		}
	case string:
		typed("d:string", strings.TrimSpace(v))
	case []byte:
		typed("d:base64Binary", base64.StdEncoding.EncodeToString(v))
	case []string:
		w.Attr("i", "type", "c:ArrayOfstring")
		for _, one := range v {
			w.Leaf("c", "string", one)
		}
	case [][]byte:
		w.Attr("i", "type", "c:ArrayOfbase64Binary")
		for _, one := range v {
			element(w, "c", "base64Binary", func() { w.Base64(one) })
		}
	}
	w.End()
	w.End()
}
