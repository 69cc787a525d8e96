package rpc

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

const (
	// maxChain is the most certificates that a client may show.
	maxChain = 4
	// standingAge is how old what is known of a caller may be, where no block came.
	standingAge = time.Second
	// maxIdentities is how many identities' use of the door is remembered.
	maxIdentities = 10_000
)

// Identities is what the door asks the state about who calls.
type Identities interface {
	Active(r chain.ReadCtx, did string) bool
	Organisation(r chain.ReadCtx, did string) (string, bool)
	Kind(r chain.ReadCtx, did string) (string, bool)
	Roles(r chain.ReadCtx, did string) []string
	IsAdministrator(r chain.ReadCtx, organisation, did string) bool
	NodeOrganisation(r chain.ReadCtx, nodeID string) (string, bool)
	Authorities(r chain.ReadCtx, organisation string) []*identityv1.Authority
	VouchedBy(r chain.ReadCtx, issued func(*identityv1.Authority) bool) (organisation string, ok bool)
}

// principal is a caller as policies see it. The zero value is nobody.
type principal struct {
	did           string
	known         bool
	organisation  string
	kind          string
	roles         []string
	own           bool
	administrator bool
	token         bool   // whether it is known by a bearer token
	by            string // what an administrator without a DID is called
}

func (p principal) name() string {
	switch {
	case p.did != "":
		return p.did
	case p.by != "":
		return p.by
	}
	return "anonymous"
}

// equal tells whether two principals are the same to every policy.
func (p principal) equal(o principal) bool {
	return p.did == o.did && p.known == o.known && p.organisation == o.organisation && p.kind == o.kind &&
		slices.Equal(p.roles, o.roles) && p.own == o.own && p.administrator == o.administrator && p.token == o.token && p.by == o.by
}

// standing is what is known of a connection's caller by one state.
type standing struct {
	version int64
	at      time.Time
	who     principal
	failure error // why it is nobody
	proof   *proof
	grant   *grant    // of a bearer token
	judged  *sync.Map // question to judgement, of this caller
}

// question is what a policy was asked about a caller.
type question struct {
	policies *Policies
	method   string // of those that are registered, so that there are not many
}

type judgement struct{ ok, audit bool }

// permits asks the policies once for each method while the caller stays the same.
func (st *standing) permits(p *Policies, method string) (ok, audit bool) {
	q := question{p, method}
	if known, found := st.judged.Load(q); found {
		j := known.(judgement)
		return j.ok, j.audit
	}
	ok, audit = p.permits(st.who, method)
	st.judged.Store(q, judgement{ok, audit})
	return ok, audit
}

// local is everybody's standing on loopback without TLS.
var local = &standing{who: principal{known: true, own: true, administrator: true, by: "loopback"}, judged: new(sync.Map)}

// proof is a chain of certificates that led to an authority, which holds as long as the
// authority stays, nothing of it is revoked and it has not expired.
type proof struct {
	did, organisation string
	authority         []byte   // fingerprint
	serials           [][]byte // of the certificates below it
	from, until       time.Time
}

// identify is who makes a call, by the latest state. A call with a bearer token is its
// token's, which must hold whatever else is shown; a certificate beside it must be the
// same DID's, so that neither is used to act for somebody else.
func (s *Server) identify(ctx context.Context) (*standing, error) {
	if !s.tls {
		return local, nil
	}
	r, snapshot, err := s.app.View(0)
	if err != nil {
		return nil, err
	}
	now := s.now()
	token, err := bearer(ctx)
	if err != nil {
		return &standing{failure: err, judged: new(sync.Map)}, nil
	}
	if token == "" {
		return s.byCertificate(ctx, r, snapshot.Version(), now), nil
	}
	st, err := s.byToken(ctx, token, r, snapshot.Version(), now)
	if err != nil || st.failure != nil || !showsCertificate(ctx) {
		return st, err
	}
	other := s.byCertificate(ctx, r, snapshot.Version(), now)
	switch {
	case other.failure != nil:
		return other, nil
	case other.who.did != st.who.did:
		return &standing{failure: ErrTwoCallers.With("%s by its token, %s by its certificate", st.who.name(), other.who.name()), judged: new(sync.Map)}, nil
	}
	return st, nil
}

// showsCertificate tells whether the client of a call showed one.
func showsCertificate(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && len(info.State.PeerCertificates) > 0
}

