package provenance

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// The bytes of keys are what proofs are about.
func TestKeysGolden(t *testing.T) {
	m := New(deps)
	id := bytes.Repeat([]byte{0, 0xAB}, 16)
	node := state.Join3(mercy, "results.csv", uint32(2))
	edge := state.Join(node, state.Join(uint32(kindNamed("USAGE")), id))
	outside := state.Join(keyOf(external("https://example.org/x")), state.Join(uint32(kindNamed("USAGE")), id))
	var out bytes.Buffer
	for _, k := range []struct {
		name string
		key  []byte
	}{
		{"nodes, a version", m.nodes.Key(node)},
		{"nodes, the latest", m.nodes.Key(state.Join3(mercy, "results.csv", uint32(0)))},
		{"out", m.out.Key(edge)},
		{"in", m.in.Key(edge)},
		{"in, external", m.in.Key(outside)},
		{"hashes", m.hashes.Key(state.Join3(hashOf("x"), int64(1767600000000), node))},
		{"anchors", m.anchors.Key(state.Join(mercy, "batch"))},
		{"roots", m.roots.Key(state.Join3(id, int64(1767600000000), state.Join(mercy, "batch")))},
	} {
		fmt.Fprintf(&out, "%s: %x\n", k.name, k.key)
	}
	for _, c := range m.Schema().Collections() {
		fmt.Fprintf(&out, "%s %x (%s) -> %s\n", c.Name, c.Prefix, c.Key, c.Value)
	}
	golden(t, "keys.txt", out.Bytes())
}

// The id of a relation and the bytes that it is of.
func TestRelationIDGolden(t *testing.T) {
	r := &pb.Relation{
		Kind: kindNamed("USAGE"), Subject: &pb.Ref{Organisation: acme, Id: "run-1", Version: 1},
		Object: &pb.Ref{Organisation: mercy, Id: "results.csv", Version: 2}, HappenedAt: 1767599000000, Role: "input",
	}
	raw, err := r.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "relation.txt", fmt.Appendf(nil, "bytes %x\nid %x\n", raw, relationID(r)))
}

// Every event, in the order in which a scenario emits them.
func TestEventsGolden(t *testing.T) {
	n := start(t)
	var out bytes.Buffer
	types := map[string]bool{}
	for _, msg := range []proto.Message{
		&pb.RegisterAgent{Id: "lab", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: mercy}},
		&pb.RegisterEntity{Id: "d", Entity: &pb.Entity{Hashes: [][]byte{hashOf("1")}, AttributedTo: ref("lab")}},
		&pb.ReviseEntity{Id: "d", Entity: file("2")},
		&pb.RegisterActivity{Id: "a", Activity: &pb.Activity{}},
		&pb.EndActivity{Id: "a", EndedAt: 1, Outcome: pb.Outcome_OUTCOME_ABORTED},
		&pb.InvalidateEntity{Id: "d", Version: 1, Reason: pb.InvalidationReason_INVALIDATION_REASON_EXPIRED},
		&pb.AnchorBatch{Id: "b", Batch: &pb.Batch{Root: make([]byte, 32), Leaves: 2, Format: pb.LeafFormat_LEAF_FORMAT_BYTES}},
		&pb.Relate{Relations: []*pb.Relation{relation("USAGE", "a", "d")}},
		&pb.Record{Nodes: []*pb.NewNode{newEntity("e")}},
	} {
		fmt.Fprintf(&out, "%s\n", msg.ProtoReflect().Descriptor().Name())
		for _, e := range n.Do(mercy, msg).Events {
			types[e.Type] = true
			typ, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
			if err != nil {
				t.Fatal(err)
			}
			m := typ.New().Interface()
			if err := proto.Unmarshal(e.Value, m); err != nil {
				t.Fatal(err)
			}
			raw, err := chain.WriteGenesis(m)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "  %s %s\n", typ.Descriptor().Name(), raw)
		}
	}
	events := pb.File_chancery_provenance_v1_event_proto.Messages()
	for i := range events.Len() {
		if name := string(events.Get(i).FullName()); !types[name] {
			t.Errorf("%s is never emitted", name)
		}
	}
	golden(t, "events.txt", out.Bytes())
}
