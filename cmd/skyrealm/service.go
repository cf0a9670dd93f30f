package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"skyrealm/api"
	"skyrealm/api/graph"
	"skyrealm/domain"
	"skyrealm/kdc"
	"skyrealm/ldapsrv"
	"skyrealm/store"
	"skyrealm/store/pgchild"
	"skyrealm/tenant"
)

// Times of a service's life.
const (
	stopTime  = 10 * time.Second // SIGTERM to the end
	tidyTime  = time.Hour
	retryTime = time.Second // between attempts at a database that is away
	foundTime = 30 * time.Second
)

// service is a running process of one or more roles.
type service struct {
	cfg   config
	log   *slog.Logger
	ready ready

	lock   *os.File
	ln     *listeners
	pg     *pgchild.Server
	db     *store.DB
	keys   *keys
	tls    *tls.Config
	tenant *tenant.Service
	signIn *signInAuthority
	domain *store.Domain
	info   domain.Info
	rep    *domain.Replica
	kdc    *kdc.KDC
	passwd *kdc.Kpasswd

	edges   sync.WaitGroup // what answers clients
	work    sync.WaitGroup // what they need until they are drained
	stop    context.CancelCauseFunc
	ctx     context.Context // of the edges
	backing context.Context // of the work
	end     context.CancelFunc
}

// start brings up all that the configuration asks for and returns when every
// listener answers. ctx ends the service.
func start(ctx context.Context, cfg config, log *slog.Logger) (_ *service, err error) {
	spaceCollections()
	s := &service{cfg: cfg, log: log}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	s.backing, s.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			s.stop(err)
			s.shutdown()
		}
	}()

	// 1. The directory and the ports are this process's own.
	if s.lock, err = lockData(cfg.data); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(cfg.data, readyFile)); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	s.kdc = &kdc.KDC{Now: time.Now, Rand: rand.Reader, Policy: kdc.Policy{AllowRC4: cfg.allowRC4, MaxUDPReply: cfg.maxUDPReply, RequireArmor: cfg.requireArmor}, Log: log.With("part", "kdc")}
	s.passwd = &kdc.Kpasswd{KDC: s.kdc}
	if s.ln, err = bind(cfg, s.passwd); err != nil {
		return nil, err
	}

	// 2. The database.
	url := cfg.database
	if url == "" {
		if s.pg, err = pgchild.Start(ctx, pgchild.Options{Dir: filepath.Join(cfg.data, "pg"), Logger: log.With("part", "postgres")}); err != nil {
			return nil, err
		}
		url = s.pg.URL()
	}
	if s.db, err = store.Open(ctx, url, store.Options{Rand: rand.Reader, Log: log}); err != nil {
		return nil, err
	}

	// 3. The tenant and the domain: made at the first start, checked at others.
	founded, err := s.open(ctx)
	if err != nil {
		return nil, err
	}

	// 4. The domain in memory, and what keeps it up to date.
	if err := s.follow(ctx, founded); err != nil {
		return nil, err
	}

	// 5. The listeners.
	if err := s.serve(); err != nil {
		return nil, err
	}
	return s, s.ready.write(cfg.data)
}

