package provenance

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// reference walks a graph breadth first and describes each step. Relations of a node
// are taken in the order of kinds and ids that the query promises.
func (g graph) reference(start int, down bool, depth int, follow func(pb.RelationKind) bool) (out []string) {
	type relationOf struct {
		kind  pb.RelationKind
		id    string
		other int
	}
	relations := map[int][]relationOf{}
	for _, a := range g.arrows {
		r := relationOf{a.kind, string(relationID(&pb.Relation{Kind: a.kind, Subject: g.refOf(a.from), Object: g.refOf(a.to)})), a.to}
		at := a.from
		if down {
			at, r.other = a.to, a.from
		}
		if !slices.Contains(relations[at], r) {
			relations[at] = append(relations[at], r)
		}
	}
	type visit struct{ node, depth int }
	seen := map[int]bool{start: true}
	for queue := []visit{{start, 0}}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at.depth == depth {
			continue
		}
		list := relations[at.node]
		slices.SortFunc(list, func(a, b relationOf) int {
			if a.kind != b.kind {
				return int(a.kind) - int(b.kind)
			}
			return strings.Compare(a.id, b.id)
		})
		for _, r := range list {
			if follow(r.kind) && !seen[r.other] {
				seen[r.other] = true
				queue = append(queue, visit{r.other, at.depth + 1})
				out = append(out, fmt.Sprintf("%d %s %x", at.depth+1, nodeID(r.other), r.id))
			}
		}
	}
	return out
}

func steps(r *pb.TraceResponse) (out []string) {
	for _, s := range r.Steps {
		out = append(out, fmt.Sprintf("%d %s %x", s.Depth, s.Node.Id, s.Via.Id))
	}
	return out
}

// Ancestors and descendants are those of a plain breadth-first search, at every page
// size, though relations are registered between the pages, and though the relations
// that are followed have cycles.
func TestTracesAreBreadthFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := graph{size: rapid.IntRange(2, 10).Draw(rt, "nodes")}
		n := laid(t, g.size)
		var raws [][]byte
		for range rapid.IntRange(1, 25).Draw(rt, "relations") {
			from, to := rapid.IntRange(0, g.size-1).Draw(rt, "from"), rapid.IntRange(0, g.size-1).Draw(rt, "to")
			kinds := append(lineageKinds(from, to), kindNamed("INFLUENCE"))
			if from%2 == 0 && to%2 == 0 {
				kinds = append(kinds, kindNamed("MEMBERSHIP"), kindNamed("ALTERNATE"))
			}
			a := arrow{rapid.SampledFrom(kinds).Draw(rt, "kind"), from, to}
			if from == to || a.kind <= lastLineage && g.reaches(to, from) {
				continue
			}
			g.arrows = append(g.arrows, a)
			raws = append(raws, n.Tx(home(from), []proto.Message{g.message(a)}))
		}
		for _, r := range n.Block(raws...) {
			if r.Code != 0 {
				rt.Fatal(r.Log)
			}
		}
		start := rapid.IntRange(0, g.size-1).Draw(rt, "start")
		depth := rapid.IntRange(0, 5).Draw(rt, "depth")
		req := &pb.TraceRequest{Start: g.refOf(start), MaxDepth: uint32(depth)}
		follow := func(k pb.RelationKind) bool { return k <= lastTraced }
		if rapid.Bool().Draw(rt, "all kinds") {
			for k := pb.RelationKind(1); k <= lastKind; k++ {
				req.Kinds = append(req.Kinds, k)
			}
			follow = func(pb.RelationKind) bool { return true }
		}
		if depth == 0 {
			depth = defaultDepth
		}
		down := rapid.Bool().Draw(rt, "down")
		query := n.q.Ancestors
		if down {
			query = n.q.Descendants
		}
		want := g.reference(start, down, depth, follow)
		sizes := []int{1, len(want) + 1, rapid.IntRange(1, 5).Draw(rt, "page")}
		if rapid.IntRange(0, 9).Draw(rt, "thorough") == 0 {
			for size := 2; size <= len(want); size++ {
				sizes = append(sizes, size)
			}
		}
		for i, size := range sizes {
			var got []string
			req.Limit, req.PageToken = uint32(size), nil
			for {
				r, err := query(ctx, req)
				if err != nil {
					rt.Fatal(err)
				}
				if len(r.Steps) > size {
					rt.Fatalf("%d steps on a page of %d", len(r.Steps), size)
				}
				got = append(got, steps(r)...)
				if req.PageToken = r.NextPageToken; len(req.PageToken) == 0 {
					break
				}
				if len(got) == size && i == 0 {
					n.branch(g, start)
				}
			}
			if i > 0 {
				// The branches that were added after the first trace began are seen by later ones.
				got = slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, " late") })
			}
			if !slices.Equal(got, want) {
				rt.Fatalf("pages of %d: got %v, want %v", size, got, want)
			}
		}
	})
}

