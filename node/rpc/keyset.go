package rpc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxKeySet is the largest answer of an issuer that is read, in bytes, and maxKeys how
	// many keys of it are used.
	maxKeySet = 256 << 10
	maxKeys   = 64
	// fetchTime is how long an issuer has to answer.
	fetchTime = 5 * time.Second
	// freshKeys and freshFile are how old keys may be before they are had again, by the call
	// that finds them so. A file costs little.
	freshKeys = time.Hour
	freshFile = 10 * time.Second
	// oldKeys is how old they may be at most, while their issuer does not answer.
	oldKeys = 24 * time.Hour
	// fetchPause is the least time between two attempts, whatever tokens name; it doubles
	// with each that fails, up to maxFetchPause.
	fetchPause    = 10 * time.Second
	maxFetchPause = 5 * time.Minute
	// minRSA is the least length of an RSA key in bits.
	minRSA = 2048
)

// keySet is the keys by which an issuer signs, fetched when they are needed. It fetches
// once at a time and never more often than fetchPause, so that tokens with made-up keys
// cannot have the node call the issuer.
type keySet struct {
	load  func(ctx context.Context) ([]byte, error)
	fresh time.Duration
	pause time.Duration
	now   func() time.Time

	mu       sync.Mutex // guards all below
	keys     []jose.JSONWebKey
	fetched  time.Time // of keys
	tried    time.Time
	failures int
	failure  error
	busy     chan struct{} // closed when the fetch under way is over; nil: none is
}

// newKeySet is an issuer's.
func newKeySet(i Issuer, now func() time.Time) *keySet {
	if i.Keys != nil {
		return &keySet{load: func(context.Context) ([]byte, error) { return i.Keys() }, fresh: freshFile, pause: time.Second, now: now}
	}
	client := i.Client
	if client == nil {
		client = http.DefaultClient
	}
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &keySet{load: func(ctx context.Context) ([]byte, error) { return discover(ctx, &own, i.URL) }, fresh: freshKeys, pause: fetchPause, now: now}
}

// key is the one that a token names, or the only one where it names none. Keys that
// cannot be had give ErrIssuerSilent, and a name that is not among them ErrBadToken.
func (k *keySet) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	for {
		k.mu.Lock()
		now := k.now()
		age := now.Sub(k.fetched)
		found := find(k.keys, id)
		if found != nil && age < k.fresh {
			k.mu.Unlock()
			return found, nil
		}
		wait := k.pause << min(k.failures, 10)
		if wait > maxFetchPause {
			wait = maxFetchPause
		}
		switch {
		case k.busy != nil:
			busy := k.busy
			k.mu.Unlock()
			select {
			case <-busy:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case !k.tried.IsZero() && now.Sub(k.tried) < wait:
			failure := k.failure
			k.mu.Unlock()
			switch {
			case found != nil && age < oldKeys:
				return found, nil
			case failure != nil:
				return nil, ErrIssuerSilent.With("%v", failure)
			}
			return nil, ErrBadToken.With("the issuer has no key %q", text(id))
		}
		k.tried, k.busy = now, make(chan struct{})
		busy := k.busy
		k.mu.Unlock()
		k.fetch(ctx)
		close(busy)
	}
}

// fetch fetches the keys. The caller has set busy.
func (k *keySet) fetch(ctx context.Context) {
	// Others wait for it too, so it does not end with the call that began it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	defer cancel()
	raw, err := k.load(ctx)
	var keys []jose.JSONWebKey
	if err == nil {
		keys, err = parseKeys(raw)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy, k.failure = nil, err
	if err != nil {
		k.failures++
		return
	}
	k.keys, k.fetched, k.failures = keys, k.now(), 0
}

func find(keys []jose.JSONWebKey, id string) *jose.JSONWebKey {
	if id == "" && len(keys) == 1 {
		return &keys[0]
	}
	for i := range keys {
		if id != "" && keys[i].KeyID == id {
			return &keys[i]
		}
	}
	return nil
}

// parseKeys are the public keys of a JSON Web Key Set that are for signatures. Others are
// passed over, as RFC 7517, section 5, has it.
func parseKeys(raw []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("the keys are no JSON Web Key Set: %w", err)
	}
	var out []jose.JSONWebKey
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(one) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
			if public.N.BitLen() < minRSA {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue
		}
		if out = append(out, key); len(out) == maxKeys {
			break
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the key set has no public key for signatures")
	}
	return out, nil
}

// discover fetches an issuer's keys from where its configuration says, as OpenID Connect
// Discovery 1.0, section 4, has it.
func discover(ctx context.Context, client *http.Client, issuer string) ([]byte, error) {
	raw, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var c struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("the issuer's configuration: %w", err)
	}
	if c.Issuer != issuer {
		return nil, fmt.Errorf("the issuer's configuration is of %q", text(c.Issuer))
	}
	if err := CheckIssuerURL(c.Keys); err != nil {
		return nil, fmt.Errorf("the issuer's jwks_uri: %w", err)
	}
	return get(ctx, client, c.Keys)
}

func get(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, response.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxKeySet {
		return nil, fmt.Errorf("%s has more than %d bytes", url, maxKeySet)
	}
	return raw, nil
}
