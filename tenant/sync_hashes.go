package tenant

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"skyrealm/cred"
)

// earliest is before any password that is still in use: AD came in 2000.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// SyncHashes takes a batch of password changes from an agent. Per user the
// newest change wins whatever the order of arrival; of two with one date, the
// later arrival.
func (s *Service) SyncHashes(ctx context.Context, from Origin, items []HashItem) (BatchResult, error) {
	began := s.Now().UTC()
	if len(items) > MaxBatchItems {
		return BatchResult{}, s.refuse(ctx, HashBatch, from, began, ErrBatchTooLarge)
	}
	checked, err := s.checkHashes(ctx, from, items)
	if err != nil {
		return BatchResult{}, s.refuse(ctx, HashBatch, from, began, err)
	}
	return s.putHashes(ctx, checked)
}

// checkedHashes is a list of password changes that went through the rules, and
// is still to be stored.
type checkedHashes struct {
	from    Origin
	began   time.Time
	items   []HashItem
	results []ItemResult // of those that were refused; the others' have no reason yet
	sets    []Credential // at most one for a user
	origin  []int        // the item that sets[i] came from
	asOf    USN          // what was found holds for this head of the feed
}

// checkHashes reads and changes nothing.
func (s *Service) checkHashes(ctx context.Context, from Origin, items []HashItem) (*checkedHashes, error) {
	began := s.Now().UTC()

	// 1. Does this tenant take password hashes, and legacy ones?
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	if !settings.DirSync {
		return nil, ErrDirSyncOff
	}
	if !settings.Features.Has(PasswordHashSync) {
		return nil, ErrPasswordSyncOff
	}
	check := hashCheck{settings: &settings, now: s.Now().UTC(), rand: s.Rand}
	if settings.DomainServices {
		if check.key, err = cred.ParsePublicJWK(settings.DomainKey); err != nil {
			return nil, err
		}
		check.keyID = check.key.KeyID()
		check.thumbprint = cred.Thumbprint(settings.EnvelopeCertificate)
	}
	check.tooOld = from.Build != "" && before(from.Build, legacyBuild)

	// 2. Whose are they?
	items, refused, err := named(ctx, s.Store, items, func(i *HashItem) (*ID, *string) { return &i.Object, &i.Anchor })
	if err != nil {
		return nil, err
	}
	anchors := make([]string, 0, len(items))
	for i := range items {
		if checkAnchor(items[i].Anchor) == nil {
			anchors = append(anchors, items[i].Anchor)
		}
	}
	found, asOf, err := s.Store.Refs(ctx, anchors)
	if err != nil {
		return nil, err
	}
	users := make(map[string]*Ref, len(found))
	for i := range found {
		users[found[i].Anchor] = &found[i]
	}

	// 3. Check each for itself, and keep each user's newest.
	results := make([]ItemResult, len(items))
	sets := make([]Credential, 0, len(items))
	origin := make([]int, 0, len(items))
	last := make(map[ID]int, len(items)) // index into sets
	for i := range items {
		results[i].Anchor = items[i].Anchor
		user := users[items[i].Anchor]
		set, refusal := Credential{}, refused[i]
		if refusal == nil {
			set, refusal = check.item(&items[i], user)
		}
		if refusal != nil {
			results[i].ID = items[i].Object
			results[i].Reason, results[i].Detail = refusal.reason, refusal.detail
			continue
		}
		results[i].ID = user.ID
		at, again := last[user.ID]
		switch {
		case !again:
			last[user.ID] = len(sets)
			sets, origin = append(sets, set), append(origin, i)
		case set.Version >= sets[at].Version:
			results[origin[at]].Reason = ReasonSuperseded
			sets[at], origin[at] = set, i
		default:
			results[i].Reason = ReasonSuperseded
		}
	}
	return &checkedHashes{from, began, items, results, sets, origin, asOf}, nil
}

// putHashes stores what was checked, and with it the record of what became of each.
func (s *Service) putHashes(ctx context.Context, c *checkedHashes) (BatchResult, error) {
	var r *Record
	_, usn, err := s.Store.PutCredentials(ctx, c.sets, c.asOf, func(outcomes []Outcome) *Record {
		for i, outcome := range outcomes {
			c.results[c.origin[i]].Reason = outcome.reason()
		}
		r = &Record{Kind: HashBatch, Origin: c.from, Began: c.began, Ended: s.Now().UTC(), Items: make([]RecordItem, len(c.items))}
		for i := range c.items {
			r.Items[i] = RecordItem{Object: c.results[i].ID, Anchor: recorded(c.results[i].Anchor), Changed: c.items[i].Changed, Reason: c.results[i].Reason}
		}
		return r
	})
	if err != nil {
		return BatchResult{}, err
	}
	s.tell(ctx, r)
	return BatchResult{USN: usn, Items: c.results}, nil
}

