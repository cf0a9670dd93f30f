package harness

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Daemon is somebody else's server that a test runs beside the service: in the
// foreground, in a directory that goes away, and never as root, which neither
// Apache nor PostgreSQL likes.
type Daemon struct {
	Dir  string // its own, and readable by it alone
	Port string // free, on 127.0.0.1

	t   testing.TB
	as  *syscall.Credential
	env []string
}

// NewDaemon returns one that is not started yet, for which the service's realm is
// the default one.
func (s *Server) NewDaemon(t testing.TB) *Daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "skyrealm-daemon-") // short, as sockets lie in it, and below no directory that is the test's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &Daemon{Dir: dir, Port: freePort(t), t: t}
	if os.Geteuid() == 0 {
		d.as = nobody(t)
	}
	d.own(dir)
	d.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
	d.Setenv("LC_ALL", "C.UTF-8")
	d.Setenv("KRB5_CONFIG", d.File("krb5.conf", s.read(s.Krb5Conf)+"\n"))
	d.Setenv("KRB5RCACHENAME", "file2:"+filepath.Join(dir, "replays")) // not the machine's
	return d
}

// nobody is the user who owns nothing. initdb asks the passwd file for its own
// name, so a bare number will not do.
func nobody(t testing.TB) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// freePort is one that nobody has at this moment.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (d *Daemon) own(path string) {
	d.t.Helper()
	if d.as == nil {
		return
	}
	if err := os.Chown(path, int(d.as.Uid), int(d.as.Gid)); err != nil {
		d.t.Fatal(err)
	}
}

// Setenv sets a variable for what is run from now on; nothing of the test's own
// environment is there.
func (d *Daemon) Setenv(name, value string) { d.env = append(d.env, name+"="+value) }

// File writes a file that is the daemon's, and returns its path. Its old content
// is never seen in part.
func (d *Daemon) File(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.Dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.own(path + ".new")
	if err := os.Rename(path+".new", path); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// Copy is [Daemon.File] with the content of another file, such as a keytab.
func (d *Daemon) Copy(name, from string) string {
	d.t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.File(name, string(text))
}

// Mkdir makes a directory that is the daemon's, and returns its path.
func (d *Daemon) Mkdir(name string) string {
	d.t.Helper()
	path := filepath.Join(d.Dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		d.t.Fatal(err)
	}
	d.own(path)
	return path
}

func (d *Daemon) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = d.Dir, d.env
	// A test binary that is killed takes it with it. A process group of its own: Apache
	// signals its whole group when it stops.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM, Credential: d.as}
	return cmd
}

// Run runs a program that prepares something, as the daemon.
func (d *Daemon) Run(name string, args ...string) {
	d.t.Helper()
	runtime.LockOSThread() // Pdeathsig counts from the thread that forked
	defer runtime.UnlockOSThread()
	if out, err := d.command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// Start runs the server, which has to stay in the foreground, and returns when
// its port answers. SIGTERM stops it at the test's end.
func (d *Daemon) Start(name string, args ...string) {
	d.t.Helper()
	cmd := d.command(name, args...)
	// Its own, as some open /dev/stderr anew.
	log, err := os.OpenFile(d.File("log", ""), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is its own matter
		}
		close(done)
	}()
	if err := <-started; err != nil {
		d.t.Fatal(err)
	}
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(Patience):
			_ = cmd.Process.Kill()
			<-done
			d.t.Errorf("%s did not stop", filepath.Base(name))
		}
		if d.t.Failed() {
			d.t.Logf("%s said:\n%s", filepath.Base(name), said())
		}
	})
	WaitFor(d.t, filepath.Base(name)+" to answer", func() error {
		select {
		case <-done:
			d.t.Fatalf("%s ended:\n%s", name, said())
		default:
		}
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", d.Port))
		if err == nil {
			c.Close()
		}
		return err
	})
}
