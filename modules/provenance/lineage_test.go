package provenance

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// arrow is a relation between nodes of a random graph.
type arrow struct {
	kind     pb.RelationKind
	from, to int
}

// graph is a reference: nodes are numbers, even ones entities, odd ones activities.
type graph struct {
	size   int
	arrows []arrow
}

func nodeID(i int) string {
	if i%2 == 0 {
		return fmt.Sprintf("e%d", i)
	}
	return fmt.Sprintf("a%d", i)
}

// home is the organisation that has the node.
func home(i int) string {
	if i%3 == 0 {
		return acme
	}
	return mercy
}

func (g graph) refOf(i int) *pb.Ref {
	return &pb.Ref{Organisation: home(i), Id: nodeID(i), Version: 1}
}

// lineageKinds are those that lead from a node of one parity to one of another.
func lineageKinds(from, to int) []pb.RelationKind {
	switch {
	case from%2 == 0 && to%2 == 0:
		return []pb.RelationKind{kindNamed("DERIVATION"), kindNamed("REVISION"), kindNamed("QUOTATION"), kindNamed("PRIMARY_SOURCE"), kindNamed("SPECIALIZATION")}
	case from%2 == 0:
		return []pb.RelationKind{kindNamed("GENERATION")}
	case to%2 == 0:
		return []pb.RelationKind{kindNamed("USAGE"), kindNamed("START")}
	default:
		return []pb.RelationKind{kindNamed("COMMUNICATION")}
	}
}

// reaches tells whether the lineage leads from a node to another.
func (g graph) reaches(from, to int) bool {
	seen := map[int]bool{from: true}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			return true
		}
		for _, a := range g.arrows {
			if a.from == queue[0] && !seen[a.to] && a.kind <= lastLineage {
				seen[a.to] = true
				queue = append(queue, a.to)
			}
		}
	}
	return false
}

// laid is a net with the nodes of a graph.
func laid(t testing.TB, size int) *net {
	n := start(t)
	for _, organisation := range []string{mercy, acme} {
		r := &pb.Record{}
		for i := range size {
			switch {
			case home(i) != organisation:
			case i%2 == 0:
				r.Nodes = append(r.Nodes, newEntity(nodeID(i)))
			default:
				r.Nodes = append(r.Nodes, newActivity(nodeID(i)))
			}
		}
		if len(r.Nodes) > 0 {
			n.Do(organisation, r)
		}
	}
	return n
}

func (g graph) message(a arrow) *pb.Relate {
	return &pb.Relate{Relations: []*pb.Relation{{Kind: a.kind, Subject: g.refOf(a.from), Object: g.refOf(a.to)}}}
}

// The lineage never has a cycle, and what closes none is accepted.
func TestLineageIsAcyclic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := graph{size: rapid.IntRange(2, 12).Draw(rt, "nodes")}
		n := laid(t, g.size)
		var raws [][]byte
		var want []bool
		for range rapid.IntRange(1, 40).Draw(rt, "relations") {
			from, to := rapid.IntRange(0, g.size-1).Draw(rt, "from"), rapid.IntRange(0, g.size-1).Draw(rt, "to")
			a := arrow{rapid.SampledFrom(lineageKinds(from, to)).Draw(rt, "kind"), from, to}
			closes := g.reaches(to, from)
			if !closes {
				g.arrows = append(g.arrows, a)
			}
			want = append(want, !closes)
			raws = append(raws, n.Tx(home(from), []proto.Message{g.message(a)}))
		}
		for i, r := range n.Block(raws...) {
			if want[i] && r.Code != 0 {
				rt.Fatalf("relation %d closes no cycle: %s", i, r.Log)
			}
			if !want[i] && r.Code != ErrCycle.Code {
				rt.Fatalf("relation %d closes a cycle: %d %s", i, r.Code, r.Log)
			}
		}
		edges := must[proto.Message](t)(n.m.ExportGenesis(n.View())).(*pb.Genesis).Edges
		if err := checkLineage(edges); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestMembershipMayBeMutual(t *testing.T) {
	n := populated(t)
	n.relateAll(mercy, relation("MEMBERSHIP", "e1", "e2"), relation("MEMBERSHIP", "e2", "e1"), relation("DERIVATION", "e1", "e2"))
	n.Fails(ErrCycle, mercy, &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "e2", "e1")}})
	// What ends or invalidates something does not come before it.
	n.relateAll(mercy, relation("USAGE", "a1", "e1"), relation("INVALIDATION", "e1", "a1"), relation("GENERATION", "e2", "a2"), relation("END", "a2", "e2"))
	n.Fails(ErrCycle, mercy, &pb.Relate{Relations: []*pb.Relation{relation("USAGE", "a1", "e1"), relation("START", "a2", "e2")}})
	n.Fails(ErrCycle, mercy, &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "e1", "e1")}})
}

