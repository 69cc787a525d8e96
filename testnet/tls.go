//go:build unix

package testnet

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/client"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// certified is how long the certificates of a network hold.
const certified = 365 * 24 * time.Hour

// Where a node in a container finds its certificates, relative to its home.
const (
	serverCert = "config/tls/server.pem"
	serverKey  = "config/tls/server-key.pem"
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

func writePair(certFile, keyFile string, cert, key []byte) error {
	return errors.Join(writeSecret(certFile, cert), writeSecret(keyFile, key))
}

func writeSecret(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// certify makes the certificates of a network in containers: each member's authority,
// whose key is never written, so that nobody can sign any more once the network is made;
// one certificate for each node's door; and one for each member's clients, which act for
// the organisation itself. The genesis state tells the authorities.
func (d Dir) certify(r *Record, f *founding) error {
	var all []byte
	for _, v := range r.Validators {
		a, cert, _, err := certs.NewAuthority(v.Organisation, f.at, certified)
		if err != nil {
			return err
		}
		all = append(all, cert...)
		home := d.Home(v)
		made, key, err := a.Issue(certs.Request{Name: v.alias(), Hosts: []string{v.alias(), "localhost", "127.0.0.1"}, At: f.at, Life: certified})
		if err != nil {
			return err
		}
		if err := writePair(home.Resolve(serverCert), home.Resolve(serverKey), made, key); err != nil {
			return err
		}
		if made, key, err = a.Issue(certs.Request{Name: v.Organisation, DID: v.Organisation, At: f.at, Life: certified}); err != nil {
			return err
		}
		c := d.Credentials(r, v)
		if err := writePair(c.Cert, c.Key, made, key); err != nil {
			return err
		}
		one, err := identity.NewAuthority(a.Certificate.Raw)
		if err != nil {
			return err
		}
		f.genesis.Authorities = append(f.genesis.Authorities, &identityv1.Authorities{
			Organisation: v.Organisation, Authorities: []*identityv1.Authority{one}, Changed: f.mark(),
		})
	}
	return writeSecret(d.path("tls", "ca.pem"), all)
}
