package provenance

import (
	"context"
	"flag"
	"fmt"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

var benchNodes = flag.Int("nodes", 20_000, "how many entities the graph of a benchmark holds; at least 2000")

// archive is a graph in a memory tree: chains of derivations of 1000 entities, of
// which each is also derived from one of the chain beside it.
type archive struct {
	*net
	tree *state.Memory
}

func (a *archive) At(context.Context) (chain.ReadCtx, error) {
	s := a.tree.Latest()
	return a.App().ViewOf(s, s.Version()), nil
}

func newArchive(b *testing.B) *archive {
	b.Helper()
	a := &archive{net: start(b)}
	a.q = &Queries{module: a.m, snapshots: a}
	var err error
	if a.tree, err = state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.tree.Close() })
	o := state.NewOverlay(a.tree.Latest())
	at := func(i int) *pb.Ref { return &pb.Ref{Organisation: mercy, Id: fmt.Sprintf("e%07d", i), Version: 1} }
	for i := range *benchNodes {
		n := &pb.Node{Ref: at(i), Description: &pb.Node_Entity{Entity: file(fmt.Sprint(i))}}
		a.m.nodes.Put(o, state.Join3(mercy, n.Ref.Id, uint32(0)), n)
		for k, of := range []int{i - 1, i - 1000} {
			if of < 0 || k == 0 && i%1000 == 0 {
				continue
			}
			kind, id := pb.RelationKind_RELATION_KIND_DERIVATION, hashOf(fmt.Sprint(i, of))
			r := &pb.Relation{Kind: kind, Subject: n.Ref, Object: at(of)}
			a.m.out.Put(o, edgeKeyOf(n.Ref, kind, id), &pb.Edge{Id: id, Relation: r})
			a.m.in.Put(o, edgeKeyOf(at(of), kind, id), &pb.Backlink{Subject: n.Ref})
		}
	}
	if _, err := a.tree.Apply(o.Changes()); err != nil {
		b.Fatal(err)
	}
	if err := a.tree.Save(); err != nil {
		b.Fatal(err)
	}
	return a
}

// BenchmarkAncestors is one page of 500 of what the last entity of a chain came from,
// and all pages to a depth of 1000 in a graph of two chains' width.
func BenchmarkAncestors(b *testing.B) {
	a := newArchive(b)
	request := func(token []byte) *pb.TraceRequest {
		return &pb.TraceRequest{Start: &pb.Ref{Organisation: mercy, Id: "e0001999", Version: 1}, MaxDepth: maxDepth, Limit: 500, PageToken: token}
	}
	b.Run("page", func(b *testing.B) {
		for b.Loop() {
			out, err := a.q.Ancestors(context.Background(), request(nil))
			if err != nil || len(out.Steps) != 500 {
				b.Fatal(out, err)
			}
		}
	})
	b.Run("depth 1000", func(b *testing.B) {
		for b.Loop() {
			nodes, deepest := 0, uint32(0)
			for token, more := []byte(nil), true; more; more = len(token) > 0 {
				out, err := a.q.Ancestors(context.Background(), request(token))
				if err != nil {
					b.Fatal(err)
				}
				for _, s := range out.Steps {
					deepest = max(deepest, s.Depth)
				}
				nodes, token = nodes+len(out.Steps), out.NextPageToken
			}
			if nodes != 1999 || deepest != 1000 {
				b.Fatal(nodes, deepest)
			}
			b.ReportMetric(float64(nodes), "nodes")
		}
	})
}

// BenchmarkProve is one ICS23 proof of a node's record, the proof of a receipt.
func BenchmarkProve(b *testing.B) {
	a := newArchive(b)
	s := a.tree.Latest()
	i := 0
	for b.Loop() {
		i = (i + 7919) % *benchNodes
		p, err := s.Prove(a.m.nodes.Key(state.Join3(mercy, fmt.Sprintf("e%07d", i), uint32(0))))
		if err != nil || p.GetExist() == nil {
			b.Fatal(p, err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
}
