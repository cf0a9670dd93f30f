package domain

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// stream is randomness that is the same in every run.
type stream struct {
	block [32]byte
	n     uint64
	left  []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.left) == 0 {
			s.n++
			s.block = sha256.Sum256(binary.BigEndian.AppendUint64(nil, s.n))
			s.left = s.block[:]
		}
		p[i], s.left = s.left[0], s.left[1:]
	}
	return len(p), nil
}

var _ io.Reader = (*stream)(nil)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// world is a domain without a database: records go straight into a replica.
type world struct {
	t    testing.TB
	rep  *Replica
	rand *stream
	usn  USN
	rid  uint32
	ou   ID // AADDC Users
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, rand: &stream{}, rid: 1103}
	tid, _ := tenant.NewID(w.rand)
	info, err := NewInfo("aadds.contoso.test", tid, testNow, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	records, err := Found(info, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	w.rep = NewReplica(info)
	w.put(records...)
	ou := w.rep.ByDN(mustDN("OU=AADDC Users," + info.BaseDN().String()))
	if ou == nil {
		t.Fatal("no AADDC Users")
		return nil
	}
	w.ou = ou.GUID
	return w
}

func (w *world) put(records ...Record) {
	w.t.Helper()
	for i := range records {
		w.usn++
		records[i].USN = w.usn
	}
	if err := w.rep.Apply(records, 0); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) id() ID {
	id, err := tenant.NewID(w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) user(name, password string) Record {
	w.rid++
	r := Record{GUID: w.id(), Source: w.id(), Kind: User, Class: "user", RID: w.rid, Parent: w.ou, RDN: name, SAM: name,
		UPN: name + "@contoso.test", UAC: UACNormal, Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"displayName": {[]byte(name)}, "mail": {[]byte(name + "@mail.test")}}}
	if password != "" {
		legacy, err := cred.NewLegacy(password, "CORP.TEST"+name)
		if err != nil {
			w.t.Fatal(err)
		}
		r.Secrets = Secrets{Current: legacy.WithKVNO(1), KVNO: 1, Set: testNow}
	}
	return r
}

func (w *world) group(name string, members ...ID) Record {
	w.rid++
	return Record{GUID: w.id(), Source: w.id(), Kind: Group, Class: "group", RID: w.rid, Parent: w.ou, RDN: name, SAM: name,
		Created: testNow, Changed: testNow, Members: members}
}
