package krb5

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"skyrealm/der"
)

// forgetRaw drops the bytes that only a decoded request has.
func forgetRaw(m message) {
	switch m := m.(type) {
	case *KDCReq:
		m.RawBody = nil
	case *reqBody:
		m.RawBody = nil
	case *S4UX509User:
		m.RawUserID = nil
	}
}

func TestRoundTrip(t *testing.T) {
	for _, k := range kinds() {
		wire := Encode(k.full)
		got := k.empty()
		if err := got.Unmarshal(wire); err != nil {
			t.Errorf("%s: %v\n%x", k.name, err, wire)
			continue
		}
		if again := Encode(got); !bytes.Equal(again, wire) {
			t.Errorf("%s: encodes again as\n%x, not\n%x", k.name, again, wire)
		}
		forgetRaw(got)
		if !reflect.DeepEqual(got, k.full) {
			t.Errorf("%s:\n%+v, want\n%+v", k.name, got, k.full)
		}
		// A receiver that held another message must show no trace of it.
		if err := got.Unmarshal(wire); err != nil || !bytes.Equal(Encode(got), wire) {
			t.Errorf("%s: second use of the receiver: %v", k.name, err)
		}
	}
}

func TestTruncated(t *testing.T) {
	for _, k := range kinds() {
		wire := Encode(k.full)
		for n := range wire {
			var syntax SyntaxError
			if err := k.empty().Unmarshal(wire[:n:n]); !errors.As(err, &syntax) {
				t.Errorf("%s cut to %d of %d bytes: %v", k.name, n, len(wire), err)
			}
		}
		if err := k.empty().Unmarshal(append(bytes.Clone(wire), 0)); err == nil {
			t.Errorf("%s with a byte after it was taken", k.name)
		}
	}
}

// TestOptional leaves out every set of optional fields (K04), and every
// required field alone.
func TestOptional(t *testing.T) {
	for _, k := range kinds() {
		wire := Encode(k.full)
		if wire[0] == 0x30 && k.optional == nil || len(wire) == 4 {
			continue // lists, and what is one field
		}
		var tags []der.Tag
		r := der.NewReader(wire)
		var outer []der.Tag
		for {
			tag, _ := r.Peek()
			outer = append(outer, tag)
			r, _ = r.Enter(tag)
			if tag == der.Sequence {
				break
			}
		}
		var fields [][]byte
		for !r.Empty() {
			tag, _, raw, ok := r.Any()
			if !ok {
				t.Fatal(k.name)
			}
			tags, fields = append(tags, tag), append(fields, raw)
		}
		without := func(leave func(i int) bool) []byte {
			w := der.NewWriter(nil)
			for i := len(fields) - 1; i >= 0; i-- {
				if !leave(i) {
					w.Raw(fields[i])
				}
			}
			for i := len(outer) - 1; i >= 0; i-- {
				w.Wrap(outer[i], 0)
			}
			return w.Bytes()
		}
		optional := map[int]int{} // index of the field to its bit
		for i, tag := range tags {
			for bit, n := range k.optional {
				if tag == der.Context(n) {
					optional[i] = bit
				}
			}
		}
		if len(optional) != len(k.optional) {
			t.Fatalf("%s: the sample lacks an optional field", k.name)
		}
		receiver := k.empty()
		for set := range 1 << len(k.optional) {
			in := without(func(i int) bool { bit, ok := optional[i]; return ok && set>>bit&1 == 1 })
			if err := receiver.Unmarshal(in); err != nil {
				t.Errorf("%s without set %b: %v", k.name, set, err)
				continue
			}
			fresh := k.empty()
			if err := fresh.Unmarshal(in); err != nil || !bytes.Equal(Encode(fresh), Encode(receiver)) {
				t.Errorf("%s without set %b: the receiver kept a field of an earlier message", k.name, set)
			}
		}
		for i, tag := range tags {
			if _, ok := optional[i]; ok {
				continue
			}
			if err := k.empty().Unmarshal(without(func(j int) bool { return j == i })); err == nil {
				t.Errorf("%s without its required field %x was taken", k.name, tag)
			}
		}
	}
}

