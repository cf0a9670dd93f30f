package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"skyrealm/cred"
)

// The files below DIR/keys. Each is 0600 and may also be put there by a secret
// manager before the first start.
const (
	tenantRingFile = "tenant.ring"  // guards digests at rest: the tenant's half
	domainRingFile = "domain.ring"  // guards Kerberos keys and NT hashes at rest: the domain's
	domainKeyFile  = "domain.pem"   // opens what agents and the tenant sealed
	envelopeFile   = "envelope.pem" // the same for agents of the real service: RSA key and certificate
	tokenKeyFile   = "token.pem"    // signs tokens
)

// keys are the secrets of an installation. A process holds those of its roles.
type keys struct {
	tenantRing *cred.Ring
	domainRing *cred.Ring
	opener     cred.Opener
	token      *rsa.PrivateKey
}

// loadKeys reads the keys that the roles need. With create, one that is missing
// is made: that is for the first start only, since a new key in the place of a
// lost one would make everything under the old one unreadable in silence.
func loadKeys(dir, tenantDomain string, r roles, create bool) (*keys, error) {
	dir = filepath.Join(dir, "keys")
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	k := &keys{}
	var err error
	if r.tenant {
		if k.tenantRing, err = keyFile(dir, tenantRingFile, create, newRing, cred.ParseRing); err != nil {
			return nil, err
		}
		if k.token, err = keyFile(dir, tokenKeyFile, create, newTokenKey, parseTokenKey); err != nil {
			return nil, err
		}
	}
	if r.domain && !r.tenant {
		// A process of the domain's alone changes the passwords of cloud-only users
		// where it is given the tenant's ring, and says that it can't where not: the
		// digests are none of its business otherwise.
		if k.tenantRing, err = keyFile(dir, tenantRingFile, false, newRing, cred.ParseRing); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if r.provision || r.domain {
		if k.domainRing, err = keyFile(dir, domainRingFile, create, newRing, cred.ParseRing); err != nil {
			return nil, err
		}
	}
	if r.provision {
		if k.opener.Private, err = keyFile(dir, domainKeyFile, create, newDomainKey, cred.ParsePrivatePEM); err != nil {
			return nil, err
		}
		fresh := func() ([]byte, error) { return newEnvelopeKey(tenantDomain) }
		if k.opener.Envelope, err = keyFile(dir, envelopeFile, create, fresh, cred.ParseEnvelopePEM); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func keyFile[T any](dir, name string, create bool, fresh func() ([]byte, error), parse func([]byte) (T, error)) (T, error) {
	var none T
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if text, err = fresh(); err == nil {
			err = writeFile(path, text, 0o600)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return none, &missingKeyError{path}
	}
	if err != nil {
		return none, err
	}
	v, err := parse(text)
	if err != nil {
		return none, fmt.Errorf("the key file %s is damaged: %w", path, err)
	}
	return v, nil
}

// missingKeyError is a key file that is not there.
type missingKeyError struct{ path string }

func (e *missingKeyError) Error() string {
	return fmt.Sprintf("the key file %s is missing: put it back from your backup", e.path)
}

func (e *missingKeyError) Unwrap() error { return fs.ErrNotExist }

func newRing() ([]byte, error) {
	r, err := cred.NewRing(rand.Reader)
	if err != nil {
		return nil, err
	}
	return r.Marshal(), nil
}

func newDomainKey() ([]byte, error) {
	k, err := cred.NewPrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return k.MarshalPEM()
}

func newEnvelopeKey(tenantDomain string) ([]byte, error) {
	k, err := cred.NewEnvelopeKey(tenantDomain, time.Now(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return k.MarshalPEM()
}

func newTokenKey() ([]byte, error) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}), nil
}

func parseTokenKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it holds no PEM block")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it holds no PKCS #8 key")
	}
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("it holds no RSA key")
	}
	return key, nil
}

// writeFile puts a file in place whole or not at all, and durably.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // no effect once it is renamed
	if _, err = f.Write(text); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	// The name too: a power cut must not leave a database whose keys are gone.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
