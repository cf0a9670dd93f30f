package api_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/store/pgchild"
	"skyrealm/tenant"
)

// answerLine is any line of a stream's answer.
type answerLine struct {
	Chunk                                 int
	Lines                                 []int
	USN                                   int64
	Stored, Unchanged, Superseded, Failed int
	Failures                              []struct {
		Line                         int
		SourceAnchor, Reason, Detail string
	}
	More           int
	Done           bool
	Error          *struct{ Code, Message string }
	CommittedLines int
}

// users stores synced users with the anchors a0, a1….
func (h *house) users(t testing.TB, n int) []tenant.ID {
	t.Helper()
	yes := true
	writes := make([]tenant.ObjectWrite, n)
	ids := make([]tenant.ID, n)
	for i := range writes {
		id, err := tenant.NewID(rand.Reader)
		must(t, err)
		a := fmt.Sprint("a", i)
		ids[i] = id
		writes[i].Object = tenant.Object{ID: id, Kind: tenant.User, Anchor: a, UPN: a + "@contoso.test", Enabled: true,
			Created: h.clock.now(), Changed: h.clock.now(), Profile: tenant.Profile{SyncEnabled: &yes}}
	}
	_, err := h.store.PutObjects(t.Context(), writes, nil)
	must(t, err)
	return ids
}

// line is the password of user i, changed at some time before now.
func (h *house) line(i int, ago time.Duration, salt int) string {
	return fmt.Sprintf(`{"sourceAnchor":"a%d","changeDate":%q,"credentialData":"v1;PPH1_MD4,%020x,1000,%064x;"}`+"\n",
		i, h.clock.now().Add(-ago).Format(time.RFC3339Nano), salt, salt)
}

// open starts a stream over a connection of its own. The body is the caller's
// to write; answers come over the channel, which is closed at their end.
func (h *house) open(t testing.TB, client *http.Client, base, token string, body io.Reader, headers ...string) (int, <-chan answerLine) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/sync/v1/passwordHashes:stream", body)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	must(t, err)
	answers := make(chan answerLine, 1000)
	go func() {
		defer close(answers)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			var a answerLine
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				t.Errorf("%s: %v", lines.Bytes(), err)
			}
			answers <- a
		}
	}()
	return resp.StatusCode, answers
}

// streamed sends a whole stream and returns all answers.
func (h *house) streamed(t testing.TB, body string, headers ...string) (all []answerLine) {
	t.Helper()
	r := h.do(t, "POST", "/sync/v1/passwordHashes:stream", h.agent(t), body, headers...)
	if r.status != 200 || r.header.Get("Content-Type") != "application/x-ndjson" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	for line := range bytes.Lines(r.body) {
		var a answerLine
		must(t, json.Unmarshal(line, &a))
		all = append(all, a)
	}
	return all
}

// digest is the salt of a user's stored digest, -1 where there is none.
func (h *house) salt(t testing.TB, id tenant.ID) int {
	t.Helper()
	set, err := h.store.Credential(t.Context(), id)
	must(t, err)
	if set == nil {
		return -1
	}
	var salt int
	_, err = fmt.Sscanf(set.Digest.Expose(), "v1;PPH1_MD4,%020x,", &salt)
	must(t, err)
	return salt
}

// http1 is a client that speaks no HTTP/2.
func http1(client *http.Client) *http.Client {
	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
}

