package ldapsrv

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
)

// What restricts an account holds for a bind, with AD's codes, and is told to who
// knows the password only. The account's end is that of its sessions.
func TestBindRestrictions(t *testing.T) {
	w := people(t)
	var ada domain.Record
	for _, rec := range w.records {
		if rec.SAM == "ada" {
			ada = rec
		}
	}
	r := w.replica()
	g := start(t, r)
	with := func(attr string, value []byte) {
		t.Helper()
		ada.Attrs = map[string][][]byte{attr: {value}}
		if err := r.Apply([]domain.Record{w.put(ada)}, 0); err != nil {
			t.Fatal(err)
		}
	}
	at := func(t time.Time) []byte { return strconv.AppendInt(nil, domain.FileTime(t), 10) }
	for _, c := range []struct {
		attr, want string
		value      []byte
	}{
		{"accountExpires", "data 701", at(moment)},
		{"accountExpires", "", at(moment.Add(time.Second))},
		{"logonHours", "data 530", make([]byte, 21)},
		{"userWorkstations", "data 531", []byte("PC1")},
	} {
		with(c.attr, c.value)
		err := g.dial().Bind(adaDN, adaPW)
		if c.want == "" && err != nil || c.want != "" && (code(err) != 49 || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.attr, err, c.want)
		}
		if err := g.dial().Bind(adaDN, "wrong"); !strings.Contains(err.Error(), "data 52e") {
			t.Errorf("%s: who does not know the password is told %v", c.attr, err)
		}
	}
	with("description", []byte("free"))
	c := g.bound(adaDN, adaPW)
	with("accountExpires", at(moment))
	if who := whoAmI(t, c); who != "" {
		t.Errorf("a session goes on after the account's end: %q", who)
	}
}
