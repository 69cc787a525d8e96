package consensus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
)

// WatchdogOptions bounds how long the height may stand still.
type WatchdogOptions struct {
	// Unhealthy is the age of the latest block from which the node reports itself
	// unhealthy. 0: 15 s.
	Unhealthy time.Duration
	// Exit is the age from which the node gives up and exits, for a supervisor to
	// start it anew. 0: never, since a missing quorum mends itself when validators
	// come back. A consensus that panicked exits at once in any case.
	Exit time.Duration
}

const (
	defaultUnhealthy = 15 * time.Second
	watchEvery       = time.Second
)

// watchdog turns a height that stands still into an unhealthy node, and drops
// peers whose organisation left and those that are banned.
type watchdog struct {
	n *Node
	o WatchdogOptions

	mu     sync.Mutex // guards height and since
	height int64
	since  time.Time // when the height was first seen
}

func newWatchdog(n *Node, o WatchdogOptions) *watchdog {
	if o.Unhealthy == 0 {
		o.Unhealthy = defaultUnhealthy
	}
	return &watchdog{n: n, o: o, since: now()}
}

// everyWatch calls look each watchEvery until ctx ends.
func everyWatch(ctx context.Context, look func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look()
	}
}

func (w *watchdog) run(ctx context.Context) {
	everyWatch(ctx, func() {
		w.look()
		w.dropFormerMembers()
	})
}

func (w *watchdog) look() {
	height := w.n.o.App.Tree().Version()
	w.mu.Lock()
	if height != w.height {
		w.height, w.since = height, now()
	}
	age := now().Sub(w.since)
	w.mu.Unlock()
	if w.o.Exit > 0 && age > w.o.Exit && !w.n.app.beginning() {
		w.n.halt(fmt.Errorf("no block for %s: the height stands at %d; %s", age.Round(time.Second), height, w.quorum()))
	}
}

// health is the age of the latest block in milliseconds and whether it is young
// enough.
func (w *watchdog) health() (age int64, ok bool, reason string) {
	height := w.n.o.App.Tree().Version()
	w.mu.Lock()
	if height != w.height {
		w.height, w.since = height, now()
	}
	d := now().Sub(w.since)
	w.mu.Unlock()
	if d <= w.o.Unhealthy {
		return d.Milliseconds(), true, ""
	}
	return d.Milliseconds(), false, fmt.Sprintf("no block for %s: the height stands at %d; %s", d.Round(time.Second), height, w.quorum())
}

func (w *watchdog) quorum() string {
	return fmt.Sprintf("%d peers are connected; more than two thirds of the voting power must be online for a block", len(w.n.peers()))
}

// dropFormerMembers disconnects peers that may no longer connect: the filter
// looks at a peer only when it does.
func (w *watchdog) dropFormerMembers() {
	state := w.n.o.App.Latest()
	for _, p := range w.n.node.Switch().Peers().Copy() {
		if w.n.app.allowed(state, string(p.ID())) {
			continue
		}
		if w.n.app.bans.has(string(p.ID())) {
			w.n.log.Warn("dropping a peer that is banned", "node", p.ID())
		} else {
			w.n.log.Warn("dropping a peer that no active organisation binds any more", "node", p.ID())
		}
		w.n.node.Switch().StopPeerGracefully(p)
	}
}

func (n *Node) peers() []string {
	var out []string
	n.node.Switch().Peers().ForEach(func(p p2p.Peer) { out = append(out, string(p.ID())) })
	slices.Sort(out)
	return out
}
