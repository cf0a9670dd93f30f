package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skyrealm/api/problem"
	"skyrealm/api/provisioning"
	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// FuzzWire gives the handler any body, from a caller who may do all: whatever it
// is, the answer is an envelope of the same encoding that says what became of it.
func FuzzWire(f *testing.F) {
	files, err := filepath.Glob(recordings + "/*.request")
	must(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(f, err)
		f.Add(b)
	}
	f.Add(envelope(f, "token", "ProvisionCredentials", operation("ProvisionCredentials", credentialsBody(change("SourceAnchor", "AAECAwQFBgcICQoLDA0ODw==", "WindowsLegacyCredentials", "AQAAAA==")))))
	f.Add(envelope(f, "token", "GetServiceAccount", operation("GetServiceAccount", "<identifier>Sync_HOST_00</identifier>")))
	h := newHouse(f, nil)
	caller := &problem.Caller{ID: h.founding.Objects[0].Object.ID, Audience: "https://graph.windows.net",
		Directory: []string{tenant.RoleGlobalAdministrator}, Scopes: []string{problem.FullScope}}
	handler := &provisioning.Handler{Tenant: h.Tenant, Authenticate: func(*http.Request, string) (*problem.Caller, error) { return caller, nil }}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", wirePath, bytes.NewReader(body))
		r.Header.Set("Content-Type", nbfx.ContentType)
		r = r.WithContext(problem.With(r.Context(), &problem.Request{ID: "0b5a3c1e-8d3f-4e5a-9c1b-2d3e4f5a6b7c", Date: time.Unix(0, 0), Log: log}))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		root, err := nbfx.Decode(w.Body.Bytes(), nbfx.Defaults)
		if err != nil {
			t.Fatalf("%d, and the answer can't be read: %v", w.Code, err)
		}
		answer, err := nbfx.ParseEnvelope(root)
		if err != nil || answer.Body.Is(nbfx.NSSoap, "Fault") != (w.Code != 200) {
			t.Fatalf("%d with %v, %v", w.Code, answer.Body, err)
		}
		if w.Code != 200 && answer.Body.Child(nbfx.NSSoap, "Code").Child(nbfx.NSSoap, "Value").Text() == "s:Receiver" {
			t.Errorf("our fault: %x", body)
		}
	})
}

// TestWireLarge: of large messages, which anybody can send, few are decoded at
// once; the next is told to come again, and small ones go on.
func TestWireLarge(t *testing.T) {
	const most = 8
	inside, open := make(chan struct{}), make(chan struct{})
	handler := &provisioning.Handler{Authenticate: func(*http.Request, string) (*problem.Caller, error) {
		inside <- struct{}{}
		<-open
		return nil, errors.New("nobody")
	}}
	send := func(filler int) *httptest.ResponseRecorder {
		body := envelope(t, "token", "Capabilities", operation("Capabilities", strings.Repeat("x", filler)))
		r := httptest.NewRequest("POST", wirePath, bytes.NewReader(body))
		r.Header.Set("Content-Type", nbfx.ContentType)
		r = r.WithContext(problem.With(r.Context(), &problem.Request{ID: "x", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	answered := make(chan *httptest.ResponseRecorder)
	for range most {
		go func() { answered <- send(1 << 20) }()
		<-inside
	}
	if w := send(1 << 20); !bytes.Contains(w.Body.Bytes(), []byte("currently busy")) || w.Code != 500 {
		t.Errorf("one more: %d %q", w.Code, w.Body)
	}
	go func() { answered <- send(0) }()
	<-inside
	close(open)
	for range most + 1 {
		if w := <-answered; !bytes.Contains(w.Body.Bytes(), []byte("has been denied")) {
			t.Errorf("%q", w.Body)
		}
	}
	go func() { answered <- send(1 << 20) }()
	<-inside // they have left, so there is room again
	<-answered
}

// BenchmarkProvisionCredentials is a full request of the real agent: 50 users,
// new digests, token, message, database and all.
func BenchmarkProvisionCredentials(b *testing.B) {
	h := newHouse(b, nil)
	h.Server.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	agent := h.wireAgent(b)
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("u%d", i))
	}
	h.people(b, agent, names...)
	bodies := make([][]byte, 64)
	for n := range bodies {
		var items []string
		for _, name := range names {
			at := time.Date(2025, 1, 1, 0, 0, n, 0, time.UTC).Format(time.RFC3339)
			items = append(items, change("SourceAnchor", name+"-anchor", "ChangeDate", at, "CredentialData", fmt.Sprintf("v1;PPH1_MD4,181a3024085fcee2%04x,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;", n)))
		}
		bodies[n] = envelope(b, agent, "ProvisionCredentials", operation("ProvisionCredentials", credentialsBody(items...)))
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(bodies[0])))
	for i := 0; b.Loop(); i++ {
		r := httptest.NewRequest("POST", "https://"+host+wirePath, bytes.NewReader(bodies[i%len(bodies)]))
		r.Header.Set("Content-Type", nbfx.ContentType)
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
	b.ReportMetric(float64(50*b.N)/b.Elapsed().Seconds(), "users/s")
}
