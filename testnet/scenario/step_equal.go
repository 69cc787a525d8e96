package scenario

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/node/client"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// equal compares the app hashes of all nodes that run at one height, and names
// those that do not run.
func (r *run) equal(ctx context.Context) error {
	status, err := r.c.Status(ctx)
	if err != nil {
		return err
	}
	// The root of this height's state is in the next header.
	height := status.Height + 1
	hashes := make(map[string]int)
	running := 0
	for i, m := range r.o.Members {
		hash, err := r.o.hashAt(ctx, m.RPC, height)
		if errors.Is(err, client.ErrUnreachable) {
			r.note("validator %d (%s) does not answer and is left out", i, slug(m.Organisation))
			continue
		}
		if err != nil {
			return fmt.Errorf("validator %d: %w", i, err)
		}
		running++
		hashes[hash]++
		r.result.AppHash = hash
	}
	if len(hashes) != 1 {
		return fmt.Errorf("at height %d the validators have %d app hashes: %v", height, len(hashes), hashes)
	}
	if 3*running <= 2*len(r.o.Members) {
		return fmt.Errorf("%d of %d validators answer; more than two thirds should", running, len(r.o.Members))
	}
	r.result.Height = height
	r.note("app hash %.16s… in block %d on all %d validators that run", r.result.AppHash, height, running)
	return nil
}

const pollHeight = 100 * time.Millisecond

// hashAt is the app hash in the header of a height, once the node has it.
func (o *Options) hashAt(ctx context.Context, address string, height int64) (string, error) {
	c, err := o.dial(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }() // it was only read from
	if err := reach(ctx, c, height); err != nil {
		return "", err
	}
	b, err := nodev1.NewNodeClient(c.Conn()).LightBlock(ctx, &nodev1.LightBlockRequest{Height: height})
	if err != nil {
		return "", err
	}
	block := new(cmtproto.LightBlock)
	if err := block.Unmarshal(b.LightBlock); err != nil {
		return "", fmt.Errorf("read the light block of height %d: %w", height, err)
	}
	return hex.EncodeToString(block.GetSignedHeader().GetHeader().GetAppHash()), nil
}

// reach waits until the client's node has committed a height.
func reach(ctx context.Context, c *client.Client, height int64) error {
	for {
		s, err := c.Status(ctx)
		if err != nil || s.Height >= height {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s stays at height %d, block %d is awaited: %w", c.Address(), s.Height, height, ctx.Err())
		case <-time.After(pollHeight):
		}
	}
}
