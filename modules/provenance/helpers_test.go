package provenance

import (
	"context"
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/multiformats/go-multihash"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

const (
	mercy  = "did:chancery:mercy"
	acme   = "did:chancery:acme"
	nurse  = "did:chancery:mercy:abcdefghijklmnopqrstuvwxyz"
	person = "abcdefghijklmnopqrstuvwxyz"
	loader = "did:chancery:acme:loader"
)

// identities is an Identity of a few DIDs.
type identities map[string]string

func (i identities) Active(_ chain.ReadCtx, did string) bool { return i[did] != "" }

func (i identities) Kind(_ chain.ReadCtx, did string) (string, bool) {
	kind, ok := i[did]
	return kind, ok
}

var deps = Deps{Identity: identities{mercy: "organisation", acme: "organisation", nurse: "person", loader: "service"}}

type net struct {
	*chaintest.Net
	t testing.TB
	q *Queries
	m *Module
}

func start(t testing.TB) *net { return startAt(t, "{}") }

func startAt(t testing.TB, genesis string) *net {
	t.Helper()
	n := chaintest.New(t, chaintest.Config{
		Modules: func() []chain.Module { return []chain.Module{New(deps)} },
		Genesis: genesis,
		Partial: true,
	})
	m := New(deps)
	return &net{Net: n, t: t, m: m, q: &Queries{module: m, snapshots: n}}
}

// golden compares got with a file in testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Fatalf("%s differs; run with -rewrite and look at the difference. Got:\n%s", path, got)
	}
}

// vectors is a folder of published examples, or the test is skipped.
func vectors(t *testing.T, folder string) string {
	t.Helper()
	shared := os.Getenv("CHANCERY_SHARED")
	if shared == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		shared = filepath.Join(dir, "..", "shared")
	}
	path := filepath.Join(shared, "vectors", folder)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not there: the published examples of PROV are not part of the repository", path)
	}
	return path
}

func hashOf(content string) []byte {
	sum := sha256.Sum256([]byte(content))
	out, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		panic(err)
	}
	return out
}

func file(content string) *pb.Entity {
	return &pb.Entity{Hashes: [][]byte{hashOf(content)}, MediaType: "text/csv", Size: uint64(len(content)), GeneratedAt: 1767599000000}
}

func ref(id string) *pb.Ref { return &pb.Ref{Id: id} }

func of(organisation, id string) *pb.Ref { return &pb.Ref{Organisation: organisation, Id: id} }

func external(iri string) *pb.Ref { return &pb.Ref{External: iri} }

func newEntity(id string) *pb.NewNode {
	return &pb.NewNode{Id: id, Description: &pb.NewNode_Entity{Entity: &pb.Entity{}}}
}

func newActivity(id string) *pb.NewNode {
	return &pb.NewNode{Id: id, Description: &pb.NewNode_Activity{Activity: &pb.Activity{}}}
}

func newAgent(id string) *pb.NewNode {
	return &pb.NewNode{Id: id, Description: &pb.NewNode_Agent{Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_SOFTWARE}}}
}

func relation(kind, subject, object string) *pb.Relation {
	return &pb.Relation{Kind: kindNamed(kind), Subject: ref(subject), Object: ref(object)}
}

func kindNamed(name string) pb.RelationKind {
	k, ok := pb.RelationKind_value["RELATION_KIND_"+name]
	if !ok {
		panic(name)
	}
	return pb.RelationKind(k)
}

func kindName(k pb.RelationKind) string {
	return strings.TrimPrefix(k.String(), "RELATION_KIND_")
}

// relateRaw registers relations and returns their ids.
func (n *net) relateAll(author string, relations ...*pb.Relation) [][]byte {
	n.t.Helper()
	return chaintest.Response[pb.RelateResponse](n.t, n.Do(author, &pb.Relate{Relations: relations})).Ids
}

func (n *net) node(organisation, id string, version uint32) *pb.Node {
	n.t.Helper()
	r, err := n.q.Node(context.Background(), &pb.NodeRequest{Organisation: organisation, Id: id, Version: version})
	if err != nil {
		n.t.Fatal(err)
	}
	return r.Node
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ids(nodes []*pb.Node) (out []string) {
	for _, n := range nodes {
		out = append(out, n.Ref.Id)
	}
	return out
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
