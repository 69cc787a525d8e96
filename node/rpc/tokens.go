package rpc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc/metadata"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/modules/identity/did"
)

const (
	// maxToken is the longest token, in bytes.
	maxToken = 8 << 10
	// maxTokens is how many tokens are remembered, and rememberToken how long it is before
	// the signature of one is checked again.
	maxTokens     = 10_000
	rememberToken = time.Minute
)

// TokenAlgorithms are those by which tokens may be signed: asymmetric ones, so that a
// public key is never taken for a secret.
var TokenAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Issuer is a provider of OpenID Connect whose tokens speak for DIDs of one organisation.
type Issuer struct {
	URL          string // as the claim iss has it
	Organisation string // DID
	Audience     string // that the claim aud must name
	Algorithms   []string
	// Claim names the DID. Subjects gives it by the claim sub instead; nil: Claim is used.
	Claim    string
	Subjects map[string]string
	// Skew is by how much clocks may differ.
	Skew time.Duration
	// Keys reads the key set; nil: it is where the issuer's configuration says.
	Keys func() ([]byte, error)
	// Client calls the issuer; nil: the default one.
	Client *http.Client
}

// Check refuses what cannot be meant.
func (i Issuer) Check() error {
	if err := CheckIssuerURL(i.URL); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if d, err := did.Parse(i.Organisation); err != nil || d.Organisation() != i.Organisation {
		return fmt.Errorf("organisation: %q is not the DID of an organisation", i.Organisation)
	}
	if i.Audience == "" {
		return errors.New("audience: must say whom tokens are for, or those for others would be taken")
	}
	if len(i.Algorithms) == 0 {
		return errors.New("algorithms: at least one")
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(TokenAlgorithms, a) {
			return fmt.Errorf("algorithms: %q is not one of %s", a, strings.Join(TokenAlgorithms, ", "))
		}
	}
	if (i.Claim == "") == (i.Subjects == nil) {
		return errors.New("claim: either a claim names the DID, or subjects lists them")
	}
	for subject, name := range i.Subjects {
		if d, err := did.Parse(name); err != nil || subject == "" || d.Organisation() != i.Organisation {
			return fmt.Errorf("subjects: %q=%q does not give a DID of %s", subject, name, i.Organisation)
		}
	}
	if i.Skew < 0 || i.Skew > 5*time.Minute {
		return fmt.Errorf("skew: %s, want 0s to 5m", i.Skew)
	}
	return nil
}

// CheckIssuerURL refuses an address of an issuer that others could answer for: it must be
// https, or http on loopback.
func CheckIssuerURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no address like https://HOST/PATH", text(address))
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("%q must be https, or http on loopback", text(address))
}

// tokens tells whom bearer tokens speak for.
type tokens struct {
	issuers    map[string]*issuer // by URL
	algorithms []jose.SignatureAlgorithm
	now        func() time.Time
	known      *lru.Cache[[sha256.Size]byte, *standing]
}

type issuer struct {
	Issuer
	keys *keySet
}

// newTokens refuses issuers that cannot be meant.
func newTokens(list []Issuer, now func() time.Time) (*tokens, error) {
	t := &tokens{issuers: make(map[string]*issuer), now: now}
	for _, i := range list {
		if err := i.Check(); err != nil {
			return nil, fmt.Errorf("issuer %s: %w", i.URL, err)
		}
		if t.issuers[i.URL] != nil {
			return nil, fmt.Errorf("issuer %s is given twice", i.URL)
		}
		t.issuers[i.URL] = &issuer{Issuer: i, keys: newKeySet(i, now)}
		for _, a := range i.Algorithms {
			t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
		}
	}
	var err error
	t.known, err = lru.New[[sha256.Size]byte, *standing](maxTokens)
	return t, err
}

// bearer is the token that a call shows; "" for none.
func bearer(ctx context.Context) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	shown := md.Get("authorization")
	if len(shown) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(shown[0], " ")
	if len(shown) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", ErrBadToken.With("authorization must be one bearer token of at most %d bytes", maxToken)
	}
	return token, nil
}

// grant is what a token proves, until when.
type grant struct {
	did     string
	checked time.Time
	until   time.Time
}

