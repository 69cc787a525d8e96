package provenance

import (
	"context"
	"crypto/sha512"
	"errors"
	"strings"
	"testing"

	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

var ctx = context.Background()

func TestRegisterEntity(t *testing.T) {
	n := start(t)
	n.Do(mercy, &pb.RegisterAgent{Id: "ward", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: mercy}})
	e := file("a,b")
	e.AttributedTo = ref("ward")
	e.Types = []string{"http://www.w3.org/ns/prov#Collection", "http://purl.org/dc/dcmitype/Dataset"}
	result := n.Do(mercy, &pb.RegisterEntity{Id: "s3://lab/results.csv", Entity: e})
	r := chaintest.Response[pb.RegisterEntityResponse](t, result)
	if !r.Created || r.Ref.Organisation != mercy || r.Ref.Version != 1 {
		t.Fatalf("response %v", r)
	}
	if got := chaintest.Events[pb.EntityRegistered](t, result); len(got) != 1 || got[0].Author != mercy || !got[0].Ref.EqualVT(r.Ref) {
		t.Fatalf("events %v", got)
	}
	if got := chaintest.Events[pb.Related](t, result); len(got) != 1 || kindName(got[0].Kind) != "ATTRIBUTION" {
		t.Fatalf("events %v", got)
	}
	node := n.node(mercy, "s3://lab/results.csv", 0)
	if node.Status != pb.Status_STATUS_ACTIVE || node.Author != mercy || node.Height != n.Height() || node.RegisteredAt != n.Now || string(node.TxId) != string(result.TxId) {
		t.Fatalf("stored %v", node)
	}
	if !node.GetEntity().AttributedTo.EqualVT(&pb.Ref{Organisation: mercy, Id: "ward", Version: 1}) {
		t.Fatalf("attributed to %v", node.GetEntity().AttributedTo)
	}
}

// Registering the same content again changes nothing, in whatever order its lists
// are; other content is refused.
func TestRegisterTwice(t *testing.T) {
	n := start(t)
	attributes := []*pb.Attribute{
		{Key: "https://example.org/rows", Type: pb.ValueType_VALUE_TYPE_INTEGER, Value: "7"},
		{Key: "https://example.org/kind", Type: pb.ValueType_VALUE_TYPE_TEXT, Value: "daily"},
	}
	types := []string{"https://example.org/B", "https://example.org/A"}
	for name, c := range map[string]struct{ first, again, other proto.Message }{
		"entity": {
			&pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Attributes: attributes, Types: types}},
			&pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Attributes: []*pb.Attribute{attributes[1], attributes[0]}, Types: []string{types[1], types[0]}}},
			&pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Attributes: attributes}},
		},
		"activity": {
			&pb.RegisterActivity{Id: "y", Activity: &pb.Activity{StartedAt: 5, Attributes: attributes, Types: types}},
			&pb.RegisterActivity{Id: "y", Activity: &pb.Activity{StartedAt: 5, Attributes: []*pb.Attribute{attributes[1], attributes[0]}, Types: []string{types[1], types[0]}}},
			&pb.RegisterActivity{Id: "y", Activity: &pb.Activity{StartedAt: 6}},
		},
		"agent": {
			&pb.RegisterAgent{Id: "z", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Attributes: attributes, Types: types}},
			&pb.RegisterAgent{Id: "z", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Attributes: []*pb.Attribute{attributes[1], attributes[0]}, Types: []string{types[1], types[0]}}},
			&pb.RegisterAgent{Id: "z", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_SOFTWARE}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.Do(mercy, c.first)
			r := n.Do(mercy, c.again)
			if len(r.Events) != 0 {
				t.Fatalf("events %v", r.Events)
			}
			n.Fails(ErrExists, mercy, c.other)
			// Another organisation's namespace is another place.
			n.Do(acme, c.other)
		})
	}
	n.Fails(ErrOtherKind, mercy, &pb.RegisterAgent{Id: "x", Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER}})
	if r := chaintest.Response[pb.RegisterEntityResponse](t, n.Do(acme, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Attributes: attributes}})); r.Created {
		t.Fatal("registered twice")
	}
}

