package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// takeNextNodeKey begins to use the node key that 'chancery node-key prepare' made, once
// the state of this home binds it: the organisation of the node so far, or, where nobody
// binds that one any more, any active organisation. Otherwise the node keeps its key and
// says why. Nothing in the home is open yet.
func (n *Node) takeNextNodeKey() (err error) {
	next, err := n.home.NextNodeID()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A state that is restored in part is removed by whoever opens the engine.
	if _, err := os.Stat(n.home.RestoringFile()); err == nil {
		n.log.Warn("the next node key waits until the node has a state", "next", next)
		return nil
	}
	keys, err := n.config.Keys(n.home)
	if err != nil {
		return err
	}
	height, reason, err := n.mayTake(keys.NodeID, next)
	if err != nil {
		return fmt.Errorf("ask the state for the next node key: %w", err)
	}
	if reason != "" {
		n.log.Warn("the node keeps its node key, for "+reason+"; bind the next one on the chain (identity bind-node) and start the node again", "node", keys.NodeID, "next", next, "height", height)
		return nil
	}
	if err := n.home.ReplaceNodeKey(); err != nil {
		return err
	}
	n.log.Warn("the node has a new node key; unbind the old one on the chain (identity unbind-node)", "node", next, "old", keys.NodeID, "height", height)
	return nil
}

// mayTake gives the reason why a node may not go from one id to another, by the state of
// its home; "" where it may.
func (n *Node) mayTake(from, to string) (height int64, reason string, err error) {
	tree, err := openTree(n.config.State, n.config.Pruning.Images(), n.home.Data(), n.log)
	if err != nil {
		return 0, "", err
	}
	modules := Wire()
	app, err := modules.App(n.genesis.ChainID, tree)
	if err != nil {
		return 0, "", errors.Join(err, tree.Close())
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	height = app.Tree().Version()
	if height == 0 {
		return 0, "it has no state yet", nil
	}
	state := app.Latest()
	was, known := modules.Identity.NodeOrganisation(state, from)
	is, bound := modules.Identity.NodeOrganisation(state, to)
	switch {
	case !bound:
		return height, "no organisation binds the next one", nil
	case known && was != is:
		return height, fmt.Sprintf("the next one is bound to %s, and this one to %s", is, was), nil
	case !modules.Identity.NodeAllowed(state, to):
		return height, fmt.Sprintf("%s, which binds the next one, is not active", is), nil
	}
	return height, "", nil
}
