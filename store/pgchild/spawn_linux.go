package pgchild

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent asks the kernel to send the child sig when the thread that
// forked it ends; see [Server.supervise] for what that means.
func dieWithParent(a *syscall.SysProcAttr, sig syscall.Signal) { a.Pdeathsig = sig }

// handOver passes dir as an open file. The server's user can go to
// /proc/self/fd/3 even where a directory above dir is closed to it (/root, or a
// data directory of mode 0700 that holds our keys): the kernel does not walk
// those again. Nothing above dir has to be opened to that user for it.
func (a *account) handOver(cmd *exec.Cmd, dir string) (dataDir, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return dataDir{}, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	return dataDir{path: fmt.Sprintf("/proc/self/fd/%d", 2+len(cmd.ExtraFiles)), file: f}, nil
}

// workingDir is where the process stands, or nothing where that cannot be known.
func workingDir(pid int) string {
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return ""
	}
	return dir
}

// isZombie tells whether the process has ended and waits for its parent to ask.
func isZombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := bytes.LastIndex(b, []byte(") ")) // the name may hold anything, the fields after it not
	return i >= 0 && bytes.HasPrefix(b[i+2:], []byte("Z"))
}

// syncTree makes all that stands on dir's file system durable.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
