package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) reviseEntity() chain.Route {
	return chain.Handle(chain.Handler[*pb.ReviseEntity]{
		Validate: func(msg *pb.ReviseEntity) error { return checkNode(msg.Id, revision(msg)) },
		Check: func(r chain.ReadCtx, msg *pb.ReviseEntity) error {
			if err := m.checkReplaced(r, msg); err != nil {
				return err
			}
			return m.admit(r, revision(msg))
		},
		Execute: func(ctx *chain.Ctx, msg *pb.ReviseEntity) (proto.Message, error) {
			p, err := m.register(ctx, revision(msg))
			if err != nil {
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
