package faults

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"skyrealm/test/harness"
)

const (
	fileUsers = 5000 // in each version of the file
	leavers   = 50   // the first so many of a version are not in the next, which has as many new ones
	crews     = 4    // groups
	crewShare = 32   // a crew has every so-manieth user
)

// The agent, the server and its database are killed at random while a file of
// 5,000 users is pushed, version after version (issue 3). The agent is started
// again as by cron until it succeeds. After that, everybody is there once, with
// all that the last version acknowledged said of them.
func TestAgentKilled(t *testing.T) {
	r := random(t)
	// An agent stays with the address that it began with, so the port has to be
	// the same after each start.
	s := start(t, "--https", port(t, r))
	l := newLedger(t, s)
	p := &pusher{ledger: l, path: filepath.Join(t.TempDir(), "people.jsonl"), changed: time.Now().UTC().Add(-24 * time.Hour).Truncate(time.Second)}
	for i := range crews {
		p.syncers = append(p.syncers, &syncer{ledger: l, team: &group{anchor: fmt.Sprint("anchor-crew", i), name: fmt.Sprint("Crew", i)}})
	}
	kills := 100
	if testing.Short() {
		kills = 10
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.load(t)
	}()
	began, counts := time.Now(), map[victim]int{}
	var turns []victim
	for i := 0; i < kills && !t.Failed(); {
		if len(turns) == 0 { // each third kill is of each kind, in an order that is never the same
			turns = []victim{theAgent, theServer, theDatabase}
			r.Shuffle(len(turns), func(i, j int) { turns[i], turns[j] = turns[j], turns[i] })
		}
		if p.strike(t, r, turns[0]) {
			counts[turns[0]]++
			turns = turns[1:]
			i++
		}
	}
	struck := time.Since(began)
	p.enough.Store(true)
	<-ended
	if t.Failed() {
		return
	}
	t.Logf("%v in %s, %s of it down, all pushed after %s: %d versions in %d runs, of which %d were killed and %d gave up; %d people, feed at %d",
		counts, struck, p.down, time.Since(began), p.version, p.runs, p.killed, p.gaveUp, len(p.people), p.seen)

	// Once more, and it changes nothing.
	before, err := s.sql(t.Context(), feedHead)
	if err != nil {
		t.Fatal(err)
	}
	again := p.run()
	<-again.done
	want := fmt.Sprintf("reasons: unchanged %d\n", 2*fileUsers+crews)
	if again.err != nil || !strings.Contains(again.out.String(), want) {
		t.Errorf("the last version again: %v\n%s", again.err, &again.out)
	}
	if after, err := s.sql(t.Context(), feedHead); err != nil || after != before {
		t.Errorf("it moved the feed from %d to %d, %v", before, after, err)
	}
	p.verify(t, r)
}

// port is a free one below those that the kernel gives to connections: while the
// server is dead, nobody else takes it.
func port(t *testing.T, r *rand.Rand) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprint(":", 20000+r.IntN(10000))
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

type victim string

const (
	theAgent    victim = "agent"
	theServer   victim = "server"
	theDatabase victim = "database"
)

// pusher runs `agent push` on version after version of a file.
type pusher struct {
	*ledger
	path    string
	changed time.Time // of the first version's passwords
	seen    int64     // highest USN that was seen in the database, which is that of a commit

	current []*person // who is in the file
	version int
	enough  atomic.Bool // the version in work is the last
	now     atomic.Pointer[process]

	runs, killed, gaveUp int
	down                 time.Duration // from the kills until all was up again
}

// process is one run of the command.
type process struct {
	cmd  *exec.Cmd
	out  bytes.Buffer  // read after done
	err  error         // likewise
	done chan struct{} // closed when it has ended
}

func (p *pusher) run() *process {
	c := &process{cmd: exec.Command(harness.Binary(p.s.t), "agent", "push", p.path), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), "SKYREALM_DATA="+p.s.Dir)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan struct{})
	go func() {
		defer close(c.done)
		runtime.LockOSThread() // Pdeathsig counts from the thread that forked
		defer runtime.UnlockOSThread()
		c.err = c.cmd.Start()
		close(started)
		if c.err == nil {
			c.err = c.cmd.Wait()
		}
	}()
	<-started
	return c
}

