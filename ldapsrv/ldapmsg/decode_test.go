package ldapmsg

import (
	"bytes"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	lor "github.com/lor00x/goldap/message"

	"skyrealm/der"
	"skyrealm/domain/dit"
)

func filter(text string) *dit.Filter {
	f, err := dit.ParseFilter(text)
	if err != nil {
		panic(text)
	}
	return f
}

var cn, mail = dit.Attr("cn"), dit.Attr("mail")

// requests has each operation in each of its forms.
func requests() []Message {
	attr := Attribute{"cn", cn, [][]byte{[]byte("a"), {0, 0xff}}}
	search := func(f string, names ...string) *SearchRequest {
		return &SearchRequest{Base: "DC=x", Scope: dit.Sub, Deref: 3, SizeLimit: 1000, TimeLimit: 1<<31 - 1, TypesOnly: true, Filter: filter(f), Attrs: NewSelection(names...)}
	}
	list := []Message{
		{Op: &BindRequest{Version: 3, Name: "CN=a,DC=x", Auth: AuthSimple, Credentials: Secret{[]byte("pw")}, HasCredentials: true}},
		{Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "GSS-SPNEGO", Credentials: Secret{bytes.Repeat([]byte{7}, 8192)}, HasCredentials: true}},
		{Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "EXTERNAL"}},
		{Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "GSSAPI", Credentials: Secret{[]byte{}}, HasCredentials: true}},
		{Op: &UnbindRequest{}},
		{Op: search("(objectClass=*)")},
		{Op: search("(&(cn=a)(|(sn>=b)(sn<=c))(!(mail~=d))(cn=a*b*c)(cn=*x*)(cn=y*)(cn=*z)(a:dn:1.2.3:=v)(:1.2.3:=v)(b:=))", "cn", "mail", "*")},
		{Op: search("(cn=a)", "1.1")},
		{Op: &ModifyRequest{DN: "CN=a", Changes: []Change{{ChangeAdd, attr}, {ChangeDelete, Attribute{Name: "mail", Type: mail}}, {ChangeReplace, attr}}}},
		{Op: &AddRequest{DN: "CN=a", Attrs: []Attribute{attr, {"unheardOf", nil, [][]byte{{}}}}}},
		{Op: &DeleteRequest{"CN=a"}},
		{Op: &ModifyDNRequest{DN: "CN=a", NewRDN: "CN=b", DeleteOld: true}},
		{Op: &ModifyDNRequest{DN: "CN=a", NewRDN: "CN=b", NewSuperior: "OU=c", HasSuperior: true}},
		{Op: &CompareRequest{DN: "CN=a", Name: "cn", Type: cn, Value: Secret{[]byte("x")}}},
		{Op: &AbandonRequest{5}},
		{Op: &ExtendedRequest{Name: WhoAmI}},
		{Op: &ExtendedRequest{Name: PasswordModify, Value: Secret{[]byte{0x30, 0}}, HasValue: true}},
	}
	tags := []Op{OpBindRequest, OpBindRequest, OpBindRequest, OpBindRequest, OpUnbindRequest, OpSearchRequest, OpSearchRequest, OpSearchRequest, OpModifyRequest, OpAddRequest, OpDeleteRequest, OpModifyDNRequest, OpModifyDNRequest, OpCompareRequest, OpAbandonRequest, OpExtendedRequest, OpExtendedRequest}
	for i := range list {
		list[i].ID, list[i].Tag = int32(i+1), tags[i]
	}
	list[5].Controls = []Control{PagedControl(500, []byte("c")), {OID: SDFlags, Critical: true, Value: []byte{0x30, 3, 2, 1, 7}}, {OID: DomainScope}}
	return list
}

// TestDecode has every operation decoded as it was meant, and goldap, which
// knows nothing of us, read the same bytes and write them alike.
func TestDecode(t *testing.T) {
	for _, want := range requests() {
		wire := encode(want)
		got, err := Decode(wire)
		if err != nil || !same(got, want) {
			t.Errorf("%T: %+v, %v, want %+v", want.Op, got, err, want)
		}
		if want.Tag == OpSearchRequest && strings.Contains(want.Op.(*SearchRequest).Filter.String(), ":dn:") {
			continue // goldap reads extensible matches, but writes them wrong
		}
		msg, err := lor.ReadLDAPMessage(lor.NewBytes(0, wire))
		if err != nil {
			t.Errorf("goldap refuses %T: %v", want.Op, err)
			continue
		}
		again, err := msg.Write()
		if err != nil || !bytes.Equal(again.Bytes(), wire) {
			t.Errorf("goldap writes %T as\n%x, we as\n%x", want.Op, again.Bytes(), wire)
		}
	}
}

