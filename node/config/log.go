package config

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// Level parses node.log_level.
func Level(name string) (slog.Level, error) {
	switch name {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, fmt.Errorf("log level %q must be debug, info, warn or error", name)
	}
}

// Logger writes to w as the section [node] says, without secrets; see redact. level
// changes what is written while it runs.
func (n Node) Logger(w io.Writer) (log *slog.Logger, level *slog.LevelVar, err error) {
	level = new(slog.LevelVar)
	begin, err := Level(n.LogLevel)
	if err != nil {
		return nil, nil, err
	}
	level.Set(begin)
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	switch n.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), level, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), level, nil
	default:
		return nil, nil, fmt.Errorf("log format %q must be text or json", n.LogFormat)
	}
}

// Redacted stands where a secret was.
const Redacted = "REDACTED"

var (
	// secretName is the end of an attribute's name whose value is never written.
	secretName = regexp.MustCompile(`(?i)(^|[_.\s-])(passphrase|password|secret|secrets|token|private[_ -]?key|priv[_ -]?key|seed|authorization|credential|credentials|cookie)$`)
	// secretText is what is a secret wherever it stands: PEM keys, age identities, secrets of
	// webhooks, bearer tokens, passwords in addresses.
	secretText = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)|AGE-SECRET-KEY-1[0-9A-Z]+|whsec_[A-Za-z0-9+/=_-]+|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}|://[^/\s:@]+:[^/\s@]+@`)
	// secretMarks are parts of what secretText finds; text without one of them is not
	// searched.
	secretMarks = []string{"PRIVATE KEY", "AGE-SECRET", "whsec_", "earer", "EARER", "asic", "ASIC", "://"}
)

// redact is a slog.HandlerOptions.ReplaceAttr that leaves secrets out.
func redact(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() != slog.KindGroup && secretName.MatchString(a.Key) {
		a.Value = slog.StringValue(Redacted)
		return a
	}
	var text string
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	case fmt.Stringer:
		if a.Value.Kind() != slog.KindAny {
			return a
		}
		text = v.String()
	default:
		return a
	}
	for _, mark := range secretMarks {
		if strings.Contains(text, mark) {
			if clean := secretText.ReplaceAllString(text, Redacted); clean != text {
				a.Value = slog.StringValue(clean)
			}
			return a
		}
	}
	return a
}
