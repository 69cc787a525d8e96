package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) endActivity() chain.Route {
	return chain.Handle(chain.Handler[*pb.EndActivity]{
		Validate: func(msg *pb.EndActivity) error {
			switch {
			case msg.EndedAt == 0 || !isMoment(msg.EndedAt):
				return ErrBadNode.With("ended_at is missing or no time")
			case !isOutcome(msg.Outcome):
				return ErrBadNode.With("outcome is missing or unknown")
			}
			return checkID(msg.Id)
		},
		Check: func(r chain.ReadCtx, msg *pb.EndActivity) error {
			_, err := m.running(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *pb.EndActivity) (proto.Message, error) {
			n, err := m.running(ctx, msg)
			if err != nil {
				return nil, err
			}
			if a := n.GetActivity(); a.EndedAt == 0 {
				a.EndedAt, a.Outcome = msg.EndedAt, msg.Outcome
				m.replace(ctx, n)
				ctx.Emit(&pb.ActivityEnded{Ref: n.Ref, EndedAt: a.EndedAt, Outcome: a.Outcome})
			}
			return &pb.EndActivityResponse{Ref: n.Ref}, nil
		},
	})
}

// running is the activity that is to end; one that ended just so is no mistake.
func (m *Module) running(r chain.ReadCtx, msg *pb.EndActivity) (*pb.Node, error) {
	n, ok := m.latest(r, r.Organisation(), msg.Id)
	if !ok {
		return nil, ErrNotFound.With("%s", msg.Id)
	}
	a := n.GetActivity()
	switch {
	case a == nil:
		return nil, ErrOtherKind.With("%s is %s", msg.Id, kindOf(n))
	case a.EndedAt == msg.EndedAt && a.Outcome == msg.Outcome:
		return n, nil
	case a.EndedAt != 0:
		return nil, ErrEnded.With("it ended at %d", a.EndedAt)
	case msg.EndedAt < a.StartedAt:
		return nil, ErrEnded.With("it started at %d", a.StartedAt)
	}
	return n, nil
}
