package provenance

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// ends are the types of subject and object in PROV-DM section 5, with its names.
var ends = map[string][2]string{
	"DERIVATION": {"e", "e"}, "REVISION": {"e", "e"}, "QUOTATION": {"e", "e"}, "PRIMARY_SOURCE": {"e", "e"},
	"GENERATION": {"e", "a"}, "USAGE": {"a", "e"}, "COMMUNICATION": {"a", "a"}, "START": {"a", "e"}, "END": {"a", "e"},
	"INVALIDATION": {"e", "a"}, "ATTRIBUTION": {"e", "g"}, "ASSOCIATION": {"a", "g"}, "DELEGATION": {"g", "g"},
	"INFLUENCE": {"eag", "eag"}, "SPECIALIZATION": {"e", "e"}, "ALTERNATE": {"e", "e"}, "MEMBERSHIP": {"e", "e"}, "MENTION": {"e", "e"},
}

// populated has two nodes of each type for both organisations: e1 e2 a1 a2 g1 g2.
func populated(t testing.TB) *net {
	n := start(t)
	nodes := []*pb.NewNode{newEntity("e1"), newEntity("e2"), newEntity("bundle"), newActivity("a1"), newActivity("a2"), newAgent("g1"), newAgent("g2")}
	n.Do(mercy, &pb.Record{Nodes: nodes})
	n.Do(acme, &pb.Record{Nodes: nodes})
	return n
}

func contains(types string, node byte) bool {
	for i := 0; i < len(types); i++ {
		if types[i] == node {
			return true
		}
	}
	return false
}

func TestEachKindTakesItsTypesAlone(t *testing.T) {
	n := populated(t)
	if len(ends) != int(lastKind) {
		t.Fatalf("%d kinds are tested, there are %d", len(ends), lastKind)
	}
	for name, types := range ends {
		for _, subject := range "eag" {
			for _, object := range "eag" {
				r := relation(name, string(subject)+"1", string(object)+"2")
				if name == "MENTION" {
					r.Bundle = ref("bundle")
				}
				err := refusal(n.Net, mercy, &pb.Relate{Relations: []*pb.Relation{r}})
				fits := contains(types[0], byte(subject)) && contains(types[1], byte(object))
				if fits && err != nil || !fits && !errors.Is(err, ErrOtherKind) {
					t.Errorf("%s of %c and %c: %v", name, subject, object, err)
				}
			}
		}
	}
}

