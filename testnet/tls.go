//go:build unix

package testnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery/chancery/node/client"
)

// certified is how long the certificates of a network hold.
const certified = 365 * 24 * time.Hour

// Where a node in a container finds its certificates, relative to its home.
const (
	serverCert = "config/tls/server.pem"
	serverKey  = "config/tls/server-key.pem"
	clientCA   = "config/tls/ca.pem"
)

// Credentials are PEM files by which a client reaches the nodes; empty where they are
// reached in the clear.
type Credentials struct {
	CA, Cert, Key string
}

// Credentials are those of a member's client.
func (d Dir) Credentials(r *Record, v Validator) Credentials {
	if r.Containers == nil {
		return Credentials{}
	}
	name := slug(v.Organisation)
	return Credentials{CA: d.path("tls", "ca.pem"), Cert: d.path("tls", name+".pem"), Key: d.path("tls", name+"-key.pem")}
}

// TLS is the configuration that they make; nil where the nodes are reached in the clear.
func (c Credentials) TLS() (*tls.Config, error) {
	if c == (Credentials{}) {
		return nil, nil
	}
	return client.TLSFiles(c.CA, c.Cert, c.Key)
}

// Options are those by which a client of package client reaches the nodes.
func (c Credentials) Options() ([]client.Option, error) {
	t, err := c.TLS()
	if err != nil || t == nil {
		return nil, err
	}
	return []client.Option{client.TLS(t)}, nil
}

// authority signs certificates. Its key is never written, so that nobody can sign any
// more once the network is made.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	at   time.Time
}

func newAuthority(name string, at time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority of certificates: %w", err)
	}
	t := template(name, at)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	t.MaxPathLenZero = true
	raw, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the authority of certificates: %w", err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("make the authority of certificates: %w", err)
	}
	return &authority{cert: cert, key: key, at: at}, nil
}

func template(name string, at time.Time) *x509.Certificate {
	serial := make([]byte, 16)
	rand.Read(serial) // never fails: it ends the process instead
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name},
		// Clocks of machines differ a little.
		NotBefore: at.Add(-time.Hour), NotAfter: at.Add(certified),
	}
}

// issue writes a certificate and its key. Names are of a server; without any it is a
// client's.
func (a *authority) issue(certFile, keyFile, name string, names ...string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	t := template(name, a.at)
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(names) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	if err := writePEM(certFile, "CERTIFICATE", raw); err != nil {
		return err
	}
	return writePEM(keyFile, "PRIVATE KEY", secret)
}

func writePEM(path, kind string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// certify makes the certificates of a network in containers: one for each node's door,
// and one for each member's clients.
func (d Dir) certify(r *Record, at time.Time) error {
	a, err := newAuthority(r.ChainID, at)
	if err != nil {
		return err
	}
	if err := writePEM(d.path("tls", "ca.pem"), "CERTIFICATE", a.cert.Raw); err != nil {
		return err
	}
	for _, v := range r.Validators {
		home := d.Home(v)
		if err := writePEM(home.Resolve(clientCA), "CERTIFICATE", a.cert.Raw); err != nil {
			return err
		}
		if err := a.issue(home.Resolve(serverCert), home.Resolve(serverKey), v.alias(), v.alias(), "localhost", "127.0.0.1"); err != nil {
			return err
		}
		c := d.Credentials(r, v)
		if err := a.issue(c.Cert, c.Key, v.Organisation); err != nil {
			return err
		}
	}
	return nil
}
