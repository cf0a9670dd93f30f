package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"skyrealm/tenant"
)

// Errors of opening a database.
var (
	// ErrUnreachable: the server does not answer, or does not let us in.
	ErrUnreachable = errors.New("store: database unreachable")
	// ErrSchemaNewer: a newer program has been here.
	ErrSchemaNewer = errors.New("store: the database's schema is newer than this program")
	// ErrWrongKey: the data was encrypted under another key ring.
	ErrWrongKey = errors.New("store: wrong key ring")
	// ErrCorrupt: a stored secret does not decrypt: it was damaged, or moved from
	// another place.
	ErrCorrupt = errors.New("store: a stored secret does not decrypt")
)

// decided is an error of the rules, to be passed on as it is.
type decided struct{ error }

func (d decided) Unwrap() error { return d.error }

// fail turns a database's error into one that may leave the package: conflict
// (the caller's sentinel), tenant.ErrUnavailable, or one that names an SQLSTATE.
// The original is not wrapped, because its text may hold values.
func fail(err, conflict error) error {
	if err == nil {
		return nil
	}
	if d, ok := errors.AsType[decided](err); ok {
		return d.error
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case pg.Code == "23505" || again(err): // unique_violation
			return fmt.Errorf("%w (SQLSTATE %s %s)", conflict, pg.Code, pg.ConstraintName)
		case lost(pg.Code):
			return fmt.Errorf("%w (SQLSTATE %s)", tenant.ErrUnavailable, pg.Code)
		}
		return fmt.Errorf("store: database error (SQLSTATE %s %s)", pg.Code, pg.ConstraintName)
	}
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return fmt.Errorf("%w: %w", tenant.ErrUnavailable, end)
		}
	}
	if broken(err) {
		return tenant.ErrUnavailable
	}
	return fmt.Errorf("store: unexpected %T", err) // pgx's text on a value it can't encode repeats the value
}

// again reports whether the server ended a transaction only so that another could
// go on: serialization_failure, deadlock_detected.
func again(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// lost reports whether an SQLSTATE says that the server can't serve now.
func lost(code string) bool {
	switch code[:2] {
	case "08", // connection exception
		"53", // insufficient resources: connections, memory, disk
		"57", // operator intervention: shutdown, terminated, canceled, starting up
		"58": // system error
		return true
	}
	// A standby after a failover; a session that hung too long in a transaction.
	return code == "25006" || code == "25P03" || code == "55P03"
}

// broken reports whether an error without an SQLSTATE is the connection's.
func broken(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err)
}

// unreachable says in one line why there is no connection. A server's refusal names
// the user or the database at most.
func unreachable(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%w: %s (SQLSTATE %s)", ErrUnreachable, pg.Message, pg.Code)
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, strings.Join(strings.Fields(err.Error()), " "))
}
