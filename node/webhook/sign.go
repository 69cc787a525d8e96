package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/chancery/chancery/node/internal/durable"
)

const (
	maxSecrets    = 8
	maxSecretFile = 4 << 10
)

// Secret is a key that requests are signed with. It prints as nothing.
type Secret struct{ key []byte }

// ParseSecret reads a secret as Standard Webhooks writes them: base64 of 24 to 64
// bytes, with or without whsec_ before it. The error does not hold the secret.
func ParseSecret(s string) (Secret, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(s), "whsec_"))
	if err != nil {
		return Secret{}, errors.New("the secret is not base64 with whsec_ before it")
	}
	if len(key) < 24 || len(key) > 64 {
		return Secret{}, fmt.Errorf("the secret has %d bytes, want 24 to 64", len(key))
	}
	return Secret{key}, nil
}

const hidden = "(secret)"

// Format implements fmt.Formatter, for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// ReadSecrets reads a file with a secret a line; empty lines and those that begin with
// # are left out.
func ReadSecrets(path string) ([]Secret, error) {
	raw, err := durable.Read(path, maxSecretFile)
	if err != nil {
		return nil, err
	}
	var out []Secret
	for n, line := range bytes.Split(raw, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		s, err := ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n+1, err)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no secret", path)
	}
	return out, nil
}

// secrets are an endpoint's, in the order of the configuration. Files are relative to
// home.
func (e Endpoint) secrets(home string, lookup func(string) (string, bool)) ([]Secret, error) {
	var out []Secret
	for _, f := range e.SecretFiles {
		if !filepath.IsAbs(f) {
			f = filepath.Join(home, f)
		}
		list, err := ReadSecrets(f)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	for _, v := range e.SecretEnv {
		text, ok := lookup(v)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", v)
		}
		s, err := ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("the environment variable %s: %w", v, err)
		}
		out = append(out, s)
	}
	if len(out) > maxSecrets {
		return nil, fmt.Errorf("there are %d secrets, at most %d", len(out), maxSecrets)
	}
	return out, nil
}

// sign writes the three headers of a request: one signature for each secret.
func sign(h http.Header, secrets []Secret, id string, at time.Time, body []byte) error {
	var list []string
	for _, s := range secrets {
		w, err := standard.NewWebhookRaw(s.key)
		if err != nil {
			return err
		}
		signature, err := w.Sign(id, at, body)
		if err != nil {
			return err
		}
		list = append(list, signature)
	}
	h.Set(standard.HeaderWebhookID, id)
	h.Set(standard.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(standard.HeaderWebhookSignature, strings.Join(list, " "))
	return nil
}

// Verify says why a request was not signed with any of the secrets, or nil. Unless
// anyTime is set it must not be older or newer than five minutes.
func Verify(h http.Header, body []byte, secrets []Secret, anyTime bool) error {
	err := errors.New("there is no secret to verify with")
	for _, s := range secrets {
		w, e := standard.NewWebhookRaw(s.key)
		if e == nil && anyTime {
			e = w.VerifyIgnoringTimestamp(body, h)
		} else if e == nil {
			e = w.Verify(body, h)
		}
		if e == nil {
			return nil
		}
		err = e
	}
	return err
}

// environment is os.LookupEnv but in tests.
var environment = os.LookupEnv
