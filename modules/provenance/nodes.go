package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// personKind is what Identity.Kind says of persons.
const personKind = "person"

// checkNode refuses a description that no state could make acceptable.
func checkNode(id string, n *pb.NewNode) error {
	if err := checkID(id); err != nil {
		return err
	}
	switch d := n.GetDescription().(type) {
	case *pb.NewNode_Entity:
		return checkEntity(d.Entity)
	case *pb.NewNode_Activity:
		return checkActivity(d.Activity)
	case *pb.NewNode_Agent:
		return checkAgent(id, d.Agent)
	default:
		return ErrBadNode.With("%s has no description", id)
	}
}

// described is the node as it is stored: in the order of stored lists and with
// every reference filled. The input is not changed.
func described(organisation string, n *pb.NewNode) *pb.Node {
	out := &pb.Node{Ref: &pb.Ref{Organisation: organisation, Id: n.Id, Version: 1}, Status: pb.Status_STATUS_ACTIVE}
	switch d := n.Description.(type) {
	case *pb.NewNode_Entity:
		e := d.Entity.CloneVT()
		e.Hashes, e.Types, e.Attributes = sortedHashes(e.Hashes), sortedTypes(e.Types), sortedAttributes(e.Attributes)
		if r := e.AttributedTo; r != nil && r.External == "" {
			if r.Organisation == "" {
				r.Organisation = organisation
			}
			if r.Version == 0 {
				r.Version = 1
			}
		}
		out.Description = &pb.Node_Entity{Entity: e}
	case *pb.NewNode_Activity:
		a := d.Activity.CloneVT()
		a.Types, a.Attributes = sortedTypes(a.Types), sortedAttributes(a.Attributes)
		out.Description = &pb.Node_Activity{Activity: a}
	case *pb.NewNode_Agent:
		a := d.Agent.CloneVT()
		a.Types, a.Attributes = sortedTypes(a.Types), sortedAttributes(a.Attributes)
		out.Description = &pb.Node_Agent{Agent: a}
	}
	return out
}

// same tells whether a stored node was registered with this description. The end
// that an activity got later makes no difference.
func same(stored, given *pb.Node) bool {
	switch d := given.Description.(type) {
	case *pb.Node_Entity:
		return stored.GetEntity() != nil && d.Entity.EqualVT(stored.GetEntity())
	case *pb.Node_Agent:
		return stored.GetAgent() != nil && d.Agent.EqualVT(stored.GetAgent())
	case *pb.Node_Activity:
		s := stored.GetActivity()
		if s == nil {
			return false
		}
		if d.Activity.EndedAt == 0 {
			s = s.CloneVT()
			s.EndedAt, s.Outcome = 0, pb.Outcome_OUTCOME_UNSPECIFIED
		}
		return d.Activity.EqualVT(s)
	default:
		return false
	}
}

// plan is what registering a node comes to.
type plan struct {
	node     *pb.Node
	previous *pb.Node // the version that node supersedes
	known    *pb.Node // the node that is there already with this content; then node is not registered
}

// ref is where the content is once the plan is carried out.
func (p plan) ref() *pb.Ref {
	if p.known != nil {
		return p.known.Ref
	}
	return p.node.Ref
}

// planNode decides what registering a node comes to, or refuses. It reads only the
// node's latest version and, for an agent with a DID, the identity.
func (m *Module) planNode(r chain.ReadCtx, n *pb.NewNode) (plan, error) {
	p := plan{node: described(r.Organisation(), n)}
	latest, ok := m.latest(r, r.Organisation(), n.Id)
	switch {
	case ok && same(latest, p.node):
		p.known = latest
	case ok && kindOf(latest) != kindOf(p.node):
		return p, ErrOtherKind.With("%s is there as %s", n.Id, kindOf(latest))
	case ok && (!n.Revise || latest.GetEntity() == nil):
		return p, ErrExists.With("%s", n.Id)
	case ok:
		p.previous = latest
		p.node.Ref.Version = latest.Ref.Version + 1
	}
	if a := p.node.GetAgent(); a != nil && p.known == nil && a.Did != "" {
		if !m.deps.Identity.Active(r, a.Did) {
			return p, ErrNoIdentity.With("%s", a.Did)
		}
		kind, _ := m.deps.Identity.Kind(r, a.Did)
		if (kind == personKind) != (a.Kind == pb.AgentKind_AGENT_KIND_PERSON) {
			return p, ErrNoIdentity.With("%s is a %s", a.Did, kind)
		}
	}
	return p, nil
}

