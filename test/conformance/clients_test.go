package conformance

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 NT hashes are made of it

	"skyrealm/test/harness"
)

// ntHash is what an on-premises directory keeps of a password.
func ntHash(password string) string {
	h := md4.New()
	for _, u := range utf16.Encode([]rune(password)) {
		h.Write([]byte{byte(u), byte(u >> 8)})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// says fails the test unless a text has all the others.
func says(t *testing.T, text string, all ...string) {
	t.Helper()
	for _, one := range all {
		if !strings.Contains(text, one) {
			t.Errorf("%q is not in:\n%s", one, text)
		}
	}
}

// status is a program's exit status.
func status(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// kerberos is a set of Kerberos programs with their cache and configuration.
type kerberos struct {
	*harness.Client
	t       *testing.T
	program string
	stdin   []string // the option that makes kinit read standard input
}

// mit returns MIT's programs. Lines of a krb5.conf may be given; they come before
// those that the service wrote.
func (w *world) mit(t *testing.T, conf ...string) *kerberos {
	t.Helper()
	return w.kerberos(t, "kinit", nil, conf)
}

func (w *world) heimdal(t *testing.T, conf ...string) *kerberos {
	t.Helper()
	return w.kerberos(t, "kinit.heimdal", []string{"--password-file=STDIN"}, conf)
}

func (w *world) kerberos(t *testing.T, program string, stdin, conf []string) *kerberos {
	t.Helper()
	k := &kerberos{Client: w.Client(t), t: t, program: harness.Need(t, program), stdin: stdin}
	if len(conf) > 0 {
		k.Setenv("KRB5_CONFIG", file(t, "krb5.conf", strings.Join(conf, "\n")+"\n")+":"+w.Krb5Conf)
	}
	return k
}

// kinit signs in, and has to succeed.
func (k *kerberos) kinit(password string, args ...string) string {
	k.t.Helper()
	return k.Run(password+"\n", k.program, append(k.stdin, args...)...)
}

// refused signs in, has to fail, and returns what the user is told.
func (k *kerberos) refused(password string, args ...string) string {
	k.t.Helper()
	out, err := k.Try(password+"\n", k.program, append(k.stdin, args...)...)
	if err == nil {
		k.t.Errorf("kinit %s succeeded:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// traced is MIT's kinit that tells all that it does.
func (k *kerberos) traced(password string, args ...string) string {
	k.t.Helper()
	k.Setenv("KRB5_TRACE", "/dev/stderr")
	defer k.Setenv("KRB5_TRACE", "/dev/null")
	return k.kinit(password, args...)
}

// directory is OpenLDAP's programs as one user.
type directory struct {
	*harness.Client
	t    *testing.T
	base string
	args []string
}

// ldap returns OpenLDAP's programs over LDAPS.
func (w *world) ldap(t *testing.T, name, password string) *directory {
	t.Helper()
	return w.ldapAt(t, "ldaps://"+w.LDAPS, "-D", name, "-w", password)
}

func (w *world) ldapAdmin(t *testing.T) *directory {
	t.Helper()
	return w.ldapAt(t, "ldaps://"+w.LDAPS, "-D", w.AdminUPN, "-y", w.AdminPasswordFile)
}

func (w *world) ldapAt(t *testing.T, url string, args ...string) *directory {
	t.Helper()
	return &directory{Client: w.Client(t), t: t, base: w.BaseDN, args: append([]string{"-x", "-H", url}, args...)}
}

// try runs one of the programs. Its exit status is the LDAP result code, where
// that is below 256.
func (d *directory) try(stdin, program string, args ...string) (string, int) {
	d.t.Helper()
	out, err := d.Try(stdin, harness.Need(d.t, program), append(d.args[:len(d.args):len(d.args)], args...)...)
	return out, status(err)
}

// run is try for what has to succeed.
func (d *directory) run(stdin, program string, args ...string) string {
	d.t.Helper()
	out, code := d.try(stdin, program, args...)
	if code != 0 {
		d.t.Fatalf("%s %q: status %d\n%s", program, args, code, out)
	}
	return out
}

// search returns the entries in LDIF, lines unwrapped.
func (d *directory) search(filter string, attrs ...string) string {
	d.t.Helper()
	return d.run("", "ldapsearch", append([]string{"-LLL", "-o", "ldif-wrap=no", "-b", d.base, filter}, attrs...)...)
}

// one returns the one value of an attribute of the one entry that there is, as
// LDIF has it.
func (d *directory) one(filter, attr string) string {
	d.t.Helper()
	out := d.search(filter, attr)
	var values []string
	for _, line := range strings.Split(out, "\n") {
		if value, ok := strings.CutPrefix(line, attr+":"); ok {
			values = append(values, strings.TrimLeft(value, ": "))
		}
	}
	if len(values) != 1 {
		d.t.Fatalf("%s has %d values of %s, not one:\n%s", filter, len(values), attr, out)
	}
	return values[0]
}

// answer is what curl got.
type answer struct {
	status  int
	version string
	kind    string // Content-Type
	text    string
	body    map[string]any
}

// str returns a member of the body, by path.
func (a *answer) str(path ...string) string {
	var v any = a.body
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// curl sends a request to the service.
func (w *world) curl(t *testing.T, path string, args ...string) *answer {
	t.Helper()
	const form = "\n%{http_code} %{http_version} %{content_type}"
	all := append([]string{"-sS", "--cacert", w.CAFile, "-w", form}, args...)
	out := w.Client(t).Run("", harness.Need(t, "curl"), append(all, "https://"+w.HTTPS+path)...)
	at := strings.LastIndexByte(out, '\n')
	fields := strings.SplitN(out[at+1:], " ", 3)
	a := &answer{text: out[:max(at, 0)], version: fields[1], kind: fields[2]}
	a.status, _ = strconv.Atoi(fields[0])
	_ = json.Unmarshal([]byte(a.text), &a.body) // what is no JSON has no members
	return a
}

// publicClient is Azure PowerShell's id, with which tools sign people in.
const publicClient = "1b730954-1685-4b74-9bfd-dac224a7b894"

// signIn asks for a token with a name and a password.
func (w *world) signIn(t *testing.T, upn, password string) *answer {
	t.Helper()
	return w.curl(t, "/"+w.TenantID+"/oauth2/v2.0/token", "-d", "grant_type=password", "-d", "client_id="+publicClient,
		"-d", "scope=https://graph.microsoft.com/.default", "--data-urlencode", "username="+upn, "--data-urlencode", "password="+password)
}

// signsIn is signIn that has to succeed, and returns the access token.
func (w *world) signsIn(t *testing.T, upn, password string) string {
	t.Helper()
	a := w.signIn(t, upn, password)
	token := a.str("access_token")
	if a.status != 200 || token == "" {
		t.Fatalf("%s does not sign in: %d %s", upn, a.status, a.text)
	}
	return token
}

// agentToken is the sync agent's.
func (w *world) agentToken(t *testing.T) string {
	t.Helper()
	a := w.curl(t, "/"+w.TenantID+"/oauth2/v2.0/token", "-d", "grant_type=client_credentials", "-d", "client_id="+w.AgentClientID,
		"-d", "scope=https://graph.microsoft.com/.default", "--data-urlencode", "client_secret@"+w.AgentSecretFile)
	if a.status != 200 || a.str("token_type") != "Bearer" {
		t.Fatalf("the agent gets no token: %d %s", a.status, a.text)
	}
	return a.str("access_token")
}

// asJSON are curl's options for a JSON body under a token.
func asJSON(token, body string) []string {
	return []string{"-H", "Authorization: Bearer " + token, "-H", "Content-Type: application/json", "--data-binary", body}
}
