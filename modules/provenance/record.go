package provenance

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const maxNodes = 128

func inRelation(i int, err error) error { return fmt.Errorf("relation %d: %w", i, err) }

func inNode(i int, err error) error { return fmt.Errorf("node %d: %w", i, err) }

func (m *Module) record() chain.Route {
	return chain.Handle(chain.Handler[*pb.Record]{
		Validate: checkRecord,
		Check: func(r chain.ReadCtx, msg *pb.Record) error {
			for i, n := range msg.Nodes {
				if _, err := m.planNode(r, n); err != nil {
					return inNode(i, err)
				}
			}
			return m.checkEnds(r, msg)
		},
		Execute: m.executeRecord,
	})
}

func checkRecord(msg *pb.Record) error {
	switch {
	case len(msg.Nodes)+len(msg.Relations) == 0:
		return ErrTooMany.With("neither node nor relation")
	case len(msg.Nodes) > maxNodes:
		return ErrTooMany.With("%d nodes, at most %d", len(msg.Nodes), maxNodes)
	}
	ids := make(map[string]bool, len(msg.Nodes))
	for i, n := range msg.Nodes {
		if err := checkNode(n.GetId(), n); err != nil {
			return inNode(i, err)
		}
		if ids[n.Id] {
			return inNode(i, ErrBadNode.With("%s is there twice", n.Id))
		}
		ids[n.Id] = true
	}
	return checkRelations(msg.Relations)
}

// checkEnds refuses relations to nodes that are neither registered nor in the
// bundle.
func (m *Module) checkEnds(r chain.ReadCtx, msg *pb.Record) error {
	fresh := make(map[string]bool, len(msg.Nodes))
	for _, n := range msg.Nodes {
		fresh[n.Id] = true
	}
	for i, given := range msg.Relations {
		for _, ref := range []*pb.Ref{given.Subject, given.Object, given.Activity, given.Plan, given.Bundle} {
			if ref == nil || fresh[ref.Id] && (ref.Organisation == "" || ref.Organisation == r.Organisation()) {
				continue
			}
			if _, _, err := m.lookup(r, "end", ref); err != nil {
				return inRelation(i, err)
			}
		}
	}
	return nil
}

func (m *Module) executeRecord(ctx *chain.Ctx, msg *pb.Record) (proto.Message, error) {
	out := &pb.RecordResponse{}
	plans := make([]plan, len(msg.Nodes))
	for i, n := range msg.Nodes {
		p, err := m.planNode(ctx, n)
		if err == nil {
			err = m.carryOut(ctx, p)
		}
		if err != nil {
			return nil, inNode(i, err)
		}
		plans[i] = p
		out.Nodes = append(out.Nodes, p.ref())
		if p.known == nil {
			out.Created++
		}
	}
	for i, p := range plans {
		if err := m.attribute(ctx, p); err != nil {
			return nil, inNode(i, err)
		}
	}
	ids, created, err := m.putAll(ctx, msg.Relations)
	if err != nil {
		return nil, err
	}
	out.Relations = ids
	out.Created += created
	return out, nil
}