// verify is what a token proves. Its refusals quote nothing of a token but the names of
// its algorithm and key.
func (t *tokens) verify(ctx context.Context, raw string) (*grant, error) {
	if len(t.issuers) == 0 {
		return nil, ErrNoIssuer.With("it takes none")
	}
	token, err := jwt.ParseSigned(raw, t.algorithms)
	if err != nil {
		return nil, ErrBadToken.With("it is no JSON Web Token that is signed by an algorithm that this node takes")
	}
	var claims jwt.Claims
	all := make(map[string]any)
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, ErrBadToken.With("its claims are malformed")
	}
	i := t.issuers[claims.Issuer]
	if i == nil {
		return nil, ErrNoIssuer.With("issuer %q", text(claims.Issuer))
	}
	head := token.Headers[0]
	if !slices.Contains(i.Algorithms, head.Algorithm) {
		return nil, ErrBadToken.With("the algorithm %s is not one that this issuer's tokens may have", head.Algorithm)
	}
	key, err := i.keys.key(ctx, head.KeyID)
	if err != nil {
		return nil, err
	}
	if key.Algorithm != "" && key.Algorithm != head.Algorithm {
		return nil, ErrBadToken.With("the key %q is for %s and not for %s", text(head.KeyID), text(key.Algorithm), head.Algorithm)
	}
	claims = jwt.Claims{}
	if err := token.Claims(key.Key, &claims, &all); err != nil {
		return nil, ErrBadToken.With("its signature does not hold by the key %q", text(head.KeyID))
	}
	now := t.now()
	if claims.Expiry == nil {
		return nil, ErrBadToken.With("it never expires")
	}
	switch err := claims.ValidateWithLeeway(jwt.Expected{Issuer: i.URL, AnyAudience: jwt.Audience{i.Audience}, Time: now}, i.Skew); {
	case errors.Is(err, jwt.ErrExpired):
		return nil, ErrTokenExpired.With("at %s", claims.Expiry.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return nil, ErrTokenNotYet
	case errors.Is(err, jwt.ErrInvalidAudience):
		return nil, ErrTokenAudience.With("want %s", i.Audience)
	case err != nil:
		return nil, ErrBadToken.With("its claims do not hold")
	}
	name, err := i.names(claims.Subject, all)
	if err != nil {
		return nil, err
	}
	return &grant{did: name, checked: now, until: claims.Expiry.Time().Add(i.Skew)}, nil
}

// names is the DID that a token speaks for, of the issuer's organisation.
func (i *issuer) names(subject string, claims map[string]any) (string, error) {
	name, what := "", ""
	if i.Subjects != nil {
		name, what = i.Subjects[subject], "its subject is not among those of this issuer"
	} else {
		name, _ = claims[i.Claim].(string)
		what = "the claim " + i.Claim + " names none"
	}
	d, err := did.Parse(name)
	if err != nil {
		return "", ErrTokenDID.With("%s", what)
	}
	if d.Organisation() != i.Organisation {
		return "", ErrTokenOrganisation.With("%s, and the issuer speaks for %s", name, i.Organisation)
	}
	return name, nil
}

// byToken is the standing of a caller by the token that a call shows.
func (s *Server) byToken(ctx context.Context, raw string, r chain.ReadCtx, version int64, now time.Time) (*standing, error) {
	id := sha256.Sum256([]byte(raw))
	old, _ := s.tokens.known.Get(id)
	if old != nil && old.version == version {
		if age := now.Sub(old.at); age >= 0 && age < standingAge && !now.After(old.grant.until) {
			return old, nil
		}
	}
	var g *grant
	if old != nil && now.Before(old.grant.until) && now.Sub(old.grant.checked) < rememberToken {
		g = old.grant
	} else {
		var err error
		if g, err = s.tokens.verify(ctx, raw); err != nil {
			// Those that are refused are not remembered: there is no end of them.
			s.tokens.known.Remove(id)
			return &standing{failure: err, judged: new(sync.Map)}, nil
		}
	}
	st := &standing{version: version, at: now, grant: g, judged: new(sync.Map)}
	switch _, known := s.identities.Organisation(r, g.did); {
	case !known:
		st.failure = ErrUnknownCaller.With("%s", g.did)
	case !s.identities.Active(r, g.did):
		st.failure = ErrInactive.With("%s", g.did)
	default:
		st.who = s.principal(r, g.did)
		st.who.token = true
	}
	if old != nil && old.who.equal(st.who) {
		st.judged = old.judged
	}
	s.tokens.known.Add(id, st)
	return st, nil
}
