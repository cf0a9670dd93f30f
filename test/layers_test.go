package test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// module is the path in go.mod.
const module = "skyrealm"

// layer is a row of the house; imports point to a lower one.
type layer int

const (
	values layer = iota
	rules
	edges
)

// row says what a package may import of ours.
type row struct {
	pkg   string
	layer layer
	may   []string
	why   string
}

// table is §3 of the design. What is under cmd and test is wiring: it sees all.
var table = []row{
	{"der", values, nil, "every codec stands on it, so it stands on nothing"},
	{"sid", values, nil, "a value of Windows that the PAC, the directory and the store share"},
	{"secdesc", values, words("sid"), "a codec of Windows; what a right means, the rules know"},
	{"krb5", values, words("der"), "messages are bytes; keys and PACs are none of the codec's business"},
	{"krb5/etype", values, nil, "cryptography that a reviewer reads without the rest"},
	{"krb5/spake", values, words("der krb5 krb5/etype"), "a password proven in a group; what a conversation has said before, the KDC's cookie knows"},
	{"krb5/pkinit", values, words("der krb5 krb5/etype"), "certificates for passwords: messages and key agreement, without knowing whose"},
	{"krb5/pac", values, words("krb5/etype sid"), "its signatures are keyed checksums, its logon information is SIDs"},
	{"ntlm", values, words("sid"), "the three messages; whose password it is, domain knows"},
	{"nbfx", values, nil, "a codec of documents: what an operation means, the surface that mounts it knows"},
	{"gss", values, words("der krb5 krb5/etype krb5/pac ntlm"), "acceptors of both mechanisms, for whoever has a connection"},
	{"cred", values, words("krb5/etype"), "the forms of a password are keys and hashes"},
	{"domain/dit", values, words("sid"), "LDAP's data model without a server; objectSid compares as a SID"},

	{"tenant", rules, words("cred sid"), "it can seal a legacy hash; that it sees nothing of the domain keeps it from opening one"},
	{"domain", rules, words("tenant cred sid secdesc domain/dit krb5/etype krb5/pac ntlm"), "it follows the tenant, never the other way"},

	{"api", edges, words("api/sync api/graph api/oauth api/portal api/provisioning api/managed api/problem tenant cred"), "mounts the surfaces; what happens is the tenant's to say"},
	{"api/sync", edges, words("tenant cred api/problem"), "a surface knows no other surface"},
	{"api/graph", edges, words("tenant cred api/problem"), "a surface knows no other surface"},
	{"api/oauth", edges, words("tenant cred api/problem"), "a surface knows no other surface"},
	{"api/portal", edges, words("tenant cred api/problem"), "a surface knows no other surface"},
	{"api/provisioning", edges, words("tenant cred nbfx api/problem"), "a surface knows no other surface; its codec is a value"},
	{"api/managed", edges, words("tenant api/problem"), "administers the domain by functions that it is given: the API never sees the domain"},
	{"api/problem", edges, words("tenant cred"), "the one place that maps the rules' errors to HTTP"},
	{"kdc", edges, words("domain krb5 krb5/etype krb5/pac krb5/pkinit krb5/spake cred der sid"), "a sign-in touches the replica alone, so it survives a database outage"},
	{"ldapsrv", edges, words("domain domain/dit gss der sid ldapsrv/ldapmsg"), "reads the replica, writes through domain"},
	{"ldapsrv/ldapmsg", edges, words("der domain/dit"), "a codec that the locator uses too"},
	{"locator", edges, words("domain ldapsrv/ldapmsg sid"), "answers from what the domain is called; the CLDAP ping is an LDAP message"},
	{"agent", edges, words("cred krb5/etype sid nbfx"), "runs on another machine, against the API: it shares forms with the tenant, not rules"},
	{"store", edges, words("tenant domain domain/dit cred sid krb5/etype migrations store/pgchild"), "implements what the rules declare"},
	{"store/pgchild", edges, nil, "runs a server and knows nothing of what is in it"},
	{"migrations", values, nil, "SQL files and their embedding"},
}

