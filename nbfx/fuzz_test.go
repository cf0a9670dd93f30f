package nbfx

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzDecode: no message makes the decoder, or anything that reads its tree,
// panic; what it accepts is written back as a message of the same tree, and that
// one as itself.
func FuzzDecode(f *testing.F) {
	for _, x := range examples {
		f.Add(unhex(f, x.hex))
	}
	files, err := filepath.Glob("testdata/agent/*.bin")
	if err != nil || len(files) == 0 {
		f.Fatal("no requests to begin with", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b, Defaults)
		if err != nil {
			return
		}
		walk(e)
		_, _ = ParseEnvelope(e)
		once := e.Append(nil)
		// An array may become longer than it was: its element's name repeats.
		l := Defaults
		l.Bytes = len(once)
		e2, err := Decode(once, l)
		if err != nil {
			t.Fatalf("written back as % x: %v", once, err)
		}
		if !reflect.DeepEqual(e, e2) {
			t.Fatalf("written back as % x, it is another tree", once)
		}
		if twice := e2.Append(nil); !bytes.Equal(once, twice) {
			t.Fatalf("% x\n% x", once, twice)
		}
	})
}

func walk(e *Element) {
	e.Text()
	_, _ = e.Bytes()
	e.Type()
	e.IsNil()
	for _, a := range e.Attrs {
		a.Value.Text()
	}
	for _, n := range e.Nodes {
		n.Value.Comment()
		n.Value.Text()
	}
	for c := range e.Elements() {
		walk(c)
	}
}
