package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) unbindNode() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.UnbindNode]{
		Validate: func(msg *identityv1.UnbindNode) error { return validateNodeID(msg.NodeId) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.UnbindNode) error {
			_, err := m.unbindable(ctx, msg.NodeId)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.UnbindNode) (proto.Message, error) {
			n, err := m.unbindable(ctx, msg.NodeId)
			if err != nil {
				return nil, err
			}
			m.s.nodes.Remove(ctx, n.Id)
			m.s.nodesOf.Remove(ctx, state.Join(n.Organisation, n.Id))
			ctx.Emit(&identityv1.NodeUnbound{Id: n.Id, Organisation: n.Organisation, By: ctx.Author()})
			return &identityv1.UnbindNodeResponse{}, nil
		},
	})
}

// unbindable is a node that the author may unbind.
func (m *Module) unbindable(r chain.ReadCtx, id string) (*identityv1.Node, error) {
	n, ok := m.s.nodes.Lookup(r, id)
	if !ok {
		return nil, ErrNoNode.With("%s", id)
	}
	if r.Author() != n.Organisation && r.Author() != did.Consortium {
		return nil, ErrNotAllowed.With("the node is bound to %s", n.Organisation)
	}
	return n, nil
}
