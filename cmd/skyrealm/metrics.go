package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"skyrealm/domain"
	"skyrealm/kdc"
	"skyrealm/krb5"
	"skyrealm/ldapsrv"
)

// newMetrics is what /metrics shows of the process itself; the HTTP server adds
// its own.
func newMetrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// domainMetrics shows what the KDC, the LDAP server and the replica count.
func domainMetrics(r *prometheus.Registry, k *kdc.KDC, l *ldapsrv.Server, rep *domain.Replica) {
	counter := func(name, help string, labels prometheus.Labels, get func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, get))
	}
	gauge := func(name, help string, get func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, get))
	}
	const requests = "skyrealm_kdc_requests_total"
	counter(requests, "Kerberos requests that could be decoded.", prometheus.Labels{"exchange": "as"}, func() float64 { return float64(k.Count.AS.Load()) })
	counter(requests, "Kerberos requests that could be decoded.", prometheus.Labels{"exchange": "tgs"}, func() float64 { return float64(k.Count.TGS.Load()) })
	counter("skyrealm_kdc_tickets_total", "Replies with a ticket.", nil, func() float64 { return float64(k.Count.Tickets.Load()) })
	counter("skyrealm_kdc_dropped_total", "Datagrams and messages that were no request.", nil, func() float64 { return float64(k.Count.Dropped.Load()) })
	counter("skyrealm_kdc_panics_total", "Requests that ended in a panic, which is a fault of the program.", nil, func() float64 { return float64(k.Count.Panics.Load()) })
	for _, code := range []krb5.ErrorCode{krb5.ErrPreauthRequired, krb5.ErrPreauthFailed, krb5.ErrCPrincipalUnknown, krb5.ErrSPrincipalUnknown,
		krb5.ErrClientRevoked, krb5.ErrKeyExpired, krb5.ErrSkew, krb5.ErrETypeNoSupp, krb5.ErrResponseTooBig} {
		counter("skyrealm_kdc_refused_total", "Requests that were refused, by the error's name.", prometheus.Labels{"error": code.String()},
			func() float64 { return float64(k.Count.Refused(code)) })
	}
	for what, n := range map[string]func() int64{"bind": l.Counters.Binds.Load, "search": l.Counters.Searches.Load, "write": l.Counters.Writes.Load} {
		counter("skyrealm_ldap_operations_total", "LDAP operations that were performed.", prometheus.Labels{"operation": what}, func() float64 { return float64(n()) })
	}
	counter("skyrealm_ldap_binds_refused_total", "LDAP binds that were refused.", nil, func() float64 { return float64(l.Counters.BindsRefused.Load()) })
	counter("skyrealm_ldap_internal_errors_total", "LDAP answers that hid an error of the program's own.", nil, func() float64 { return float64(l.Counters.Internal.Load()) })
	if a := rep.Audit; a != nil {
		counter("skyrealm_audit_events_total", "Security events that are stored.", nil, func() float64 { return float64(a.Written()) })
		counter("skyrealm_audit_dropped_total", "Security events that there was no room for.", nil, func() float64 { return float64(a.Dropped()) })
	}
	gauge("skyrealm_ldap_connections", "LDAP connections that are open.", func() float64 { return float64(l.Counters.Open.Load()) })
	gauge("skyrealm_domain_objects", "Objects of the managed domain in memory.", func() float64 { return float64(rep.Len()) })
	gauge("skyrealm_domain_tenant_usn", "The tenant's USN that the managed domain reflects.", func() float64 { _, usn := rep.USN(); return float64(usn) })
}

// kpasswdMetrics shows what became of requests to change passwords.
func kpasswdMetrics(r *prometheus.Registry, p *kdc.Kpasswd) {
	counter := func(name, help string, labels prometheus.Labels, get func() uint64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(get()) }))
	}
	for result, name := range map[krb5.KpasswdResult]string{
		krb5.KpasswdSuccess: "success", krb5.KpasswdMalformed: "malformed", krb5.KpasswdHardError: "hard_error", krb5.KpasswdAuthError: "auth_error",
		krb5.KpasswdSoftError: "soft_error", krb5.KpasswdAccessDenied: "access_denied", krb5.KpasswdBadVersion: "bad_version",
		krb5.KpasswdInitialFlagNeeded: "initial_flag_needed",
	} {
		counter("skyrealm_kpasswd_requests_total", "Requests to change or set a password, by their result.", prometheus.Labels{"result": name},
			func() uint64 { return p.Count.Results(result) })
	}
	counter("skyrealm_kpasswd_dropped_total", "Datagrams and messages to the password service that were no request.", nil, p.Count.Sockets.Dropped.Load)
	counter("skyrealm_kpasswd_panics_total", "Requests that ended in a panic, which is a fault of the program.", nil, p.Count.Sockets.Panics.Load)
}
