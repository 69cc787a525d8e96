package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/rpc"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// lookEvery is how often the files of the door are looked at.
	lookEvery = time.Second
	// expireEvery is how often it is looked at which certificates end.
	expireEvery = time.Minute
)

// secrets are the files of the door: the server's certificate with its key, the
// authorities of its administrators, and its policies. They are read again when they
// change, all or none: what cannot be used leaves the ones before in place.
type secrets struct {
	home config.Home
	rpc  config.RPC
	log  *slog.Logger
	now  func() time.Time

	held  atomic.Pointer[held]
	tried [sha256.Size]byte // of the files that were read last; follow's alone
}

// held is what the files say.
type held struct {
	pair     *tls.Certificate // nil: no TLS
	leaf     *x509.Certificate
	admins   []*x509.Certificate
	pool     *x509.CertPool // nil: none
	policies *rpc.Policies
}

func openSecrets(h config.Home, c config.RPC, log *slog.Logger, now func() time.Time) (*secrets, error) {
	s := &secrets{home: h, rpc: c, log: log, now: now}
	if s.now == nil {
		s.now = time.Now
	}
	files, err := s.read()
	if err != nil {
		return nil, err
	}
	first, err := s.parse(files)
	if err != nil {
		return nil, err
	}
	s.held.Store(first)
	s.tried = sum(files)
	return s, nil
}

// files are the bytes of the certificate, the key, the authorities and the policies; nil
// where there is no such file.
type files [4][]byte