func words(s string) []string { return strings.Fields(s) }

// forbidden to values and rules: they compute, and whoever calls them decides
// when it is, what chance says, and whom to talk to. A test can then replay a
// recorded conversation byte for byte.
var forbidden = []struct{ pkg, why string }{
	{"net", "I/O belongs to an edge (net/netip holds values and is fine)"},
	{"os", "files and the environment belong to an edge or to wiring"},
	{"database/sql", "rules declare a Store; store knows SQL"},
	{"math/rand", "randomness is an io.Reader passed in, and for secrets never this one"},
	{"crypto/rand", "randomness is an io.Reader passed in"},
}

// clocks are the functions of package time that read the machine's clock.
var clocks = words("Now Since Until")

// doors: one library, one package that knows it, so that replacing or fixing a
// library is the work of one place. Tests use libraries as oracles as they like.
var doors = []struct{ lib, in, why string }{
	{"github.com/jackc/pgx", "store", "only store knows SQL"},
	{"github.com/golang-migrate/migrate", "store", "the schema is the store's"},
	{"github.com/go-chi/chi", "api", "routing is decided in one place"},
	{"github.com/miekg/dns", "locator", "nothing else speaks DNS"},
	{"github.com/oiweiwei/go-msrpc", "agent", "DRSUAPI is how an agent reads an AD; as an encoder of PACs it costs 80 times ours"},
	{"github.com/jcmturner/gokrb5", "cmd", "a client and an oracle; it panics on short ciphertexts, so no server may hold it"},
	{"filippo.io", "krb5/spake", "arithmetic on points, for whoever can't do with ECDH; what may be done with a point is decided in one place"},
	{"github.com/vjeantet/ldapserver", "test", "the benchmark's baseline; it dies on an 8 kB bind"},
	{"github.com/lor00x/goldap", "test", "comes with the baseline; it encodes message ID 128 as -128"},
}

// socketsIn are the edges whose sockets stand in serve.go alone: the rest of
// them is a function from request to reply, which is what tests and fuzzers call.
var socketsIn = words("kdc ldapsrv locator")

// maxLines of a file that is no test. long may be longer: tables and generated code.
const maxLines = 500

var long = map[string]string{}

// file is one parsed Go file.
type file struct {
	path    string
	test    bool
	lines   int
	doc     string
	syntax  *ast.File
	imports map[string]string // local name to import path
}

// house maps a package's directory to its files.
type house map[string][]file

// load parses every Go file below fsys, but what stands in testdata, in hidden
// directories, and behind the build tag "tools" (which only pins modules).
func load(fsys fs.FS) (house, error) {
	h := house{}
	set := token.NewFileSet()
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if forTools(syntax) {
			return nil
		}
		f := file{path: name, test: strings.HasSuffix(name, "_test.go"), lines: bytes.Count(src, []byte("\n")),
			doc: syntax.Doc.Text(), syntax: syntax, imports: map[string]string{}}
		for _, spec := range syntax.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			local := path.Base(p)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			if local == "_" || local == "." {
				local += p // several may stand side by side
			}
			f.imports[local] = p
		}
		dir := path.Dir(name)
		h[dir] = append(h[dir], f)
		return nil
	})
	return h, err
}

func forTools(f *ast.File) bool {
	for _, group := range f.Comments {
		for _, c := range group.List {
			if x, err := constraint.Parse(c.Text); err == nil && group.Pos() < f.Package && x.String() == "tools" {
				return true
			}
		}
	}
	return false
}

// wiring tells whether a package may see everything.
func wiring(pkg string) bool { return under(pkg, "cmd") || under(pkg, "test") }

