package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"

	"skyrealm/tenant"
)

// demoGroup is the on-premises group that every tenth user is in.
const demoGroup = "Flight Crew"

// tell runs the steps of §1 of the design, through the protocols alone.
func (s *story) tell(ctx context.Context) {
	for _, step := range []struct {
		title string
		do    func(context.Context) (string, error)
	}{
		{fmt.Sprintf("An agent syncs %d on-premises users with their hashes", s.users), s.sync},
		{"One of them signs in to the tenant: password against the digest", s.signIn},
		{"A service account for a web server, with its keytab", s.service},
		{"The same user gets a TGT and a ticket for the web server", s.tickets},
		{"The same user binds to LDAP and looks itself up", s.search},
		{"The administrator creates a cloud-only user", s.create},
		{"The domain does not know that user: there are no legacy hashes yet", s.refused},
		{"The user changes the password in the cloud, which makes them", s.change},
	} {
		s.step(step.title, step.do)(ctx)
	}
}

func (s *story) sync(ctx context.Context) (string, error) {
	client, err := s.t.agent()
	if err != nil {
		return "", err
	}
	var file bytes.Buffer
	lines := json.NewEncoder(&file)
	for i := range s.users {
		password, err := tenant.NewPassword(rand.Reader)
		if err != nil {
			return "", err
		}
		p := person{upn: fmt.Sprintf("pilot%04d@%s", i, s.t.TenantDomain), sam: fmt.Sprintf("pilot%04d", i), password: password}
		line := map[string]any{"userPrincipalName": p.upn, "sAMAccountName": p.sam, "displayName": fmt.Sprintf("Pilot %04d", i),
			"dnsDomainName": "corp.contoso.test", "password": password}
		if i%10 == 0 {
			line["memberOf"] = []string{demoGroup}
			s.person = p
		}
		if err := lines.Encode(line); err != nil {
			return "", err
		}
	}
	bar := newBar(nil, "")
	if s.tty {
		fmt.Fprintln(s.w)
		bar = newBar(s.w, "       ")
	}
	began := time.Now()
	sum, err := client.Push(ctx, bytes.NewReader(file.Bytes()), bar.set)
	bar.done()
	if err != nil {
		return "", err
	}
	acknowledged := time.Now()
	if sum.Failed > 0 {
		return "", fmt.Errorf("%d items were refused: %v", sum.Failed, sum.Reasons)
	}
	if err := client.WaitUSN(ctx, sum.USN); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d users and %d passwords acknowledged after %s, most of it the agent deriving keys;\nusable in the domain %s later",
		sum.Users, sum.Hashes, rounded(acknowledged.Sub(began)), rounded(time.Since(acknowledged))), nil
}

func (s *story) signIn(ctx context.Context) (string, error) {
	if _, err := s.t.signIn(ctx, s.person.upn, s.person.password); err != nil {
		return "", err
	}
	if _, err := s.t.signIn(ctx, s.person.upn, "not the password"); err == nil {
		return "", errors.New("a wrong password signed in as well")
	} else if !strings.Contains(err.Error(), "AADSTS50126") {
		return "", err
	}

	return fmt.Sprintf("%s has a signed token; a wrong password gets AADSTS50126", s.person.upn), nil
}

func (s *story) service(ctx context.Context) (string, error) {
	var err error
	s.keytab, s.account, err = s.t.serviceAccount(ctx, "HTTP/web."+s.t.Domain, 0)
	return fmt.Sprintf("HTTP/web.%s is %s, made over LDAPS", s.t.Domain, s.account), err
}

// kerberos is a client of ours that was not written by us.
func (s *story) kerberos(p person) (*client.Client, error) {
	conf, err := krbconfig.NewFromString(s.t.krb5Conf())
	if err != nil {
		return nil, err
	}
	return client.NewWithPassword(p.sam, s.t.Realm, p.password, conf, client.DisablePAFXFAST(true)), nil
}

func (s *story) tickets(ctx context.Context) (string, error) {
	c, err := s.kerberos(s.person)
	if err != nil {
		return "", err
	}
	defer c.Destroy()
	if err := c.Login(); err != nil {
		return "", err
	}
	ticket, _, err := c.GetServiceTicket("HTTP/web." + s.t.Domain)
	if err != nil {
		return "", err
	}
	// The web server's side: its key opens the ticket, and the PAC says who it is.
	kt := new(keytab.Keytab)
	if err := kt.Unmarshal(s.keytab); err != nil {
		return "", err
	}
	if err := ticket.DecryptEncPart(kt, nil); err != nil {
		return "", err
	}
	_, pac, err := ticket.GetPACType(kt, nil, nil)
	if err != nil {
		return "", fmt.Errorf("the ticket's PAC: %w", err)
	}
	if pac.KerbValidationInfo == nil {
		return "", errors.New("the ticket has no PAC")
	}
	rids := make([]string, 0, 4)
	for _, g := range pac.KerbValidationInfo.GroupIDs {
		rids = append(rids, fmt.Sprint(g.RelativeID))
	}
	want, err := s.groupRID()
	if err != nil {
		return "", err
	}
	if !slices.Contains(rids, want) || !slices.Contains(rids, "513") {
		return "", fmt.Errorf("the PAC has groups %v and lacks %s (%s) or 513 (Domain Users)", rids, want, demoGroup)
	}
	return fmt.Sprintf("the web server's key opens it; its PAC says %s with groups %s (Domain Users, %s)",
		pac.KerbValidationInfo.EffectiveName.Value, strings.Join(rids, " and "), demoGroup), nil
}

