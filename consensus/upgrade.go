package consensus

import (
	"time"

	"github.com/cometbft/cometbft/libs/service"
)

// stopAtUpgrade ends the node after a block that this program cannot follow up, SPEC U5.
// The engine must not go on to fetch the next block: it has no way to be told that a block
// cannot be executed, but for a panic that ends the process.
func (a *application) stopAtUpgrade(err error) {
	a.log.Error("the node stops before an upgrade that this program does not know", "height", a.app.Tree().Version(), "reason", err)
	if a.unsync != nil {
		a.unsync()
	}
	a.halt(err)
}

// stopBlockSync stops the reactor that fetches blocks. It is called within that reactor's
// own routine too, for which Stop waits: so it waits until the stop has begun, and no
// longer, after which the routine takes no further block. Stop waits for its end, before
// which it writes what it knows of the block at hand.
func (n *Node) stopBlockSync() {
	if n.node == nil {
		return // the engine replays its own blocks, and is told of the error
	}
	reactor, ok := n.node.Switch().Reactor("BLOCKSYNC")
	if !ok {
		return
	}
	var s service.Service = reactor
	if !s.IsRunning() {
		return
	}
	n.unsyncing.Go(func() {
		if err := s.Stop(); err != nil {
			n.log.Debug("the reactor that fetches blocks had stopped already", "error", err)
		}
	})
	for s.IsRunning() {
		time.Sleep(time.Millisecond)
	}
}
