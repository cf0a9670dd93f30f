package domain

import (
	"errors"
	"testing"
)

// What an unknown name is compared with must open no account, also not one that
// has no NT hash of its own.
func TestNobodysPasswordOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.put(w.user("none", ""))
	for _, name := range []string{"none", "nobody"} {
		if o, err := w.rep.Authenticate(name, "\x00 no account has this password \x00"); o != nil || !errors.Is(err, BadCredentials) {
			t.Errorf("%s: %v, %v", name, o, err)
		}
	}
}
