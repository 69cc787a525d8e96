package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) reviseEntity() chain.Route {
	return chain.HandlePlan(chain.Planner[*pb.ReviseEntity, plan]{
		Validate: func(msg *pb.ReviseEntity) error { return checkNode(msg.Id, revision(msg)) },
		Plan: func(r chain.ReadCtx, msg *pb.ReviseEntity) (plan, error) {
			if err := m.checkReplaced(r, msg); err != nil {
				return plan{}, err
			}
			return m.admit(r, revision(msg))
		},
		Execute: func(ctx *chain.Ctx, _ *pb.ReviseEntity, p plan) (proto.Message, error) {
			if err := m.register(ctx, p); err != nil {
				return nil, err
			}
			return &pb.ReviseEntityResponse{Ref: p.ref(), Created: p.known == nil}, nil
		},
	})
}

func revision(msg *pb.ReviseEntity) *pb.NewNode {
	return &pb.NewNode{Id: msg.Id, Description: &pb.NewNode_Entity{Entity: msg.Entity}, Revise: true}
}

// checkReplaced refuses to replace what is not there or not the latest. A revision
// that was registered before by another transaction is no mistake.
func (m *Module) checkReplaced(r chain.ReadCtx, msg *pb.ReviseEntity) error {
	latest, ok := m.latest(r, r.Organisation(), msg.Id)
	if !ok {
		return ErrNotFound.With("%s", msg.Id)
	}
	version := latest.Ref.Version
	done := version > 1 && msg.Replaces == version-1 && same(latest, described(r.Organisation(), revision(msg)))
	if msg.Replaces != 0 && msg.Replaces != version && !done {
		return ErrNotLatest.With("version %d is the latest of %s", version, msg.Id)
	}
	return nil
}
