package faults

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skyrealm/test/harness"
)

// Two processes wait to provision the domain of a third. The one that leads is killed, the
// other takes over, again and again.
func TestProvisionerKilled(t *testing.T) {
	url := harness.Database(t)
	first := harness.Start(t, "--database", url) // the first start makes all keys
	first.Stop()
	edge := seen(t, harness.StartIn(t, first.Dir, "--database", url, "--roles", "tenant,domain"))
	edge.database = url

	provisioner := func() *harness.Server {
		dir := t.TempDir()
		// The two keys that the role needs, and no other.
		if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"domain.ring", "domain.pem", "envelope.pem"} {
			text, err := os.ReadFile(filepath.Join(first.Dir, "keys", name))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "keys", name), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		return harness.StartIn(t, dir, "--database", url, "--roles", "provision")
	}
	// leader waits until another connection than was holds the lock.
	leader := func(was int64) (now int64) {
		harness.WaitFor(t, "a leader", func() (err error) {
			now, err = edge.sql(t.Context(), `SELECT coalesce(max(pid), 0) FROM pg_locks WHERE locktype = 'advisory' AND granted
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
			if err == nil && (now == 0 || now == was) {
				err = errors.New("none yet")
			}
			return err
		})
		return now
	}
	leads := provisioner()
	pid := leader(0)
	waits := provisioner()
	l := newLedger(t, edge)
	c := l.newChanger(t, 0)
	c.usable(t)
	var longest time.Duration
	for range times() {
		leads.Kill()
		longest = max(longest, c.usable(t))
		pid = leader(pid)
		leads.Run()
		leads, waits = waits, leads
	}
	t.Logf("usable at most %s after the leader's end", longest)
	l.verify(t, random(t), 1)
}
