package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Files of a state directory.
const (
	stateFile  = "state.json"
	reportFile = "report.json"
	lockFile   = "lock"
)

// stateFormat is the form of the state file that this code reads and writes.
const stateFormat = 1

// ErrLocked: another agent works on the state directory.
var ErrLocked = errors.New("agent: another agent works with this state directory")

// state is what the agent knows between two runs: the directory as it has read
// it, and what the service has acknowledged of it. What is to be sent is the
// difference, so nothing is lost or sent for nothing when the agent is killed:
// what was acknowledged and not yet written down is sent again and changes
// nothing. It holds names and numbers and no hash of a password.
type state struct {
	Format    int              `json:"format"`
	Agent     string           `json:"agent"`  // names this installation in the service's events
	Tenant    string           `json:"tenant"` // the one tenant that this is about
	Domain    Domain           `json:"domain"` // and the one directory
	Cookie    Cookie           `json:"cookie"`
	Directory replica          `json:"directory"`
	Records   map[GUID]*record `json:"records"`
	// SaltKey makes the salts of digests: nobody else knows a salt beforehand, and
	// the same change gives the same digest when it is sent again.
	SaltKey []byte `json:"saltKey"`
	// Passwords were last all asked for by the service then, and sealed for this key.
	AllPasswords time.Time `json:"allPasswords,omitzero"`
	LegacyKey    string    `json:"legacyKey,omitempty"`
}

// record is what the service has of one object.
type record struct {
	Anchor   string `json:"anchor"` // never changes while the object is synced
	Class    class  `json:"class"`
	Offered  bool   `json:"offered,omitempty"` // it was sent, or was about to be: the service may have it
	Exists   bool   `json:"exists,omitempty"`  // the service has said that it has it
	Sent     string `json:"sent,omitempty"`    // fingerprint of what the service has taken
	Password stamp  `json:"password,omitzero"` // of the password that it has taken
	Object   *retry `json:"objectRetry,omitempty"`
	Secret   *retry `json:"passwordRetry,omitempty"`
}

// retry is an entry of the retry queue.
type retry struct {
	Of       string    `json:"of"` // what was refused: something else is sent at once
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"`
}

// Pauses of the retry queue.
const (
	firstRetry = 2 * time.Minute
	lastRetry  = time.Hour
)

// again notes one more refusal and returns the entry.
func (r *retry) again(of, reason string, now time.Time) *retry {
	if r == nil || r.Of != of {
		r = &retry{Of: of}
	}
	r.Reason = reason
	r.Next = now.Add(min(lastRetry, firstRetry<<min(r.Attempts, 10)))
	r.Attempts++
	return r
}

// due reports whether something may be sent.
func (r *retry) due(of string, now time.Time) bool {
	return r == nil || r.Of != of || !now.Before(r.Next)
}

// Store is a state directory, held by one agent.
type Store struct {
	dir  string
	lock *os.File
	state
	report Report
}

// OpenStore locks a state directory, making it where it is not there, and reads
// it. Errors: ErrLocked, and what is wrong with the files.
func OpenStore(dir string, random io.Reader) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// The kernel drops it with the process, however that ends.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, err
	}
	s := &Store{dir: dir, lock: lock}
	if err := s.load(random); err != nil {
		lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) load(random io.Reader) error {
	err := readJSON(filepath.Join(s.dir, stateFile), &s.state)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		var b [48]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return err
		}
		s.state = state{Format: stateFormat, Agent: GUID(b[:16]).String(), SaltKey: b[16:]}
	case err != nil:
		return err
	case s.Format != stateFormat:
		return fmt.Errorf("agent: %s has format %d, not %d", filepath.Join(s.dir, stateFile), s.Format, stateFormat)
	}
	if s.Directory == nil {
		s.Directory = replica{}
	}
	if s.Records == nil {
		s.Records = map[GUID]*record{}
	}
	if s.report, err = ReadReport(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close gives the directory up.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) save() error       { return writeJSON(filepath.Join(s.dir, stateFile), &s.state) }
func (s *Store) saveReport() error { return writeJSON(filepath.Join(s.dir, reportFile), &s.report) }

// forget makes all be sent again: objects and passwords, the directory read from
// its beginning. What the service has is still known, so that it can be deleted.
func (s *Store) forget() {
	s.Cookie = Cookie{}
	for _, r := range s.Records {
		r.Sent, r.Object = "", nil
	}
	s.forgetPasswords()
}

func (s *Store) forgetPasswords() {
	for _, r := range s.Records {
		r.Password, r.Secret = stamp{}, nil
	}
}

// Report is what an agent tells of itself when asked how it does.
type Report struct {
	Agent        string    `json:"agent"`
	Directory    string    `json:"directory"` // DNS name
	ObjectSync   time.Time `json:"objectSync,omitzero"`
	PasswordSync time.Time `json:"passwordSync,omitzero"`
	Heartbeat    time.Time `json:"heartbeat,omitzero"`
	Last         Run       `json:"last"`
	Users        int       `json:"users"`   // that the service has
	Groups       int       `json:"groups"`  // that the service has
	Retries      int       `json:"retries"` // entries of the retry queue
	Error        string    `json:"error,omitempty"`
	ErrorAt      time.Time `json:"errorAt,omitzero"`
}

// Run is what one run did.
type Run struct {
	Began     time.Time `json:"began,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	Full      bool      `json:"full"`
	Staging   bool      `json:"staging"`
	Read      int       `json:"read"`      // objects that had changed
	Sent      int       `json:"sent"`      // objects taken by the service, or in staging mode to be sent
	Deleted   int       `json:"deleted"`   // the same, of deletions
	Passwords int       `json:"passwords"` // the same, of passwords
	Filtered  int       `json:"filtered"`  // temporary passwords that the tenant does not take
	Refused   int       `json:"refused"`   // items that the service refused in this run
	Stopped   int       `json:"stopped"`   // deletions that were too many
}

// ReadReport reads the report of a state directory, also while an agent works
// with it.
func ReadReport(dir string) (Report, error) {
	var r Report
	err := readJSON(filepath.Join(dir, reportFile), &r)
	return r, err
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("agent: %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a file as a whole: after a crash there is the old one or
// the new one.
func writeJSON(path string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	// There is one writer, so one name does, and none is left behind for ever.
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
