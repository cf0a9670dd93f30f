package kdc

import (
	"testing"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// TestFASTSignIn is the whole of it: an armor TGT of a machine, the KDC's offer
// inside the armor, the challenge, and then a TGS exchange armored by the new
// TGT itself.
func TestFASTSignIn(t *testing.T) {
	for _, id := range []etype.ID{etype.AES256SHA1, etype.AES128SHA1, etype.AES256SHA2, etype.AES128SHA2, etype.RC4} {
		w := newWorld(t)
		a := w.armor(w.login("WS1$"))
		a.rekey(id) // the armor key's type is the subkey's
		_, r := a.refused(w.sendRaw(a.wrap(w.asReq("alice"))), krb5.ErrPreauthRequired)
		var offered []int32
		for _, p := range r.PAData {
			offered = append(offered, p.Type)
		}
		want := []int32{krb5.PAETypeInfo2, krb5.PAEncryptedChallenge, krb5.PASPAKE, krb5.PAFXCookie, krb5.PAFXError}
		if len(offered) != len(want) {
			t.Fatalf("offered %v, want %v", offered, want)
		}
		for i := range want {
			if offered[i] != want[i] {
				t.Fatalf("offered %v, want %v", offered, want)
			}
		}
		g := a.login("alice", etype.AES256SHA1)
		if g.rep.CName.String() != "alice" || g.part.Nonce != 12345678 {
			t.Errorf("reply for %v, nonce %d", g.rep.CName, g.part.Nonce)
		}
		b := w.armor(g)
		b.rekey(id)
		q := w.tgsReq(g, webSPN)
		s, rt := b.open(w.sendRaw(b.tgs(q)), b.subkey, krb5.UsageTGSRepPartSubkey, q.body.Nonce)
		if len(rt.PAData) != 0 || rt.Finished.CName.String() != "alice" || s.rep.Ticket.SName.String() != webSPN {
			t.Errorf("TGS: %v for %v", s.rep.Ticket.SName, rt.Finished.CName)
		}
	}
}
