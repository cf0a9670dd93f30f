package nbfx

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// testdata/agent holds what a Python agent for the real service puts on the
// wire. The .bin of a request is what AADInternals_python, with the msbin1
// encoder python-wcfbin of its newest commit, sent in each operation (November
// 2026; both run by hand under Python 3.11 with a fixed UUID, token, salt and
// values picked to mislead its guessing of types), the .xml is the text that it
// encoded, with the space between elements taken out. The .bin of a reply is
// what [Writer] wrote, the .xml what the agent's decoder printed of it. None of
// their code is here.

// plain is an element as any reader of XML sees it, for comparing readers.
type plain struct {
	name     xml.Name
	attrs    []string
	text     string
	children []*plain
}

func (p *plain) String() string {
	return fmt.Sprintf("<{%s}%s %q %q %v>", p.name.Space, p.name.Local, p.attrs, p.text, p.children)
}

func plainOf(e *Element) *plain {
	p := &plain{name: xml.Name{Space: e.Namespace, Local: e.Local}, text: e.Text()}
	for _, a := range e.Attrs {
		if a.Namespace != nsXMLNS {
			p.attrs = append(p.attrs, a.Namespace+" "+a.Local+"="+a.Value.Text())
		}
	}
	slices.Sort(p.attrs)
	for c := range e.Elements() {
		p.children = append(p.children, plainOf(c))
	}
	return p
}

// plainXML reads a text with the standard library, another reader than ours.
func plainXML(t testing.TB, text []byte) *plain {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(text))
	stack := []*plain{{}}
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return stack[0].children[0]
		}
		if err != nil {
			t.Fatal(err)
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			p := &plain{name: tok.Name}
			for _, a := range tok.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					p.attrs = append(p.attrs, a.Name.Space+" "+a.Name.Local+"="+a.Value)
				}
			}
			slices.Sort(p.attrs)
			top.children = append(top.children, p)
			stack = append(stack, p)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text += string(tok)
		}
	}
}

