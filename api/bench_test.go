package api_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"skyrealm/agent"
	"skyrealm/cred"
)

// BenchmarkHashBatch sends full batches of password hashes over TLS until they
// are acknowledged by Postgres; two senders, as an agent has.
func BenchmarkHashBatch(b *testing.B) {
	h := newHouse(b, nil)
	base, client, _ := h.serve(b)
	const users = 1000
	var file strings.Builder
	for i := range users {
		fmt.Fprintf(&file, "{\"userPrincipalName\":\"u%d@contoso.test\",\"sourceAnchor\":\"anchor%06d\"}\n", i, i)
	}
	if sum, err := h.pusher(base, client).Push(b.Context(), strings.NewReader(file.String()), nil); err != nil || sum.Users != users {
		b.Fatal(sum, err)
	}
	legacy, err := cred.NewLegacy("Pa$$w0rd", "CONTOSO.TESTx")
	must(b, err)
	digest, err := cred.NewDigest(legacy.NT, rand.Reader)
	must(b, err)
	at := h.clock.now()
	items := make([]agent.Hash, users)
	for i := range items {
		anchor := fmt.Sprintf("anchor%06d", i)
		sealed, err := h.private.Public().Seal(cred.Binding{Tenant: h.founding.Settings.TenantID.String(), Subject: anchor, Version: at.UnixMicro()}, legacy, rand.Reader)
		must(b, err)
		items[i] = agent.Hash{Anchor: anchor, Changed: at.Format(time.RFC3339), Digest: digest.Expose(), Legacy: string(sealed)}
	}
	body, err := json.Marshal(map[string]any{"items": items})
	must(b, err)
	token := h.agent(b)
	send := func(body []byte) {
		r, err := http.NewRequest("POST", base+"/sync/v1/passwordHashes:batch", bytes.NewReader(body))
		must(b, err)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		must(b, err)
		defer resp.Body.Close()
		var answer agent.Answer
		must(b, json.NewDecoder(resp.Body).Decode(&answer))
		if len(answer.Results) != users || answer.Results[0].Reason != "stored" {
			b.Fatalf("%+v", answer)
		}
	}
	n := 0
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		b.StopTimer() // every batch has to be newer, else it would change nothing
		h.clock.add(time.Second)
		next := bytes.ReplaceAll(body, []byte(at.Format(time.RFC3339)), []byte(h.clock.now().Format(time.RFC3339)))
		if n++; n%1000 == 0 { // the token lives an hour by the house's clock
			token = h.agent(b)
		}
		b.StartTimer()
		send(next)
	}
	b.ReportMetric(float64(n*users)/b.Elapsed().Seconds(), "items/s")
}
