package provenance

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// InitGenesis implements chain.Module. It refuses versions with gaps, relations
// whose ends are not there, ids that are not those of their relation, and cycles.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(pb.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return ErrBadGenesis.Wrap(err)
	}
	// The latest version of a node comes first, so that it is known for the others.
	slices.SortFunc(g.Nodes, func(a, b *pb.Node) int {
		x, y := a.GetRef(), b.GetRef()
		if c := strings.Compare(x.GetOrganisation(), y.GetOrganisation()); c != 0 {
			return c
		}
		if c := strings.Compare(x.GetId(), y.GetId()); c != 0 {
			return c
		}
		return int(int64(y.GetVersion()) - int64(x.GetVersion()))
	})
	for i, n := range g.Nodes {
		if err := checkStored(n); err != nil {
			return err
		}
		k := keyOf(n.Ref)
		if i > 0 && sameNode(g.Nodes[i-1].Ref, n.Ref) {
			if g.Nodes[i-1].Ref.Version != n.Ref.Version+1 {
				return ErrBadGenesis.With("version %d of %s is there twice or missing", n.Ref.Version+1, n.Ref.Id)
			}
			m.nodes.Put(ctx, k, n)
			m.indexHashes(ctx, n)
		} else {
			m.putLatest(ctx, n)
		}
		last := i == len(g.Nodes)-1 || !sameNode(g.Nodes[i+1].Ref, n.Ref)
		if last && n.Ref.Version != 1 {
			return ErrBadGenesis.With("version 1 of %s is missing", n.Ref.Id)
		}
	}
	for _, e := range g.Edges {
		if err := m.checkEdge(ctx, e); err != nil {
			return err
		}
		m.putEdge(ctx, e)
	}
	for _, a := range g.Anchors {
		if a == nil || !isOrganisation(a.Organisation) || checkID(a.Id) != nil || checkBatch(a.Batch) != nil {
			return ErrBadGenesis.With("anchor %s", a.GetId())
		}
		if m.anchors.Has(ctx, state.Join(a.Organisation, a.Id)) {
			return ErrBadGenesis.With("anchor %s is there twice", a.Id)
		}
		m.putAnchor(ctx, a)
	}
	return checkLineage(g.Edges)
}

func sameNode(a, b *pb.Ref) bool { return a.Organisation == b.Organisation && a.Id == b.Id }

func checkStored(n *pb.Node) error {
	if n.GetRef() == nil || !isOrganisation(n.Ref.Organisation) || n.Ref.Version == 0 || n.Ref.External != "" {
		return ErrBadGenesis.With("a node has no proper reference")
	}
	given := &pb.NewNode{Id: n.Ref.Id}
	switch d := n.Description.(type) {
	case *pb.Node_Entity:
		given.Description = &pb.NewNode_Entity{Entity: d.Entity}
	case *pb.Node_Activity:
		given.Description = &pb.NewNode_Activity{Activity: d.Activity}
	case *pb.Node_Agent:
		given.Description = &pb.NewNode_Agent{Agent: d.Agent}
	}
	if err := checkNode(n.Ref.Id, given); err != nil {
		return ErrBadGenesis.Wrap(err)
	}
	if n.Status < pb.Status_STATUS_ACTIVE || n.Status > pb.Status_STATUS_INVALIDATED || (n.Status == pb.Status_STATUS_INVALIDATED) != (n.Invalidation != nil) {
		return ErrBadGenesis.With("the status of %s", n.Ref.Id)
	}
	return nil
}

func (m *Module) checkEdge(r chain.ReadCtx, e *pb.Edge) error {
	if err := checkRelation(e.GetRelation()); err != nil {
		return ErrBadGenesis.Wrap(err)
	}
	of := shapes[e.Relation.Kind]
	for _, part := range []struct {
		ref  *pb.Ref
		want pb.NodeKind
	}{
		{e.Relation.Subject, of.subject}, {e.Relation.Object, of.object},
		{e.Relation.Activity, activityKind}, {e.Relation.Plan, entityKind}, {e.Relation.Bundle, entityKind},
	} {
		if part.ref == nil || part.ref.External != "" {
			continue
		}
		n, ok := m.node(r, part.ref.Organisation, part.ref.Id, part.ref.Version)
		if !ok || part.ref.Version == 0 || fitting("end", n, part.want) != nil {
			return ErrBadGenesis.With("relation %x leads to %s, which is not there or of another kind", e.Id, part.ref.Id)
		}
	}
	switch {
	case !bytes.Equal(e.Id, relationID(e.Relation)):
		return ErrBadGenesis.With("relation %x does not have this id", e.Id)
	case m.out.Has(r, edgeKeyOf(e.Relation.Subject, e.Relation.Kind, e.Id)):
		return ErrBadGenesis.With("relation %x is there twice", e.Id)
	}
	return nil
}

// checkLineage refuses a cycle, by taking away nodes without sources until none is
// left.
func checkLineage(edges []*pb.Edge) error {
	sources := make(map[nodeKey]int)
	dependents := make(map[nodeKey][]nodeKey)
	var subjects []nodeKey
	for _, e := range edges {
		r := e.Relation
		if r.Kind > lastLineage || r.Object == nil || r.Object.External != "" {
			continue
		}
		s, o := keyOf(r.Subject), keyOf(r.Object)
		if sources[s] == 0 {
			subjects = append(subjects, s)
		}
		sources[s]++
		dependents[o] = append(dependents[o], s)
	}
	var free []nodeKey
	for _, e := range edges {
		if o := e.Relation.Object; o != nil && sources[keyOf(o)] == 0 && len(dependents[keyOf(o)]) > 0 {
			free = append(free, keyOf(o))
		}
	}
	for ; len(free) > 0; free = free[1:] {
		waiting := dependents[free[0]]
		delete(dependents, free[0])
		for _, s := range waiting {
			if sources[s]--; sources[s] == 0 {
				free = append(free, s)
			}
		}
	}
	for _, s := range subjects {
		if sources[s] > 0 {
			return ErrBadGenesis.With("%s version %d of %s is its own ancestor or comes from one that is", s.B, s.C, s.A)
		}
	}
	return nil
}

// ExportGenesis implements chain.Module.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := new(pb.Genesis)
	var latest []*pb.Node
	flush := func() {
		g.Nodes = append(g.Nodes, latest...)
		latest = nil
	}
	for k, n := range m.nodes.Walk(r, state.All()) {
		if k.C == 0 {
			flush()
			latest = []*pb.Node{n}
			continue
		}
		g.Nodes = append(g.Nodes, n)
	}
	flush()
	for _, e := range m.out.Walk(r, state.All()) {
		g.Edges = append(g.Edges, e)
	}
	for _, a := range m.anchors.Walk(r, state.All()) {
		g.Anchors = append(g.Anchors, a)
	}
	return g, nil
}
