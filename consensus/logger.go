package consensus

import (
	"log/slog"

	cmtlog "github.com/cometbft/cometbft/libs/log"
)

// logger hands the engine's log to slog. The engine's lines of level info are
// ours of level debug: it writes several per block.
type logger struct{ log *slog.Logger }

var _ cmtlog.Logger = logger{}

func (l logger) Debug(msg string, keyvals ...any) {}
func (l logger) Info(msg string, keyvals ...any)  { l.log.Debug(msg, keyvals...) }
func (l logger) Warn(msg string, keyvals ...any)  { l.log.Warn(msg, keyvals...) }
func (l logger) Error(msg string, keyvals ...any) { l.log.Error(msg, keyvals...) }
func (l logger) With(keyvals ...any) cmtlog.Logger {
	return logger{l.log.With(keyvals...)}
}
