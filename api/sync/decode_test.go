package sync

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

func TestDecodeHashes(t *testing.T) {
	const body = `{ "agent" : {"v":[1,2]}, "items" : [
		{"sourceAnchor":"QUJD","changeDate":"2026-01-02T03:04:05.123456Z","credentialData":"v1;PPH1_MD4,00,1000,00;","legacy":"a.b.c","forcePasswordChangeOnLogon":true,"more":[null,{"a":1e3}]},
		{"sourceAnchor":"\u0041\/\ud83d\ude00\n","changeDate":"2026-01-02T05:04:05+02:00","credentialData":null}
	] }`
	b, err := decodeHashes(body)
	if err != nil {
		t.Fatal(err)
	}
	want := []tenant.HashItem{
		{Anchor: "QUJD", Changed: time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC), Digest: "v1;PPH1_MD4,00,1000,00;", Legacy: "a.b.c", MustChange: true},
		{Anchor: "A/😀\n", Changed: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	if !reflect.DeepEqual(b.good, want) {
		t.Errorf("got %+v", b.good)
	}
}

// TestOneBadItem: what is wrong with an item is its own matter.
func TestOneBadItem(t *testing.T) {
	good := `{"sourceAnchor":"good"}`
	for name, test := range map[string]struct {
		item   string
		reason tenant.Reason
	}{
		"a number":        {`7`, tenant.ReasonMalformed},
		"null":            {`null`, tenant.ReasonMalformed},
		"a list":          {`[1,[2]]`, tenant.ReasonMalformed},
		"anchor a number": {`{"sourceAnchor":7}`, tenant.ReasonMalformed},
		"anchor a list":   {`{"sourceAnchor":["x"]}`, tenant.ReasonMalformed},
		"anchor too long": {`{"sourceAnchor":"` + strings.Repeat("x", maxName+1) + `"}`, tenant.ReasonMalformed},
		"digest too long": {`{"sourceAnchor":"x","credentialData":"` + strings.Repeat("x", maxDigest+1) + `"}`, tenant.ReasonMalformed},
		"legacy too long": {`{"sourceAnchor":"x","legacy":"` + strings.Repeat("x", maxLegacy+1) + `"}`, tenant.ReasonMalformed},
		"two anchors":     {`{"sourceAnchor":"x","sourceAnchor":"y"}`, tenant.ReasonMalformed},
		"two, one spelt":  {`{"sourceAnchor":"x","\u0073ourceAnchor":"y"}`, tenant.ReasonMalformed},
		"two hashes":      {`{"sourceAnchor":"x","legacy":"a","legacy":"b"}`, tenant.ReasonMalformed},
		"date":            {`{"sourceAnchor":"x","changeDate":"yesterday"}`, tenant.ReasonDateMalformed},
		"flag":            {`{"sourceAnchor":"x","forcePasswordChangeOnLogon":"yes"}`, tenant.ReasonMalformed},
	} {
		b, err := decodeHashes(`{"items":[` + good + `,` + test.item + `,` + good + `]}`)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(b.good) != 2 || len(b.results) != 3 || b.results[1].Reason != test.reason {
			t.Errorf("%s: %d good, %+v", name, len(b.good), b.results)
		}
		stored := []tenant.ItemResult{{Anchor: "1", Reason: tenant.ReasonStored}, {Anchor: "3", Reason: tenant.ReasonStored}}
		if m := b.merge(stored); m[0].Anchor != "1" || m[1].Reason != test.reason || m[2].Anchor != "3" {
			t.Errorf("%s: merged %+v", name, m)
		}
	}
}

// TestNoBatch: bodies that are refused as a whole.
func TestNoBatch(t *testing.T) {
	for name, body := range map[string]string{
		"empty":               ``,
		"a list":              `[]`,
		"no items":            `{}`,
		"items null":          `{"items":null}`,
		"two lists":           `{"items":[],"items":[]}`,
		"another case":        `{"Items":[]}`,
		"open":                `{"items":[{}`,
		"more behind":         `{"items":[]}{}`,
		"NUL behind":          "{\"items\":[]}\x00",
		"comma at the end":    `{"items":[{},]}`,
		"bare word":           `{"items":[nul]}`,
		"number 01":           `{"items":[01]}`,
		"number 1.":           `{"items":[1.]}`,
		"number +1":           `{"items":[+1]}`,
		"control in a string": "{\"items\":[\"\n\"]}",
		"bad escape":          `{"items":["\x"]}`,
		"short \\u":           `{"items":["\u12"]}`,
		"lone surrogate":      `{"items":["\ud800"]}`,
		"wrong pair":          `{"items":["\ud800\u0041"]}`,
		"invalid UTF-8":       "{\"items\":[\"\xff\"]}",
		"byte order mark":     "\ufeff{\"items\":[]}",
		"too deep":            `{"items":[{"x":[[[]]]}]}`,
		"far too deep":        `{"items":[` + strings.Repeat("[", 1<<20),
	} {
		if _, err := decodeHashes(body); err != errBody {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decodeObjects(body); err != errBody {
			t.Errorf("%s: %v", name, err)
		}
	}
	list := func(n int) string { return `{"items":[` + strings.TrimSuffix(strings.Repeat(`{},`, n), ",") + `]}` }
	if b, err := decodeHashes(list(tenant.MaxBatchItems)); err != nil || len(b.results) != tenant.MaxBatchItems {
		t.Errorf("a full batch: %v", err)
	}
	if _, err := decodeHashes(list(tenant.MaxBatchItems + 1)); problem.Of(err).Code != "BatchTooLarge" {
		t.Errorf("one more: %v", err)
	}
}

func TestDecodeObjects(t *testing.T) {
	b, err := decodeObjects(`{"items":[
		{"type":"user","operation":"set","sourceAnchor":"a","attributes":{"displayName":"Ada","accountEnabled":false,"employeeId":12,"mail":null,"proxyAddresses":["SMTP:a@x"],"userCertificate":[]}},
		{"type":"group","operation":"delete","sourceAnchor":"b"},
		{"type":"printer","operation":"set","sourceAnchor":"c"},
		{"operation":"set","sourceAnchor":"d"},
		{"type":"user","operation":"upsert","sourceAnchor":"e"},
		{"type":"user","operation":"set","sourceAnchor":"f","attributes":{"mail":"a","MAIL":"b"}},
		{"type":"user","operation":"set","sourceAnchor":"g","attributes":{"mail":{"a":1}}},
		{"type":"user","operation":"set","sourceAnchor":"h","attributes":{"member":["a",7]}},
		{"type":"user","operation":"set","sourceAnchor":"i","attributes":7}
	]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []tenant.ObjectItem{
		{Kind: tenant.User, Operation: tenant.Set, Anchor: "a", Attributes: map[string]any{
			"displayName": "Ada", "accountEnabled": false, "employeeId": json.Number("12"), "mail": nil,
			"proxyAddresses": []string{"SMTP:a@x"}, "userCertificate": []string{}}},
		{Kind: tenant.Group, Operation: tenant.Delete, Anchor: "b"},
	}
	if !reflect.DeepEqual(b.good, want) {
		t.Errorf("got %+v", b.good)
	}
	var reasons []string
	for _, r := range b.results {
		reasons = append(reasons, r.Anchor+" "+string(r.Reason))
	}
	if got := strings.Join(reasons, ","); got != "a ,b ,c unsupported,d malformed,e malformed,f malformed,g attributeInvalid,h attributeInvalid,i malformed" {
		t.Error(got)
	}
	many := `{"items":[{"type":"user","operation":"set","sourceAnchor":"a","attributes":{`
	for i := range maxAttributes + 1 {
		many += fmt.Sprintf(`"a%d":1,`, i)
	}
	if b, err := decodeObjects(many[:len(many)-1] + `}}]}`); err != nil || b.results[0].Reason != tenant.ReasonMalformed {
		t.Errorf("too many attributes: %+v, %v", b, err)
	}
}

func TestControl(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				s := []byte(strings.Repeat("\xff ", 10))[:n]
				s[at] = byte(c)
				if control(string(s)) != (c < ' ') {
					t.Fatalf("%q", s)
				}
			}
		}
	}
}

func TestEncode(t *testing.T) {
	got := encode(42, []tenant.ItemResult{
		{Anchor: `a"<é`, Reason: tenant.ReasonStored, ID: tenant.ID{1}},
		{Anchor: "b", Reason: tenant.ReasonUnknownAnchor, Detail: "no\nsuch"},
	})
	const want = `{"usn":42,"results":[{"sourceAnchor":"a\"\u003cé","status":"ok","reason":"stored","id":"01000000-0000-0000-0000-000000000000"},` +
		`{"sourceAnchor":"b","status":"error","reason":"unknownAnchor","detail":"no\nsuch"}]}`
	if string(got) != want {
		t.Errorf("got %s", got)
	}
	if !json.Valid(encode(0, nil)) {
		t.Error("an empty answer is no JSON")
	}
}

// FuzzScanner holds the scanner to encoding/json: what it takes as a string, a
// number or a structure, that takes too, and reads the same in it.
func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"items":[{"sourceAnchor":"\u0041\ud83d\ude00"}]}`, `"\"\\\/\b"`, `[-0.1e+5,true,null]`, `"é"`, `{"a":{"a":[]}}`, "\"\x7f\"", `{"":1,"":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := &scanner{s: s}
		got := whole(c, 0)
		ok := c.next() == 0 && c.i == len(c.s) && !c.bad
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var want any
		err := d.Decode(&want)
		if err == nil && d.More() {
			err = fmt.Errorf("more")
		}
		if ok && !json.Valid([]byte(s)) {
			t.Fatalf("taken, but no JSON: %q", s)
		}
		if ok && strings.ToValidUTF8(s, "") == s && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, encoding/json has %#v", s, got, want)
		}
		// Refused for a reason of ours only: depth, surrogates.
		if !ok && err == nil && json.Valid([]byte(s)) && !strings.Contains(s, `\u`) && strings.Count(s, "[")+strings.Count(s, "{") <= maxDepth {
			t.Fatalf("refused: %q", s)
		}
		// The other way to consume a value ends at the same place.
		k := &scanner{s: s}
		k.skip(0)
		if k.next(); ok && (k.bad || k.i != c.i) {
			t.Fatalf("skip differs: %q", s)
		}
	})
}

