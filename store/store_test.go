package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/sid"
	"skyrealm/store/pgchild"
	"skyrealm/tenant"
)

// One server for all tests of the package, a database for each.
var (
	serverDir  string
	databases  atomic.Int64
	testServer = sync.OnceValues(func() (*pgchild.Server, error) {
		dir, err := os.MkdirTemp("", "store-")
		if err != nil {
			return nil, err
		}
		serverDir = filepath.Join(dir, "pg")
		return pgchild.Start(context.Background(), pgchild.Options{Dir: serverDir})
	})
)

func TestMain(m *testing.M) {
	status := m.Run()
	if serverDir != "" {
		if s, err := testServer(); err == nil {
			s.Stop(context.Background())
		}
		os.RemoveAll(filepath.Dir(serverDir))
	}
	os.Exit(status)
}

// newDatabase makes an empty database and returns its URL and a connection that the
// code under test does not know of.
func newDatabase(t testing.TB) (string, *pgx.Conn) {
	t.Helper()
	s, err := testServer()
	if err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal(err)
		}
		t.Skip("no PostgreSQL server: ", err)
	}
	admin := connect(t, s.URL())
	name := fmt.Sprintf("test%d", databases.Add(1))
	mustExec(t, admin, `CREATE DATABASE `+name)
	t.Cleanup(func() { mustExec(t, admin, `DROP DATABASE `+name+` WITH (FORCE)`) })
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String(), connect(t, u.String())
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func mustExec(t testing.TB, c *pgx.Conn, query string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// house is an open database with a tenant and a domain.
type house struct {
	*DB
	url    string
	admin  *pgx.Conn
	tenant *Tenant
	domain *Domain
	rings  [2]*cred.Ring
	info   domain.Info
	log    *bytes.Buffer
}

func newRing(t testing.TB) *cred.Ring {
	t.Helper()
	r, err := cred.NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newHouse(t testing.TB, change ...func(*pgxpool.Config)) *house {
	t.Helper()
	h := &house{log: new(bytes.Buffer)}
	h.url, h.admin = newDatabase(t)
	cfg, err := pgxpool.ParseConfig(h.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(cfg)
	}
	h.DB, err = open(t.Context(), cfg, Options{Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(h.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	h.rings = [2]*cred.Ring{newRing(t), newRing(t)}
	h.tenant, h.domain = h.Tenant(h.rings[0]), h.Domain(h.rings[1])
	id := newID(t)
	check(t, h.tenant.Create(t.Context(), tenant.Settings{TenantID: id, DisplayName: "Contoso"}, nil, nil))
	h.info = domain.Info{DNSName: "aadds.contoso.test", NetBIOS: "AADDS", SID: sid.New(5, 21, 1, 2, 3), GUID: newID(t),
		DC: "DC1", Tenant: id, Administrators: newID(t), Created: moment}
	check(t, h.domain.Create(t.Context(), h.info, nil))
	return h
}

// moment has microseconds, as the database keeps no more.
var moment = time.Date(2026, 11, 21, 12, 30, 15, 123456000, time.UTC)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func newID(t testing.TB) tenant.ID {
	t.Helper()
	id, err := tenant.NewID(rand.Reader)
	check(t, err)
	return id
}

// user is a live synced user, named after its anchor.
func user(t testing.TB, anchor string) tenant.Object {
	t.Helper()
	return tenant.Object{ID: newID(t), Kind: tenant.User, Anchor: anchor, UPN: anchor + "@contoso.test", Enabled: true,
		Profile: tenant.Profile{DisplayName: "User " + anchor}, Created: moment, Changed: moment}
}

func group(t testing.TB, anchor string) tenant.Object {
	t.Helper()
	return tenant.Object{ID: newID(t), Kind: tenant.Group, Anchor: anchor, Enabled: true,
		Profile: tenant.Profile{DisplayName: "Group " + anchor}, Created: moment, Changed: moment}
}

func writes(objects ...tenant.Object) []tenant.ObjectWrite {
	out := make([]tenant.ObjectWrite, len(objects))
	for i := range objects {
		out[i].Object = objects[i]
	}
	return out
}

// put stores objects and returns them as they are now.
func (h *house) put(t testing.TB, objects ...tenant.Object) []tenant.Object {
	t.Helper()
	_, err := h.tenant.PutObjects(t.Context(), writes(objects...), nil)
	check(t, err)
	for i := range objects {
		objects[i].Revision++
	}
	return objects
}

func digest(t testing.TB, password string) cred.Digest {
	t.Helper()
	d, err := cred.NewDigest(cred.NTHashOf(password), rand.Reader)
	check(t, err)
	return d
}

func set(t testing.TB, o tenant.Object, version int64) tenant.Credential {
	t.Helper()
	return tenant.Credential{Object: o.ID, Version: version, Source: tenant.FromSync, Digest: digest(t, fmt.Sprint(version)),
		Legacy: cred.Sealed(fmt.Sprintf("sealed.%d", version))}
}

// changes reads the tenant's feed to its end, in pages, and checks its order.
func (h *house) changes(t testing.TB, after tenant.USN, page int) []tenant.Change {
	t.Helper()
	var all []tenant.Change
	for {
		got, err := h.domain.TenantChanges(t.Context(), after, page)
		check(t, err)
		for _, c := range got {
			if c.USN <= after {
				t.Fatalf("USN %d after %d", c.USN, after)
			}
			after = c.USN
		}
		all = append(all, got...)
		if len(got) < page {
			return all
		}
	}
}
