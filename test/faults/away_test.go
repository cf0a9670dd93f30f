package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"skyrealm/agent"
)

// While the database is down, the domain's sign-ins go on, the tenant's answers
// are 503 with Retry-After, and an agent waits on its own until it is back.
func TestDatabaseAway(t *testing.T) {
	s := start(t)
	l := newLedger(t, s)
	c := l.newChanger(t, 0)
	l.settle(t)
	ctx := t.Context()
	late := l.synced("late")
	item := late.object()
	hash, err := l.hash(late)
	if err != nil {
		t.Fatal(err)
	}
	client := l.agent()
	if _, err := client.Configuration(ctx); err != nil { // it has its token
		t.Fatal(err)
	}

	release := hold(t, s)
	at := s.now.Load()
	requests := map[string]func() (answer, error){
		"objects": func() (answer, error) {
			return at.call(ctx, http.MethodPost, "/sync/v1/objects:batch", l.token, map[string]any{"items": []agent.Object{item}})
		},
		"hashes": func() (answer, error) {
			return at.call(ctx, http.MethodPost, "/sync/v1/passwordHashes:batch", l.token, map[string]any{"items": []agent.Hash{hash}})
		},
		"changePassword": func() (answer, error) {
			return at.call(ctx, http.MethodPost, "/v1.0/me/changePassword", c.token, map[string]string{"currentPassword": c.password, "newPassword": "Never-becomes-0ne"})
		},
		"create": func() (answer, error) {
			return at.call(ctx, http.MethodPost, "/v1.0/users", l.admin, map[string]any{
				"accountEnabled": true, "displayName": "x", "mailNickname": "never", "userPrincipalName": "never@" + s.TenantDomain,
				"passwordProfile": map[string]any{"password": "First-passw0rd"}})
		},
		"reset": func() (answer, error) {
			return at.call(ctx, http.MethodPatch, "/v1.0/users/"+c.upn, l.admin, map[string]any{"passwordProfile": map[string]any{"password": "Never-becomes-0ne"}})
		},
		"read": func() (answer, error) { return at.call(ctx, http.MethodGet, "/v1.0/me", c.token, nil) },
		"sign-in": func() (answer, error) {
			return at.token(ctx, url.Values{"grant_type": {"password"}, "client_id": {publicClient}, "username": {c.upn}, "password": {c.password}})
		},
	}
	began := time.Now()
	for range 3 {
		for name, send := range requests {
			a, err := send()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			busy, err := a.busy()
			if !busy || err != nil {
				t.Errorf("%s: %v %v", name, &a, err)
			}
		}
		if err := s.steady(l.steady); err != nil {
			t.Error(err)
		}
		if err := s.steady(c.person); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d requests answered in %s", 3*len(requests), time.Since(began))
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		if a, err := at.call(ctx, http.MethodGet, path, "", nil); err != nil || a.status != want {
			t.Errorf("%s: %v %v", path, &a, err)
		}
	}

	// The agent starts in the outage and gets through after it.
	pushed := make(chan error, 1)
	go func() {
		_, err := client.Objects(ctx, []agent.Object{item})
		if err == nil {
			_, err = client.Hashes(ctx, []agent.Hash{hash})
		}
		pushed <- err
	}()
	select {
	case err := <-pushed:
		t.Errorf("the agent is done without a database: %v", err)
	default:
	}
	release()
	if err := s.up(ctx, at); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	if err := <-pushed; err != nil {
		t.Fatal(err)
	}
	if err := c.step(ctx); err != nil { // from the password before: nothing above became one
		t.Fatal(err)
	}
	c.old = append(c.old, "Never-becomes-0ne")
	l.settle(t)
	t.Logf("the domain is up to date %s after the database was back", time.Since(back))
	l.people = append(l.people, late)
	l.verify(t, random(t), 10)
}

// hold kills each database server as soon as there is one, until it is released.
// No process of the first one answers any more when it returns.
func hold(t *testing.T, s *service) (release func()) {
	t.Helper()
	processes := databaseProcesses(t, s)
	last := killPostgres(t, s)
	for deadline := time.Now().Add(10 * time.Second); slices.ContainsFunc(processes, lives); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes of the killed database server go on: %d", processes)
		}
	}
	quit := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for {
			if pid, err := s.PostgresPID(); err == nil && pid != last && pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				last = pid
			}
			select {
			case <-quit:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() {
		close(quit)
		killer.Wait()
	}
}

// While the database stands still, the domain's sign-ins go on. Writes that were
// on their way are done when it goes on, or are not if it dies.
func TestDatabaseStalled(t *testing.T) {
	s := start(t)
	r := random(t)
	l := newLedger(t, s)
	steps := []func(context.Context) error{l.newSyncer(r, 0).step, l.newChanger(t, 0).step, l.newChanger(t, 1).step}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for i := range rounds {
		stop := l.load(t, steps)
		l.await(t, i)
		time.Sleep(time.Duration(r.Int64N(int64(jitter))))
		pids := stall(t, s)
		for range 5 {
			if err := s.steady(l.steady); err != nil {
				t.Error(err)
			}
		}
		signal := syscall.SIGCONT
		if i%2 == 1 {
			signal = syscall.SIGKILL
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
		l.await(t, i)
		l.await(t, i+1)
		stop()
	}
	l.verify(t, r, 40)
}

// stall stops the database server with all of its processes.
func stall(t *testing.T, s *service) (pids []int) {
	t.Helper()
	postmaster, err := s.PostgresPID()
	if err == nil {
		err = syscall.Kill(postmaster, syscall.SIGSTOP) // first, so that it forks no more
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(postmaster, syscall.SIGCONT)
		}
	})
	pids = databaseProcesses(t, s)
	for _, pid := range pids[1:] {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return pids
}

// databaseProcesses are the database server's, its parent first.
func databaseProcesses(t *testing.T, s *service) (pids []int) {
	t.Helper()
	postmaster, err := s.PostgresPID()
	if err != nil {
		t.Fatal(err)
	}
	pids = append(pids, postmaster)
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		if _, parent := status(pid); parent == strconv.Itoa(postmaster) {
			pids = append(pids, pid)
		}
	}
	if len(pids) < 4 {
		t.Fatalf("the database server has only %d processes", len(pids))
	}
	return pids
}

// lives tells whether a process is there and more than a zombie.
func lives(pid int) bool {
	state, _ := status(pid)
	return state != "" && state != "Z"
}

// status is a process's state and parent, both empty if it has ended.
func status(pid int) (state, parent string) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", ""
	}
	// proc(5): pid (name) state ppid …
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	if fields := bytes.Fields(rest); len(fields) > 1 {
		return string(fields[0]), string(fields[1])
	}
	return "", ""
}
