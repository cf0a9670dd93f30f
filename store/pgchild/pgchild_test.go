package pgchild

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// childDir turns the test binary into a process that runs a server in the
// directory named and waits to be killed.
const childDir = "SKYREALM_PGCHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(s.PID(), s.URL())
		select {}
	}
	os.Exit(m.Run())
}

// newDir is a place for a cluster. As root it lies under a directory that only
// root may enter, which is the harder case.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pgchild-") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "pg")
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func connect(t *testing.T, url string) (*pgx.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return pgx.Connect(ctx, url)
}

// query runs one statement on a connection of its own.
func query(t *testing.T, url, sql string) string {
	t.Helper()
	c, err := connect(t, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var out string
	if err := c.QueryRow(t.Context(), sql).Scan(&out); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// until polls a condition, at most ten seconds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("after ten seconds still not: %s", what)
		}
	}
}

func gone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
}

func TestStopAndStartKeepData(t *testing.T) {
	dir := newDir(t)
	begin := time.Now()
	s := start(t, dir)
	first := time.Since(begin)
	query(t, s.URL(), "create table kept as select 'before' as v")
	pid := s.PID()
	stop(t, s)
	if !gone(pid)() || s.PID() != 0 {
		t.Errorf("postmaster %d lives after Stop", pid)
	}
	stop(t, s) // again is harmless
	begin = time.Now()
	s = start(t, dir)
	t.Logf("empty directory to ready %v, again %v", first, time.Since(begin))
	if got := query(t, s.URL(), "select v from kept"); got != "before" {
		t.Errorf("kept %q", got)
	}
}

