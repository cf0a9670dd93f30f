package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stat is what /proc/PID/stat says, from its third field on (proc(5)).
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The second field, the command's name in parentheses, may hold anything.
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])), nil
}

// ticks of the fields, in the kernel's hundredths of a second.
func ticks(fields []string, which ...int) (d time.Duration) {
	for _, i := range which {
		n, _ := strconv.ParseInt(fields[i-3], 10, 64)
		d += time.Duration(n) * 10 * time.Millisecond
	}
	return d
}

// cpuTime is the time that a process has computed, in user and kernel mode.
func cpuTime(b testing.TB, pid int) time.Duration {
	b.Helper()
	fields, err := stat(pid)
	if err != nil {
		b.Fatal(err)
	}
	return ticks(fields, 14, 15)
}

// cpuTimeOfAll is that of a process and all its children, gone ones included.
func cpuTimeOfAll(b testing.TB, pid int) time.Duration {
	b.Helper()
	fields, err := stat(pid)
	if err != nil {
		b.Fatal(err)
	}
	sum := ticks(fields, 14, 15, 16, 17)
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		b.Fatal(err)
	}
	for _, dir := range all {
		child, _ := strconv.Atoi(filepath.Base(dir))
		if fields, err := stat(child); err == nil && fields[4-3] == strconv.Itoa(pid) {
			sum += ticks(fields, 14, 15)
		}
	}
	return sum
}

// parent is a process's.
func parent(b testing.TB, pid int) int {
	b.Helper()
	fields, err := stat(pid)
	if err != nil {
		b.Fatal(err)
	}
	n, err := strconv.Atoi(fields[4-3])
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// residentMost is the largest that a process's resident set ever was, in bytes.
func residentMost(b testing.TB, pid int) int64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	b.Fatal("no VmHWM")
	return 0
}
