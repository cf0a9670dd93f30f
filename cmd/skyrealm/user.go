package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/sid"
)

// userCmd are the administrator's commands about one user.
type userCmd struct {
	Certificate userCertificateCmd `cmd:"" help:"Issue a certificate that signs a user in to the domain in the place of a password (PKINIT)."`
}

type userCertificateCmd struct {
	User string `arg:"" help:"User principal name, such as ada@contoso.test." placeholder:"UPN"`
	Out  string `required:"" help:"File for the certificate; an existing one is replaced." placeholder:"FILE"`
	Key  string `help:"File for the new key (the name of --out with -key)." placeholder:"FILE" xor:"key"`
	CSR  string `name:"csr" help:"PKCS #10 request for a key that stays where it is, such as on a card." placeholder:"FILE" xor:"key"`
	Days int    `help:"How long it is good for." default:"90"`
	Data string `help:"Data directory of the server on this machine." default:"skyrealm-data" env:"SKYREALM_DATA" placeholder:"DIR"`
}

func (c *userCertificateCmd) Run(e *env) error {
	t, err := onThisMachine(c.Data)
	if err != nil {
		return err
	}
	if c.Key == "" && c.CSR == "" {
		ext := filepath.Ext(c.Out)
		c.Key = strings.TrimSuffix(c.Out, ext) + "-key" + ext
	}
	request, key, err := c.request()
	if err != nil {
		return err
	}
	cert, err := t.userCertificate(e.ctx, c.User, request, c.Days)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", c.User, err)
	}
	if key != nil { // first: a certificate that is there has its key
		if err := writeFile(c.Key, key, 0o600); err != nil {
			return err
		}
	}
	if err := writeFile(c.Out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: certificate of %s, serial number %s, until %s\n", c.Out, c.User, cert.SerialNumber.Text(16), cert.NotAfter.Format("2006-01-02"))
	if key != nil {
		fmt.Fprintf(e.stdout, "kinit -X X509_user_identity=FILE:%s,%s -E %s\n", c.Out, c.Key, c.User)
	}
	return nil
}

// request is the one in --csr, or one for a new key, which is RSA: MIT's client
// before 1.22 and Debian's Heimdal sign with nothing else.
func (c *userCertificateCmd) request() (csr, key []byte, err error) {
	if c.CSR != "" {
		text, err := os.ReadFile(c.CSR)
		if err != nil {
			return nil, nil, err
		}
		if block, _ := pem.Decode(text); block != nil {
			text = block.Bytes
		}
		return text, nil, nil
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	if csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k); err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return csr, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// userCertificate orders it as the administrator, who can also ask the domain for
// the user's SID. Without one, the certificate names the tenant's object alone.
func (t *target) userCertificate(ctx context.Context, upn string, request []byte, days int) (*x509.Certificate, error) {
	password, err := t.adminPassword()
	if err != nil {
		return nil, err
	}
	token, err := t.signIn(ctx, t.AdminUPN, password)
	if err != nil {
		return nil, fmt.Errorf("sign in as %s: %w", t.AdminUPN, err)
	}
	order := map[string]any{"certificateRequest": request, "days": days}
	if t.LDAPS != "" {
		id, err := t.sidOf(upn, password)
		if err != nil {
			return nil, err
		}
		if id != "" {
			order["securityIdentifier"] = id
		}
	}
	var answer struct {
		Certificate []byte `json:"certificate"`
		Error       struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_, err = t.graph(ctx, token, http.MethodPost, "/v1.0/users/"+url.PathEscape(upn)+"/certificates", order, &answer)
	if answer.Error.Message != "" {
		return nil, errors.New(answer.Error.Message)
	}
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(bytes.Clone(answer.Certificate))
}

// sidOf asks the domain; "" where the user has not arrived there.
func (t *target) sidOf(upn, password string) (string, error) {
	conn, err := t.bind(t.AdminUPN, password)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	found, err := conn.Search(ldap.NewSearchRequest(t.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
		"(userPrincipalName="+ldap.EscapeFilter(upn)+")", []string{"objectSid"}, nil))
	if err != nil || len(found.Entries) != 1 {
		return "", err
	}
	id, err := sid.FromBytes(found.Entries[0].GetRawAttributeValue("objectSid"))
	return id.String(), err
}
