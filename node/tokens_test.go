package node_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/metadata"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/rpc"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// provider is an OpenID Connect provider on loopback.
type provider struct {
	t      *testing.T
	server *httptest.Server

	mu     sync.Mutex // guards all below
	keys   map[string]crypto.Signer
	listed map[string]jose.JSONWebKey
	calls  int  // for keys
	silent bool // whether it answers with an error
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t, keys: make(map[string]crypto.Signer), listed: make(map[string]jose.JSONWebKey)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls++
		if p.silent {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		var set jose.JSONWebKeySet
		for _, k := range p.listed {
			set.Keys = append(set.Keys, k)
		}
		_ = json.NewEncoder(w).Encode(set)
	})
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	p.add("ec-1", "ES256")
	return p
}

// add makes a key and lists it.
func (p *provider) add(id string, algorithm jose.SignatureAlgorithm) {
	p.t.Helper()
	var key crypto.Signer
	var err error
	if strings.HasPrefix(string(algorithm), "RS") {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[id] = key
	p.listed[id] = jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(algorithm), Use: "sig"}
}

func (p *provider) with(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

const audience = "chancery-alpha"

// issuer is it as a node of alpha has it.
func (p *provider) issuer() rpc.Issuer {
	return rpc.Issuer{URL: p.server.URL, Organisation: alpha, Audience: audience, Algorithms: []string{"ES256", "RS256"}, Claim: "did", Skew: 30 * time.Second}
}

// token is signed by a key of the provider, for desk unless the claims say otherwise; a
// claim of nil is left out.
func (p *provider) token(key string, algorithm jose.SignatureAlgorithm, change map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	signer := p.keys[key]
	p.mu.Unlock()
	return sign(p.t, signer, key, algorithm, p.claims(change))
}

func (p *provider) claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.server.URL, "sub": "somebody", "aud": audience, "did": desk,
		"iat": doorTime.Unix(), "exp": doorTime.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func sign(t *testing.T, key any, id string, algorithm jose.SignatureAlgorithm, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// unsigned is a token with a header of one's own and no signature, or one's own.
func unsigned(t *testing.T, head, claims map[string]any, signature string) string {
	t.Helper()
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return part(head) + "." + part(claims) + "." + signature
}

// asks makes a call with a token over gRPC and the same over HTTP, which must be answered
// alike: nil, or why the door refuses.
func (d *doors) asks(what string, web *http.Client, show []tls.Certificate, token string) *errs.Error {
	d.t.Helper()
	ctx := metadata.AppendToOutgoingContext(d.t.Context(), "authorization", "Bearer "+token)
	_, err := nodev1.NewNodeClient(d.dial(show...)).Status(ctx, &nodev1.StatusRequest{})
	var over *errs.Error
	if err = client.FromStatus(err); err != nil && !errors.As(err, &over) {
		d.t.Fatalf("%s: %v", what, err)
	}
	code, reason := d.fetch(web, "GET", "/v1/node/status", "", "Authorization", "Bearer "+token)
	want := ""
	if over != nil {
		want = fmt.Sprintf("%s/%d", over.Module, over.Code)
	}
	if reason != want || (code == 200) != (over == nil) {
		d.t.Errorf("%s: over gRPC %v, over HTTP %d %s", what, over, code, reason)
	}
	return over
}

// fetch makes a request over HTTP and gives the status and the reason of a refusal.
func (d *doors) fetch(web *http.Client, verb, path, body string, head ...string) (int, string) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), verb, "https://"+d.web+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if verb == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	response, err := web.Do(r)
	if err != nil {
		d.t.Fatalf("%s %s: %v", verb, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	var p struct{ Details []struct{ Reason string } }
	if response.StatusCode != 200 {
		if err := json.Unmarshal(raw, &p); err != nil || len(p.Details) == 0 {
			return response.StatusCode, ""
		}
		return response.StatusCode, p.Details[0].Reason
	}
	return 200, ""
}

// browse is a client over HTTP.
func (d *doors) browse(show ...tls.Certificate) *http.Client {
	transport := &http.Transport{TLSClientConfig: d.shows(show...), ForceAttemptHTTP2: true}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func TestTokens(t *testing.T) {
	p, other := newProvider(t), newProvider(t)
	p.add("rsa-1", "RS256")
	p.with(func() {
		// One that the provider lists and that is for something else.
		k := p.listed["rsa-1"]
		k.KeyID, k.Use = "enc-1", "enc"
		p.listed["enc-1"], p.keys["enc-1"] = k, p.keys["rsa-1"]
	})
	d := openDoors(t, func(o *rpc.Options) { o.Issuers = []rpc.Issuer{p.issuer()} })
	web := d.browse()
	public, err := x509.MarshalPKIXPublicKey(p.keys["rsa-1"].Public())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := p.token("ec-1", "ES256", nil)
	cut := good[:strings.LastIndex(good, ".")+1]
	at := func(d time.Duration) int64 { return doorTime.Add(d).Unix() }
	for _, c := range []struct {
		what, token string
		want        *errs.Error
	}{
		{"a token", good, nil},
		{"another key and algorithm", p.token("rsa-1", "RS256", nil), nil},
		{"several audiences", p.token("ec-1", "ES256", map[string]any{"aud": []string{"x", audience}}), nil},
		{"ended within the skew", p.token("ec-1", "ES256", map[string]any{"exp": at(-20 * time.Second)}), nil},
		{"ended", p.token("ec-1", "ES256", map[string]any{"exp": at(-40 * time.Second)}), rpc.ErrTokenExpired},
		{"not yet", p.token("ec-1", "ES256", map[string]any{"nbf": at(time.Minute)}), rpc.ErrTokenNotYet},
		{"issued in the future", p.token("ec-1", "ES256", map[string]any{"iat": at(time.Minute)}), rpc.ErrTokenNotYet},
		{"without an end", p.token("ec-1", "ES256", map[string]any{"exp": nil}), rpc.ErrBadToken},
		{"another's audience", p.token("ec-1", "ES256", map[string]any{"aud": "chancery-beta"}), rpc.ErrTokenAudience},
		{"no audience", p.token("ec-1", "ES256", map[string]any{"aud": nil}), rpc.ErrTokenAudience},
		{"an issuer that is not known", other.token("ec-1", "ES256", nil), rpc.ErrNoIssuer},
		{"no issuer", p.token("ec-1", "ES256", map[string]any{"iss": nil}), rpc.ErrNoIssuer},
		{"another issuer's key", other.token("ec-1", "ES256", map[string]any{"iss": p.server.URL}), rpc.ErrBadToken},
		{"a key that is not listed", sign(t, stranger, "ec-9", "ES256", p.claims(nil)), rpc.ErrBadToken},
		{"a stranger's key under a listed name", sign(t, stranger, "ec-1", "ES256", p.claims(nil)), rpc.ErrBadToken},
		{"a key for encryption", p.token("enc-1", "RS256", nil), rpc.ErrBadToken},
		{"no name of a key among several", sign(t, p.keys["ec-1"], "", "ES256", p.claims(nil)), rpc.ErrBadToken},
		{"an algorithm that is not the key's", p.token("rsa-1", "PS256", nil), rpc.ErrBadToken},
		{"none", unsigned(t, map[string]any{"alg": "none"}, p.claims(nil), ""), rpc.ErrBadToken},
		{"none with the name of a key", unsigned(t, map[string]any{"alg": "none", "kid": "ec-1"}, p.claims(nil), ""), rpc.ErrBadToken},
		{"HS256 by the public key", sign(t, public, "rsa-1", "HS256", p.claims(nil)), rpc.ErrBadToken},
		{"its own key in the header", func() string {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: "ES256", Key: stranger}, &jose.SignerOptions{EmbedJWK: true})
			if err != nil {
				t.Fatal(err)
			}
			raw, err := jwt.Signed(s).Claims(p.claims(nil)).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}(), rpc.ErrBadToken},
		{"no signature", cut, rpc.ErrBadToken},
		{"another signature", cut + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), rpc.ErrBadToken},
		{"nothing that is a token", "x", rpc.ErrBadToken},
		{"too long", strings.Repeat("x", 9<<10), rpc.ErrBadToken},
		{"no DID", p.token("ec-1", "ES256", map[string]any{"did": nil}), rpc.ErrTokenDID},
		{"a number for a DID", p.token("ec-1", "ES256", map[string]any{"did": 7}), rpc.ErrTokenDID},
		{"a DID of another organisation", p.token("ec-1", "ES256", map[string]any{"did": beta + ":desk"}), rpc.ErrTokenOrganisation},
		{"another organisation", p.token("ec-1", "ES256", map[string]any{"did": beta}), rpc.ErrTokenOrganisation},
		{"a DID that is not registered", p.token("ec-1", "ES256", map[string]any{"did": alpha + ":nobody"}), rpc.ErrUnknownCaller},
		{"a DID that is suspended", p.token("ec-1", "ES256", map[string]any{"did": gone}), rpc.ErrInactive},
	} {
		// Twice, since what was decided once is remembered.
		for range 2 {
			if got := d.asks(c.what, web, nil, c.token); c.want == nil && got != nil || c.want != nil && !c.want.Is(got) {
				t.Errorf("%s: %v, want %v", c.what, got, c.want)
			}
		}
		if len(c.token) > 40 && strings.Contains(d.log.String(), c.token[len(c.token)-20:]) {
			t.Errorf("%s: the token is on the log", c.what)
		}
	}
}

