package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"skyrealm/cred"
	"skyrealm/nbfx"
	"skyrealm/test/harness"
)

// The hosts that agents for the real service have built in.
const (
	wireHost  = "adminwebservice.microsoftonline.com"
	loginHost = "login.microsoftonline.com"
)

// wire is the service under the real service's names.
type wire struct {
	*world
	client *http.Client
	token  string
}

// TestWire is the part of a proof that can be repeated without its client: an
// agent that was written for the real service ran against this one, and here are
// its requests again, byte for byte, over TLS, to the names that it calls. Then
// what that agent cannot send: legacy hashes sealed for the published certificate,
// which have to become keys of the managed domain.
func TestWire(t *testing.T) {
	s := harness.Start(t, "--also-known-as", wireHost+","+loginHost)
	w := &wire{world: &world{Server: s, sids: map[string]string{}}}
	transport := &http.Transport{TLSClientConfig: s.TLS(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.HTTPS) // as a hosts file would have it
	}}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: harness.Patience}
	w.token = w.signInFor(t, s.AdminUPN, s.AdminPassword())

	w.replay(t)
	w.legacy(t)
	if found := leaks(s.Log(), map[string][]byte{"token": []byte(strings.Split(w.token, ".")[2]), "NT hash": cred.NTHashOf(vectorPassword).Expose(),
		"digest": []byte("b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a"), "wire password": []byte(wirePassword)}); found != nil {
		t.Errorf("the log holds %v", found)
	}
}

