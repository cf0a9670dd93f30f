package network

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/krb5"
	"skyrealm/test/harness"
)

// TestHostile sends what has ended other people's KDCs, by UDP, TCP and HTTPS, what
// wears them out, and what somebody else has sent: each is answered or dropped, the
// service goes on, and so does kinit (trust.md K01, K02, K06, K09, K13).
func TestHostile(t *testing.T) {
	t.Setenv("GOGC", "100") // garbage is not to hide what is kept
	database := harness.Database(t)
	s := start(t, "--database", database)
	// A request that is broken in the right place is a wrong password.
	if out, err := s.Skyrealm(t.Context(), nil, "domain", "policy", "--lockout-threshold", "0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	x := &hostile{s: s, database: database, said: conversation(t, s)}
	for _, test := range []struct {
		name string
		run  func(*hostile, *testing.T)
	}{
		{"replayed", (*hostile).replayed},
		{"nested", (*hostile).nested},
		{"wrong tags", (*hostile).wrongTags},
		{"truncated", (*hostile).truncated},
		{"etypes", (*hostile).etypes},
		{"half done", (*hostile).halfDone},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, began := metrics(t, s), time.Now()
			test.run(x, t)
			took := time.Since(began)
			noPanics(t, metrics(t, s))
			harness.WaitFor(t, "goroutines to end", func() error {
				if n := metrics(t, s)["go_goroutines"] - before["go_goroutines"]; n > 20 {
					return fmt.Errorf("%v more than before", n)
				}
				return nil
			})
			s.Client(t).Run(adaPassword+"\n", "kinit", "ada")
			t.Logf("%v", took.Round(time.Millisecond))
		})
	}
}

// hostile is a service with requests that it has answered.
type hostile struct {
	s        *harness.Server
	database string
	said     [][]byte // the first is an AS-REQ without pre-authentication
	slow     time.Duration
}

// conversation is what clients have said to this service: a sign-in by SPAKE, one
// by a timestamp, one inside FAST, and a TGS exchange. So what is read behind a
// signature or with a ticket is reached, too.
func conversation(t *testing.T, s *harness.Server) [][]byte {
	t.Helper()
	at := newRelay(t, s.KDC, 0)
	armor := filepath.Join(t.TempDir(), "armor")
	// With P-256 the service's part is fast under the race detector, too.
	c := through(t, s, at, nil, "[libdefaults]", "spake_preauth_groups = P-256")
	c.Run(adaPassword+"\n", "kinit", "-c", armor, "ada")
	c.Run(adaPassword+"\n", "kinit", "-T", armor, "ada")
	c.Run("", "kvno", "ldap/dc1.aadds.contoso.test")
	through(t, s, at, nil, "[plugins]", "clpreauth = {", "disable = spake", "}").Run(adaPassword+"\n", "kinit", "ada")
	var said [][]byte
	for _, b := range at.recorded() {
		// A large request has also been tried by UDP.
		if !slices.ContainsFunc(said, func(o []byte) bool { return slices.Equal(o, b) }) {
			said = append(said, b)
		}
	}
	found := map[string]int{}
	for _, b := range said {
		found[kind(t, b)]++
	}
	for _, want := range kinds {
		if found[want] == 0 {
			t.Fatalf("no request of the kind %s among %v", want, found)
		}
	}
	if kind(t, said[0]) != "plain" {
		t.Fatalf("the first request is of the kind %s", kind(t, said[0]))
	}
	return said
}

var kinds = []string{"plain", "SPAKE", "timestamp", "FAST", "TGS"}

// kind is which of the conversations a request is from.
func kind(t *testing.T, request []byte) string {
	t.Helper()
	var q krb5.KDCReq
	if err := q.Unmarshal(request); err != nil {
		t.Fatal(err)
	}
	if q.MsgType == krb5.MsgTGSReq {
		return "TGS"
	}
	for of, name := range map[int32]string{krb5.PASPAKE: "SPAKE", krb5.PAEncTimestamp: "timestamp", krb5.PAFXFast: "FAST"} {
		if value, ok := q.PAData.Find(of); ok && len(value) > 0 {
			return name
		}
	}
	return "plain"
}

// datagrams sends messages by UDP, those that a datagram can hold.
func (x *hostile) datagrams(t *testing.T, messages iter.Seq[[]byte]) int {
	t.Helper()
	sent, _ := datagrams(t, x.s.KDC, func(yield func([]byte) bool) {
		for b := range messages {
			if len(b) <= 65507 && !yield(b) {
				return
			}
		}
	}, x.said[0])
	return sent
}

// streams sends each message on a connection of its own, and through the proxy.
func (x *hostile) streams(t *testing.T, messages iter.Seq[[]byte]) (n int) {
	t.Helper()
	for b := range messages {
		began := time.Now()
		stream(t, n, x.s.KDC, framed(b))
		status := post(t, x.s, wrapped(framed(b), x.s.Realm))
		if status >= 500 {
			t.Errorf("KdcProxy answers %.20x with %d", b, status)
		}
		x.slow = max(x.slow, time.Since(began))
		n++
	}
	return n
}

// every is each of messages whose turn it is.
func every(nth int, messages iter.Seq[[]byte]) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		n := 0
		for b := range messages {
			if n++; n%nth == 0 && !yield(b) {
				return
			}
		}
	}
}

// nest is elements within elements, with lengths or, as BER allows, without.
func nest(tag byte, depth int, definite bool) []byte {
	if !definite {
		return slices.Repeat([]byte{tag, 0x80}, depth)
	}
	d := der.NewWriter(nil)
	for range depth {
		d.Wrap(der.Tag(tag), 0)
	}
	return slices.Clone(d.Bytes())
}

