package faults

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/agent"
	"skyrealm/cred"
)

// ledger is what was acknowledged, kept outside of the service.
type ledger struct {
	s      *service
	token  string // the agent's
	admin  string
	tenant string
	key    cred.PublicKey
	pool   []password
	steady *person // whom no load touches

	people  []*person // but those of the syncers
	syncers []*syncer

	head                atomic.Int64 // the highest acknowledged USN
	syncs, changes      atomic.Int64 // acknowledged writes
	retries             atomic.Int64 // answers that never came, or were 503
	doubts, done, after atomic.Int64 // changes in doubt; of them done; of them done after a 503
}

// person is an account. Whoever writes it alone may read it, or anyone while no load runs.
type person struct {
	anchor, upn, sam string
	cloud            bool
	rev              int    // of name
	name             string // the display name
	at               int    // synced: place of the password in the pool
	password         string
	old              []string
	deleted          bool
	trail            []string // what came of the cloud user's changes

	sid  string // as first seen
	seen int64  // uSNChanged as last seen
}

type group struct {
	anchor, name string
	members      map[*person]bool
	sid          string
}

// password is one with all that an agent makes of it. Deriving costs
// milliseconds, so the load draws from a few.
type password struct {
	text   string
	digest cred.Digest
	legacy cred.Legacy
}

const poolSize = 24

