package pgchild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// usualPlaces are where the server's binaries stand: Debian and its kin,
// PGDG's RPMs, Alpine, SUSE, Homebrew on both kinds of Mac.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/libexec/postgresql*",
	"/usr/lib/postgresql*/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/usr/local/pgsql/bin",
}

// oldest is the first major version that the settings are valid for
// (log_parameter_max_length came with 13).
const oldest = 13

// candidate is a directory that holds postgres and initdb.
type candidate struct {
	dir   string
	major int
}

// binaries returns the directory to run from: for a cluster of a major version
// the one that fits, for a new one the newest.
func binaries(ctx context.Context, o Options, a *account, major int, cluster string) (string, error) {
	places := o.BinDirs
	if places == nil {
		places = usualPlaces
		if path, err := exec.LookPath("postgres"); err == nil {
			if path, err = filepath.EvalSymlinks(path); err == nil {
				places = append(slices.Clone(places), filepath.Dir(path))
			}
		}
	}
	found := candidates(ctx, places, a)
	if dir, ok := choose(found, major); ok {
		return dir, nil
	}
	if major != 0 && major != bundleMajor {
		have := "has no PostgreSQL server"
		if len(found) > 0 {
			var all []string
			for _, c := range found {
				all = append(all, strconv.Itoa(c.major))
			}
			have = "has " + strings.Join(all, ", ")
		}
		return "", fmt.Errorf("%s was made by PostgreSQL %d and this machine %s: install version %d (Debian: apt-get install postgresql-%d), or move the data with pg_upgrade", cluster, major, have, major, major)
	}
	return bundle(ctx, o.CacheDir, a)
}

// candidates looks into places, which may hold *, newest version first.
func candidates(ctx context.Context, places []string, a *account) (found []candidate) {
	for _, pattern := range places {
		dirs, _ := filepath.Glob(pattern) // fails only on a bad pattern, which finds nothing
		for _, dir := range dirs {
			if slices.ContainsFunc(found, func(c candidate) bool { return c.dir == dir }) || a.wayTo(dir) != nil {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
				continue
			}
			if major, err := serverMajor(ctx, dir); err == nil && major >= oldest {
				found = append(found, candidate{dir, major})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(b.major, a.major) })
	return found
}

func choose(found []candidate, major int) (string, bool) {
	for _, c := range found {
		if major == 0 || c.major == major {
			return c.dir, true
		}
	}
	return "", false
}

// versionLine is what `postgres --version` prints: "postgres (PostgreSQL) 15.18
// (Debian …)", "postgres (PostgreSQL) 19beta1".
var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func serverMajor(ctx context.Context, dir string) (int, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version")
	cmd.Env = environment
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return 0, errors.New("not a PostgreSQL server")
	}
	return strconv.Atoi(string(m[1]))
}

// wayTo is nil where the account can enter dir and every directory above it.
func (a *account) wayTo(dir string) error {
	for d := dir; ; d = filepath.Dir(d) {
		if !a.mayEnter(d) {
			return fmt.Errorf("user %s cannot enter %s", a.name, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
