//go:build linux

package testnet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/rpc"
	"github.com/chancery/chancery/testnet"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// secure is a network of four processes whose doors have TLS, each member with an
// authority of its own.
type secure struct {
	*started
	dir         string // of the clients' files
	authorities []*certs.Authority
	logs        []string // files
}

// newSecure founds a network on loopback, has each member tell the chain its authority,
// and runs the homes again with TLS.
func newSecure(t *testing.T) *secure {
	s := &secure{started: start(t), dir: t.TempDir()}
	var roots []byte
	for i, v := range s.record.Validators {
		a, cert, _, err := certs.NewAuthority(v.Organisation, time.Now(), certs.AuthorityLife)
		if err != nil {
			t.Fatal(err)
		}
		s.authorities = append(s.authorities, a)
		roots = append(roots, cert...)
		s.set(s.started.dial(0), i, a)
	}
	s.put("roots.pem", roots)
	s.run("testnet", "stop", "--dir", s.started.dir)
	for i, v := range s.record.Validators {
		home := testnet.Dir(s.started.dir).Home(v)
		c, err := config.Load(home)
		if err != nil {
			t.Fatal(err)
		}
		c.RPC.TLSCert, c.RPC.TLSKey = "config/server.pem", "config/server-key.pem"
		s.serverPair(i, s.authorities[i])
		if err := config.Write(home, c); err != nil {
			t.Fatal(err)
		}
		log, err := os.Create(filepath.Join(s.dir, v.Home+".log"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = log.Close() })
		cmd := s.command("start", "--home", string(home))
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.logs = append(s.logs, log.Name())
		t.Cleanup(func() { s.end(cmd, v.Organisation, log.Name()) })
	}
	return s
}

func (s *secure) end(cmd *exec.Cmd, name, log string) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	err := cmd.Wait()
	if err != nil || s.t.Failed() {
		raw, _ := os.ReadFile(log) // it is for the reader of a failure
		s.t.Logf("%s (%v): …%s", name, err, raw[max(0, len(raw)-2000):])
	}
}