func same(a, b Message) bool {
	s, ok1 := a.Op.(*SearchRequest)
	r, ok2 := b.Op.(*SearchRequest)
	if ok1 && ok2 { // a Selection's listed says how it came about
		x, y := *s, *r
		x.Attrs.listed, y.Attrs.listed = true, true
		a.Op, b.Op = &x, &y
	}
	return reflect.DeepEqual(a, b)
}

func TestMessageIDs(t *testing.T) {
	for _, id := range []int32{0, 1, 127, 128, 255, 256, 32767, 32768, 1<<31 - 1} {
		wire := encode(Message{ID: id, Op: &UnbindRequest{}})
		if m, err := Decode(wire); err != nil || m.ID != id {
			t.Errorf("%d: %d, %v", id, m.ID, err)
		}
		// Both encoders, as the standard library reads them.
		e := dit.Entry{}
		for _, out := range [][]byte{AppendResult(nil, id, OpSearchDone, Result{}), AppendEntry(nil, id, &e, &Selection{All: true}, false, nil)} {
			var env struct {
				ID int32
				Op asn1.RawValue
			}
			if rest, err := asn1.Unmarshal(out, &env); err != nil || env.ID != id || len(rest) > 0 {
				t.Errorf("%d is written as %x: %v", id, out, err)
			}
		}
	}
	for _, bad := range []string{"\x30\x05\x02\x01\x80\x42\x00", "\x30\x09\x02\x05\x00\x80\x00\x00\x00\x42\x00", "\x30\x04\x02\x00\x42\x00"} {
		if m, err := Decode([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %+v, %v", bad, m, err)
		}
	}
}

// TestTruncation cuts every request at every byte, and breaks the inner lengths
// by cutting inside a whole envelope.
func TestTruncation(t *testing.T) {
	for _, m := range requests() {
		wire := encode(m)
		if len(wire) > 1024 {
			wire = encode(Message{ID: 1, Op: &BindRequest{Version: 3, Auth: AuthSASL, Mechanism: "X", HasCredentials: true, Credentials: Secret{[]byte("y")}}})
		}
		for i := range wire {
			if m, err := Decode(wire[:i]); err == nil {
				t.Errorf("%x was read as %+v", wire[:i], m)
			}
			r := der.NewReader(wire)
			body, _ := r.Bytes(der.Sequence)
			if i < len(body) {
				var w der.Writer
				w.Octets(der.Sequence, body[:i])
				if got, err := Decode(w.Bytes()); err == nil && len(m.Controls) == 0 {
					t.Errorf("%T: %x was read as %+v", m.Op, w.Bytes(), got)
				}
			}
		}
		if _, err := Decode(append(bytes.Clone(wire), 0)); err == nil {
			t.Errorf("%T: a byte too many was read", m.Op)
		}
	}
}

func searchWith(rawFilter []byte) []byte {
	var w der.Writer
	w.Octets(der.Sequence, nil)
	w.Raw(rawFilter)
	w.Bool(der.Boolean, false)
	w.Int(der.Integer, 0)
	w.Int(der.Integer, 0)
	w.Int(der.Enumerated, 0)
	w.Int(der.Enumerated, 2)
	w.String(der.OctetString, "")
	w.Wrap(OpSearchRequest, 0)
	return finish(nil, &w, 1)
}

func TestFilterLimits(t *testing.T) {
	nest := func(depth int, tags ...der.Tag) []byte {
		var w der.Writer
		w.String(0x87, "cn")
		for i := range depth {
			w.Wrap(tags[i%len(tags)], 0)
		}
		return w.Bytes()
	}
	for _, tags := range [][]der.Tag{{0xa0}, {0xa1}, {0xa2}, {0xa0, 0xa2, 0xa1}} {
		for depth, want := range map[int]error{0: nil, 1: nil, 39: nil, 40: nil, 41: dit.ErrFilterDepth, 64: dit.ErrFilterDepth, 10_000: dit.ErrFilterDepth, 40_000: dit.ErrFilterDepth, 1_000_000: ErrTooLarge} {
			m, err := Decode(searchWith(nest(depth, tags...)))
			if !errors.Is(err, want) || m.ID != 1 || m.Response() != OpSearchDone {
				t.Errorf("depth %d: %v, want %v", depth, err, want)
			}
		}
	}
	wide := func(n int) []byte {
		var w der.Writer
		for range n {
			w.String(0x87, "cn")
		}
		w.Wrap(0xa1, 0)
		return searchWith(w.Bytes())
	}
	for n, want := range map[int]error{MaxFilterNodes - 2: nil, MaxFilterNodes - 1: nil, MaxFilterNodes: ErrTooLarge} {
		if _, err := Decode(wide(n)); !errors.Is(err, want) {
			t.Errorf("%d nodes: %v, want %v", n, err, want)
		}
	}
	for _, bad := range []string{
		"", "\x04\x00", "\xa2\x00", "\xa2\x08\x87\x02cn\x87\x02cn", "\x87\x00", "\x87\x02c(", "\x87\x02c\n", "\xa3\x02\x04\x00", "\xa3\x04\x04\x02cn", "\xaa\x00", "\xbf\x00",
		"\xa4\x06\x04\x02cn\x30\x00", "\xa4\x08\x04\x02cn\x30\x02\x80\x00", // substrings: none, an empty one
		"\xa4\x0c\x04\x02cn\x30\x06\x82\x01a\x81\x01b", "\xa4\x0c\x04\x02cn\x30\x06\x81\x01a\x80\x01b", "\xa4\x09\x04\x02cn\x30\x03\x83\x01a", // out of order, unknown
		"\xa9\x03\x83\x01v", "\xa9\x04\x82\x02cn", "\xa9\x07\x81\x01(\x83\x02vv",
	} {
		if m, err := Decode(searchWith([]byte(bad))); !errors.Is(err, ErrMalformed) {
			t.Errorf("filter %x: %+v, %v", bad, m.Op, err)
		}
	}
}

// TestNestedConstructed puts 10,000 constructed elements into each place that
// holds one (trust.md L02): recursion must not follow the sender.
func TestNestedConstructed(t *testing.T) {
	var w der.Writer
	for range 10_000 {
		w.Wrap(der.Sequence, 0)
	}
	deep := w.Bytes()
	for i := range 8 {
		for _, tag := range []Op{OpBindRequest, OpSearchRequest, OpModifyRequest, OpAddRequest, OpModifyDNRequest, OpCompareRequest, OpExtendedRequest, 0x7e} {
			var w der.Writer
			w.Raw(deep)
			for range i {
				w.String(der.OctetString, "x")
			}
			w.Wrap(tag, 0)
			if m, err := Decode(finish(nil, &w, 1)); err == nil {
				t.Errorf("%x with %d fields before: %+v", tag, i, m)
			}
		}
	}
	w.Int(der.Integer, 1)
	w.Wrap(der.Sequence, 0)
	if _, err := Decode(w.Bytes()); !errors.Is(err, ErrUnknownOp) {
		t.Error(err)
	}
}

func TestControls(t *testing.T) {
	with := func(n int) []byte {
		m := Message{ID: 7, Op: &DeleteRequest{"CN=a"}}
		for range n {
			m.Controls = append(m.Controls, Control{OID: ShowDeleted, Critical: true})
		}
		return encode(m)
	}
	for n, want := range map[int]error{0: nil, MaxControls - 1: nil, MaxControls: nil, MaxControls + 1: ErrTooManyControls, 100_000: ErrTooManyControls} {
		m, err := Decode(with(n))
		if !errors.Is(err, want) || m.ID != 7 || m.Response() != OpDeleteResponse || want == nil && len(m.Controls) != n {
			t.Errorf("%d controls: %v", n, err)
		}
	}
	m, err := Decode(encode(Message{ID: 1, Op: &UnbindRequest{}, Controls: []Control{PagedControl(300, []byte("cookie"))}}))
	if err != nil || m.Control("1.2") != nil {
		t.Fatal(err)
	}
	if size, cookie, ok := m.Control(PagedResults).Paged(); !ok || size != 300 || string(cookie) != "cookie" {
		t.Error(size, cookie, ok)
	}
	for _, bad := range []string{"", "\x30\x00", "\x30\x05\x02\x01\xff\x04\x00", "\x30\x03\x02\x01\x05", "\x30\x05\x02\x01\x05\x04\x00\x00", "\x30\x08\x02\x04\x7f\xff\xff\xff\x04\x01"} {
		if _, _, ok := (&Control{Value: []byte(bad)}).Paged(); ok {
			t.Errorf("%x is a page", bad)
		}
	}
}

func TestValueLimits(t *testing.T) {
	add := func(n int) []byte {
		a := Attribute{Name: "cn"}
		for range n {
			a.Values = append(a.Values, []byte{})
		}
		return encode(Message{ID: 1, Op: &AddRequest{Attrs: []Attribute{a}}})
	}
	for n, want := range map[int]error{MaxValues - 1: nil, MaxValues: ErrTooLarge, 1_000_000: ErrTooLarge} {
		if _, err := Decode(add(n)); !errors.Is(err, want) {
			t.Errorf("%d values: %v, want %v", n, err, want)
		}
	}
	names := func(n int) []byte {
		var w der.Writer
		for i := range n {
			w.String(der.OctetString, fmt.Sprintf("a%d", i))
		}
		w.Wrap(der.Sequence, 0)
		wire := searchWith([]byte("\x87\x02cn"))
		r := der.NewReader(wire)
		in, _ := r.Enter(der.Sequence)
		in.Int32(der.Integer)
		body, _ := in.Bytes(OpSearchRequest)
		w.Raw(body[:len(body)-2]) // all but the empty list
		w.Wrap(OpSearchRequest, 0)
		return finish(nil, &w, 1)
	}
	for n, want := range map[int]error{MaxAttributes: nil, MaxAttributes + 1: ErrTooLarge} {
		if _, err := Decode(names(n)); !errors.Is(err, want) && err != nil {
			t.Errorf("%d names: %v, want %v", n, err, want)
		} else if want != nil && err == nil {
			t.Errorf("%d names accepted", n)
		}
	}
}

// TestOwnership overwrites the message: nothing decoded may change but a bind's
// credentials, which must.
func TestOwnership(t *testing.T) {
	for _, want := range requests() {
		wire := encode(want)
		got, err := Decode(wire)
		if err != nil {
			t.Fatal(err)
		}
		clear(wire)
		if b, ok := got.Op.(*BindRequest); ok {
			if bytes.ContainsFunc(b.Credentials.Expose(), func(r rune) bool { return r != 0 }) {
				t.Error("wiping the buffer leaves the credentials")
			}
		} else if !same(got, want) {
			t.Errorf("%T points into the buffer: %+v", want.Op, got)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	pw := Secret{[]byte("hunter2")}
	for _, v := range []any{&BindRequest{Credentials: pw}, BindRequest{Credentials: pw}, pw, &pw, &CompareRequest{Value: pw}, &ExtendedRequest{Value: pw},
		&ModifyRequest{Changes: []Change{{0, Attribute{"unicodePwd", nil, [][]byte{[]byte("hunter2")}}}}}, &AddRequest{Attrs: []Attribute{{"unicodePwd", nil, [][]byte{[]byte("hunter2")}}}}} {
		j, err := json.Marshal(v)
		out := fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v) + string(j)
		if err != nil || strings.Contains(out, "hunter2") || strings.Contains(out, "68756e74657232") || strings.Contains(out, "104") || strings.Contains(out, "aHVudGVyMg") {
			t.Errorf("%T prints %s, %v", v, out, err)
		}
	}
}

// FuzzDecode: what decodes is written so that it decodes to the same, and
// nothing panics.
func FuzzDecode(f *testing.F) {
	for _, m := range requests() {
		f.Add(encode(m))
	}
	f.Add([]byte("\x30\x84\x00\x00\x00\x05\x02\x01\x03\x42\x00"))
	f.Add(searchWith([]byte("\xa0\x00")))
	f.Fuzz(func(t *testing.T, wire []byte) {
		m, err := Decode(wire)
		if err != nil {
			if m.Op != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooManyControls) {
				t.Fatalf("%T with %v", m.Op, err)
			}
			return
		}
		if s, ok := m.Op.(*SearchRequest); ok {
			if len(s.Attrs.Names) > 0 {
				s.Attrs = NewSelection("cn") // ranges are not written back
			}
			if again, err := dit.ParseFilter(s.Filter.String()); err != nil || again.String() != s.Filter.String() {
				t.Fatalf("filter %s: %v", s.Filter, err)
			}
			AppendEntry(nil, m.ID, entry(), &s.Attrs, s.TypesOnly, nil)
			s.Filter.Match(entry(), nil)
		}
		again, err := Decode(encode(m))
		if err != nil || !same(again, m) {
			t.Fatalf("%x\n%+v\n%+v, %v", wire, m, again, err)
		}
	})
}

func BenchmarkDecodeSearch(b *testing.B) {
	wire := encode(Message{ID: 300, Op: &SearchRequest{Base: "DC=aadds,DC=contoso,DC=test", Scope: dit.Sub, Filter: filter("(&(objectClass=user)(sAMAccountName=ada))"), Attrs: NewSelection("cn", "mail", "memberOf")}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBind(b *testing.B) {
	wire := encode(requests()[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := entry()
	sel := Selection{All: true}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEntry(buf[:0], 300, e, &sel, false, nil)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkAppendDone(b *testing.B) {
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendResult(buf[:0], 300, OpSearchDone, Result{})
	}
}
