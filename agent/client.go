package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"skyrealm/cred"
)

// Limits of one request, which the service may tighten (Configuration.Limits).
const (
	maxItems  = 1000
	maxBytes  = 4 << 20
	maxAnswer = 16 << 20
	attempts  = 8
)

// Pauses between the attempts at one request.
const (
	firstPause = 500 * time.Millisecond
	longPause  = 30 * time.Second
	// maxPause is the most that is believed of a Retry-After.
	maxPause = 5 * time.Minute
)

// graph is the resource that the sync API's tokens are for.
const graph = "00000003-0000-0000-c000-000000000000"

// Secret is the agent's client secret.
type Secret string

func (Secret) String() string               { return "[redacted]" }
func (Secret) GoString() string             { return "[redacted]" }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, "[redacted]") }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[redacted]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Client talks to one tenant's sync API. All fields but Machine are required. It
// may be used from many goroutines if Rand may.
type Client struct {
	BaseURL  string       // https://host:port
	HTTP     *http.Client // with the CA pool that knows the server
	ClientID string
	Secret   Secret
	Now      func() time.Time
	Rand     io.Reader
	Machine  string // names this installation in the service's events; may be empty

	resource string // that tokens are for; "" is graph

	mu      sync.Mutex
	token   string
	expires time.Time
}

// Error is a refusal by the service of a whole request.
type Error struct {
	Status    int
	Code      string
	Message   string
	RequestID string // what the service's log has it under
}

func (e *Error) Error() string {
	return fmt.Sprintf("agent: the service answered %d %s: %s (request-id %s)", e.Status, e.Code, e.Message, e.RequestID)
}

