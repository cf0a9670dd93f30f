package domain_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"skyrealm/domain"
	"skyrealm/domain/dit"
)

// spellings are ways to write a name that somebody or something takes for the
// name itself.
func spellings(name string) []string {
	out := []string{name, strings.ToUpper(name), strings.ToTitle(name[:1]) + name[1:], name + " ", " " + name, name + "\u200b", name + ".",
		name + "\x00", name + "\u00a0", "\u202e" + name}
	for _, r := range []rune{'a', 'e', 's', 'k', '.', '/', '1'} {
		for _, twin := range twins[r] {
			if i := strings.IndexRune(name, r); i >= 0 {
				out = append(out, name[:i]+twin+name[i+1:])
			}
		}
	}
	return out
}

// twins are characters whose NFKC form, or simple case folding, is the ASCII one.
var twins = map[rune][]string{
	'a': {"ａ", "ª", "𝐚", "ⓐ"}, 'e': {"ｅ", "ⅇ", "𝐞"}, 's': {"ſ", "ｓ", "ˢ"}, 'k': {"\u212a", "ｋ"}, '.': {"．", "․"}, '/': {"／"}, '1': {"１", "¹"},
}

// TestCollidingNames (trust.md K14): no way of writing makes two accounts of one
// name, by any path that an administrator of the domain has.
func TestCollidingNames(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	h.user("alice", map[string]any{"onPremisesSamAccountName": "alice"})
	h.sync()
	admin := h.rep.BySAM("admin")
	add := func(rdn string, pairs ...string) error {
		return h.dir.Add(h.ctx, admin, dit.MustParseDN(rdn+",OU=Labs,"+base), mods(pairs...))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")))
	const host = "ws1.aadds.contoso.test"
	must(add("CN=WS1", "objectClass", "computer", "sAMAccountName", "WS1$", "servicePrincipalName", "HOST/"+host))
	must(add("CN=web", "objectClass", "user", "sAMAccountName", "web", "servicePrincipalName", "HTTP/"+host, "userPrincipalName", "web@contoso.test"))
	must(add("CN=vic", "objectClass", "user", "sAMAccountName", "vic"))
	vic := dit.MustParseDN("CN=vic,OU=Labs," + base)
	if o := h.rep.ByService("http/" + host); o == nil || o.SAM != "web" {
		t.Fatalf("the name that is written out is not first: %+v", o)
	}

	tries, before := 0, h.rep.Len()
	refused := func(path, value string, err error) {
		t.Helper()
		var c *domain.ConstraintError
		if tries++; !errors.Is(err, domain.ErrExists) && !errors.As(err, &c) {
			t.Errorf("%s %q: %v", path, value, err)
		}
	}
	for _, attr := range []struct {
		name, class, value string
	}{
		{"sAMAccountName", "user", "alice"}, {"sAMAccountName", "user", "krbtgt"}, {"sAMAccountName", "user", "ws1"}, {"sAMAccountName", "user", "ws1$"},
		{"sAMAccountName", "computer", "ws1$"}, {"sAMAccountName", "computer", "ws1"}, {"sAMAccountName", "group", "alice"},
		{"userPrincipalName", "user", "alice@contoso.test"}, {"userPrincipalName", "user", "alice@aadds.contoso.test"},
		{"userPrincipalName", "computer", "web@contoso.test"}, {"userPrincipalName", "user", "web@aadds.contoso.test"},
		{"userPrincipalName", "user", "krbtgt@aadds.contoso.test"},
		{"servicePrincipalName", "user", "HTTP/" + host}, {"servicePrincipalName", "computer", "host/" + host},
		{"servicePrincipalName", "user", "kadmin/changepw"}, {"servicePrincipalName", "user", "HTTP/" + host + "@AADDS.CONTOSO.TEST"},
		// What stands for HOST/ of the domain controller is the controller's.
		{"servicePrincipalName", "user", "cifs/dc1.aadds.contoso.test"}, {"servicePrincipalName", "computer", "rpcss/dc1"},
		{"servicePrincipalName", "user", "krbtgt/aadds.contoso.test"},
	} {
		for i, value := range spellings(attr.value) {
			refused("add "+attr.class, value, add(fmt.Sprintf("CN=x%d", i), "objectClass", attr.class, attr.name, value))
			if attr.class == "user" {
				refused("modify", value, h.dir.Modify(h.ctx, admin, vic, mods(attr.name, value)))
			}
		}
	}
	if tries < 300 {
		t.Errorf("only %d spellings", tries)
	}
	if now := h.rep.Len(); now != before {
		t.Errorf("%d objects came into being", now-before)
	}
	// A computer may be named like a person: machines are named after their owners.
	must(add("CN=ALICE-PC", "objectClass", "computer", "sAMAccountName", "ALICE$"))
	must(add("CN=muller", "objectClass", "user", "sAMAccountName", "Müller", "userPrincipalName", "Jörg.Müller@contoso.test"))
}

// Two administrators, each on a replica of their own, add one SPN at the same
// time: one of them is told that it is taken.
func TestConcurrentAdds(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	if err := h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")); err != nil {
		t.Fatal(err)
	}
	for _, attr := range []string{"servicePrincipalName HTTP/web.aadds.contoso.test", "userPrincipalName svc@contoso.test"} {
		name, value, _ := strings.Cut(attr, " ")
		var all sync.WaitGroup
		results := make(chan error, 8)
		for i := range cap(results) {
			all.Go(func() {
				dn := dit.MustParseDN(fmt.Sprintf("CN=%.1s%d,OU=Labs,%s", name, i, base))
				results <- h.dir.Add(h.ctx, admin, dn, mods("objectClass", "user", name, value))
			})
		}
		all.Wait()
		close(results)
		in := 0
		for err := range results {
			var c *domain.ConstraintError
			switch {
			case err == nil:
				in++
			case !errors.Is(err, domain.ErrExists) && !errors.As(err, &c):
				t.Errorf("%s: %v", name, err)
			}
		}
		if in != 1 {
			t.Errorf("%s: %d of 8 were added", name, in)
		}
	}
}
