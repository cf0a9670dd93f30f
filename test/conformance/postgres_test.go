package conformance

import (
	"path/filepath"
	"testing"

	"skyrealm/test/harness"
)

// testPostgres: PostgreSQL's gss log-in, with and without its GSSAPI encryption,
// which wraps every byte under the ticket's session key.
func testPostgres(t *testing.T, w *world) {
	psql, initdb := harness.Need(t, "psql"), harness.NeedFile(t, "/usr/lib/postgresql/*/bin/initdb")
	const host = "db.aadds.contoso.test"
	d := w.NewDaemon(t)
	keytab := d.Copy("keytab", w.keytab(t, "postgres/"+host))
	data := filepath.Join(d.Dir, "data")
	d.Run(initdb, "-D", data, "--username=ada", "--auth=reject", "--no-sync", "--no-instructions", "--encoding=UTF8")
	hba := d.File("hba", "host all all 127.0.0.1/32 gss include_realm=0 krb_realm="+w.Realm+"\n")
	d.Start(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", d.Port, "-k", d.Dir, "-c", "listen_addresses=127.0.0.1",
		"-c", "krb_server_keyfile="+keytab, "-c", "hba_file="+hba, "-c", "fsync=off")

	ask := func(k *kerberos, user, more, query string) (string, error) {
		return k.Try("", psql, "-X", "-A", "-t", "-w", "-c", query,
			"host="+host+" hostaddr=127.0.0.1 port="+d.Port+" dbname=postgres user="+user+" "+more)
	}
	const who = "SELECT current_user, gss_authenticated, encrypted, principal FROM pg_stat_gssapi WHERE pid = pg_backend_pid()"
	open := func(k *kerberos, more, want string) {
		t.Helper()
		harness.WaitFor(t, "PostgreSQL to take log-ins", func() error { // its port answers a little earlier
			out, err := ask(k, "ada", more, who)
			if err == nil {
				says(t, out, want)
			}
			return err
		})
	}
	refused := func(k *kerberos, user, told string) {
		t.Helper()
		for _, more := range []string{"gssencmode=require", "gssencmode=disable"} {
			out, err := ask(k, user, more, who)
			if err == nil {
				t.Errorf("%s is let in with %s:\n%s", user, more, out)
			}
			says(t, out, told)
		}
	}
	ada, rocket, none := w.mit(t), w.mit(t), w.mit(t)
	ada.kinit(adaPassword, "ada")
	open(ada, "gssencmode=require", "ada|t|t|ada@AADDS.CONTOSO.TEST")
	open(ada, "gssencmode=disable", "ada|t|f|ada@AADDS.CONTOSO.TEST")
	rocket.kinit(rocketPassword, "rocket")
	refused(rocket, "ada", `GSSAPI authentication failed for user "ada"`)
	refused(none, "ada", "")
	if out, err := ask(ada, "ada", "", "CREATE ROLE rocket LOGIN"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := ask(rocket, "rocket", "", who); err != nil {
		t.Errorf("%v\n%s", err, out)
	}

	// New keys: the ticket that ada still has opens nothing any more.
	d.Copy("keytab", w.keytab(t, "postgres/"+host))
	refused(ada, "ada", "")
	ada.kinit(adaPassword, "ada")
	open(ada, "gssencmode=require", "ada|t|t|ada@AADDS.CONTOSO.TEST")
}
