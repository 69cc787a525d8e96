package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chancery/chancery/node/internal/clock"
)

// startWatch keeps a validator key from signing after a start until the node has seen that
// nobody else signs with it: two homes with one key would sign twice. The others' blocks and
// votes show it, and the guard of the key stops the node where they do.
type startWatch struct {
	blocks int64
	wait   time.Duration // without a block, until it ends
	chance time.Duration // from the last of the blocks, until it ends
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex // guards what follows
	passed bool
	seen   int64     // blocks since the start
	latest time.Time // when the latest that counts came
	due    time.Time // when the watch ends; zero: not enough blocks came yet
	quiet  time.Time // when the latest of all blocks came, or the node started
}

// apart is how far from one another blocks come that count: what a node takes in at once that
// was late says nothing of who signs now.
const apart = 100 * time.Millisecond

// newStartWatch is a watch over so many blocks, and by chance up to wait from then on; without
// a block for wait, and up to half as long by chance, it ends too. The chance keeps two copies
// that start together apart: who begins first is heard by the other, unless it begins within
// the same step of consensus.
func newStartWatch(blocks int64, wait time.Duration, log *slog.Logger) *startWatch {
	return &startWatch{
		blocks: blocks, wait: spread(wait), chance: rand.N(wait + 1), now: time.Now, log: log, quiet: time.Now(), //nolint:gosec // no secret
	}
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
	now := w.now()
	w.quiet = now
	if catchingUp || w.passed || now.Sub(w.latest) < apart {
		return
	}
	w.latest = now
	if w.seen++; w.seen == w.blocks {
		w.due = now.Add(w.chance)
	}
}

// look ends the watch where it is time to.
func (w *startWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	switch quiet := now.Sub(w.quiet); {
	case w.passed:
	case !w.due.IsZero() && !now.Before(w.due):
		w.pass("blocks", w.seen)
	case quiet > w.wait:
		w.pass("no block for", quiet.Round(time.Millisecond).String())
	}
}

// pass ends the watch; mu is held.
func (w *startWatch) pass(why string, value any) {
	w.passed = true
	w.log.Info("nobody else was seen to sign with the validator key; it signs from now on", why, value)
}

// run ends the watch in its time.
func (w *startWatch) run(ctx context.Context) {
	for w.may() != nil && clock.Wait(ctx, watchEvery) {
		w.look()
	}
}

// watchEvery is how often it looks: copies end their watches at moments of their own.
const watchEvery = 10 * time.Millisecond