// asSent is what becomes of a text on its way through the agent's guesses
// (entra-wire.md §A5): truth values and UUIDs lose their case.
func asSent(p *plain) {
	lower := strings.ToLower(p.text)
	if lower == "true" || lower == "false" || strings.Count(p.text, "-") == 4 && (len(p.text) == 36 || strings.HasPrefix(p.text, "urn:uuid:")) {
		p.text = lower
	}
	for _, c := range p.children {
		asSent(c)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/agent", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var requests = []string{"configuration", "features", "readback", "user", "group", "delete", "password", "password-cloud", "finalize"}

func TestRequestsOfThePythonAgent(t *testing.T) {
	for _, name := range requests {
		t.Run(name, func(t *testing.T) {
			b := read(t, name+".bin")
			e, err := Decode(b, Defaults)
			if err != nil {
				t.Fatal(err)
			}
			want := plainXML(t, read(t, name+".xml"))
			asSent(want)
			if got := plainOf(e); got.String() != want.String() {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if !bytes.Equal(e.Append(nil), b) {
				t.Error("not written back byte for byte")
			}
			for n := range b {
				if _, err := Decode(b[:n], Defaults); err == nil {
					t.Errorf("the first %d bytes are a message", n)
				}
			}
			env, err := ParseEnvelope(e)
			if err != nil {
				t.Fatal(err)
			}
			const id = "0f8fad5b-d9cb-469f-a165-70867728950e"
			if env.Action != NSChange+"/IProvisioningWebService/"+env.Body.Local || env.Body.Namespace != NSChange ||
				env.MessageID != "urn:uuid:"+id || env.ReplyTo != NSAddressing+"/anonymous" ||
				env.To != "https://adminwebservice.microsoftonline.com/provisioningservice.svc" {
				t.Errorf("envelope: %+v", env)
			}
			for child, want := range map[string]string{"TrackingId": id, "ApplicationId": "1651564e-7ce4-4d99-88be-0a65050d8dc3",
				"BearerToken": "eyJ0eXAiOi.not.real-", "ClientVersion": "8.0", "LiveToken": "", "IsInstalledOnDC": "false"} {
				if got := env.SyncToken.Child(NSChange, child).Text(); got != want {
					t.Errorf("%s: %q", child, got)
				}
			}
		})
	}
}

// The records that entra-wire.md §A5 quotes from the start of a real request.
func TestStartOfARequest(t *testing.T) {
	b := read(t, "finalize.bin")
	at := 0
	for _, want := range []string{"56 02 0b 01 73 04 0b 01 61 06 56 08 44 0a 1e 00 82 b7 ba", "40 09 53796e63546f6b656e 1e 8a 01 b6 54", "08 2a 75726e",
		"0b 01 69 f2 06", "40 0d 4170706c69636174696f6e4964 08 36", "b1", "44 1a ad", "44 2c 44 2a ab 14 01", "44 0c 1e 00 82 b7 86", "01", "56 0e"} {
		i := bytes.Index(b[at:], unhex(t, want))
		if i < 0 || at == 0 && i != 0 {
			t.Fatalf("%s is not where it should be, after byte %d", want, at)
		}
		at += i + len(unhex(t, want))
	}
}

const (
	nsArrays = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
	nsCoex   = "http://schemas.datacontract.org/2004/07/Microsoft.Online.Coexistence.Schema"
)

// replies are of the shapes that entra-wire.md §A7 and §A8 ask for.
var replies = map[string]func() ([]byte, error){
	"reply-password": func() ([]byte, error) { return credentialsReply(1) },
	"reply-readback": func() ([]byte, error) {
		return Reply(NSChange+"/IProvisioningWebService/ReadBackAzureADSyncObjects2Response", "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e", func(w *Writer) {
			w.Start("", "ReadBackAzureADSyncObjects2Response")
			w.Xmlns("", NSChange)
			w.Start("", "ReadBackAzureADSyncObjects2Result")
			w.Xmlns("b", "http://schemas.microsoft.com/online/aws/change/2014/06")
			w.Xmlns("i", NSXSI)
			w.Start("b", "ResultObjects")
			w.Start("b", "AzureADSyncObject")
			w.Start("b", "PropertyValues")
			w.Xmlns("c", nsArrays)
			for _, kv := range [][2]string{{"displayName", "Zoë & <Ωmega> 🦊 \"q\" 'a'"}, {"state", "a\x00b\x1b\xffc"}, {"city", "True"}, {"title", "0123"},
				{"department", strings.Repeat("e", 255)}, {"company", strings.Repeat("f", 256)}, {"thumbnailPhoto", strings.Repeat("QUJD", 20_000)}} {
				w.Start("c", "KeyValueOfstringanyType")
				w.Leaf("c", "Key", kv[0])
				w.Start("c", "Value")
				w.Xmlns("d", "http://www.w3.org/2001/XMLSchema")
				w.Attr("i", "type", "d:string")
				w.Text(kv[1])
				w.End()
				w.End()
			}
			w.Start("c", "KeyValueOfstringanyType")
			w.Leaf("c", "Key", "onPremiseSecurityIdentifier")
			w.Start("c", "Value")
			w.Xmlns("d", "http://www.w3.org/2001/XMLSchema")
			w.Attr("i", "type", "d:base64Binary")
			w.Base64([]byte{1, 5, 0, 0})
			w.End()
			w.End()
			w.End()
			w.Leaf("b", "SyncObjectType", "User")
			w.Nil("b", "Nothing")
			w.Bool("b", "Yes", true)
			w.Bool("b", "No", false)
			w.Leaf("b", "Empty", "")
			w.End()
			w.End()
			w.End()
			w.End()
		})
	},
	"reply-fault": func() ([]byte, error) {
		return Fault("urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e", Sender, "Identity synchronization is not yet activated for this company <&>", func(w *Writer) {
			w.Start("", "AdminWebServiceFault")
			w.Xmlns("", nsCoex)
			w.Leaf("", "ErrorCode", "90")
			w.End()
		})
	},
	"reply-fault-bare": func() ([]byte, error) { return Fault("", Receiver, "busy", nil) },
}

func credentialsReply(n int) ([]byte, error) {
	return Reply(NSChange+"/IProvisioningWebService/ProvisionCredentialsResponse", "urn:uuid:0f8fad5b-d9cb-469f-a165-70867728950e", func(w *Writer) {
		w.Start("", "ProvisionCredentialsResponse")
		w.Xmlns("", NSChange)
		w.Start("", "ProvisionCredentialsResult")
		w.Xmlns("b", nsCoex)
		w.Xmlns("i", NSXSI)
		w.Start("b", "Results")
		for range n {
			w.Start("b", "SyncCredentialsChangeResult")
			w.Nil("b", "CloudAnchor")
			w.Nil("b", "ExtendedErrorInformation")
			w.Leaf("b", "Result", "0")
			w.Leaf("b", "SourceAnchor", "AAECAwQFBgcICQoLDA0ODw==")
			w.End()
		}
		w.End()
		w.End()
		w.End()
	})
}

// What the Python agent's decoder printed of our replies is what our decoder and
// the writer's caller mean by them.
func TestRepliesToThePythonAgent(t *testing.T) {
	for name, write := range replies {
		t.Run(name, func(t *testing.T) {
			b, err := write()
			if err != nil {
				t.Fatal(err)
			}
			if os.Getenv("NBFX_WRITE") != "" {
				if err := os.WriteFile(filepath.Join("testdata/agent", name+".bin"), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(b, read(t, name+".bin")) {
				t.Fatal("another message than the one that was shown to the agent: do that again")
			}
			e, err := Decode(b, Defaults)
			if err != nil {
				t.Fatal(err)
			}
			printed := read(t, name+".xml")
			if got, want := plainOf(e).String(), plainXML(t, printed).String(); got != want {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			if again := e.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("not written back byte for byte")
			}
			for _, literal := range []string{"<s:Envelope ", "<s:Body>"} { // it looks these up by prefix
				if !strings.Contains(string(printed), literal) {
					t.Errorf("no %s", literal)
				}
			}
		})
	}
	for name, literals := range map[string][]string{
		"reply-password":   {"<b:SyncCredentialsChangeResult>", "<b:Result>0</b:Result>", `<b:ExtendedErrorInformation i:nil="true"></b:ExtendedErrorInformation>`},
		"reply-readback":   {"Zoë &amp; &lt;Ωmega&gt; 🦊", "a\ufffdb\ufffd\ufffdc", "<b:Yes>true</b:Yes>", "<b:No>false</b:No>", "<b:Empty></b:Empty>", ">AQUAAA=="},
		"reply-fault":      {`<s:Reason><s:Text xml:lang="en-US">Identity synchronization`, "<s:Value>s:Sender</s:Value>", "<ErrorCode>90</ErrorCode>"},
		"reply-fault-bare": {"<s:Value>s:Receiver</s:Value>"},
	} {
		for _, l := range literals {
			if !strings.Contains(string(read(t, name+".xml")), l) {
				t.Errorf("%s: no %s", name, l)
			}
		}
	}
}

func TestWriterRefusesWhatNobodyCouldRead(t *testing.T) {
	long := strings.Repeat("n", 128)
	for name, write := range map[string]func(*Writer){
		"nothing":             func(w *Writer) {},
		"an open element":     func(w *Writer) { w.Start("", "a") },
		"an end too many":     func(w *Writer) { w.Start("", "a"); w.End(); w.End() },
		"two roots":           func(w *Writer) { w.Leaf("", "a", ""); w.Leaf("", "a", "") },
		"text outside":        func(w *Writer) { w.Leaf("", "a", ""); w.Text("x") },
		"a long name":         func(w *Writer) { w.Leaf("", long, "") },
		"a long prefix":       func(w *Writer) { w.Start(long, "a"); w.Xmlns(long, "n"); w.End() },
		"a long namespace":    func(w *Writer) { w.Start("", "a"); w.Xmlns("", long); w.End() },
		"markup in a name":    func(w *Writer) { w.Leaf("", "a b", "") },
		"markup in a prefix":  func(w *Writer) { w.Start("", "a"); w.Xmlns("b c", "n"); w.End() },
		"a prefix undeclared": func(w *Writer) { w.Leaf("b", "a", "") },
		"a prefix out of scope": func(w *Writer) {
			w.Start("", "a")
			w.Start("", "b")
			w.Xmlns("c", "n")
			w.End()
			w.Leaf("c", "d", "")
			w.End()
		},
		"an attribute's prefix":    func(w *Writer) { w.Start("", "a"); w.Attr("i", "nil", "true"); w.End() },
		"a prefix without meaning": func(w *Writer) { w.Start("", "a"); w.Xmlns("b", ""); w.End() },
		"a late attribute":         func(w *Writer) { w.Start("", "a"); w.Text("x"); w.Attr("", "b", "c"); w.End() },
		"a late declaration":       func(w *Writer) { w.Start("", "a"); w.Text("x"); w.Xmlns("", "c"); w.End() },
		"a quote":                  func(w *Writer) { w.Start("", "a"); w.Attr("", "b", `"`); w.End() },
	} {
		var w Writer
		write(&w)
		if b, err := w.Bytes(); b != nil || !errors.Is(err, ErrWriter) {
			t.Errorf("%s: % x, %v", name, b, err)
		}
	}
	var w Writer // what those have in common is no fault by itself
	w.Start("", long[1:])
	w.Xmlns("", long[1:])
	w.Xmlns("c", "n")
	w.Attr("c", "b", "")
	w.Attr("xml", "lang", "en")
	w.Text("x")
	w.Leaf("c", "d", "\t\r\n")
	w.Text("y")
	w.Text("z")
	w.End()
	b, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(b, Defaults)
	if err != nil || e.Text() != "xyz" || e.Child("n", "d").Text() != "\t\r\n" {
		t.Error(err, render(e))
	}
}

func TestParseEnvelope(t *testing.T) {
	const head = "56 02 0b 01 73 04 0b 01 61 06 "
	const action = "44 0a 99 01 41"
	const other = "40 01 78 "
	for _, x := range []struct {
		name, hex string
		want      error
	}{
		{"whole", head + "56 08" + action + "01 56 0e 40 01 78 01 01 01", nil},
		{"without header", head + "56 0e 01 01", nil},
		{"an unknown header", head + "56 08" + action + other + "01 01 56 0e 01 01", nil},
		{"one that needn't be understood", head + "56 08" + action + other + "1e 00 80 01 01 56 0e 01 01", nil},
		{"one that must be", head + "56 08" + action + other + "1e 00 82 01 01 56 0e 01 01", ErrNotUnderstood},
		{"one that must be, true", head + "56 08" + action + other + "1e 00 86 01 01 56 0e 01 01", ErrNotUnderstood},
		{"two actions", head + "56 08" + action + action + "01 56 0e 01 01", ErrEnvelope},
		{"two headers", head + "56 08" + action + "01 56 08 01 56 0e 01 01", ErrEnvelope},
		{"two bodies", head + "56 0e 01 56 0e 01 01", ErrEnvelope},
		{"a header after the body", head + "56 0e 01 56 08 01 01", ErrEnvelope},
		{"two in the body", head + "56 0e 40 01 78 01 40 01 78 01 01 01", ErrEnvelope},
		{"no body", head + "56 08 01 01", ErrEnvelope},
		{"something else beside", head + "40 01 78 01 56 0e 01 01", ErrEnvelope},
		{"SOAP 1.1", "56 02 0b 01 73 c2 07 01", ErrEnvelope},
		{"another root", "40 01 78 01", ErrEnvelope},
		{"another root around a body", "40 01 78 0b 01 73 04 56 0e 01 01", ErrEnvelope},
	} {
		e, err := Decode(unhex(t, x.hex), Defaults)
		if err != nil {
			t.Fatal(x.name, err)
		}
		if _, err := ParseEnvelope(e); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if _, err := ParseEnvelope(nil); !errors.Is(err, ErrEnvelope) {
		t.Error("nil:", err)
	}
}

// batch is a ProvisionCredentials request of n items, as the Python agent and
// real clients would write it.
func batch(t testing.TB, n int) []byte {
	e, err := Decode(read(t, "password.bin"), Defaults)
	if err != nil {
		t.Fatal(err)
	}
	env, err := ParseEnvelope(e)
	if err != nil {
		t.Fatal(err)
	}
	items := env.Body.Child(NSChange, "request").Child(nsCoex, "RequestItems")
	items.Nodes = slices.Repeat(items.Nodes, n)
	return e.Append(nil)
}

func BenchmarkDecode50Credentials(b *testing.B) {
	msg := batch(b, 50)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := Decode(msg, Defaults)
		if err != nil {
			b.Fatal(err)
		}
		env, err := ParseEnvelope(e)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for item := range env.Body.Child(NSChange, "request").Child(nsCoex, "RequestItems").Elements() {
			for field := range item.Elements() {
				if !field.IsNil() {
					n += len(field.Text())
				}
			}
		}
		if n < 50*100 {
			b.Fatal("items missing", n)
		}
	}
}

func BenchmarkReplyTo50Credentials(b *testing.B) {
	msg, err := credentialsReply(50)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := credentialsReply(50); err != nil {
			b.Fatal(err)
		}
	}
}

// Defaults hold the largest group that the service takes, member by member.
func TestGroupOf50000Members(t *testing.T) {
	e, err := Decode(read(t, "group.bin"), Defaults)
	if err != nil {
		t.Fatal(err)
	}
	var members *Element
	var find func(*Element)
	find = func(e *Element) {
		for c := range e.Elements() {
			if c.Local == "Key" && c.Text() == "member" {
				members = e.Child(nsArrays, "Value")
			}
			find(c)
		}
	}
	find(e)
	if ns, local := members.Type(); ns != nsArrays || local != "ArrayOfstring" || len(members.Nodes) != 4 {
		t.Fatal("no members in", ns, local)
	}
	members.Nodes = slices.Repeat(members.Nodes, 50_000/4)
	msg := e.Append(nil)
	if e, err = Decode(msg, Defaults); err != nil {
		t.Fatalf("%d bytes: %v", len(msg), err)
	}
	find(e)
	n := 0
	for m := range members.Elements() {
		if !strings.HasPrefix(m.Text(), "AAECAwQFBgcICQoLDA0O") {
			t.Fatal(m.Text())
		}
		n++
	}
	if n != 50_000 {
		t.Error(n)
	}
}

// dear are the messages that cost most within Defaults.
func dear() map[string][]byte {
	within := func(head, each []byte, nodes int) []byte {
		n := min(Defaults.Nodes/nodes-70, (Defaults.Bytes-len(head)-1)/len(each))
		return append(append(slices.Clone(head), bytes.Repeat(each, n)...), endElement)
	}
	prefixes := []byte{0x40, 1, 'd', xmlns, 1, 'z', 1, 'n'} // the first is found last
	attrs := []byte{0x40, 1, 'e'}
	for i := range byte(Defaults.Attributes) {
		name := []byte{'A' + i%26, 'a' + i/26}
		if i > 0 {
			prefixes = append(append(prefixes, xmlns, 2), append(name, 1, 'n')...)
		}
		attrs = append(append(append(attrs, shortAttribute, 2), name...), one)
	}
	values := within(nil, []byte{1}, 2)
	values = append([]byte{0x40, 1, 'd', array, 0x40, 1, 'e', endElement, boolText | 1}, append(appendInt31(nil, len(values)-1), values...)...)
	return map[string][]byte{
		"prefixes":     within(prefixes, []byte{prefixElement + 25, 1, 'e', endElement}, 1),
		"attributes":   within([]byte{0x40, 1, 'd'}, append(attrs, endElement), 1+Defaults.Attributes),
		"an array":     values,
		"small texts":  within([]byte{0x40, 1, 'd'}, []byte{zero}, 1),
		"declarations": within([]byte{0x40, 1, 'd'}, []byte{0x40, 1, 'e', shortXmlns, 1, 'n', endElement}, 2),
		"one text":     within([]byte{0x40, 1, 'd'}, append([]byte{unicode32, 0, 0, 0x20, 0}, make([]byte, 2<<20)...), 1),
	}
}

// A server reckons with this much for each message that it decodes at a time.
func TestWorstMessagesAreBounded(t *testing.T) {
	for name, msg := range dear() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(msg, Defaults)
		runtime.ReadMemStats(&after)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; err != nil || mb > 64 {
			t.Errorf("%s, %d bytes: %v, %d MiB", name, len(msg), err, mb)
		}
	}
}

func BenchmarkDecodeWorst(b *testing.B) {
	for name, msg := range dear() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(msg, Defaults); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