// TestLimits finds each limit at its edge: n is taken and n+1 is not.
func TestLimits(t *testing.T) {
	req := func(change func(*KDCReq)) message {
		q := fullReq(MsgASReq)
		change(&q)
		return &q
	}
	part := fullRepPart(MsgASRep)
	many := func(n int) (name PrincipalName) {
		return Principal(1, strings.Split(strings.Repeat("a ", n-1)+"a", " ")...)
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name  string
		limit int
		make  func(n int) message
	}{
		{"components", MaxComponents, func(n int) message { return req(func(q *KDCReq) { q.CName = many(n) }) }},
		{"component", MaxComponent, func(n int) message { return req(func(q *KDCReq) { q.CName = Principal(1, long(n)) }) }},
		{"name", MaxName, func(n int) message {
			k := MaxComponent
			return req(func(q *KDCReq) { q.CName = Principal(1, long(k), long(k), long(k), long(k-1), long(n-4*k+1)) })
		}},
		{"realm", MaxComponent, func(n int) message { return req(func(q *KDCReq) { q.Realm = long(n) }) }},
		{"padata", MaxPAData, func(n int) message { return req(func(q *KDCReq) { q.PAData = make(MethodData, n) }) }},
		{"etypes", MaxETypes, func(n int) message { return req(func(q *KDCReq) { q.ETypes = make([]int32, n) }) }},
		{"addresses", MaxAddresses, func(n int) message { return req(func(q *KDCReq) { q.Addresses = make([]HostAddress, n) }) }},
		{"tickets", MaxTickets, func(n int) message {
			return req(func(q *KDCReq) {
				q.AdditionalTickets = make([]Ticket, n)
				for i := range n {
					q.AdditionalTickets[i] = someTkt
				}
			})
		}},
		{"last-req", MaxLastReq, func(n int) message {
			p := *part
			p.LastReq = make([]LastReq, n)
			return &p
		}},
		{"authorization data", MaxAuthData, func(n int) message { a := make(AuthorizationData, n); return &a }},
		{"etype-info2", MaxETypes, func(n int) message { l := make(ETypeInfo2, n); return &l }},
		{"salt", MaxComponent, func(n int) message { return &ETypeInfo2{{EType: 18, Salt: long(n)}} }},
		{"e-text", MaxErrorText, func(n int) message { return &Error{Realm: realm, SName: someSPN, EText: long(n)} }},
	} {
		for n, want := range map[int]bool{c.limit: true, c.limit + 1: false} {
			m := c.make(n)
			got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
			if err := got.Unmarshal(Encode(m)); (err == nil) != want {
				t.Errorf("%s: %d gives %v", c.name, n, err)
			}
		}
	}
}