// temporary reports whether the same request may pass later.
func (e *Error) temporary() bool {
	switch e.Status {
	case http.StatusConflict, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// call sends a request until it is answered for good, and decodes the answer.
func (c *Client) call(ctx context.Context, method, path string, body []byte, into any) error {
	return c.retry(ctx, func(token string) (time.Duration, error) {
		return c.send(ctx, method, path, "Bearer "+token, "application/json", body, into)
	})
}

func (c *Client) clock() time.Time { return c.Now() }

// retry makes attempts at a request until it is answered for good. An attempt
// returns the service's wish for a pause with its error. Every request may be
// sent twice: a re-send changes nothing.
func (c *Client) retry(ctx context.Context, attempt func(token string) (time.Duration, error)) error {
	pause, renewed := firstPause, false
	for try := 1; ; try++ {
		token, err := c.authorize(ctx)
		wait := time.Duration(0)
		if err == nil {
			wait, err = attempt(token)
		} else {
			wait = retryAfter(err)
		}
		if err == nil {
			return nil
		}
		refused := (*Error)(nil)
		if errors.As(err, &refused) {
			if refused.Status == http.StatusUnauthorized && token != "" && !renewed {
				renewed = true // the service may have a new key, or our clock is off
				c.forget(token)
				continue
			}
			if !refused.temporary() {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if try == attempts {
			return fmt.Errorf("after %d attempts: %w", attempts, err)
		}
		if wait == 0 {
			wait = c.jitter(pause)
			pause = min(2*pause, longPause)
		}
		if err := rest(ctx, min(wait, maxPause)); err != nil {
			return err
		}
	}
}

// jitter draws from half of d to d, so that agents that failed together do not
// come back together.
func (c *Client) jitter(d time.Duration) time.Duration {
	var b [1]byte
	_, _ = io.ReadFull(c.Rand, b[:]) // without randomness: half of it
	return d/2 + d/2*time.Duration(b[0])/256
}

func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// waitError is an error that came with a Retry-After.
type waitError struct {
	error
	wait time.Duration
}

func (e waitError) Unwrap() error { return e.error }

func retryAfter(err error) time.Duration {
	if w := (waitError{}); errors.As(err, &w) {
		return w.wait
	}
	return 0
}

// send makes one attempt. The pause is the service's wish, 0 for none.
func (c *Client) send(ctx context.Context, method, path, authorization, kind string, body []byte, into any) (time.Duration, error) {
	req, err := newRequest(ctx, c.BaseURL, path, body)
	if err != nil {
		return 0, err
	}
	req.Method = method
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	if c.Machine != "" {
		req.Header.Set("x-ms-aadmsods-machineid", c.Machine)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if resp.StatusCode/100 == 2 {
		if into == nil {
			return 0, nil
		}
		if err := json.Unmarshal(answer, into); err != nil {
			return 0, fmt.Errorf("agent: the answer to %s is no JSON of the sync API", path)
		}
		return 0, nil
	}
	return pauseOf(resp), refusal(resp, answer)
}

// newRequest is a POST.
func newRequest(ctx context.Context, base, path string, body []byte) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(base, "/")+path, bytes.NewReader(body))
}

// pauseOf is the service's wish for a pause, 0 for none.
func pauseOf(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// refusal reads both error shapes: Graph's, and OAuth's of the token endpoint.
func refusal(resp *http.Response, answer []byte) *Error {
	out := &Error{Status: resp.StatusCode, Code: "unknown", Message: http.StatusText(resp.StatusCode), RequestID: resp.Header.Get("request-id")}
	var shape struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(answer, &shape) != nil {
		return out
	}
	var graph struct{ Code, Message string }
	switch {
	case json.Unmarshal(shape.Error, &graph) == nil:
		out.Code, out.Message = graph.Code, graph.Message
	case json.Unmarshal(shape.Error, &out.Code) == nil:
		out.Message = shape.Description
	}
	return out
}

// authorize returns a token with at least five minutes to go.
func (c *Client) authorize(ctx context.Context) (string, error) {
	c.mu.Lock() // over the request, too: who needs a token waits for this one
	defer c.mu.Unlock()
	if c.token != "" && c.Now().Add(5*time.Minute).Before(c.expires) {
		return c.token, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "scope": {cmp.Or(c.resource, graph) + "/.default"},
		"client_id": {c.ClientID}, "client_secret": {string(c.Secret)},
	}.Encode()
	var answer struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	wait, err := c.send(ctx, http.MethodPost, "/organizations/oauth2/v2.0/token", "", "application/x-www-form-urlencoded", []byte(form), &answer)
	if err != nil {
		return "", waitError{fmt.Errorf("agent: sign-in: %w", err), wait}
	}
	if answer.Token == "" {
		return "", errors.New("agent: sign-in: the answer has no token")
	}
	c.token, c.expires = answer.Token, c.Now().Add(time.Duration(answer.Expires)*time.Second)
	return c.token, nil
}

// forget drops token if it is still the current one.
func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// Configuration is what the service tells an agent.
type Configuration struct {
	TenantID      string          `json:"tenantId"`
	InitialDomain string          `json:"initialDomain"`
	Realm         string          `json:"realm"`
	DirSync       bool            `json:"directorySync"`
	PasswordSync  bool            `json:"passwordSync"`
	LegacyHashes  bool            `json:"legacyHashes"`
	LegacyKey     json.RawMessage `json:"legacyKey"`
	Limits        struct {
		Items int `json:"items"`
		Bytes int `json:"bytes"`
	} `json:"limits"`
	Now time.Time `json:"now"`

	Features      int64 `json:"features"`
	ObjectSeconds int   `json:"objectIntervalSeconds"`
	HashSeconds   int   `json:"hashIntervalSeconds"`
	// FullPasswordSync is since when all passwords are asked for again.
	FullPasswordSync time.Time `json:"fullPasswordSync"`
	Deletions        struct {
		Prevention string `json:"synchronizationPreventionType"` // disabled, enabledForCount, enabledForPercentage
		Threshold  int    `json:"alertThreshold"`
	} `json:"accidentalDeletionPrevention"`

	certificate []byte // of the wire, instead of LegacyKey
	noNTHash    bool   // of the wire: NT hashes are not wanted
}

// Configuration asks for it.
func (c *Client) Configuration(ctx context.Context) (Configuration, error) {
	var out Configuration
	err := c.call(ctx, http.MethodGet, "/sync/v1/configuration", nil, &out)
	return out, err
}

// Heartbeat tells the service that the agent lives and has nothing to send.
func (c *Client) Heartbeat(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/sync/v1/heartbeat", nil, nil)
}

// sealer is what hash items for the tenant are made with.
func (c *Client) sealer(config *Configuration) (*sealer, error) {
	// The service's clock as of its answer, moved on by ours: never ahead of it.
	ahead := c.Now().Sub(config.Now)
	s := &sealer{tenant: config.TenantID, rand: c.Rand, now: func() time.Time { return c.Now().Add(-ahead) }}
	// A push keeps no state; the one secret that an agent has from run to run is this.
	saltKey := sha256.Sum256([]byte("skyrealm push salts\x00" + string(c.Secret)))
	s.saltKey = saltKey[:]
	if config.LegacyHashes {
		key, err := cred.ParsePublicJWK(config.LegacyKey)
		if err != nil {
			return nil, err
		}
		s.key = &key
	}
	return s, nil
}

// Object is one user or group of a batch, in the API's form. Attributes are
// strings, booleans, lists of strings, or nil to clear.
type Object struct {
	Type       string         `json:"type"`      // user, group
	Operation  string         `json:"operation"` // set, delete
	Anchor     string         `json:"sourceAnchor"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// Hash is one user's password change of a batch, in the API's form.
type Hash struct {
	Anchor     string `json:"sourceAnchor"`
	Changed    string `json:"changeDate"`     // RFC 3339
	Digest     string `json:"credentialData"` // v1;PPH1_MD4,…
	Legacy     string `json:"legacy,omitempty"`
	MustChange bool   `json:"forcePasswordChangeOnLogon,omitempty"`

	windowsLegacy, windowsSupplemental []byte // envelopes of the wire, instead of Legacy
}

func (h Hash) String() string             { return "hash of " + h.Anchor }
func (h Hash) GoString() string           { return h.String() }
func (h Hash) Format(f fmt.State, _ rune) { io.WriteString(f, h.String()) }
func (h Hash) LogValue() slog.Value       { return slog.StringValue(h.String()) }

// Result is the service's answer to one item.
type Result struct {
	Anchor string `json:"sourceAnchor"`
	Status string `json:"status"` // ok, error
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	ID     string `json:"id"`
}

// OK reports whether the item was taken.
func (r Result) OK() bool { return r.Status == "ok" }

// Answer is the service's to a batch: one result per item, in order.
type Answer struct {
	USN     int64    `json:"usn"`
	Results []Result `json:"results"`
}

// Objects sends one batch.
func (c *Client) Objects(ctx context.Context, items []Object) (Answer, error) {
	return batch(ctx, c, "/sync/v1/objects:batch", items)
}

// Hashes sends one batch.
func (c *Client) Hashes(ctx context.Context, items []Hash) (Answer, error) {
	return batch(ctx, c, "/sync/v1/passwordHashes:batch", items)
}

func batch[T any](ctx context.Context, c *Client, path string, items []T) (Answer, error) {
	body, err := json.Marshal(struct {
		Items []T `json:"items"`
	}{items})
	if err != nil {
		return Answer{}, err
	}
	var out Answer
	if err := c.call(ctx, http.MethodPost, path, body, &out); err != nil {
		return Answer{}, err
	}
	if len(out.Results) != len(items) {
		return Answer{}, fmt.Errorf("agent: %d results for %d items", len(out.Results), len(items))
	}
	return out, nil
}

// WaitUSN waits until the managed domain has taken in the tenant's changes up to
// usn, or ctx ends.
func (c *Client) WaitUSN(ctx context.Context, usn int64) error {
	for {
		var out struct {
			Reached bool `json:"reached"`
		}
		path := "/sync/v1/usn?timeout=30s&reached=" + strconv.FormatInt(usn, 10)
		if err := c.call(ctx, http.MethodGet, path, nil, &out); err != nil || out.Reached {
			return err
		}
	}
}
