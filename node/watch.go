package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// startWatch keeps a validator key from signing after a start until the node has seen that
// nobody else signs with it: two homes with one key would sign twice. The others' blocks and
// votes show it, and the guard of the key stops the node where they do.
type startWatch struct {
	blocks int64
	wait   time.Duration
	log    *slog.Logger

	mu     sync.Mutex // guards what follows
	passed bool
	seen   int64     // blocks since the start
	quiet  time.Time // when the latest of them came, or the node started
}

// newStartWatch is a watch over so many blocks; without a block for wait, and up to half as
// long by chance, it ends too. The chance keeps two copies that start together apart.
func newStartWatch(blocks int64, wait time.Duration, log *slog.Logger) *startWatch {
	return &startWatch{blocks: blocks, wait: wait + rand.N(wait/2+1), log: log, quiet: time.Now()} //nolint:gosec // no secret
}

// errWatched is what the engine is told.
var errWatched = errors.New("the node has just started: its validator key signs nothing until the others' blocks have shown that no other process signs with it")

func (w *startWatch) may() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.passed {
		return errWatched
	}
	return nil
}

// saw tells the watch of a block that the guard has looked at.
func (w *startWatch) saw(catchingUp bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quiet = time.Now()
	if catchingUp || w.passed {
		return
	}
	// Chance again: of two that saw the same blocks, one begins first, and the other hears it.
	if w.seen++; w.seen >= w.blocks && (w.seen >= 3*w.blocks || rand.N(w.blocks+1) == 0) { //nolint:gosec // no secret
		w.pass("blocks", w.seen)
	}
}

// pass ends the watch; mu is held.
func (w *startWatch) pass(why string, value any) {
	w.passed = true
	w.log.Info("nobody else was seen to sign with the validator key; it signs from now on", why, value)
}

// run ends the watch when no block comes.
func (w *startWatch) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for w.may() != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		if quiet := time.Since(w.quiet); !w.passed && quiet > w.wait {
			w.pass("no block for", quiet.Round(time.Millisecond).String())
		}
		w.mu.Unlock()
	}
}
