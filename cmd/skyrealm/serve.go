package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"skyrealm/domain"
	"skyrealm/tenant"
)

type serveCmd struct {
	Data     string `help:"Data directory (skyrealm-data); made at the first start." default:"skyrealm-data" env:"SKYREALM_DATA" placeholder:"DIR"`
	Database string `help:"PostgreSQL URL. Without it a private server runs in the data directory." env:"SKYREALM_DATABASE" placeholder:"URL"`

	TenantDomain string `help:"The tenant's domain, for the first start (contoso.test)." env:"SKYREALM_TENANT_DOMAIN" placeholder:"NAME"`
	Domain       string `help:"The managed domain, for the first start (aadds. and the tenant's)." env:"SKYREALM_DOMAIN" placeholder:"NAME"`

	Roles   string `help:"What this process does, of tenant, provision and domain." default:"tenant,provision,domain" env:"SKYREALM_ROLES"`
	Listen  string `help:"Address to listen on." default:"127.0.0.1" env:"SKYREALM_LISTEN" placeholder:"IP"`
	HTTPS   string `help:"HTTPS port; :0 picks a free one, here and below." name:"https" default:":10443" env:"SKYREALM_HTTPS" placeholder:":PORT"`
	KDC     string `help:"Kerberos port, UDP and TCP." name:"kdc" default:":10088" env:"SKYREALM_KDC" placeholder:":PORT"`
	Kpasswd string `help:"Password change (kpasswd) port, UDP and TCP." name:"kpasswd" default:":10464" env:"SKYREALM_KPASSWD" placeholder:":PORT"`
	LDAP    string `help:"LDAP port." name:"ldap" default:":10389" env:"SKYREALM_LDAP" placeholder:":PORT"`
	LDAPS   string `help:"LDAP over TLS port." name:"ldaps" default:":10636" env:"SKYREALM_LDAPS" placeholder:":PORT"`

	AlsoKnownAs []string `help:"More names for the server's certificate, for clients that call it by another service's." name:"also-known-as" env:"SKYREALM_ALSO_KNOWN_AS" placeholder:"NAME"`

	KeepEvents time.Duration `help:"How long the records of what agents sent are kept (seven days)." name:"keep-events" default:"168h" env:"SKYREALM_KEEP_EVENTS" placeholder:"TIME"`
	LogItems   int           `help:"Largest batch of password changes that is logged user by user (events 656 and 657); of larger ones only refusals are. -1: none." name:"log-items" default:"250" env:"SKYREALM_LOG_ITEMS" placeholder:"N"`

	MaxUDPReply int  `help:"Longest Kerberos reply in a datagram, in bytes; clients fetch a longer one by TCP." name:"max-udp-reply" default:"1400" env:"SKYREALM_MAX_UDP_REPLY"`
	AllowRC4    bool `help:"Issue RC4 tickets to clients that have nothing better." name:"allow-rc4" env:"SKYREALM_ALLOW_RC4"`

	RequireFreshness bool `help:"Certificates sign in only with a token that proves that they were used just now; MIT krb5 before 1.17 can't (RFC 8070)." name:"require-freshness" env:"SKYREALM_REQUIRE_FRESHNESS"`
	AllowGroup2      bool `help:"Let clients that sign in with certificates agree on keys with 1,024 bits." name:"allow-group-2" env:"SKYREALM_ALLOW_GROUP_2"`

	RequireArmor bool `help:"Let people sign in inside FAST only." name:"require-armor" env:"SKYREALM_REQUIRE_ARMOR"`
	HideUnknown  bool `help:"Answer Kerberos requests for names that nobody has as those for others, so that nobody learns who has an account." name:"hide-unknown" env:"SKYREALM_HIDE_UNKNOWN"`
}

func (c *serveCmd) Run(e *env) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	s, err := start(e.ctx, cfg, e.log)
	switch {
	case err != nil && e.ctx.Err() != nil:
		e.log.Info("stopped before it was ready") // as it was told, so that is no failure
		return nil
	case err != nil:
		return err
	}
	s.ready.printNextSteps(e.stdout, cfg.data)
	return s.wait()
}