// under tells whether p is root or below it.
func under(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func rowOf(pkg string) (row, bool) {
	i := slices.IndexFunc(table, func(r row) bool { return r.pkg == pkg })
	if i < 0 {
		return row{}, false
	}
	return table[i], true
}

// code calls f for each file that is no test.
func (h house) code(f func(pkg string, f file)) {
	for pkg, files := range h {
		for _, one := range files {
			if !one.test {
				f(pkg, one)
			}
		}
	}
}

// uses calls f for each name.selector of a file whose name is an import.
func (f file) uses(visit func(importPath, name string)) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && f.imports[x.Name] != "" {
				visit(f.imports[x.Name], sel.Sel.Name)
			}
		}
		return true
	})
}

// A checker returns what breaks its rule.
type checker func(house) []string

func checkTable(h house) (bad []string) {
	for pkg := range h {
		if _, ok := rowOf(pkg); !ok && !wiring(pkg) {
			bad = append(bad, fmt.Sprintf("package %s is not in the table: give it a row, or put its code where it belongs", pkg))
		}
	}
	h.code(func(pkg string, f file) {
		r, ok := rowOf(pkg)
		if !ok {
			return
		}
		for _, p := range f.imports {
			if ours, ok := strings.CutPrefix(p, module+"/"); ok && !slices.Contains(r.may, ours) {
				bad = append(bad, fmt.Sprintf("%s imports %s, which %s may not: %s", f.path, ours, pkg, r.why))
			}
		}
	})
	return bad
}

func checkPure(h house) (bad []string) {
	h.code(func(pkg string, f file) {
		if r, ok := rowOf(pkg); !ok || r.layer == edges {
			return
		}
		for _, p := range f.imports {
			for _, no := range forbidden {
				if under(p, no.pkg) && p != "net/netip" {
					bad = append(bad, fmt.Sprintf("%s imports %s: %s", f.path, p, no.why))
				}
			}
		}
		f.uses(func(p, name string) {
			if p == "time" && slices.Contains(clocks, name) {
				bad = append(bad, fmt.Sprintf("%s uses time.%s: the clock is passed in", f.path, name))
			}
		})
	})
	return bad
}

func checkSockets(h house) (bad []string) {
	h.code(func(pkg string, f file) {
		if !slices.Contains(socketsIn, pkg) || path.Base(f.path) == "serve.go" {
			return
		}
		f.uses(func(p, name string) {
			if (p == "net" || p == "crypto/tls") && (strings.HasPrefix(name, "Listen") || strings.HasPrefix(name, "Dial")) {
				bad = append(bad, fmt.Sprintf("%s uses %s.%s: sockets stand in serve.go", f.path, p, name))
			}
		})
	})
	return bad
}

func checkComments(h house) (bad []string) {
	for pkg, files := range h {
		if !slices.ContainsFunc(files, func(f file) bool { return !f.test }) {
			continue // only tests
		}
		if !slices.ContainsFunc(files, func(f file) bool {
			return !f.test && (strings.HasPrefix(f.doc, "Package "+f.syntax.Name.Name+" ") || strings.HasPrefix(f.doc, "Command "))
		}) {
			bad = append(bad, fmt.Sprintf("package %s has no package comment: say what it owns and by which references", pkg))
		}
	}
	return bad
}

func checkLength(h house) (bad []string) {
	h.code(func(_ string, f file) {
		if f.lines > maxLines && long[f.path] == "" {
			bad = append(bad, fmt.Sprintf("%s has %d lines, more than %d: one subject per file", f.path, f.lines, maxLines))
		}
	})
	return bad
}

func checkDoors(h house) (bad []string) {
	h.code(func(pkg string, f file) {
		for _, p := range f.imports {
			for _, d := range doors {
				// A door's own subpackages are behind the door; the wiring and
				// the tests of the whole may hold any library but the baseline.
				if under(p, d.lib) && !under(pkg, d.in) && !under(pkg, "test") {
					bad = append(bad, fmt.Sprintf("%s imports %s, whose door is %s: %s", f.path, p, d.in, d.why))
				}
			}
		}
	})
	return bad
}

