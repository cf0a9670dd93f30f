package faults

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5"
	"github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"

	"skyrealm/test/harness"
)

// publicClient is Azure PowerShell's id, and graph the resource of its tokens.
const (
	publicClient = "1b730954-1685-4b74-9bfd-dac224a7b894"
	graph        = "https://graph.microsoft.com/.default"
)

// service is the program as clients see it, across its deaths.
type service struct {
	*harness.Server
	t        testing.TB
	now      atomic.Pointer[ends]
	database string
}

// ends are the places of one process, which has new ports after each start.
type ends struct {
	harness.Ready
	http *http.Client
	tls  *tls.Config
	krb5 map[int32]*krbconfig.Config // by the one etype that the client has
}

// start starts a service that locks nobody out: the tests here try old passwords again and
// again, to see that they are refused as such.
func start(t *testing.T, flags ...string) *service {
	t.Helper()
	s := harness.Start(t, flags...)
	if out, err := s.Skyrealm(t.Context(), nil, "domain", "policy", "--lockout-threshold", "0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return seen(t, s)
}

func seen(t *testing.T, server *harness.Server) *service {
	t.Helper()
	s := &service{Server: server, t: t}
	s.look()
	return s
}

func (s *service) look() {
	s.t.Helper()
	at := &ends{Ready: s.Ready, http: s.HTTP, tls: s.TLS(), krb5: map[int32]*krbconfig.Config{}}
	for _, id := range []int32{17, 18} {
		conf, err := krbconfig.Load(s.Krb5Conf)
		if err != nil {
			s.t.Fatal(err)
		}
		conf.LibDefaults.DefaultTktEnctypeIDs = []int32{id}
		at.krb5[id] = conf
	}
	s.database = s.DatabaseURL()
	s.now.Store(at)
}

func (s *service) kill() {
	s.Kill()
	s.now.Load().http.CloseIdleConnections()
}

func (s *service) run() {
	s.t.Helper()
	s.Run()
	s.look()
}

// answer is what a request came to.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// usn is the write's, 0 for none.
func (a *answer) usn() int64 {
	n, _ := strconv.ParseInt(a.header.Get("X-Skyrealm-Usn"), 10, 64)
	return n
}

func (at *ends) do(req *http.Request) (answer, error) {
	resp, err := at.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

func (at *ends) call(ctx context.Context, method, path, token string, body any) (answer, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+at.HTTPS+path, bytes.NewReader(text))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	return at.do(req)
}

func (at *ends) token(ctx context.Context, form url.Values) (answer, error) {
	form.Set("scope", graph)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+at.HTTPS+"/"+at.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return at.do(req)
}

// busy reports whether the service said that it can't serve now, in the one way
// that is allowed: 503 with the time after which to try again.
func (a *answer) busy() (bool, error) {
	if a.status != http.StatusServiceUnavailable {
		return false, nil
	}
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
		return true, fmt.Errorf("503 with Retry-After %q", a.header.Get("Retry-After"))
	}
	return true, nil
}

var errPatience = errors.New("the service did not come back in time")

// up waits until the process at was answers as ready, or another has taken its place.
func (s *service) up(ctx context.Context, was *ends) error {
	for end := time.Now().Add(harness.Patience); ; {
		at := s.now.Load()
		if at != was {
			return nil
		}
		if a, err := at.call(ctx, http.MethodGet, "/readyz", "", nil); err == nil && a.status == http.StatusOK {
			return nil
		}
		if time.Now().After(end) {
			return errPatience
		}
		if err := nap(ctx); err != nil {
			return err
		}
	}
}

// nap is the pause between two looks.
func nap(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}

// insist sends a request until it is answered, as an agent does: again where the
// connection broke and where the service was busy. tries counts those.
func (s *service) insist(ctx context.Context, send func(*ends) (answer, error)) (a answer, tries int, err error) {
	for end := time.Now().Add(harness.Patience); ; tries++ {
		at := s.now.Load()
		if a, err = send(at); err == nil {
			if again, err := a.busy(); !again || err != nil {
				return a, tries, err
			}
		}
		if time.Now().After(end) {
			return a, tries, errors.Join(errPatience, err)
		}
		if err := s.up(ctx, at); err != nil {
			return a, tries, err
		}
	}
}

// signIn returns the tenant's token for a password, "" where it refuses it.
func (s *service) signIn(ctx context.Context, upn, password string) (string, error) {
	return s.grant(ctx, url.Values{"grant_type": {"password"}, "client_id": {publicClient}, "username": {upn}, "password": {password}})
}

func (s *service) agentToken(ctx context.Context) (string, error) {
	return s.grant(ctx, url.Values{"grant_type": {"client_credentials"}, "client_id": {s.AgentClientID}, "client_secret": {s.AgentSecret()}})
}

func (s *service) grant(ctx context.Context, form url.Values) (string, error) {
	a, _, err := s.insist(ctx, func(at *ends) (answer, error) { return at.token(ctx, form) })
	if err != nil {
		return "", err
	}
	var body struct {
		Token string `json:"access_token"`
		Codes []int  `json:"error_codes"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return "", err
	}
	switch {
	case a.status == http.StatusOK && body.Token != "":
		return body.Token, nil
	case a.status == http.StatusBadRequest && len(body.Codes) == 1 && (body.Codes[0] == 50126 || body.Codes[0] == 50034):
		return "", nil
	}
	return "", fmt.Errorf("sign-in: %v", &a)
}

// kerberos tries an AS exchange; false is a refusal of the password or the name.
func (at *ends) kerberos(etype int32, sam, password string) (bool, error) {
	c := client.NewWithPassword(sam, at.Realm, password, at.krb5[etype], client.DisablePAFXFAST(true))
	defer c.Destroy()
	err := c.Login()
	if err == nil {
		return true, nil
	}
	for _, code := range []string{"KDC_ERR_PREAUTH_FAILED", "KDC_ERR_C_PRINCIPAL_UNKNOWN", "KDC_ERR_NULL_KEY"} {
		if strings.Contains(err.Error(), code) {
			return false, nil
		}
	}
	return false, err
}

func (at *ends) ldap() (*ldap.Conn, error) {
	return ldap.DialURL("ldaps://"+at.LDAPS, ldap.DialWithTLSConfig(at.tls))
}

// bind tries a simple bind; false is a refusal of the password or the name.
func bind(c *ldap.Conn, upn, password string) (bool, error) {
	err := c.Bind(upn, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return false, nil
	}
	return err == nil, err
}

// sql asks the private database one question of one number.
func (s *service) sql(ctx context.Context, query string) (n int64, err error) {
	return ask(ctx, s.database, query)
}

func ask(ctx context.Context, database, query string) (n int64, err error) {
	c, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	err = c.QueryRow(ctx, query).Scan(&n)
	return n, err
}

const feedHead = `SELECT usn FROM tenant.feed`

// reached waits until the managed domain has taken in the tenant's changes up to usn.
func (s *service) reached(ctx context.Context, token string, usn int64) error {
	a, _, err := s.insist(ctx, func(at *ends) (answer, error) {
		return at.call(ctx, http.MethodGet, fmt.Sprintf("/sync/v1/usn?timeout=60s&reached=%d", usn), token, nil)
	})
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"reached":true`)) {
		return fmt.Errorf("the domain did not reach USN %d: %v", usn, &a)
	}
	return nil
}
