package consensus

import (
	"context"
	"log/slog"
	"slices"

	cmtlog "github.com/cometbft/cometbft/libs/log"
)

// logger hands the engine's log to slog. The engine's lines of level info are
// ours of level debug: it writes several per block. What With is given is kept as it is
// until a line is written: the engine calls it for each vote that it sends, and slog would
// spell the attributes out, and look for secrets in them, for lines that nobody wants.
type logger struct {
	log  *slog.Logger
	with []any
}

var _ cmtlog.Logger = logger{}

func (l logger) Debug(msg string, keyvals ...any) {}
func (l logger) Info(msg string, keyvals ...any)  { l.write(slog.LevelDebug, msg, keyvals) }
func (l logger) Warn(msg string, keyvals ...any)  { l.write(slog.LevelWarn, msg, keyvals) }
func (l logger) Error(msg string, keyvals ...any) { l.write(slog.LevelError, msg, keyvals) }

func (l logger) With(keyvals ...any) cmtlog.Logger {
	return logger{l.log, slices.Concat(l.with, keyvals)}
}

func (l logger) write(level slog.Level, msg string, keyvals []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, msg, slices.Concat(l.with, keyvals)...)
	}
}