// open loads the keys and the names of the tenant and its domain. It reports
// whether it made them.
func (s *service) open(ctx context.Context) (founded bool, err error) {
	settings, err := s.db.Tenant(nil).Settings(ctx)
	founded = errors.Is(err, tenant.ErrNoTenant)
	if err != nil && !founded {
		return false, err
	}
	if founded && !s.cfg.roles.all() {
		return false, errors.New("the database holds no tenant yet: the first start has to be in all roles")
	}
	if s.keys, err = loadKeys(s.cfg.data, s.cfg.names().tenant, s.cfg.roles, founded); err != nil {
		return false, err
	}
	if founded {
		if settings, err = s.found(ctx); err != nil {
			return false, err
		}
	}
	for _, n := range []struct{ flag, given, stored string }{
		{"--tenant-domain", s.cfg.tenantDomain, settings.InitialDomain},
		{"--domain", s.cfg.domain, strings.ToLower(settings.Realm)},
	} {
		if n.given != "" && n.given != n.stored {
			return false, fmt.Errorf("%s %s: this data directory holds %s, and a name can't be changed", n.flag, n.given, n.stored)
		}
	}
	now := time.Now()
	if s.keys.domainRing != nil {
		s.domain = s.db.Domain(s.keys.domainRing)
		if s.info, err = s.domain.Info(ctx); errors.Is(err, domain.ErrNoDomain) {
			s.info, err = s.foundDomain(ctx, &settings, now)
		}
		if err != nil {
			return false, err
		}
		if err := s.domain.CheckRing(ctx); err != nil {
			return false, fmt.Errorf("keys/%s: %w", domainRingFile, err)
		}
	}
	if s.keys.tenantRing != nil {
		st := s.db.Tenant(s.keys.tenantRing)
		if err := st.CheckRing(ctx); err != nil {
			return false, fmt.Errorf("keys/%s: %w", tenantRingFile, err)
		}
		// An installation from before there were certificates gets the authority
		// at its next start, where no other process can have made one.
		if s.signIn, err = openSignIn(s.cfg.data, settings.InitialDomain, settings.Realm, founded || s.cfg.roles.all(), now); err != nil {
			return false, err
		}
		s.tenant = &tenant.Service{Store: st, Now: time.Now, Rand: rand.Reader,
			Log: s.log.With("part", "sync"), LogItems: s.cfg.logItems, Keep: s.cfg.keepEvents}
	}
	if s.cfg.roles.provision {
		public, err := s.keys.opener.Private.Public().JWK()
		if err != nil {
			return false, err
		}
		if string(public) != string(settings.DomainKey) {
			return false, fmt.Errorf("keys/%s is another key than the one that the tenant seals for", domainKeyFile)
		}
		if !bytes.Equal(s.keys.opener.Envelope.CertificateDER(), settings.EnvelopeCertificate) {
			return false, fmt.Errorf("keys/%s is another key than the one that agents encrypt for", envelopeFile)
		}
	}
	return founded, s.describe(&settings, now)
}

// found makes the tenant. The files with its secrets come first: a tenant whose
// administrator's password nobody has is of no use.
func (s *service) found(ctx context.Context) (tenant.Settings, error) {
	n := s.cfg.names()
	jwk, err := s.keys.opener.Private.Public().JWK()
	if err != nil {
		return tenant.Settings{}, err
	}
	f, err := tenant.Found(n.tenant, strings.ToUpper(n.domain), jwk, s.keys.opener.Envelope.CertificateDER(), time.Now(), rand.Reader)
	if err != nil {
		return tenant.Settings{}, &usageError{"--tenant-domain: " + err.Error()}
	}
	for file, text := range map[string]string{
		adminPasswordFile: f.AdminPassword,
		agentIDFile:       f.App.ClientID.String(),
		agentSecretFile:   f.AgentSecret,
	} {
		// No line end: ldapsearch -y and curl take the file as it is.
		if err := writeFile(filepath.Join(s.cfg.data, file), []byte(text), 0o600); err != nil {
			return tenant.Settings{}, err
		}
	}
	s.log.Info("creating the tenant", "domain", n.tenant, "managedDomain", n.domain)
	err = s.db.Tenant(s.keys.tenantRing).Create(ctx, f.Settings, f.Objects, []tenant.App{f.App})
	if errors.Is(err, tenant.ErrConflict) {
		return tenant.Settings{}, errors.New("another process has made a tenant in this database meanwhile: its keys are the right ones")
	}
	return f.Settings, err
}

func (s *service) foundDomain(ctx context.Context, settings *tenant.Settings, now time.Time) (domain.Info, error) {
	info, err := domain.NewInfo(strings.ToLower(settings.Realm), settings.TenantID, now, rand.Reader)
	if err != nil {
		return domain.Info{}, err
	}
	info.Administrators = settings.Administrators
	records, err := domain.Found(info, rand.Reader)
	if err != nil {
		return domain.Info{}, err
	}
	return info, s.domain.Create(ctx, info, records)
}

