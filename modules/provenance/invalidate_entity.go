package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) invalidateEntity() chain.Route {
	return chain.Handle(chain.Handler[*pb.InvalidateEntity]{
		Validate: func(msg *pb.InvalidateEntity) error {
			switch {
			case msg.Reason <= pb.InvalidationReason_INVALIDATION_REASON_UNSPECIFIED || msg.Reason > pb.InvalidationReason_INVALIDATION_REASON_OTHER:
				return ErrBadNode.With("reason is missing or unknown")
			case !isMoment(msg.InvalidatedAt):
				return ErrBadNode.With("invalidated_at is no time")
			}
			if msg.Activity != nil {
				if err := checkRef("activity", msg.Activity); err != nil {
					return err
				}
			}
			return checkID(msg.Id)
		},
		Check: func(r chain.ReadCtx, msg *pb.InvalidateEntity) error {
			if _, err := m.valid(r, msg); err != nil || msg.Activity == nil {
				return err
			}
			return m.expect(r, "activity", msg.Activity, activityKind)
		},
		Execute: func(ctx *chain.Ctx, msg *pb.InvalidateEntity) (proto.Message, error) {
			n, err := m.valid(ctx, msg)
			if err != nil {
				return nil, err
			}
			at := msg.InvalidatedAt
			if at == 0 {
				at = ctx.Time()
			}
			m.invalidate(ctx, n, msg.Reason, at)
			relation := &pb.Relation{
				Kind: pb.RelationKind_RELATION_KIND_INVALIDATION, Subject: n.Ref, Object: msg.Activity, HappenedAt: at,
			}
			if _, _, err := m.put(ctx, relation); err != nil {
				return nil, err
			}
			return &pb.InvalidateEntityResponse{Ref: n.Ref}, nil
		},
	})
}

// valid is the version that is to be invalidated.
func (m *Module) valid(r chain.ReadCtx, msg *pb.InvalidateEntity) (*pb.Node, error) {
	n, ok := m.node(r, r.Organisation(), msg.Id, msg.Version)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%s version %d", msg.Id, msg.Version)
	case n.GetEntity() == nil:
		return nil, ErrOtherKind.With("%s is %s", msg.Id, kindOf(n))
	case n.Status == pb.Status_STATUS_INVALIDATED:
		return nil, ErrInvalidated.With("%s version %d", msg.Id, n.Ref.Version)
	}
	return n, nil
}

// invalidate ends an entity, if it has not ended.
func (m *Module) invalidate(ctx *chain.Ctx, n *pb.Node, reason pb.InvalidationReason, at int64) {
	if n.Status == pb.Status_STATUS_INVALIDATED {
		return
	}
	n.Status = pb.Status_STATUS_INVALIDATED
	n.Invalidation = &pb.Invalidation{Reason: reason, InvalidatedAt: at, Author: ctx.Author(), Height: ctx.Height()}
	m.replace(ctx, n)
	ctx.Emit(&pb.EntityInvalidated{Ref: n.Ref, Invalidation: n.Invalidation})
}