// byCertificate is the standing of a connection's caller.
func (s *Server) byCertificate(ctx context.Context, r chain.ReadCtx, version int64, now time.Time) *standing {
	c, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		st := s.stand(ctx, r, now, nil)
		st.judged = new(sync.Map)
		return st
	}
	old := c.standing.Load()
	if old != nil && old.version == version {
		if age := now.Sub(old.at); age >= 0 && age < standingAge {
			return old
		}
	}
	st := s.stand(ctx, r, now, old)
	st.version, st.at = version, now
	if old != nil && old.who.equal(st.who) {
		st.judged = old.judged
	} else {
		st.judged = new(sync.Map)
	}
	c.standing.Store(st)
	return st
}

func (s *Server) stand(ctx context.Context, r chain.ReadCtx, now time.Time, old *standing) *standing {
	if s.identities == nil {
		return &standing{failure: ErrNoCertificate}
	}
	if old != nil && old.proof != nil && s.holds(r, old.proof, now) {
		return &standing{who: s.principal(r, old.proof.did), proof: old.proof}
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return &standing{failure: ErrNoCertificate}
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return &standing{failure: ErrNoCertificate}
	}
	shown := info.State.PeerCertificates
	if len(shown) > maxChain {
		return &standing{failure: ErrUnknownAuthority.With("%d certificates were shown, at most %d", len(shown), maxChain)}
	}
	leaf := shown[0]
	switch {
	case now.Before(leaf.NotBefore):
		return &standing{failure: ErrNotYetValid.With("from %s", leaf.NotBefore.UTC().Format(time.RFC3339))}
	case now.After(leaf.NotAfter):
		return &standing{failure: ErrExpired.With("on %s", leaf.NotAfter.UTC().Format(time.RFC3339))}
	}
	if pool := s.administrators(); pool != nil && len(leads(shown, pool, now)) > 0 {
		return &standing{who: principal{known: true, own: true, administrator: true, by: "administrator " + leaf.Subject.CommonName}}
	}
	proof, err := s.prove(r, shown, now)
	if err != nil {
		return &standing{failure: err}
	}
	return &standing{who: s.principal(r, proof.did), proof: proof}
}

// prove leads the certificates that a client showed to an authority of the organisation
// that their DID belongs to.
func (s *Server) prove(r chain.ReadCtx, shown []*x509.Certificate, now time.Time) (*proof, error) {
	leaf := shown[0]
	name, err := didOf(leaf)
	if err != nil {
		return nil, err
	}
	d, err := did.Parse(name)
	if err != nil {
		return nil, ErrNoDID.With("%s", text(name))
	}
	for _, a := range s.identities.Authorities(r, d.Organisation()) {
		path := led(shown, a, now)
		if path == nil {
			continue
		}
		p := &proof{did: name, organisation: d.Organisation(), authority: a.Fingerprint, from: leaf.NotBefore, until: leaf.NotAfter}
		for _, c := range path[:len(path)-1] {
			p.serials = append(p.serials, c.SerialNumber.Bytes())
			if c.NotBefore.After(p.from) {
				p.from = c.NotBefore
			}
			if c.NotAfter.Before(p.until) {
				p.until = c.NotAfter
			}
		}
		if root := path[len(path)-1]; root.NotAfter.Before(p.until) {
			p.until = root.NotAfter
		}
		if isRevoked(a, p.serials) {
			return nil, ErrRevoked.With("serial %s", hex.EncodeToString(p.serials[0]))
		}
		if _, ok := s.identities.Organisation(r, name); !ok {
			return nil, ErrUnknownCaller.With("%s", name)
		}
		if !s.identities.Active(r, name) {
			return nil, ErrInactive.With("%s", name)
		}
		return p, nil
	}
	other, ok := s.identities.VouchedBy(r, func(a *identityv1.Authority) bool { return led(shown, a, now) != nil })
	if ok {
		return nil, ErrOtherOrganisation.With("%s is vouched for by %s", name, other)
	}
	return nil, ErrUnknownAuthority.With("issuer %s", text(leaf.Issuer.String()))
}

// holds tells whether a proof still does.
func (s *Server) holds(r chain.ReadCtx, p *proof, now time.Time) bool {
	if now.Before(p.from) || now.After(p.until) || !s.identities.Active(r, p.did) {
		return false
	}
	list := s.identities.Authorities(r, p.organisation)
	i := slices.IndexFunc(list, func(a *identityv1.Authority) bool { return bytes.Equal(a.Fingerprint, p.authority) })
	return i >= 0 && !isRevoked(list[i], p.serials)
}

