//go:build unix && !linux

package pgchild

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// dieWithParent does nothing: only Linux has a parent death signal. A server
// that outlives us is ended by the next start (see waitForStale).
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// handOver needs every directory above dir to be open to the account.
func (a *account) handOver(_ *exec.Cmd, dir string) (dataDir, error) {
	if err := a.wayTo(filepath.Dir(dir)); err != nil {
		return dataDir{}, fmt.Errorf("PostgreSQL cannot reach its data: %w; chmod o+x it or choose another --data", err)
	}
	return dataDir{path: dir}, nil
}

func workingDir(int) string { return "" }

// isZombie: process 1 of these systems reaps.
func isZombie(int) bool { return false }

// syncTree: sync(2) has no narrower form here.
func syncTree(string) error {
	syscall.Sync()
	return nil
}
