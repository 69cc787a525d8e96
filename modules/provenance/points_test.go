package provenance

import (
	"context"
	"iter"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
)

// pointsOnly is a Snapshots whose state fails the test when a range is read.
type pointsOnly struct {
	net *chaintest.Net
	t   testing.TB
}

func (p pointsOnly) At(context.Context) (chain.ReadCtx, error) {
	return noWalk{p.net.View(), p.t}, nil
}

type noWalk struct {
	chain.ReadCtx
	t testing.TB
}

func (n noWalk) Walk(start, end []byte, _ bool) iter.Seq2[[]byte, []byte] {
	n.t.Fatalf("a point query walks from %x to %x", start, end)
	return nil
}

// fixed is a Snapshots of one state.
type fixed struct{ chain.ReadCtx }

func (f fixed) At(context.Context) (chain.ReadCtx, error) { return f.ReadCtx, nil }
