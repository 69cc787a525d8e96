package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"
)

const (
	maxEndpoints = 32
	maxTypes     = 100
)

// Options are the configuration of all endpoints.
type Options struct {
	Endpoints []Endpoint
}

// Endpoint is the configuration of one.
type Endpoint struct {
	// Name stands for the endpoint in logs and measurements, since URLs may hold
	// secrets: letters, digits, dots and dashes, at most 64.
	Name string
	// URL is where events are posted to: https, or http to loopback.
	URL string
	// SecretFiles and SecretEnv say where secrets are: files with a secret a line, and
	// environment variables with one each. Every request is signed with each of them,
	// and they are read for each request, so a secret is rotated by adding a new one
	// and later removing the old one. See ParseSecret.
	SecretFiles []string
	SecretEnv   []string
	// Types are full names of event messages; none: the default ones.
	Types []string
	// Timeout bounds one request.
	Timeout time.Duration
	// MaxAttempts is after how many an event is given up, loudly; 0: never.
	MaxAttempts int
	// AllowPrivate permits private and link-local addresses.
	AllowPrivate bool
}

// DefaultEndpoint is an endpoint with nothing but bounds.
func DefaultEndpoint() Endpoint { return Endpoint{Timeout: 15 * time.Second, MaxAttempts: 30} }

var (
	name      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$`)
	variable  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	eventType = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
)

// Check says what is wrong with o.
func (o Options) Check() error {
	var faults []error
	if len(o.Endpoints) > maxEndpoints {
		faults = append(faults, fmt.Errorf("%d endpoints, at most %d", len(o.Endpoints), maxEndpoints))
	}
	names, urls := map[string]bool{}, map[string]bool{}
	for _, e := range o.Endpoints {
		if err := e.Check(); err != nil {
			faults = append(faults, fmt.Errorf("endpoint %q: %w", e.Name, err))
		}
		if names[e.Name] || urls[e.URL] {
			faults = append(faults, fmt.Errorf("endpoint %q: there is another one of its name or URL", e.Name))
		}
		names[e.Name], urls[e.URL] = true, true
	}
	return errors.Join(faults...)
}

// Check says what is wrong with e. It names no URL.
func (e Endpoint) Check() error {
	var faults []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	want(name.MatchString(e.Name), "name: must be letters, digits, dots and dashes, at most 64")
	u, err := url.Parse(e.URL)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || len(e.URL) > 2048:
		want(false, "url: is none, or longer than 2048 bytes")
	case u.User != nil:
		want(false, "url: must not hold a name or password; requests are signed instead")
	case u.Fragment != "":
		want(false, "url: must not hold a fragment")
	default:
		want(u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()), "url: must be https, or http to loopback")
	}
	want(len(e.SecretFiles)+len(e.SecretEnv) > 0, "secret_files, secret_env: name at least one")
	want(len(e.SecretFiles)+len(e.SecretEnv) <= maxSecrets, "secret_files, secret_env: at most %d", maxSecrets)
	for _, v := range e.SecretEnv {
		want(variable.MatchString(v), "secret_env: must be names of environment variables, not secrets")
	}
	for _, f := range e.SecretFiles {
		want(f != "", "secret_files: holds an empty name")
	}
	want(len(e.Types) <= maxTypes, "types: %d, at most %d", len(e.Types), maxTypes)
	for _, t := range e.Types {
		want(eventType.MatchString(t) && len(t) <= 256, "types: %q is no full name of a message", t)
	}
	want(e.Timeout >= 100*time.Millisecond && e.Timeout <= 2*time.Minute, "timeout: %s, want 100ms to 2m", e.Timeout)
	want(e.MaxAttempts >= 0 && e.MaxAttempts <= 10_000, "max_attempts: %d, want 0 to 10000", e.MaxAttempts)
	return errors.Join(faults...)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