// branch registers a node on both sides of one.
func (n *net) branch(g graph, at int) {
	n.t.Helper()
	id := fmt.Sprintf("late%d", n.Height())
	r := &pb.Record{Nodes: []*pb.NewNode{newEntity(id + "-before"), newActivity(id + "-after")}}
	if at%2 == 0 {
		r.Relations = append(r.Relations, &pb.Relation{Kind: kindNamed("DERIVATION"), Subject: g.refOf(at), Object: ref(id + "-before")})
		r.Relations = append(r.Relations, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref(id + "-after"), Object: g.refOf(at)})
	} else {
		r.Relations = append(r.Relations, &pb.Relation{Kind: kindNamed("USAGE"), Subject: g.refOf(at), Object: ref(id + "-before")})
		r.Relations = append(r.Relations, &pb.Relation{Kind: kindNamed("COMMUNICATION"), Subject: ref(id + "-after"), Object: g.refOf(at)})
	}
	n.Do(home(at), r)
}

func TestTraceRequests(t *testing.T) {
	n := populated(t)
	n.relateAll(mercy, relation("DERIVATION", "e1", "e2"), relation("USAGE", "a1", "e1"), relation("GENERATION", "e1", "a2"))
	good := &pb.TraceRequest{Start: of(mercy, "e1"), Limit: 1}
	first := must[*pb.TraceResponse](t)(n.q.Ancestors(ctx, good))
	if len(first.NextPageToken) == 0 || first.AsOf != n.Now {
		t.Fatalf("first page %v", first)
	}
	token := func(change func(*pb.TraceRequest)) *pb.TraceRequest {
		r := good.CloneVT()
		r.PageToken = slices.Clone(first.NextPageToken)
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		want error
		req  *pb.TraceRequest
	}{
		"token of another start":   {ErrBadPage, token(func(r *pb.TraceRequest) { r.Start = of(mercy, "e2") })},
		"token of another depth":   {ErrBadPage, token(func(r *pb.TraceRequest) { r.MaxDepth = 9 })},
		"token of other kinds":     {ErrBadPage, token(func(r *pb.TraceRequest) { r.Kinds = []pb.RelationKind{1} })},
		"token of the future":      {ErrBadPage, token(func(r *pb.TraceRequest) { r.PageToken[4] = 0x70 })},
		"token with a huge offset": {ErrBadPage, token(func(r *pb.TraceRequest) { r.PageToken[12] = 0x70 })},
		"cut token":                {ErrBadPage, token(func(r *pb.TraceRequest) { r.PageToken = r.PageToken[1:] })},
		"limit":                    {ErrBadPage, &pb.TraceRequest{Start: of(mercy, "e1"), Limit: maxPage + 1}},
		"depth":                    {ErrBadQuery, &pb.TraceRequest{Start: of(mercy, "e1"), MaxDepth: maxDepth + 1}},
		"kind":                     {ErrBadQuery, &pb.TraceRequest{Start: of(mercy, "e1"), Kinds: []pb.RelationKind{lastKind + 1}}},
		"no start":                 {ErrBadQuery, &pb.TraceRequest{}},
		"no organisation":          {ErrBadQuery, &pb.TraceRequest{Start: ref("e1")}},
		"no such start":            {ErrNotFound, &pb.TraceRequest{Start: of(mercy, "e9")}},
		"ancestors of outside":     {ErrBadQuery, &pb.TraceRequest{Start: external("https://example.org/")}},
	} {
		if _, err := n.q.Ancestors(ctx, c.req); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := n.q.Descendants(ctx, token(func(*pb.TraceRequest) {})); !errors.Is(err, ErrBadPage) {
		t.Errorf("token of the other direction: %v", err)
	}
}

func TestTracesAreBounded(t *testing.T) {
	m := New(deps)
	overlay := state.NewOverlay(nothing{})
	object := &pb.Ref{Organisation: mercy, Id: "popular", Version: 1}
	id := make([]byte, 32)
	for i := range maxTraced + 1 {
		id[0], id[1], id[2] = byte(i), byte(i>>8), byte(i>>16)
		m.in.Put(overlay, edgeKeyOf(object, kindNamed("USAGE"), slices.Clone(id)), &pb.Backlink{Subject: &pb.Ref{Organisation: mercy, Id: "same", Version: 1}})
	}
	kinds, err := kindSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	t1 := trace{start: keyOf(object), down: true, maxDepth: 1, kinds: kinds, asOf: 1}
	if _, err := m.follow(overlay, t1, 0, 10); !errors.Is(err, ErrTraceTooLarge) {
		t.Fatal(err)
	}
}

// nothing is an empty state.
type nothing struct{}

func (nothing) Lookup([]byte) []byte { return nil }

func (nothing) Walk([]byte, []byte, bool) iter.Seq2[[]byte, []byte] {
	return func(func([]byte, []byte) bool) {}
}
