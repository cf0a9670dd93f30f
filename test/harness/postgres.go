package harness

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"skyrealm/store/pgchild"
)

var (
	postgresDir string
	databases   atomic.Int64
	postgres    = sync.OnceValues(func() (*pgchild.Server, error) {
		dir, err := os.MkdirTemp("", "skyrealm-pg-") // short: a socket lies in it
		if err != nil {
			return nil, err
		}
		postgresDir = dir
		return pgchild.Start(context.Background(), pgchild.Options{Dir: filepath.Join(dir, "pg")})
	})
)

// Database makes an empty database for the test and returns its URL. One server
// serves all tests of a package; the package's TestMain calls [Main], which
// stops it.
func Database(t testing.TB) string {
	t.Helper()
	s, err := postgres()
	if err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal(err)
		}
		t.Skip("no PostgreSQL server: ", err)
	}
	name := fmt.Sprintf("test%d", databases.Add(1))
	sql := func(query string) {
		t.Helper()
		c, err := pgx.Connect(context.Background(), s.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(context.Background(), query); err != nil {
			t.Fatal(err)
		}
	}
	sql(`CREATE DATABASE ` + name)
	t.Cleanup(func() { sql(`DROP DATABASE ` + name + ` WITH (FORCE)`) })
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func stopPostgres() {
	if postgresDir == "" {
		return // no test asked for it
	}
	if s, err := postgres(); err == nil {
		_ = s.Stop(context.Background())
	}
	os.RemoveAll(postgresDir)
}