func isRevoked(a *identityv1.Authority, serials [][]byte) bool {
	return slices.ContainsFunc(serials, func(serial []byte) bool {
		_, found := slices.BinarySearchFunc(a.Revoked, serial, bytes.Compare)
		return found
	})
}

// led is the path from a client's certificate to an authority, both included; nil where
// there is none.
func led(shown []*x509.Certificate, a *identityv1.Authority, now time.Time) []*x509.Certificate {
	root, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		// The chain takes certificates that this library may not.
		return nil
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if paths := leads(shown, pool, now); len(paths) > 0 {
		return paths[0]
	}
	return nil
}

// leads are the paths from a client's certificate to one of the authorities.
func leads(shown []*x509.Certificate, authorities *x509.CertPool, now time.Time) [][]*x509.Certificate {
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	paths, err := shown[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil
	}
	return paths
}

// didOf is the one DID that a certificate names, as a URI among its alternative names.
func didOf(c *x509.Certificate) (string, error) {
	var found []string
	for _, u := range c.URIs {
		if u.Scheme == "did" {
			found = append(found, u.String())
		}
	}
	if len(found) != 1 {
		return "", ErrNoDID.With("it names %d", len(found))
	}
	return found[0], nil
}

func (s *Server) principal(r chain.ReadCtx, name string) principal {
	p := principal{did: name, known: true, roles: s.identities.Roles(r, name)}
	p.organisation, _ = s.identities.Organisation(r, name)
	p.kind, _ = s.identities.Kind(r, name)
	if mine, ok := s.identities.NodeOrganisation(r, s.nodeID); ok && mine == p.organisation {
		p.own = true
		p.administrator = name == mine || s.identities.IsAdministrator(r, mine, name)
	}
	return p
}

// allowed says who makes a call and that it may; audit tells whether the call is to be
// written to the log.
func (s *Server) allowed(ctx context.Context, method string) (who principal, audit bool, err error) {
	st, err := s.identify(ctx)
	if err != nil {
		return principal{}, false, err
	}
	who = st.who
	policies := s.policies()
	ok, audit := st.permits(policies, method)
	switch {
	case ok:
		return who, audit, nil
	case st.failure != nil:
		return who, false, st.failure
	case !policies.Named(method):
		return who, false, ErrForbidden.With("no policy of this node names %s", method)
	}
	return who, false, ErrForbidden.With("%s, by %s", method, who.name())
}

// audited writes an administrative call to the log when it has ended.
func (s *Server) audited(ctx context.Context, who principal, method string, begun time.Time, err error) {
	from := ""
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "an administrative call", slog.String("method", method), slog.String("by", who.name()),
		slog.String("from", from), slog.String("code", status.Code(err).String()), slog.Duration("took", time.Since(begun)))
}

// shares are how much of the door each identity uses.
type shares struct {
	calls int        // under way at once, of one identity; 0: no bound
	rate  rate.Limit // calls a second of one identity; 0: no bound

	mu sync.Mutex // guards all below
	of map[string]*share
}

type share struct {
	calls int
	pace  *rate.Limiter
}

func newShares(l Limits) *shares {
	return &shares{calls: l.IdentityCalls, rate: rate.Limit(l.IdentityRate), of: make(map[string]*share)}
}

// take gives an identity a call, which give ends. Callers without a DID are bounded by
// what bounds all.
func (s *shares) take(who principal) (give func(), err error) {
	if who.did == "" || s.calls == 0 && s.rate == 0 {
		return func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.of[who.did]
	if !ok {
		if len(s.of) >= maxIdentities {
			s.forget()
		}
		one = &share{}
		if s.rate > 0 {
			one.pace = rate.NewLimiter(s.rate, max(1, int(s.rate)))
		}
		s.of[who.did] = one
	}
	if s.calls > 0 && one.calls >= s.calls {
		return nil, ErrShare.With("at most %d calls under way of %s", s.calls, who.did)
	}
	if one.pace != nil && !one.pace.Allow() {
		return nil, ErrShare.With("at most %d calls a second of %s", int(s.rate), who.did)
	}
	one.calls++
	return func() {
		s.mu.Lock()
		one.calls--
		s.mu.Unlock()
	}, nil
}

// forget drops those that use nothing. The caller holds mu.
func (s *shares) forget() {
	for name, one := range s.of {
		if one.calls == 0 && (one.pace == nil || one.pace.Tokens() >= float64(one.pace.Burst())) {
			delete(s.of, name)
		}
	}
}