func (s *secure) put(name string, raw []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// serverPair gives a validator's door a new certificate.
func (s *secure) serverPair(i int, a *certs.Authority) {
	s.t.Helper()
	cert, key, err := a.Issue(certs.Request{Name: "server", Hosts: []string{"127.0.0.1", "localhost"}, At: time.Now(), Life: certs.Life})
	if err != nil {
		s.t.Fatal(err)
	}
	home := testnet.Dir(s.started.dir).Home(s.record.Validators[i])
	for name, raw := range map[string][]byte{"config/server-key.pem": key, "config/server.pem": cert} {
		if err := os.WriteFile(home.Resolve(name), raw, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// set has a member tell the chain its authorities.
func (s *secure) set(c *client.Client, i int, list ...*certs.Authority) {
	s.t.Helper()
	m := &identityv1.SetAuthorities{}
	for _, a := range list {
		m.Certificates = append(m.Certificates, a.Certificate.Raw)
	}
	var signers []tx.Signer
	for _, name := range []string{"admin-1", "admin-2"} {
		_, key := s.signer(i, name)
		signers = append(signers, key)
	}
	if _, err := c.Do(s.t.Context(), s.record.Validators[i].Organisation, signers, m); err != nil {
		s.t.Fatal(err)
	}
}

// dialAs dials a validator as its organisation, with a certificate of the authority.
func (s *secure) dialAs(ctx context.Context, i int, a *certs.Authority) (*client.Client, error) {
	v := s.record.Validators[i]
	cert, key, err := a.Issue(certs.Request{Name: v.Organisation, DID: v.Organisation, At: time.Now(), Life: time.Hour})
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("client-%d-%x", i, a.Certificate.SerialNumber)
	s.put(name+".pem", cert)
	s.put(name+"-key.pem", key)
	files, err := client.TLSFiles(filepath.Join(s.dir, "roots.pem"), filepath.Join(s.dir, name+".pem"), filepath.Join(s.dir, name+"-key.pem"))
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, v.RPC, client.TLS(files), client.ChainID(s.record.ChainID))
}

func (s *secure) mustDial(i int, a *certs.Authority) *client.Client {
	s.t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var c *client.Client
		if c, err = s.dialAs(s.t.Context(), i, a); err == nil {
			s.t.Cleanup(func() { _ = c.Close() })
			return c
		}
	}
	s.t.Fatalf("validator %d: %v", i, err)
	return nil
}

// Every certificate of a network, servers' and clients', and every authority is replaced
// while clients submit: nothing that was acknowledged is lost and no client fails.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	s := newSecure(t)
	old := make([]*client.Client, 4)
	for i := range old {
		old[i] = s.mustDial(i, s.authorities[i])
	}

	// Each worker submits by whatever client it has now.
	var mu sync.Mutex // guards the three
	using := append([]*client.Client(nil), old...)
	ids, faults := [][]byte(nil), []error(nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	who, key := s.signer(0, "registrar")
	var group sync.WaitGroup
	for i := range using {
		group.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				c := using[i]
				mu.Unlock()
				r, err := c.Do(context.WithoutCancel(ctx), who, []tx.Signer{key}, &provenancev1.RegisterEntity{
					Id: fmt.Sprintf("rotation-%d", entities.Add(1)), Entity: &provenancev1.Entity{MediaType: "text/plain"},
				})
				mu.Lock()
				if err != nil {
					faults = append(faults, fmt.Errorf("validator %d: %w", i, err))
				} else {
					ids = append(ids, r.TxId)
				}
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	pause := func() { time.Sleep(2 * time.Second) }
	pause()

	next := make([]*certs.Authority, 4)
	roots, err := os.ReadFile(filepath.Join(s.dir, "roots.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range s.record.Validators {
		a, cert, _, err := certs.NewAuthority(v.Organisation+" 2", time.Now(), certs.AuthorityLife)
		if err != nil {
			t.Fatal(err)
		}
		next[i] = a
		roots = append(roots, cert...)
		s.set(old[i], i, a, s.authorities[i])
	}
	s.put("roots.pem", roots)
	for i := range next {
		s.serverPair(i, next[i])
	}
	// Clients in the overlap, each on a new connection, which meets the new server's
	// certificate as soon as the node has seen it.
	fresh := make([]*client.Client, 4)
	for i := range fresh {
		fresh[i] = s.mustDial(i, next[i])
	}
	pause()
	mu.Lock()
	copy(using, fresh)
	mu.Unlock()
	pause()
	for i := range next {
		s.set(fresh[i], i, next[i])
	}
	for i, c := range old {
		// The other nodes learn of it with the block, too.
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if _, err = c.Status(t.Context()); errors.Is(err, rpc.ErrUnknownAuthority) {
				break
			}
		}
		if !errors.Is(err, rpc.ErrUnknownAuthority) {
			t.Errorf("validator %d, the old certificate: %v", i, err)
		}
	}
	pause()
	cancel()
	group.Wait()
	if len(faults) > 0 {
		t.Fatalf("%d of %d submissions failed: %v", len(faults), len(ids)+len(faults), errors.Join(faults...))
	}
	for n, id := range ids {
		if _, err := nodev1.NewTxClient(fresh[(n+1)%4].Conn()).Wait(t.Context(), &nodev1.WaitRequest{TxId: id}); err != nil {
			t.Fatalf("commitment %d of %d: %v", n, len(ids), err)
		}
	}
	for i, log := range s.logs {
		raw, err := os.ReadFile(log)
		if err != nil || !bytes.Contains(raw, []byte("the door uses its new files")) {
			t.Errorf("validator %d never took its new certificate", i)
		}
	}
	t.Logf("%d commitments, none lost", len(ids))
}
