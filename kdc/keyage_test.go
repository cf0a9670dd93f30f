package kdc

import (
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// rollAt gives the krbtgt a new key, which is used from a moment on.
func (w *world) rollAt(from time.Time) {
	w.t.Helper()
	w.change("krbtgt", func(r *domain.Record) {
		next, err := domain.RandomSecrets(testRealm+"krbtgt", from, w.rand)
		if err != nil {
			w.t.Fatal(err)
		}
		next.KVNO, next.Previous = r.Secrets.KVNO+1, r.Secrets.Current
		next.Current = next.Current.WithKVNO(next.KVNO)
		r.Secrets = next
	})
}

func (w *world) renewal(g *grant) *tgsReq {
	q := w.tgsReq(g, "krbtgt/"+testRealm)
	q.body.Options = krb5.OptRenew | krb5.OptRenewable
	return q
}

// A TGT goes on across a rotation, and what it is renewed to is under the new
// key; the key before the last opens nothing, and the last only as long as its
// tickets can live (T13).
func TestKrbtgtKeysAge(t *testing.T) {
	w := newWorld(t)
	kvno := w.rep.ByRID(domain.RIDKrbtgt).Secrets.KVNO
	under := func(g *grant, want uint32) {
		t.Helper()
		if got := g.rep.Ticket.EncPart.KVNO; got != want {
			t.Errorf("a ticket under version %d, want %d", got, want)
		}
	}
	old := w.login("alice")
	under(old, kvno)

	// 1. The new key is known, and not used yet: another replica may not know it.
	w.rollAt(w.now.Add(10 * time.Second))
	under(w.login("alice"), kvno)
	under(w.tgs(w.renewal(old)), kvno)

	// 2. It is used; tickets of a replica that was a moment ahead open before that.
	w.now = w.now.Add(10 * time.Second)
	young := w.tgs(w.renewal(old))
	under(young, kvno+1)
	w.tgs(w.tgsReq(old, webSPN))
	w.now = w.now.Add(-time.Second)
	w.tgs(w.tgsReq(young, webSPN))

	// 3. The last moment of a ticket under the old key, and of the key.
	w.now = testNow.Add(10 * time.Hour)
	w.tgs(w.renewal(old))
	w.now = testNow.Add(10*time.Hour + 10*time.Second + 10*time.Minute + time.Second)
	forged := *old
	forged.rep.Ticket.EncPart = w.outlive(old, w.rep.ByRID(domain.RIDKrbtgt).Secrets.Previous.Keys[0].Key, kvno)
	w.refused(w.sendRaw(w.encode(w.tgsReq(&forged, webSPN))), krb5.ErrBadKeyVer)

	// 4. Two rotations in a row end every ticket.
	w.now = testNow
	w.rollAt(w.now)
	w.refused(w.sendRaw(w.encode(w.tgsReq(old, webSPN))), krb5.ErrBadKeyVer)
}

// outlive is what the owner of a krbtgt key can make of a ticket: one that lives on.
func (w *world) outlive(g *grant, key etype.Key, kvno uint32) krb5.EncryptedData {
	w.t.Helper()
	part := w.ticket(&g.rep.Ticket, key)
	part.EndTime, part.RenewTill = w.now.Add(time.Hour), w.now.Add(24*time.Hour)
	cipher, err := key.Encrypt(nil, krb5.Encode(part), krb5.UsageTicket, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	return krb5.EncryptedData{EType: int32(key.ID()), KVNO: kvno, Cipher: cipher}
}

// Not one renewal fails while keys roll at two replicas, one of which hears of
// it later.
func TestNoRenewalFailsWhileKeysRoll(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	rolls := 0
	for i := range 10000 {
		w.now = w.now.Add(7 * time.Second)
		if i%1500 == 1499 { // every three hours, which is oftener than a ticket lives
			w.rollAt(w.now.Add(10 * time.Second))
			rolls++
		}
		if w.now.Sub(testNow) > 6*24*time.Hour {
			t.Fatal("the ticket can't be renewed so long")
		}
		g = w.tgs(w.renewal(g))
	}
	if k := w.rep.ByRID(domain.RIDKrbtgt).Secrets.KVNO; rolls < 6 || g.rep.Ticket.EncPart.KVNO < k-1 {
		t.Errorf("%d rolls, a ticket under %d of %d", rolls, g.rep.Ticket.EncPart.KVNO, k)
	}
}