func TestRelate(t *testing.T) {
	for name, types := range ends {
		t.Run(name, func(t *testing.T) {
			n := populated(t)
			r := relation(name, types[0][:1]+"1", types[1][:1]+"2")
			r.Object.Organisation = acme
			if name == "MENTION" {
				r.Bundle = ref("bundle")
			}
			if s := shapes[r.Kind]; !s.bare {
				r.Name = "statement-1"
				r.Types = []string{"https://example.org/T"}
			}
			result := n.Do(mercy, &pb.Relate{Relations: []*pb.Relation{r, r}})
			response := chaintest.Response[pb.RelateResponse](t, result)
			if response.Created != 1 || string(response.Ids[0]) != string(response.Ids[1]) || len(response.Ids[0]) != 32 {
				t.Fatalf("response %v", response)
			}
			related := chaintest.Events[pb.Related](t, result)
			if len(related) != 1 || related[0].Kind != r.Kind || related[0].Subject.Organisation != mercy || related[0].Object.Version != 1 {
				t.Fatalf("events %v", related)
			}
			// Again, with the references filled.
			filled := r.CloneVT()
			filled.Subject.Organisation, filled.Subject.Version, filled.Object.Version = mercy, 1, 1
			if got := n.relateAll(mercy, filled); string(got[0]) != string(response.Ids[0]) {
				t.Fatal("the filled relation is another")
			}
			edge := must[*pb.RelationResponse](t)(n.q.Relation(ctx, &pb.RelationRequest{Subject: of(mercy, r.Subject.Id), Kind: r.Kind, Id: response.Ids[0]})).Edge
			if edge.Author != mercy || edge.RegisteredAt == 0 || edge.Relation.Object.Organisation != acme {
				t.Fatalf("stored %v", edge)
			}
			for _, c := range []struct {
				node      *pb.Ref
				direction pb.Direction
				found     int
			}{
				{edge.Relation.Subject, pb.Direction_DIRECTION_OUT, 1},
				{edge.Relation.Subject, pb.Direction_DIRECTION_IN, 0},
				{edge.Relation.Object, pb.Direction_DIRECTION_IN, 1},
				{edge.Relation.Object, pb.Direction_DIRECTION_OUT, 0},
			} {
				for _, kind := range []pb.RelationKind{0, r.Kind} {
					got := must[*pb.RelationsResponse](t)(n.q.Relations(ctx, &pb.RelationsRequest{Node: c.node, Direction: c.direction, Kind: kind}))
					if len(got.Edges) != c.found || c.found == 1 && !got.Edges[0].EqualVT(edge) {
						t.Fatalf("%v of %v: %v", c.direction, c.node, got)
					}
				}
				other := r.Kind%lastKind + 1
				got := must[*pb.RelationsResponse](t)(n.q.Relations(ctx, &pb.RelationsRequest{Node: c.node, Direction: c.direction, Kind: other}))
				if len(got.Edges) != 0 {
					t.Fatalf("%v found as %s", got, kindName(other))
				}
			}
			// Acme may not say it of Mercy's node.
			n.Fails(ErrNotYours, acme, &pb.Relate{Relations: []*pb.Relation{filled}})
			// The object may be external; the subject may not.
			r.Object = external("https://example.org/outside")
			n.relateAll(mercy, r)
			r.Object, r.Subject = r.Subject, r.Object
			n.Fails(ErrNotYours, mercy, &pb.Relate{Relations: []*pb.Relation{r}})
		})
	}
}

