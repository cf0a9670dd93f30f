// Package pgchild runs a private PostgreSQL server as a child of this process:
// what `skyrealm serve` stores its state in where no --database is given.
//
// It owns the finding (or the one-time fetching) of the server's binaries, the
// making of the cluster, and the life of the postmaster. The server listens on
// nothing but a unix socket inside its own data directory, is started again
// when it dies, and ends with this process even where that is killed: the
// kernel then sends the postmaster SIGINT, its "fast shutdown".
//
// As root the server runs as another user, because PostgreSQL refuses root; the
// data directory may still lie where that user cannot go, such as /root.
//
// References: PostgreSQL documentation, "Server Setup and Operation" (signals,
// lock files) and initdb; prctl(2) PR_SET_PDEATHSIG; unix(7) for the length of
// a socket's path.
package pgchild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// superuser is the role that owns everything in the private server.
const superuser = "skyrealm"

// patience is how long a start is tried again where the remains of a killed
// server are in the way: its backends hold the shared memory until they notice
// that the postmaster is gone, which takes them well under a second.
const patience = 5 * time.Second

// Options say where the cluster lives.
type Options struct {
	// Dir is the cluster's own directory, e.g. DIR/pg. It is made where it is
	// absent; beside it stand Dir.lock and, for a short time, Dir.new-….
	Dir string
	// Logger takes the server's own lines. Statements and their parameters
	// never reach it. Nil discards.
	Logger *slog.Logger
	// CacheDir holds the fetched server; empty is /var/cache/skyrealm as root
	// and skyrealm in os.UserCacheDir for anyone else.
	CacheDir string
	// BinDirs replaces the usual places of the server's binaries. Empty but not
	// nil finds none, and so fetches (the test of the fetching needs that).
	BinDirs []string
}

// Server is a running private PostgreSQL. Its methods are safe for concurrent use.
type Server struct {
	log     *slog.Logger
	bin     string   // directory of the binaries
	dir     string   // the cluster
	account *account // nil: runs as we do
	lock    *os.File
	url     string
	unlink  func() // removes the short way to the socket

	stop    chan struct{} // closed by Stop: the supervisor starts nothing more
	stopped chan struct{} // closed by the supervisor at its end
	ready   chan struct{} // closed when the first postmaster answers
	failed  error         // why there never was one; read after stopped
	once    sync.Once     // closes stop

	mu   sync.Mutex
	proc *os.Process
}

// Start makes the cluster if there is none, starts its server and returns when
// it accepts connections. A directory that a living server uses, one that is
// not ours and one of another major version are errors of one line each.
//
// The caller has to call [Server.Stop]; ctx bounds the start alone.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{log: o.Logger, stop: make(chan struct{}), stopped: make(chan struct{}), ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if err := s.prepare(ctx, o); err != nil {
		return nil, err
	}
	host, unlink, err := socketHost(s.dir)
	if err != nil {
		return nil, err
	}
	s.unlink = unlink
	// The port names the socket file. It is spelled out because PGPORT in the
	// environment would stand in for it.
	s.url = "postgres://" + superuser + "@/postgres?" + url.Values{"host": {host}, "port": {socketPort}}.Encode()

	go s.supervise()
	select {
	case <-s.ready:
		return s, nil
	case <-s.stopped:
		s.unlink()
		return nil, s.failed
	case <-ctx.Done():
		s.halt(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start PostgreSQL in %s: %w", s.dir, context.Cause(ctx))
	}
}

// prepare decides who runs what: account, binaries, and the cluster itself.
func (s *Server) prepare(ctx context.Context, o Options) error {
	major, err := clusterMajor(s.dir)
	if err != nil {
		return err
	}
	if s.account, err = serverAccount(s.dir, major != 0); err != nil {
		return err
	}
	if s.bin, err = binaries(ctx, o, s.account, major, s.dir); err != nil {
		return err
	}
	if major == 0 {
		return s.initdb(ctx)
	}
	return waitForStale(ctx, s.dir)
}

// URL is how to connect as the owner of everything: a postgres:// URL whose
// host is the directory of the unix socket. It holds no secret; that directory
// admits the server's user and root alone.
func (s *Server) URL() string { return s.url }

// PID is the postmaster's process id; 0 while there is none.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.Pid
}

