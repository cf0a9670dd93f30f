package ldapmsg

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadMessage(t *testing.T) {
	var stream []byte
	var want []Message
	for _, m := range requests() {
		want = append(want, m)
		stream = append(stream, encode(m)...)
	}
	big := Message{ID: 9, Tag: OpDeleteRequest, Op: &DeleteRequest{strings.Repeat("x", 100_000)}}
	want, stream = append(want, big), append(stream, encode(big)...)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(stream), "bytes": iotest.OneByteReader(bytes.NewReader(stream)), "halves": iotest.HalfReader(bytes.NewReader(stream))} {
		br := bufio.NewReaderSize(r, 4096)
		var buf []byte
		for i := range want {
			msg, err := ReadMessage(br, 1<<20, buf)
			if err != nil {
				t.Fatalf("%s: %d: %v", name, i, err)
			}
			if got, err := Decode(msg); err != nil || !same(got, want[i]) {
				t.Fatalf("%s: %d: %+v, %v", name, i, got, err)
			}
			buf = msg
		}
		if _, err := ReadMessage(br, 1<<20, buf); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
	for i := 1; i < 300; i++ {
		if _, err := ReadMessage(bufio.NewReader(bytes.NewReader(stream[len(stream)-100_020:][:i])), 1<<20, nil); err != io.ErrUnexpectedEOF && err != ErrNotLDAP {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
	for in, want := range map[string]error{
		"GET / HTTP/1.1\r\n": ErrNotLDAP, "\x16\x03\x01\x02\x00": ErrNotLDAP, "SSH-2.0-x": ErrNotLDAP, "\x00": ErrNotLDAP,
		"\x30\x80\x00\x00": ErrMalformed, "\x30\x85\x00\x00\x00\x00\x01": ErrMalformed, "\x30\x84\xff\xff\xff\xff": ErrMalformed,
		"\x30\x84\x7f\xff\xff\xff": ErrTooLarge, "\x30": io.ErrUnexpectedEOF, "\x30\x82\x01": io.ErrUnexpectedEOF, "": io.EOF,
	} {
		if _, err := ReadMessage(bufio.NewReader(strings.NewReader(in)), 256<<10, nil); err != want {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
	// The limit counts the whole message.
	wire := encode(big)
	for limit, want := range map[int]error{len(wire): nil, len(wire) + 1: nil, len(wire) - 1: ErrTooLarge} {
		if _, err := ReadMessage(bufio.NewReader(bytes.NewReader(wire)), limit, nil); err != want {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	// Six bytes that promise 2 GiB within a limit that allows it (trust.md L03).
	promise := "\x30\x84\x7f\x00\x00\x00" + strings.Repeat("x", 10_000)
	br := bufio.NewReader(strings.NewReader(promise))
	r := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			br.Reset(strings.NewReader(promise))
			ReadMessage(br, 1<<31-1, nil)
		}
	})
	if r.AllocedBytesPerOp() > 64<<10 {
		t.Errorf("a promise costs %d bytes", r.AllocedBytesPerOp())
	}
}

// FuzzReadMessage: however the stream is cut, the same messages come out.
func FuzzReadMessage(f *testing.F) {
	f.Add([]byte("\x30\x05\x02\x01\x01\x42\x00\x30\x05\x02\x01\x02\x42\x00"))
	f.Add([]byte("\x30\x84\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, pieces := bufio.NewReader(bytes.NewReader(stream)), bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(stream)), 16)
		for {
			a, err1 := ReadMessage(whole, 1<<16, nil)
			b, err2 := ReadMessage(pieces, 1<<16, make([]byte, 3))
			if err1 != err2 || !bytes.Equal(a, b) {
				t.Fatalf("%x %v, %x %v", a, err1, b, err2)
			}
			if err1 != nil {
				return
			}
		}
	})
}