// describe fills in what ready.json says, and the certificate.
func (s *service) describe(settings *tenant.Settings, now time.Time) error {
	info := s.info
	if info.DNSName == "" { // the tenant role alone: it knows the realm, not the domain
		info = domain.Info{DNSName: strings.ToLower(settings.Realm), DC: "DC1"}
		info.NetBIOS, _, _ = strings.Cut(settings.Realm, ".")
	}
	names := []string{info.DCName(), info.DNSName, "localhost", "127.0.0.1", "::1"}
	if s.cfg.listen != "" && s.cfg.listen != "localhost" && s.cfg.listen != "127.0.0.1" && s.cfg.listen != "::1" && s.cfg.listen != "0.0.0.0" && s.cfg.listen != "::" {
		names = append(names, s.cfg.listen)
	}
	cert, caFile, err := certificates(s.cfg.data, append(names, s.cfg.alsoKnownAs...), now)
	if err != nil {
		return err
	}
	s.tls = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
	clientID, err := os.ReadFile(filepath.Join(s.cfg.data, agentIDFile))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	at := func(name string) string { return filepath.Join(s.cfg.data, name) }
	s.ready = ready{
		Version: version(), PID: os.Getpid(),
		TenantID: settings.TenantID.String(), TenantDomain: settings.InitialDomain,
		Realm: info.Realm(), Domain: info.DNSName, NetBIOS: info.NetBIOS, BaseDN: info.BaseDN().String(), DC: info.DCName(),
		CAFile: caFile, Krb5Conf: at(krb5ConfFile),
		AdminUPN: "admin@" + settings.InitialDomain, AdminPasswordFile: at(adminPasswordFile),
		AgentClientID: string(clientID), AgentSecretFile: at(agentSecretFile),
	}
	return nil
}

// follow fills the replica and starts what keeps it and the domain up to date.
func (s *service) follow(ctx context.Context, founded bool) error {
	if s.cfg.roles.provision {
		p := &domain.Provisioner{Store: s.domain, Info: s.info, Key: s.keys.opener, Now: time.Now, Rand: rand.Reader,
			Log: s.log.With("part", "provision"), Retry: retryTime}
		if founded {
			// The administrator of a new tenant is one of the domain's as well
			// when the first start says that it is ready.
			ctx, cancel := context.WithTimeout(ctx, foundTime)
			defer cancel()
			for after, more := tenant.USN(0), true; more; {
				var err error
				if after, more, err = p.Step(ctx, after); err != nil {
					return err
				}
			}
		}
		s.work.Go(func() { p.Run(s.backing) })
	}
	if s.cfg.roles.domain {
		s.rep = domain.NewReplica(s.info)
		if s.cfg.hideUnknown {
			s.rep.Decoys = domain.NewDecoys(s.info, s.keys.domainRing.Derive("decoys"))
		}
		began := time.Now()
		s.rep.Lockout = &domain.Lockout{Replica: s.rep, Store: s.domain, Now: time.Now, Log: s.log.With("part", "lockout"),
			Elapsed: func() time.Duration { return time.Since(began) }} // by the monotonic clock
		s.work.Go(func() { s.rep.Lockout.Run(s.backing) })
		audit := domain.NewAudit(s.domain, s.log.With("part", "audit"))
		s.rep.Audit = audit
		s.work.Go(func() { audit.Run(s.backing) })
		s.rep.Lockout.OnLock = func(o *domain.Object) {
			audit.Put(&domain.Event{ID: domain.EventLockedOut, At: time.Now(), Account: o.SAM, RID: o.RID, EType: -1})
		}
		f := &domain.Follower{Store: s.domain, Replica: s.rep, Log: s.log.With("part", "follow"), Retry: retryTime}
		if err := f.CatchUp(ctx); err != nil {
			return err
		}
		s.work.Go(func() { f.Run(s.backing) })
	}
	return nil
}