func (o Outcome) reason() Reason {
	switch o {
	case Stored:
		return ReasonStored
	case Unchanged:
		return ReasonUnchanged
	}
	return ReasonSuperseded
}

// hashCheck judges the items of one batch.
type hashCheck struct {
	settings   *Settings
	now        time.Time
	rand       io.Reader
	tooOld     bool // the agent's build can't send legacy hashes
	key        cred.PublicKey
	keyID      string // "" where Domain Services is off
	thumbprint [20]byte
}

func (c *hashCheck) item(item *HashItem, user *Ref) (Credential, *attributeError) {
	refuse := func(reason Reason, detail string) (Credential, *attributeError) {
		return Credential{}, &attributeError{reason, detail}
	}
	switch {
	case user == nil || !user.Live:
		return refuse(ReasonUnknownAnchor, "no user with this sourceAnchor has been synced")
	case user.Kind != User:
		return refuse(ReasonNotAUser, "passwords are taken for object type user only; this is a "+user.Kind.String())
	}
	if !user.Synced {
		return refuse(ReasonCloudMastered, "the cloud masters this user's password")
	}
	digest, err := cred.ParseDigest(item.Digest)
	if errors.Is(err, cred.ErrDigestIterations) {
		return refuse(ReasonDigestIterations, "the digest's iteration count is out of bounds")
	}
	if err != nil {
		return refuse(ReasonDigestMalformed, "credentialData is no v1;PPH1_MD4 digest")
	}
	if item.Changed.IsZero() || item.Changed.Before(earliest) {
		return refuse(ReasonDateMalformed, "changeDate is missing or before the year 2000")
	}
	if item.MustChange && !c.settings.Features.Has(ForcePasswordChangeOnLogon) {
		// The agent's own filter does the same (FilteredByTarget, §D).
		return refuse(ReasonTemporaryPassword, "a temporary password is taken only with the feature ForcePasswordChangeOnLogon")
	}
	envelopes := len(item.WindowsLegacy)+len(item.WindowsSupplemental) > 0
	if item.Legacy != "" || envelopes {
		if c.tooOld {
			return refuse(ReasonAgentTooOld, "agents before build "+legacyBuild+" can't send legacy hashes")
		}
		if c.keyID == "" {
			return refuse(ReasonDomainServicesOff, "legacy hashes are taken only after Domain Services is enabled")
		}
		switch err := c.sealed(item); {
		case errors.Is(err, cred.ErrSealedKey):
			return refuse(ReasonSealedUnknownKey, "legacy is sealed for another key than the configuration's")
		case err != nil:
			return refuse(ReasonSealedMalformed, "legacy is no sealed set of hashes")
		}
	}
	changed := item.Changed
	if changed.After(c.now) {
		// A clock that runs ahead must not freeze the password until then.
		changed = c.now
	}
	legacy := item.Legacy
	if envelopes {
		// They say not even whose they are. From here on they are bound.
		bound := cred.Binding{Tenant: c.settings.TenantID.String(), Subject: item.Anchor, Version: changed.UnixMicro()}
		if legacy, err = c.key.Wrap(bound, item.WindowsLegacy, item.WindowsSupplemental, c.rand); err != nil {
			return refuse(ReasonSealedMalformed, "the legacy credentials can't be kept")
		}
	}
	return Credential{
		Object:     user.ID,
		Version:    changed.UnixMicro(),
		Source:     FromSync,
		Digest:     digest,
		Legacy:     legacy,
		MustChange: item.MustChange,
		// EHC: set at every hash sync unless the cloud's policy is to hold.
		NeverExpires: !c.settings.Features.Has(EnforceCloudPasswordPolicy),
	}, nil
}

// sealed checks what can be checked of legacy hashes without the domain's keys.
func (c *hashCheck) sealed(item *HashItem) error {
	if item.Legacy != "" {
		if err := cred.CheckSealed(item.Legacy, c.keyID); err != nil {
			return err
		}
	}
	for _, envelope := range [][]byte{item.WindowsLegacy, item.WindowsSupplemental} {
		if len(envelope) > 0 {
			if err := cred.CheckEnvelope(envelope, c.thumbprint); err != nil {
				return err
			}
		}
	}
	return nil
}

// legacyBuild is the first build of the real agent that sends legacy hashes
// (§6 of the design).
const legacyBuild = "1.1.614.0"

// before compares dotted versions. One that can't be read is the oldest.
func before(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range bs {
		n := 0
		if i < len(as) {
			var err error
			if n, err = strconv.Atoi(as[i]); err != nil {
				return true
			}
		}
		if m, _ := strconv.Atoi(bs[i]); n != m {
			return n < m
		}
	}
	return false
}
