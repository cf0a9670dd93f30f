package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"skyrealm/migrations"
)

// schemaOf describes the schemas, to compare two databases.
func schemaOf(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	var s string
	check(t, c.QueryRow(t.Context(), `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
		SELECT format('%s.%s.%s %s %s %s', table_schema, table_name, column_name, data_type, is_nullable, column_default) AS line
			FROM information_schema.columns WHERE table_schema IN ('tenant', 'domain')
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname IN ('tenant', 'domain')
		UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace::regnamespace::text IN ('tenant', 'domain')
		UNION ALL SELECT format('step %s', step) FROM tenant.migration
		UNION ALL SELECT format('feed %s', usn) FROM tenant.feed
		UNION ALL SELECT format('state %s %s', usn, next_rid) FROM domain.state) x`).Scan(&s))
	return s
}

// The server ends the connection at each statement of the migrations in turn: the next
// start completes them.
func TestMigrationKilled(t *testing.T) {
	url, admin := newDatabase(t)
	db, err := Open(t.Context(), url, Options{})
	check(t, err)
	db.Close()
	want := schemaOf(t, admin)
	if !strings.Contains(want, "tenant.credential.digest") || !strings.Contains(want, "domain.object.secrets") {
		t.Fatalf("the schema is\n%s", want)
	}
	for n, killed := 1, true; killed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) { killed = migrateKilledAt(t, n, want) })
		if !killed && n < 20 {
			t.Errorf("only %d statements were seen", n-1)
		}
	}
}

// migrateKilledAt ends the connection at statement n; false: there is none.
func migrateKilledAt(t *testing.T, n int, want string) bool {
	url, admin := newDatabase(t)
	mustExec(t, admin, `CREATE SEQUENCE public.statement`)
	mustExec(t, admin, `CREATE FUNCTION public.kill() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('public.statement') = current_setting('kill.at')::int THEN
			PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$`)
	mustExec(t, admin, `CREATE EVENT TRIGGER kill ON ddl_command_end EXECUTE FUNCTION public.kill()`)
	db, err := Open(t.Context(), url+fmt.Sprint("&kill.at=", n), Options{})
	if err == nil {
		db.Close()
		return false
	}
	mustExec(t, admin, `DROP EVENT TRIGGER kill`)
	db, err = Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatalf("not to be started again: %v", err)
	}
	db.Close()
	if got := schemaOf(t, admin); got != want {
		t.Fatalf("the schema is\n%s", got)
	}
	return true
}

// Many processes start on an empty database at the same time.
func TestMigrateTogether(t *testing.T) {
	url, _ := newDatabase(t)
	done := make(chan error)
	const n = 8
	for range n {
		go func() {
			db, err := Open(t.Context(), url, Options{})
			if err == nil {
				db.Close()
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestSchemaNewer(t *testing.T) {
	url, admin := newDatabase(t)
	db, err := Open(t.Context(), url, Options{})
	check(t, err)
	db.Close()
	// A newer program has a step more.
	newer := fstest.MapFS{"9999_newer.up.sql": {Data: []byte(`CREATE TABLE tenant.newer (a int)`)}}
	entries, err := migrations.FS.ReadDir(".")
	check(t, err)
	for _, e := range entries {
		text, err := migrations.FS.ReadFile(e.Name())
		check(t, err)
		newer[e.Name()] = &fstest.MapFile{Data: text}
	}
	c := connect(t, url)
	check(t, migrateFrom(t.Context(), c, newer))
	check(t, migrateFrom(t.Context(), c, newer)) // nothing to do
	c.Close(t.Context())                         // and the lock is free
	_, err = Open(t.Context(), url, Options{})
	wantErr(t, err, ErrSchemaNewer)
	mustExec(t, admin, `SELECT a FROM tenant.newer`)
	// A step that fails leaves nothing.
	delete(newer, "9999_newer.up.sql")
	mustExec(t, admin, `DELETE FROM tenant.migration WHERE step = 9999`)
	newer["9998_bad.up.sql"] = &fstest.MapFile{Data: []byte(`CREATE TABLE tenant.half (a int); SELECT 1/0;`)}
	c = connect(t, url)
	err = migrateFrom(t.Context(), c, newer)
	c.Close(t.Context())
	if err == nil || errors.Is(err, ErrSchemaNewer) {
		t.Fatal(err)
	}
	var there bool
	check(t, admin.QueryRow(t.Context(), `SELECT to_regclass('tenant.half') IS NOT NULL`).Scan(&there))
	if there {
		t.Error("half of a step stayed")
	}
	db, err = Open(t.Context(), url, Options{})
	check(t, err)
	db.Close()
}
