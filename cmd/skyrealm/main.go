// Command skyrealm runs an Entra ID tenant with its managed domain, and the
// tools around it. It is the wiring: flags, construction, signals.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

// commands are the command line, as kong reads it.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run the tenant and its managed domain. The first start creates both."`
	Demo    demoCmd    `cmd:"" help:"Tell the whole story on a throw-away directory, step by step, then stay up."`
	Agent   agentCmd   `cmd:"" help:"The sync agent: send users and password hashes to a tenant."`
	Keytab  keytabCmd  `cmd:"" help:"Create a service account in the domain and write its keytab."`
	User    userCmd    `cmd:"" help:"Administer users."`
	Domain  domainCmd  `cmd:"" help:"Administer the managed domain: policy, lockouts, the krbtgt's key, the security log."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Log   string `help:"Form of the log lines on standard error." enum:"text,json" default:"text" env:"SKYREALM_LOG"`
	Debug bool   `help:"Log more." env:"SKYREALM_DEBUG"`
}

// Exit statuses beside 0.
const (
	exitFailure = 1
	exitUsage   = 2
)

// env is what commands get of the world.
type env struct {
	ctx    context.Context
	log    *slog.Logger
	stdout io.Writer
	stderr io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	var c commands
	exit := -1
	parser, err := kong.New(&c, kong.Name("skyrealm"),
		kong.Description("An Entra ID tenant and its Domain Services managed domain in one program, for testing sync agents and domain-joined software."),
		kong.UsageOnError(), kong.Writers(stdout, stderr), kong.Exit(func(code int) { exit = code }))
	if err != nil {
		panic(err) // the struct above is malformed
	}
	command, err := parser.Parse(args)
	if exit >= 0 { // --help has printed and asked to exit
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "skyrealm: %v (skyrealm --help shows the usage)\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = command.Run(&env{ctx: ctx, log: logger(&c, stderr), stdout: stdout, stderr: stderr})
	var usage *usageError
	var status *statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		fmt.Fprintf(stderr, "skyrealm: %v\n", err)
		return status.status
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "skyrealm: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "skyrealm: %v\n", err)
	return exitFailure
}

// statusError is a failure that a script tells from others by its exit status.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

// usageError is a command line that can't be meant.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func logger(c *commands, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.Debug {
		o.Level = slog.LevelDebug
	}
	if c.Log == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	_, err := fmt.Fprintln(e.stdout, "skyrealm", version())
	return err
}

// version is the module's, or the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
