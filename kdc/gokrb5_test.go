package kdc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/types"

	"skyrealm/krb5/etype"
)

// listen serves the world's KDC on loopback until the test ends.
func (w *world) listen(alter ...func(*Server)) *Server {
	w.t.Helper()
	return w.listenOn("127.0.0.1:0", alter...)
}

func (w *world) listenOn(addr string, alter ...func(*Server)) *Server {
	w.t.Helper()
	s, err := w.kdc.Listen(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range alter {
		a(s)
	}
	w.serve(s)
	return s
}

// serve runs a server until the test ends.
func (w *world) serve(s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// gokrb5 is a client that we did not write.
func (w *world) gokrb5(user, password string, udpLimit int) *client.Client {
	w.t.Helper()
	s := w.listen()
	cfg, err := config.NewFromString(fmt.Sprintf(`[libdefaults]
 default_realm = %s
 dns_lookup_kdc = false
 udp_preference_limit = %d
 default_tkt_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 rc4-hmac
 default_tgs_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 rc4-hmac
 permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 rc4-hmac
 allow_weak_crypto = true
 forwardable = true
 ticket_lifetime = 24h
 renew_lifetime = 48h
[realms]
 %s = { 
  kdc = %s
 }
`, testRealm, udpLimit, testRealm, s.Addr()))
	if err != nil {
		w.t.Fatal(err)
	}
	return client.NewWithPassword(user, testRealm, password, cfg, client.DisablePAFXFAST(true))
}

// TestGokrb5 signs in and gets a service ticket over sockets, and lets gokrb5
// read the PAC with the service's key.
func TestGokrb5(t *testing.T) {
	for _, c := range []struct {
		name, user, password string
		udpLimit             int
		fullName             string
		groups               []uint32
	}{
		{"by TCP", "alice", testPassword, 1, "Alice Liddell", []uint32{513, 1111, 1112}},
		{"by UDP first", "alice", testPassword, 4000, "Alice Liddell", []uint32{513, 1111, 1112}},
		{"beyond ASCII, with a synced salt", "müller", utf8Password, 1, "", []uint32{513}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.kdc.Now = time.Now
			cl := w.gokrb5(c.user, c.password, c.udpLimit)
			defer cl.Destroy()
			if err := cl.Login(); err != nil {
				t.Fatal(err)
			}
			tkt, _, err := cl.GetServiceTicket(webSPN)
			if err != nil {
				t.Fatal(err)
			}
			kt := keytab.New()
			key := w.key("web", etype.AES256SHA1)
			if tkt.EncPart.EType != 18 || tkt.EncPart.KVNO != 2 {
				t.Errorf("ticket under etype %d, kvno %d", tkt.EncPart.EType, tkt.EncPart.KVNO)
			}
			if err := tkt.Decrypt(types.EncryptionKey{KeyType: 18, KeyValue: key.Expose()}); err != nil {
				t.Fatal(err)
			}
			// gokrb5 finds the PAC's key in a keytab, and verifies the server
			// signature with it.
			if err := kt.AddEntry("web", testRealm, testPassword, time.Now(), 2, 18); err != nil {
				t.Fatal(err)
			}
			kt.Entries[0].Key = types.EncryptionKey{KeyType: 18, KeyValue: key.Expose()}
			sname := types.NewPrincipalName(1, "web")
			is, p, err := tkt.GetPACType(kt, &sname, nil)
			if err != nil || !is {
				t.Fatal(is, err)
			}
			l := p.KerbValidationInfo
			var got []uint32
			for _, g := range l.GroupIDs {
				got = append(got, g.RelativeID)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.groups) || l.EffectiveName.Value != c.user || l.FullName.Value != c.fullName ||
				l.LogonDomainID.String() != w.rep.Info.SID.String() || l.UserID != w.rep.BySAM(c.user).RID {
				t.Errorf("LOGON_INFO: groups %v, %q, %q, %s-%d", got, l.EffectiveName.Value, l.FullName.Value, l.LogonDomainID.String(), l.UserID)
			}
		})
	}
}

func TestGokrb5WrongPassword(t *testing.T) {
	w := newWorld(t)
	w.kdc.Now = time.Now
	cl := w.gokrb5("alice", "wrong", 1)
	defer cl.Destroy()
	if err := cl.Login(); err == nil {
		t.Fatal("signed in with a wrong password")
	}
}