// roles are what a process does.
type roles struct{ tenant, provision, domain bool }

func (r roles) all() bool { return r.tenant && r.provision && r.domain }

// config is a serve command line that makes sense.
type config struct {
	data, database       string
	tenantDomain, domain string // "" where the stored ones hold
	roles                roles
	listen               string
	https                string
	kdc, kpasswd         string
	ldap, ldaps          string
	alsoKnownAs          []string
	allowRC4             bool
	requireFreshness     bool
	allowGroup2          bool
	maxUDPReply          int
	requireArmor         bool
	hideUnknown          bool
	keepEvents           time.Duration
	logItems             int
}

func (c *serveCmd) config() (config, error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return config{}, err
	}
	cfg := config{
		data: data, database: c.Database, listen: c.Listen, alsoKnownAs: c.AlsoKnownAs, allowRC4: c.AllowRC4, maxUDPReply: c.MaxUDPReply,
		requireFreshness: c.RequireFreshness, allowGroup2: c.AllowGroup2, requireArmor: c.RequireArmor, hideUnknown: c.HideUnknown,
		tenantDomain: strings.ToLower(c.TenantDomain), domain: strings.ToLower(c.Domain),
		keepEvents: c.KeepEvents, logItems: c.LogItems,
	}
	if cfg.keepEvents < time.Hour {
		return config{}, &usageError{"--keep-events: at least 1h"}
	}
	if cfg.logItems == 0 {
		cfg.logItems = -1
	}
	for _, r := range strings.Split(c.Roles, ",") {
		switch strings.TrimSpace(r) {
		case "tenant":
			cfg.roles.tenant = true
		case "provision":
			cfg.roles.provision = true
		case "domain":
			cfg.roles.domain = true
		default:
			return config{}, &usageError{fmt.Sprintf("--roles: %q is none of tenant, provision, domain", r)}
		}
	}
	if net.ParseIP(c.Listen) == nil && c.Listen != "" && c.Listen != "localhost" {
		return config{}, &usageError{fmt.Sprintf("--listen: %q is no IP address", c.Listen)}
	}
	for _, p := range []struct {
		flag, in string
		out      *string
	}{
		{"--https", c.HTTPS, &cfg.https}, {"--kdc", c.KDC, &cfg.kdc}, {"--kpasswd", c.Kpasswd, &cfg.kpasswd}, {"--ldap", c.LDAP, &cfg.ldap}, {"--ldaps", c.LDAPS, &cfg.ldaps},
	} {
		port := strings.TrimPrefix(p.in, ":")
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
			return config{}, &usageError{fmt.Sprintf("%s: %q is no port", p.flag, p.in)}
		}
		*p.out = net.JoinHostPort(c.Listen, port)
	}
	return cfg, cfg.checkNames()
}

// names are what a first start calls the tenant and its domain.
func (c *config) names() (n struct{ tenant, domain string }) {
	n.tenant, n.domain = cmp.Or(c.tenantDomain, "contoso.test"), c.domain
	if n.domain == "" {
		n.domain = defaultPrefix + n.tenant
	}
	return n
}

// defaultPrefix and the tenant's domain are the managed domain's name, where
// none is given.
const defaultPrefix = "aadds."

// checkNames finds a name that no domain can have before anything is started.
func (cfg *config) checkNames() error {
	valid := func(dns string) error {
		_, err := domain.NewInfo(dns, tenant.ID{}, time.Now(), rand.Reader)
		return err
	}
	if cfg.tenantDomain != "" && valid(defaultPrefix+cfg.tenantDomain) != nil {
		return &usageError{fmt.Sprintf("--tenant-domain: %q is no DNS name", cfg.tenantDomain)}
	}
	if cfg.domain != "" {
		if err := valid(cfg.domain); err != nil {
			return &usageError{"--domain: " + err.Error()}
		}
	}
	return nil
}
