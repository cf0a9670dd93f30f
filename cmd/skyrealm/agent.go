package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"skyrealm/agent"
)

type agentCmd struct {
	Run      runCmd      `cmd:"" help:"Keep a tenant up to date with an Active Directory until stopped."`
	Once     onceCmd     `cmd:"" help:"Send what has changed, and end: for cron."`
	FullSync fullSyncCmd `cmd:"" name:"full-sync" help:"Read all of the directory and send all of it again."`
	Status   statusCmd   `cmd:"" help:"Print when the agent did what, and what waits."`
	Push     pushCmd     `cmd:"" help:"Send a file of users to the tenant, as an agent would."`
}

// Exit statuses of once and full-sync beside those of all commands.
const (
	exitRefused   = 3 // some items were refused and wait for another try
	exitDeletions = 4 // nothing was exported: too many deletions
)

// adPassword is the variable that holds the password of the account in the
// directory. It is no flag: arguments can be read by every user of a machine.
const adPassword = "SKYREALM_AD_PASSWORD"

// syncFlags are those of all commands that sync.
type syncFlags struct {
	Config       configFile `help:"JSON file with flags by their names, with _ for - (\"ad_user\": …)." type:"existingfile" placeholder:"FILE"`
	AD           string     `name:"ad" required:"" help:"Domain controller to read, by name or address." env:"SKYREALM_AD" placeholder:"HOST"`
	ADAddress    string     `name:"ad-address" help:"Its address, where its name can't be looked up." env:"SKYREALM_AD_ADDRESS" placeholder:"IP"`
	ADUser       string     `name:"ad-user" required:"" help:"Account with the rights Replicating Directory Changes and … All (CORP\\sync)." env:"SKYREALM_AD_USER" placeholder:"NAME"`
	ADPassword   string     `name:"ad-password-file" help:"File with its password; without, the variable SKYREALM_AD_PASSWORD has it." env:"SKYREALM_AD_PASSWORD_FILE" placeholder:"FILE"`
	OU           []string   `name:"ou" sep:"none" help:"Sync only what is in this OU or below (DN; may be repeated)." placeholder:"DN"`
	Group        []string   `sep:"none" help:"Sync only this group and its members, also nested ones (DN; may be repeated)." placeholder:"DN"`
	State        string     `help:"Directory for what the agent has to remember." default:"skyrealm-agent" env:"SKYREALM_AGENT_STATE" placeholder:"DIR"`
	Staging      bool       `help:"Read, say what would be sent, and send nothing." env:"SKYREALM_AGENT_STAGING"`
	Deletions    int        `name:"delete-threshold" help:"Most deletions in one run (default: what the tenant says; -1: any number)." env:"SKYREALM_AGENT_DELETE_THRESHOLD" placeholder:"N"`
	Protocol     string     `help:"What is spoken to the tenant: rest, or wire (the real sync service's)." enum:"rest,wire" default:"rest" env:"SKYREALM_AGENT_PROTOCOL"`
	Data         string     `help:"Data directory of the server, where it runs on this machine." default:"skyrealm-data" env:"SKYREALM_DATA" placeholder:"DIR"`
	URL          string     `name:"url" help:"The tenant's address, where it runs elsewhere." env:"SKYREALM_URL" placeholder:"https://HOST:PORT"`
	ClientID     string     `help:"The agent's client id, with --url." env:"SKYREALM_CLIENT_ID" placeholder:"ID"`
	ClientSecret string     `name:"client-secret-file" help:"File with the agent's secret, with --url." env:"SKYREALM_CLIENT_SECRET_FILE" placeholder:"FILE"`
	CAFile       string     `name:"ca-file" help:"Certificates to trust instead of the system's, with --url." env:"SKYREALM_CA_FILE" placeholder:"FILE"`
}

// configFile is a file of flags; the command line and the environment win.
type configFile string

// BeforeResolve is kong's hook for what supplies values.
func (configFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFile))
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	resolver, err := kong.JSON(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ctx.AddResolver(resolver)
	return nil
}

// agent makes the agent that the flags describe, and what to call when done.
func (c *syncFlags) agent(e *env) (*agent.Agent, func(), error) {
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	password := os.Getenv(adPassword)
	if c.ADPassword != "" {
		text, err := os.ReadFile(c.ADPassword)
		if err != nil {
			return nil, nil, err
		}
		password = strings.TrimRight(string(text), "\r\n") // a password may end in a space
	}
	if password == "" {
		return nil, nil, &usageError{"the account needs a password: --ad-password-file, or the variable " + adPassword}
	}
	store, err := agent.OpenStore(c.State, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	client.Machine = store.Agent
	var service agent.Service = client
	if c.Protocol == "wire" {
		service = agent.NewWire(client)
	}
	b := &bars{w: e.stderr}
	return &agent.Agent{
		Service:   service,
		Source:    &agent.AD{Host: c.AD, Address: c.ADAddress, User: c.ADUser, Password: agent.Secret(password)},
		Store:     store,
		Log:       e.log,
		Scope:     agent.Scope{OUs: c.OU, Groups: c.Group},
		Staging:   c.Staging,
		Deletions: c.Deletions,
		Progress:  b.set,
	}, func() { b.done(); store.Close() }, nil
}

// client talks to the tenant: with --url to one elsewhere, else to the one of
// the data directory.
func (c *syncFlags) client() (*agent.Client, error) {
	if c.URL == "" {
		t, err := onThisMachine(c.Data)
		if err != nil {
			return nil, err
		}
		return t.agent()
	}
	if c.ClientID == "" || c.ClientSecret == "" {
		return nil, &usageError{"--url needs --client-id and --client-secret-file"}
	}
	if !strings.HasPrefix(c.URL, "https://") {
		return nil, &usageError{"--url has to start with https://"}
	}
	secret, err := os.ReadFile(c.ClientSecret)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
		}
	}
	return &agent.Client{BaseURL: c.URL, ClientID: c.ClientID, Secret: agent.Secret(bytes.TrimSpace(secret)), Now: time.Now, Rand: rand.Reader,
		HTTP: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{TLSClientConfig: settings, Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 8}}}, nil
}

