package nbfx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/khoad/msbingo/nbfs"
)

// msbingo decodes and encodes with a foreign implementation. It panics on inputs
// it does not know, so that is an error here.
func msbingo[T any](run func() (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("msbingo panics: %v", p)
		}
	}()
	return run()
}

func msbingoXML(b []byte) (string, error) {
	return msbingo(func() (string, error) { return nbfs.NewDecoder().Decode(bytes.NewReader(b)) })
}

// sameAsMsbingo compares the trees that both decoders make of a message.
func sameAsMsbingo(t *testing.T, b []byte) {
	t.Helper()
	e, err := Decode(b, Defaults)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	text, err := msbingoXML(b)
	if err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	// It reads UTF-16 unit by unit, and makes two of a pair of surrogates.
	fox := strings.NewReplacer("🦊", "fox", "\ufffd\ufffd@", "fox@")
	got, want := fox.Replace(plainOf(e).String()), fox.Replace(plainXML(t, []byte(text)).String())
	if got != want {
		t.Errorf("% x\ngot  %s\nwant %s", b, got, want)
	}
}

func TestDecodesAsMsbingoDoes(t *testing.T) {
	files, err := filepath.Glob("testdata/agent/*.bin")
	if err != nil || len(files) == 0 {
		t.Fatal("no messages", err)
	}
	for _, f := range files {
		sameAsMsbingo(t, read(t, filepath.Base(f)))
	}
	for _, x := range examples {
		// It ends no element after an array, and knows no end of a list that ends
		// the element as well.
		if b := unhex(t, x.hex); !bytes.Contains(b, []byte{array, 0x40}) && b[len(b)-1] != endList|1 {
			sameAsMsbingo(t, b)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		sameAsMsbingo(t, randomMessage(r))
	}
}

// This keeps to the texts that msbingo's encoder can write. (Of a list, it ends
// the element at the start, which no reader of the specification takes.)
func TestReadsWhatMsbingoWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	texts := []string{"0", "1", "true", "false", "-1", "127", "128", "-32769", "2147483648", "-9223372036854775808", "18446744073709551615", "QUJDRA==",
		"Envelope", "33221100-5544-7766-8899-aabbccddeeff", "urn:uuid:33221100-5544-7766-8899-aabbccddeeff", "2.5", "Zoë-🦊", strings.Repeat("né", 300)}
	for range 300 {
		var b strings.Builder
		b.WriteString(`<s:Envelope xmlns:s="` + NSSoap + `" xmlns:longer="urn:x"><s:Body>`)
		for range 1 + r.IntN(5) {
			fmt.Fprintf(&b, `<longer:item s:role="urn:y-%d"><plain xmlns="urn:z">%s</plain></longer:item>`, r.IntN(9), texts[r.IntN(len(texts))])
		}
		b.WriteString(`</s:Body></s:Envelope>`)
		msg, err := msbingo(func() ([]byte, error) { return nbfs.NewEncoder().Encode(strings.NewReader(b.String())) })
		if err != nil {
			t.Fatal(b.String(), err)
		}
		e, err := Decode(msg, Defaults)
		if err != nil {
			t.Fatalf("%s\n% x: %v", b.String(), msg, err)
		}
		if got, want := plainOf(e).String(), plainXML(t, []byte(b.String())).String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// randomMessage has elements and attributes of every record type, and texts of
// every type, with random values.
func randomMessage(r *rand.Rand) []byte {
	b := []byte{0x40, 1, 'd'}
	for _, l := range letters {
		b = append(b, xmlns, 1, byte(l), 2, 'n', byte(l))
	}
	b = append(b, xmlns, 3, 'p', 'r', 'e', 1, 'n')
	for range 1 + r.IntN(8) {
		switch kind := byte(shortElement + r.IntN(lastElement-shortElement+1)); {
		case kind == element:
			b = append(b, kind, 3, 'p', 'r', 'e', 1, 'm')
		case kind == dictElement:
			b = append(b, kind, 3, 'p', 'r', 'e', 2)
		case kind == shortDictElement, kind >= prefixDictElement && kind < prefixElement:
			b = append(b, kind, 0x98, 0x07) // a two-byte id
		default:
			b = append(b, kind, 2, 0xC3, 0xBC)
		}
		for _, l := range letters[:r.IntN(4)] {
			kind := prefixAttribute + byte(l-'a')
			if r.IntN(2) == 0 {
				b = append(b, kind-prefixAttribute+prefixDictAttribute, 0x0A)
			} else {
				b = append(b, kind, 1, 'm')
			}
			b = randomText(r, b, 0)
		}
		b = randomText(r, b, 1)
	}
	return append(b, endElement)
}

func randomText(r *rand.Rand, b []byte, end byte) []byte {
	some := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(r.Uint32())
		}
		return out
	}
	ascii := func(n int) []byte {
		out := some(n)
		for i := range out {
			out[i] = 'A' + out[i]%50
		}
		return out
	}
	for {
		kind := byte(zero + 2*r.IntN((lastText-zero)/2+1))
		n := r.IntN(300)
		switch kind {
		case endList, startList:
			b = append(b, startList, one, trueText, endList)
			if end != 0 {
				b = append(b, endElement)
			}
			return b
		case timeSpan, dateTime, decimalText, floatText, doubleText:
			continue // it prints these otherwise: TestTexts
		case dictText:
			return append(b, kind|end, 0x96, 0x07)
		case qnameText:
			return append(b, kind|end, byte(r.IntN(26)), 0x96, 0x07)
		case boolText:
			return append(b, kind|end, byte(r.IntN(2)))
		case chars8, bytes8:
			n %= 256
			return append(append(b, kind|end, byte(n)), ascii(n)...)
		case unicode8:
			n %= 128
			b = append(b, kind|end, byte(2*n))
		case chars16, bytes16:
			return append(binary.LittleEndian.AppendUint16(append(b, kind|end), uint16(n)), ascii(n)...)
		case unicode16:
			b = binary.LittleEndian.AppendUint16(append(b, kind|end), uint16(2*n))
		case chars32, bytes32:
			return append(binary.LittleEndian.AppendUint32(append(b, kind|end), uint32(n)), ascii(n)...)
		case unicode32:
			b = binary.LittleEndian.AppendUint32(append(b, kind|end), uint32(2*n))
		default:
			size, _ := fixed(kind)
			return append(append(b, kind|end), some(size)...)
		}
		for range n {
			b = binary.LittleEndian.AppendUint16(b, uint16(0x4E00+r.IntN(0x4000)))
		}
		return b
	}
}
