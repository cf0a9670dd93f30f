package ldapmsg

import (
	"bufio"
	"errors"
	"io"

	"skyrealm/der"
)

// ReadMessage reads one whole message. It uses buf for it and allocates only
// when that is too small; the message is good until buf is used again. A
// message of more than limit bytes is [ErrTooLarge] before any of it is read.
//
// The buffer grows with the bytes that arrive, never by what the length
// promises: six bytes that declare 2 GiB cost nothing. A stream that ends
// between messages gives io.EOF, within one io.ErrUnexpectedEOF.
func ReadMessage(r *bufio.Reader, limit int, buf []byte) (msg []byte, err error) {
	need := 0
	for have := 1; need == 0; have++ {
		head, err := r.Peek(have)
		if err != nil {
			if errors.Is(err, io.EOF) && have > 1 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if der.Tag(head[0]) != der.Sequence {
			return nil, ErrNotLDAP
		}
		var ok bool
		if _, need, ok = der.Header(head); !ok {
			return nil, ErrMalformed
		}
	}
	if need > limit {
		return nil, ErrTooLarge
	}
	buf = buf[:0]
	for len(buf) < need {
		if len(buf) == cap(buf) {
			// Doubles: what a stranger makes us hold is twice what he sent.
			grown := make([]byte, len(buf), min(need, max(2*len(buf), 4096)))
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):min(need, cap(buf))])
		buf = buf[:len(buf)+n]
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}
