package faults

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// settle waits until the domain has taken in all that was acknowledged, and all that
// was done without: a write of its own marks the end.
func (l *ledger) settle(t *testing.T) {
	t.Helper()
	usn, err := l.push(t.Context(), []*person{l.steady})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.s.reached(t.Context(), l.token, usn); err != nil {
		t.Fatal(err)
	}
}

// verify holds the service to the ledger, while no load runs: every person there
// once, as last acknowledged and with the SID from before; every password on
// every protocol the same. sample is how many synced people sign in to the
// tenant and by Kerberos; by LDAP all do.
func (l *ledger) verify(t *testing.T, r *rand.Rand, sample int) {
	t.Helper()
	l.settle(t)
	at := l.s.now.Load()
	conn, err := at.ldap()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if ok, err := bind(conn, l.steady.upn, l.steady.password); !ok {
		t.Fatalf("bind: %v", err)
	}
	people := l.everyone()
	l.verifyObjects(t, conn, people)
	r.Shuffle(len(people), func(i, j int) { people[i], people[j] = people[j], people[i] })
	type job struct {
		*person
		all bool
	}
	next := make(chan job)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			conn, err := at.ldap()
			if err != nil {
				t.Error(err)
			} else {
				defer conn.Close()
			}
			for job := range next {
				if err != nil {
					continue // said already
				}
				if err := l.verifySignIn(t, at, conn, job.person, job.all); err != nil {
					t.Errorf("%s: %v; its last writes: %q", job.sam, err, job.trail[max(0, len(job.trail)-6):])
				}
			}
		})
	}
	for _, p := range people {
		next <- job{p, p.cloud || sample > 0}
		if !p.cloud {
			sample--
		}
	}
	close(next)
	all.Wait()
}

// everything finds all entries of a class.
func everything(conn *ldap.Conn, base, filter string, attributes ...string) ([]*ldap.Entry, error) {
	found, err := conn.SearchWithPaging(ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false,
		filter, attributes, nil), 500)
	if err != nil {
		return nil, err
	}
	return found.Entries, nil
}

func (l *ledger) verifyObjects(t *testing.T, conn *ldap.Conn, people []*person) {
	t.Helper()
	entries, err := everything(conn, l.s.BaseDN, "(|(objectClass=user)(objectClass=group))",
		"sAMAccountName", "objectSid", "displayName", "uSNChanged", "member")
	if err != nil {
		t.Fatal(err)
	}
	bySAM, byDN, sids := map[string]*ldap.Entry{}, map[string]*ldap.Entry{}, map[string]string{}
	for _, e := range entries {
		sam, sid := e.GetAttributeValue("sAMAccountName"), hex.EncodeToString(e.GetRawAttributeValue("objectSid"))
		if other := bySAM[strings.ToLower(sam)]; other != nil {
			t.Errorf("%s and %s have one sAMAccountName", e.DN, other.DN)
		}
		if sids[sid] != "" || sid == "" {
			t.Errorf("%s and %s have one SID, %q", e.DN, sids[sid], sid)
		}
		bySAM[strings.ToLower(sam)], byDN[e.DN], sids[sid] = e, e, e.DN
	}
	same := func(e *ldap.Entry, was *string) {
		sid := hex.EncodeToString(e.GetRawAttributeValue("objectSid"))
		if *was != "" && *was != sid {
			t.Errorf("%s: the SID was %s and is %s", e.DN, *was, sid)
		}
		*was = sid
	}
	for _, p := range people {
		e := bySAM[p.sam]
		switch {
		case e == nil && !p.deleted:
			t.Errorf("%s was acknowledged and is missing", p.sam)
		case e != nil && p.deleted:
			t.Errorf("%s was deleted and is there", p.sam)
		case e == nil:
			continue
		}
		if e == nil || p.deleted {
			continue
		}
		if name := e.GetAttributeValue("displayName"); name != p.name {
			t.Errorf("%s: displayName is %q, acknowledged was %q", p.sam, name, p.name)
		}
		usn, err := strconv.ParseInt(e.GetAttributeValue("uSNChanged"), 10, 64)
		if err != nil || usn < p.seen {
			t.Errorf("%s: uSNChanged is %d after %d, %v", p.sam, usn, p.seen, err)
		}
		p.seen = usn
		same(e, &p.sid)
	}
	for _, y := range l.syncers {
		g := y.team
		e := bySAM[strings.ToLower(g.name)]
		if e == nil {
			t.Errorf("%s is missing", g.name)
			continue
		}
		same(e, &g.sid)
		members := e.GetAttributeValues("member")
		for _, dn := range members {
			who := byDN[dn]
			if who == nil || !slices.ContainsFunc(people, func(p *person) bool {
				return g.members[p] && p.sam == who.GetAttributeValue("sAMAccountName")
			}) {
				t.Errorf("%s has the member %s, whom nobody put there last", g.name, dn)
			}
		}
		if len(members) != len(g.members) {
			t.Errorf("%s has %d members, not %d", g.name, len(members), len(g.members))
		}
	}
}

// verifySignIn tries the current password and the last ones, on LDAP (the NT hash)
// and, where all is set, on Kerberos (the AES keys) and the tenant (the digest).
// The forms are of one set, so they all have to say the same.
func (l *ledger) verifySignIn(t *testing.T, at *ends, conn *ldap.Conn, p *person, all bool) error {
	try := func(password string, want bool) error {
		got := map[string]bool{}
		var err error
		if got["LDAP"], err = bind(conn, p.upn, password); err != nil {
			return err
		}
		if all {
			token, err := l.s.signIn(t.Context(), p.upn, password)
			if err != nil {
				return err
			}
			got["tenant"] = token != ""
			for id, name := range map[int32]string{17: "Kerberos 17", 18: "Kerberos 18"} {
				if got[name], err = at.kerberos(id, p.sam, password); err != nil {
					return err
				}
			}
		}
		for _, is := range got {
			if is != want {
				return fmt.Errorf("password %q has to work: %v, but: %v", password, want, got)
			}
		}
		return nil
	}
	if err := try(p.password, !p.deleted); err != nil {
		return err
	}
	for _, old := range p.old[max(0, len(p.old)-2):] {
		if err := try(old, false); err != nil {
			return err
		}
	}
	return nil
}