// signInFor returns a token for the sync service.
func (w *wire) signInFor(t *testing.T, upn, password string) string {
	t.Helper()
	resp, err := w.client.PostForm("https://"+loginHost+"/"+w.TenantID+"/oauth2/token", url.Values{"grant_type": {"password"}, "client_id": {publicClient},
		"resource": {"https://graph.windows.net"}, "username": {upn}, "password": {password}, "scope": {"openid"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, token, _ := strings.Cut(string(body), `"access_token":"`)
	token, _, ok := strings.Cut(token, `"`)
	if !ok || resp.StatusCode != 200 {
		t.Fatalf("sign-in of %s: %d", upn, resp.StatusCode)
	}
	return token
}

// post sends a request with the agent's headers, and returns the reply's body.
func (w *wire) post(t *testing.T, op string, body []byte) (int, *nbfx.Element) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+wireHost+"/provisioningservice.svc", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": nbfx.ContentType, "User-Agent": "", "x-ms-aadmsods-apiaction": op,
		"x-ms-aadmsods-clientversion": "8.0", "x-ms-aadmsods-dirsyncbuildnumber": "2.4.21.0", "x-ms-aadmsods-fimbuildnumber": "2.4.21.0",
		"x-ms-aadmsods-tenantid": w.TenantID, "x-ms-aadmsods-appid": "1651564e-7ce4-4d99-88be-0a65050d8dc3"} {
		r.Header.Set(name, value)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	root, err := nbfx.Decode(reply, nbfx.Defaults)
	if err != nil {
		t.Fatal(err)
	}
	env, err := nbfx.ParseEnvelope(root)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, env.Body
}

// recorded puts the token where the agent's was (testdata/wire/README).
func (w *wire) recorded(t *testing.T, file string) []byte {
	t.Helper()
	recording, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	record := func(s string) []byte { // UnicodeChars16TextWithEndElement
		wide := utf16.Encode([]rune(s))
		b := binary.LittleEndian.AppendUint16([]byte{0xb9}, uint16(2*len(wide)))
		for _, u := range wide {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b
	}
	if bytes.Count(recording, record("@TOKEN@")) != 1 {
		t.Fatalf("%s has no place for a token", file)
	}
	return bytes.Replace(recording, record("@TOKEN@"), record(w.token), 1)
}

// find is the first element of the name in a tree, or nil.
func find(e *nbfx.Element, local string) *nbfx.Element {
	if e == nil || e.Local == local {
		return e
	}
	for c := range e.Elements() {
		if found := find(c, local); found != nil {
			return found
		}
	}
	return nil
}

// replay sends what the agent sent, and looks for what it looked for.
func (w *wire) replay(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.request")
	if err != nil || len(files) != 24 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, file := range files {
		number, op, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".request"), "-")
		if number == "23" { // the agent had turned it off over Graph
			token := w.signsIn(t, w.AdminUPN, w.AdminPassword())
			if a := w.curl(t, "/v1.0/organization/"+w.TenantID, append(asJSON(token, `{"OnPremisesSyncEnabled":false}`), "-X", "PATCH")...); a.status != 204 {
				t.Fatalf("directory sync off: %d %s", a.status, a.text)
			}
		}
		status, body := w.post(t, op, w.recorded(t, file))
		text := func(local string) string { return find(body, local).Text() }
		ok := status == 200 && body.Is(nbfx.NSChange, op+"Response")
		switch number {
		case "01", "02", "04":
			ok = ok && text("TenantId") == w.TenantID && text("IsPasswordSyncing") == "true" && text("SynchronizationInterval") == "PT30M"
		case "05", "06", "07", "08", "22":
			ok = ok && text("ResultCode") == "Success" && find(body, "ResultErrorDescription").IsNil()
		case "09":
			ok = ok && text("Result") == "0"
			w.signsIn(t, "ada@contoso.test", vectorPassword)
		case "10":
			ok = ok && text("Result") == "2" && find(body, "ExtendedErrorInformation") == nil
		case "11", "12", "13":
			n := 0
			for range find(body, "ResultObjects").Elements() {
				n++
			}
			ok = ok && n == 6 // two of the first start, and four of the agent
		case "14":
			ok = ok && text("ResultCode") == "Success" && strings.Contains(text("ResultErrorDescription"), "SMTP:ada@contoso.test")
		case "15":
			ok = ok && text("ResultCode") == "Failure"
		case "23", "24":
			ok = status == 500 && strings.Contains(text("Reason")+text("Text"), "Identity synchronization is not yet activated for this company")
		}
		if !ok {
			t.Errorf("%s: %d %v", file, status, body)
		}
	}
	if a := w.signIn(t, "ada@contoso.test", vectorPassword); a.status != 400 {
		t.Errorf("a deleted user signs in: %d", a.status)
	}
	token := w.signsIn(t, w.AdminUPN, w.AdminPassword())
	if a := w.curl(t, "/v1.0/organization/"+w.TenantID, append(asJSON(token, `{"OnPremisesSyncEnabled":true}`), "-X", "PATCH")...); a.status != 204 {
		t.Fatalf("directory sync on: %d %s", a.status, a.text)
	}
}

const wirePassword = "Sealed-For-The-Domain-7"

// request makes a message of ours; content writes the body's one element.
func (w *wire) request(t *testing.T, op string, content func(*nbfx.Writer)) []byte {
	t.Helper()
	m := &nbfx.Writer{}
	m.Start("s", "Envelope")
	m.Xmlns("s", nbfx.NSSoap)
	m.Xmlns("a", nbfx.NSAddressing)
	m.Start("s", "Header")
	m.Leaf("a", "Action", nbfx.NSChange+"/IProvisioningWebService/"+op)
	m.Start("", "SyncToken")
	m.Xmlns("", nbfx.NSAdmin)
	for _, leaf := range [][2]string{{"BearerToken", w.token}, {"DirSyncBuildNumber", "2.4.21.0"}} {
		m.Start("", leaf[0])
		m.Xmlns("", nbfx.NSChange)
		m.Text(leaf[1])
		m.End()
	}
	m.End()
	m.End()
	m.Start("s", "Body")
	m.Start("", op)
	m.Xmlns("", nbfx.NSChange)
	content(m)
	m.End()
	m.End()
	m.End()
	b, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// legacy sends a user, and the password in all its forms: digest, NT hash and
// Kerberos keys with the on-premises salt, the last two in envelopes.
func (w *wire) legacy(t *testing.T) {
	const (
		arrays      = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
		objects     = "http://schemas.microsoft.com/online/aws/change/2014/06"
		credentials = "http://schemas.datacontract.org/2004/07/Microsoft.Online.Coexistence.Schema"
	)
	_, config := w.post(t, "GetWindowsCredentialsSyncConfig", w.request(t, "GetWindowsCredentialsSyncConfig", func(*nbfx.Writer) {}))
	certificate, err := find(config, "SecretEncryptionCertificate").Bytes()
	if err != nil || find(config, "EnableWindowsLegacyCredentials").Text() != "true" {
		t.Fatalf("%v: %v", config, err)
	}
	_, reply := w.post(t, "ProvisionAzureADSyncObjects", w.request(t, "ProvisionAzureADSyncObjects", func(m *nbfx.Writer) {
		m.Start("", "syncRequest")
		m.Xmlns("b", objects)
		m.Xmlns("c", arrays)
		for _, name := range []string{"SyncObjects", "AzureADSyncObject", "PropertyValues"} {
			m.Start("b", name)
		}
		for _, p := range [][2]string{{"SourceAnchor", "turing"}, {"userPrincipalName", "alan@contoso.test"}, {"Alias", "alan"}} {
			m.Start("c", "KeyValueOfstringanyType")
			m.Leaf("c", "Key", p[0])
			m.Leaf("c", "Value", p[1])
			m.End()
		}
		m.End()
		m.Leaf("b", "SyncObjectType", "User")
		m.Leaf("b", "SyncOperation", "Set")
		m.End()
		m.End()
		m.End()
	}))
	if find(reply, "ResultCode").Text() != "Success" {
		t.Fatalf("the user: %v", find(reply, "ResultErrorDescription").Text())
	}

	hash := cred.NTHashOf(wirePassword)
	digest, err := cred.NewDigest(hash, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forms, err := cred.NewLegacy(wirePassword, "ONPREM.TESTturing")
	if err != nil {
		t.Fatal(err)
	}
	properties, err := cred.NewUserProperties(forms.Keys)
	if err != nil {
		t.Fatal(err)
	}
	nt, err := cred.SealEnvelope(certificate, cred.AttrUnicodePwd, hash.Expose(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := cred.SealEnvelope(certificate, cred.AttrSupplementalCredentials, properties.Marshal(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, reply = w.post(t, "ProvisionCredentials", w.request(t, "ProvisionCredentials", func(m *nbfx.Writer) {
		m.Start("", "request")
		m.Xmlns("b", credentials)
		m.Start("b", "RequestItems")
		m.Start("b", "SyncCredentialsChangeItem")
		m.Leaf("b", "ChangeDate", time.Now().UTC().Format(time.RFC3339))
		m.Leaf("b", "CredentialData", digest.Expose())
		m.Leaf("b", "SourceAnchor", "turing")
		m.Start("b", "WindowsLegacyCredentials")
		m.Base64(nt)
		m.End()
		m.Start("b", "WindowsSupplementalCredentials")
		m.Base64(keys)
		m.End()
		m.End()
		m.End()
		m.End()
	}))
	if find(reply, "Result").Text() != "0" {
		t.Fatalf("the password: %s", find(reply, "ExtendedErrorInformation").Text())
	}

	w.signsIn(t, "alan@contoso.test", wirePassword)
	k := w.mit(t)
	harness.WaitFor(t, "the managed domain to have the user", func() error {
		_, err := k.Try(wirePassword+"\n", k.program, "alan@"+w.Realm)
		return err
	})
	says(t, k.traced(wirePassword, "alan@"+w.Realm), "aes256-cts", "ONPREM.TESTturing")
	k.refused("wrong", "alan@"+w.Realm)
	w.ldap(t, "alan@contoso.test", wirePassword).run("", "ldapwhoami")
}
