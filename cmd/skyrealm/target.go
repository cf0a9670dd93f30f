package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/agent"
)

// target is a running server as the client commands reach it.
type target struct {
	ready
	roots *x509.CertPool
	http  *http.Client
}

// onThisMachine finds the server that runs on a data directory.
func onThisMachine(data string) (*target, error) {
	r, err := readReady(data)
	if err != nil {
		return nil, err
	}
	return newTarget(*r)
}

func newTarget(r ready) (*target, error) {
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		return nil, err
	}
	t := &target{ready: r, roots: x509.NewCertPool()}
	if !t.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", r.CAFile)
	}
	t.http = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: t.roots},
		MaxIdleConnsPerHost: 8,
	}}
	return t, nil
}

// agent is the sync agent with the credential that the first start made.
func (t *target) agent() (*agent.Client, error) {
	secret, err := os.ReadFile(t.AgentSecretFile)
	if err != nil {
		return nil, err
	}
	return &agent.Client{BaseURL: "https://" + t.HTTPS, HTTP: t.http, ClientID: t.AgentClientID,
		Secret: agent.Secret(bytes.TrimSpace(secret)), Now: time.Now, Rand: rand.Reader}, nil
}

// admin opens LDAPS as the tenant's administrator.
func (t *target) admin() (*ldap.Conn, error) {
	password, err := t.adminPassword()
	if err != nil {
		return nil, err
	}
	return t.bind(t.AdminUPN, password)
}

func (t *target) adminPassword() (string, error) {
	text, err := os.ReadFile(t.AdminPasswordFile)
	return string(bytes.TrimSpace(text)), err
}

func (t *target) bind(name, password string) (*ldap.Conn, error) {
	conn, err := ldap.DialURL("ldaps://"+t.LDAPS, ldap.DialWithTLSConfig(&tls.Config{RootCAs: t.roots}))
	if err != nil {
		return nil, err
	}
	if err := conn.Bind(name, password); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// publicClient is Azure PowerShell's id, which password sign-ins of tools use.
const publicClient = "1b730954-1685-4b74-9bfd-dac224a7b894"

// signIn gets an access token for Graph with a name and a password.
func (t *target) signIn(ctx context.Context, upn, password string) (token string, err error) {
	form := url.Values{"grant_type": {"password"}, "client_id": {publicClient}, "scope": {"https://graph.microsoft.com/.default"},
		"username": {upn}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+t.HTTPS+"/"+t.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		Token string `json:"access_token"`
		What  string `json:"error_description"`
	}
	_, err = t.do(req, &answer)
	if err != nil && answer.What != "" {
		what, _, _ := strings.Cut(answer.What, "\r\n")
		return "", fmt.Errorf("%s", what)
	}
	return answer.Token, err
}

// graph calls Microsoft Graph and returns the USN of the write.
func (t *target) graph(ctx context.Context, token, method, path string, body, answer any) (usn string, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+t.HTTPS+path, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	h, err := t.do(req, answer)
	return h.Get("x-skyrealm-usn"), err
}

func (t *target) do(req *http.Request, answer any) (http.Header, error) {
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if answer != nil && len(text) > 0 {
		if err := json.Unmarshal(text, answer); err != nil {
			return nil, err
		}
	}
	if resp.StatusCode >= 300 {
		return resp.Header, fmt.Errorf("%s %s: %s", req.Method, req.URL.Path, resp.Status)
	}
	return resp.Header, nil
}
