package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/node/config"
)

// The exit code is 0 for a node that takes part, and with --live for one that waits; 1
// for one that has halted, that does not answer, or whose port another program has.
func TestHealth(t *testing.T) {
	answer, code := "", 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer == "" {
			time.Sleep(2 * healthPatience)
		}
		w.WriteHeader(code)
		_, _ = w.Write([]byte(answer))
	}))
	defer server.Close()
	s := newShell(t)
	home := config.Home(s.path("probed"))
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Telemetry.Listen = strings.TrimPrefix(server.URL, "http://")
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		answer      string
		code        int
		says        string
		plain, live bool
	}{
		{`{"state":"healthy","healthy":true,"height":7,"block_age_ms":250}`, 200, "healthy", true, true},
		{`{"state":"catching-up","healthy":true,"catching_up":true}`, 200, "catching-up", true, true},
		{`{"state":"waiting","healthy":false,"reason":"no block for 20s"}`, 503, "waiting", false, true},
		{`{"state":"halted","healthy":false,"reason":"consensus has halted","halted":true}`, 503, "halted", false, false},
		{`<html>`, 404, "no node's health", false, false},
	} {
		answer, code = w.answer, w.code
		for _, live := range []bool{false, true} {
			args := []string{"health", "--home", string(home)}
			good := w.plain
			if live {
				args, good = append(args, "--live"), w.live
			}
			if good {
				if out := s.ok(args...); !strings.Contains(out, w.says) {
					t.Errorf("%s: %s", w.answer, out)
				}
				continue
			}
			s.fails(1, w.says, args...)
		}
	}
	answer = ""
	began := time.Now()
	s.fails(1, "silent", "health", "--home", string(home))
	if took := time.Since(began); took > healthPatience+time.Second {
		t.Errorf("a node that does not answer is waited for %v", took)
	}
	s.fails(1, "", "health", "--home", s.path("nowhere"))
	c.Telemetry.Listen = ""
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	s.fails(1, "telemetry.listen", "health", "--home", string(home))
}
