package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"skyrealm/kdc"
)

// listeners are all the sockets of a process, bound before anything else is
// started: a port in use is known at once.
type listeners struct {
	https, ldap, ldaps net.Listener
	kdc, kpasswd       *kdc.Server
}

// p is the password service that its sockets will serve, and its KDC the Kerberos
// sockets.
func bind(cfg config, p *kdc.Kpasswd) (_ *listeners, err error) {
	l := &listeners{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if cfg.roles.tenant {
		if l.https, err = listenTCP("--https", cfg.https); err != nil {
			return nil, err
		}
	}
	if !cfg.roles.domain {
		return l, nil
	}
	if l.kdc, err = p.KDC.Listen(cfg.kdc); err != nil {
		return nil, listenError("--kdc", cfg.kdc, err)
	}
	if l.kpasswd, err = p.Listen(cfg.kpasswd); err != nil {
		return nil, listenError("--kpasswd", cfg.kpasswd, err)
	}
	if l.ldap, err = listenTCP("--ldap", cfg.ldap); err != nil {
		return nil, err
	}
	if l.ldaps, err = listenTCP("--ldaps", cfg.ldaps); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *listeners) close() {
	for _, ln := range []net.Listener{l.https, l.ldap, l.ldaps} {
		if ln != nil {
			ln.Close()
		}
	}
	for _, s := range []*kdc.Server{l.kdc, l.kpasswd} {
		if s != nil {
			s.Close()
		}
	}
}

func listenTCP(flag, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(flag, addr, err)
	}
	return ln, nil
}

func listenError(flag, addr string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program (%s chooses another port, %s :0 a free one)", addr, flag, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no right to listen on %s: ports below 1024 need root or CAP_NET_BIND_SERVICE (%s chooses another)", addr, flag)
	}
	return fmt.Errorf("listen on %s: %w", addr, err)
}

// lockData makes the data directory and holds it for this process alone, until
// the file is closed, which the end of the process does at the latest.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the data directory %s is in use by another skyrealm", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}
