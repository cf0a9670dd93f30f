package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Files of the data directory that others read.
const (
	readyFile         = "ready.json"
	krb5ConfFile      = "krb5.conf"
	adminPasswordFile = "admin-password"
	agentIDFile       = "agent-client-id"
	agentSecretFile   = "agent-secret"
)

// ready is DIR/ready.json: where everything is, for tests and scripts. It is
// there while, and only while, every listener answers.
type ready struct {
	Version           string `json:"version"`
	PID               int    `json:"pid"`
	TenantID          string `json:"tenantId"`
	TenantDomain      string `json:"tenantDomain"`
	Realm             string `json:"realm"`
	Domain            string `json:"domain"`
	NetBIOS           string `json:"netbios"`
	BaseDN            string `json:"baseDN"`
	DC                string `json:"dc"`
	HTTPS             string `json:"https,omitempty"`
	KDC               string `json:"kdc,omitempty"`
	Kpasswd           string `json:"kpasswd,omitempty"`
	LDAP              string `json:"ldap,omitempty"`
	LDAPS             string `json:"ldaps,omitempty"`
	CAFile            string `json:"caFile"`
	KDCCAFile         string `json:"kdcCAFile,omitempty"`     // of the KDC's certificate, for PKINIT
	AnchorsFile       string `json:"pkinitAnchors,omitempty"` // it, and that of people's
	Krb5Conf          string `json:"krb5Conf,omitempty"`
	AdminUPN          string `json:"adminUPN"`
	AdminPasswordFile string `json:"adminPasswordFile"`
	AgentClientID     string `json:"agentClientId"`
	AgentSecretFile   string `json:"agentSecretFile"`
}

func readReady(data string) (*ready, error) {
	path := filepath.Join(data, readyFile)
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("no server is ready on %s (start one with: skyrealm serve --data %s)", data, data)
	}
	if err != nil {
		return nil, err
	}
	r := &ready{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return r, nil
}

func (r *ready) write(data string) error {
	if r.KDC != "" {
		if err := writeFile(r.Krb5Conf, []byte(r.krb5Conf()), 0o644); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(data, readyFile), append(text, '\n'), 0o600)
}

// krb5Conf is a krb5.conf for these ports that MIT, Heimdal and Java read.
func (r *ready) krb5Conf() string {
	var mit, heimdal, moduli string // where each looks for whom to believe that it is the KDC
	if r.KDCCAFile != "" {
		mit = "\n        pkinit_anchors = FILE:" + r.AnchorsFile
		// Heimdal knows no group of more than 1,024 bits but from a file.
		moduli = "    pkinit_dh_min_bits = 2048\n    moduli = " + filepath.Join(filepath.Dir(r.AnchorsFile), moduliFile) + "\n"
		heimdal = "\n[appdefaults]\n    pkinit_anchors = FILE:" + r.KDCCAFile + "\n"
	}
	return fmt.Sprintf(`# Written by skyrealm at each start. Use it with KRB5_CONFIG=%[4]s
[libdefaults]
    default_realm = %[1]s
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
%[7]s
[realms]
    %[1]s = {
        kdc = %[3]s
        kpasswd_server = %[8]s%[5]s
    }

[domain_realm]
    .%[2]s = %[1]s
    %[2]s = %[1]s
%[6]s`, r.Realm, r.Domain, r.KDC, r.Krb5Conf, mit, heimdal, moduli, r.Kpasswd)
}

// reach is an address that a client on this machine can connect to.
func reach(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// printNextSteps says what a newcomer pastes next.
func (r *ready) printNextSteps(w io.Writer, data string) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nskyrealm is ready: tenant %s, managed domain %s (%s)\n\n", r.TenantDomain, r.Domain, r.Realm)
	fmt.Fprintf(&b, "  administrator     %s, password in %s\n", r.AdminUPN, r.AdminPasswordFile)
	if r.HTTPS != "" {
		fmt.Fprintf(&b, "  HTTPS             https://%s   (trust %s)\n", r.HTTPS, r.CAFile)
	}
	if r.KDC != "" {
		fmt.Fprintf(&b, "  Kerberos          %s, UDP and TCP\n", r.KDC)
		fmt.Fprintf(&b, "  kpasswd           %s, UDP and TCP\n", r.Kpasswd)
		fmt.Fprintf(&b, "  LDAP, LDAPS       %s, %s\n", r.LDAP, r.LDAPS)
	}
	admin, _, _ := strings.Cut(r.AdminUPN, "@")
	if r.KDC != "" || r.HTTPS != "" {
		b.WriteString("\nNext, in another terminal:\n\n")
	}
	if r.KDC != "" {
		fmt.Fprintf(&b, "  export KRB5_CONFIG=%s LDAPTLS_CACERT=%s\n", r.Krb5Conf, r.CAFile)
		fmt.Fprintf(&b, "  kinit %s@%s < %s && klist\n", admin, r.Realm, r.AdminPasswordFile)
		fmt.Fprintf(&b, "  ldapsearch -x -H ldaps://%s -D %s -y %s -b %s '(objectClass=user)' cn memberOf\n", r.LDAPS, r.AdminUPN, r.AdminPasswordFile, r.BaseDN)
	}
	if r.HTTPS != "" {
		fmt.Fprintf(&b, "  curl --cacert %s https://%s/%s/oauth2/v2.0/token -d grant_type=password -d client_id=%s \\\n    -d scope=https://graph.microsoft.com/.default -d username=%s --data-urlencode password@%s\n",
			r.CAFile, r.HTTPS, r.TenantID, publicClient, r.AdminUPN, r.AdminPasswordFile)
		fmt.Fprintf(&b, "  skyrealm agent push --data %s users.jsonl\n", data)
	}
	if r.KDC != "" && r.HTTPS != "" {
		fmt.Fprintf(&b, "  skyrealm keytab --data %s --spn HTTP/web.%s --out web.keytab\n", data, r.Domain)
	}
	b.WriteString("\nCtrl-C stops it.\n")
	_, _ = io.WriteString(w, b.String())
}
