package pgchild

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

// socketPort names the socket file, .s.PGSQL.5432; no TCP port is opened.
const socketPort = "5432"

// settings go on the command line, where they stand above postgresql.conf: a
// newer skyrealm brings its own without editing a file.
var settings = []string{
	"-c", "listen_addresses=", // unix socket only
	// The socket stands in the data directory, where the server changes to at
	// its start. That directory has mode 0700, which initdb sets and the server
	// insists on, so nobody but its user and root reach the socket. pg_hba can
	// therefore trust whoever comes through it, root included, whom "peer"
	// would refuse as the wrong name.
	"-c", "unix_socket_directories=.",
	"-c", "unix_socket_permissions=0700",
	"-c", "port=" + socketPort,
	"-c", "cluster_name=skyrealm", // in ps
	"-c", "max_connections=50",
	"-c", "shared_buffers=128MB",
	"-c", "timezone=UTC",
	"-c", "log_timezone=UTC",
	"-c", "jit=off", // point reads and bulk writes: planning to compile costs more than it saves

	// An acknowledged write survives the machine's power: never off.
	"-c", "fsync=on",
	"-c", "synchronous_commit=on",
	"-c", "full_page_writes=on",
	// Nobody replicates from a private server; who wants a standby gives
	// --database. Minimal lets COPY into a fresh table skip the log.
	"-c", "wal_level=minimal",
	"-c", "max_wal_senders=0",

	// What the server logs comes through our standard error. No statement, no
	// parameter and no DETAIL may: "Failing row contains (…)" prints columns.
	"-c", "logging_collector=off",
	"-c", "log_destination=stderr",
	"-c", "log_line_prefix=",
	"-c", "log_statement=none",
	"-c", "log_min_duration_statement=-1",
	"-c", "log_min_error_statement=panic",
	"-c", "log_error_verbosity=terse",
	"-c", "log_parameter_max_length=0",
	"-c", "log_parameter_max_length_on_error=0",
	"-c", "log_checkpoints=off",
}

// lineLog takes the server's standard error line by line. It keeps the last
// lines of trouble, which say why a start failed.
type lineLog struct {
	log *slog.Logger

	mu      sync.Mutex
	part    []byte
	trouble []string
}

// maxLine bounds a line without an end, maxTrouble the lines kept.
const (
	maxLine    = 8 << 10
	maxTrouble = 8
)

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			if len(l.part) > maxLine {
				l.part = l.part[:0]
			}
			return len(p), nil
		}
		l.line(strings.TrimRight(string(line), " \r"))
		l.part = rest
	}
}

func (l *lineLog) line(s string) {
	severity, text, ok := strings.Cut(s, ":")
	text = strings.TrimSpace(text)
	// An ERROR goes back to the client that caused it, which returns or logs it.
	level := slog.LevelDebug
	switch severity {
	case "WARNING":
		level = slog.LevelWarn
	case "FATAL":
		level = slog.LevelWarn
		// What a stop says to each session that is still there; whoever gave that
		// command knows.
		if strings.HasPrefix(text, "terminating connection due to administrator command") {
			level = slog.LevelDebug
		}
	case "PANIC":
		level = slog.LevelError
	case "LOG", "ERROR", "HINT", "DETAIL", "NOTICE", "DEBUG", "INFO", "STATEMENT", "CONTEXT":
	default:
		ok = false // the loader's and libc's lines have no severity, and matter
	}
	if !ok {
		text, level = s, slog.LevelWarn
	}
	if text == "" {
		return
	}
	l.log.Log(context.Background(), level, "postgres: "+text)
	if level >= slog.LevelWarn {
		if len(l.trouble) == maxTrouble {
			l.trouble = l.trouble[1:]
		}
		l.trouble = append(l.trouble, text)
	}
}

// last is the latest line of trouble, or nothing.
func (l *lineLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.trouble) == 0 {
		return ""
	}
	return l.trouble[len(l.trouble)-1]
}

// inTheWay tells whether the remains of a killed server kept this one from
// starting: its lock file, its shared memory, its socket.
func (l *lineLog) inTheWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.trouble {
		for _, sign := range []string{"lock file", "shared memory", "could not create any Unix-domain sockets"} {
			if strings.Contains(s, sign) {
				return true
			}
		}
	}
	return false
}

func reason(l *lineLog, err error) string {
	if s := l.last(); s != "" {
		return s
	}
	if err != nil {
		return err.Error()
	}
	return "it ended at once"
}
