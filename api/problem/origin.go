package problem

import (
	"net/http"
	"strings"

	"skyrealm/tenant"
)

// What an agent says of itself is kept on one line of this length.
const maxOrigin = 100

// headerMachine is where agents of the real service name their machine (§A3 of
// the wire reference).
const headerMachine = "x-ms-aadmsods-machineid"

// OriginOf says who sent a batch, as far as it says: build is what it calls its
// software's version.
func OriginOf(r *http.Request, caller *Caller, build string) tenant.Origin {
	o := tenant.Origin{Name: caller.Name(), Build: printable(build), Machine: printable(r.Header.Get(headerMachine))}
	if id, err := tenant.ParseID(From(r.Context()).ID); err == nil {
		o.Request = id
	}
	return o
}

// printable keeps what a stranger says of itself from breaking a line of a log.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, s)
	return s[:min(len(s), maxOrigin)]
}
