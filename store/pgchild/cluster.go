package pgchild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another living process has the cluster.
var ErrInUse = errors.New("in use")

// lockDir takes the lock that says which process cares for the cluster. The
// kernel drops it with its holder, however that ends.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return f, nil
	case unix.EWOULDBLOCK:
		f.Close()
		return nil, fmt.Errorf("data directory %s is %w by another skyrealm", dir, ErrInUse)
	default:
		f.Close()
		return nil, fmt.Errorf("lock %s.lock: %w", dir, err)
	}
}

// clusterMajor is the major version of the cluster in dir; 0 where dir is
// absent or empty. Anything else in it is not ours to touch.
func clusterMajor(dir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(dir)
		if len(entries) > 0 {
			return 0, fmt.Errorf("%s is not empty and holds no PostgreSQL cluster", dir)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || major <= 0 {
		return 0, fmt.Errorf("%s/PG_VERSION says %q, which is no version this program knows", dir, bytes.TrimSpace(b))
	}
	return major, nil
}

// initdb makes the cluster under another name and moves it to its own when it
// is whole, so that an interrupted one is never taken for a cluster.
func (s *Server) initdb(ctx context.Context) (err error) {
	parent, base := filepath.Split(s.dir)
	if old, err := filepath.Glob(filepath.Join(parent, base+".new-*")); err == nil {
		for _, dir := range old {
			os.RemoveAll(dir) // what cannot go now is only garbage, and the name is never used again
		}
	}
	tmp, err := os.MkdirTemp(parent, base+".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	if s.account != nil {
		if err := os.Chown(tmp, int(s.account.uid), int(s.account.gid)); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"),
		"--username="+superuser, "--auth-local=trust", "--auth-host=reject", // the socket's directory is the guard, see settings
		"--locale=C", "--encoding=UTF8", "--data-checksums", "--no-sync")
	data, err := s.account.adopt(cmd, tmp, syscall.SIGKILL)
	if err != nil {
		return err
	}
	defer data.Close()
	cmd.Args = append(cmd.Args, "-D", data.path)
	cmd.WaitDelay = time.Second
	runtime.LockOSThread() // for the parent death signal, see supervise
	out, err := cmd.CombinedOutput()
	runtime.UnlockOSThread()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("initdb for %s: %w: %s", s.dir, err, lastError(out))
	}
	// --no-sync spares a thousand fsyncs; one of the whole file system takes
	// their place before anything is acknowledged from in here.
	if err := syncTree(tmp); err != nil {
		return fmt.Errorf("sync %s: %w", tmp, err)
	}
	if err := os.Rename(tmp, s.dir); err != nil {
		return err
	}
	up, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer up.Close()
	return up.Sync()
}

// lastError finds the line of initdb's output that says what went wrong.
func lastError(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, l := range lines {
		if _, text, ok := strings.Cut(l, "error: "); ok {
			return text
		}
		if _, text, ok := strings.Cut(l, "FATAL:"); ok {
			return strings.TrimSpace(text)
		}
	}
	return lines[len(lines)-1]
}

// waitForStale sees to it that no postmaster of a former run lives in dir. We
// hold the lock, so its parent is dead and it has its SIGINT from the kernel
// already; it is sent once more for the systems that have no parent death
// signal. A server that someone started by hand there is not ours to end.
func waitForStale(ctx context.Context, dir string) error {
	p, err := readPIDFile(dir)
	if err != nil || !standsIn(p.pid, dir) {
		return nil // none, or a number that now means another process
	}
	if p.socketDirs != "." {
		return fmt.Errorf("data directory %s is %w by the PostgreSQL server with process id %d", dir, ErrInUse, p.pid)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		for begin := time.Now(); time.Since(begin) < patience; {
			if !standsIn(p.pid, dir) {
				return nil
			}
			if sig != 0 {
				syscall.Kill(p.pid, sig)
				sig = 0
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return fmt.Errorf("data directory %s is %w by the PostgreSQL server with process id %d, which does not end", dir, ErrInUse, p.pid)
}

// standsIn tells whether the process has dir as its working directory, which a
// postmaster has and a process that inherited its number has not.
func standsIn(pid int, dir string) bool {
	real, err := filepath.EvalSymlinks(dir)
	return err == nil && workingDir(pid) == real
}

// disownZombie frees the lock files of a postmaster that was killed together
// with its parent and that nobody has reaped: in a container whose process 1 is
// no init that lasts for ever, and a zombie counts as living to who asks with
// signal 0. A postmaster takes a lock file in the name of its own parent for a
// stale one, so that name is ours. Unlike removing it, this leaves it the
// number of the shared memory, by which it finds backends that still live.
func (s *Server) disownZombie() error {
	for _, name := range []string{"postmaster.pid", ".s.PGSQL." + socketPort + ".lock"} {
		file := filepath.Join(s.dir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			continue // none: the usual case
		}
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(line))); err != nil || !isZombie(pid) {
			continue
		}
		tmp := file + ".new" // an interrupted write must not leave an empty lock file, which is an error of its own
		if err := os.WriteFile(tmp, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600); err != nil {
			return err
		}
		if s.account != nil {
			if err := os.Chown(tmp, int(s.account.uid), int(s.account.gid)); err != nil {
				return err
			}
		}
		if err := os.Rename(tmp, file); err != nil {
			return err
		}
	}
	return nil
}

// maxSocketPath is what sun_path holds, without its final zero (unix(7)).
const maxSocketPath = 107

// socketHost is the directory that clients are given to find the socket in. A
// data directory with a long name is reached through a symbolic link in a
// private temporary directory. Beside the cluster stands a link to that, by
// which the next start removes what a killed process left.
func socketHost(dir string) (host string, unlink func(), err error) {
	note := dir + ".socket"
	removeShort(note)
	if len(filepath.Join(dir, ".s.PGSQL."+socketPort)) <= maxSocketPath {
		return dir, func() {}, nil
	}
	tmp, err := os.MkdirTemp("", "skyrealm-")
	if err != nil {
		return "", nil, err
	}
	host = filepath.Join(tmp, "s")
	if len(filepath.Join(host, ".s.PGSQL."+socketPort)) > maxSocketPath {
		os.Remove(tmp)
		return "", nil, fmt.Errorf("the names of the data directory %s and of the temporary directory %s are both too long for a unix socket", dir, os.TempDir())
	}
	if err := errors.Join(os.Symlink(dir, host), os.Symlink(tmp, note)); err != nil {
		return "", nil, err
	}
	return host, func() { removeShort(note) }, nil
}

// removeShort takes away what socketHost made: a link in a directory that is
// otherwise empty, so that a forged note can cost nobody a file.
func removeShort(note string) {
	tmp, err := os.Readlink(note)
	if err != nil {
		return
	}
	if host := filepath.Join(tmp, "s"); isLink(host) {
		os.Remove(host)
		os.Remove(tmp)
	}
	os.Remove(note)
}

func isLink(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode()&fs.ModeSymlink != 0
}