func TestQualifiedRelations(t *testing.T) {
	n := populated(t)
	role := []*pb.Attribute{{Key: "https://example.org/port", Type: pb.ValueType_VALUE_TYPE_TEXT, Value: "in"}}
	generation := &pb.Relation{Kind: kindNamed("GENERATION"), Subject: ref("e2"), Object: ref("a1"), HappenedAt: 5, Role: "output"}
	usage := &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: ref("e1"), HappenedAt: 4, Role: "https://example.org/role#input", Attributes: role}
	made := n.relateAll(mercy, generation, usage)
	derivation := &pb.Relation{Kind: kindNamed("DERIVATION"), Subject: ref("e2"), Object: ref("e1"), Activity: ref("a1"), Generation: made[0], Usage: made[1]}
	n.relateAll(mercy, derivation,
		&pb.Relation{Kind: kindNamed("ASSOCIATION"), Subject: ref("a1"), Object: ref("g1"), Plan: of(acme, "e1"), Role: "operator"},
		&pb.Relation{Kind: kindNamed("ASSOCIATION"), Subject: ref("a1"), Plan: external("https://example.org/plan")},
		&pb.Relation{Kind: kindNamed("DELEGATION"), Subject: ref("g1"), Object: of(acme, "g2"), Activity: ref("a1")},
		&pb.Relation{Kind: kindNamed("START"), Subject: ref("a2"), Object: ref("e2"), Activity: ref("a1"), HappenedAt: 6},
		&pb.Relation{Kind: kindNamed("END"), Subject: ref("a2"), HappenedAt: 7},
		&pb.Relation{Kind: kindNamed("GENERATION"), Subject: ref("e1"), HappenedAt: 1},
		&pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a2"), HappenedAt: 1},
	)
	change := func(change func(r *pb.Relation)) *pb.Relation {
		r := derivation.CloneVT()
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		want error
		r    *pb.Relation
	}{
		"no kind":                  {ErrBadRelation, &pb.Relation{Subject: ref("e1"), Object: ref("e2")}},
		"unknown kind":             {ErrBadRelation, &pb.Relation{Kind: lastKind + 1, Subject: ref("e1"), Object: ref("e2")}},
		"no subject":               {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Object: ref("e2")}},
		"derivation of nothing":    {ErrBadRelation, &pb.Relation{Kind: kindNamed("DERIVATION"), Subject: ref("e1")}},
		"association with nothing": {ErrBadRelation, &pb.Relation{Kind: kindNamed("ASSOCIATION"), Subject: ref("a1")}},
		"mention without bundle":   {ErrBadRelation, relation("MENTION", "e1", "e2")},
		"plan of a usage":          {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: ref("e1"), Plan: ref("e1")}},
		"activity of a usage":      {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: ref("e1"), Activity: ref("a1")}},
		"time of an attribution":   {ErrBadRelation, &pb.Relation{Kind: kindNamed("ATTRIBUTION"), Subject: ref("e1"), Object: ref("g1"), HappenedAt: 1}},
		"role of an attribution":   {ErrBadRelation, &pb.Relation{Kind: kindNamed("ATTRIBUTION"), Subject: ref("e1"), Object: ref("g1"), Role: "x"}},
		"role with a space":        {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: ref("e1"), Role: "a b"}},
		"name of a membership":     {ErrBadRelation, &pb.Relation{Kind: kindNamed("MEMBERSHIP"), Subject: ref("e1"), Object: ref("e2"), Name: "m"}},
		"usage without activity":   {ErrBadRelation, change(func(r *pb.Relation) { r.Activity = nil })},
		"short generation":         {ErrBadRelation, change(func(r *pb.Relation) { r.Generation = r.Generation[1:] })},
		"no such generation":       {ErrNoRelation, change(func(r *pb.Relation) { r.Generation = made[1] })},
		"no such usage":            {ErrNoRelation, change(func(r *pb.Relation) { r.Usage = made[0] })},
		"usage of something else":  {ErrNoRelation, change(func(r *pb.Relation) { r.Object = of(acme, "e1") })},
		"no such node":             {ErrNotFound, relation("USAGE", "a1", "e9")},
		"no such version":          {ErrNotFound, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: &pb.Ref{Id: "e1", Version: 2}}},
		"no such plan":             {ErrNotFound, &pb.Relation{Kind: kindNamed("ASSOCIATION"), Subject: ref("a1"), Object: ref("g1"), Plan: ref("e9")}},
		"alternate of itself":      {ErrBadRelation, relation("ALTERNATE", "e1", "e1")},
		"external and a node":      {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: &pb.Ref{External: "a:b", Id: "e1"}}},
		"external no IRI":          {ErrBadIRI, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: external("outside")}},
		"organisation no DID":      {ErrBadRelation, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("a1"), Object: of("acme", "e1")}},
	} {
		if err := refusal(n.Net, mercy, &pb.Relate{Relations: []*pb.Relation{c.r}}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A Relate is all or nothing, and bounded.
func TestRelateIsAtomic(t *testing.T) {
	n := populated(t)
	before := n.Root()
	n.Fails(ErrTooMany, mercy, &pb.Relate{})
	n.Fails(ErrTooMany, mercy, &pb.Relate{Relations: make([]*pb.Relation, maxRelations+1)})
	r := n.Block(n.Tx(mercy, []proto.Message{&pb.Relate{Relations: []*pb.Relation{relation("USAGE", "a1", "e1"), relation("GENERATION", "e1", "a1")}}}))[0]
	if r.Code != ErrCycle.Code || len(r.Events) != 0 {
		t.Fatalf("result %v", r)
	}
	got := must[*pb.RelationsResponse](t)(n.q.Relations(ctx, &pb.RelationsRequest{Node: of(mercy, "a1"), Direction: pb.Direction_DIRECTION_OUT}))
	if len(got.Edges) != 0 || len(before) == 0 {
		t.Fatalf("left behind: %v", got)
	}
}

// An OpenLineage run with its inputs and outputs is one transaction.
func TestRecord(t *testing.T) {
	n := start(t)
	run := func(number string) *pb.Record {
		table := &pb.NewNode{Id: "warehouse/orders", Revise: true, Description: &pb.NewNode_Entity{Entity: file("rows after run " + number)}}
		table.GetEntity().AttributedTo = ref("scheduler")
		return &pb.Record{
			Nodes: []*pb.NewNode{
				table,
				{Id: "run/" + number, Description: &pb.NewNode_Activity{Activity: &pb.Activity{StartedAt: 1, EndedAt: 2, Outcome: pb.Outcome_OUTCOME_COMPLETED}}},
				newAgent("scheduler"),
			},
			Relations: []*pb.Relation{
				relation("GENERATION", "warehouse/orders", "run/"+number),
				{Kind: kindNamed("USAGE"), Subject: ref("run/" + number), Object: external("postgres://orders.example.org/public.orders")},
				relation("ASSOCIATION", "run/"+number, "scheduler"),
			},
		}
	}
	r := chaintest.Response[pb.RecordResponse](t, n.Do(mercy, run("1")))
	if r.Created != 6 || r.Nodes[0].Version != 1 || len(r.Relations) != 3 {
		t.Fatalf("response %v", r)
	}
	// The same run again changes nothing.
	if again := n.Do(mercy, run("1")); len(again.Events) != 0 {
		t.Fatalf("events %v", again.Events)
	}
	// A run that reads what it overwrites is no cycle: it reads version 1 and writes version 2.
	second := run("2")
	second.Relations = append(second.Relations, &pb.Relation{Kind: kindNamed("USAGE"), Subject: ref("run/2"), Object: &pb.Ref{Id: "warehouse/orders", Version: 1}})
	r = chaintest.Response[pb.RecordResponse](t, n.Do(mercy, second))
	if r.Nodes[0].Version != 2 || r.Created != 6 {
		t.Fatalf("response %v", r)
	}
	trace := must[*pb.TraceResponse](t)(n.q.Ancestors(ctx, &pb.TraceRequest{Start: of(mercy, "warehouse/orders")}))
	var got []string
	for _, s := range trace.Steps {
		got = append(got, fmt.Sprintf("%d %s%s/%d", s.Depth, s.Node.Id, s.Node.External, s.Node.Version))
	}
	equal(t, "ancestors", got, []string{
		"1 warehouse/orders/1", "1 run/2/1", "2 run/1/1", "2 postgres://orders.example.org/public.orders/0",
	})
	down := must[*pb.TraceResponse](t)(n.q.Descendants(ctx, &pb.TraceRequest{Start: external("postgres://orders.example.org/public.orders")}))
	if len(down.Steps) != 4 {
		t.Fatalf("descendants %v", down.Steps)
	}
	for name, c := range map[string]struct {
		want error
		msg  *pb.Record
	}{
		"nothing":    {ErrTooMany, &pb.Record{}},
		"id twice":   {ErrBadNode, &pb.Record{Nodes: []*pb.NewNode{newEntity("q"), newEntity("q")}}},
		"no content": {ErrBadNode, &pb.Record{Nodes: []*pb.NewNode{{Id: "q"}}}},
		"no end":     {ErrNotFound, &pb.Record{Nodes: []*pb.NewNode{newActivity("q")}, Relations: []*pb.Relation{relation("USAGE", "q", "p")}}},
		"other":      {ErrExists, &pb.Record{Nodes: []*pb.NewNode{newEntity("warehouse/orders")}}},
		"129 nodes":  {ErrTooMany, &pb.Record{Nodes: make([]*pb.NewNode, maxNodes+1)}},
	} {
		if err := refusal(n.Net, mercy, c.msg); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
