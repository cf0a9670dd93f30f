package ldapmsg

import (
	"skyrealm/der"
	"skyrealm/domain/dit"
)

// encode is the client's direction, which only tests need.
func encode(m Message) []byte {
	var w der.Writer
	putControls(&w, m.Controls)
	mark := w.Len()
	switch op := m.Op.(type) {
	case *BindRequest:
		if op.Auth == AuthSASL {
			at := w.Len()
			if op.HasCredentials {
				w.Octets(der.OctetString, op.Credentials.Expose())
			}
			w.String(der.OctetString, op.Mechanism)
			w.Wrap(der.Context(AuthSASL), at)
		} else {
			w.Octets(der.ContextPrimitive(op.Auth), op.Credentials.Expose())
		}
		w.String(der.OctetString, op.Name)
		w.Int(der.Integer, int64(op.Version))
		w.Wrap(OpBindRequest, mark)
	case *UnbindRequest:
		w.Octets(OpUnbindRequest, nil)
	case *SearchRequest:
		at := w.Len()
		for i := len(op.Attrs.Names) - 1; i >= 0; i-- {
			w.String(der.OctetString, op.Attrs.Names[i].Type.Name+op.Attrs.Names[i].Suffix)
		}
		switch {
		case op.Attrs.All:
			w.String(der.OctetString, "*")
		case len(op.Attrs.Names) == 0:
			w.String(der.OctetString, "1.1")
		}
		w.Wrap(der.Sequence, at)
		putFilter(&w, op.Filter)
		w.Bool(der.Boolean, op.TypesOnly)
		w.Int(der.Integer, int64(op.TimeLimit))
		w.Int(der.Integer, int64(op.SizeLimit))
		w.Int(der.Enumerated, int64(op.Deref))
		w.Int(der.Enumerated, int64(op.Scope))
		w.String(der.OctetString, op.Base)
		w.Wrap(OpSearchRequest, mark)
	case *ModifyRequest:
		at := w.Len()
		for i := len(op.Changes) - 1; i >= 0; i-- {
			one := w.Len()
			putAttribute(&w, op.Changes[i].Attribute)
			w.Int(der.Enumerated, int64(op.Changes[i].Op))
			w.Wrap(der.Sequence, one)
		}
		w.Wrap(der.Sequence, at)
		w.String(der.OctetString, op.DN)
		w.Wrap(OpModifyRequest, mark)
	case *AddRequest:
		at := w.Len()
		for i := len(op.Attrs) - 1; i >= 0; i-- {
			putAttribute(&w, op.Attrs[i])
		}
		w.Wrap(der.Sequence, at)
		w.String(der.OctetString, op.DN)
		w.Wrap(OpAddRequest, mark)
	case *DeleteRequest:
		w.String(OpDeleteRequest, op.DN)
	case *ModifyDNRequest:
		if op.HasSuperior {
			w.String(der.ContextPrimitive(0), op.NewSuperior)
		}
		w.Bool(der.Boolean, op.DeleteOld)
		w.String(der.OctetString, op.NewRDN)
		w.String(der.OctetString, op.DN)
		w.Wrap(OpModifyDNRequest, mark)
	case *CompareRequest:
		at := w.Len()
		w.Octets(der.OctetString, op.Value.Expose())
		w.String(der.OctetString, op.Name)
		w.Wrap(der.Sequence, at)
		w.String(der.OctetString, op.DN)
		w.Wrap(OpCompareRequest, mark)
	case *AbandonRequest:
		w.Int(OpAbandonRequest, int64(op.ID))
	case *ExtendedRequest:
		if op.HasValue {
			w.Octets(der.ContextPrimitive(1), op.Value.Expose())
		}
		w.String(der.ContextPrimitive(0), op.Name)
		w.Wrap(OpExtendedRequest, mark)
	}
	return finish(nil, &w, m.ID)
}

func putAttribute(w *der.Writer, a Attribute) {
	mark := w.Len()
	for i := len(a.Values) - 1; i >= 0; i-- {
		w.Octets(der.OctetString, a.Values[i])
	}
	w.Wrap(der.Set, mark)
	w.String(der.OctetString, a.Name)
	w.Wrap(der.Sequence, mark)
}

func putFilter(w *der.Writer, f *dit.Filter) {
	mark, tag := w.Len(), der.Context(int(f.Op))
	switch f.Op {
	case dit.OpAnd, dit.OpOr, dit.OpNot:
		for i := len(f.Subs) - 1; i >= 0; i-- {
			putFilter(w, f.Subs[i])
		}
	case dit.OpPresent:
		w.String(der.ContextPrimitive(int(f.Op)), f.Name)
		return
	case dit.OpSubstrings:
		if f.Final != nil {
			w.Octets(der.ContextPrimitive(2), f.Final)
		}
		for i := len(f.Any) - 1; i >= 0; i-- {
			w.Octets(der.ContextPrimitive(1), f.Any[i])
		}
		if f.Value != nil {
			w.Octets(der.ContextPrimitive(0), f.Value)
		}
		w.Wrap(der.Sequence, mark)
		w.String(der.OctetString, f.Name)
	case dit.OpExtensible:
		if f.DNAttrs {
			w.Bool(der.ContextPrimitive(4), true)
		}
		w.Octets(der.ContextPrimitive(3), f.Value)
		if f.Name != "" {
			w.String(der.ContextPrimitive(2), f.Name)
		}
		if f.Rule != "" {
			w.String(der.ContextPrimitive(1), f.Rule)
		}
	default:
		w.Octets(der.OctetString, f.Value)
		w.String(der.OctetString, f.Name)
	}
	w.Wrap(tag, mark)
}