// carryOut registers what the plan says, except for the attribution of an entity,
// which relates to a node that may be registered after it: see attribute.
func (m *Module) carryOut(ctx *chain.Ctx, p plan) error {
	if p.known != nil {
		return nil
	}
	n, id := p.node, ctx.TxID()
	n.Author, n.RegisteredAt, n.Height, n.TxId = ctx.Author(), ctx.Time(), ctx.Height(), id[:]
	if p.previous != nil {
		if p.previous.Status == pb.Status_STATUS_ACTIVE {
			p.previous.Status = pb.Status_STATUS_SUPERSEDED
		}
		m.nodes.Put(ctx, keyOf(p.previous.Ref), p.previous)
		ctx.Emit(&pb.EntitySuperseded{Ref: p.previous.Ref, By: n.Ref.Version})
	}
	m.putLatest(ctx, n)
	switch d := n.Description.(type) {
	case *pb.Node_Entity:
		ctx.Emit(&pb.EntityRegistered{Ref: n.Ref, Hashes: d.Entity.Hashes, Author: n.Author})
	case *pb.Node_Activity:
		ctx.Emit(&pb.ActivityRegistered{Ref: n.Ref, Author: n.Author})
	case *pb.Node_Agent:
		ctx.Emit(&pb.AgentRegistered{Ref: n.Ref, Did: d.Agent.Did, Author: n.Author})
	}
	if p.previous == nil {
		return nil
	}
	_, _, err := m.put(ctx, &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_REVISION, Subject: n.Ref, Object: p.previous.Ref})
	return err
}

// putLatest writes a node as the latest version, with its hashes.
func (m *Module) putLatest(w state.Writer, n *pb.Node) {
	k := keyOf(n.Ref)
	k.C = 0
	m.nodes.Put(w, k, n)
	m.indexHashes(w, n)
}

func (m *Module) indexHashes(w state.Writer, n *pb.Node) {
	for _, h := range n.GetEntity().GetHashes() {
		m.hashes.Add(w, state.Join3(h, n.RegisteredAt, keyOf(n.Ref)))
	}
}

// attribute registers the attribution that a new entity names.
func (m *Module) attribute(ctx *chain.Ctx, p plan) error {
	to := p.node.GetEntity().GetAttributedTo()
	if p.known != nil || to == nil {
		return nil
	}
	_, _, err := m.put(ctx, &pb.Relation{Kind: pb.RelationKind_RELATION_KIND_ATTRIBUTION, Subject: p.node.Ref, Object: to})
	return err
}

// register registers the one node of a message.
func (m *Module) register(ctx *chain.Ctx, p plan) error {
	if err := m.carryOut(ctx, p); err != nil {
		return err
	}
	return m.attribute(ctx, p)
}

// admit is the plan of messages that register one node.
func (m *Module) admit(r chain.ReadCtx, n *pb.NewNode) (plan, error) {
	p, err := m.planNode(r, n)
	if err != nil || p.known != nil {
		return p, err
	}
	if to := p.node.GetEntity().GetAttributedTo(); to != nil && to.External == "" {
		err = m.expect(r, "attributed_to", to, agentKind)
	}
	return p, err
}

// registering is a handler of messages that register one node.
func registering[M proto.Message](m *Module, node func(M) *pb.NewNode, response func(plan) proto.Message) chain.Route {
	return chain.HandlePlan(chain.Planner[M, plan]{
		Validate: func(msg M) error { n := node(msg); return checkNode(n.Id, n) },
		Plan:     func(r chain.ReadCtx, msg M) (plan, error) { return m.admit(r, node(msg)) },
		Execute: func(ctx *chain.Ctx, _ M, p plan) (proto.Message, error) {
			if err := m.register(ctx, p); err != nil {
				return nil, err
			}
			return response(p), nil
		},
	})
}