// groupRID looks the synced group's RID up over LDAP.
func (s *story) groupRID() (string, error) {
	conn, err := s.t.bind(s.person.upn, s.person.password)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	found, err := conn.Search(ldap.NewSearchRequest(s.t.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
		"(&(objectClass=group)(cn="+ldap.EscapeFilter(demoGroup)+"))", []string{"primaryGroupToken"}, nil))
	if err != nil {
		return "", err
	}
	if len(found.Entries) != 1 {
		return "", fmt.Errorf("LDAP finds %d groups %q", len(found.Entries), demoGroup)
	}
	return found.Entries[0].GetAttributeValue("primaryGroupToken"), nil
}

func (s *story) search(context.Context) (string, error) {
	conn, err := s.t.bind(s.t.NetBIOS+`\`+s.person.sam, s.person.password)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	found, err := conn.Search(ldap.NewSearchRequest(s.t.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, 0, false,
		"(&(objectClass=user)(sAMAccountName="+ldap.EscapeFilter(s.person.sam)+"))", []string{"memberOf"}, nil))
	if err != nil {
		return "", err
	}
	if len(found.Entries) != 1 {
		return "", fmt.Errorf("%d entries found, not 1", len(found.Entries))
	}
	groups := found.Entries[0].GetAttributeValues("memberOf")
	if len(groups) != 1 || !strings.HasPrefix(groups[0], "CN="+demoGroup+",") {
		return "", fmt.Errorf("memberOf is %q", groups)
	}
	return fmt.Sprintf("%s\nmemberOf %s", found.Entries[0].DN, groups[0]), nil
}

func (s *story) create(ctx context.Context) (string, error) {
	conn, err := s.t.admin() // also shows that the first administrator is one of the domain
	if err != nil {
		return "", err
	}
	conn.Close()
	password, err := s.t.adminPassword()
	if err != nil {
		return "", err
	}
	token, err := s.t.signIn(ctx, s.t.AdminUPN, password)
	if err != nil {
		return "", err
	}
	first, err := tenant.NewPassword(rand.Reader)
	if err != nil {
		return "", err
	}
	s.cloud = person{upn: "ada@" + s.t.TenantDomain, sam: "ada", password: first}
	_, err = s.t.graph(ctx, token, http.MethodPost, "/v1.0/users", map[string]any{
		"accountEnabled": true, "displayName": "Ada Lovelace", "mailNickname": "ada", "userPrincipalName": s.cloud.upn,
		"passwordProfile": map[string]any{"password": first, "forceChangePasswordNextSignIn": false},
	}, nil)
	if err != nil {
		return "", err
	}
	s.cloudToken, err = s.t.signIn(ctx, s.cloud.upn, first)
	return s.cloud.upn + " is there, and signs in to the tenant", err
}

func (s *story) refused(context.Context) (string, error) {
	c, err := s.kerberos(s.cloud)
	if err != nil {
		return "", err
	}
	defer c.Destroy()
	err = c.Login()
	if err == nil {
		return "", errors.New("the domain signed the user in")
	}
	if !strings.Contains(err.Error(), "KDC_ERR_C_PRINCIPAL_UNKNOWN") {
		return "", err
	}
	if conn, err := s.t.bind(s.cloud.upn, s.cloud.password); err == nil {
		conn.Close()
		return "", errors.New("LDAP signed the user in")
	} else if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return "", err
	}
	return "Kerberos says KDC_ERR_C_PRINCIPAL_UNKNOWN, LDAP says invalidCredentials", nil
}

// patience is how long the demo waits for a change to be usable.
const patience = 10 * time.Second

func (s *story) change(ctx context.Context) (string, error) {
	next, err := tenant.NewPassword(rand.Reader)
	if err != nil {
		return "", err
	}
	began := time.Now()
	_, err = s.t.graph(ctx, s.cloudToken, http.MethodPost, "/v1.0/me/changePassword",
		map[string]string{"currentPassword": s.cloud.password, "newPassword": next}, nil)
	if err != nil {
		return "", err
	}
	acknowledged := time.Now()
	old := s.cloud
	s.cloud.password = next
	// A user would simply try; so do we, until it works.
	for {
		c, err := s.kerberos(s.cloud)
		if err != nil {
			return "", err
		}
		err = c.Login()
		c.Destroy()
		if err == nil {
			break
		}
		if time.Since(acknowledged) > patience || ctx.Err() != nil {
			return "", fmt.Errorf("still refused after %s: %w", patience, err)
		}
	}
	usable := time.Since(acknowledged)
	conn, err := s.t.bind(s.cloud.upn, next)
	if err != nil {
		return "", fmt.Errorf("the new password is taken by Kerberos but not by LDAP: %w", err)
	}
	conn.Close()
	if conn, err := s.t.bind(old.upn, old.password); err == nil {
		conn.Close()
		return "", errors.New("the old password still binds")
	}
	return fmt.Sprintf("changed in %s; Kerberos took the new password %s after that, LDAP as well, and the old one is refused",
		rounded(acknowledged.Sub(began)), rounded(usable)), nil
}