// serve starts the edges on the listeners that are bound.
func (s *service) serve() error {
	metrics := newMetrics()
	edge := func(name string, run func() error) {
		s.edges.Go(func() {
			if err := run(); err != nil && s.ctx.Err() == nil {
				s.stop(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	if s.cfg.roles.domain {
		s.kdc.Replica = s.rep
		if err := s.startPKINIT(time.Now()); err != nil {
			return err
		}
		edge("kdc", func() error { return s.ln.kdc.Serve(s.ctx) })
		dir := &domain.Directory{Replica: s.rep, Store: s.domain, Now: time.Now, Rand: rand.Reader}
		if s.tenant != nil {
			dir.ChangeUser = s.tenant.ChangeProvenPassword
		}
		s.passwd.Directory = dir
		edge("kpasswd", func() error { return s.ln.kpasswd.Serve(s.ctx) })
		l := &ldapsrv.Server{Replica: s.rep, Directory: dir,
			TLS: s.tls, Now: time.Now, Log: s.log.With("part", "ldap"), Version: version()}
		domainMetrics(metrics, s.kdc, l, s.rep)
		kpasswdMetrics(metrics, s.passwd)
		edge("ldap", func() error { return l.Serve(s.ctx, s.ln.ldap, false) })
		edge("ldaps", func() error { return l.Serve(s.ctx, s.ln.ldaps, true) })
		s.ready.KDC, s.ready.Kpasswd = reach(s.ln.kdc.Addr().String()), reach(s.ln.kpasswd.Addr().String())
		s.ready.LDAP, s.ready.LDAPS = reach(s.ln.ldap.Addr().String()), reach(s.ln.ldaps.Addr().String())
	}
	if s.cfg.roles.tenant {
		a := &api.Server{Tenant: s.tenant, Key: s.keys.token, Log: s.log.With("part", "api"), Metrics: metrics, Now: time.Now, Rand: rand.Reader}
		if s.rep != nil {
			a.Reached, a.Forms, a.KDCProxy = s.rep.WaitTenant, s.rep.Forms, kdcProxy(&kdc.Proxy{KDC: s.kdc, Kpasswd: s.passwd})
			a.Managed = s.managed()
		}
		if s.signIn != nil {
			a.Certify = func(user *tenant.Object, order graph.CertificateOrder) (*x509.Certificate, error) {
				return s.signIn.certify(user, order, time.Now())
			}
		}
		s.work.Go(func() { s.tidy() })
		a.Ready = func(ctx context.Context) error { _, err := s.tenant.Configuration(ctx); return err }
		// Here and not in the edge: a database that goes away from now on must not
		// end the KDC with it.
		handler, err := a.Handler(s.ctx)
		if err != nil {
			return err
		}
		edge("https", func() error { return a.Serve(s.ctx, s.ln.https, s.tls, handler) })
		s.ready.HTTPS = reach(s.ln.https.Addr().String())
	}
	return nil
}

// kdcProxy lets HTTPS hand messages to the KDC, which it does not know, in this
// process and by no socket.
func kdcProxy(p *kdc.Proxy) api.KDCProxy {
	return func(ctx context.Context, message []byte, from netip.AddrPort) ([]byte, error) {
		reply, err := p.Handle(ctx, message, from)
		switch {
		case errors.Is(err, kdc.ErrProxyMessage):
			err = api.ErrProxyMessage
		case errors.Is(err, kdc.ErrProxyRealm):
			err = api.ErrProxyRealm
		}
		return reply, err
	}
}

// tidy gives back names in quarantine and drops old records, every hour.
func (s *service) tidy() {
	every := time.NewTicker(tidyTime)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-s.backing.Done():
			return
		}
		healed, dropped, err := s.tenant.Tidy(s.backing)
		if s.domain != nil {
			n, tidied := s.domain.DropEvents(s.backing, time.Now().Add(-s.cfg.keepEvents))
			dropped, err = dropped+n, errors.Join(err, tidied)
		}
		switch {
		case err != nil && s.backing.Err() == nil:
			s.log.Warn("hourly upkeep failed, it is tried again", "error", err)
		case healed > 0 || dropped > 0:
			s.log.Info("hourly upkeep", "healed", healed, "recordsDropped", dropped)
		}
	}
}

// wait returns when the service has ended: nil after a clean stop.
func (s *service) wait() error {
	<-s.ctx.Done()
	s.log.Info("stopping")
	err := context.Cause(s.ctx)
	s.shutdown()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// shutdown drains the edges, then ends what they needed, in at most stopTime.
func (s *service) shutdown() {
	if s.lock != nil { // else the file is another process's, which runs
		os.Remove(filepath.Join(s.cfg.data, readyFile))
	}
	if s.ln != nil {
		s.ln.close()
	}
	s.edges.Wait() // each edge bounds its own drain
	s.end()
	s.work.Wait()
	if s.db != nil {
		s.db.Close()
	}
	if s.pg != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), stopTime)
		defer cancel()
		if err := s.pg.Stop(ctx); err != nil {
			s.log.Error("private PostgreSQL did not stop cleanly", "error", err)
		}
	}
	if s.lock != nil {
		s.lock.Close()
	}
}
