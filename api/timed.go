package api

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// workTime is how long a request may take once it has been read: a database that
// does not answer, and is not gone either, would hold it for ever. It is well over
// what the largest batch takes on a slow machine, and under what clients and the
// listener wait for an answer.
const workTime = 25 * time.Second

// timed ends a request's work in time. What it then answers is the surface's
// "not available now"; a write may have been on its way to the disk, and is to be
// sent again.
func (e *edge) timed(next http.Handler) http.Handler {
	work := e.WorkTime
	if work == 0 {
		work = workTime
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		// A slow client's time is bounded by the listener (readTime).
		over := time.AfterFunc(readTime+work, func() { cancel(context.DeadlineExceeded) })
		defer over.Stop()
		r = r.WithContext(ctx)
		if r.Body == nil || r.ContentLength == 0 {
			over.Reset(work)
		} else {
			r.Body = &wholeBody{ReadCloser: r.Body, read: sync.OnceFunc(func() { over.Reset(work) })}
		}
		next.ServeHTTP(w, r)
	})
}

// wholeBody calls read when it has been read to its end, whatever that was.
type wholeBody struct {
	io.ReadCloser
	read func()
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.read()
	}
	return n, err
}
