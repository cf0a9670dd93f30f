package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"
	"github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/tenant"
)

type keytabCmd struct {
	SPN    string   `name:"spn" required:"" help:"Service principal name, such as HTTP/web.aadds.contoso.test." placeholder:"SERVICE/HOST"`
	Out    string   `required:"" help:"File to write; an existing one is replaced." placeholder:"FILE"`
	ETypes []string `name:"etypes" help:"Types of key that the service is to have: aes256-sha2, aes128-sha2, aes256-sha1, aes128-sha1. Default: what its account has said, or those with SHA-1." placeholder:"LIST"`
	Data   string   `help:"Data directory of the server on this machine." default:"skyrealm-data" env:"SKYREALM_DATA" placeholder:"DIR"`
}

func (c *keytabCmd) Run(e *env) error {
	types, err := readETypes(c.ETypes)
	if err != nil {
		return err
	}
	t, err := onThisMachine(c.Data)
	if err != nil {
		return err
	}
	// The account's old keys end with the new ones: not for a file that can't be written.
	probe, err := os.CreateTemp(filepath.Dir(c.Out), ".skyrealm-keytab-*")
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	probe.Close()
	os.Remove(probe.Name())
	file, account, err := t.serviceAccount(e.ctx, c.SPN, types)
	if err != nil {
		return err
	}
	if err := writeFile(c.Out, file, 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%s: keys of %s, account %s of %s\n", c.Out, c.SPN, account, t.Domain)
	return err
}

// servicesOU is the organizational unit that service accounts are made in.
const servicesOU = "Service Accounts"

const encTypesAttr = "msDS-SupportedEncryptionTypes"

// etypeNames are the names of MIT's configuration, short and long.
var etypeNames = map[string]etype.ID{
	"aes256-sha2": etype.AES256SHA2, "aes128-sha2": etype.AES128SHA2,
	"aes256-sha1": etype.AES256SHA1, "aes128-sha1": etype.AES128SHA1,
	etype.AES256SHA2.String(): etype.AES256SHA2, etype.AES128SHA2.String(): etype.AES128SHA2,
	etype.AES256SHA1.String(): etype.AES256SHA1, etype.AES128SHA1.String(): etype.AES128SHA1,
}

func readETypes(names []string) (types domain.EncTypes, err error) {
	for _, n := range names {
		id, ok := etypeNames[strings.ToLower(strings.TrimSpace(n))]
		if !ok {
			return 0, &usageError{fmt.Sprintf("--etypes: %q is none of aes256-sha2, aes128-sha2, aes256-sha1 and aes128-sha1", n)}
		}
		types = types.With(id)
	}
	return types, nil
}

// serviceAccount makes an account with the SPN, or gives the one that has it a
// new password, and returns its keytab. It does over LDAPS what it would do
// with any Active Directory: add, set unicodePwd, read the version number back;
// then it signs in with the keytab. types, if any, becomes what the account says
// of the types of key that it can use.
func (t *target) serviceAccount(ctx context.Context, spn string, types domain.EncTypes) (file []byte, account string, err error) {
	service, host, ok := strings.Cut(spn, "/")
	if !ok || service == "" || host == "" || strings.ContainsAny(spn, "@ ") {
		return nil, "", &usageError{fmt.Sprintf("--spn: %q has not the form SERVICE/HOST", spn)}
	}
	conn, err := t.admin()
	if err != nil {
		return nil, "", fmt.Errorf("sign in as %s: %w", t.AdminUPN, err)
	}
	defer conn.Close()

	// 1. The account, by its SPN, or a new one.
	password, err := tenant.NewPassword(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	dn, account, err := t.findSPN(conn, spn)
	if err != nil {
		return nil, "", err
	}
	if strings.HasSuffix(account, "$") {
		return nil, "", fmt.Errorf("%s is a name of the computer %s, whose keys are the machine's own", spn, account)
	}
	if dn != "" {
		change := ldap.NewModifyRequest(dn, nil)
		if types.Says() {
			change.Replace(encTypesAttr, []string{strconv.Itoa(int(types))})
		}
		change.Replace("unicodePwd", []string{unicodePwd(password)})
		err = conn.Modify(change)
	} else {
		dn, err = t.addService(conn, service, host, spn, password, types)
	}
	if err != nil {
		return nil, "", fmt.Errorf("service account of %s: %w", spn, err)
	}

	// 2. What the domain made of it.
	found, err := conn.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false,
		"(objectClass=*)", []string{"sAMAccountName", "msDS-KeyVersionNumber", encTypesAttr}, nil))
	if err != nil {
		return nil, "", err
	}
	if len(found.Entries) != 1 {
		return nil, "", fmt.Errorf("service account of %s: it can't be read back", spn)
	}
	account = found.Entries[0].GetAttributeValue("sAMAccountName")
	kvno, err := strconv.ParseUint(found.Entries[0].GetAttributeValue("msDS-KeyVersionNumber"), 10, 32)
	if err != nil {
		return nil, "", fmt.Errorf("service account of %s: it has no key version", spn)
	}

	if said, err := strconv.ParseInt(found.Entries[0].GetAttributeValue(encTypesAttr), 10, 32); err == nil {
		types = domain.EncTypes(said)
	}

	// 3. The keys, under the service's name and the account's own.
	file, err = t.keytabOf(password, account, uint32(kvno), types, krb5.Principal(krb5.NTSrvInst, service, host), krb5.Principal(krb5.NTPrincipal, account))
	if err != nil {
		return nil, "", err
	}
	return file, account, t.tryKeytab(ctx, file, account)
}

