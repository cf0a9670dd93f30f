package agent

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"skyrealm/nbfx"
)

// Service is how an agent reaches a tenant: [Client] by the sync API, [Wire] by
// the real service's own protocol.
type Service interface {
	// Configuration asks what the tenant takes.
	Configuration(ctx context.Context) (Configuration, error)
	// Heartbeat tells that the agent lives and has nothing to send.
	Heartbeat(ctx context.Context) error
	// Objects and Hashes send one batch.
	Objects(ctx context.Context, items []Object) (Answer, error)
	Hashes(ctx context.Context, items []Hash) (Answer, error)
	// Report sends events of the agent's own log.
	Report(ctx context.Context, events []Event) error

	sealer(config *Configuration) (*sealer, error)
	clock() time.Time
}

var (
	_ Service = (*Client)(nil)
	_ Service = (*Wire)(nil)
)

// aadGraph is the resource that the sync service's tokens are for (entra-wire §A2).
const aadGraph = "https://graph.windows.net"

// What the agent says of itself, as an agent of the real service of the build
// that the wire was learned of (entra-wire §A3, §A4).
const (
	wirePath    = "/provisioningservice.svc"
	wireApp     = "1651564e-7ce4-4d99-88be-0a65050d8dc3"
	wireVersion = "8.0"
	wireBuild   = "2.4.21.0"
	// wireItems is what the real agent puts in a request, and wireBytes bounds it
	// as the API's JSON would be counted: on the wire it has less than 4 MB.
	wireItems = 50
	wireBytes = 3 << 20
)

// Wire talks to one tenant in the real sync service's protocol (entra-wire §A).
// It says less than the sync API: of what was taken not whether it was news, no
// USN, no date since which all passwords are asked for. A certificate that
// is new, or there again, asks for all of them.
type Wire struct {
	Client
}

// NewWire returns c's tenant by the other protocol.
func NewWire(c *Client) *Wire {
	return &Wire{Client{BaseURL: c.BaseURL, HTTP: c.HTTP, ClientID: c.ClientID, Secret: c.Secret, Now: c.Now, Rand: c.Rand, Machine: c.Machine, resource: aadGraph}}
}

// call makes an operation and returns its result element. It is tried again as
// any request of the API is.
func (w *Wire) call(ctx context.Context, operation string, content func(*nbfx.Writer)) (*nbfx.Element, error) {
	var result *nbfx.Element
	err := w.retry(ctx, func(token string) (time.Duration, error) {
		message, id, err := w.message(operation, token, content)
		if err != nil {
			return 0, err
		}
		body, wait, err := w.post(ctx, operation, id, message)
		if err != nil {
			return wait, err
		}
		result = body.Child(nbfx.NSChange, operation+"Response").Child(nbfx.NSChange, operation+"Result")
		return 0, nil
	})
	return result, err
}

// message writes a request (entra-wire §A4).
func (w *Wire) message(operation, token string, content func(*nbfx.Writer)) (message []byte, id string, err error) {
	var raw [16]byte
	if _, err := io.ReadFull(w.Rand, raw[:]); err != nil {
		return nil, "", err
	}
	raw[7], raw[8] = raw[7]&0x0f|0x40, raw[8]&0x3f|0x80 // a random UUID (RFC 9562 §5.4)
	id = GUID(raw).String()
	address := strings.TrimRight(w.BaseURL, "/") + wirePath
	b := new(nbfx.Writer)
	b.Start("s", "Envelope")
	b.Xmlns("s", nbfx.NSSoap)
	b.Xmlns("a", nbfx.NSAddressing)
	b.Start("s", "Header")
	must := func(name, value string) {
		b.Start("a", name)
		b.Attr("s", "mustUnderstand", "1")
		b.Text(value)
		b.End()
	}
	must("Action", nbfx.NSChange+"/IProvisioningWebService/"+operation)
	b.Start("", "SyncToken")
	b.Attr("s", "role", nbfx.NSAdmin)
	b.Xmlns("", nbfx.NSAdmin)
	for _, part := range [][2]string{{"ApplicationId", wireApp}, {"BearerToken", token}, {"ClientVersion", wireVersion}, {"DirSyncBuildNumber", wireBuild},
		{"FIMBuildNumber", wireBuild}, {"IsInstalledOnDC", "False"}, {"IssueDateTime", "0001-01-01T00:00:00"}, {"LanguageId", "en-US"}, {"LiveToken", ""},
		{"ProtocolVersion", "2.0"}, {"RichCoexistenceEnabled", "False"}, {"TrackingId", id}} {
		b.Start("", part[0])
		b.Xmlns("", nbfx.NSChange)
		b.Text(part[1])
		b.End()
	}
	b.End()
	b.Leaf("a", "MessageID", "urn:uuid:"+id)
	b.Start("a", "ReplyTo")
	b.Leaf("a", "Address", nbfx.NSAddressing+"/anonymous")
	b.End()
	must("To", address)
	b.End()
	b.Start("s", "Body")
	b.Start("", operation)
	b.Xmlns("", nbfx.NSChange)
	content(b)
	b.End()
	b.End()
	b.End()
	message, err = b.Bytes()
	return message, id, err
}

