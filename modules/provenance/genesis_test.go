package provenance

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// A state with all kinds of records is exported and imported without loss, and the
// chain that was started from it answers and goes on.
func TestGenesisRoundTrip(t *testing.T) {
	n := scenario(t)
	raw := n.CheckGenesis()
	again := startAt(t, string(raw))
	for _, req := range []*pb.ExportRequest{
		{Start: of(acme, "clean.csv"), MaxDepth: 10},
		{Start: of(mercy, "results.csv"), MaxDepth: 10, Format: pb.ExportFormat_EXPORT_FORMAT_PROV_N},
	} {
		want, got := must[*pb.ExportResponse](t)(n.q.Export(ctx, req)), must[*pb.ExportResponse](t)(again.q.Export(ctx, req))
		if string(want.Document) != string(got.Document) {
			t.Fatalf("documents differ:\n%s\n%s", want.Document, got.Document)
		}
	}
	for _, content := range []string{"id,value\n1,7\n", "id,value\n1,8\n"} {
		req := &pb.ByHashRequest{Hash: hashOf(content)}
		if want, got := must[*pb.ByHashResponse](t)(n.q.ByHash(ctx, req)), must[*pb.ByHashResponse](t)(again.q.ByHash(ctx, req)); !want.EqualVT(got) {
			t.Fatalf("registrations differ:\n%v\n%v", want, got)
		}
	}
	req := &pb.TraceRequest{Start: of(acme, "clean.csv")}
	want, got := must[*pb.TraceResponse](t)(n.q.Ancestors(ctx, req)), must[*pb.TraceResponse](t)(again.q.Ancestors(ctx, req))
	if len(want.Steps) < 5 || len(got.Steps) > len(want.Steps) {
		t.Fatalf("ancestors %v and %v", want, got)
	}
	// A new chain's clock goes on from the old one's.
	again.Now = n.Now
	again.Do(mercy, &pb.ReviseEntity{Id: "results.csv", Replaces: 2, Entity: file("3")})
	if got = must[*pb.TraceResponse](t)(again.q.Ancestors(ctx, req)); !slices.EqualFunc(want.Steps, got.Steps, func(a, b *pb.Step) bool { return a.Via.EqualVT(b.Via) }) {
		t.Fatalf("ancestors differ:\n%v\n%v", want, got)
	}
}

func TestInconsistentGenesis(t *testing.T) {
	exported := must[proto.Message](t)(func() (proto.Message, error) { n := scenario(t); return n.m.ExportGenesis(n.View()) }()).(*pb.Genesis)
	node := func(g *pb.Genesis, id string, version uint32) *pb.Node {
		for _, n := range g.Nodes {
			if n.Ref.Id == id && n.Ref.Version == version {
				return n
			}
		}
		t.Fatalf("no %s", id)
		return nil
	}
	for name, change := range map[string]func(g *pb.Genesis){
		"version gap":        func(g *pb.Genesis) { node(g, "results.csv", 2).Ref.Version = 3 },
		"no first version":   func(g *pb.Genesis) { node(g, "protocol", 1).Ref.Version = 2 },
		"node twice":         func(g *pb.Genesis) { g.Nodes = append(g.Nodes, g.Nodes[0]) },
		"version 0":          func(g *pb.Genesis) { node(g, "protocol", 1).Ref.Version = 0 },
		"no reference":       func(g *pb.Genesis) { g.Nodes[0].Ref = nil },
		"no status":          func(g *pb.Genesis) { g.Nodes[0].Status = 0 },
		"hidden end":         func(g *pb.Genesis) { node(g, "results.csv", 1).Invalidation = nil },
		"bad hash":           func(g *pb.Genesis) { node(g, "results.csv", 1).GetEntity().Hashes[0][0]++ },
		"bad id":             func(g *pb.Genesis) { g.Nodes[0].Ref.Id = "a b" },
		"relation changed":   func(g *pb.Genesis) { g.Edges[0].Relation.HappenedAt = 0; g.Edges[0].Id[0]++ },
		"relation twice":     func(g *pb.Genesis) { g.Edges = append(g.Edges, g.Edges[0]) },
		"relation to none":   func(g *pb.Genesis) { g.Nodes = g.Nodes[1:] },
		"relation malformed": func(g *pb.Genesis) { g.Edges[0].Relation.Kind = 0 },
		"anchor twice":       func(g *pb.Genesis) { g.Anchors = append(g.Anchors, g.Anchors[0]) },
		"bad anchor":         func(g *pb.Genesis) { g.Anchors[0].Batch.Leaves = 0 },
		"cycle": func(g *pb.Genesis) {
			for _, e := range g.Edges {
				if kindName(e.Relation.Kind) == "REVISION" {
					back := e.CloneVT()
					back.Relation.Subject, back.Relation.Object = back.Relation.Object, back.Relation.Subject
					back.Id = relationID(back.Relation)
					g.Edges = append(g.Edges, back)
					return
				}
			}
		},
		"wrong end": func(g *pb.Genesis) {
			r := &pb.Relation{Kind: kindNamed("USAGE"), Subject: node(g, "protocol", 1).Ref, Object: node(g, "bundle", 1).Ref}
			g.Edges = append(g.Edges, &pb.Edge{Relation: r, Id: relationID(r)})
		},
	} {
		g := exported.CloneVT()
		change(g)
		raw, err := protojson.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := initialise(t, raw); !errors.Is(err, ErrBadGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := protojson.Marshal(exported)
	if err != nil {
		t.Fatal(err)
	}
	if err := initialise(t, raw); err != nil {
		t.Fatal(err)
	}
	if err := initialise(t, []byte(`{"surprise":1}`)); err == nil || !strings.Contains(err.Error(), "surprise") {
		t.Fatal(err)
	}
}

// initialise starts a chain's genesis with a section.
func initialise(t *testing.T, section []byte) error {
	t.Helper()
	return emptyApp(t, func(app *chain.App) error {
		_, _, err := app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, json.RawMessage(`{"provenance":`+string(section)+`}`))
		return err
	})
}
