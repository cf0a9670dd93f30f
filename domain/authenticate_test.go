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
		if _, err := w.rep.Authenticate(t.Context(), testNow, name, "\x00 no account has this password \x00"); !errors.Is(err, BadCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
