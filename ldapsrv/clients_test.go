package ldapsrv

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// tool runs a client of OpenLDAP's against the server.
func (g *rig) tool(name, url string, args ...string) (string, int) {
	g.t.Helper()
	path := harness.Need(g.t, name)
	cert, err := certificate()
	if err != nil {
		g.t.Fatal(err)
	}
	if g.pem == "" {
		g.pem = writeFile(g.t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	}
	cmd := exec.CommandContext(g.t.Context(), path, append([]string{"-x", "-H", url}, args...)...)
	cmd.Env = append(os.Environ(), "LDAPCONF=/dev/null", "LDAPTLS_CACERT="+g.pem, "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		g.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func TestOpenLDAPClients(t *testing.T) {
	g := start(t, crowd(t).replica())
	plain, secure := "ldap://"+g.ldap, "ldaps://"+g.ldaps
	for _, c := range []struct {
		name, url string
		args      []string
		status    int
		want      string
	}{
		{"ldapwhoami", plain, []string{"-D", "bjorn@contoso.test", "-w", bornPW}, 0, `u:AADDS\bjorn`},
		{"ldapwhoami", plain, []string{"-ZZ", "-D", `AADDS\ada`, "-w", adaPW}, 0, `u:AADDS\ada`},
		{"ldapwhoami", secure, []string{"-D", adaDN, "-w", adaPW}, 0, `u:AADDS\ada`},
		{"ldapwhoami", secure, []string{"-ZZ"}, 1, "TLS is on already"},
		{"ldapwhoami", plain, nil, 0, "anonymous"},
		{"ldapsearch", plain, []string{"-LLL", "-D", adaDN, "-w", adaPW, "-b", base, "-E", "pr=100/noprompt", "(cn=Many*)", "1.1"}, 0, "Many 1199"},
		{"ldapsearch", plain, []string{"-D", adaDN, "-w", adaPW, "-b", base, "(cn=Many*)", "1.1"}, 4, "Size limit exceeded"},
		{"ldapsearch", plain, []string{"-D", adaDN, "-w", adaPW, "-b", "DC=contoso,DC=test"}, 10, "ldap://contoso.test/DC=contoso,DC=test"},
		{"ldapsearch", plain, []string{"-D", adaDN, "-w", adaPW, "-b", base, "-E", "!sss=cn"}, 12, "UNAVAIL_EXTENSION"},
	} {
		out, status := g.tool(c.name, c.url, c.args...)
		if status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s %s %v: status %d, want %d and %q\n%.2000s", c.name, c.url, c.args, status, c.status, c.want, out)
		}
	}
}

// ldapsearch -f sends one search a line over one connection: message IDs go past
// 127, where an encoder that forgets the sign makes -128 of 128.
func TestManySearchesOfOneClient(t *testing.T) {
	g := start(t, crowd(t).replica())
	var lines strings.Builder
	const many = 200
	for i := range many {
		fmt.Fprintf(&lines, "many%04d\n", i)
	}
	file := writeFile(t, "names", []byte(lines.String()))
	out, status := g.tool("ldapsearch", "ldap://"+g.ldap, "-LLL", "-D", adaDN, "-w", adaPW, "-b", base, "-f", file, "(sAMAccountName=%s)", "cn")
	if n := strings.Count(out, "\ncn: Many "); status != 0 || n != many {
		t.Errorf("status %d, %d entries\n%.2000s", status, n, out)
	}
}
