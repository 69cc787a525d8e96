package provenance

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// scenario is a state with every kind of record, status and relation in it: a lab's
// table that a supplier's run cleans and a model is trained on.
func scenario(t testing.TB) *net {
	n := start(t)
	text := func(key, value string) *pb.Attribute {
		return &pb.Attribute{Key: key, Type: pb.ValueType_VALUE_TYPE_TEXT, Value: value}
	}
	table := file("id,value\n1,7\n")
	table.AttributedTo = ref("lab")
	table.Types = []string{"http://purl.org/dc/dcmitype/Dataset"}
	table.Attributes = []*pb.Attribute{
		{Key: "https://example.org/rows", Type: pb.ValueType_VALUE_TYPE_INTEGER, Value: "1"},
		{Key: "https://example.org/complete", Type: pb.ValueType_VALUE_TYPE_BOOLEAN, Value: "true"},
		{Key: "https://example.org/mean", Type: pb.ValueType_VALUE_TYPE_DECIMAL, Value: "7.0"},
		{Key: "https://example.org/sampled", Type: pb.ValueType_VALUE_TYPE_TIME, Value: "2026-01-05T07:00:00+01:00"},
		{Key: "https://example.org/etag", Type: pb.ValueType_VALUE_TYPE_HEX, Value: "00ff"},
		{Key: provNamespace + "location", Type: pb.ValueType_VALUE_TYPE_IRI, Value: "https://lab.example.org/store#a"},
		text(provNamespace+"label", `table "one" \ A`), text(provNamespace+"label", "Tabelle eins"),
	}
	n.Do(mercy, &pb.Record{
		Nodes: []*pb.NewNode{
			{Id: "results.csv", Description: &pb.NewNode_Entity{Entity: table}},
			{Id: "lab", Description: &pb.NewNode_Agent{Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: mercy}}},
			{Id: person, Description: &pb.NewNode_Agent{Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Commitment: make([]byte, 32)}}},
			{Id: "device", Description: &pb.NewNode_Agent{Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Iri: "https://devices.example.org/9/"}}},
			newActivity("measure"), newEntity("protocol"), newEntity("all;results:(v1)."), newEntity("bundle"), newEntity("old%20scan"),
		},
		Relations: []*pb.Relation{
			{Kind: kindNamed("GENERATION"), Subject: ref("results.csv"), Object: ref("measure"), HappenedAt: 1767598000000, Role: "output"},
			{Kind: kindNamed("START"), Subject: ref("measure"), Object: external("urn:uuid:0ab1"), HappenedAt: 1767597000000},
			{Kind: kindNamed("END"), Subject: ref("measure"), HappenedAt: 1767598000000},
			{Kind: kindNamed("ASSOCIATION"), Subject: ref("measure"), Object: ref(person), Plan: ref("protocol"), Role: "https://example.org/role#operator", Name: "assoc/1"},
			{Kind: kindNamed("DELEGATION"), Subject: ref(person), Object: ref("lab"), Activity: ref("measure")},
			{Kind: kindNamed("INFLUENCE"), Subject: ref("measure"), Object: ref("device"), Attributes: []*pb.Attribute{text("urn:x:note", "calibrated")}},
			{Kind: kindNamed("MEMBERSHIP"), Subject: ref("all;results:(v1)."), Object: ref("results.csv")},
			{Kind: kindNamed("SPECIALIZATION"), Subject: ref("results.csv"), Object: ref("protocol")},
			{Kind: kindNamed("MENTION"), Subject: ref("results.csv"), Object: ref("old%20scan"), Bundle: ref("bundle")},
			{Kind: kindNamed("QUOTATION"), Subject: ref("results.csv"), Object: external("https://example.org/paper")},
			{Kind: kindNamed("INVALIDATION"), Subject: ref("old%20scan"), Object: ref("measure"), HappenedAt: 1767598000000},
			{Kind: kindNamed("ALTERNATE"), Subject: ref("results.csv"), Object: external("https://example.org/mirror/results.csv")},
		},
	})
	n.Do(mercy, &pb.ReviseEntity{Id: "results.csv", Entity: file("id,value\n1,8\n")})
	n.Do(acme, &pb.Record{
		Nodes: []*pb.NewNode{
			{Id: "run-1", Description: &pb.NewNode_Activity{Activity: &pb.Activity{StartedAt: 1767599000000, Types: []string{"https://openlineage.io/Run"}}}},
			{Id: "clean.csv", Description: &pb.NewNode_Entity{Entity: file("id,value\n1,8\n")}},
			newActivity("train"),
			{Id: "loader", Description: &pb.NewNode_Agent{Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_SOFTWARE, Did: loader}}},
		},
		Relations: []*pb.Relation{
			{Kind: kindNamed("USAGE"), Subject: ref("run-1"), Object: of(mercy, "results.csv"), HappenedAt: 1767599000000, Role: "input"},
			{Kind: kindNamed("GENERATION"), Subject: ref("clean.csv"), Object: ref("run-1")},
			{Kind: kindNamed("COMMUNICATION"), Subject: ref("train"), Object: ref("run-1")},
			{Kind: kindNamed("PRIMARY_SOURCE"), Subject: ref("clean.csv"), Object: of(mercy, "results.csv")},
			{Kind: kindNamed("ASSOCIATION"), Subject: ref("run-1"), Object: ref("loader")},
		},
	})
	edge := must[*pb.RelationsResponse](t)
	usage := edge(n.q.Relations(ctx, &pb.RelationsRequest{Node: of(acme, "run-1"), Direction: pb.Direction_DIRECTION_OUT, Kind: kindNamed("USAGE")})).Edges[0].Id
	generation := edge(n.q.Relations(ctx, &pb.RelationsRequest{Node: of(acme, "clean.csv"), Direction: pb.Direction_DIRECTION_OUT, Kind: kindNamed("GENERATION")})).Edges[0].Id
	n.Do(acme,
		&pb.EndActivity{Id: "run-1", EndedAt: 1767599500000, Outcome: pb.Outcome_OUTCOME_COMPLETED},
		&pb.Relate{Relations: []*pb.Relation{{
			Kind: kindNamed("DERIVATION"), Subject: ref("clean.csv"), Object: of(mercy, "results.csv"), Activity: ref("run-1"), Usage: usage, Generation: generation,
		}}},
		&pb.AnchorBatch{Id: "rows", Batch: &pb.Batch{
			Root: make([]byte, 32), Leaves: 1 << 32, Format: pb.LeafFormat_LEAF_FORMAT_CANONICAL_JSON, About: ref("clean.csv"), Types: []string{"https://example.org/Rows"},
		}},
	)
	n.Do(mercy, &pb.InvalidateEntity{Id: "results.csv", Version: 1, Reason: pb.InvalidationReason_INVALIDATION_REASON_ERRONEOUS, Activity: ref("measure")})
	n.Do(acme, &pb.AnchorBatch{Id: "outside", Batch: &pb.Batch{Root: make([]byte, 32), Leaves: 1, Format: pb.LeafFormat_LEAF_FORMAT_SHA256, About: external("https://example.org/x")}})
	seen := [lastKind + 1]bool{true}
	for _, e := range must[proto.Message](t)(n.m.ExportGenesis(n.View())).(*pb.Genesis).Edges {
		seen[e.Relation.Kind] = true
	}
	for k, ok := range seen {
		if !ok {
			t.Fatalf("the scenario has no %s", kindName(pb.RelationKind(k)))
		}
	}
	return n
}