// TestStream: chunks, their bounds, and what becomes of each line.
func TestStream(t *testing.T) {
	h := newHouse(t, nil)
	ids := h.users(t, 5000)
	var body strings.Builder
	for i := range 5000 {
		body.WriteString(h.line(i, time.Hour, 1))
		body.WriteString(h.line(i, 2*time.Hour, 2)) // older: superseded within the chunk
	}
	for i := range 5000 {
		body.WriteString(h.line(i, time.Minute, 3))
		body.WriteString(h.line(i, 30*time.Minute, 4))
	}
	body.WriteString("\n" + h.line(7, time.Minute, 3) + h.line(8, time.Minute, 5) + h.line(9, 3*time.Hour, 6))
	for i := range 150 {
		body.WriteString([]string{"this is not JSON\n", h.line(10000+i, time.Hour, 7)}[i%2])
	}
	all := h.streamed(t, body.String())
	if len(all) != 4 {
		t.Fatalf("%+v", all)
	}
	for i, want := range []answerLine{
		{Chunk: 1, Lines: []int{1, 10000}, Stored: 5000, Superseded: 5000},
		{Chunk: 2, Lines: []int{10001, 20000}, Stored: 5000, Superseded: 5000},
		// The re-send changes nothing, of one date the later arrival wins, and an older change loses.
		{Chunk: 3, Lines: []int{20001, 20154}, Stored: 1, Unchanged: 1, Superseded: 1, Failed: 150, More: 50},
	} {
		got := all[i]
		if got.Chunk != want.Chunk || !slices.Equal(got.Lines, want.Lines) || got.Stored != want.Stored || got.Unchanged != want.Unchanged ||
			got.Superseded != want.Superseded || got.Failed != want.Failed || got.More != want.More || len(got.Failures) != got.Failed-got.More {
			t.Errorf("chunk %d: %+v", i+1, got)
		}
	}
	for i, f := range all[2].Failures {
		reason, anchor := "malformed", ""
		if i%2 == 1 {
			reason, anchor = "unknownAnchor", fmt.Sprint("a", 10000+i)
		}
		if f.Line != 20005+i || f.Reason != reason || f.SourceAnchor != anchor || f.Detail == "" {
			t.Errorf("failure %d: %+v", i, f)
		}
	}
	if last := all[3]; !last.Done || last.CommittedLines != 20154 || last.USN != all[2].USN || all[0].USN >= all[1].USN {
		t.Errorf("the end: %+v", all)
	}
	for i, want := range map[int]int{0: 3, 7: 3, 8: 5, 9: 3, 4999: 3} {
		if got := h.salt(t, ids[i]); got != want {
			t.Errorf("user %d has the digest of line kind %d, want %d", i, got, want)
		}
	}
	records, err := h.store.Records(t.Context(), tenant.RecordQuery{Kind: tenant.HashBatch, Object: ids[7], Limit: 10})
	must(t, err)
	if len(records) != 3 || len(records[0].Items) != 1 || len(records[1].Items) != 2 || records[2].Items[1].Reason != tenant.ReasonSuperseded ||
		records[0].Origin.Name != h.founding.App.ClientID.String() {
		t.Errorf("records %+v", records)
	}
	if all := h.streamed(t, ""); len(all) != 1 || !all[0].Done || all[0].CommittedLines != 0 {
		t.Errorf("an empty stream: %+v", all)
	}
}

// TestStreamRefusals: what is refused before the first line has a status.
func TestStreamRefusals(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 1)
	target := "/sync/v1/passwordHashes:stream"
	if r := h.do(t, "POST", target, "", ""); r.status != 401 {
		t.Errorf("nobody: %d", r.status)
	}
	h.create(t, "ada", "Initial-Pa55")
	if r := h.do(t, "POST", target, h.token(t, "ada@contoso.test", "Initial-Pa55"), h.line(0, 0, 1)); r.status != 403 {
		t.Errorf("a user: %d", r.status)
	}
	if r := h.do(t, "GET", target, h.agent(t), nil); r.status != 405 || r.text(t, "error", "code") == "" {
		t.Errorf("GET: %d %s", r.status, r.body)
	}
	if r := h.do(t, "POST", target, h.agent(t), "x", "Content-Encoding", "br"); r.status != 415 {
		t.Errorf("brotli: %d", r.status)
	}
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.Features &^= tenant.PasswordHashSync; return nil }))
	off := h.do(t, "POST", target, h.agent(t), h.line(0, 0, 1))
	batch := h.do(t, "POST", "/sync/v1/passwordHashes:batch", h.agent(t), `{"items":[]}`)
	if off.status != batch.status || off.text(t, "error", "code") != batch.text(t, "error", "code") || off.status == 200 {
		t.Errorf("password sync off: %d %s, a batch %d %s", off.status, off.body, batch.status, batch.body)
	}
}

// TestStreamGzip: compressed, in several members, and cut.
func TestStreamGzip(t *testing.T) {
	h := newHouse(t, nil)
	ids := h.users(t, 2)
	squeeze := func(text string) string {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write([]byte(text))
		z.Close()
		return out.String()
	}
	whole := squeeze(h.line(0, time.Hour, 1)+h.line(1, time.Hour, 1)[:20]) + squeeze(h.line(1, time.Hour, 1)[20:])
	if all := h.streamed(t, whole, "Content-Encoding", "gzip"); len(all) != 2 || all[0].Stored != 2 || !all[1].Done {
		t.Errorf("%+v", all)
	}
	cut := squeeze(h.line(0, time.Minute, 2)) + squeeze(h.line(1, time.Minute, 2))
	all := h.streamed(t, cut[:len(cut)-9], "Content-Encoding", "gzip")
	last := all[len(all)-1]
	if last.Error == nil || last.Error.Code != "MalformedStream" || last.Done {
		t.Errorf("cut: %+v", all)
	}
	if last.CommittedLines < 1 || h.salt(t, ids[0]) != 2 {
		t.Errorf("what was whole before the cut is not committed: %+v", all)
	}
}

