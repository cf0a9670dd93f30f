package kdc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"skyrealm/krb5"
)

// Refusals of [Proxy.Handle].
var (
	ErrProxyMessage = errors.New("kdc: no KDC-PROXY-MESSAGE with a request in it")
	ErrProxyRealm   = errors.New("kdc: not the realm that is served here")
)

// Proxy answers Kerberos messages that came through HTTPS ([MS-KKDCP]). It is where
// the messages are going to, so it looks nobody up and dials nothing: there is no
// realm, address or hint by which it could be sent elsewhere (CVE-2025-59088).
type Proxy struct {
	KDC     *KDC
	Kpasswd *Kpasswd
}

// Handle answers one KDC-PROXY-MESSAGE with another. from is the HTTPS client.
func (p *Proxy) Handle(ctx context.Context, body []byte, from netip.AddrPort) ([]byte, error) {
	var m krb5.ProxyMessage
	if m.Unmarshal(body) != nil {
		return nil, ErrProxyMessage
	}
	p.KDC.once.Do(p.KDC.init)
	// [MS-KKDCP] §3.2.5.1: a request has to say whom it is for.
	if !p.KDC.isRealm(m.Realm) {
		return nil, fmt.Errorf("%w: %.100q", ErrProxyRealm, m.Realm)
	}
	if len(m.Message) > MaxTCPMessage {
		return nil, ErrProxyMessage
	}
	// Both services have one address here, and the message says which it is for:
	// what has the lengths and a version of kpasswd is no DER of a KDC-REQ.
	handle := p.KDC.Handle
	var change krb5.Kpasswd
	if change.Unmarshal(m.Message) == nil && (change.Version == krb5.KpasswdChange || change.Version == krb5.KpasswdSet) {
		handle = p.Kpasswd.Handle
	}
	reply := handle(ctx, m.Message, from, true)
	if reply == nil {
		return nil, ErrProxyMessage
	}
	return krb5.Encode(&krb5.ProxyMessage{Message: reply}), nil
}
