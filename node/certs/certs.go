// Package certs makes and reads the X.509 certificates of a node's door: the
// authorities of organisations, the certificates of servers, and those of clients,
// which name a DID. Keys are ECDSA P-256.
package certs

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
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/chancery/chancery/modules/identity/did"
)

const (
	// AuthorityLife and Life are how long certificates hold unless told otherwise.
	AuthorityLife = 5 * 365 * 24 * time.Hour
	Life          = 90 * 24 * time.Hour
	// early is by how much they begin before they are made, since clocks of machines
	// differ a little.
	early = time.Hour
)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes an authority that signs itself, and the PEM of its certificate and
// key.
func NewAuthority(name string, at time.Time, life time.Duration) (a *Authority, cert, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make the authority: %w", err)
	}
	t := template(name, at, life)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage, t.MaxPathLenZero = true, true, x509.KeyUsageCertSign, true
	a = &Authority{Certificate: t, key: signer}
	cert, key, err = a.sign(t, signer)
	if err != nil {
		return nil, nil, nil, err
	}
	if a.Certificate, err = Parse(cert); err != nil {
		return nil, nil, nil, err
	}
	return a, cert, key, nil
}

// ReadAuthority reads an authority from the PEM of its certificate and key.
func ReadAuthority(cert, key []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("read the authority: its certificate may not sign others")
	}
	return &Authority{Certificate: c, key: signer}, nil
}

// Request is what a certificate shall say.
type Request struct {
	// Name is for people.
	Name string
	// DID is whom a client acts for; empty for a server and for an administrator's.
	DID string
	// Hosts are the names and addresses of a server; none for a client.
	Hosts []string
	// At is when it is made, and Life how long it holds.
	At   time.Time
	Life time.Duration
}

// Issue makes a certificate and its key, as PEM. It never outlives the authority.
func (a *Authority) Issue(r Request) (cert, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate: %w", err)
	}
	t := template(r.Name, r.At, r.Life)
	if t.NotAfter.After(a.Certificate.NotAfter) {
		t.NotAfter = a.Certificate.NotAfter
	}
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(r.Hosts) > 0 {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, h := range r.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	if r.DID != "" {
		if _, err := did.Parse(r.DID); err != nil {
			return nil, nil, fmt.Errorf("make the certificate: %w", err)
		}
		u, err := url.Parse(r.DID)
		if err != nil {
			return nil, nil, fmt.Errorf("make the certificate: %w", err)
		}
		t.URIs = []*url.URL{u}
	}
	return a.sign(t, signer)
}

func (a *Authority) sign(t *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM []byte, err error) {
	raw, err := x509.CreateCertificate(rand.Reader, t, a.Certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign the certificate: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

func template(name string, at time.Time, life time.Duration) *x509.Certificate {
	serial := make([]byte, 16)
	rand.Read(serial) // never fails: it ends the process instead
	serial[0] |= 1    // so that its size never varies
	serial[0] &= 0x7f
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: at.Add(-early), NotAfter: at.Add(life),
	}
}

// Parse reads the first certificate of a PEM file.
func Parse(raw []byte) (*x509.Certificate, error) {
	list, err := ParseAll(raw)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// ParseAll reads the certificates of a PEM file, of which there is at least one.
func ParseAll(raw []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var b *pem.Block
		if b, raw = pem.Decode(raw); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read a certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return out, nil
}

// Alarm is the threshold in days that a certificate has passed which ends at a time: 30,
// 7 or 1, 0 when it ended, -1 while it has passed none.
func Alarm(ends, now time.Time) int32 {
	left := ends.Sub(now)
	switch day := 24 * time.Hour; {
	case left <= 0:
		return 0
	case left <= day:
		return 1
	case left <= 7*day:
		return 7
	case left <= 30*day:
		return 30
	}
	return -1
}