func TestSettings(t *testing.T) {
	s := start(t, newDir(t))
	for name, want := range map[string]string{
		"listen_addresses": "", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "max_connections": "50",
		"log_statement": "none", "log_parameter_max_length": "0", "log_parameter_max_length_on_error": "0",
		"log_min_error_statement": "panic", "log_error_verbosity": "terse", "server_encoding": "UTF8", "data_checksums": "on",
	} {
		if got := query(t, s.URL(), "show "+name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	fi, err := os.Stat(filepath.Join(s.dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o700 {
		t.Errorf("socket has mode %v", fi.Mode())
	}
	if fi, err = os.Stat(s.dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("data directory %v %v", fi.Mode(), err)
	}
}

// A constraint's error carries the row in its DETAIL and the statement with its
// literals; neither may reach the log.
func TestLogHoldsNoData(t *testing.T) {
	var out strings.Builder
	s, err := Start(t.Context(), Options{Dir: newDir(t), Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	c, err := connect(t, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	_, err = c.Exec(t.Context(), "create table t (a text unique, b int not null)")
	_, err1 := c.Exec(t.Context(), "insert into t values ('hunter2', null)")
	_, err2 := c.Exec(t.Context(), "insert into t values ($1, $2)", "hunter2", nil)
	if err != nil || err1 == nil || err2 == nil {
		t.Fatal(err, err1, err2)
	}
	c.Close(t.Context())
	stop(t, s) // after which nothing writes to out
	if !strings.Contains(out.String(), "not-null constraint") {
		t.Error("the server's error did not reach the log, so this test shows nothing")
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("the log has the value:\n%s", out.String())
	}
}

func TestKilledPostmasterComesBack(t *testing.T) {
	s := start(t, newDir(t))
	query(t, s.URL(), "create table kept as select 1 as v")
	for round := range 3 {
		pid := s.PID()
		query(t, s.URL(), fmt.Sprintf("insert into kept values (%d)", round))
		begin := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "a new postmaster answers", func() bool {
			c, err := connect(t, s.URL())
			if err != nil {
				return false
			}
			c.Close(t.Context())
			return s.PID() != pid && s.PID() != 0
		})
		t.Logf("back after %v", time.Since(begin))
		if got := query(t, s.URL(), "select count(*)::text from kept"); got != strconv.Itoa(round+2) {
			t.Errorf("round %d: %s rows", round, got)
		}
	}
}

// child starts the test binary as a process with a server in dir, and answers
// with its postmaster and URL, or with the error that it printed.
func child(t *testing.T, dir string) (cmd *exec.Cmd, pid int, url string, err error) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said nothing: %v", err)
	}
	first, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if first == "error" {
		return cmd, 0, "", errors.New(rest)
	}
	if pid, err = strconv.Atoi(first); err != nil {
		t.Fatal(err)
	}
	return cmd, pid, rest, nil
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func TestKilledParentLeavesNoOrphan(t *testing.T) {
	dir := newDir(t)
	cmd, pid, url, err := child(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	query(t, url, "create table kept as select 'acknowledged' as v")
	c, err := connect(t, url) // a client that stays does not keep the server alive
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	kill(cmd)
	until(t, "the postmaster is gone", gone(pid))
	if _, err := os.Stat(filepath.Join(dir, "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("no clean shutdown: postmaster.pid: %v", err)
	}
	if got := query(t, start(t, dir).URL(), "select v from kept"); got != "acknowledged" {
		t.Errorf("kept %q", got)
	}
}

// Both killed at once, with a busy backend that takes a while to notice: the
// next start finds its shared memory in use and tries again.
func TestKilledBothRecovers(t *testing.T) {
	dir := newDir(t)
	for round := range 3 {
		cmd, pid, url, err := child(t, dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		query(t, url, "create table if not exists kept (v int)")
		query(t, url, fmt.Sprintf("insert into kept values (%d)", round))
		c, err := connect(t, url)
		if err != nil {
			t.Fatal(err)
		}
		busy := make(chan struct{})
		go func() {
			defer close(busy)
			c.Exec(context.Background(), "select sum(sqrt(g)) from generate_series(1, 1500000) g") // ends with the server
		}()
		kill(cmd)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		s := start(t, dir)
		if got := query(t, s.URL(), "select count(*)::text from kept"); got != strconv.Itoa(round+1) {
			t.Errorf("round %d: %s rows", round, got)
		}
		stop(t, s)
		<-busy
		c.Close(context.Background())
	}
}

// A postmaster that nobody reaps holds its lock files for ever: where process 1
// is no init, or for as long as its parent stays away.
func TestZombieHoldsNoLock(t *testing.T) {
	dir := newDir(t)
	s := start(t, dir)
	stop(t, s)
	zombie := exec.Command("true")
	if s.account != nil { // a process of another user is no postmaster to the server
		zombie.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.account.uid, Gid: s.account.gid}}
	}
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	until(t, "the process is a zombie", func() bool { return isZombie(zombie.Process.Pid) })
	for _, name := range []string{"postmaster.pid", ".s.PGSQL.5432.lock"} {
		content := fmt.Sprintf("%d\n%s\n%d\n5432\n.\n\n\nready\n", zombie.Process.Pid, dir, time.Now().Unix())
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := query(t, start(t, dir).URL(), "select 'alive'"); got != "alive" {
		t.Error(got)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := newDir(t)
	s := start(t, dir)
	for name, start := range map[string]func() error{
		"this process": func() error {
			_, err := Start(t.Context(), Options{Dir: dir})
			if !errors.Is(err, ErrInUse) {
				t.Errorf("error %v is not ErrInUse", err)
			}
			return err
		},
		"another process": func() error { _, _, _, err := child(t, dir); return err },
	} {
		err := start()
		if err == nil || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := query(t, s.URL(), "select 'alive'"); got != "alive" {
		t.Error("the first server suffered")
	}
}

// A server that a person runs on the cluster by hand is neither ended nor
// joined.
func TestForeignServerInUse(t *testing.T) {
	dir := newDir(t)
	s := start(t, dir)
	stop(t, s)
	sockets := filepath.Join(dir, "by-hand")
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-c", "listen_addresses=", "-c", "unix_socket_directories="+"by-hand")
	data, err := s.account.adopt(cmd, dir, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	if err := os.Mkdir(sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	if s.account != nil {
		if err := os.Chown(sockets, int(s.account.uid), int(s.account.gid)); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Args = append(cmd.Args, "-D", data.path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGINT)
		cmd.Wait()
	}()
	until(t, "the foreign server is ready", func() bool {
		p, err := readPIDFile(dir)
		return err == nil && p.status == "ready"
	})
	if _, err := Start(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("error %v", err)
	}
	if gone(cmd.Process.Pid)() {
		t.Error("the foreign server was ended")
	}
}

func TestInterruptedInitdb(t *testing.T) {
	dir := newDir(t)
	half := dir + ".new-1"
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{Dir: dir, BinDirs: usualPlaces}); err == nil {
		t.Fatal("a cancelled start succeeds")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("an interrupted initdb left a cluster: %v", err)
	}
	s := start(t, dir)
	if got := query(t, s.URL(), "select 'whole'"); got != "whole" {
		t.Error(got)
	}
	left, err := filepath.Glob(dir + ".new-*")
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestRefusals(t *testing.T) {
	write := func(name, content string) func(string) {
		return func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if a, err := serverAccount(dir, false); err != nil {
				t.Fatal(err)
			} else if a != nil {
				if err := os.Chown(dir, int(a.uid), int(a.gid)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		fill func(dir string)
		want string
	}{
		"another's files": {write("diary", "mine"), "holds no PostgreSQL cluster"},
		"older major":     {write("PG_VERSION", "9\n"), "was made by PostgreSQL 9 and this machine has"},
		"newer major":     {write("PG_VERSION", "99\n"), "apt-get install postgresql-99"},
		"no version":      {write("PG_VERSION", "garbage\n"), "no version this program knows"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			c.fill(dir)
			_, err := Start(t.Context(), Options{Dir: dir})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, c.want)
			}
		})
	}
}

// A server that cannot start says why, in one line and at once.
func TestBrokenConfiguration(t *testing.T) {
	dir := newDir(t)
	stop(t, start(t, dir))
	if err := os.WriteFile(filepath.Join(dir, "postgresql.conf"), []byte("shared_bufers = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, err := Start(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "postgresql.conf") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begin); d > patience {
		t.Errorf("took %v", d)
	}
}

func TestLongPath(t *testing.T) {
	dir := filepath.Join(filepath.Dir(newDir(t)), strings.Repeat("long/", 25), "pg")
	s := start(t, dir)
	if got := query(t, s.URL(), "select 'here'"); got != "here" {
		t.Error(got)
	}
	short, err := os.Readlink(dir + ".socket")
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	if _, err := os.Lstat(short); !os.IsNotExist(err) {
		t.Errorf("%s is left after Stop: %v", short, err)
	}
	cmd, _, url, err := child(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if short, err = os.Readlink(dir + ".socket"); err != nil || !strings.Contains(url, "skyrealm-") {
		t.Fatal(url, err)
	}
	kill(cmd)
	stop(t, start(t, dir))
	if _, err := os.Lstat(short); !os.IsNotExist(err) {
		t.Errorf("%s of a killed process is left after the next start: %v", short, err)
	}
}

// A note that names a directory with other things in it must not cost them.
func TestForgedSocketNote(t *testing.T) {
	dir := newDir(t)
	victim := filepath.Join(filepath.Dir(dir), "victim")
	if err := os.MkdirAll(filepath.Join(victim, "s"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, dir+".socket"); err != nil {
		t.Fatal(err)
	}
	removeShort(dir + ".socket")
	if _, err := os.Stat(filepath.Join(victim, "s")); err != nil {
		t.Error(err)
	}
}

// TestAsNobody runs the life of a server once more as a user without rights.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: every other test of this package has run as an unprivileged user")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAccount(nobody)
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(newDir(t))
	if err := os.Chown(home, int(a.uid), int(a.gid)); err != nil {
		t.Fatal(err)
	}
	// The test binary lies in a directory of root's own.
	exe := filepath.Join(home, "pgchild.test")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.v", "-test.run=^("+strings.Join([]string{
		"TestStopAndStartKeepData", "TestSettings", "TestKilledPostmasterComesBack", "TestKilledParentLeavesNoOrphan",
		"TestKilledBothRecovers", "TestZombieHoldsNoLock", "TestDirectoryInUse", "TestInterruptedInitdb", "TestLongPath"}, "|")+")$")
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + home, "HOME=" + home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.uid, Gid: a.gid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	if n := strings.Count(string(out), "\n--- PASS"); n != 9 {
		t.Errorf("%d tests ran as nobody:\n%s", n, out)
	}
}