// Stop ends the server and waits for it: a fast shutdown, after 5 s or the end
// of ctx an immediate one, which the next start recovers from. It may be called
// again.
func (s *Server) Stop(ctx context.Context) error {
	err := s.halt(ctx)
	s.lock.Close()
	return err
}

func (s *Server) halt(ctx context.Context) error {
	s.once.Do(func() { close(s.stop) })
	defer s.unlink()
	// Never SIGTERM: that "smart" shutdown waits until every client has left.
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		s.signal(sig)
		select {
		case <-s.stopped:
			if sig != syscall.SIGINT {
				return fmt.Errorf("PostgreSQL in %s ended only by %v", s.dir, sig)
			}
			return nil
		case <-ctx.Done():
			ctx = context.Background() // what is left has its own five seconds
		case <-time.After(patience):
		}
	}
	return fmt.Errorf("PostgreSQL in %s does not end", s.dir)
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.Signal(sig) // fails only where it is gone already
	}
}

// supervise starts postmasters, one after the other, until it is told to stop.
//
// It keeps its thread for all of its life: the parent death signal is bound to
// the thread that forked, not to the process (prctl(2)), so that a thread which
// the Go runtime retires would take the server with it.
func (s *Server) supervise() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.stopped)
	begin, pause := time.Now(), time.Duration(0)
	for {
		lines := &lineLog{log: s.log}
		answered, err := s.postmaster(lines)
		select {
		case <-s.stop:
			return
		default:
		}
		select {
		case <-s.ready:
			s.log.Warn("PostgreSQL ended, starting it again", "status", err, "last", lines.last())
		default:
			if time.Since(begin) > patience || !lines.inTheWay() {
				s.failed = fmt.Errorf("PostgreSQL does not start in %s: %s", s.dir, reason(lines, err))
				return
			}
		}
		if pause = min(pause*2+20*time.Millisecond, 2*time.Second); answered {
			pause = 0
		}
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
	}
}

// postmaster runs one postmaster from its start to its end; answered tells
// whether it ever took connections.
func (s *Server) postmaster(lines *lineLog) (answered bool, err error) {
	if err := s.disownZombie(); err != nil {
		return false, err
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), settings...)
	cmd.Stdout, cmd.Stderr = lines, lines
	// Backends hold the pipe of standard error. Those that outlive a killed
	// postmaster for longer than this would be in the next one's way anyway.
	cmd.WaitDelay = patience
	data, err := s.account.adopt(cmd, s.dir, syscall.SIGINT)
	if err != nil {
		return false, err
	}
	cmd.Args = append(cmd.Args, "-D", data.path)
	defer data.Close()

	s.mu.Lock()
	select {
	case <-s.stop: // a Stop that found no process to signal
		s.mu.Unlock()
		return false, nil
	default:
	}
	if err = cmd.Start(); err == nil {
		s.proc = cmd.Process
	}
	s.mu.Unlock()
	if err != nil {
		return false, err
	}
	exited, up := make(chan struct{}), make(chan bool, 1)
	go func() { up <- s.awaitReady(cmd.Process.Pid, exited) }()
	err = cmd.Wait()
	close(exited)
	s.mu.Lock()
	s.proc = nil
	s.mu.Unlock()
	return <-up, err
}

// awaitReady watches postmaster.pid, the eighth line of which says "ready" once
// connections are taken. A replay of the log after a crash may take minutes, so
// only the end of the process ends the waiting.
func (s *Server) awaitReady(pid int, exited <-chan struct{}) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if p, err := readPIDFile(s.dir); err == nil && p.pid == pid && p.status == "ready" {
			select {
			case <-s.ready:
				s.log.Info("PostgreSQL is back", "pid", pid)
			default:
				close(s.ready)
			}
			return true
		}
		select {
		case <-exited:
			return false
		case <-tick.C:
		}
	}
}

// pidFile is what we read of postmaster.pid.
type pidFile struct {
	pid        int
	socketDirs string
	status     string
}

func readPIDFile(dir string) (p pidFile, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return p, err
	}
	lines := strings.Split(string(b), "\n")
	if p.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil || p.pid <= 0 {
		return p, errors.New("postmaster.pid names no process")
	}
	if len(lines) > 4 {
		p.socketDirs = strings.TrimSpace(lines[4])
	}
	if len(lines) > 7 {
		p.status = strings.TrimSpace(lines[7])
	}
	return p, nil
}