// checkNames: a package is named after what it owns. These names own anything.
func checkNames(h house) (bad []string) {
	for pkg := range h {
		for part := range strings.SplitSeq(pkg, "/") {
			if slices.Contains(words("internal pkg util utils common helper helpers misc"), part) {
				bad = append(bad, fmt.Sprintf("package %s: %q says nothing about what it owns", pkg, part))
			}
		}
	}
	return bad
}

// checkSkips: a test may be skipped for -short, for the user it runs as, or by a
// function that turns the skip into a failure where CONFORMANCE asks for that.
func checkSkips(h house) (bad []string) {
	for _, files := range h {
		for _, f := range files {
			for _, d := range f.syntax.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				var skips, excused bool
				ast.Inspect(fn, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.SelectorExpr:
						skips = skips || f.test && slices.Contains(words("Skip Skipf SkipNow"), n.Sel.Name)
						excused = excused || slices.Contains(words("Short Geteuid"), n.Sel.Name)
					case *ast.BasicLit:
						excused = excused || n.Value == `"CONFORMANCE"`
					}
					return true
				})
				if skips && !excused {
					bad = append(bad, fmt.Sprintf("%s: %s skips in silence: ask CONFORMANCE first", f.path, fn.Name.Name))
				}
			}
		}
	}
	return bad
}

