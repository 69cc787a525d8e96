package node

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// A node that runs makes checkpoints of its blocks and proves these, and another computes the
// same tree from the headers that it asks for.
func TestCheckpointsOfANodeThatRuns(t *testing.T) {
	home, c := newHome(t)
	c.Checkpoint.Interval = 2
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	logs := nodev1.NewCheckpointsClient(dial(t, n))
	var latest *nodev1.CheckpointResponse
	until(t, "there is a checkpoint", func() bool {
		var err error
		latest, err = logs.Checkpoint(t.Context(), &nodev1.CheckpointRequest{})
		return err == nil && latest.Size >= 4
	})
	policy, err := checkpoint.ParsePolicy([]byte("log " + latest.VerifierKey + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := policy.Verify([]byte(latest.Checkpoint)); err != nil || v.Origin != checkpoint.Origin(n.genesis.ChainID) || v.Size != latest.Size {
		t.Fatal(v, err)
	}
	for height := int64(1); height <= 4; height++ {
		r, err := logs.Inclusion(t.Context(), &nodev1.InclusionRequest{Height: height})
		if err != nil {
			t.Fatal(err)
		}
		p, err := checkpoint.ParseInclusion([]byte(r.Proof))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(policy); err != nil {
			t.Fatal(err)
		}
		if header, ok := n.engine.Header(height); !ok || !bytes.Equal(header.Hash(), p.Block.Hash) {
			t.Fatalf("block %d", height)
		}
	}
	if _, err := logs.Consistency(t.Context(), &nodev1.ConsistencyRequest{Size: 1 << 40}); !errors.Is(client.FromStatus(err), checkpoint.ErrNotYet) {
		t.Error(err)
	}

	fetched := func(own *types.Header) (*checkpoint.Log, error) {
		l, _, err := checkpoint.OpenLog(t.TempDir(), latest.VerifierKey[:strings.Index(latest.VerifierKey, "+")])
		if err != nil {
			t.Fatal(err)
		}
		options := []client.Option{client.ChainID(n.genesis.ChainID)}
		return l, headersFrom(context.Background(), n.Address(), options, l, own)
	}
	own, ok := n.engine.Header(latest.Size + 1)
	if !ok {
		until(t, "there is a block more", func() bool { own, ok = n.engine.Header(latest.Size + 1); return ok })
	}
	l, err := fetched(own)
	if err != nil || l.Size() != latest.Size {
		t.Fatal(l.Size(), err)
	}
	if root, err := l.Root(latest.Size); err != nil || !bytes.Equal(root[:], latest.Root) {
		t.Error(root, err)
	}
	forged := *own
	forged.LastBlockID.Hash = bytes.Repeat([]byte{1}, 32)
	if _, err := fetched(&forged); err == nil || !strings.Contains(err.Error(), "does not follow") {
		t.Errorf("headers of another chain are taken: %v", err)
	}
	forged = *own
	forged.ChainID = "other-1"
	if _, err := fetched(&forged); err == nil {
		t.Error("headers of another chain are taken")
	}
}

func TestWithoutAnIntervalThereAreNoCheckpoints(t *testing.T) {
	home, _ := newHome(t)
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	logs := nodev1.NewCheckpointsClient(dial(t, n))
	_, shown := logs.Checkpoint(t.Context(), &nodev1.CheckpointRequest{})
	_, included := logs.Inclusion(t.Context(), &nodev1.InclusionRequest{Height: 1})
	_, consistent := logs.Consistency(t.Context(), &nodev1.ConsistencyRequest{Size: 1})
	for _, err := range []error{shown, included, consistent} {
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "checkpoint.interval") {
			t.Errorf("it says %v, and not what to set", err)
		}
	}
	if _, err := checkpoint.ReadKey(home.CheckpointKeyFile(), checkpoint.LogRole); err == nil {
		t.Error("a key was made")
	}
}
