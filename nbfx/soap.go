package nbfx

import (
	"errors"
	"fmt"
)

// Namespaces of a message to the sync service.
const (
	NSSoap       = "http://www.w3.org/2003/05/soap-envelope"
	NSAddressing = "http://www.w3.org/2005/08/addressing"
	NSAdmin      = "urn:microsoft.online.administrativeservice" // of the SyncToken header
	NSChange     = "http://schemas.microsoft.com/online/aws/change/2010/01"
	NSXSI        = nsXSI
)

// What is wrong with an envelope, beside what is wrong with its encoding.
var (
	ErrEnvelope      = errors.New("nbfx: not a SOAP 1.2 envelope")
	ErrNotUnderstood = errors.New("nbfx: a header that must be understood")
)

// An Envelope is a request. The addressing headers are empty where there are
// none.
type Envelope struct {
	Action    string
	MessageID string
	To        string
	ReplyTo   string   // its address
	SyncToken *Element // holds the bearer token among its children, or nil
	Body      *Element // the one child of s:Body, or nil
}

// ParseEnvelope reads the headers that the sync service knows and finds the
// body. Of a header that comes twice the first would be checked and the second
// might be used, so that is refused, as are headers that say mustUnderstand and
// are none of these ([SOAP1.2-1/2007] §5.2.3).
func ParseEnvelope(root *Element) (Envelope, error) {
	var env Envelope
	if !root.Is(NSSoap, "Envelope") {
		return env, fmt.Errorf("%w: no s:Envelope", ErrEnvelope)
	}
	var header, body *Element
	for c := range root.Elements() {
		switch {
		case c.Is(NSSoap, "Header") && header == nil && body == nil:
			header = c
		case c.Is(NSSoap, "Body") && body == nil:
			body = c
		default: // a second body among them
			return env, fmt.Errorf("%w: more than a header and a body", ErrEnvelope)
		}
	}
	if body == nil {
		return env, fmt.Errorf("%w: no s:Body", ErrEnvelope)
	}
	seen := map[string]bool{}
	for h := range header.Elements() {
		known := true
		switch {
		case h.Is(NSAdmin, "SyncToken"):
			env.SyncToken = h
		case h.Is(NSAddressing, "Action"):
			env.Action = h.Text()
		case h.Is(NSAddressing, "MessageID"):
			env.MessageID = h.Text()
		case h.Is(NSAddressing, "To"):
			env.To = h.Text()
		case h.Is(NSAddressing, "ReplyTo"):
			env.ReplyTo = h.Child(NSAddressing, "Address").Text()
		default:
			known = false
		}
		if known && seen[h.Local] {
			return env, fmt.Errorf("%w: header %s twice", ErrEnvelope, h.Local)
		}
		if must, _ := h.Attr(NSSoap, "mustUnderstand"); !known && (must.Text() == "1" || must.Text() == "true") {
			return env, fmt.Errorf("%w: %s", ErrNotUnderstood, h.Local)
		}
		seen[h.Local] = seen[h.Local] || known
	}
	for c := range body.Elements() {
		if env.Body != nil {
			return env, fmt.Errorf("%w: more than one child of s:Body", ErrEnvelope)
		}
		env.Body = c
	}
	return env, nil
}

// Reply writes the answer to a request: action is the reply's, relatesTo the
// request's MessageID (left out where it had none), and body writes the one
// child of s:Body. The prefixes s and a are declared; body declares its own: the
// Python agent takes an item for an error where xmlns:i stands on the item
// itself, so that belongs on the result around it.
func Reply(action, relatesTo string, body func(*Writer)) ([]byte, error) {
	w := &Writer{buf: make([]byte, 0, 2048)}
	w.Start("s", "Envelope")
	w.Xmlns("s", NSSoap)
	w.Xmlns("a", NSAddressing)
	w.Start("s", "Header")
	w.Start("a", "Action")
	w.Attr("s", "mustUnderstand", "1")
	w.Text(action)
	w.End()
	if relatesTo != "" {
		w.Leaf("a", "RelatesTo", relatesTo)
	}
	w.End()
	w.Start("s", "Body")
	body(w)
	w.End()
	w.End()
	return w.Bytes()
}

// Codes of a fault ([SOAP1.2-1/2007] §5.4.6): whose fault it is.
const (
	Sender         = "Sender"
	Receiver       = "Receiver"
	MustUnderstand = "MustUnderstand"
)

// Fault writes a SOAP fault in answer to relatesTo. Detail writes the children
// of s:Detail, and may be nil. The text has its xml:lang because the standard
// wants it, and because the Python agent dies on a text without attributes.
func Fault(relatesTo, code, reason string, detail func(*Writer)) ([]byte, error) {
	return Reply(NSAddressing+"/soap/fault", relatesTo, func(w *Writer) {
		w.Start("s", "Fault")
		w.Start("s", "Code")
		w.Leaf("s", "Value", "s:"+code)
		w.End()
		w.Start("s", "Reason")
		w.Start("s", "Text")
		w.Attr("xml", "lang", "en-US")
		w.Text(reason)
		w.End()
		w.End()
		if detail != nil {
			w.Start("s", "Detail")
			detail(w)
			w.End()
		}
		w.End()
	})
}