// TestRefused holds what is well-formed DER and must not pass.
func TestRefused(t *testing.T) {
	req := func(change func(*KDCReq)) message { q := fullReq(MsgASReq); change(&q); return &q }
	tgs := fullReq(MsgTGSReq)
	typeOfTGS := bytes.Replace(Encode(&tgs), []byte{0xa2, 3, 2, 1, MsgTGSReq}, []byte{0xa2, 3, 2, 1, MsgASReq}, 1)
	asReq := fullReq(MsgASReq)
	version4 := bytes.Replace(Encode(&asReq), []byte{0xa1, 3, 2, 1, 5}, []byte{0xa1, 3, 2, 1, 4}, 1)
	usec := bytes.Replace(Encode(&PAEncTSEnc{micro(someTime, 999999)}), []byte{0x0f, 0x42, 0x3f}, []byte{0x0f, 0x42, 0x40}, 1)
	negative := bytes.Replace(Encode(&PAEncTSEnc{micro(someTime, 1)}), []byte{2, 1, 1}, []byte{2, 1, 0xff}, 1)
	// gokrb5 dies of this one inside TGSReq.Unmarshal (go-findings.md §2.3).
	oneByteTicket := func() []byte {
		q := fullReq(MsgTGSReq)
		q.AdditionalTickets = nil
		w := der.NewWriter(nil)
		r := der.NewReader(Encode(&reqBody{q}))
		in, _ := r.Enter(der.Sequence)
		w.Raw([]byte{0x61})
		w.Wrap(der.Sequence, 0)
		w.Wrap(der.Context(11), 0)
		w.Raw(in.Rest())
		w.Wrap(der.Sequence, 0)
		w.Wrap(der.Context(4), 0)
		putInt(w, 2, MsgTGSReq)
		putInt(w, 1, 5)
		wrapMessage(w, MsgTGSReq, 0)
		return w.Bytes()
	}()
	for name, c := range map[string]struct {
		into message
		wire []byte
	}{
		"NUL in a name":          {new(KDCReq), Encode(req(func(q *KDCReq) { q.CName = Principal(1, "a\x00b") }))},
		"NUL in a realm":         {new(KDCReq), Encode(req(func(q *KDCReq) { q.Realm = "A\x00B" }))},
		"name of no components":  {new(Ticket), Encode(&Ticket{Realm: realm, EncPart: someData})},
		"empty ciphertext":       {new(Ticket), Encode(&Ticket{Realm: realm, SName: someSPN})},
		"empty key":              {new(EncKDCRepPart), Encode(&EncKDCRepPart{MsgType: MsgASRep, SRealm: realm, SName: someSPN})},
		"msg-type of another":    {new(KDCReq), typeOfTGS},
		"pvno 4":                 {new(KDCReq), version4},
		"a million microseconds": {new(PAEncTSEnc), usec},
		"negative microseconds":  {new(PAEncTSEnc), negative},
		"one-byte ticket":        {new(KDCReq), oneByteTicket},
		"nonce of 33 bits":       {new(KDCReq), Encode(req(func(q *KDCReq) { q.Nonce = 1 << 32 }))},
		"nonce below 32 bits":    {new(KDCReq), Encode(req(func(q *KDCReq) { q.Nonce = -1<<31 - 1 }))},
		"five octets of etypes":  {new(SupportedEncTypes), make([]byte, 5)},
	} {
		var syntax SyntaxError
		if err := c.into.Unmarshal(c.wire); !errors.As(err, &syntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNesting sends elements inside elements (K01): none is followed further
// than the ASN.1 goes, and data that is searched stops at der.MaxDepth.
func TestNesting(t *testing.T) {
	for _, depth := range []int{10, 1000, 100000} {
		w := der.NewWriter(nil)
		for range depth {
			w.Wrap(der.Sequence, 0)
		}
		for _, k := range kinds() {
			if err := k.empty().Unmarshal(w.Bytes()); err == nil {
				t.Errorf("%s of %d nested sequences was taken", k.name, depth)
			}
		}
		if (AuthorizationData{{ADIfRelevant, w.Bytes()}}).Contains(ADWin2kPAC) {
			t.Error("found a PAC in nothing")
		}
	}
}

// TestRawBody shows that the body stays as it came, also where the client's
// lengths are no DER.
func TestRawBody(t *testing.T) {
	q := fullReq(MsgTGSReq)
	w := der.NewWriter(nil)
	r := der.NewReader(Encode(&reqBody{q}))
	in, _ := r.Enter(der.Sequence)
	n := len(in.Rest())
	w.Raw(in.Rest())
	w.Raw([]byte{0x30, 0x84, 0, 0, byte(n >> 8), byte(n)})
	body := bytes.Clone(w.Bytes())
	w.Wrap(der.Context(4), 0)
	putInt(w, 2, MsgTGSReq)
	putInt(w, 1, 5)
	wrapMessage(w, MsgTGSReq, 0)
	var got KDCReq
	if err := got.Unmarshal(w.Bytes()); err != nil || !bytes.Equal(got.RawBody, body) {
		t.Fatalf("%v\n%x, want\n%x", err, got.RawBody, body)
	}
	if !got.CName.Equal(q.CName) || got.Nonce != q.Nonce {
		t.Fatalf("%+v", got)
	}
}

func TestPAC(t *testing.T) {
	inner := func(a ...AuthDataEntry) AuthDataEntry {
		return AuthDataEntry{ADIfRelevant, Encode(AuthorizationData(a))}
	}
	pac, other := AuthDataEntry{ADWin2kPAC, []byte("PAC")}, AuthDataEntry{ADTokenRestrictions, []byte("r")}
	for name, c := range map[string]struct {
		in   AuthorizationData
		pac  string
		rest int
		find bool
	}{
		"alone in front":    {AuthorizationData{inner(pac), inner(other)}, "PAC", 1, false},
		"not in front":      {AuthorizationData{inner(other), inner(pac)}, "", 2, true},
		"not alone":         {AuthorizationData{inner(pac, other)}, "", 1, true},
		"second in company": {AuthorizationData{inner(other, pac)}, "", 1, true},
		"twice":             {AuthorizationData{inner(pac), inner(pac)}, "PAC", 1, true},
		"bare":              {AuthorizationData{pac}, "", 1, true},
		"two deep":          {AuthorizationData{inner(inner(pac))}, "", 1, true},
		"none":              {AuthorizationData{inner(other)}, "", 1, false},
		"KDC issued": {AuthorizationData{{ADKDCIssued, func() []byte {
			w := der.NewWriter(nil)
			putAuthData(w, 3, AuthorizationData{inner(pac)})
			putChecksum(w, 0, Checksum{16, []byte("sum")})
			w.Wrap(der.Sequence, 0)
			return w.Bytes()
		}()}}, "", 1, true},
	} {
		part := EncTicketPart{Key: someKey, CName: someName, AuthData: c.in}
		wire := Encode(&part)
		var got EncTicketPart
		if err := got.Unmarshal(wire); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if string(got.PAC) != c.pac || len(got.AuthData) != c.rest {
			t.Errorf("%s: PAC %q, rest %v", name, got.PAC, got.AuthData)
		}
		if found := got.AuthData.Contains(ADWin2kPAC); found != c.find {
			t.Errorf("%s: Contains says %v of the rest", name, found)
		}
		if !bytes.Equal(Encode(&got), wire) {
			t.Errorf("%s: encodes otherwise", name)
		}
	}
}

func TestPrincipal(t *testing.T) {
	for want, p := range map[string]PrincipalName{
		"":                          {},
		"zoë":                       someName,
		"krbtgt/AADDS.CONTOSO.TEST": someSPN,
		`a\/b/c\@d\\`:               Principal(1, "a/b", `c@d\`),
		`a\/b`:                      Principal(1, "a/b"),
	} {
		if p.String() != want {
			t.Errorf("%q, want %q", p, want)
		}
	}
	if !Principal(1, "a", "b").Equal(Principal(2, "a", "b")) || Principal(1, "a/b").Equal(Principal(1, "a", "b")) {
		t.Error("Equal")
	}
}

func TestError(t *testing.T) {
	err := fmt.Errorf("kdc: %w", &Error{Code: ErrPreauthRequired, EText: "so it is"})
	if !errors.Is(err, ErrPreauthRequired) || errors.Is(err, ErrPreauthFailed) {
		t.Error("errors.Is")
	}
	if want := "kdc: krb5: KDC_ERR_PREAUTH_REQUIRED: so it is"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if s := ErrorCode(4711).String(); s != "KRB_ERR_4711" {
		t.Error(s)
	}
	// The text of an old MIT KDC ends with a NUL; it is no reason to drop the answer.
	var got Error
	if err := got.Unmarshal(Encode(&Error{Realm: realm, SName: someSPN, EText: "NEEDED\x00"})); err != nil || got.EText != "NEEDED\x00" {
		t.Errorf("%v %q", err, got.EText)
	}
}

func TestRedacted(t *testing.T) {
	key := NewEncryptionKey(18, []byte("SECRETKEY"))
	part := EncTicketPart{Key: key}
	priv := EncPrivPart{UserData: NewSecret([]byte("SECRETKEY"))}
	asJSON, err := json.Marshal([]any{key, part, &part, priv})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "key", key, "part", part, "priv", &priv)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "key", key, "part", part, "priv", &priv)
	out := string(asJSON) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb+verb+verb+verb, key, part, &part, priv)
	}
	for _, leak := range []string{"SECRETKEY", "U0VDUkVUS0VZ", "5345435245544b4559", "83 69 67", "0x53, 0x45"} {
		if strings.Contains(out, leak) {
			t.Errorf("%s in %s", leak, out)
		}
	}
	if !key.Equal(NewEncryptionKey(18, []byte("SECRETKEY"))) || key.Equal(NewEncryptionKey(17, []byte("SECRETKEY"))) ||
		key.Equal(NewEncryptionKey(18, []byte("SECRETKEZ"))) {
		t.Error("Equal")
	}
}

// FuzzUnmarshal gives the input to the decoder that kind names. What is taken
// must survive its own encoding.
func FuzzUnmarshal(f *testing.F) {
	for i, k := range kinds() {
		f.Add(uint8(i), Encode(k.full))
	}
	for _, v := range mitVectors {
		f.Add(uint8(indexOf(v.kind)), unhex(f, v.hex))
	}
	all := kinds()
	f.Fuzz(func(t *testing.T, which uint8, in []byte) {
		k := all[int(which)%len(all)]
		first, second := k.empty(), k.empty()
		if first.Unmarshal(in) != nil {
			return
		}
		wire := Encode(first)
		if err := second.Unmarshal(wire); err != nil {
			t.Fatalf("%s: %v\n%x\n%x", k.name, err, in, wire)
		}
		forgetRaw(first)
		forgetRaw(second)
		if !reflect.DeepEqual(first, second) || !bytes.Equal(Encode(second), wire) {
			t.Fatalf("%s:\n%+v\n%+v", k.name, first, second)
		}
		if a, ok := first.(*AuthorizationData); ok {
			a.Contains(ADWin2kPAC)
		}
	})
}
