package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// systemPython is the one that Debian's packages install for.
const systemPython = "/usr/bin/python3"

// needMSAL skips or fails the test where Debian's python3-msal is not installed.
func needMSAL(t *testing.T) {
	t.Helper()
	if exec.Command(systemPython, "-c", "import msal").Run() == nil {
		return
	}
	if os.Getenv("CONFORMANCE") == "require" {
		t.Fatal("python3-msal is not installed (./test/all installs it)")
	}
	t.Skip("python3-msal is not installed (./test/all installs it)")
}

// Microsoft's own library signs in as a sync agent does, under the real service's
// names and no others.
func TestMSAL(t *testing.T) {
	needMSAL(t)
	s := harness.Start(t)
	password, err := os.ReadFile(s.AdminPasswordFile)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client(t)
	c.Setenv("REQUESTS_CA_BUNDLE", s.CAFile)
	c.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	says(t, c.Run(strings.TrimSpace(string(password))+"\n", systemPython, filepath.Join("testdata", "msal", "agent.py"),
		"https://"+s.HTTPS, s.TenantID, s.TenantDomain, s.AdminUPN), "msal ")
}
