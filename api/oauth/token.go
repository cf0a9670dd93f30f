package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"time"

	"skyrealm/tenant"
)

// lifetime of an access token. The real service draws 60 to 90 minutes; a fixed
// one makes tests and caches predictable.
const lifetime = time.Hour

// The resources that tokens are for. The Graph's and the old directory API's
// are one API here, and so is the sync API.
const (
	graphID  = "00000003-0000-0000-c000-000000000000"
	graphURI = "https://graph.microsoft.com"
	aadID    = "00000002-0000-0000-c000-000000000000"
	aadURI   = "https://graph.windows.net" // what sync agents ask for (entra-wire §A2)
)

var audiences = []string{graphID, graphURI, graphURI + "/", aadID, aadURI, aadURI + "/"}

// userRole marks every member's token in wids, role or not.
const userRole = "b79fbf4d-3ef9-4689-8143-76b194e85509"

// Issuer names the tenant in tokens. Domain is the initial one: it never
// changes, which a port or a host name may.
type Issuer struct {
	Tenant tenant.ID
	Domain string
}

// access is the issuer of access tokens. It does not follow the Host header: the
// verifier compares it.
func (i Issuer) access() string {
	return "https://sts." + i.Domain + "/" + i.Tenant.String() + "/"
}

// accessClaims is a v1.0 access token (tenant-api §4.3): the resource decides
// the version, and Graph wants 1.0 even from the v2.0 endpoint.
type accessClaims struct {
	Audience       string   `json:"aud"`
	Issuer         string   `json:"iss"`
	Issued         int64    `json:"iat"`
	NotBefore      int64    `json:"nbf"`
	Expires        int64    `json:"exp"`
	Strength       string   `json:"acr,omitempty"`
	Methods        []string `json:"amr,omitempty"`
	AppName        string   `json:"app_displayname,omitempty"`
	ClientID       string   `json:"appid"`
	ClientStrength string   `json:"appidacr"` // 0 public client, 1 secret
	IDType         string   `json:"idtyp"`
	Name           string   `json:"name,omitempty"`
	Object         string   `json:"oid"`
	OnPremisesSID  string   `json:"onprem_sid,omitempty"`
	Roles          []string `json:"roles,omitempty"`
	Scopes         string   `json:"scp,omitempty"`
	Subject        string   `json:"sub"`
	Tenant         string   `json:"tid"`
	UniqueName     string   `json:"unique_name,omitempty"`
	UPN            string   `json:"upn,omitempty"`
	TokenID        string   `json:"uti"`
	Version        string   `json:"ver"`
	DirectoryRoles []string `json:"wids,omitempty"`
}

// idClaims is an id_token: the names of the user differ between v1.0 and v2.0.
type idClaims struct {
	Audience   string `json:"aud"`
	Issuer     string `json:"iss"`
	Issued     int64  `json:"iat"`
	NotBefore  int64  `json:"nbf"`
	Expires    int64  `json:"exp"`
	Name       string `json:"name,omitempty"`
	Object     string `json:"oid"`
	Username   string `json:"preferred_username,omitempty"` // v2.0
	UniqueName string `json:"unique_name,omitempty"`        // v1.0
	UPN        string `json:"upn,omitempty"`                // v1.0
	Subject    string `json:"sub"`
	Tenant     string `json:"tid"`
	TokenID    string `json:"uti"`
	Version    string `json:"ver"`
}

// newAccess returns what all access tokens say.
func (i Issuer) newAccess(now time.Time, rand io.Reader, audience string) (accessClaims, error) {
	id, err := tokenID(rand)
	return accessClaims{
		Audience: audience, Issuer: i.access(), Tenant: i.Tenant.String(),
		Issued: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(lifetime).Unix(),
		TokenID: id, Version: "1.0",
	}, err
}

func (c *accessClaims) user(u *tenant.Object, clientID string, confidential bool, scopes []string) {
	c.IDType, c.Strength, c.Methods = "user", "1", []string{"pwd"}
	c.ClientID, c.ClientStrength = clientID, "0"
	if confidential {
		c.ClientStrength = "1"
	}
	c.Object, c.Name, c.UPN, c.UniqueName = u.ID.String(), u.Profile.DisplayName, u.UPN, u.UPN
	c.Subject = pairwise(c.Object, c.Audience)
	c.Scopes = strings.Join(scopes, " ")
	c.DirectoryRoles = append(append([]string{}, u.Roles...), userRole)
	if u.Synced() {
		c.OnPremisesSID = u.Profile.OnPremisesSecurityIdentifier
	}
}

func (c *accessClaims) app(a *tenant.App) {
	c.IDType, c.ClientStrength = "app", "1"
	c.ClientID, c.AppName, c.Roles = a.ClientID.String(), a.DisplayName, a.Roles
	c.Object = c.ClientID
	c.Subject = c.Object
}

// pairwise makes the subject that one audience knows a user by: two audiences
// can't find out from it that they know the same one (OIDC Core §8.1).
func pairwise(object, audience string) string {
	sum := sha256.Sum256([]byte(object + "\x00" + audience))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func tokenID(rand io.Reader) (string, error) {
	var b [16]byte
	_, err := io.ReadFull(rand, b[:])
	return base64.RawURLEncoding.EncodeToString(b[:]), err
}

// answerV1 is a token answer of the v1.0 endpoint.
type answerV1 struct {
	Type       string `json:"token_type"`
	Scope      string `json:"scope,omitempty"`
	Expires    string `json:"expires_in"`
	ExtExpires string `json:"ext_expires_in"`
	ExpiresOn  string `json:"expires_on"`
	NotBefore  string `json:"not_before"`
	Resource   string `json:"resource"`
	Access     string `json:"access_token"`
	Refresh    string `json:"refresh_token,omitempty"`
	ID         string `json:"id_token,omitempty"`
	ClientInfo string `json:"client_info,omitempty"`
}

func (a *tokenAnswer) v1(req *request) answerV1 {
	out := answerV1{Type: a.Type, Expires: strconv.Itoa(a.Expires), ExtExpires: strconv.Itoa(a.ExtExpires),
		ExpiresOn: strconv.FormatInt(a.notAfter, 10), NotBefore: strconv.FormatInt(a.notBefore, 10),
		Resource: req.form.Get("resource"), Access: a.Access, Refresh: a.Refresh, ID: a.ID, ClientInfo: a.ClientInfo}
	if out.Resource == "" {
		out.Resource = req.scopes.audience
	}
	if a.Scope != "" { // a user's
		out.Scope = "user_impersonation"
	}
	return out
}