type runCmd struct {
	syncFlags `embed:""`
	Objects   time.Duration `name:"objects-every" help:"How often objects are sent (default: what the tenant says, 30m)." env:"SKYREALM_AGENT_OBJECTS_EVERY" placeholder:"TIME"`
	Passwords time.Duration `name:"passwords-every" help:"How often passwords are sent (default: what the tenant says, 2m)." env:"SKYREALM_AGENT_PASSWORDS_EVERY" placeholder:"TIME"`
}

func (c *runCmd) Run(e *env) error {
	a, done, err := c.agent(e)
	if err != nil {
		return err
	}
	defer done()
	return a.Run(e.ctx, c.Objects, c.Passwords)
}

type onceCmd struct {
	syncFlags `embed:""`
}

func (c *onceCmd) Run(e *env) error { return c.once(e, false) }

type fullSyncCmd struct {
	syncFlags `embed:""`
}

func (c *fullSyncCmd) Run(e *env) error { return c.once(e, true) }

func (c *syncFlags) once(e *env, full bool) error {
	a, done, err := c.agent(e)
	if err != nil {
		return err
	}
	run, err := a.Once(e.ctx, full)
	done()
	verb := ""
	if run.Staging {
		verb = "would be "
	}
	fmt.Fprintf(e.stdout, "%d read; %d objects %ssent, %d %sdeleted, %d passwords %ssent; %d refused (%s)\n", run.Read,
		run.Sent, verb, run.Deleted, verb, run.Passwords, verb, run.Refused, run.Ended.Sub(run.Began).Round(time.Millisecond))
	switch {
	case errors.Is(err, agent.ErrDeletions):
		return &statusError{exitDeletions, err}
	case err == nil && run.Refused > 0:
		return &statusError{exitRefused, fmt.Errorf("%d items were refused and wait for another try", run.Refused)}
	}
	return err
}

type statusCmd struct {
	State string `help:"The agent's directory." default:"skyrealm-agent" env:"SKYREALM_AGENT_STATE" placeholder:"DIR"`
}

func (c *statusCmd) Run(e *env) error {
	r, err := agent.ReadReport(c.State)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no agent has worked here yet", c.State)
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	row := func(name, form string, values ...any) { fmt.Fprintf(w, name+"\t"+form+"\n", values...) }
	when := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return t.Local().Format(time.DateTime) + " (" + time.Since(t).Round(time.Second).String() + " ago)"
	}
	row("directory", "%s", r.Directory)
	row("agent", "%s", r.Agent)
	row("last object sync", "%s", when(r.ObjectSync))
	row("last password sync", "%s", when(r.PasswordSync))
	row("last heartbeat", "%s", when(r.Heartbeat))
	row("in the tenant", "%d users, %d groups", r.Users, r.Groups)
	row("pending retries", "%d", r.Retries)
	mode := ""
	if r.Last.Staging {
		mode = " (staging: nothing was sent)"
	}
	row("last run", "%s, %s%s", when(r.Last.Ended), r.Last.Ended.Sub(r.Last.Began).Round(time.Millisecond), mode)
	row("  read", "%d", r.Last.Read)
	row("  objects", "%d", r.Last.Sent)
	row("  deletions", "%d", r.Last.Deleted)
	row("  passwords", "%d", r.Last.Passwords)
	row("  temporary, filtered", "%d", r.Last.Filtered)
	row("  refused", "%d", r.Last.Refused)
	if r.Last.Stopped > 0 {
		row("  deletions stopped", "%d", r.Last.Stopped)
	}
	if r.Error == "" {
		row("last error", "none")
	} else {
		row("last error", "%s: %s", when(r.ErrorAt), r.Error)
	}
	return w.Flush()
}

// bars shows one progress bar after the other.
type bars struct {
	w    io.Writer
	what string
	bar  *bar
}

func (b *bars) set(what string, done, total int) {
	if b.bar == nil || b.what != what {
		b.done()
		b.what, b.bar = what, newBar(b.w, what)
	}
	b.bar.set(done, total)
}

func (b *bars) done() {
	if b.bar != nil {
		b.bar.done()
	}
}

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct {
	w     io.Writer
	label string
	last  int
}

func newBar(w io.Writer, label string) *bar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		w = nil
	}
	return &bar{w: w, label: label, last: -1}
}

func (b *bar) set(done, total int) {
	if b.w == nil || total == 0 {
		return
	}
	percent := 100 * done / total
	if percent == b.last {
		return
	}
	b.last = percent
	const width = 40
	full := width * done / total
	fmt.Fprintf(b.w, "\r%s [%s%s] %3d%%  %d of %d", b.label, strings.Repeat("=", full), strings.Repeat(" ", width-full), percent, done, total)
}

func (b *bar) done() {
	if b.w != nil && b.last >= 0 {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
