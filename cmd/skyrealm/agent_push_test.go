package main

import (
	"bytes"
	"testing"
	"time"
)

// What is no terminal gets a line now and then, and none of a push that is short.
func TestPlainProgress(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &plainProgress{w: &out, label: "sync", now: func() time.Time { return now }}
	for i := range 31 {
		p.set(i, 30)
		now = now.Add(time.Second)
	}
	if got := out.String(); got != "sync: 16%, 5 of 30\nsync: 33%, 10 of 30\nsync: 50%, 15 of 30\nsync: 66%, 20 of 30\nsync: 83%, 25 of 30\nsync: 100%, 30 of 30\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	p = &plainProgress{w: &out, label: "sync", now: func() time.Time { return now }}
	for i := range 1001 {
		p.set(i, 1000)
	}
	if out.Len() != 0 {
		t.Errorf("%q", &out)
	}
}
