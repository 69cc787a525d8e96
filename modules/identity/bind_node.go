package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) bindNode() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.BindNode]{
		Validate: func(msg *identityv1.BindNode) error { return validateNodeID(msg.NodeId) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.BindNode) error {
			author, err := m.own(ctx, identityv1.Kind_KIND_ORGANISATION)
			if err != nil {
				return err
			}
			if n, ok := m.s.nodes.Lookup(ctx, msg.NodeId); ok {
				return ErrNodeTaken.With("%s", n.Organisation)
			}
			n := 0
			for range m.s.nodesOf.Walk(ctx, state.Under(state.String, author.Did)) {
				n++
			}
			if n >= MaxNodes {
				return ErrTooMany.With("%d nodes, at most %d", n, MaxNodes)
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.BindNode) (proto.Message, error) {
			m.putNode(ctx, &identityv1.Node{Id: msg.NodeId, Organisation: ctx.Author(), Bound: mark(ctx, 0)})
			ctx.Emit(&identityv1.NodeBound{Id: msg.NodeId, Organisation: ctx.Author()})
			return &identityv1.BindNodeResponse{}, nil
		},
	})
}

func (m *Module) putNode(ctx *chain.Ctx, n *identityv1.Node) {
	m.s.nodes.Put(ctx, n.Id, n)
	m.s.nodesOf.Add(ctx, state.Join(n.Organisation, n.Id))
}

func validateNodeID(id string) error {
	if len(id) != 40 {
		return ErrBadNode.With("it has %d characters", len(id))
	}
	for i := range len(id) {
		if c := id[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ErrBadNode
		}
	}
	return nil
}