func TestLayers(t *testing.T) {
	h, err := load(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(h["der"]) == 0 || len(h["test"]) == 0 {
		t.Fatal("the source tree is not where this test looks for it")
	}
	for name, check := range map[string]checker{
		"imports follow the table":      checkTable,
		"values and rules are pure":     checkPure,
		"sockets stand in serve.go":     checkSockets,
		"every package has a comment":   checkComments,
		"no file is too long":           checkLength,
		"one door per library":          checkDoors,
		"packages say what they own":    checkNames,
		"no test skips in silence":      checkSkips,
		"a long file is there and long": checkLongList,
	} {
		t.Run(name, func(t *testing.T) {
			bad := check(h)
			slices.Sort(bad)
			for _, b := range bad {
				t.Error(b)
			}
		})
	}
}

// checkLongList keeps the list of exceptions from outliving them.
func checkLongList(h house) (bad []string) {
	for name := range long {
		if !slices.ContainsFunc(h[path.Dir(name)], func(f file) bool { return f.path == name && f.lines > maxLines }) {
			bad = append(bad, name+" is named as too long and is not")
		}
	}
	return bad
}

// The table itself keeps the house's shape: imports point down, and among edges
// only from a package to its own parts or to the shared ones named here.
func TestTableIsLayered(t *testing.T) {
	for _, bad := range layered(table) {
		t.Error(bad)
	}
}

func layered(table []row) (bad []string) {
	sideways := map[string]string{
		"locator ldapsrv/ldapmsg": "the CLDAP ping is an LDAP message",
		"domain tenant":           "the domain follows the tenant",
	}
	byName := map[string]row{}
	for _, r := range table {
		if _, twice := byName[r.pkg]; twice {
			bad = append(bad, r.pkg+" has two rows")
		}
		if byName[r.pkg] = r; r.why == "" {
			bad = append(bad, r.pkg+" has no reason")
		}
	}
	for _, r := range table {
		for _, m := range r.may {
			to, ok := byName[m]
			switch {
			case !ok:
				bad = append(bad, fmt.Sprintf("%s may import %s, which has no row", r.pkg, m))
			case to.layer > r.layer:
				bad = append(bad, fmt.Sprintf("%s may import %s, which is above it", r.pkg, m))
			case to.layer < r.layer || r.layer == values:
			case under(m, r.pkg), path.Dir(m) == path.Dir(r.pkg) && m == "api/problem", sideways[r.pkg+" "+m] != "":
			default:
				bad = append(bad, fmt.Sprintf("%s may import its neighbour %s", r.pkg, m))
			}
		}
	}
	return bad
}

// Each checker is fed a house with one fault, and must find that one alone; the
// same house without the fault is in order.
func TestCheckersSeeFaults(t *testing.T) {
	good := map[string]string{
		"der/doc.go":        "// Package der reads.\npackage der\n",
		"cred/cred.go":      "// Package cred holds.\npackage cred\nimport _ \"skyrealm/krb5/etype\"\n",
		"tenant/tenant.go":  "// Package tenant rules.\npackage tenant\nimport (\n\"net/netip\"\n\"time\"\n\"skyrealm/cred\"\n)\nvar _ = time.Second\nvar _ netip.Addr\nvar _ cred.X\n",
		"tenant/a_test.go":  "package tenant\nimport (\n\"os\"\n\"time\"\n_ \"github.com/jackc/pgx/v5\"\n_ \"skyrealm/store\"\n)\nvar _ = os.Args\nvar _ = time.Now\nfunc missing(t interface{ Skip() }) {\nif os.Getenv(\"CONFORMANCE\") == \"\" {\nt.Skip()\n}\n}\n",
		"kdc/serve.go":      "// Package kdc answers.\npackage kdc\nimport \"net\"\nvar _ = net.Listen\n",
		"kdc/handle.go":     "package kdc\nimport \"net\"\nvar _ net.Addr\n",
		"store/store.go":    "// Package store keeps.\npackage store\nimport (\n_ \"github.com/jackc/pgx/v5\"\n_ \"skyrealm/tenant\"\n)\n",
		"cmd/skyrealm/m.go": "// Command skyrealm is all.\npackage main\nimport (\n_ \"skyrealm/kdc\"\n_ \"skyrealm/store\"\n_ \"github.com/jcmturner/gokrb5/v8/client\"\n)\n",
		"test/bench/b.go":   "// Package bench measures.\npackage bench\nimport _ \"github.com/vjeantet/ldapserver\"\n",
		"deps.go":           "//go:build tools\n\npackage skyrealm\nimport _ \"github.com/jackc/pgx/v5\"\n",
		"der/testdata/x.go": "this is not Go",
	}
	manyLines := "// Package der reads.\npackage der\n" + strings.Repeat("//\n", maxLines)
	for name, c := range map[string]struct {
		check       checker
		path, src   string
		wantMention string
	}{
		"value imports an edge":      {checkTable, "cred/bad.go", "package cred\nimport _ \"skyrealm/store\"\n", "cred/bad.go imports store"},
		"tenant imports domain":      {checkTable, "tenant/bad.go", "package tenant\nimport _ \"skyrealm/domain\"\n", "imports domain"},
		"edge imports an edge":       {checkTable, "kdc/bad.go", "package kdc\nimport x \"skyrealm/ldapsrv\"\nvar _ x.Y\n", "imports ldapsrv"},
		"package without a row":      {checkTable, "stuff/x.go", "// Package stuff is.\npackage stuff\n", "package stuff is not in the table"},
		"tests without a row":        {checkTable, "ldapsrv/x/x_test.go", "package x\n", "ldapsrv/x is not in the table"},
		"rules import net":           {checkPure, "tenant/bad.go", "package tenant\nimport \"net\"\nvar _ net.IP\n", "imports net"},
		"rules import net/http":      {checkPure, "tenant/bad.go", "package tenant\nimport _ \"net/http\"\n", "imports net/http"},
		"values import os":           {checkPure, "der/bad.go", "package der\nimport _ \"os\"\n", "imports os"},
		"rules import database/sql":  {checkPure, "tenant/bad.go", "package tenant\nimport _ \"database/sql/driver\"\n", "database/sql/driver"},
		"rules import math/rand/v2":  {checkPure, "tenant/bad.go", "package tenant\nimport _ \"math/rand/v2\"\n", "math/rand/v2"},
		"rules read the clock":       {checkPure, "tenant/bad.go", "package tenant\nimport \"time\"\nvar _ = time.Now()\n", "time.Now"},
		"clock under another name":   {checkPure, "tenant/bad.go", "package tenant\nimport t \"time\"\nvar now = t.Now\n", "time.Now"},
		"clock by way of Since":      {checkPure, "tenant/bad.go", "package tenant\nimport \"time\"\nvar _ = time.Since(time.Time{})\n", "time.Since"},
		"socket beside serve.go":     {checkSockets, "kdc/bad.go", "package kdc\nimport \"net\"\nvar _ = net.ListenPacket\n", "net.ListenPacket"},
		"dialer beside serve.go":     {checkSockets, "kdc/bad.go", "package kdc\nimport \"net\"\nvar _ net.Dialer\n", "net.Dialer"},
		"TLS listener beside it":     {checkSockets, "kdc/bad.go", "package kdc\nimport \"crypto/tls\"\nvar _ = tls.Listen\n", "tls.Listen"},
		"no package comment":         {checkComments, "der/doc.go", "package der\n", "package der has no package comment"},
		"comment about another":      {checkComments, "der/doc.go", "// Package sid is.\npackage der\n", "package der has no package comment"},
		"501 lines and more":         {checkLength, "der/doc.go", manyLines, "502 lines"},
		"pgx in an edge":             {checkDoors, "kdc/bad.go", "package kdc\nimport _ \"github.com/jackc/pgx/v5/pgxpool\"\n", "whose door is store"},
		"gokrb5 in a server":         {checkDoors, "kdc/bad.go", "package kdc\nimport _ \"github.com/jcmturner/gokrb5/v8/messages\"\n", "whose door is cmd"},
		"the baseline in the wiring": {checkDoors, "cmd/skyrealm/bad.go", "package main\nimport _ \"github.com/vjeantet/ldapserver\"\n", "whose door is test"},
		"a package named util":       {checkNames, "util/x.go", "package util\n", "says nothing"},
		"a silent skip":              {checkSkips, "der/bad_test.go", "package der\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skip() }\n", "TestX skips in silence"},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for p, src := range good {
				fsys[p] = &fstest.MapFile{Data: []byte(src)}
			}
			h, err := load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			if bad := c.check(h); len(bad) != 0 {
				t.Fatalf("complains about a house in order: %v", bad)
			}
			fsys[c.path] = &fstest.MapFile{Data: []byte(c.src)}
			if h, err = load(fsys); err != nil {
				t.Fatal(err)
			}
			if bad := c.check(h); len(bad) != 1 || !strings.Contains(bad[0], c.wantMention) {
				t.Errorf("found %q, want one complaint with %q", bad, c.wantMention)
			}
		})
	}
	for name, c := range map[string]struct {
		table []row
		want  string
	}{
		"upwards":   {[]row{{"a", values, words("b"), "x"}, {"b", rules, nil, "x"}}, "above it"},
		"neighbour": {[]row{{"a", edges, words("b"), "x"}, {"b", edges, nil, "x"}}, "neighbour"},
		"no row":    {[]row{{"a", edges, words("b"), "x"}}, "has no row"},
		"no reason": {[]row{{"a", edges, nil, ""}}, "no reason"},
		"two rows":  {[]row{{"a", edges, nil, "x"}, {"a", edges, nil, "x"}}, "two rows"},
	} {
		if bad := layered(c.table); len(bad) != 1 || !strings.Contains(bad[0], c.want) {
			t.Errorf("%s: found %q, want one complaint with %q", name, bad, c.want)
		}
	}
	long["der/short.go"] = "a table"
	defer delete(long, "der/short.go")
	if bad := checkLongList(house{}); len(bad) == 0 {
		t.Error("an exception for a file that is not there stands")
	}
}