// whole reads any value as encoding/json would.
func whole(c *scanner, depth int) any {
	switch c.next() {
	case '{', '[':
		if depth >= maxDepth {
			c.fail()
			return nil
		}
		if c.s[c.i] == '{' {
			out := map[string]any{}
			c.object(func(name string) { out[name] = whole(c, depth+1) })
			return out
		}
		out := []any{}
		c.array(func() { out = append(out, whole(c, depth+1)) })
		return out
	}
	return c.scalar()
}

func FuzzDecodeHashes(f *testing.F) {
	f.Add(string(hashBody(2)))
	f.Fuzz(func(t *testing.T, s string) {
		b, err := decodeHashes(s)
		if err == nil && (!json.Valid([]byte(s)) || len(b.good) > len(b.results)) {
			t.Fatalf("%q", s)
		}
	})
}

func FuzzDecodeObjects(f *testing.F) {
	f.Add(`{"items":[{"type":"group","operation":"set","sourceAnchor":"a","attributes":{"member":["b"],"mailEnabled":false}}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		b, err := decodeObjects(s)
		if err == nil && (!json.Valid([]byte(s)) || len(b.good) > len(b.results)) {
			t.Fatalf("%q", s)
		}
	})
}

func hashBody(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sourceAnchor":"QUJDREVGR0hJSktMTU5PUA%06d==","changeDate":"2026-01-02T03:04:05.123456Z","credentialData":"v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;","legacy":"%s","forcePasswordChangeOnLogon":false}`,
			i, strings.Repeat("eyJhbGciOiJFQ0RILUVTIiwi", 37))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// BenchmarkDecode reads a full batch: with the scanner, and with encoding/json.
func BenchmarkDecode(b *testing.B) {
	body := hashBody(1000)
	b.Run("scanner", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var text strings.Builder // as the handler has it: read once into one piece
			text.Grow(len(body))
			text.Write(body)
			if got, err := decodeHashes(text.String()); err != nil || len(got.good) != 1000 {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var got struct {
				Items []struct {
					SourceAnchor               string
					ChangeDate                 time.Time
					CredentialData             string
					Legacy                     string
					ForcePasswordChangeOnLogon bool
				}
			}
			if err := json.Unmarshal(body, &got); err != nil || len(got.Items) != 1000 {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		results := make([]tenant.ItemResult, 1000)
		for i := range results {
			results[i] = tenant.ItemResult{Anchor: "QUJDREVGR0hJSktMTU5PUA==", Reason: tenant.ReasonStored, ID: tenant.ID{1}}
		}
		b.ReportAllocs()
		for b.Loop() {
			encode(1, results)
		}
	})
}