// nested sends elements within elements (K01, CVE-2020-28196).
func (x *hostile) nested(t *testing.T) {
	var messages [][]byte
	var q krb5.KDCReq
	if err := q.Unmarshal(x.said[0]); err != nil {
		t.Fatal(err)
	}
	for depth := 10; depth <= 1_000_000; depth *= 10 {
		for _, definite := range []bool{true, false} {
			b := nest(0x30, depth, definite)
			messages = append(messages, b)
			if definite {
				messages = append(messages, append(header(0x6a, len(b)), b...))
			}
			if depth > 10_000 { // what nobody reads to its end
				continue
			}
			for _, tag := range []byte{0x24, 0xa0, 0x6a} {
				messages = append(messages, nest(tag, depth, definite))
			}
			// Where the decoder of the message does not look.
			for _, of := range []int32{krb5.PATGSReq, krb5.PAEncTimestamp, krb5.PAPKASReq, krb5.PAPACRequest, krb5.PAForUser, krb5.PAS4UX509User,
				krb5.PAFXCookie, krb5.PAFXFast, krb5.PAEncryptedChallenge, krb5.PAASFreshness, krb5.PASPAKE, krb5.PAPACOptions} {
				q.PAData = krb5.MethodData{{Type: of, Value: b}}
				messages = append(messages, krb5.Encode(&q))
			}
		}
	}
	x.slow = 0
	sent := x.datagrams(t, slices.Values(messages))
	n := x.streams(t, slices.Values(messages))
	// And as the proxy's own message.
	for _, b := range messages {
		if status := post(t, x.s, b); status < 400 || status >= 500 {
			t.Errorf("KdcProxy answers %.20x with %d", b, status)
		}
	}
	t.Logf("%d datagrams, %d by TCP and HTTPS, the slowest in %v", sent, n, x.slow)
}

// wrongTags gives each element that might be one of a CHOICE the tag of every other
// (K02, CVE-2022-44640).
func (x *hostile) wrongTags(t *testing.T) {
	messages := func(yield func([]byte) bool) {
		for _, m := range x.some(t) {
			for _, e := range elements(m) {
				class := m[e.at] & 0xc0
				if class == 0 {
					continue
				}
				for _, form := range []byte{0, 0x20} {
					for _, number := range []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 30} {
						tag := class | form | number
						if tag == m[e.at] {
							continue
						}
						b := slices.Clone(m)
						b[e.at] = tag
						if !yield(b) {
							return
						}
					}
				}
			}
		}
	}
	t.Logf("%d datagrams, %d by TCP and HTTPS", x.datagrams(t, messages), x.streams(t, every(32, messages)))
}

// some are the first and the last request of each kind, and one with a certificate,
// which a client of another realm has sent.
func (x *hostile) some(t *testing.T) (some [][]byte) {
	t.Helper()
	first, last := map[string][]byte{}, map[string][]byte{}
	for _, b := range x.said {
		of := kind(t, b)
		if first[of] == nil {
			first[of] = b
		} else {
			last[of] = b
		}
	}
	for _, of := range kinds {
		if some = append(some, first[of]); last[of] != nil {
			some = append(some, last[of])
		}
	}
	all, _ := recordings(t)
	i := slices.IndexFunc(all, func(b []byte) bool {
		var q krb5.KDCReq
		if q.Unmarshal(b) != nil {
			return false
		}
		_, ok := q.PAData.Find(krb5.PAPKASReq)
		return ok
	})
	if i < 0 {
		t.Fatal("no request with a certificate is recorded")
	}
	return append(some, all[i])
}

// truncated cuts requests at each octet, with the lengths that they had, and with
// octets in place of those that are gone (K02).
func (x *hostile) truncated(t *testing.T) {
	messages := func(yield func([]byte) bool) {
		for _, m := range x.some(t) {
			for n := range m {
				if !yield(m[:n]) || !yield(append(slices.Clone(m[:n]), make([]byte, len(m)-n)...)) {
					return
				}
			}
		}
	}
	sent := x.datagrams(t, messages)
	n := x.streams(t, every(97, messages))
	// The proxy's message, and a connection that ends within a request.
	for _, m := range x.said[:1] {
		body, on := wrapped(framed(m), x.s.Realm), framed(m)
		for i := range body {
			if status := post(t, x.s, body[:i]); status < 400 || status >= 500 {
				t.Errorf("KdcProxy answers %d of %d octets with %d", i, len(body), status)
			}
		}
		for i := range on {
			stream(t, i, x.s.KDC, on[:i])
		}
	}
	t.Logf("%d datagrams, %d by TCP and HTTPS", sent, n)
}

// etypes asks for 1 to 1,000 of them, known, unknown and negative (K06,
// CVE-2019-14844). The service logs what it refuses.
func (x *hostile) etypes(t *testing.T) {
	var q krb5.KDCReq
	if err := q.Unmarshal(x.said[0]); err != nil {
		t.Fatal(err)
	}
	messages := func(yield func([]byte) bool) {
		for _, of := range []func(i int) int32{
			func(i int) int32 { return int32(i) - 50 },
			func(i int) int32 { return int32(i*0x9e3779b1) ^ -1 },
			func(int) int32 { return -1 << 31 },
		} {
			q.ETypes = nil
			for i := range 1000 {
				q.ETypes = append(q.ETypes, of(i))
				// As many as are taken (64) and some more, and then now and then.
				if (i < 100 || i%10 == 9) && !yield(krb5.Encode(&q)) {
					return
				}
			}
		}
	}
	t.Logf("%d datagrams, %d by TCP and HTTPS", x.datagrams(t, messages), x.streams(t, every(6, messages)))
}