// load pushes versions until it is enough, each until the command has succeeded:
// what a version says is acknowledged before the next one is written.
func (p *pusher) load(t *testing.T) {
	for p.version < 2 || !p.enough.Load() {
		if err := p.write(); err != nil {
			t.Error(err)
			return
		}
		for pushed := false; !pushed; {
			c := p.run()
			p.runs++
			p.now.Store(c)
			<-c.done
			// Cron does not come at once either.
			if err := nap(t.Context()); err != nil {
				return
			}
			exit := (*exec.ExitError)(nil)
			switch {
			case c.err == nil:
				pushed = true
			case !errors.As(c.err, &exit):
				t.Error(c.err)
				return
			case exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
				p.killed++
			case bytes.Contains(c.out.Bytes(), []byte("after 8 attempts: ")):
				p.gaveUp++
			default: // it has to bear with every outage, and nothing may be refused
				t.Errorf("agent push: %v\n%s", c.err, &c.out)
				return
			}
		}
	}
}

// write makes the next version: some users have gone, some are new, nine of ten
// have a new name, half a new password, and the groups other members.
func (p *pusher) write() error {
	p.version++
	all := p.people[1:] // the first is the ledger's own
	first := leavers * (p.version - 1)
	for len(all) < first+fileUsers {
		p.people = append(p.people, p.synced(fmt.Sprintf("file%05d", len(all))))
		all = p.people[1:]
	}
	p.current = all[first:]
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	for _, y := range p.syncers {
		y.team.members = map[*person]bool{}
		if err := out.Encode(map[string]any{"type": "group", "sourceAnchor": y.team.anchor, "sAMAccountName": y.team.name}); err != nil {
			return err
		}
	}
	for i, u := range p.current {
		i += first
		fresh := u.password == ""
		if fresh || (i+p.version)%10 != 0 {
			u.name = fmt.Sprintf("%s version %d", u.sam, p.version)
		}
		if fresh || (i+p.version)%2 == 0 {
			if !fresh {
				u.old = append(u.old, u.password)
			}
			u.rev, u.at = p.version, (u.at+1)%poolSize
			u.password = p.pool[u.at].text
		}
		line := map[string]any{"sourceAnchor": u.anchor, "userPrincipalName": u.upn, "sAMAccountName": u.sam, "displayName": u.name,
			"pwdLastSet": p.changed.Add(time.Duration(u.rev) * time.Minute), "ntHash": hex.EncodeToString(p.pool[u.at].legacy.NT.Expose())}
		var keys []map[string]any
		for _, k := range p.pool[u.at].legacy.Keys {
			keys = append(keys, map[string]any{"etype": k.Key.ID(), "salt": k.Salt, "iterations": k.Iterations, "key": hex.EncodeToString(k.Key.Expose())})
		}
		line["kerberosKeys"] = keys
		if crew := (i + p.version) % crewShare; crew < crews {
			p.syncers[crew].team.members[u] = true
			line["memberOf"] = []string{p.syncers[crew].team.name}
		}
		if err := out.Encode(line); err != nil {
			return err
		}
	}
	return os.WriteFile(p.path, text.Bytes(), 0o600)
}