// post makes one attempt and returns the content of the reply's body.
func (w *Wire) post(ctx context.Context, operation, id string, message []byte) (*nbfx.Element, time.Duration, error) {
	req, err := newRequest(ctx, w.BaseURL, wirePath, message)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", nbfx.ContentType)
	req.Header.Set("client-request-id", id)
	for name, value := range map[string]string{"apiaction": operation, "appid": wireApp, "clientversion": wireVersion,
		"dirsyncbuildnumber": wireBuild, "fimbuildnumber": wireBuild, "machineid": w.Machine} {
		if value != "" {
			req.Header.Set("x-ms-aadmsods-"+name, value)
		}
	}
	resp, err := w.HTTP.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, 0, err
	}
	root, err := nbfx.Decode(answer, nbfx.Defaults)
	if err != nil {
		// A proxy's page, or the answer of something else at this address.
		return nil, pauseOf(resp), &Error{Status: resp.StatusCode, Code: "unknown", Message: "the answer is no SOAP in .NET binary XML", RequestID: id}
	}
	body := root.Child(nbfx.NSSoap, "Body")
	if fault := body.Child(nbfx.NSSoap, "Fault"); fault != nil {
		return nil, pauseOf(resp), faultError(fault, resp.StatusCode, id)
	}
	return body, 0, nil
}

// Faults that are known by their number or text (entra-wire §A8).
const (
	faultBusy   = "81"
	faultDenied = "Access to Azure Active Directory has been denied"
)

// faultError says what the sync API would: whether the same request may pass
// later goes by the status.
func faultError(fault *nbfx.Element, status int, id string) *Error {
	out := &Error{Status: http.StatusForbidden, Code: "Fault", Message: fault.Child(nbfx.NSSoap, "Reason").Child(nbfx.NSSoap, "Text").Text(), RequestID: id}
	number := ""
	for detail := range fault.Child(nbfx.NSSoap, "Detail").Elements() {
		for e := range detail.Elements() {
			if e.Local == "ErrorCode" {
				number = strings.TrimSpace(e.Text())
			}
		}
	}
	switch {
	case number == faultBusy:
		out.Status = http.StatusServiceUnavailable
	case strings.HasPrefix(out.Message, faultDenied):
		out.Status = http.StatusUnauthorized
	case status/100 == 5 && status != http.StatusInternalServerError:
		out.Status = status
	}
	if number != "" {
		out.Code += " " + number
	}
	return out
}

