package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"skyrealm/kdc"
	"skyrealm/tenant"
)

type demoCmd struct {
	Exit  bool `help:"End after the last step, with status 0 only if every step held."`
	Users int  `help:"How many users to sync." default:"1000"`
}

// errStory is a demo of which a step did not hold; the step has said why.
var errStory = errors.New("a step of the demo did not hold")

func (c *demoCmd) Run(e *env) error {
	if c.Users < 1 || c.Users > 100_000 {
		return &usageError{"--users: 1 to 100000"}
	}
	dir, err := os.MkdirTemp("", "skyrealm-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	story := &story{w: e.stdout, tty: isTerminal(e.stdout), users: c.Users}
	story.say("Skyrealm demo: an Entra ID tenant, its sync agent and its managed domain, on a directory that goes away again.\n")

	// The service logs its warnings; its everyday lines would tear the story.
	log := e.log
	if !e.log.Enabled(e.ctx, slog.LevelDebug) {
		log = slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	var s *service
	story.step("Start: private PostgreSQL, tenant, KDC and LDAP server", func(ctx context.Context) (string, error) {
		if s, err = startAnywhere(e.ctx, dir, log); err != nil {
			return "", err
		}
		if story.t, err = newTarget(s.ready); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s with %s", s.ready.TenantDomain, s.ready.Realm), nil
	})(e.ctx)
	if s == nil {
		return errStory
	}
	story.tell(e.ctx)
	if c.Exit || e.ctx.Err() != nil || story.failed {
		s.stop(nil)
		err := s.wait()
		if story.failed {
			return errStory
		}
		return err
	}
	story.invite()
	return s.wait()
}

// startAnywhere starts the service on the usual ports, or on free ones where
// another program has one of those.
func startAnywhere(ctx context.Context, dir string, log *slog.Logger) (*service, error) {
	usual := serveCmd{Data: dir, KeepEvents: tenant.RecordsKept, LogItems: tenant.LogItems, Roles: "tenant,provision,domain", Listen: "127.0.0.1", HTTPS: ":10443", KDC: ":10088", Kpasswd: ":10464", LDAP: ":10389", LDAPS: ":10636"}
	cfg, err := usual.config()
	if err != nil {
		return nil, err
	}
	if l, err := bind(cfg, &kdc.Kpasswd{KDC: &kdc.KDC{}}); err == nil {
		l.close()
		return start(ctx, cfg, log)
	}
	free := usual
	free.HTTPS, free.KDC, free.Kpasswd, free.LDAP, free.LDAPS = ":0", ":0", ":0", ":0", ":0"
	if cfg, err = free.config(); err != nil {
		return nil, err
	}
	return start(ctx, cfg, log)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// story is the demo as it is told: numbered steps, each with its outcome and
// time.
type story struct {
	w      io.Writer
	tty    bool
	users  int
	n      int
	failed bool
	t      *target

	// What later steps know from earlier ones.
	person person

	cloud      person
	cloudToken string
	keytab     []byte
	account    string
}

type person struct{ upn, sam, password string }

func (s *story) say(text string) { fmt.Fprintln(s.w, text) }

// step prints a step and runs it, unless an earlier one failed.
func (s *story) step(title string, do func(context.Context) (string, error)) func(context.Context) {
	return func(ctx context.Context) {
		if s.failed {
			return
		}
		s.n++
		if s.tty {
			fmt.Fprintf(s.w, "   %2d  %s …", s.n, title)
		}
		began := time.Now()
		outcome, err := do(ctx)
		took := time.Since(began)
		mark, reset, clear := "ok  ", "", ""
		if s.tty {
			mark, reset, clear = "\x1b[32m✓\x1b[0m", "\x1b[0m", "\r\x1b[K"
		}
		if err != nil {
			s.failed = true
			mark = "FAIL"
			if s.tty {
				mark = "\x1b[31m✗" + reset
			}
			outcome = err.Error()
		}
		fmt.Fprintf(s.w, "%s %s %2d  %s  (%s)\n        %s\n", clear, mark, s.n, title, rounded(took), strings.ReplaceAll(outcome, "\n", "\n        "))
	}
}

func rounded(d time.Duration) time.Duration {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond)
	case d < time.Second:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}

// invite prints what to paste while the demo stays up.
func (s *story) invite() {
	t := s.t
	var b strings.Builder
	fmt.Fprintf(&b, "\nIt stays up. In another terminal:\n\n")
	fmt.Fprintf(&b, "  export KRB5_CONFIG=%s LDAPTLS_CACERT=%s\n", t.Krb5Conf, t.CAFile)
	fmt.Fprintf(&b, "  echo '%s' | kinit %s@%s && kvno HTTP/web.%s && klist\n", s.person.password, s.person.sam, t.Realm, t.Domain)
	fmt.Fprintf(&b, "  ldapsearch -x -H ldaps://%s -D %s -w '%s' -b %s '(sAMAccountName=%s)' cn memberOf\n", t.LDAPS, s.person.upn, s.person.password, t.BaseDN, s.person.sam)
	fmt.Fprintf(&b, "  curl --cacert %s https://%s/%s/oauth2/v2.0/token -d grant_type=password -d client_id=%s \\\n    -d scope=https://graph.microsoft.com/.default -d username=%s --data-urlencode 'password=%s'\n",
		t.CAFile, t.HTTPS, t.TenantID, publicClient, s.person.upn, s.person.password)
	fmt.Fprintf(&b, "\nThese are throw-away accounts. Ctrl-C stops the demo and removes %s.\n", strings.TrimSuffix(t.CAFile, "/tls/ca.pem"))
	_, _ = io.WriteString(s.w, b.String())
}