// findSPN finds the account that has an SPN, "" for none.
func (t *target) findSPN(conn *ldap.Conn, spn string) (dn, account string, err error) {
	found, err := conn.Search(ldap.NewSearchRequest(t.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
		"(servicePrincipalName="+ldap.EscapeFilter(spn)+")", []string{"sAMAccountName"}, nil))
	if err != nil || len(found.Entries) == 0 {
		return "", "", err
	}
	return found.Entries[0].DN, found.Entries[0].GetAttributeValue("sAMAccountName"), nil
}

func (t *target) addService(conn *ldap.Conn, service, host, spn, password string, types domain.EncTypes) (dn string, err error) {
	ou := ldap.NewAddRequest("OU="+servicesOU+","+t.BaseDN, nil)
	ou.Attribute("objectClass", []string{"top", "organizationalUnit"})
	if err := conn.Add(ou); err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) {
		return "", err
	}
	short, _, _ := strings.Cut(host, ".")
	name := cutTo("svc-"+strings.ToLower(service)+"-"+strings.ToLower(short), 20)
	for n := 2; ; n++ {
		dn = "CN=" + name + "," + ou.DN
		add := ldap.NewAddRequest(dn, nil)
		add.Attribute("objectClass", []string{"top", "person", "organizationalPerson", "user"})
		add.Attribute("sAMAccountName", []string{name})
		add.Attribute("servicePrincipalName", []string{spn})
		add.Attribute("userAccountControl", []string{"66048"}) // normal, password never expires
		if types.Says() {
			add.Attribute(encTypesAttr, []string{strconv.Itoa(int(types))})
		}
		add.Attribute("unicodePwd", []string{unicodePwd(password)})
		err := conn.Add(add)
		if !ldap.IsErrorWithCode(err, ldap.LDAPResultEntryAlreadyExists) || n > 99 {
			return dn, err
		}
		// Another service of this kind on a host of this short name.
		suffix := strconv.Itoa(n)
		name = cutTo("svc-"+strings.ToLower(service)+"-"+strings.ToLower(short), 20-len(suffix)) + suffix
	}
}

func cutTo(s string, n int) string { return strings.TrimRight(s[:min(n, len(s))], ".-") }

// keytabOf writes the keys that the domain has made of the password too: of the
// types that the account says it can use.
func (t *target) keytabOf(password, account string, kvno uint32, types domain.EncTypes, names ...krb5.PrincipalName) ([]byte, error) {
	ids := []etype.ID{etype.AES256SHA1, etype.AES128SHA1}
	if types.Says() {
		ids = slices.DeleteFunc([]etype.ID{etype.AES256SHA2, etype.AES256SHA1, etype.AES128SHA2, etype.AES128SHA1, etype.RC4},
			func(id etype.ID) bool { return !types.Has(id) })
	}
	legacy, err := cred.NewLegacy(password, t.Realm+account, types.Extra()...)
	if err != nil {
		return nil, err
	}
	var entries []krb5.KeytabEntry
	for _, name := range names {
		for _, id := range ids {
			k, ok := legacy.Key(id)
			if !ok {
				return nil, fmt.Errorf("the account has no key of type %v", id)
			}
			entries = append(entries, krb5.KeytabEntry{Principal: name, Realm: t.Realm, Time: time.Now(), KVNO: kvno,
				Etype: int32(id), Key: k.Key.Expose()})
		}
	}
	return krb5.MarshalKeytab(entries), nil
}

// tryKeytab signs in with the keytab: a file that does not work is not handed out.
func (t *target) tryKeytab(ctx context.Context, file []byte, account string) error {
	conf, err := krbconfig.NewFromString(t.krb5Conf())
	if err != nil {
		return err
	}
	conf.LibDefaults.DefaultTktEnctypeIDs = []int32{20, 18, 19, 17, 23}
	kt := new(keytab.Keytab)
	if err := kt.Unmarshal(file); err != nil {
		return err
	}
	if err := client.NewWithKeytab(account, t.Realm, kt, conf, client.DisablePAFXFAST(true)).Login(); err != nil {
		return fmt.Errorf("the new keytab does not sign in: %w", err)
	}
	return ctx.Err()
}

// unicodePwd is the form that a password has in the LDAP attribute: quoted, in
// UTF-16LE ([MS-ADTS] §3.1.1.3.1.5.1).
func unicodePwd(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}
