package conformance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"skyrealm/test/harness"
)

// TestUsage runs the scripts that need no service.
func TestUsage(t *testing.T) { scripts(t, "testdata/usage", nil) }

// testCommandLine runs the scripts against the service.
func testCommandLine(t *testing.T, w *world) {
	scripts(t, "testdata/script", w)
}

// testNextSteps: what the service prints for newcomers to paste works as it stands.
func testNextSteps(t *testing.T, w *world) {
	const end = "\nCtrl-C stops it."
	harness.WaitFor(t, "the commands to be printed", func() error { // which is after ready.json
		if !strings.Contains(w.Log(), end) {
			return errors.New("they are not there yet")
		}
		return nil
	})
	told := pasted(t, w.Log(), "Next, in another terminal:\n", end)
	for _, got := range []string{"krbtgt/AADDS.CONTOSO.TEST@", "cn: Administrator of contoso.test", `"access_token":"`, "1 user, 0 groups and 1 password taken",
		"web.keytab: keys of HTTP/web.aadds.contoso.test"} {
		if !strings.Contains(told, got) {
			t.Errorf("%q did not come of the printed commands:\n%s", got, told)
		}
	}
}

// pasted runs the commands that stand between two marks of an output, in a shell
// with the program on its PATH, and returns what they print.
func pasted(t *testing.T, output, from, to string) string {
	t.Helper()
	_, after, _ := strings.Cut(output, from)
	commands, _, ok := strings.Cut(after, to)
	if !ok {
		t.Fatalf("no commands to paste in:\n%s", output)
	}
	dir := t.TempDir()
	users := `{"userPrincipalName":"pasted@contoso.test","password":"Pasted-Password-1"}`
	if err := os.WriteFile(filepath.Join(dir, "users.jsonl"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(harness.Binary(t))+string(os.PathListSeparator)+os.Getenv("PATH"),
		"KRB5CCNAME=FILE:"+filepath.Join(dir, "ccache"), "LC_ALL=C.UTF-8")
	told, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the printed commands: %v\n%s\n%s", err, commands, told)
	}
	return string(told)
}

// scripts have the program on their PATH, and one command of our own:
//
//	refuses STATUS PROGRAM ARGS…    it ends with this status and one line on stderr
func scripts(t *testing.T, dir string, w *world) {
	t.Helper()
	program := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("LC_ALL", "C.UTF-8")
			if w != nil {
				e.Setenv("SKYREALM_DATA", w.Dir)
				e.Setenv("KRB5_CONFIG", w.Krb5Conf)
				e.Setenv("KRB5CCNAME", "FILE:"+filepath.Join(e.WorkDir, "ccache"))
				e.Setenv("LDAPS", w.LDAPS)
				e.Setenv("LDAPTLS_CACERT", w.CAFile)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"refuses": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: refuses STATUS PROGRAM ARGS…")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				if got := status(ts.Exec(args[1], args[2:]...)); got != want {
					ts.Fatalf("the exit status is %d, not %d", got, want)
				}
				if said := ts.ReadFile("stderr"); strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "skyrealm: ") {
					ts.Fatalf("not one line of ours on stderr:\n%s", said)
				}
			},
		},
	})
}