func TestRefusedDescriptions(t *testing.T) {
	n := start(t)
	sha512Hash := func() []byte {
		sum := sha512.Sum512([]byte("x"))
		h, err := multihash.Encode(sum[:], multihash.SHA2_512)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}()
	attribute := func(key string, typ pb.ValueType, value string) proto.Message {
		return &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Attributes: []*pb.Attribute{{Key: key, Type: typ, Value: value}}}}
	}
	hashes := func(h ...[]byte) proto.Message {
		return &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Hashes: h}}
	}
	agentOf := func(id string, a *pb.Agent) proto.Message { return &pb.RegisterAgent{Id: id, Agent: a} }
	const key = "https://example.org/k"
	salted := make([]byte, 32)
	for name, c := range map[string]struct {
		want *errs.Error
		msg  proto.Message
	}{
		"empty id":               {ErrBadID, &pb.RegisterEntity{Entity: &pb.Entity{}}},
		"space in id":            {ErrBadID, &pb.RegisterEntity{Id: "a b", Entity: &pb.Entity{}}},
		"control in id":          {ErrBadID, &pb.RegisterEntity{Id: "a\nb", Entity: &pb.Entity{}}},
		"umlaut in id":           {ErrBadID, &pb.RegisterEntity{Id: "ü", Entity: &pb.Entity{}}},
		"lone percent":           {ErrBadID, &pb.RegisterEntity{Id: "100%", Entity: &pb.Entity{}}},
		"long id":                {ErrBadID, &pb.RegisterEntity{Id: strings.Repeat("a", 129), Entity: &pb.Entity{}}},
		"no entity":              {ErrBadNode, &pb.RegisterEntity{Id: "x"}},
		"no activity":            {ErrBadNode, &pb.RegisterActivity{Id: "x"}},
		"no agent":               {ErrBadNode, &pb.RegisterAgent{Id: "x"}},
		"media type":             {ErrBadNode, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{MediaType: "csv"}}},
		"time before 1970":       {ErrBadNode, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{GeneratedAt: -1}}},
		"time after 9999":        {ErrBadNode, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{GeneratedAt: maxMoment + 1}}},
		"no SHA-256":             {ErrBadHash, hashes(sha512Hash)},
		"function twice":         {ErrBadHash, hashes(hashOf("x"), hashOf("y"))},
		"no multihash":           {ErrBadHash, hashes([]byte("nonsense"))},
		"raw digest":             {ErrBadHash, hashes(hashOf("x")[2:])},
		"weak function":          {ErrBadHash, hashes(append([]byte{0x11, 20}, make([]byte, 20)...))},
		"truncated digest":       {ErrBadHash, hashes(append([]byte{0x12, 16}, make([]byte, 16)...))},
		"long varint":            {ErrBadHash, hashes(append([]byte{0x92, 0x00, 32}, make([]byte, 32)...))},
		"type no IRI":            {ErrBadIRI, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Types: []string{"Dataset"}}}},
		"nine types":             {ErrBadNode, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Types: strings.Split(strings.Repeat("a:b ", 8)+"a:c", " ")}}},
		"type twice":             {ErrBadNode, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{Types: []string{"a:b", "a:b"}}}},
		"key no IRI":             {ErrBadAttribute, attribute("k", pb.ValueType_VALUE_TYPE_TEXT, "v")},
		"PROV's own key":         {ErrBadAttribute, attribute(provNamespace+"role", pb.ValueType_VALUE_TYPE_TEXT, "v")},
		"untyped":                {ErrBadAttribute, attribute(key, 0, "v")},
		"long text":              {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_TEXT, strings.Repeat("v", 129))},
		"line feed":              {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_TEXT, "a\nb")},
		"bidirectional text":     {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_TEXT, "a\u202eb")},
		"boolean":                {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_BOOLEAN, "yes")},
		"leading zero":           {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_INTEGER, "007")},
		"minus zero":             {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_INTEGER, "-0")},
		"65 bits":                {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_INTEGER, "9223372036854775808")},
		"decimal":                {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_DECIMAL, "1.")},
		"exponent":               {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_DECIMAL, "1e3")},
		"time without zone":      {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_TIME, "2026-01-05T08:00:00")},
		"day that is not":        {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_TIME, "2026-02-29T08:00:00Z")},
		"relative IRI":           {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_IRI, "/a/b")},
		"upper-case hex":         {ErrBadAttribute, attribute(key, pb.ValueType_VALUE_TYPE_HEX, "AB")},
		"ends before it starts":  {ErrEnded, &pb.RegisterActivity{Id: "x", Activity: &pb.Activity{StartedAt: 5, EndedAt: 4}}},
		"outcome without end":    {ErrBadNode, &pb.RegisterActivity{Id: "x", Activity: &pb.Activity{Outcome: pb.Outcome_OUTCOME_FAILED}}},
		"agent without kind":     {ErrBadNode, agentOf("x", &pb.Agent{})},
		"did and iri":            {ErrBadNode, agentOf("x", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: mercy, Iri: "https://example.org/"})},
		"unknown DID":            {ErrNoIdentity, agentOf("x", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: "did:chancery:nobody"})},
		"other method":           {ErrNoIdentity, agentOf("x", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: "did:web:example.org"})},
		"person as organisation": {ErrNoIdentity, agentOf("x", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_ORGANISATION, Did: nurse})},
		"service as person":      {ErrNoIdentity, agentOf(person, &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Did: loader})},
		"short commitment":       {ErrBadNode, agentOf("x", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_OTHER, Commitment: salted[1:]})},
		// law 1, law 2: no name of a person on the chain.
		"person with an IRI":   {ErrPersonNamed, agentOf(person, &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Iri: "https://example.org/somebody"})},
		"person of nothing":    {ErrPersonNamed, agentOf(person, &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON})},
		"person with a name":   {ErrPersonNamed, agentOf("somebody", &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Commitment: salted})},
		"attributed to no one": {ErrNotFound, &pb.RegisterEntity{Id: "x", Entity: &pb.Entity{AttributedTo: ref("nobody")}}},
	} {
		t.Run(name, func(t *testing.T) {
			n := *n
			n.t = t
			if err := refusal(n.Net, mercy, c.msg); !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

// refusal is why a transaction may not enter the pool or fails in a block.
func refusal(n *chaintest.Net, author string, msg proto.Message) error {
	d, err := n.App().Decode(n.Tx(author, []proto.Message{msg}))
	if err != nil {
		return err
	}
	x := n.App().Next()
	r, err := x.Deliver(d)
	if err != nil {
		return err
	}
	if r.Code == 0 {
		return nil
	}
	return &errs.Error{Module: r.Codespace, Code: r.Code, Text: r.Log}
}

func TestPersonsAreCommitments(t *testing.T) { // law 2
	n := start(t)
	n.Do(mercy, &pb.RegisterAgent{Id: person, Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Did: nurse}})
	n.Do(acme, &pb.RegisterAgent{Id: person, Agent: &pb.Agent{Kind: pb.AgentKind_AGENT_KIND_PERSON, Commitment: make([]byte, 32)}})
}

// law 9: a correction is a superseding version, and what is read by default is the
// latest alone.
func TestReviseEntity(t *testing.T) {
	n := start(t)
	n.Fails(ErrNotFound, mercy, &pb.ReviseEntity{Id: "d", Entity: file("1")})
	n.Do(mercy, &pb.RegisterEntity{Id: "d", Entity: file("1")})
	result := n.Do(mercy, &pb.ReviseEntity{Id: "d", Replaces: 1, Entity: file("2")})
	if r := chaintest.Response[pb.ReviseEntityResponse](t, result); !r.Created || r.Ref.Version != 2 {
		t.Fatalf("response %v", r)
	}
	if e := chaintest.Events[pb.EntitySuperseded](t, result); len(e) != 1 || e[0].Ref.Version != 1 || e[0].By != 2 {
		t.Fatalf("events %v", e)
	}
	// Said again by another transaction, it is no mistake.
	if r := chaintest.Response[pb.ReviseEntityResponse](t, n.Do(mercy, &pb.ReviseEntity{Id: "d", Replaces: 1, Entity: file("2")})); r.Created || r.Ref.Version != 2 {
		t.Fatalf("response %v", r)
	}
	n.Fails(ErrNotLatest, mercy, &pb.ReviseEntity{Id: "d", Replaces: 1, Entity: file("3")})
	n.Do(mercy, &pb.ReviseEntity{Id: "d", Entity: file("3")})
	n.Fails(ErrExists, mercy, &pb.RegisterEntity{Id: "d", Entity: file("1")})
	for version, content := range map[uint32]string{0: "3", 1: "1", 2: "2", 3: "3"} {
		node := n.node(mercy, "d", version)
		want := pb.Status_STATUS_SUPERSEDED
		if content == "3" {
			want = pb.Status_STATUS_ACTIVE
		}
		if string(node.GetEntity().Hashes[0]) != string(hashOf(content)) || node.Status != want {
			t.Errorf("version %d is %v", version, node)
		}
	}
	for limit := uint32(1); limit <= 4; limit++ {
		var got []uint32
		for token := []byte(nil); ; {
			r := must[*pb.VersionsResponse](t)(n.q.Versions(ctx, &pb.VersionsRequest{Organisation: mercy, Id: "d", Limit: limit, PageToken: token}))
			for _, v := range r.Versions {
				got = append(got, v.Ref.Version)
			}
			if token = r.NextPageToken; len(token) == 0 {
				break
			}
		}
		equal(t, "versions", got, []uint32{3, 2, 1})
	}
	if _, err := n.q.Node(ctx, &pb.NodeRequest{Organisation: mercy, Id: "d", Version: 4}); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	ancestors := must[*pb.TraceResponse](t)(n.q.Ancestors(ctx, &pb.TraceRequest{Start: of(mercy, "d")}))
	if len(ancestors.Steps) != 2 || kindName(ancestors.Steps[0].Via.Relation.Kind) != "REVISION" || ancestors.Steps[1].Node.Version != 1 {
		t.Fatalf("ancestors %v", ancestors)
	}
	n.Do(mercy, &pb.RegisterActivity{Id: "a", Activity: &pb.Activity{}})
	n.Fails(ErrOtherKind, mercy, &pb.ReviseEntity{Id: "a", Entity: file("1")})
}

func TestEndActivity(t *testing.T) {
	n := start(t)
	started := &pb.RegisterActivity{Id: "run", Activity: &pb.Activity{StartedAt: 100}}
	completed := &pb.EndActivity{Id: "run", EndedAt: 200, Outcome: pb.Outcome_OUTCOME_COMPLETED}
	n.Fails(ErrNotFound, mercy, completed)
	n.Do(mercy, started)
	n.Fails(ErrEnded, mercy, &pb.EndActivity{Id: "run", EndedAt: 99, Outcome: pb.Outcome_OUTCOME_COMPLETED})
	n.Fails(ErrBadNode, mercy, &pb.EndActivity{Id: "run", EndedAt: 200})
	if e := chaintest.Events[pb.ActivityEnded](t, n.Do(mercy, completed)); len(e) != 1 || e[0].EndedAt != 200 {
		t.Fatalf("events %v", e)
	}
	if r := n.Do(mercy, completed); len(r.Events) != 0 {
		t.Fatal("ended twice")
	}
	n.Fails(ErrEnded, mercy, &pb.EndActivity{Id: "run", EndedAt: 200, Outcome: pb.Outcome_OUTCOME_FAILED})
	// What was said at the start may be said again after the end.
	if r := n.Do(mercy, started); len(r.Events) != 0 {
		t.Fatal("registered twice")
	}
	if a := n.node(mercy, "run", 0).GetActivity(); a.EndedAt != 200 || a.Outcome != pb.Outcome_OUTCOME_COMPLETED {
		t.Fatalf("stored %v", a)
	}
	n.Do(mercy, &pb.RegisterEntity{Id: "e", Entity: &pb.Entity{}})
	n.Fails(ErrOtherKind, mercy, &pb.EndActivity{Id: "e", EndedAt: 200, Outcome: pb.Outcome_OUTCOME_FAILED})
}

func TestInvalidateEntity(t *testing.T) {
	n := start(t)
	n.Do(mercy, &pb.RegisterEntity{Id: "d", Entity: file("1")})
	n.Do(mercy, &pb.ReviseEntity{Id: "d", Entity: file("2")})
	n.Do(mercy, &pb.RegisterActivity{Id: "shred", Activity: &pb.Activity{}})
	destroyed := pb.InvalidationReason_INVALIDATION_REASON_DESTROYED
	n.Fails(ErrBadNode, mercy, &pb.InvalidateEntity{Id: "d"})
	n.Fails(ErrNotFound, acme, &pb.InvalidateEntity{Id: "d", Reason: destroyed})
	n.Fails(ErrOtherKind, mercy, &pb.InvalidateEntity{Id: "shred", Reason: destroyed})
	n.Fails(ErrOtherKind, mercy, &pb.InvalidateEntity{Id: "d", Reason: destroyed, Activity: ref("d")})
	result := n.Do(mercy, &pb.InvalidateEntity{Id: "d", Version: 1, Reason: destroyed, Activity: ref("shred")})
	if e := chaintest.Events[pb.EntityInvalidated](t, result); len(e) != 1 || e[0].Invalidation.InvalidatedAt != n.Now {
		t.Fatalf("events %v", e)
	}
	if r := chaintest.Events[pb.Related](t, result); len(r) != 1 || r[0].Object.Id != "shred" {
		t.Fatalf("events %v", r)
	}
	if first := n.node(mercy, "d", 1); first.Status != pb.Status_STATUS_INVALIDATED || first.Invalidation.Reason != destroyed {
		t.Fatalf("stored %v", first)
	}
	if latest := n.node(mercy, "d", 0); latest.Status != pb.Status_STATUS_ACTIVE {
		t.Fatalf("stored %v", latest)
	}
	n.Fails(ErrInvalidated, mercy, &pb.InvalidateEntity{Id: "d", Version: 1, Reason: destroyed})
	// A relation says the same without a reason, of the latest version.
	n.relateAll(mercy, &pb.Relation{Kind: kindNamed("INVALIDATION"), Subject: ref("d"), HappenedAt: 77})
	if latest := n.node(mercy, "d", 0); latest.Invalidation.GetInvalidatedAt() != 77 || latest.Invalidation.Reason != pb.InvalidationReason_INVALIDATION_REASON_OTHER {
		t.Fatalf("stored %v", latest)
	}
	// An invalidated version stays so when it is superseded.
	n.Do(mercy, &pb.ReviseEntity{Id: "d", Entity: file("3")})
	if second := n.node(mercy, "d", 2); second.Status != pb.Status_STATUS_INVALIDATED {
		t.Fatalf("stored %v", second)
	}
}
