package node

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery/chancery/node/certs"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
)

// spoken is a log that may be read while it is written.
type spoken struct {
	mu  sync.Mutex // guards all
	all strings.Builder
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func put(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// secured is a home whose door has TLS, with an authority that signed its certificate
// and is in rpc.client_ca.
func secured(t *testing.T, life time.Duration) (config.Home, *certs.Authority, []byte) {
	t.Helper()
	home, c := newHome(t)
	a, ca, _, err := certs.NewAuthority("test", time.Now(), certs.AuthorityLife)
	if err != nil {
		t.Fatal(err)
	}
	c.RPC.TLSCert, c.RPC.TLSKey, c.RPC.ClientCA = "config/tls/server.pem", "config/tls/server-key.pem", "config/tls/ca.pem"
	put(t, home.Resolve(c.RPC.ClientCA), ca)
	serverPair(t, home, a, life)
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	return home, a, ca
}

func serverPair(t *testing.T, home config.Home, a *certs.Authority, life time.Duration) {
	t.Helper()
	cert, key, err := a.Issue(certs.Request{Name: "server", Hosts: []string{"127.0.0.1"}, At: time.Now(), Life: life})
	if err != nil {
		t.Fatal(err)
	}
	put(t, home.Resolve("config/tls/server-key.pem"), key)
	put(t, home.Resolve("config/tls/server.pem"), cert)
}

// An alarm is raised as the clock passes each threshold, in the log, in the status and
// in the measurements, and no more than once.
func TestCertificatesRaiseAlarms(t *testing.T) {
	home, a, ca := secured(t, 60*24*time.Hour)
	// The node that runs raises its own alarms by the same clock, whenever it comes to it;
	// what is counted here is kept apart from them.
	shift, log := time.Duration(0), new(spoken)
	var mu sync.Mutex // guards shift
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(shift)
	}
	n, err := Open(home, Options{Version: "test", Log: slog.New(slog.DiscardHandler), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Stop() })
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	raised := alarms{log: slog.New(slog.NewTextHandler(log, nil)), raised: make(map[string]int32)}
	for _, c := range []struct {
		days  int
		alarm int32
		text  string
	}{
		{0, -1, ""}, {29, -1, ""}, {31, 30, "days=30"}, {32, 30, ""}, {54, 7, "days=7"}, {59, 1, "within a day"}, {61, 0, "has ended"}, {62, 0, ""},
	} {
		mu.Lock()
		shift = time.Duration(c.days)*24*time.Hour + time.Minute
		mu.Unlock()
		before := strings.Count(log.String(), "use=server")
		raised.raise(n.expiries())
		said := strings.Count(log.String(), "use=server") - before
		if want := strings.Count(c.text, "") > 1; want != (said == 1) {
			t.Errorf("after %d days %d alarms were logged", c.days, said)
		}
		if !strings.Contains(log.String(), c.text) {
			t.Errorf("after %d days the log lacks %q", c.days, c.text)
		}
		s := n.face().Status()
		if len(s.Certificates) != 2 || s.Certificates[0].Use != "server" || s.Certificates[0].AlarmDays != c.alarm {
			t.Errorf("after %d days the status says %v", c.days, s.Certificates)
		}
	}
	r, err := http.Get("http://" + n.TelemetryAddress() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(text), `chancery_node_certificate_expires_seconds{fingerprint="`) {
		t.Errorf("the measurements lack the certificates (%v)", err)
	}

	// A certificate that is not valid by the clock is refused by the door's own words.
	cert, key, err := a.Issue(certs.Request{Name: "pager", At: time.Now(), Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, raw := range map[string][]byte{"ca": ca, "cert": cert, "key": key} {
		put(t, filepath.Join(dir, name), raw)
	}
	files, err := client.TLSFiles(filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Dial(t.Context(), n.Address(), client.TLS(files)); err == nil || !strings.Contains(err.Error(), "node/22") {
		t.Errorf("a client with an expired certificate: %v", err)
	}
	mu.Lock()
	shift = 0
	mu.Unlock()
	until(t, "an administrator's certificate lets in", func() bool {
		c, err := client.Dial(t.Context(), n.Address(), client.TLS(files))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// The door takes a new certificate without a restart, keeps the one before when the new
// one is not usable, and says so.
func TestDoorReadsItsFilesAgain(t *testing.T) {
	home, a, _ := secured(t, time.Hour)
	log := new(spoken)
	c, err := config.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openSecrets(home, c.RPC, slog.New(slog.NewTextHandler(log, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	serves := func() string {
		pair, err := s.server().GetCertificate(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return string(pair.Certificate[0])
	}
	first := serves()
	s.reload()
	if log.String() != "" {
		t.Errorf("nothing changed, and the log says %s", log)
	}
	serverPair(t, home, a, 2*time.Hour)
	s.reload()
	second := serves()
	if second == first || !strings.Contains(log.String(), "uses its new files") {
		t.Fatalf("the new pair is not in use: %s", log)
	}
	for name, spoil := range map[string]func(){
		"a key that does not fit": func() {
			_, key, err := a.Issue(certs.Request{Name: "other", Hosts: []string{"127.0.0.1"}, At: time.Now(), Life: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			put(t, home.Resolve(c.RPC.TLSKey), key)
		},
		"no certificate": func() { put(t, home.Resolve(c.RPC.TLSCert), []byte("nothing")) },
		"an ended one":   func() { serverPair(t, home, a, -time.Minute) },
	} {
		before := strings.Count(log.String(), "those before stay in use")
		spoil()
		s.reload()
		s.reload()
		if serves() != second || strings.Count(log.String(), "those before stay in use") != before+1 {
			t.Errorf("%s: %s", name, log)
		}
	}
	if err := os.Remove(home.Resolve(c.RPC.TLSKey)); err != nil {
		t.Fatal(err)
	}
	s.reload()
	if serves() != second {
		t.Error("the door lost its certificate with a file")
	}
	serverPair(t, home, a, 3*time.Hour)
	s.reload()
	if serves() == second {
		t.Error("the door does not recover")
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("the log holds a key")
	}
}

// A home whose files are not usable is refused with the key of the configuration.
func TestDoorsFilesAreCheckedAtStart(t *testing.T) {
	for key, spoil := range map[string]func(config.Home, *config.Config){
		"rpc.tls_key":   func(h config.Home, c *config.Config) { c.RPC.TLSKey = "config/nothing.pem" },
		"rpc.client_ca": func(h config.Home, c *config.Config) { put(t, h.Resolve(c.RPC.ClientCA), []byte("nothing")) },
		"rpc.policies": func(h config.Home, c *config.Config) {
			c.RPC.Policies = "config/doors.cedar"
			put(t, h.Resolve(c.RPC.Policies), []byte("permit (principal"))
		},
	} {
		home, _, _ := secured(t, time.Hour)
		c, err := config.Load(home)
		if err != nil {
			t.Fatal(err)
		}
		spoil(home, &c)
		if _, err := openSecrets(home, c.RPC, quiet(t), nil); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