// TestStreamDialogue: an agent may wait for its answer before it goes on, over
// either protocol; what was acknowledged is there, and what was cut off in the
// middle of a line is not.
func TestStreamDialogue(t *testing.T) {
	h := newHouse(t, nil)
	ids := h.users(t, 3)
	base, client, _ := h.serve(t)
	for i, client := range []*http.Client{http1(client), client} {
		version := i + 1 // in this order: the second's changes are the newer ones
		token := h.agent(t)
		reader, body := io.Pipe()
		go io.WriteString(body, h.line(0, time.Hour/time.Duration(version), 10*version))
		status, answers := h.open(t, client, base, token, reader)
		if a := <-answers; status != 200 || a.Stored != 1 || !slices.Equal(a.Lines, []int{1, 1}) {
			t.Fatalf("HTTP/%d: %d %+v", version, status, a)
		}
		if h.salt(t, ids[0]) != 10*version {
			t.Errorf("HTTP/%d: acknowledged and not there", version)
		}
		go io.WriteString(body, h.line(1, time.Hour/time.Duration(version), 10*version)+"\n"+h.line(9, 0, 1))
		if a := <-answers; a.Chunk != 2 || a.Stored != 1 || a.Failed != 1 || !slices.Equal(a.Lines, []int{2, 4}) {
			t.Fatalf("HTTP/%d: %+v", version, a)
		}
		// A whole line's worth of text, and no end.
		half := strings.TrimSuffix(h.line(2, time.Hour, 1), "\n")
		_, err := io.WriteString(body, half)
		must(t, err)
		body.CloseWithError(io.ErrUnexpectedEOF)
		for a := range answers {
			if a.Stored != 0 || a.Done {
				t.Errorf("HTTP/%d: after the tear: %+v", version, a)
			}
		}
		client.CloseIdleConnections()
	}
	if h.salt(t, ids[2]) != -1 {
		t.Error("half a line is stored")
	}
}

// TestStreamOutage: when the store goes away, the stream ends with how far it
// came, and the agent goes on from there.
func TestStreamOutage(t *testing.T) {
	if _, err := server(); err != nil {
		newHouse(t, nil) // says that there is no PostgreSQL
	}
	dir := filepath.Join(t.TempDir(), "pg")
	own, err := pgchild.Start(t.Context(), pgchild.Options{Dir: dir})
	must(t, err)
	defer func() { own.Stop(context.Background()) }()
	all := server
	server = func() (*pgchild.Server, error) { return own, nil }
	h := newHouse(t, nil)
	server = all

	ids := h.users(t, 4)
	base, client, _ := h.serve(t)
	token := h.agent(t)
	lines := []string{h.line(0, time.Hour, 1), h.line(1, time.Hour, 1), h.line(2, time.Hour, 1), h.line(3, time.Hour, 1)}
	reader, body := io.Pipe()
	go io.WriteString(body, lines[0]+lines[1])
	_, answers := h.open(t, client, base, token, reader)
	if a := <-answers; a.Stored != 2 {
		t.Fatalf("%+v", a)
	}
	must(t, own.Stop(t.Context()))
	go io.WriteString(body, lines[2]+lines[3])
	last, ok := <-answers
	if !ok || last.Error == nil || last.Error.Code != "ServiceUnavailable" || last.CommittedLines != 2 {
		t.Fatalf("%+v %+v", last, last.Error)
	}
	if more, ok := <-answers; ok {
		t.Errorf("after the end: %+v", more)
	}
	body.Close()
	own, err = pgchild.Start(t.Context(), pgchild.Options{Dir: dir})
	must(t, err)
	if rest := h.streamed(t, strings.Join(lines[last.CommittedLines:], "")); rest[0].Stored != 2 || h.salt(t, ids[3]) != 1 {
		t.Errorf("%+v", rest)
	}
}