// A certificate beside a token must be the same DID's, whichever may do more.
func TestTokenAndCertificate(t *testing.T) {
	p := newProvider(t)
	d := openDoors(t, func(o *rpc.Options) { o.Issuers = []rpc.Issuer{p.issuer()} })
	token := p.token("ec-1", "ES256", nil)
	for _, c := range []struct {
		what string
		show tls.Certificate
		want *errs.Error
	}{
		{"the same DID", d.pair(d.alpha, certs.Request{DID: desk}), nil},
		{"an administrator", d.pair(d.alpha, certs.Request{DID: admin}), rpc.ErrTwoCallers},
		{"another organisation", d.pair(d.beta, certs.Request{DID: beta + ":desk"}), rpc.ErrTwoCallers},
		{"an operator without a DID", d.pair(d.admins, certs.Request{Name: "pager"}), rpc.ErrTwoCallers},
		{"a certificate that ended", d.pair(d.alpha, certs.Request{DID: desk, At: doorTime.Add(-48 * time.Hour), Life: time.Hour}), rpc.ErrExpired},
	} {
		if got := d.asks(c.what, d.browse(c.show), []tls.Certificate{c.show}, token); c.want == nil && got != nil || c.want != nil && !c.want.Is(got) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	// A token that does not hold is not made up for by a certificate that does.
	show := d.pair(d.alpha, certs.Request{DID: desk})
	if got := d.asks("a bad token", d.browse(show), []tls.Certificate{show}, "x"); !rpc.ErrBadToken.Is(got) {
		t.Errorf("a bad token: %v", got)
	}
}

// Keys that are rotated are found, made-up ones do not have the node call the issuer each
// time, an issuer that is silent costs nobody who is known, and a suspension acts at once.
func TestTokenKeysRotate(t *testing.T) {
	p := newProvider(t)
	var mu sync.Mutex
	now := doorTime
	pass := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	i := p.issuer()
	d := openDoors(t, func(o *rpc.Options) {
		o.Issuers = []rpc.Issuer{i}
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	web := d.browse()
	ask := func(what, token string, want *errs.Error) {
		t.Helper()
		if got := d.asks(what, web, nil, token); want == nil && got != nil || want != nil && !want.Is(got) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	long := map[string]any{"exp": doorTime.Add(48 * time.Hour).Unix()}
	first := p.token("ec-1", "ES256", long)
	ask("the first key", first, nil)
	p.add("ec-2", "ES256")
	second := p.token("ec-2", "ES256", long)
	ask("a key that is too new", second, rpc.ErrBadToken)
	pass(11 * time.Second)
	ask("it when the issuer was asked again", second, nil)

	p.with(func() { p.calls = 0 })
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for k := range 50 {
		ask("a key that is made up", sign(t, stranger, fmt.Sprint("made-up-", k), "ES256", p.claims(long)), rpc.ErrBadToken)
	}
	p.with(func() {
		if p.calls > 1 {
			t.Errorf("%d calls for keys that are made up", p.calls)
		}
		delete(p.listed, "ec-1")
	})
	pass(time.Hour)
	ask("a key that was withdrawn", first, rpc.ErrBadToken)
	ask("one that was not", second, nil)

	p.with(func() { p.silent, p.calls = true, 0 })
	pass(2 * time.Hour)
	for range 20 {
		ask("while the issuer is silent", second, nil)
	}
	p.with(func() {
		if p.calls != 1 {
			t.Errorf("%d calls to an issuer that is silent", p.calls)
		}
	})
	pass(25 * time.Hour)
	ask("when its keys are old", second, rpc.ErrIssuerSilent)
	p.with(func() { p.silent = false })
	pass(10 * time.Minute)
	ask("when it answers again", second, nil)
	d.do(alpha, &identityv1.Suspend{Did: desk, Reason: identityv1.Reason_REASON_COMPROMISED})
	ask("after the suspension", second, rpc.ErrInactive)
}

// A stream ends when its token does.
func TestTokenEndsAStream(t *testing.T) {
	p := newProvider(t)
	var mu sync.Mutex
	now := doorTime
	d := openDoors(t, func(o *rpc.Options) {
		o.Issuers = []rpc.Issuer{p.issuer()}
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+p.token("ec-1", "ES256", nil)), 20*time.Second)
	defer cancel()
	stream, err := nodev1.NewEventsClient(d.dial()).Subscribe(ctx, &nodev1.SubscribeRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(client.FromStatus(err), rpc.ErrTokenExpired) {
		t.Errorf("it ended with %v", err)
	}
}

func TestIssuersThatCannotBeMeant(t *testing.T) {
	good := rpc.Issuer{URL: "https://id.example", Organisation: alpha, Audience: "a", Algorithms: []string{"ES256"}, Claim: "did"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*rpc.Issuer){
		"issuer: ":       func(i *rpc.Issuer) { i.URL = "http://id.example" },
		"issuer: \"":     func(i *rpc.Issuer) { i.URL = "https://id.example?x=1" },
		"organisation: ": func(i *rpc.Issuer) { i.Organisation = desk },
		"audience: ":     func(i *rpc.Issuer) { i.Audience = "" },
		"algorithms: at": func(i *rpc.Issuer) { i.Algorithms = nil },
		"algorithms: \"": func(i *rpc.Issuer) { i.Algorithms = []string{"HS256"} },
		"claim: ":        func(i *rpc.Issuer) { i.Claim = "" },
		"subjects: ":     func(i *rpc.Issuer) { i.Claim, i.Subjects = "", map[string]string{"x": beta + ":desk"} },
		"skew: ":         func(i *rpc.Issuer) { i.Skew = time.Hour },
	} {
		i := good
		change(&i)
		if err := i.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
