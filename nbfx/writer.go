package nbfx

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrWriter is a message that no client could read, or that is none: a fault of
// the caller, held until [Writer.Bytes].
var ErrWriter = errors.New("nbfx: cannot be written")

// maxName is the longest name, prefix or namespace that the Python agent's
// decoder reads: it takes the length for one byte.
const maxName = 127

// A Writer writes a reply in the record types that the Python agent and .NET
// both read: characters in UTF-8, "true" and "false", names from the static
// dictionary where it has them. It writes no empty text (the Python agent prints
// a Python object in its place), no UTF-16 (unescaped there) and no Bool ("True"
// there). Prefixes are used as given, since that agent looks elements up by
// prefix; each must have been declared. The zero Writer is ready.
type Writer struct {
	buf  []byte
	open []mark
	// text is the place in buf of the record that the end of an element may join,
	// or -1.
	text   int
	tag    bool // an attribute may follow
	done   bool
	err    error
	scopes []string // declared prefixes, innermost last; "" for the default
}

// mark remembers an open element.
type mark struct {
	scopes int // declarations in force outside of it
	prefix string
}

func (w *Writer) fail(what string) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: %s (byte %d)", ErrWriter, what, len(w.buf))
	}
}

// Start begins an element. Its declarations and attributes follow.
func (w *Writer) Start(prefix, local string) {
	w.endTag()
	if w.done {
		w.fail("a second root")
	}
	w.checkName(prefix, local)
	w.open = append(w.open, mark{len(w.scopes), prefix})
	w.buf = appendStart(w.buf, prefix, local)
	w.tag, w.text = true, -1
}

// endTag runs where no more declarations can follow.
func (w *Writer) endTag() {
	if w.tag {
		if p := w.open[len(w.open)-1].prefix; !w.declared(p) {
			w.fail("an undeclared prefix")
		}
		w.tag = false
	}
}

func (w *Writer) declared(prefix string) bool {
	if prefix == "" || prefix == "xml" {
		return true
	}
	for i := len(w.scopes) - 1; i >= 0; i-- {
		if w.scopes[i] == prefix {
			return true
		}
	}
	return false
}

func (w *Writer) checkName(prefix, local string) {
	if !isName(local) || len(local) > maxName || prefix != "" && (!isName(prefix) || len(prefix) > maxName) {
		w.fail("a name")
	}
}

// Xmlns declares a prefix, or with an empty one the default namespace.
func (w *Writer) Xmlns(prefix, namespace string) {
	if !w.tag {
		w.fail("a declaration after content")
	}
	if len(namespace) > maxName || prefix != "" && (namespace == "" || !isName(prefix)) {
		w.fail("a declaration")
	}
	kind := byte(shortXmlns)
	id, inDictionary := ids[namespace]
	if inDictionary = inDictionary && namespace != ""; inDictionary {
		kind = shortDictXmlns
	}
	if prefix == "" {
		w.buf = append(w.buf, kind)
	} else {
		w.buf = appendString(append(w.buf, kind+1), prefix)
	}
	if inDictionary {
		w.buf = appendInt31(w.buf, int(id))
	} else {
		w.buf = appendString(w.buf, namespace)
	}
	w.scopes = append(w.scopes, prefix)
}

// Attr writes an attribute of the element just started, after the declaration
// of its prefix.
func (w *Writer) Attr(prefix, local, value string) {
	if !w.tag {
		w.fail("an attribute after content")
	}
	if !w.declared(prefix) {
		w.fail("an undeclared prefix")
	}
	w.checkName(prefix, local)
	if strings.Contains(value, `"`) { // the Python agent prints it between quotes
		w.fail("an attribute with a quote")
	}
	w.buf = appendAttribute(w.buf, prefix, local)
	w.buf = appendText(w.buf, legal(value))
}

// Text writes character content; an empty one is nothing. What XML cannot hold
// becomes U+FFFD: a name with a NUL in it must not make the reply unreadable for
// the 49 other users of the batch.
func (w *Writer) Text(s string) {
	w.endTag()
	if len(w.open) == 0 {
		w.fail("text outside the root")
	}
	if s == "" {
		return
	}
	w.text = len(w.buf)
	w.buf = appendText(w.buf, legal(s))
}

// Base64 writes the base64 text of b.
func (w *Writer) Base64(b []byte) { w.Text(base64.StdEncoding.EncodeToString(b)) }

// End ends the innermost element.
func (w *Writer) End() {
	w.endTag()
	if len(w.open) == 0 {
		w.fail("an end without start")
		return
	}
	if w.text >= 0 {
		w.buf[w.text] |= 1
	} else {
		w.buf = append(w.buf, endElement)
	}
	last := len(w.open) - 1
	w.scopes = w.scopes[:w.open[last].scopes]
	w.open = w.open[:last]
	w.text, w.done = -1, last == 0
}

// Leaf writes an element with a text.
func (w *Writer) Leaf(prefix, local, text string) {
	w.Start(prefix, local)
	w.Text(text)
	w.End()
}

// Bool writes an element that says true or false.
func (w *Writer) Bool(prefix, local string, b bool) {
	w.Leaf(prefix, local, strconv.FormatBool(b))
}

// Nil writes an element with i:nil="true", which clients tell from an empty one.
// The prefix i must be declared as XML Schema's instance namespace.
func (w *Writer) Nil(prefix, local string) {
	w.Start(prefix, local)
	w.Attr("i", "nil", "true")
	w.End()
}

// Bytes is the message, or the first mistake in writing it.
func (w *Writer) Bytes() ([]byte, error) {
	if w.err == nil && !w.done {
		w.fail("an element without end")
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.buf, nil
}

// legal replaces what is no Char of XML 1.0 §2.2.
func legal(s string) string {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !isChar(r) || r == utf8.RuneError && size == 1 {
			return replaceIllegal(s)
		}
		i += size
	}
	return s
}

func replaceIllegal(s string) string {
	return strings.Map(func(r rune) rune {
		if !isChar(r) {
			return utf8.RuneError
		}
		return r // an invalid byte arrives as U+FFFD
	}, s)
}

func isChar(r rune) bool {
	return r >= 0x20 && r != 0xFFFE && r != 0xFFFF || r == '\t' || r == '\n' || r == '\r'
}
