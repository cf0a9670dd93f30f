package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/api/managed"
)

// domainCmd administers the managed domain of the server on this machine, as the
// tenant's first administrator.
type domainCmd struct {
	Policy policyCmd `cmd:"" help:"Show the lockout and password policy, or change what is given."`
	Unlock unlockCmd `cmd:"" help:"End an account's lockout."`
	Rotate rotateCmd `cmd:"" name:"rotate-krbtgt" help:"Give the krbtgt a new key. Two in a row end every ticket of the domain."`
	Events eventsCmd `cmd:"" help:"Show the security log, the newest first."`
}

// onData is where the server is.
type onData struct {
	Data string `help:"Data directory of the server on this machine." default:"skyrealm-data" env:"SKYREALM_DATA"`
}

// call sends a request as the administrator.
func (d *onData) call(e *env, method, path string, body, answer any) error {
	t, err := onThisMachine(d.Data)
	if err != nil {
		return err
	}
	password, err := t.adminPassword()
	if err != nil {
		return err
	}
	token, err := t.signIn(e.ctx, t.AdminUPN, password)
	if err != nil {
		return fmt.Errorf("sign in as %s: %w", t.AdminUPN, err)
	}
	_, err = t.graph(e.ctx, token, method, "/domain/v1"+path, body, answer)
	return err
}

type policyCmd struct {
	onData
	Threshold *int           `name:"lockout-threshold" help:"Wrong passwords that lock an account; 0: none does." placeholder:"N"`
	Window    *time.Duration `name:"lockout-window" help:"Time within which they count together." placeholder:"TIME"`
	Duration  *time.Duration `name:"lockout-duration" help:"How long a lockout lasts; 0: until it is ended." placeholder:"TIME"`
	MaxAge    *time.Duration `name:"max-password-age" help:"How old a password becomes; 0: any age." placeholder:"TIME"`
}

func (c *policyCmd) Run(e *env) error {
	change := managed.Policy{Threshold: c.Threshold}
	changed := c.Threshold != nil
	for _, s := range []struct {
		from *time.Duration
		to   **int64
	}{{c.Window, &change.Window}, {c.Duration, &change.Duration}, {c.MaxAge, &change.MaxPasswordAge}} {
		if s.from != nil {
			n := int64(*s.from / time.Second)
			*s.to, changed = &n, true
		}
	}
	var p managed.Policy
	method := http.MethodGet
	if changed {
		method = http.MethodPatch
	}
	if err := c.call(e, method, "/policy", change, &p); err != nil {
		return err
	}
	seconds := func(n *int64) time.Duration { return time.Duration(*n) * time.Second }
	_, err := fmt.Fprintf(e.stdout, "lockout threshold  %d\nlockout window     %s\nlockout duration   %s\nmax password age   %s\n",
		*p.Threshold, seconds(p.Window), seconds(p.Duration), seconds(p.MaxPasswordAge))
	return err
}

type unlockCmd struct {
	onData
	Account string `arg:"" help:"sAMAccountName."`
}

// Run does what every tool for Active Directory does: it sets lockoutTime to 0.
func (c *unlockCmd) Run(e *env) error {
	t, err := onThisMachine(c.Data)
	if err != nil {
		return err
	}
	conn, err := t.admin()
	if err != nil {
		return fmt.Errorf("sign in as %s: %w", t.AdminUPN, err)
	}
	defer conn.Close()
	found, err := conn.Search(ldap.NewSearchRequest(t.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, 0, false,
		"(sAMAccountName="+ldap.EscapeFilter(c.Account)+")", []string{"lockoutTime"}, nil))
	if err != nil {
		return err
	}
	if len(found.Entries) == 0 {
		return fmt.Errorf("there is no account %s", c.Account)
	}
	change := ldap.NewModifyRequest(found.Entries[0].DN, nil)
	change.Replace("lockoutTime", []string{"0"})
	return conn.Modify(change)
}

type rotateCmd struct{ onData }

func (c *rotateCmd) Run(e *env) error {
	var done struct {
		KVNO uint32 `json:"kvno"`
		From string `json:"usedFrom"`
	}
	if err := c.call(e, http.MethodPost, "/krbtgt:rotate", struct{}{}, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.stdout, "krbtgt: version %d, used from %s on\n", done.KVNO, done.From)
	return err
}

type eventsCmd struct {
	onData
	Account string `help:"Only this account's." placeholder:"NAME"`
	ID      int    `name:"id" help:"Only these, such as 4771." placeholder:"N"`
	Top     int    `help:"How many." default:"50" placeholder:"N"`
}

func (c *eventsCmd) Run(e *env) error {
	q := url.Values{"top": {strconv.Itoa(c.Top)}}
	if c.Account != "" {
		q.Set("account", c.Account)
	}
	if c.ID != 0 {
		q.Set("id", strconv.Itoa(c.ID))
	}
	var list struct{ Value []managed.Event }
	if err := c.call(e, http.MethodGet, "/events?"+q.Encode(), nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tEVENT\tSTATUS\tACCOUNT\tSERVICE\tFROM")
	for _, v := range list.Value {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", v.At.Format("2006-01-02T15:04:05.000Z"), v.ID, v.Status, v.Account, v.Service, v.Address)
	}
	return w.Flush()
}