// However long the history behind it, a node that is registered with its relations
// costs no search; two old nodes with more history between them than can be searched
// are refused.
func TestSearchIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a history of nine thousand relations")
	}
	n := start(t)
	n.Do(acme, &pb.Record{Nodes: []*pb.NewNode{newEntity("unrelated"), newEntity("fresh")}})
	// Two fans: what mercy's entity "root" came from, and what came from "leaf".
	const fan, batch = 4200, 100
	n.Do(mercy, &pb.Record{Nodes: []*pb.NewNode{newEntity("root"), newEntity("leaf")}})
	for from := 0; from < fan; from += batch {
		var raws [][]byte
		r := &pb.Record{}
		for i := from; i < from+batch; i++ {
			source, product := fmt.Sprintf("s%d", i), fmt.Sprintf("p%d", i)
			r.Nodes = append(r.Nodes, newEntity(product))
			r.Relations = append(r.Relations,
				&pb.Relation{Kind: kindNamed("DERIVATION"), Subject: ref("root"), Object: ref(source)},
				&pb.Relation{Kind: kindNamed("DERIVATION"), Subject: ref(product), Object: ref("leaf")})
		}
		sources := &pb.Record{}
		for i := from; i < from+batch; i++ {
			sources.Nodes = append(sources.Nodes, newEntity(fmt.Sprintf("s%d", i)))
		}
		raws = append(raws, n.Tx(mercy, []proto.Message{sources}), n.Tx(mercy, []proto.Message{r}))
		for _, result := range n.Block(raws...) {
			if result.Code != 0 {
				t.Fatal(result.Log)
			}
		}
	}
	n.Fails(ErrTooEntangled, mercy, &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "leaf", "root")}})
	// The other way round the ends are free, and so is anything new.
	quick := n.Do(mercy, &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "root", "leaf")}})
	if quick.Units > 100_000 {
		t.Fatalf("%d units", quick.Units)
	}
	fresh := &pb.Record{Nodes: []*pb.NewNode{newEntity("new")}, Relations: []*pb.Relation{relation("DERIVATION", "new", "root"), relation("DERIVATION", "new", "leaf")}}
	if r := n.Do(mercy, fresh); r.Units > 200_000 {
		t.Fatalf("%d units", r.Units)
	}
	if err := refusal(n.Net, mercy, &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "leaf", "new")}}); !errors.Is(err, ErrCycle) {
		t.Fatal(err)
	}
}

// The largest Record fits into a transaction of the default parameters.
func TestLargestRecord(t *testing.T) {
	n := start(t)
	r := &pb.Record{}
	for i := range maxNodes {
		r.Nodes = append(r.Nodes, &pb.NewNode{Id: fmt.Sprintf("warehouse/table-%d", i), Description: &pb.NewNode_Entity{Entity: file(fmt.Sprint(i))}})
	}
	for i := range maxRelations {
		r.Relations = append(r.Relations, &pb.Relation{
			Kind: kindNamed("DERIVATION"), Subject: ref(fmt.Sprintf("warehouse/table-%d", i%64)), Object: ref(fmt.Sprintf("warehouse/table-%d", 64+(i+i/64)%64)),
			Types: []string{"https://example.org/type"},
		})
	}
	result := n.Do(mercy, r)
	if result.Units > 10_000_000 {
		t.Fatalf("%d units", result.Units)
	}
}
