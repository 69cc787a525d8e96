package provenance

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// No message makes Validate panic, and whatever it accepts has names that can be
// written into a document and read back.
func FuzzValidate(f *testing.F) {
	table := newEntity("warehouse/orders")
	table.GetEntity().Attributes = []*pb.Attribute{{Key: "https://example.org/k", Type: pb.ValueType_VALUE_TYPE_TEXT, Value: "v"}}
	for _, r := range []*pb.Record{
		{Nodes: []*pb.NewNode{table, newActivity("run/1"), newAgent("scheduler"), nil}},
		{Relations: []*pb.Relation{relation("USAGE", "run/1", "warehouse/orders"), nil, {Kind: 99}}},
		{Relations: []*pb.Relation{{Kind: kindNamed("ASSOCIATION"), Subject: ref("a"), Plan: external("urn:x:%41"), Role: "https://example.org/r"}}},
	} {
		raw, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := new(pb.Record)
		if r.UnmarshalVT(raw) != nil || checkRecord(r) != nil {
			return
		}
		d := document{}
		for _, n := range r.Nodes {
			node := described(mercy, n)
			if !same(node, node) {
				t.Fatalf("%v is not the same as itself", node)
			}
			d.nodes = append(d.nodes, node)
		}
		for _, given := range r.Relations {
			d.edges = append(d.edges, &pb.Edge{Id: relationID(given), Relation: given})
		}
		if d.json() == nil || d.provN() == nil {
			t.Fatal("no document")
		}
	})
}

// What isTime accepts is what RFC 3339 says, as the standard library reads it.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2024-02-29T23:59:59.123456789Z", "1900-02-29T00:00:00Z", "2026-01-05T08:00:00+14:00", "2026-01-05T24:00:00Z", "0000-01-01T00:00:00-23:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := time.Parse(time.RFC3339Nano, s)
		if isTime(s) && err != nil {
			t.Fatalf("%q is accepted: %v", s, err)
		}
		// The library takes one digit for the hour, and a comma before the fraction, too.
		lenient := len(s) > 19 && (s[13] != ':' || s[19] == ',')
		if err == nil && !isTime(s) && len(s) <= 40 && len(s) > 19 && !lenient {
			t.Fatalf("%q is refused", s)
		}
	})
}

func FuzzInteger(f *testing.F) {
	for _, s := range []string{"0", "-0", "007", "-9223372036854775808", "9223372036854775808", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := strconv.ParseInt(s, 10, 64)
		if want := err == nil && strconv.FormatInt(i, 10) == s; isInteger(s) != want {
			t.Fatalf("%q: %v", s, !want)
		}
	})
}

func FuzzIRI(f *testing.F) {
	for _, s := range []string{"https://w3id.org/dpv#MedicalCare", "urn:uuid:1", "a:", ":b", "1a:b", "a:%4", "a:b c", "mailto:x@example.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !isIRI(s) {
			return
		}
		// A second # or a misplaced bracket is an error of the library's, not of ours to
		// judge, but the scheme must be the same.
		if u, err := url.Parse(s); err == nil && !u.IsAbs() {
			t.Fatalf("%q is not absolute", s)
		}
		p := newPrefixes()
		name := p.iri(s)
		for _, x := range p.list {
			if got := x.namespace + name[len(x.name)+1:]; got != s {
				t.Fatalf("%q is written as %q", s, got)
			}
		}
	})
}

// A page token of any bytes is refused or answered.
func FuzzTokens(f *testing.F) {
	n := scenario(f)
	n.q.snapshots = fixed{n.View()}
	first := must[*pb.TraceResponse](f)(n.q.Ancestors(ctx, &pb.TraceRequest{Start: of(acme, "clean.csv"), Limit: 1}))
	f.Add(first.NextPageToken)
	f.Add([]byte{0, 0, 0, 1})
	f.Add(nodeCodec.Encode(nil, nodeKey{A: mercy, B: "lab"}))
	f.Fuzz(func(t *testing.T, token []byte) {
		if r, err := n.q.Ancestors(ctx, &pb.TraceRequest{Start: of(acme, "clean.csv"), Limit: 1, PageToken: token}); err == nil && len(r.Steps) > 1 {
			t.Fatal("more than a page")
		}
		if r, err := n.q.Nodes(ctx, &pb.NodesRequest{Organisation: mercy, PageToken: token}); err == nil {
			for _, node := range r.Nodes {
				if node.Ref.Organisation != mercy {
					t.Fatalf("%v is not of the organisation", node)
				}
			}
		}
		if r, err := n.q.Relations(ctx, &pb.RelationsRequest{Node: of(mercy, "results.csv"), Direction: pb.Direction_DIRECTION_IN, PageToken: token}); err == nil {
			for _, e := range r.Edges {
				if e.Relation.Object.Id != "results.csv" {
					t.Fatalf("%v is not of the node", e)
				}
			}
		}
		if r, err := n.q.Versions(ctx, &pb.VersionsRequest{Organisation: mercy, Id: "results.csv", PageToken: token}); err == nil && len(r.Versions) > 2 {
			t.Fatal("more versions than there are")
		}
	})
}