func (s *secrets) read() (out files, err error) {
	for i, f := range []struct{ key, path string }{
		{"rpc.tls_cert", s.rpc.TLSCert}, {"rpc.tls_key", s.rpc.TLSKey}, {"rpc.client_ca", s.rpc.ClientCA}, {"rpc.policies", s.rpc.Policies},
	} {
		if f.path == "" {
			continue
		}
		if out[i], err = os.ReadFile(s.home.Resolve(f.path)); err != nil {
			return out, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	return out, nil
}

func sum(f files) [sha256.Size]byte {
	var all []byte
	for _, raw := range f {
		one := sha256.Sum256(raw)
		all = append(all, one[:]...)
	}
	return sha256.Sum256(all)
}

func (s *secrets) parse(f files) (*held, error) {
	h := &held{policies: rpc.DefaultPolicies()}
	if s.rpc.TLS() {
		pair, err := tls.X509KeyPair(f[0], f[1])
		if err != nil {
			return nil, fmt.Errorf("rpc.tls_cert, rpc.tls_key: %w", err)
		}
		if h.leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("rpc.tls_cert: %w", err)
		}
		h.pair = &pair
	}
	if s.rpc.ClientCA != "" {
		list, err := certs.ParseAll(f[2])
		if err != nil {
			return nil, fmt.Errorf("rpc.client_ca: %w", err)
		}
		h.admins, h.pool = list, x509.NewCertPool()
		for _, c := range list {
			h.pool.AddCert(c)
		}
	}
	if s.rpc.Policies != "" {
		var err error
		if h.policies, err = rpc.ParsePolicies(f[3]); err != nil {
			return nil, fmt.Errorf("rpc.policies: %w", err)
		}
	}
	return h, nil
}

// reload reads files that changed. What cannot be used is said once.
func (s *secrets) reload() {
	f, err := s.read()
	if err != nil {
		// Whoever replaces a file may have taken it away first. What is still gone at the
		// next look is said by its alarm.
		s.log.Debug("the door's files cannot be read now", "error", err)
		return
	}
	now := sum(f)
	if now == s.tried {
		return
	}
	s.tried = now
	h, err := s.parse(f)
	if err == nil && h.leaf != nil && !h.leaf.NotAfter.After(s.now()) {
		err = fmt.Errorf("rpc.tls_cert: the certificate ended on %s", h.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if err != nil {
		s.log.Error("the door's new files are not usable; those before stay in use", "error", err)
		return
	}
	s.held.Store(h)
	attrs := []any{}
	if h.leaf != nil {
		attrs = append(attrs, "certificate", fingerprint(h.leaf), "ends", h.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	s.log.Info("the door uses its new files", attrs...)
}

func fingerprint(c *x509.Certificate) string {
	f := sha256.Sum256(c.Raw)
	return hex.EncodeToString(f[:])
}

func (s *secrets) administrators() *x509.CertPool { return s.held.Load().pool }
func (s *secrets) policies() *rpc.Policies        { return s.held.Load().policies }

// server is the listener's TLS: each handshake takes the latest certificate. The door
// judges what clients show, so that it can tell them what is wrong with it; TLS proves
// that they hold its key. A session that is resumed would skip that, so there are none.
func (s *secrets) server() *tls.Config {
	if !s.rpc.TLS() {
		return nil
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.held.Load().pair, nil },
		ClientAuth:     tls.RequestClientCert, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}
}

// follow reads the files again when they change, and raises alarms as certificates near
// their end, until ctx ends.
func (s *secrets) follow(ctx context.Context, expiries func() []*nodev1.CertificateExpiry) {
	a := alarms{log: s.log, raised: make(map[string]int32)}
	a.raise(expiries())
	look, expire := time.NewTicker(lookEvery), time.NewTicker(expireEvery)
	defer look.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			s.reload()
		case <-expire.C:
			a.raise(expiries())
		}
	}
}

// alarms logs each threshold that a certificate passes, once.
type alarms struct {
	log    *slog.Logger
	raised map[string]int32 // by use and fingerprint
}

func (a *alarms) raise(list []*nodev1.CertificateExpiry) {
	seen := make(map[string]int32, len(list))
	for _, e := range list {
		key := e.Use + " " + hex.EncodeToString(e.Fingerprint)
		seen[key] = e.AlarmDays
		before, known := a.raised[key]
		if e.AlarmDays < 0 || known && before == e.AlarmDays {
			continue
		}
		level, text := slog.LevelWarn, "a certificate ends soon; replace it"
		switch e.AlarmDays {
		case 0:
			level, text = slog.LevelError, "a certificate has ended; replace it now"
		case 1:
			level, text = slog.LevelError, "a certificate ends within a day; replace it now"
		}
		a.log.Log(context.Background(), level, text, "use", e.Use, "fingerprint", hex.EncodeToString(e.Fingerprint),
			"ends", time.UnixMilli(e.ExpiresAt).UTC().Format(time.RFC3339), "days", e.AlarmDays)
	}
	a.raised = seen
}

// expiries are the certificates of the door and when they end, the first to end first:
// the server's, those of its administrators' authorities, and those of the authorities
// that the node's own organisation has on the chain.
func (n *Node) expiries() []*nodev1.CertificateExpiry {
	if n.secrets == nil || !n.config.RPC.TLS() {
		return nil
	}
	now := n.secrets.now()
	var out []*nodev1.CertificateExpiry
	add := func(use string, fingerprint []byte, ends time.Time) {
		out = append(out, &nodev1.CertificateExpiry{Use: use, Fingerprint: fingerprint, ExpiresAt: ends.UnixMilli(), AlarmDays: certs.Alarm(ends, now)})
	}
	file := func(use string, c *x509.Certificate) {
		f := sha256.Sum256(c.Raw)
		add(use, f[:], c.NotAfter)
	}
	h := n.secrets.held.Load()
	file("server", h.leaf)
	for _, c := range h.admins {
		file("administrators", c)
	}
	r := n.engine.App().Latest()
	if mine, ok := n.modules.Identity.NodeOrganisation(r, n.engine.Status().NodeID); ok {
		for _, a := range n.modules.Identity.Authorities(r, mine) {
			add("authority", a.Fingerprint, time.UnixMilli(a.ExpiresAt))
		}
	}
	slices.SortFunc(out, func(a, b *nodev1.CertificateExpiry) int {
		return cmp.Or(cmp.Compare(a.ExpiresAt, b.ExpiresAt), cmp.Compare(a.Use, b.Use), bytes.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}