// strike kills in the middle of a push and waits until all is up again: soon
// after the agent's start or the last outage, or when a batch more is
// committed. It is false if the agent was done before.
func (p *pusher) strike(t *testing.T, r *rand.Rand, v victim) bool {
	t.Helper()
	further, about := 250*(r.Int64N(3)/2), jitter // one in three
	if further == 0 {
		about = 300 * time.Millisecond // its start, its pauses, and what it sends again
	}
	var c *process
	goal := p.seen + further
	harness.WaitFor(t, "the agent's next work", func() error {
		if t.Failed() {
			return nil
		}
		head, err := p.s.sql(t.Context(), feedHead)
		if err != nil {
			return err
		}
		p.seen = max(p.seen, head)
		if c = p.now.Load(); c == nil || head < goal {
			return fmt.Errorf("the feed is at %d, not yet at %d", head, goal)
		}
		return nil
	})
	time.Sleep(time.Duration(r.Int64N(int64(about))))
	if c == nil {
		return false // t has failed
	}
	select {
	case <-c.done:
		return false
	default:
	}
	began := time.Now()
	switch v {
	case theAgent:
		if err := c.cmd.Process.Kill(); err != nil {
			return false
		}
		<-c.done
		if c.err == nil {
			return false
		}
	case theServer:
		p.s.kill()
		p.s.run()
	case theDatabase:
		pid := killPostgres(t, p.s)
		harness.WaitFor(t, "another database server", func() error {
			if !answers(p.s, pid) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	p.kept(t, p.seen)
	p.down += time.Since(began)
	return true
}

// verify holds the service to the file, and to the earlier versions for those who
// are no longer in it.
func (p *pusher) verify(t *testing.T, r *rand.Rand) {
	t.Helper()
	at := p.s.now.Load()
	conn, err := at.ldap()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if ok, err := bind(conn, p.steady.upn, p.steady.password); !ok {
		t.Fatalf("bind: %v", err)
	}

	// Everybody once, with the last name and a SID of their own, and the members of
	// the last version only.
	p.verifyObjects(t, conn, p.people)
	entries, err := everything(conn, p.s.BaseDN, "(sAMAccountName=file*)", "userPrincipalName")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[strings.ToLower(e.GetAttributeValue("userPrincipalName"))] = true
	}
	people := len(p.people) - 1
	if len(entries) != people || len(names) != people {
		t.Errorf("the domain has %d users with %d names, not %d", len(entries), len(names), people)
	}
	for what, query := range map[string]string{
		"objects":     `SELECT count(*) FROM tenant.object WHERE anchor LIKE 'anchor-file%' OR upn_key LIKE 'file%'`,
		"anchors":     `SELECT count(DISTINCT anchor) FROM tenant.object WHERE anchor LIKE 'anchor-file%' AND deleted IS NULL`,
		"names":       `SELECT count(DISTINCT upn_key) FROM tenant.object WHERE upn_key LIKE 'file%'`,
		"credentials": `SELECT count(*) FROM tenant.credential c JOIN tenant.object o ON o.id = c.object_id WHERE o.anchor LIKE 'anchor-file%'`,
	} {
		if n, err := p.s.sql(t.Context(), query); err != nil || n != int64(people) {
			t.Errorf("the tenant has %d %s of users, not %d, %v", n, what, people, err)
		}
	}

	// Of the file 300 sign in, and 50 of those that have left it. All do it over
	// LDAP, some over everything.
	present, gone := slices.Clone(p.current), slices.Clone(p.people[1:len(p.people)-fileUsers])
	for _, list := range [][]*person{present, gone} {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	type job struct {
		*person
		all bool
	}
	var jobs []job
	for i, u := range present[:300] {
		jobs = append(jobs, job{u, i < 100})
	}
	for i, u := range gone[:min(50, len(gone))] {
		jobs = append(jobs, job{u, i < 10})
	}
	next := make(chan job)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			conn, err := at.ldap()
			if err != nil {
				t.Error(err)
			} else {
				defer conn.Close()
			}
			for job := range next {
				if err != nil {
					continue // said already
				}
				err := p.verifySignIn(t, at, conn, job.person, job.all)
				if err == nil && job.all {
					err = p.verifyUser(t, at, job.person)
				}
				if err != nil {
					t.Errorf("%s: %v", job.sam, err)
				}
			}
		})
	}
	for _, job := range jobs {
		next <- job
	}
	close(next)
	all.Wait()
}

// verifyUser holds what the tenant says of a user to the file.
func (p *pusher) verifyUser(t *testing.T, at *ends, u *person) error {
	a, err := at.call(t.Context(), http.MethodGet, "/v1.0/users/"+u.upn+"?$select=displayName,onPremisesImmutableId", p.admin, nil)
	if err != nil {
		return err
	}
	var user struct{ DisplayName, OnPremisesImmutableID string }
	if err := json.Unmarshal(a.body, &user); err != nil {
		return err
	}
	if a.status != http.StatusOK || user.DisplayName != u.name || user.OnPremisesImmutableID != u.anchor {
		return fmt.Errorf("the file says %s, %q, the tenant: %v", u.anchor, u.name, &a)
	}
	return nil
}
