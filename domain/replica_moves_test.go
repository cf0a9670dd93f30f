package domain

import (
	"runtime"
	"strings"
	"testing"

	"skyrealm/domain/dit"
)

// found lists the names of the objects that a search from the head finds.
func (w *world) found(filter string) string {
	w.t.Helper()
	f, err := dit.ParseFilter(filter)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	if err := w.rep.Search(w.rep.Info.BaseDN(), dit.Sub, f, "", func(o *Object) bool {
		names = append(names, o.SAM)
		return true
	}); err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// The feed holds each object at its latest change only, so one that takes a name
// may come before the one that gave it up.
func TestANameIsPassedOn(t *testing.T) {
	w := newWorld(t)
	a, b := w.user("a", ""), w.user("b", "")
	w.put(a, b)
	a.RDN, a.SAM, a.UPN, b.RDN, b.SAM, b.UPN = b.RDN, b.SAM, b.UPN, a.RDN, a.SAM, a.UPN
	w.put(a, b)
	for name, want := range map[string]ID{"b": a.GUID, "a": b.GUID} {
		for how, o := range map[string]*Object{
			"DN":  w.rep.ByDN(mustDN("CN=" + name + ",OU=AADDC Users," + w.rep.Info.BaseDN().String())),
			"SAM": w.rep.BySAM(name), "UPN": w.rep.ByUPN(name + "@contoso.test"),
		} {
			if o == nil || o.GUID != want {
				t.Errorf("%s %s finds %v", how, name, o)
			}
		}
		if got := w.found("(cn=" + name + ")"); got != name {
			t.Errorf("(cn=%s) finds %q", name, got)
		}
	}
}

// A change of an account must not hide it: who signs in meanwhile is let in
// with the old password or the new one, and not refused as unknown; and a
// ticket of that moment carries its groups.
func TestAChangeHidesNothing(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "")
	ada.SPNs = []string{"HTTP/ada"}
	crew := w.group("crew", ada.Source)
	w.put(ada, crew)
	f, err := dit.ParseFilter("(mail=ada@mail.test)")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 {
			w.put(ada, crew)
		}
	}()
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		default:
		}
		if w.rep.BySAM("ada") == nil || w.rep.ByUPN("ada@contoso.test") == nil || w.rep.BySPN("HTTP/ada") == nil || w.rep.ByGUID(ada.GUID) == nil || w.rep.ByRID(ada.RID) == nil {
			t.Fatalf("try %d: the account is not found while it changes", n)
		}
		if m := w.rep.Membership(w.rep.ByGUID(ada.GUID)); len(m.RIDs) != 2 {
			t.Fatalf("try %d: it is in %v while a group changes", n, m.RIDs)
		}
		found := 0
		if err := w.rep.Search(w.rep.Info.BaseDN(), dit.Sub, f, "", func(*Object) bool { found++; return true }); err != nil || found != 1 {
			t.Fatalf("try %d: a search finds it %d times, %v", n, found, err)
		}
		runtime.Gosched()
	}
}

// A record that waits for its parent and is deleted meanwhile does not come back
// with the parent.
func TestDeletedWhileItWaits(t *testing.T) {
	w := newWorld(t)
	ou := Record{GUID: w.id(), Kind: Container, Class: "organizationalUnit", Parent: w.rep.Info.GUID, RDN: "Labs", Created: testNow}
	gone, stays := w.user("gone", ""), w.user("stays", "")
	gone.Parent, stays.Parent = ou.GUID, ou.GUID
	w.put(gone, stays)
	stays.SAM = "renamed"
	w.put(tombstoneOf(gone), stays)
	w.put(ou)
	if w.rep.BySAM("gone") != nil {
		t.Error("a deleted account came back with its parent")
	}
	if w.rep.BySAM("stays") != nil || w.rep.BySAM("renamed") == nil {
		t.Error("an account came in an older state")
	}
}

func tombstoneOf(r Record) Record { return tombstone(&r, testNow) }

// A group that can't be read loses its effect, and has none of its old members
// when it can be read again.
func TestAMembershipDoesNotOutliveABadRecord(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "")
	crew := w.group("crew", ada.Source)
	w.put(ada, crew)
	bad := crew
	bad.Class = "nonsense"
	w.usn++
	bad.USN = w.usn
	if err := w.rep.Apply([]Record{bad}, 0); err == nil {
		t.Fatal("the bad record is not named")
	}
	crew.Members = nil
	w.put(crew)
	if m := w.rep.Membership(w.rep.BySAM("ada")); len(m.RIDs) != 1 {
		t.Error("ada is in", m.RIDs)
	}
}

// An account that an administrator of the domain made under a name that a synced
// user has, or gets later, does not take the user's sign-ins.
func TestASyncedUsersNameIsItsOwn(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "")
	made := w.user("made", "")
	made.Source, made.UPN = ID{}, ada.UPN
	w.put(made, ada, made)
	if o := w.rep.ByUPN(ada.UPN); o == nil || o.GUID != ada.GUID {
		t.Error("the name finds", o)
	}
}

// Polling an idle store must not cost every account its memo.
func TestNothingNewForgetsNothing(t *testing.T) {
	w := newWorld(t)
	w.put(w.user("ada", ""))
	o := w.rep.BySAM("ada")
	m := w.rep.Membership(o)
	if err := w.rep.Apply(nil, 5); err != nil {
		t.Fatal(err)
	}
	w.put(w.user("eve", "")) // nor must another account
	if w.rep.Membership(o) != m {
		t.Error("the closure was worked out again")
	}
	if _, upTo := w.rep.USN(); upTo != 5 {
		t.Error("the tenant's USN did not rise")
	}
}

// (objectSid=…) is what Windows and SSSD ask most, and must not look at everybody.
func TestSearchBySIDIsIndexed(t *testing.T) {
	w := newWorld(t)
	w.put(w.user("ada", ""))
	for _, o := range []*Object{w.rep.BySAM("ada"), w.rep.ByDN(w.rep.Info.BaseDN())} {
		f, err := dit.ParseFilter("(objectSid=" + o.SID().String() + ")")
		if err != nil {
			t.Fatal(err)
		}
		var found []*Object
		if err := w.rep.Search(w.rep.Info.BaseDN(), dit.Sub, f, "", func(o *Object) bool { found = append(found, o); return true }); err != nil {
			t.Fatal(err)
		}
		if !w.rep.Indexed(f) || len(found) != 1 || found[0] != o {
			t.Errorf("%s: %v", o.SID(), found)
		}
	}
}
