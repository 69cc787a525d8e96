package provenance

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// TestByHash is what `verify FILE` asks: who registered this content, when, from what.
func TestByHash(t *testing.T) {
	n := scenario(t)
	const content = "id,value\n1,8\n"
	for _, hash := range [][]byte{hashOf(content), hashOf(content)[2:]} {
		got := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hash})).Registrations
		if len(got) != 2 || got[0].Node.Author != mercy || got[1].Node.Author != acme || got[0].Node.RegisteredAt >= got[1].Node.RegisteredAt {
			t.Fatalf("registrations %v", got)
		}
		var from []string
		for _, e := range got[1].Edges {
			from = append(from, kindName(e.Relation.Kind)+" "+e.Relation.Object.Id)
		}
		equal(t, "from what", from, []string{"DERIVATION results.csv", "PRIMARY_SOURCE results.csv", "GENERATION run-1"})
		first := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hash, Limit: 1}))
		second := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hash, Limit: 1, PageToken: first.NextPageToken}))
		if !first.Registrations[0].EqualVT(got[0]) || !second.Registrations[0].EqualVT(got[1]) || len(second.NextPageToken) != 0 {
			t.Fatal("pages differ from the whole")
		}
		if _, err := n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hashOf("other"), PageToken: first.NextPageToken}); !errors.Is(err, ErrBadPage) {
			t.Fatal(err)
		}
	}
	// A superseded version is found by its own content.
	old := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hashOf("id,value\n1,7\n")})).Registrations
	if len(old) != 1 || old[0].Node.Status != pb.Status_STATUS_INVALIDATED || kindName(old[0].Edges[len(old[0].Edges)-1].Relation.Kind) != "ATTRIBUTION" {
		t.Fatalf("registrations %v", old)
	}
	if r := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, &pb.ByHashRequest{Hash: hashOf("nobody's")})); len(r.Registrations) != 0 {
		t.Fatal("found what nobody registered")
	}
	if _, err := n.q.ByHash(ctx, &pb.ByHashRequest{Hash: []byte("short")}); !errors.Is(err, ErrBadHash) {
		t.Fatal(err)
	}
}

