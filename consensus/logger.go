package consensus

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	cmtlog "github.com/cometbft/cometbft/libs/log"
)

// logger hands the engine's log to slog. The engine's lines of level info are
// ours of level debug: it writes several per block. What With is given is kept as it is
// until a line is written: the engine calls it for each vote that it sends, and slog would
// spell the attributes out, and look for secrets in them, for lines that nobody wants.
type logger struct {
	log   *slog.Logger
	fault func(error) // is told of each error in a line of level error; nil: nobody is
	with  []any
}

var _ cmtlog.Logger = logger{}

func (l logger) Debug(msg string, keyvals ...any) {}
func (l logger) Info(msg string, keyvals ...any)  { l.write(slog.LevelDebug, msg, keyvals) }
func (l logger) Warn(msg string, keyvals ...any)  { l.write(slog.LevelWarn, msg, keyvals) }
func (l logger) Error(msg string, keyvals ...any) {
	l.write(slog.LevelError, msg, keyvals)
	if l.fault == nil {
		return
	}
	for i := 1; i < len(keyvals); i += 2 {
		if err, ok := keyvals[i].(error); ok {
			l.fault(err)
		}
	}
}

func (l logger) With(keyvals ...any) cmtlog.Logger {
	return logger{l.log, l.fault, slices.Concat(l.with, keyvals)}
}

func (l logger) write(level slog.Level, msg string, keyvals []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, msg, slices.Concat(l.with, keyvals)...)
	}
}

// unwritten is what the node ends with after an error of the engine, nil where it goes on:
// the write-ahead log of consensus, at a path with others of its folder, could not be written. Its
// buffer keeps its first error, so that nothing can be written any more, also when the disk
// takes writes again. The engine ends where it has a vote or a proposal to write down, and
// only tells its own log where the flush fails that comes before it signs, or the one of
// every other second: then the validator never votes again, and where its vote is needed
// consensus waits for ever. Nothing but the engine's log tells so: it takes no other one.
func unwritten(wal string, err error) error {
	var at *fs.PathError
	if !errors.As(err, &at) || at.Op == "read" || filepath.Dir(at.Path) != filepath.Dir(wal) {
		return nil
	}
	return fmt.Errorf("the engine's log of consensus cannot be written, so that this node can vote no more; see to its disk and start the node again: %w", err)
}
