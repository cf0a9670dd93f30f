package kdc

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
)

// TestRememberedTGT: that a TGT was good a moment ago excuses it from nothing that can have
// changed since.
func TestRememberedTGT(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(w *world)
		want krb5.ErrorCode // 0: a ticket
	}{
		{"nothing changed", func(*world) {}, 0},
		{"the krbtgt's key rolled once", func(w *world) { w.roll() }, 0},
		{"the krbtgt's key rolled twice", func(w *world) { w.roll(); w.roll() }, krb5.ErrBadKeyVer},
		{"disabled", func(w *world) {
			w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACDisabled })
		}, krb5.ErrClientRevoked},
		{"another password", func(w *world) { w.newPassword("alice", "an0ther-Passw0rd") }, krb5.ErrTGTRevoked},
		{"expired", func(w *world) { w.now = w.now.Add(11 * time.Hour) }, krb5.ErrTktExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			g := w.login("alice")
			w.tgs(w.tgsReq(g, webSPN))
			if o, ok := w.kdc.opened.recall(fingerprintOf(g.rep.Ticket.EncPart.Cipher)); !ok || o.auth == nil {
				t.Fatal("the TGT is not remembered")
			}
			c.then(w)
			w.now = w.now.Add(time.Second) // another authenticator
			reply := w.sendRaw(w.encode(w.tgsReq(g, webSPN)))
			if c.want != 0 {
				w.refused(reply, c.want)
				return
			}
			w.open(reply, g.session, krb5.UsageTGSRepPartSession)
		})
	}
}

// TestRememberedTGTAltered: a TGT that differs from a remembered one in one bit is another.
func TestRememberedTGTAltered(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	w.tgs(w.tgsReq(g, webSPN))
	cipher := g.rep.Ticket.EncPart.Cipher
	o, _ := w.kdc.opened.recall(fingerprintOf(cipher))
	altered := bytes.Clone(cipher)
	altered[len(altered)/2] ^= 1
	// Even if the hashes of the two collided.
	w.kdc.opened.remember(fingerprintOf(altered), o, w.now, openedWindow, openedEntries)
	g.rep.Ticket.EncPart.Cipher = altered
	w.now = w.now.Add(time.Second)
	w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrBadIntegrity)
}

// TestRememberedTGTShared: many requests read one remembered TGT at once, among others that
// are read into the same room. The race detector watches.
func TestRememberedTGTShared(t *testing.T) {
	w := newWorld(t)
	clients := []*grant{w.login("alice"), w.login("fay"), w.login("müller")}
	var requests [][]byte
	for i := range 60 {
		w.now = w.now.Add(time.Millisecond)
		requests = append(requests, w.encode(w.tgsReq(clients[i%len(clients)], webSPN)))
	}
	web := w.key("web", 18)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < len(requests); i += 4 {
				g := clients[i%len(clients)]
				got := w.open(w.sendRaw(requests[i]), g.session, krb5.UsageTGSRepPartSession)
				if part := w.ticket(&got.rep.Ticket, web); !part.CName.Equal(g.rep.CName) {
					t.Errorf("%v has a ticket of %v", g.rep.CName, part.CName)
				}
			}
		})
	}
	wg.Wait()
}

// TestRememberedTGTsAreBounded: what is remembered does not grow, and large ones are not kept.
func TestRememberedTGTsAreBounded(t *testing.T) {
	var c recent[*opened]
	for i := range 10 * openedEntries {
		c.remember(fingerprint(i*recentShards), &opened{}, testNow, openedWindow, openedEntries)
	}
	if s := &c.shards[0]; len(s.now) > openedEntries || len(s.old) > openedEntries {
		t.Errorf("%d and %d entries", len(s.now), len(s.old))
	}
}
