package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// No secret gets into the log, whatever its place, in either form.
func TestSecretsAreRedacted(t *testing.T) {
	secrets := []string{"hunter2hunter2", "MC4CAQAwBQYDK2VwBCIEIA", "AGE-SECRET-KEY-1QQQQ", "whsec_abcdef", "eyJhbGciOi.abc", "pa55w0rd"}
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		n := Default().Node
		n.LogFormat = format
		log, _, err := n.Logger(&out)
		if err != nil {
			t.Fatal(err)
		}
		log.With("passphrase", secrets[0]).Info("opened", "key", "-----BEGIN PRIVATE KEY-----\n"+secrets[1]+"\n-----END PRIVATE KEY-----")
		log.Error("failed", "error", errors.New("identity "+secrets[2]), slog.Group("webhook", "secret", secrets[3], "text", "secret "+secrets[3]))
		log.Warn("refused", "header", "Bearer "+secrets[4], "url", "https://user:"+secrets[5]+"@example.org/x", "feed_token", secrets[0])
		log.Info("bearer "+secrets[4], "height", 7, "token_count", 3)
		for _, s := range secrets {
			if strings.Contains(out.String(), s) {
				t.Errorf("%s: %q is in the log:\n%s", format, s, out.String())
			}
		}
		if !strings.Contains(out.String(), "opened") || !strings.Contains(out.String(), "example.org") || !strings.Contains(out.String(), "token_count") {
			t.Errorf("too much is left out:\n%s", out.String())
		}
		if format == "json" {
			for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
				if !json.Valid([]byte(line)) {
					t.Errorf("no JSON: %s", line)
				}
			}
		}
	}
}

// The level changes while the logger is in use.
func TestLevelChanges(t *testing.T) {
	var out bytes.Buffer
	log, level, err := Default().Node.Logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	part := log.With("part", "x")
	part.Debug("one")
	level.Set(slog.LevelDebug)
	part.Debug("two")
	if strings.Contains(out.String(), "one") || !strings.Contains(out.String(), "two") {
		t.Error(out.String())
	}
}
