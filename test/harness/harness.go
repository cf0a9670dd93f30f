// Package harness starts the whole service for tests: the real program on free
// ports and a directory that goes away, with real clients pointed at it.
package harness

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience bounds everything that a test waits for. It is long, as machines
// that run tests are slow; nothing waits for it in full.
const Patience = 60 * time.Second

// Ready is what the service says of itself (DIR/ready.json).
type Ready struct {
	PID               int
	TenantID          string
	TenantDomain      string
	Realm             string
	Domain            string
	NetBIOS           string
	BaseDN            string
	DC                string
	HTTPS             string
	KDC               string
	Kpasswd           string
	LDAP              string
	LDAPS             string
	CAFile            string
	KDCCAFile         string
	Krb5Conf          string
	AdminUPN          string
	AdminPasswordFile string
	AgentClientID     string
	AgentSecretFile   string
}

var built string // the directory of the program

// Program is the environment variable that names the program to a test's own
// children, which need not build it again.
const Program = "SKYREALM_TEST_PROGRAM"

var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(Program); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "skyrealm-test-")
	if err != nil {
		return "", err
	}
	built = dir
	if err := os.Chmod(dir, 0o755); err != nil { // for a service under another user
		return "", err
	}
	if err := noteSources(); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "skyrealm")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "skyrealm/cmd/skyrealm")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// noteSources looks into every directory of the module. A test's result is cached
// with what the test itself has read, and the program is no import of it: without
// this a change to the service would run none of its tests again.
func noteSources() error {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Dir(strings.TrimSpace(string(mod))), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test's, that has just gone
			return nil
		case err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir // .git changes all the time
		}
		return err
	})
}

// Binary builds the program, once in a run of tests.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs a package's tests, then stops the database server and removes the
// program, where they had asked for them.
func Main(m *testing.M) {
	code := m.Run()
	stopPostgres()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// Server is a running service.
type Server struct {
	Ready
	Dir  string
	HTTP *http.Client // trusts the service's CA

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // how, read after done
	log  *os.File
	as   *syscall.Credential
}

// Start runs `skyrealm serve` on free ports and returns when it is ready. The
// test's end stops it. More flags may be given.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	return StartIn(t, filepath.Join(t.TempDir(), "data"), flags...)
}

// StartIn is [Start] on a data directory that the test has prepared, such as
// one with the keys of another process's.
func StartIn(t testing.TB, dir string, flags ...string) *Server {
	t.Helper()
	return start(t, dir, nil, flags)
}

// StartAs is [StartIn] as another user than the test's, which has to be root. The
// directory has to be that user's.
func StartAs(t testing.TB, as *syscall.Credential, dir string, flags ...string) *Server {
	t.Helper()
	return start(t, dir, as, flags)
}

func start(t testing.TB, dir string, as *syscall.Credential, flags []string) *Server {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: dir, t: t, log: log, as: as}
	s.args = append([]string{"serve", "--data", s.Dir, "--debug", "--https", ":0", "--kdc", ":0", "--kpasswd", ":0", "--ldap", ":0", "--ldaps", ":0"}, flags...)
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the service's last lines:\n%s", s.tail())
		}
		log.Close()
	})
	s.Run()
	return s
}

// Run starts the process, again after [Server.Kill] or [Server.Stop], and waits
// until it is ready.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command(Binary(s.t), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// A test binary that is killed takes the service with it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: s.as}
	started := make(chan error, 1)
	done := make(chan struct{})
	s.done = done
	go func() {
		// Pdeathsig counts from the thread that forked, so that thread stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
		}
		close(done)
	}()
	if err := <-started; err != nil {
		s.t.Fatal(err)
	}
	WaitFor(s.t, "the service to be ready", func() error {
		select {
		case <-done:
			s.t.Fatalf("the service ended: %v\n%s", s.err, s.tail())
		default:
		}
		return s.readReady()
	})
	s.HTTP = s.client()
}

// Restart is Run with more flags, which stay.
func (s *Server) Restart(flags ...string) {
	s.t.Helper()
	s.args = append(s.args, flags...)
	s.Run()
}

func (s *Server) readReady() error {
	text, err := os.ReadFile(filepath.Join(s.Dir, "ready.json"))
	if err != nil {
		return err
	}
	var r Ready
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	if r.PID != s.cmd.Process.Pid {
		return errors.New("ready.json is an earlier process's")
	}
	s.Ready = r
	return nil
}

func (s *Server) client() *http.Client {
	return &http.Client{Timeout: Patience, Transport: &http.Transport{TLSClientConfig: s.TLS(), MaxIdleConnsPerHost: 16}}
}

// TLS is a client's configuration that trusts the service.
func (s *Server) TLS() *tls.Config {
	s.t.Helper()
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots}
}

// Stop ends the service as an administrator does, and fails the test if it
// takes too long or does not end cleanly.
func (s *Server) Stop() {
	s.t.Helper()
	select {
	case <-s.done:
		return // it was killed, or has been stopped
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	began := time.Now()
	select {
	case <-s.done:
		if s.err != nil {
			s.t.Errorf("the service did not stop cleanly: %v", s.err)
		}
		if took := time.Since(began); took > 10*time.Second {
			s.t.Errorf("the service took %s to stop", took)
		}
	case <-time.After(Patience):
		_ = s.cmd.Process.Kill()
		<-s.done
		s.t.Error("the service did not stop")
	}
}

// Kill ends the service as a power cut does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// PostgresPID is the private database server's.
func (s *Server) PostgresPID() (int, error) {
	f, err := os.Open(filepath.Join(s.Dir, "pg", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var pid int
	_, err = fmt.Fscan(bufio.NewReader(f), &pid)
	return pid, err
}

// DatabaseURL is the private database server's, for a test that looks behind the
// service's back. It may change when the process is started again.
func (s *Server) DatabaseURL() string {
	host := filepath.Join(s.Dir, "pg")
	// Where that is too long for a socket's name, pgchild notes the way round.
	if short, err := os.Readlink(host + ".socket"); err == nil {
		host = filepath.Join(short, "s")
	}
	return "postgres://skyrealm@/postgres?" + url.Values{"host": {host}, "port": {"5432"}}.Encode()
}

// AdminPassword is the first administrator's.
func (s *Server) AdminPassword() string { return s.read(s.AdminPasswordFile) }

// AgentSecret is the sync agent's.
func (s *Server) AgentSecret() string { return s.read(s.AgentSecretFile) }

func (s *Server) read(path string) string {
	s.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// Skyrealm runs another command of the program against the service.
func (s *Server) Skyrealm(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, Binary(s.t), args...)
	cmd.Env = append(os.Environ(), "SKYREALM_DATA="+s.Dir)
	cmd.Stdin = stdin
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// WaitFor tries until it gets no error.
func WaitFor(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s: %v", Patience, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Log returns all that the service has printed and logged, over all its starts.
func (s *Server) Log() string {
	s.t.Helper()
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// tail is the last part of the log, which is what a failed test shows.
func (s *Server) tail() string {
	text := s.Log()
	return text[max(0, len(text)-tailSize):]
}

const tailSize = 1 << 20