func newLedger(t *testing.T, s *service) *ledger {
	t.Helper()
	ctx := t.Context()
	l := &ledger{s: s}
	for i := range poolSize {
		p := password{text: fmt.Sprintf("Pool-%02d-pässword", i)}
		var err error
		if p.legacy, err = cred.NewLegacy(p.text, fmt.Sprint("CORP.CONTOSO.TESTpool", i)); err != nil {
			t.Fatal(err)
		}
		if p.digest, err = cred.NewDigest(p.legacy.NT, rand.Reader); err != nil {
			t.Fatal(err)
		}
		l.pool = append(l.pool, p)
	}
	var err error
	if l.token, err = s.agentToken(ctx); err != nil {
		t.Fatal(err)
	}
	if l.admin, err = s.signIn(ctx, s.AdminUPN, s.AdminPassword()); err != nil {
		t.Fatal(err)
	}
	config, err := l.agent().Configuration(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l.tenant = config.TenantID
	if l.key, err = cred.ParsePublicJWK(config.LegacyKey); err != nil {
		t.Fatal(err)
	}
	l.steady = l.synced("steady")
	l.settle(t)
	l.people = append(l.people, l.steady)
	return l
}

// everyone is called while no load runs.
func (l *ledger) everyone() []*person {
	all := slices.Clone(l.people)
	for _, y := range l.syncers {
		all = append(all, y.all...)
	}
	return all
}

// agent is the real one.
func (l *ledger) agent() *agent.Client {
	at := l.s.now.Load()
	return &agent.Client{BaseURL: "https://" + at.HTTPS, HTTP: at.http, ClientID: at.AgentClientID,
		Secret: agent.Secret(l.s.AgentSecret()), Now: time.Now, Rand: rand.Reader}
}

func (l *ledger) synced(sam string) *person {
	return &person{anchor: "anchor-" + sam, sam: sam, upn: sam + "@" + l.s.TenantDomain, at: int(crc(sam)) % poolSize}
}

func crc(s string) (n uint32) {
	for i := range len(s) {
		n = n*31 + uint32(s[i])
	}
	return n
}

// acknowledged notes a write's USN. sent is the head when it was sent: USNs never go back, and
// what changed something has a new one.
func (l *ledger) acknowledged(sent, usn int64, changed bool) error {
	for {
		was := l.head.Load()
		if was >= usn || l.head.CompareAndSwap(was, usn) {
			break
		}
	}
	if usn < sent || changed && usn == sent {
		return fmt.Errorf("USN %d was acknowledged after %d (changed something: %v)", usn, sent, changed)
	}
	return nil
}

// object is the person's item; it notes what the acknowledgement will mean.
func (p *person) object() agent.Object {
	p.rev++
	p.name = fmt.Sprintf("%s rev %d", p.sam, p.rev)
	return agent.Object{Type: "user", Operation: "set", Anchor: p.anchor, Attributes: map[string]any{
		"userPrincipalName": p.upn, "onPremisesSamAccountName": p.sam, "displayName": p.name}}
}

// hash is the item of the person's next password.
func (l *ledger) hash(p *person) (agent.Hash, error) {
	if p.password != "" {
		p.old = append(p.old, p.password)
	}
	p.at = (p.at + 1) % poolSize
	next := &l.pool[p.at]
	p.password = next.text
	changed := time.Now().UTC().Truncate(time.Microsecond)
	sealed, err := l.key.Seal(cred.Binding{Tenant: l.tenant, Subject: p.anchor, Version: changed.UnixMicro()}, next.legacy, rand.Reader)
	return agent.Hash{Anchor: p.anchor, Changed: changed.Format("2006-01-02T15:04:05.000000Z"),
		Digest: next.digest.Expose(), Legacy: string(sealed)}, err
}

// batch sends items until they are acknowledged, and returns the USN.
func batch[T any](ctx context.Context, l *ledger, path string, items []T) (int64, error) {
	sent := l.head.Load()
	a, tries, err := l.s.insist(ctx, func(at *ends) (answer, error) {
		return at.call(ctx, http.MethodPost, path, l.token, map[string]any{"items": items})
	})
	l.retries.Add(int64(tries))
	if err != nil {
		return 0, err
	}
	var got agent.Answer
	if a.status != http.StatusOK {
		return 0, fmt.Errorf("%s: %v", path, &a)
	} else if err := json.Unmarshal(a.body, &got); err != nil {
		return 0, err
	}
	changed := false
	for _, r := range got.Results {
		switch {
		case r.OK() && (r.Reason == "stored" || r.Reason == "deleted"):
			changed = true
		case r.OK() && r.Reason == "unchanged" && (tries > 0 || strings.HasPrefix(r.Anchor, "anchor-team")):
			// An earlier try had come through; or the team has the members that it had.
		default:
			return 0, fmt.Errorf("%s, try %d: %+v", path, tries, r)
		}
	}
	if len(got.Results) != len(items) {
		return 0, fmt.Errorf("%s: %d results for %d items", path, len(got.Results), len(items))
	}
	if err := l.acknowledged(sent, got.USN, changed); err != nil {
		return 0, fmt.Errorf("%s, try %d: %w", path, tries, err)
	}
	l.syncs.Add(1)
	return got.USN, nil
}

// push syncs people with new names and passwords, and returns the last USN.
func (l *ledger) push(ctx context.Context, people []*person, more ...agent.Object) (int64, error) {
	objects, hashes := more, []agent.Hash{}
	for _, p := range people {
		objects = append(objects, p.object())
	}
	if _, err := batch(ctx, l, "/sync/v1/objects:batch", objects); err != nil {
		return 0, err
	}
	for _, p := range people {
		h, err := l.hash(p)
		if err != nil {
			return 0, err
		}
		hashes = append(hashes, h)
	}
	return batch(ctx, l, "/sync/v1/passwordHashes:batch", hashes)
}

// syncer is an agent that sends on and on: new people, changed ones, new
// passwords, deletions, and a group whose list changes each time.
type syncer struct {
	*ledger
	r    *mathrand.Rand
	i    int
	all  []*person // the deleted too
	live []*person
	team *group
}

const (
	maxPeople = 200 // of one syncer
	stepSize  = 8
)

func (l *ledger) newSyncer(r *mathrand.Rand, i int) *syncer {
	y := &syncer{ledger: l, r: fork(r), i: i, team: &group{anchor: fmt.Sprint("anchor-team", i), name: fmt.Sprint("Team ", i)}}
	l.syncers = append(l.syncers, y)
	return y
}

func (y *syncer) step(ctx context.Context) error {
	y.r.Shuffle(len(y.live), func(i, j int) { y.live[i], y.live[j] = y.live[j], y.live[i] })
	var more []agent.Object
	if len(y.live) > 2*stepSize && y.r.IntN(4) == 0 {
		gone := y.live[0]
		y.live = y.live[1:]
		gone.deleted = true
		more = append(more, agent.Object{Type: "user", Operation: "delete", Anchor: gone.anchor})
	}
	known := min(stepSize, len(y.live))
	for range stepSize {
		if len(y.all) < maxPeople {
			p := y.synced(fmt.Sprintf("s%d-%04d", y.i, len(y.all)))
			y.all, y.live = append(y.all, p), append(y.live, p)
		}
	}
	now := append(y.live[:known:known], y.live[max(known, len(y.live)-stepSize):]...)
	y.team.members = map[*person]bool{}
	var anchors []string
	for _, p := range y.live[:min(len(y.live), 2*stepSize)] {
		y.team.members[p] = true
		anchors = append(anchors, p.anchor)
	}
	more = append(more, agent.Object{Type: "group", Operation: "set", Anchor: y.team.anchor, Attributes: map[string]any{
		"displayName": y.team.name, "securityEnabled": true, "member": anchors}})
	_, err := y.push(ctx, now, more...)
	return err
}

// changer is a cloud user who changes the password on and on.
type changer struct {
	*ledger
	*person
	token string
	n     int
}

// newChanger creates the user.
func (l *ledger) newChanger(t *testing.T, i int) *changer {
	t.Helper()
	c := &changer{ledger: l, person: &person{cloud: true, sam: fmt.Sprintf("cloud%d", i), name: fmt.Sprint("Cloud ", i), password: "First-passw0rd"}}
	c.upn = c.sam + "@" + l.s.TenantDomain
	a, err := l.s.now.Load().call(t.Context(), http.MethodPost, "/v1.0/users", l.admin, map[string]any{
		"accountEnabled": true, "displayName": c.name, "mailNickname": c.sam, "userPrincipalName": c.upn,
		"passwordProfile": map[string]any{"password": c.password, "forceChangePasswordNextSignIn": false}})
	if err != nil || a.status != http.StatusCreated {
		t.Fatalf("%v %v", &a, err)
	}
	if c.token, err = l.s.signIn(t.Context(), c.upn, c.password); err != nil || c.token == "" {
		t.Fatalf("token %q, %v", c.token, err)
	}
	if err := c.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.people = append(l.people, c.person)
	return c
}

func (c *changer) step(ctx context.Context) error {
	c.n++
	next, at, sent := fmt.Sprintf("Passw0rd-%d", c.n), c.s.now.Load(), c.head.Load()
	a, err := at.call(ctx, http.MethodPost, "/v1.0/me/changePassword", c.token,
		map[string]string{"currentPassword": c.password, "newPassword": next})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.trail = append(c.trail, fmt.Sprintf("%s: %d at USN %d, %v", next, a.status, a.usn(), err))
	if err == nil && a.status == http.StatusNoContent {
		c.old, c.password = append(c.old, c.password), next
		c.changes.Add(1)
		return c.acknowledged(sent, a.usn(), true)
	}
	if err == nil {
		busy, err := a.busy()
		if err != nil || !busy {
			return fmt.Errorf("%s: changePassword: %v %v; %q", c.sam, &a, err, c.trail[max(0, len(c.trail)-6):])
		}
	}
	// In doubt: it is done or it is not, and the tenant says which.
	c.retries.Add(1)
	c.doubts.Add(1)
	if err := c.s.up(ctx, at); err != nil {
		return err
	}
	was, err := c.s.signIn(ctx, c.upn, c.password)
	if err != nil {
		return err
	}
	is, err := c.s.signIn(ctx, c.upn, next)
	if err != nil {
		return err
	}
	c.trail = append(c.trail, fmt.Sprintf("%s: in doubt, done: %v", next, is != ""))
	switch {
	case (was == "") == (is == ""):
		return fmt.Errorf("%s: after a change in doubt the old password works: %v, the new one: %v", c.sam, was != "", is != "")
	case is != "":
		c.done.Add(1)
		if a.status != 0 {
			c.after.Add(1)
		}
		c.old, c.password = append(c.old, c.password), next
	default:
		c.old = append(c.old, next) // never became one
	}
	return nil
}
