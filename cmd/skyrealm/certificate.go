package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// How long the self-made certificates last, and how long before its end the
// server's is made anew at a start.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 397 * 24 * time.Hour // the most that Apple's and browsers' rules take
	renewAhead = 30 * 24 * time.Hour
)

// certificates loads the server's certificate from DIR/tls. The CA is made at
// the first start; the server's is made again when it is about to end or when
// its names have changed. ca.pem is for clients to trust.
func certificates(dir string, names []string, now time.Time) (cert *tls.Certificate, caFile string, err error) {
	dir = filepath.Join(dir, "tls")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	caFile = filepath.Join(dir, "ca.pem")
	ca, caKey, err := readPair(dir, "ca")
	if errors.Is(err, fs.ErrNotExist) {
		ca, caKey, err = newCA(dir, now)
	}
	if err != nil {
		return nil, "", err
	}
	leaf, key, err := readPair(dir, "server")
	if errors.Is(err, fs.ErrNotExist) || err == nil && !serves(leaf, ca, names, now) {
		leaf, key, err = newServer(dir, ca, caKey, names, now)
	}
	if err != nil {
		return nil, "", err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf}, caFile, nil
}

func serves(leaf, ca *x509.Certificate, names []string, now time.Time) bool {
	for _, n := range names {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	return leaf.NotAfter.After(now.Add(renewAhead)) && leaf.CheckSignatureFrom(ca) == nil
}

func newCA(dir string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Skyrealm CA of " + host, Organization: []string{"Skyrealm"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return issue(dir, "ca", t, t, key, key)
}

func newServer(dir string, ca *x509.Certificate, caKey crypto.Signer, names []string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	return issue(dir, "server", t, ca, key, caKey)
}

// issue signs the template and writes NAME.pem and NAME-key.pem, the key first:
// a certificate that is there has its key.
func issue(dir, name string, t, parent *x509.Certificate, key, signer crypto.Signer) (*x509.Certificate, crypto.Signer, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	t.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	if err := writeFile(filepath.Join(dir, name+"-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		return nil, nil, err
	}
	if err := writeFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func readPair(dir, name string) (*x509.Certificate, crypto.Signer, error) {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path + ".pem"); err != nil {
		return nil, nil, err
	}
	pair, err := tls.LoadX509KeyPair(path+".pem", path+"-key.pem")
	if err != nil {
		return nil, nil, fmt.Errorf("certificate %s.pem: %w", path, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("certificate %s.pem: its key can't sign", path)
	}
	return pair.Leaf, key, nil
}
