package identity

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) suspend() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.Suspend]{
		Validate: func(msg *identityv1.Suspend) error { return validateEnding(msg.Did, msg.Reason) },
		Check: func(ctx chain.ReadCtx, msg *identityv1.Suspend) error {
			id, err := m.endable(ctx, msg.Did)
			if err != nil {
				return err
			}
			switch {
			case id.Status == identityv1.Status_STATUS_ACTIVE:
				return m.checkNotLocked(ctx, id)
			case id.Provisional:
				return nil
			}
			return ErrStatus.With("%s is suspended", id.Did)
		},
		Execute: func(ctx *chain.Ctx, msg *identityv1.Suspend) (proto.Message, error) {
			id, err := m.endable(ctx, msg.Did)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Status, id.Reason, id.Provisional = identityv1.Status_STATUS_SUSPENDED, msg.Reason, false
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.Suspended{Did: id.Did, Reason: msg.Reason, By: ctx.Author()})
			return &identityv1.SuspendResponse{}, nil
		},
	})
}

// validateEnding checks the form of what Suspend and Deactivate are about.
func validateEnding(name string, why identityv1.Reason) error {
	d, err := checkDID("did", name)
	if err != nil {
		return err
	}
	if d.IsConsortium() {
		return ErrBadKind.With("the consortium cannot end")
	}
	return checkReason(why)
}

// endable is the record of a DID that the author may suspend or deactivate: its own
// or one that it is superior to.
func (m *Module) endable(r chain.ReadCtx, name string) (*identityv1.Identity, error) {
	id, err := m.existing(r, name)
	if err == nil && r.Author() != id.Did && r.Author() != superior(id) {
		return nil, ErrNotAllowed.With("%s acts on %s", r.Author(), id.Did)
	}
	return id, err
}
