package config

import (
	"fmt"
	"io"
	"log/slog"
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

// Logger writes to w as the section [node] says.
func (n Node) Logger(w io.Writer) (*slog.Logger, error) {
	level, err := Level(n.LogLevel)
	if err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: level}
	switch n.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	default:
		return nil, fmt.Errorf("log format %q must be text or json", n.LogFormat)
	}
}