func TestAnchors(t *testing.T) {
	n := start(t)
	root := hashOf("root")[2:]
	batch := &pb.Batch{Root: root, Leaves: 3, Format: pb.LeafFormat_LEAF_FORMAT_SHA256}
	for i, author := range []string{mercy, acme, mercy} {
		n.Do(author, &pb.AnchorBatch{Id: fmt.Sprintf("batch-%d", i), Batch: batch})
	}
	if r := n.Do(mercy, &pb.AnchorBatch{Id: "batch-0", Batch: batch}); len(r.Events) != 0 {
		t.Fatal("anchored twice")
	}
	other := batch.CloneVT()
	other.Leaves++
	n.Fails(ErrAnchorExists, mercy, &pb.AnchorBatch{Id: "batch-0", Batch: other})
	for name, change := range map[string]func(*pb.Batch){
		"short root":    func(b *pb.Batch) { b.Root = b.Root[1:] },
		"no leaves":     func(b *pb.Batch) { b.Leaves = 0 },
		"2^32+1 leaves": func(b *pb.Batch) { b.Leaves = maxLeaves + 1 },
		"no format":     func(b *pb.Batch) { b.Format = 0 },
	} {
		b := batch.CloneVT()
		change(b)
		if err := refusal(n.Net, mercy, &pb.AnchorBatch{Id: "x", Batch: b}); !errors.Is(err, ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.Fails(ErrBadBatch, mercy, &pb.AnchorBatch{Id: "x"})
	n.Fails(ErrNotFound, mercy, &pb.AnchorBatch{Id: "x", Batch: &pb.Batch{Root: root, Leaves: 3, Format: 1, About: ref("nothing")}})
	got := must[*pb.AnchorResponse](t)(n.q.Anchor(ctx, &pb.AnchorRequest{Organisation: acme, Id: "batch-1"})).Anchor
	if got.Author != acme || got.Batch.Leaves != 3 || len(got.TxId) != 32 {
		t.Fatalf("anchor %v", got)
	}
	if _, err := n.q.Anchor(ctx, &pb.AnchorRequest{Organisation: acme, Id: "batch-0"}); !errors.Is(err, ErrNoAnchor) {
		t.Fatal(err)
	}
	for limit := uint32(1); limit <= 4; limit++ {
		var order []string
		for req := (&pb.AnchorsByRootRequest{Root: root, Limit: limit}); ; {
			r := must[*pb.AnchorsByRootResponse](t)(n.q.AnchorsByRoot(ctx, req))
			for _, a := range r.Anchors {
				order = append(order, a.Id)
			}
			if req.PageToken = r.NextPageToken; len(req.PageToken) == 0 {
				break
			}
		}
		equal(t, "anchors", order, []string{"batch-0", "batch-1", "batch-2"})
	}
	if _, err := n.q.AnchorsByRoot(ctx, &pb.AnchorsByRootRequest{Root: root[1:]}); !errors.Is(err, ErrBadQuery) {
		t.Fatal(err)
	}
}

func TestNodesAreListed(t *testing.T) {
	n := scenario(t)
	for _, c := range []struct {
		kind pb.NodeKind
		want []string
	}{
		{anyKind, []string{person, "all;results:(v1).", "bundle", "device", "lab", "measure", "old%20scan", "protocol", "results.csv"}},
		{agentKind, []string{person, "device", "lab"}},
		{activityKind, []string{"measure"}},
	} {
		for limit := uint32(1); limit <= 10; limit++ {
			var got []*pb.Node
			for req := (&pb.NodesRequest{Organisation: mercy, Kind: c.kind, Limit: limit}); ; {
				r := must[*pb.NodesResponse](t)(n.q.Nodes(ctx, req))
				got = append(got, r.Nodes...)
				if req.PageToken = r.NextPageToken; len(req.PageToken) == 0 {
					break
				}
			}
			equal(t, c.kind.String(), ids(got), c.want)
			if latest := got[len(got)-1]; c.kind == anyKind && latest.Ref.Version != 2 {
				t.Fatalf("listed %v", latest)
			}
		}
	}
	r := must[*pb.NodesResponse](t)(n.q.Nodes(ctx, &pb.NodesRequest{Organisation: mercy, Limit: 1}))
	if _, err := n.q.Nodes(ctx, &pb.NodesRequest{Organisation: acme, PageToken: r.NextPageToken}); !errors.Is(err, ErrBadPage) {
		t.Fatal(err)
	}
}

func TestRelationsArePaged(t *testing.T) {
	n := populated(t)
	var want [][]byte
	for i := range 7 {
		want = append(want, n.relateAll(mercy, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: of(acme, "e1"), HappenedAt: int64(i + 1)})...)
	}
	n.relateAll(mercy, relation("ASSOCIATION", "a1", "g1"))
	for _, node := range []struct {
		ref       *pb.Ref
		direction pb.Direction
	}{{of(mercy, "a1"), pb.Direction_DIRECTION_OUT}, {of(acme, "e1"), pb.Direction_DIRECTION_IN}} {
		for limit := uint32(1); limit <= 8; limit++ {
			seen := map[string]int{}
			for req := (&pb.RelationsRequest{Node: node.ref, Direction: node.direction, Kind: kindNamed("USAGE"), Limit: limit}); ; {
				r := must[*pb.RelationsResponse](t)(n.q.Relations(ctx, req))
				for _, e := range r.Edges {
					seen[string(e.Id)]++
				}
				if req.PageToken = r.NextPageToken; len(req.PageToken) == 0 {
					break
				}
			}
			for _, id := range want {
				if seen[string(id)] != 1 || len(seen) != len(want) {
					t.Fatalf("pages of %d: %x seen %d times of %d", limit, id, seen[string(id)], len(seen))
				}
			}
		}
	}
	first := must[*pb.RelationsResponse](t)(n.q.Relations(ctx, &pb.RelationsRequest{Node: of(mercy, "a1"), Direction: pb.Direction_DIRECTION_OUT, Limit: 1}))
	for name, c := range map[string]struct {
		want error
		req  *pb.RelationsRequest
	}{
		"token of another node": {ErrBadPage, &pb.RelationsRequest{Node: of(mercy, "a2"), Direction: pb.Direction_DIRECTION_OUT, PageToken: first.NextPageToken}},
		"token of another kind": {ErrBadPage, &pb.RelationsRequest{Node: of(mercy, "a1"), Kind: kindNamed("ASSOCIATION"), Direction: pb.Direction_DIRECTION_OUT, PageToken: first.NextPageToken}},
		"no direction":          {ErrBadQuery, &pb.RelationsRequest{Node: of(mercy, "a1")}},
		"no node":               {ErrBadQuery, &pb.RelationsRequest{Direction: pb.Direction_DIRECTION_OUT}},
		"unknown kind":          {ErrBadQuery, &pb.RelationsRequest{Node: of(mercy, "a1"), Kind: lastKind + 1, Direction: pb.Direction_DIRECTION_OUT}},
		"out of outside":        {ErrBadQuery, &pb.RelationsRequest{Node: external("a:b"), Direction: pb.Direction_DIRECTION_OUT}},
	} {
		if _, err := n.q.Relations(ctx, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// The queries for one record read no range, so that their answers can be proven.
func TestPointQueriesWalkNothing(t *testing.T) {
	n := scenario(t)
	q := &Queries{module: n.m, snapshots: pointsOnly{n.Net, t}}
	for _, version := range []uint32{0, 1, 2} {
		must[*pb.NodeResponse](t)(q.Entity(ctx, &pb.NodeRequest{Organisation: mercy, Id: "results.csv", Version: version}))
		must[*pb.VersionsResponse](t)(q.Versions(ctx, &pb.VersionsRequest{Organisation: mercy, Id: "results.csv"}))
	}
	if _, err := q.Node(ctx, &pb.NodeRequest{Organisation: mercy, Id: "nothing"}); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	must[*pb.NodeResponse](t)(q.Activity(ctx, &pb.NodeRequest{Organisation: acme, Id: "run-1"}))
	must[*pb.NodeResponse](t)(q.Agent(ctx, &pb.NodeRequest{Organisation: acme, Id: "loader"}))
	if _, err := q.Agent(ctx, &pb.NodeRequest{Organisation: acme, Id: "run-1"}); !errors.Is(err, ErrOtherKind) {
		t.Fatal(err)
	}
	if _, err := q.Node(ctx, &pb.NodeRequest{Id: "run-1"}); !errors.Is(err, ErrBadQuery) {
		t.Fatal(err)
	}
	must[*pb.AnchorResponse](t)(q.Anchor(ctx, &pb.AnchorRequest{Organisation: acme, Id: "rows"}))
	for _, e := range must[proto.Message](t)(n.m.ExportGenesis(n.View())).(*pb.Genesis).Edges {
		got := must[*pb.RelationResponse](t)(q.Relation(ctx, &pb.RelationRequest{Subject: e.Relation.Subject, Kind: e.Relation.Kind, Id: e.Id}))
		if !got.Edge.EqualVT(e) {
			t.Fatalf("relation %v", got)
		}
	}
}