// TestStreamRulesChange: the tenant stops to take passwords in the middle.
func TestStreamRulesChange(t *testing.T) {
	h := newHouse(t, nil)
	ids := h.users(t, 2)
	base, client, _ := h.serve(t)
	reader, body := io.Pipe()
	defer body.Close()
	go io.WriteString(body, h.line(0, time.Hour, 1))
	_, answers := h.open(t, client, base, h.agent(t), reader)
	if a := <-answers; a.Stored != 1 {
		t.Fatalf("%+v", a)
	}
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.DirSync = false; return nil }))
	go io.WriteString(body, h.line(1, time.Hour, 1))
	if a := <-answers; a.Error == nil || a.CommittedLines != 1 || h.salt(t, ids[1]) != -1 {
		t.Errorf("%+v", a)
	}
}

// TestStreamEnds: a stop ends streams at a line and in time; and there are only
// so many of them.
func TestStreamEnds(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 1)
	base, client, stop := h.serve(t)
	token := h.agent(t)
	var streams []<-chan answerLine
	for range 4 {
		reader, body := io.Pipe()
		defer body.Close()
		go io.WriteString(body, h.line(0, time.Hour, 1))
		_, answers := h.open(t, client, base, token, reader)
		if a := <-answers; a.Stored+a.Unchanged != 1 {
			t.Fatalf("%+v", a)
		}
		streams = append(streams, answers)
	}
	r, err := http.NewRequest("POST", base+"/sync/v1/passwordHashes:stream", strings.NewReader(""))
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a fifth stream: %d", resp.StatusCode)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, answers := range streams {
		if a := <-answers; a.Error == nil || a.Error.Code != "ServiceUnavailable" || a.CommittedLines != 1 {
			t.Errorf("%+v", a)
		}
	}
}

// TestStreamMemory: a stream takes the same memory however long it is.
func TestStreamMemory(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 500)
	base, client, _ := h.serve(t)
	legacy, err := cred.NewLegacy("Pa$$w0rd", "CONTOSO.TESTx")
	must(t, err)
	sealed, err := h.private.Public().Seal(cred.Binding{Tenant: h.founding.Settings.TenantID.String(), Subject: "x", Version: 1}, legacy, rand.Reader)
	must(t, err)
	var once bytes.Buffer
	for i := range 500 {
		once.WriteString(strings.TrimSuffix(h.line(i, time.Hour, 1), "}\n") + fmt.Sprintf(`,"legacy":%q}`+"\n", sealed))
	}
	const times = 600 // 300,000 lines
	reader, body := io.Pipe()
	go func() {
		for range times {
			if _, err := body.Write(once.Bytes()); err != nil {
				return
			}
		}
		body.Close()
	}()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	_, answers := h.open(t, client, base, h.agent(t), reader)
	stored, done := 0, false
	for a := range answers {
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
		stored += a.Stored + a.Superseded + a.Unchanged
		done = done || a.Done
	}
	if stored != 500*times || !done {
		t.Errorf("%d lines taken, done: %v", stored, done)
	}
	// The bound is on what is live; the collector lets it double.
	if grown := int64(most - before); grown > 128<<20 {
		t.Errorf("the heap grew by %d MiB over a stream of %d MiB", grown>>20, times*once.Len()>>20)
	} else {
		t.Logf("the heap grew by %d MiB over a stream of %d MiB", grown>>20, times*once.Len()>>20)
	}
}

// TestStreamSecrets: no line is in a log or an answer, good or bad.
func TestStreamSecrets(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 2)
	const salt = 0xCA9A51
	canary := fmt.Sprintf("%064x", salt)
	good := h.line(0, time.Hour, salt)
	for _, body := range []string{
		good,
		strings.Replace(good, "a0", "nobody", 1),
		strings.Replace(good, "PPH1_MD4", "PPH1_MD5", 1),
		strings.Replace(good, "1000", "1000000000", 1),
		strings.TrimSuffix(good, "}\n"),
		strings.Replace(good, `"credentialData":`, `"legacy":`, 1),
		strings.Replace(good, "sourceAnchor", "sourceanchor", 1),
		good + strings.Repeat("x", 200<<10) + good,
	} {
		h.streamed(t, body)
	}
	for where, text := range map[string]string{"log": h.logs.String(), "answers": h.answers.String()} {
		if strings.Contains(strings.ToLower(text), canary) {
			t.Errorf("the %s have a digest", where)
		}
	}
}
