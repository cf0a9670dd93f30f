package pgchild

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that the server runs as where we are root. A nil account
// is ourselves.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount picks who runs the server in dir. A cluster that exists keeps
// its owner; a new one is given to the machine's postgres user, else to nobody:
// initdb asks the passwd file for its own name, so a bare number will not do.
func serverAccount(dir string, exists bool) (*account, error) {
	uid, owner := os.Geteuid(), -1
	if exists {
		fi, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			owner = int(st.Uid)
		}
	}
	if uid != 0 {
		if exists && owner != uid {
			return nil, fmt.Errorf("%s belongs to user %d and this is user %d: run as that user or as root", dir, owner, uid)
		}
		return nil, nil
	}
	if exists {
		u, err := user.LookupId(strconv.Itoa(owner))
		if err != nil || owner == 0 {
			return nil, fmt.Errorf("%s belongs to user %d, as whom PostgreSQL cannot run: chown -R it to postgres", dir, owner)
		}
		return newAccount(u)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return newAccount(u)
		}
	}
	return nil, errors.New("PostgreSQL does not run as root and this machine has neither a postgres nor a nobody user: run skyrealm as a normal user")
}

func newAccount(u *user.User) (*account, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has uid %q: %w", u.Username, u.Uid, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has gid %q: %w", u.Username, u.Gid, err)
	}
	return &account{name: u.Username, uid: uint32(uid), gid: uint32(gid)}, nil
}

// mayEnter tells whether the account passes dir's own permission bits.
func (a *account) mayEnter(dir string) bool {
	if a == nil {
		return true
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return false
	case st.Uid == a.uid:
		return st.Mode&0o100 != 0
	case st.Gid == a.gid:
		return st.Mode&0o010 != 0
	}
	return st.Mode&0o001 != 0
}

// dataDir is a directory handed to a child: by its name, or as an open file
// that the child inherits.
type dataDir struct {
	path string
	file *os.File
}

func (d dataDir) Close() {
	if d.file != nil {
		d.file.Close()
	}
}

// environment is all that the children see of ours: PGDATA, PGOPTIONS and their
// kin would change what the server does.
var environment = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}

// adopt makes cmd a child of its own process group (an interrupt typed at the
// terminal is for us to pass on) that runs as the account, gets sig when we
// die, and can reach dir by the path returned.
func (a *account) adopt(cmd *exec.Cmd, dir string, sig syscall.Signal) (dataDir, error) {
	cmd.Env = environment
	cmd.Dir = "/" // ours may be one that the account cannot come back to
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr, sig)
	if a == nil {
		return dataDir{path: dir}, nil
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	return a.handOver(cmd, dir)
}