// Configuration asks for it, in two operations: the company's, and what legacy
// hashes are to be encrypted for.
func (w *Wire) Configuration(ctx context.Context) (Configuration, error) {
	out := Configuration{Now: w.Now()} // nothing on the wire is dated by the service
	company, err := w.call(ctx, "GetCompanyConfiguration", func(b *nbfx.Writer) { b.Bool("", "includeLicenseInformation", false) })
	if err != nil {
		return out, err
	}
	text := func(e *nbfx.Element, name string) string {
		return strings.TrimSpace(e.Child(nbfx.NSChange, name).Text())
	}
	out.TenantID = text(company, "TenantId")
	out.DirSync = truth(text(company, "IsDirSyncing"))
	out.PasswordSync = truth(text(company, "IsPasswordSyncing"))
	out.Features, _ = strconv.ParseInt(text(company, "DirSyncFeatures"), 10, 64)
	out.ObjectSeconds = int(minutes(text(company, "SynchronizationInterval")) / time.Second)
	out.Limits.Items, out.Limits.Bytes = wireItems, wireBytes
	if out.TenantID == "" {
		return out, errors.New("agent: the answer names no tenant")
	}
	prevent := company.Child(nbfx.NSChange, "DirSyncConfiguration").Child(nbfx.NSChange, "PreventAccidentalDeletion")
	switch text(prevent, "DeletionPrevention") {
	case "EnabledForCount":
		out.Deletions.Prevention = "enabledForCount"
		out.Deletions.Threshold, _ = strconv.Atoi(text(prevent, "ThresholdCount"))
	case "EnabledForPercentage":
		out.Deletions.Prevention = "enabledForPercentage"
		out.Deletions.Threshold, _ = strconv.Atoi(text(prevent, "ThresholdPercentage"))
	case "Disabled":
		out.Deletions.Prevention = "disabled"
	}

	windows, err := w.call(ctx, "GetWindowsCredentialsSyncConfig", func(*nbfx.Writer) {})
	if err != nil {
		return out, err
	}
	out.noNTHash = !truth(text(windows, "EnableWindowsLegacyCredentials"))
	// Readers and writers of the real service spell it in two ways (entra-wire §G2).
	out.LegacyHashes = truth(text(windows, "EnableWindowsSupplementalCredentials")) || truth(text(windows, "EnableWindowsSupplementaCredentials")) || !out.noNTHash
	if out.LegacyHashes {
		if out.certificate, err = windows.Child(nbfx.NSChange, "SecretEncryptionCertificate").Bytes(); err != nil || len(out.certificate) == 0 {
			return out, errors.New("agent: legacy hashes are wanted, and the certificate to encrypt them for is none")
		}
	}
	return out, nil
}

func truth(text string) bool { return strings.EqualFold(text, "true") || text == "1" }

// minutes reads an xsd:duration of minutes and hours, which is all that intervals
// of sync come in; 0 for another.
func minutes(text string) time.Duration {
	rest, ok := strings.CutPrefix(text, "PT")
	d, err := time.ParseDuration(strings.ToLower(rest))
	if !ok || err != nil || d < 0 {
		return 0
	}
	return d
}

// Heartbeat is a ProvisionCredentials of nobody.
func (w *Wire) Heartbeat(ctx context.Context) error {
	_, err := w.call(ctx, "ProvisionCredentials", func(b *nbfx.Writer) { writeHashes(b, nil) })
	return err
}

// sealer makes items whose legacy hashes are envelopes (entra-wire §C2).
func (w *Wire) sealer(config *Configuration) (*sealer, error) {
	s := &sealer{tenant: config.TenantID, rand: w.Rand, now: w.Now}
	if config.LegacyHashes {
		s.certificate, s.noNTHash = config.certificate, config.noNTHash
	}
	return s, nil
}

// Objects sends one batch.
func (w *Wire) Objects(ctx context.Context, items []Object) (Answer, error) {
	for i := range items {
		if err := writable(&items[i]); err != nil {
			return Answer{}, err
		}
	}
	result, err := w.call(ctx, "ProvisionAzureADSyncObjects", func(b *nbfx.Writer) { writeObjects(b, items) })
	if err != nil {
		return Answer{}, err
	}
	return readAnswer(result.Child(nsWireObjects, "SyncObjectResults"), len(items), objectResult)
}

// Hashes sends one batch, in as many requests as the wire wants.
func (w *Wire) Hashes(ctx context.Context, items []Hash) (Answer, error) {
	var out Answer
	for len(items) > 0 {
		n := min(len(items), wireItems)
		result, err := w.call(ctx, "ProvisionCredentials", func(b *nbfx.Writer) { writeHashes(b, items[:n]) })
		if err != nil {
			return Answer{}, err // what was taken before is taken again, and changes nothing
		}
		part, err := readAnswer(result.Child(nsWireCredentials, "Results"), n, hashResult)
		if err != nil {
			return Answer{}, err
		}
		out.Results = append(out.Results, part.Results...)
		items = items[n:]
	}
	return out, nil
}

// keyID names what hash items are sealed for: a change of it makes all of them go
// again.
func (s *sealer) keyID() string {
	switch {
	case s.key != nil:
		return s.key.KeyID()
	case s.certificate != nil:
		sum := sha1.Sum(s.certificate) // the thumbprint, by which the wire knows it
		return hex.EncodeToString(sum[:])
	}
	return ""
}

func readAnswer(list *nbfx.Element, want int, one func(*nbfx.Element) Result) (Answer, error) {
	var out Answer
	for e := range list.Elements() {
		out.Results = append(out.Results, one(e))
	}
	if len(out.Results) != want {
		return Answer{}, fmt.Errorf("agent: %d results for %d items", len(out.Results), want)
	}
	return out, nil
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
