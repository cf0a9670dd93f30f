package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"skyrealm/api"
	"skyrealm/cred"
	"skyrealm/store"
	"skyrealm/store/pgchild"
	"skyrealm/tenant"
)

const (
	host     = "login.contoso.test"
	tool     = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // the Azure CLI's client id
	graphAll = "https://graph.microsoft.com/.default"
	agentAll = "00000003-0000-0000-c000-000000000000/.default"
)

// One private server for the package, a database for each house.
var (
	serverDir string
	databases atomic.Int64
	server    = sync.OnceValues(func() (*pgchild.Server, error) {
		dir, err := os.MkdirTemp("", "api-")
		if err != nil {
			return nil, err
		}
		serverDir = filepath.Join(dir, "pg")
		return pgchild.Start(context.Background(), pgchild.Options{Dir: serverDir})
	})
	signingKey = sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func TestMain(m *testing.M) {
	status := m.Run()
	if serverDir != "" {
		if s, err := server(); err == nil {
			s.Stop(context.Background())
		}
		os.RemoveAll(filepath.Dir(serverDir))
	}
	os.Exit(status)
}

// clock is the house's: it stands still unless it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// sevens is randomness that a golden file can hold.
type sevens struct{}

func (sevens) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 7
	}
	return len(b), nil
}

// logs gathers what the house logs, at every level.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// house is the real thing: a tenant in a real database behind the real handler.
type house struct {
	*api.Server
	handler  http.Handler
	store    *store.Tenant
	db       *store.DB
	url      string // of the database
	founding *tenant.Founding
	private  cred.PrivateKey // the domain's, which the server never sees
	clock    *clock
	logs     *logs
	answers  bytes.Buffer // every body that do has got
}

// newHouse founds a tenant in a database of its own.
func newHouse(t testing.TB, change func(*api.Server)) *house {
	t.Helper()
	pg, err := server()
	if err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal(err)
		}
		t.Skip("no PostgreSQL server: ", err)
	}
	h := &house{clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, logs: &logs{}}
	log := slog.New(slog.NewJSONHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.url = database(t, pg)
	h.db, err = store.Open(t.Context(), h.url, store.Options{Rand: rand.Reader, Log: log})
	must(t, err)
	t.Cleanup(h.db.Close)
	ring, err := cred.NewRing(rand.Reader)
	must(t, err)
	h.private, err = cred.NewPrivateKey(rand.Reader)
	must(t, err)
	jwk, err := h.private.Public().JWK()
	must(t, err)
	h.founding, err = tenant.Found("contoso.test", "AADDS.CONTOSO.TEST", jwk, nil, h.clock.now().Add(-time.Hour), rand.Reader)
	must(t, err)
	h.store = h.db.Tenant(ring)
	must(t, h.store.Create(t.Context(), h.founding.Settings, h.founding.Objects, []tenant.App{h.founding.App}))

	h.Server = &api.Server{
		Tenant: &tenant.Service{Store: h.store, Now: h.clock.now, Rand: rand.Reader, Log: log},
		Key:    signingKey(), Log: log, Metrics: newRegistry(), Now: h.clock.now, Rand: sevens{},
	}
	if change != nil {
		change(h.Server)
	}
	h.handler, err = h.Handler(t.Context())
	must(t, err)
	return h
}

// database makes an empty one. It goes with the server.
func database(t testing.TB, pg *pgchild.Server) string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), pg.URL())
	must(t, err)
	defer c.Close(t.Context())
	name := "api" + strconv.FormatInt(databases.Add(1), 10)
	_, err = c.Exec(t.Context(), "CREATE DATABASE "+name)
	must(t, err)
	u, err := url.Parse(pg.URL())
	must(t, err)
	u.Path = "/" + name
	return u.String()
}

func newRegistry() *prometheus.Registry { return prometheus.NewRegistry() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) json(t testing.TB) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(r.body, &out); err != nil {
		t.Fatalf("%d %q: %v", r.status, r.body, err)
	}
	return out
}

// text returns the string at a path of member names.
func (r reply) text(t testing.TB, path ...string) string {
	t.Helper()
	var at any = r.json(t)
	for _, name := range path {
		at = at.(map[string]any)[name]
	}
	s, _ := at.(string)
	return s
}

func (h *house) do(t testing.TB, method, target, token string, body any, headers ...string) reply {
	t.Helper()
	var reader io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case url.Values:
		reader, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	case string:
		reader = strings.NewReader(b)
	case []byte:
		reader = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		must(t, err)
		reader = bytes.NewReader(raw)
	}
	r := httptest.NewRequest(method, "https://"+host+target, reader)
	r.Header.Set("Content-Type", kind)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	h.answers.Write(w.Body.Bytes())
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

func (h *house) signIn(t testing.TB, upn, password string) reply {
	t.Helper()
	return h.do(t, "POST", "/organizations/oauth2/v2.0/token", "", url.Values{"grant_type": {"password"}, "client_id": {tool},
		"scope": {graphAll + " openid profile offline_access"}, "client_info": {"1"}, "username": {upn}, "password": {password}})
}

// token signs in and returns the access token.
func (h *house) token(t testing.TB, upn, password string) string {
	t.Helper()
	r := h.signIn(t, upn, password)
	if r.status != 200 {
		t.Fatalf("sign-in of %s: %d %s", upn, r.status, r.body)
	}
	return r.text(t, "access_token")
}

func (h *house) admin(t testing.TB) string {
	return h.token(t, h.founding.AdminUPN, h.founding.AdminPassword)
}

func (h *house) agent(t testing.TB) string {
	t.Helper()
	r := h.do(t, "POST", "/contoso.test/oauth2/v2.0/token", "", url.Values{"grant_type": {"client_credentials"}, "scope": {agentAll},
		"client_id": {h.founding.App.ClientID.String()}, "client_secret": {h.founding.AgentSecret}})
	if r.status != 200 {
		t.Fatalf("sign-in of the agent: %d %s", r.status, r.body)
	}
	return r.text(t, "access_token")
}

// create makes a cloud-only user who need not change the password.
func (h *house) create(t testing.TB, name, password string) string {
	t.Helper()
	r := h.do(t, "POST", "/v1.0/users", h.admin(t), newUser(name, password, false))
	if r.status != 201 {
		t.Fatalf("create %s: %d %s", name, r.status, r.body)
	}
	return r.text(t, "id")
}

func newUser(name, password string, force bool) map[string]any {
	return map[string]any{"@odata.type": "#microsoft.graph.user", "accountEnabled": true, "DisplayName": name, "mailNickName": name,
		"userPrincipalName": name + "@contoso.test", "jobTitle": nil,
		"passwordProfile": map[string]any{"password": password, "forceChangePasswordNextSignIn": force}}
}
