package agent

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skyrealm/cred"
)

var testNow = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)

func decode(t testing.TB, text string) *line {
	t.Helper()
	l, err := decodeLine([]byte(text), 1)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return l
}

func TestObject(t *testing.T) {
	l := decode(t, `{"userPrincipalName":"ada@corp.test","sAMAccountName":"ada","displayName":"Ada","sn":"L","givenName":"A","mail":"","department":"D",
		"objectSid":"S-1-5-21-1-2-3-1104","accountEnabled":false,"sourceAnchor":"QUJD","unknown":{"a":1}}`)
	want := Object{"user", "set", "QUJD", map[string]any{"userPrincipalName": "ada@corp.test", "onPremisesSamAccountName": "ada", "displayName": "Ada",
		"surname": "L", "givenName": "A", "mail": "", "department": "D", "onPremiseSecurityIdentifier": "S-1-5-21-1-2-3-1104", "accountEnabled": false}}
	if got := l.object(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	// An anchor is made the same way every time, whatever the case of the name.
	a, b := decode(t, `{"userPrincipalName":"Ada@corp.test"}`), decode(t, `{"userPrincipalName":"ada@CORP.test"}`)
	if a.SourceAnchor != b.SourceAnchor || len(a.SourceAnchor) >= 60 || a.SourceAnchor == decode(t, `{"type":"group","cn":"ada@corp.test"}`).SourceAnchor {
		t.Errorf("anchors %q, %q", a.SourceAnchor, b.SourceAnchor)
	}
	for _, text := range []string{``, `[]`, `{}`, `7`, `{"userPrincipalName":7}`, `{"type":"device","userPrincipalName":"a@b"}`, `{"type":"group"}`,
		`{"userPrincipalName":"a@b","sourceAnchor":"` + strings.Repeat("x", maxAnchor+1) + `"}`,
		`{"userPrincipalName":"a@b","pwdLastSet":"yesterday"}`, `{"userPrincipalName":"a@b"`, `{"userPrincipalName":"a@b","password":7}`} {
		if _, err := decodeLine([]byte(text), 1); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

func TestSizeOf(t *testing.T) {
	for _, o := range []Object{{}, decode(t, `{"userPrincipalName":"a@b"}`).object(),
		{"group", "set", "x", map[string]any{"member": []string{"<&>\"\\\u2028\x00é", ""}, "displayName": strings.Repeat("\x01", 100), "securityEnabled": true, "x": nil}}} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if n := sizeOf(o); n < len(b) {
			t.Errorf("%d for %d: %s", n, len(b), b)
		}
	}
}

func testSealer(t testing.TB) (*sealer, cred.PrivateKey) {
	t.Helper()
	private, err := cred.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := private.Public()
	return &sealer{tenant: "tid", key: &public, rand: rand.Reader, now: func() time.Time { return testNow }}, private
}

// TestHash makes items of every form of a password and opens what was sealed.
func TestHash(t *testing.T) {
	s, private := testSealer(t)
	// RFC 3962-verified vectors of entra-wire §C5.
	const aes256 = "3a3b6a89bb82d112db5ef68f6db5d1afc2b806df61dcd85e3eacf3b85ee382d8"
	for name, test := range map[string]struct {
		line, salt string
		keys       int
		changed    string
	}{
		"password, salt by the UPN":     {`{"userPrincipalName":"x@adatum.com","sAMAccountName":"April","password":"Pa$$w0rd"}`, "ADATUM.COMApril", 2, "2026-01-02T03:04:05.000000Z"},
		"password, salt by its domain":  {`{"userPrincipalName":"April@cloud.test","dnsDomainName":"adatum.com","password":"Pa$$w0rd"}`, "ADATUM.COMApril", 2, "2026-01-02T03:04:05.000000Z"},
		"NT hash":                       {`{"userPrincipalName":"x@y","ntHash":"92937945B518814341DE3F726500D4FF"}`, "", 0, "2026-01-02T03:04:05.000000Z"},
		"keys in hex, RC4 and DES drop": {`{"userPrincipalName":"x@y","ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":18,"salt":"ADATUM.COMApril","iterations":4096,"key":"` + aes256 + `"},{"etype":23,"key":"92937945b518814341de3f726500d4ff"},{"etype":3,"key":"0000000000000000"}]}`, "ADATUM.COMApril", 1, "2026-01-02T03:04:05.000000Z"},
		"keys in base64":                {`{"userPrincipalName":"x@y","ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":18,"salt":"ADATUM.COMApril","key":"OjtqibuC0RLbXvaPbbXRr8K4Bt9h3NhePqzzuF7jgtg="}]}`, "ADATUM.COMApril", 1, "2026-01-02T03:04:05.000000Z"},
		"a date":                        {`{"userPrincipalName":"x@y","password":"Pa$$w0rd","pwdLastSet":"2025-06-01T02:00:00.1234567+02:00"}`, "YX", 2, "2025-06-01T00:00:00.123456Z"},
		"AD's date":                     {`{"userPrincipalName":"x@y","password":"Pa$$w0rd","pwdLastSet":"133932096001234567"}`, "YX", 2, "2025-06-01T00:00:00.123456Z"},
		"a date in the future":          {`{"userPrincipalName":"x@y","password":"Pa$$w0rd","pwdLastSet":"2031-01-01T00:00:00Z"}`, "YX", 2, "2026-01-02T03:04:05.000000Z"},
	} {
		l := decode(t, test.line)
		h, err := s.hash(l)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if h.Changed != test.changed {
			t.Errorf("%s: changed %s", name, h.Changed)
		}
		at, err := time.Parse(time.RFC3339, h.Changed)
		if err != nil {
			t.Fatal(err)
		}
		d, err := cred.ParseDigest(h.Digest)
		if err != nil || !d.Verify("Pa$$w0rd") {
			t.Errorf("%s: digest %v", name, err)
		}
		legacy, err := private.Open(cred.Binding{Tenant: "tid", Subject: l.SourceAnchor, Version: at.UnixMicro()}, cred.Sealed(h.Legacy))
		if err != nil || !legacy.NT.Equal(cred.NTHashOf("Pa$$w0rd")) || len(legacy.Keys) != test.keys {
			t.Errorf("%s: legacy %v", name, err)
			continue
		}
		if test.keys > 0 && test.salt == "ADATUM.COMApril" {
			if k := legacy.Keys[0]; k.Salt != test.salt || fmt.Sprintf("%x", k.Key.Expose()) != aes256 {
				t.Errorf("%s: salt %q", name, k.Salt)
			}
		}
		if text := fmt.Sprintf("%v %+v %#v %s", h, []Hash{h}, &h, h); strings.Contains(text, h.Digest) {
			t.Errorf("%s prints %s", name, text)
		}
		if text := fmt.Sprintf("%+v", *l); strings.Contains(text, "Pa$$") || strings.Contains(text, "92937945") || strings.Contains(text, "OjtqibuC") {
			t.Errorf("%s prints %s", name, text)
		}
	}

	// One change gives one digest; another user's, another.
	hash := func(upn, date string) string {
		h, err := s.hash(decode(t, fmt.Sprintf(`{"userPrincipalName":%q,"password":"x","pwdLastSet":%q}`, upn, date)))
		if err != nil {
			t.Fatal(err)
		}
		return h.Digest
	}
	one, again := hash("a@b", "2025-06-01T00:00:00Z"), hash("a@b", "2025-06-01T00:00:00Z")
	salted, other := hash("a@b", ""), hash("a@b", "")
	if one != again || one == hash("b@b", "2025-06-01T00:00:00Z") ||
		one == hash("a@b", "2025-06-01T00:00:01Z") || salted == other {
		t.Error("digest salts")
	}
	if h, err := s.hash(decode(t, `{"userPrincipalName":"x@y","password":"x","pwdLastSet":0}`)); err != nil || !h.MustChange {
		t.Errorf("pwdLastSet 0: %v", err)
	}
	s.key = nil
	if h, err := s.hash(decode(t, `{"userPrincipalName":"x@y","password":"x"}`)); err != nil || h.Legacy != "" {
		t.Errorf("sealed for nobody: %v", err)
	}
}

// TestSalts: no two changes, users, tenants or agents share a salt, a change that is
// sent again has the one that it had, and a salt is none without the key.
func TestSalts(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	one, two := cred.NTHashOf("one"), cred.NTHashOf("two")
	seen := map[string]string{}
	salt := func(what string, key byte, tenant, anchor string, at time.Time, nt cred.NTHash) string {
		d, err := cred.NewDigest(nt, bytes.NewReader(saltOf(bytes.Repeat([]byte{key}, 32), tenant, anchor, at, nt)))
		if err != nil {
			t.Fatal(err)
		}
		s := strings.Split(d.Expose(), ",")[1]
		if len(s) != 20 { // 10 bytes (entra-wire §B)
			t.Errorf("a salt of %d digits", len(s))
		}
		if other, taken := seen[s]; taken && other != what {
			t.Errorf("%s and %s share a salt", what, other)
		}
		seen[s] = what
		return s
	}
	first := salt("a change", 1, "tid", "ada", at, one)
	if again := salt("a change", 1, "tid", "ada", at.In(time.FixedZone("", 3600)), one); again != first {
		t.Error("a change that is sent again has another salt")
	}
	salt("another password of the same moment", 1, "tid", "ada", at, two)
	salt("the same password set again", 1, "tid", "ada", at.Add(time.Microsecond), one)
	salt("another user of the same password", 1, "tid", "bob", at, one)
	salt("another tenant", 1, "tie", "ada", at, one)
	salt("another agent", 2, "tid", "ada", at, one)
	salt("names that run into each other", 1, "ti", "dada", at, one)

	// And so in the items: two agents of one tenant, and two files of one agent.
	digest := func(secret, upn string) string {
		c := &Client{Secret: Secret(secret), Now: func() time.Time { return testNow }, Rand: rand.Reader}
		s, err := c.sealer(&Configuration{TenantID: "tid", Now: testNow})
		if err != nil {
			t.Fatal(err)
		}
		h, err := s.hash(decode(t, fmt.Sprintf(`{"userPrincipalName":%q,"password":"x","pwdLastSet":"2025-06-01T00:00:00Z"}`, upn)))
		if err != nil {
			t.Fatal(err)
		}
		return h.Digest
	}
	if a := digest("first", "a@b"); a != digest("first", "a@b") || a == digest("second", "a@b") || a == digest("first", "b@b") {
		t.Error("the digests of a push")
	}
	// An agent's own key is random and outlives it.
	dir := t.TempDir()
	open := func(dir string) []byte {
		s, err := OpenStore(dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
		return s.SaltKey
	}
	if key := open(dir); len(key) != 32 || !bytes.Equal(key, open(dir)) || bytes.Equal(key, open(t.TempDir())) {
		t.Error("the key of an agent's salts")
	}
}

func TestHashRefuses(t *testing.T) {
	s, _ := testSealer(t)
	for _, fields := range []string{`"password":""`, `"password":"` + strings.Repeat("x", 257) + `"`, `"ntHash":"canary"`, `"ntHash":"92"`, `"ntHash":"` + strings.Repeat("0", 32) + `"`,
		`"kerberosKeys":[{"etype":18,"key":"canary"}]`, `"ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":18,"key":"canary"}]`,
		`"ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":17,"key":"OjtqibuC0RLbXvaPbbXRr8K4Bt9h3NhePqzzuF7jgtg="}]`,
		`"ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":18,"iterations":99999999,"key":"OjtqibuC0RLbXvaPbbXRr8K4Bt9h3NhePqzzuF7jgtg="}]`} {
		_, err := s.hash(decode(t, `{"userPrincipalName":"x@y",`+fields+`}`))
		if err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "9293") {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

func TestGroups(t *testing.T) {
	gs := newGroups()
	for _, text := range []string{
		`{"userPrincipalName":"a@b","sourceAnchor":"A","memberOf":["Sales","CN=R\\2cD\\+\\ ,OU=x,DC=y","sales","CN=Sales,OU=x"]}`,
		`{"userPrincipalName":"b@b","sourceAnchor":"B","memberOf":["CN=People\\, All,DC=y","",  "sales"]}`,
		`{"type":"group","sourceAnchor":"G","cn":"People, All","sAMAccountName":"people","distinguishedName":"CN=People\\, All,DC=y","memberOf":["Sales"]}`,
		`{"type":"group","sourceAnchor":"E","cn":"Empty"}`,
	} {
		gs.note(decode(t, text))
	}
	var got []string
	for _, g := range gs.resolve() {
		o := g.object()
		got = append(got, fmt.Sprintf("%v:%v", o.Attributes["displayName"], o.Attributes["member"]))
	}
	if s := strings.Join(got, " "); s != `people:[B] Empty:[] Sales:[A B G] R,D+:[A]` {
		t.Error(s)
	}
}

// service is a sync API in memory, behind a round tripper: under synctest a
// socket would never be idle.
type service struct {
	answer func(r *http.Request, body []byte) (int, http.Header, string)
	tokens int
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	status, header, text := 0, http.Header(nil), ""
	if strings.HasSuffix(r.URL.Path, "/token") {
		s.tokens++
		status, text = 200, fmt.Sprintf(`{"access_token":"t%d","expires_in":3599}`, s.tokens)
	} else {
		status, header, text = s.answer(r, body)
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (s *service) client() *Client {
	return &Client{BaseURL: "https://host/", HTTP: &http.Client{Transport: s}, ClientID: "id", Secret: "canary", Now: time.Now, Rand: bytes.NewReader(nil)}
}

const oneResult = `{"usn":5,"results":[{"sourceAnchor":"a","status":"ok","reason":"stored"}]}`

func TestRetries(t *testing.T) {
	for name, test := range map[string]struct {
		first []int // statuses before the good answer; 0 is no answer
		after string
		waits time.Duration
		fails bool
	}{
		"at once":                {nil, "", 0, false},
		"busy, with a time":      {[]int{503, 429}, "7", 14 * time.Second, false},
		"busy, without":          {[]int{503, 502, 504}, "", 250*time.Millisecond + 500*time.Millisecond + time.Second, false},
		"conflict":               {[]int{409}, "1", time.Second, false},
		"no connection":          {[]int{0, 0}, "", 750 * time.Millisecond, false},
		"token not good":         {[]int{401}, "", 0, false},
		"token never good":       {[]int{401, 401}, "", 0, true},
		"refused":                {[]int{403}, "", 0, true},
		"broken":                 {[]int{500}, "", 0, true},
		"a time beyond reason":   {[]int{503}, "999999", 5 * time.Minute, false},
		"not a time":             {[]int{503}, "soon", 250 * time.Millisecond, false},
		"busy for ever":          {[]int{503, 503, 503, 503, 503, 503, 503, 503, 503}, "1", 7 * time.Second, true},
		"away longer and longer": {[]int{0, 0, 0, 0, 0, 0, 0}, "", 250*time.Millisecond*(1+2+4+8+16+32) + 15*time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := 0
				s := &service{answer: func(*http.Request, []byte) (int, http.Header, string) {
					at++
					if at <= len(test.first) {
						return test.first[at-1], http.Header{"Retry-After": {test.after}}, `{"error":{"code":"Busy","message":"m"}}`
					}
					return 200, nil, oneResult
				}}
				start := time.Now()
				got, err := s.client().Hashes(t.Context(), []Hash{{Anchor: "a"}})
				if test.fails != (err != nil) || err == nil && got.USN != 5 {
					t.Errorf("%+v, %v", got, err)
				}
				if refused := (*Error)(nil); test.fails && (!errors.As(err, &refused) || refused.Code != "Busy") {
					t.Errorf("error %v", err)
				}
				if waited := time.Since(start); waited != test.waits {
					t.Errorf("waited %v, want %v", waited, test.waits)
				}
			})
		})
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		s := &service{answer: func(r *http.Request, _ []byte) (int, http.Header, string) {
			seen = append(seen, r.Header.Get("Authorization"))
			return 200, nil, oneResult
		}}
		c := s.client()
		for _, pause := range []time.Duration{0, 54 * time.Minute, time.Minute} {
			time.Sleep(pause)
			if _, err := c.Objects(t.Context(), []Object{{}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(seen); got != "[Bearer t1 Bearer t1 Bearer t2]" {
			t.Error(got)
		}
		if text := fmt.Sprintf("%+v %#v %s", c.Secret, c.Secret, c.Secret); strings.Contains(text, "canary") {
			t.Error(text)
		}
	})
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, text := range map[string]string{"no JSON": `<html>`, "too few results": `{"usn":1,"results":[]}`} {
		s := &service{answer: func(*http.Request, []byte) (int, http.Header, string) { return 200, nil, text }}
		c := s.client()
		c.Rand = rand.Reader
		synctest.Test(t, func(t *testing.T) { // it is asked again before it is given up
			if _, err := c.Objects(t.Context(), []Object{{}}); err == nil {
				t.Errorf("%s is taken", name)
			}
		})
	}
}

// TestBatchesAndTheClock: a push keeps within the limits of the service, and
// dates by the service's clock.
func TestBatchesAndTheClock(t *testing.T) {
	private, err := cred.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk, _ := private.Public().JWK()
	synctest.Test(t, func(t *testing.T) {
		slow := time.Now().Add(-time.Hour)
		order := make(chan string, 1000)
		s := &service{answer: func(r *http.Request, body []byte) (int, http.Header, string) {
			if strings.HasSuffix(r.URL.Path, "configuration") {
				return 200, nil, fmt.Sprintf(`{"tenantId":"tid","legacyHashes":true,"legacyKey":%s,"limits":{"items":3,"bytes":5000},"now":%q}`, jwk, slow.UTC().Format(time.RFC3339Nano))
			}
			type item struct{ SourceAnchor, ChangeDate, Type string }
			if strings.HasSuffix(r.URL.Path, "passwordHashes:stream") {
				n := 0
				for text := range bytes.Lines(body) {
					n++
					var i item
					if err := json.Unmarshal(text, &i); err != nil || i.ChangeDate != slow.UTC().Format("2006-01-02T15:04:05.000000Z") {
						t.Errorf("dated %s, %v", i.ChangeDate, err)
					}
					order <- "password"
				}
				return 200, nil, fmt.Sprintf(`{"chunk":1,"lines":[1,%d],"usn":2,"stored":%[1]d}`+"\n"+`{"done":true}`+"\n", n)
			}
			if len(body) > 5000 {
				t.Errorf("a body of %d", len(body))
			}
			var batch struct{ Items []item }
			if err := json.Unmarshal(body, &batch); err != nil || len(batch.Items) > 3 {
				t.Errorf("%d items, %v", len(batch.Items), err)
			}
			var results []string
			for _, i := range batch.Items {
				order <- i.Type
				results = append(results, `{"status":"ok","reason":"stored"}`)
			}
			return 200, nil, `{"usn":1,"results":[` + strings.Join(results, ",") + `]}`
		}}
		c := s.client()
		c.Rand = rand.Reader
		var file strings.Builder
		fmt.Fprintf(&file, `{"userPrincipalName":"big@x","description":"%s"}`+"\n", strings.Repeat("x", 5000))
		for i := range 20 {
			fmt.Fprintf(&file, `{"userPrincipalName":"u%d@x","ntHash":"92937945B518814341DE3F726500D4FF","memberOf":["g%d"],"description":"%s"}`+"\n", i, i%5, strings.Repeat("é", 200))
		}
		sum, err := c.Push(t.Context(), strings.NewReader(file.String()), nil)
		if err != nil || sum.Users != 20 || sum.Groups != 5 || sum.Hashes != 20 || sum.Reasons["invalidLine"] != 1 || sum.Failed != 1 {
			t.Fatalf("%+v, %v", sum, err)
		}
		close(order)
		var kinds []string
		for k := range order {
			if len(kinds) == 0 || kinds[len(kinds)-1] != k {
				kinds = append(kinds, k)
			}
		}
		if got := strings.Join(kinds, ","); got != "user,group,password" {
			t.Errorf("order %s", got)
		}
	})
}

func TestLineTooLong(t *testing.T) {
	s := &service{answer: func(*http.Request, []byte) (int, http.Header, string) {
		return 200, nil, `{"now":"2026-01-01T00:00:00Z"}`
	}}
	c := s.client()
	_, err := c.Push(t.Context(), io.MultiReader(strings.NewReader("\n\n{\"password\":\"canary"), strings.NewReader(strings.Repeat("x", maxLine))), nil)
	if err == nil || !strings.Contains(err.Error(), "line 3 is longer") || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(`{"userPrincipalName":"a@b","password":"x","memberOf":["CN=a\\,b,DC=c"],"pwdLastSet":133932096001234567}`))
	f.Add([]byte(`{"type":"group","cn":"x","pwdLastSet":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"userPrincipalName":"a@b","ntHash":"92937945b518814341de3f726500d4ff","kerberosKeys":[{"etype":18,"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}]}`))
	s, _ := testSealer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLine(b, 1)
		if err != nil {
			return
		}
		if l.SourceAnchor == "" {
			t.Fatal("no anchor")
		}
		o := l.object()
		if raw, err := json.Marshal(o); err != nil || sizeOf(o) < len(raw) {
			t.Fatalf("%d for %d, %v", sizeOf(o), len(raw), err)
		}
		gs := newGroups()
		gs.note(l)
		gs.resolve()
		if l.Password == nil && l.hasPassword() { // string-to-key would only slow this down
			_, _ = s.hash(l)
		}
	})
}
