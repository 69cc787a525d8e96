package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/receipt"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// historyPatience bounds one question for the history of validators.
	historyPatience = 30 * time.Second
	// historyPause is between two rounds of questions.
	historyPause = 10 * time.Second
)

// fetchHistory gets, for a node that began with a snapshot, the headers that lead from the
// genesis validators to its own oldest header, without which it makes no receipts. Whom it
// asks need not be trusted: every signature is verified. It asks until it has them or ctx
// ends.
func (n *Node) fetchHistory(ctx context.Context) {
	for said := false; ; said = true {
		err := n.askHistory(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !n.config.Sync.Enabled() {
			n.log.Warn("the node makes no receipts: it lacks headers that lead from the genesis validators to its oldest block, and [sync] names nobody to ask", "error", err)
			return
		}
		if !said {
			n.log.Warn("the headers that lead from the genesis validators to the oldest block are not here yet; until then the node makes no receipts", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(historyPause):
		}
	}
}

// askHistory asks each server of [sync] in turn. It returns nil when nothing is missing.
func (n *Node) askHistory(ctx context.Context) error {
	height, want, err := n.historyEnd()
	if err != nil || height == 0 {
		return err
	}
	options, err := n.syncClient()
	if err != nil {
		return err
	}
	failed := fmt.Errorf("the validators of block %d are not those of the genesis", height)
	for _, address := range n.config.Sync.Servers {
		links, err := n.historyFrom(ctx, address, options, height, want)
		if err == nil {
			err = n.engine.Records().PutLinks(links...)
		}
		if err == nil {
			n.log.Info("fetched and verified the headers that lead from the genesis validators to the oldest block", "from", address, "headers", len(links), "oldest", height)
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", address, err))
	}
	return failed
}

// historyEnd is up to which height the node lacks what leads from the genesis, and the hash
// of the validators there; 0: it lacks nothing.
func (n *Node) historyEnd() (height int64, want []byte, err error) {
	h, err := n.face().History()
	if err != nil {
		return 0, nil, err
	}
	if len(h.Changes) > 0 {
		first, err := receipt.HeaderOf(h.Changes[0])
		if err != nil || bytes.Equal(first.ValidatorsHash, h.First) {
			return 0, nil, err
		}
		return first.Height, first.ValidatorsHash, nil
	}
	if h.Oldest <= 1 {
		return 0, nil, nil
	}
	light, err := n.engine.LightBlock(h.Oldest)
	if err != nil || bytes.Equal(light.ValidatorsHash, h.First) {
		return 0, nil, err
	}
	return h.Oldest, light.ValidatorsHash, nil
}

// historyFrom asks a server what leads to the validators of a height, and verifies it.
func (n *Node) historyFrom(ctx context.Context, address string, options []client.Option, height int64, want []byte) (_ []records.Link, err error) {
	ctx, cancel := context.WithTimeout(ctx, historyPatience)
	defer cancel()
	c, err := client.Dial(ctx, address, options...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	got, err := nodev1.NewReceiptsClient(c.Conn()).History(ctx, &nodev1.HistoryRequest{Height: height})
	if err != nil {
		return nil, err
	}
	// A change in the header of height h acts at h + 1.
	set, err := receipt.Follow(n.genesis, got.History, height-1)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(set.Hash(), want) {
		return nil, fmt.Errorf("what it gives does not lead to the validators of block %d", height)
	}
	links := make([]records.Link, len(got.History))
	for i, l := range got.History {
		header, err := receipt.HeaderOf(l)
		if err != nil {
			return nil, err
		}
		links[i].Height = header.Height
		if links[i].Raw, err = l.MarshalVT(); err != nil {
			return nil, err
		}
	}
	return links, nil
}
