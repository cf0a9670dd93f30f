package faults

import (
	"fmt"
	"sync"
	"testing"
)

// Sixteen agents write at once. What was acknowledged under a USN is in the
// domain when that is reached, and no two have one USN.
func TestSixteenWriters(t *testing.T) {
	s := start(t)
	l := newLedger(t, s)
	const writers = 16
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	var mu sync.Mutex
	usns := map[int64]string{}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			conn, err := s.now.Load().ldap()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			for i := range rounds {
				pair := []*person{l.synced(fmt.Sprintf("w%d-%d", w, i)), l.synced(fmt.Sprintf("v%d-%d", w, i))}
				usn, err := l.push(t.Context(), pair)
				if err == nil {
					err = s.reached(t.Context(), l.token, usn)
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, p := range pair {
					if ok, err := bind(conn, p.upn, p.password); !ok {
						t.Errorf("%s can't bind at USN %d: %v", p.sam, usn, err)
						return
					}
					found, err := everything(conn, s.BaseDN, "(sAMAccountName="+p.sam+")", "displayName")
					if err != nil || len(found) != 1 || found[0].GetAttributeValue("displayName") != p.name {
						t.Errorf("%s at USN %d: %v, %v", p.sam, usn, found, err)
						return
					}
				}
				mu.Lock()
				if other := usns[usn]; other != "" {
					t.Errorf("%s and %s were both acknowledged with USN %d", other, pair[0].sam, usn)
				}
				usns[usn] = pair[0].sam
				l.people = append(l.people, pair...)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(usns) != writers*rounds && !t.Failed() {
		t.Errorf("%d writes were acknowledged", len(usns))
	}
	l.verify(t, random(t), 20)
}
