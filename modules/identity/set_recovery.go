package identity

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

func (m *Module) setRecovery() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.SetRecovery]{
		Validate: func(msg *identityv1.SetRecovery) error {
			if msg.Rule == nil {
				return nil
			}
			return validateRule(msg.Rule)
		},
		Check: m.checkSetRecovery,
		Execute: func(ctx *chain.Ctx, msg *identityv1.SetRecovery) (proto.Message, error) {
			id, err := m.own(ctx)
			if err != nil {
				return nil, err
			}
			m.revise(ctx, id)
			id.Recovery = nil
			if msg.Rule != nil {
				id.Recovery = msg.Rule.CloneVT()
				slices.Sort(id.Recovery.Guardians)
			}
			m.s.identities.Put(ctx, id.Did, id)
			ctx.Emit(&identityv1.RecoverySet{Did: id.Did, Rule: id.Recovery})
			return &identityv1.SetRecoveryResponse{}, nil
		},
	})
}

// validateRule checks a rule alone. Organisations and others are not mixed as
// guardians, because one person could then be two: an administrator of an
// organisation, and a guardian in person.
func validateRule(rule *identityv1.RecoveryRule) error {
	if err := checkList("guardians", rule.Guardians, MaxGuardians); err != nil {
		return err
	}
	organisations := 0
	for _, s := range rule.Guardians {
		d, err := checkDID("guardians", s)
		if err != nil {
			return err
		}
		if d.IsConsortium() {
			return ErrBadRule.With("the consortium is no guardian")
		}
		if d.IsOrganisation() {
			organisations++
		}
	}
	switch {
	case len(rule.Guardians) == 0 || organisations != 0 && organisations != len(rule.Guardians):
		return ErrBadRule.With("%d guardians, %d of them organisations", len(rule.Guardians), organisations)
	case rule.DelayMs < 0 || rule.DelayMs > MaxDelay:
		return ErrBadRule.With("delay_ms is %d, want 0 to %d", rule.DelayMs, MaxDelay)
	}
	return checkThreshold(rule.Threshold, len(rule.Guardians))
}

func (m *Module) checkSetRecovery(ctx chain.ReadCtx, msg *identityv1.SetRecovery) error {
	id, err := m.own(ctx)
	if err != nil {
		return err
	}
	if id.Kind == identityv1.Kind_KIND_CONSORTIUM {
		return ErrBadKind.With("the consortium has no keys to recover")
	}
	if m.s.recoveries.Has(ctx, id.Did) {
		return ErrRecoveryPending.With("%s", id.Did)
	}
	for _, g := range msg.Rule.GetGuardians() {
		if g == id.Did {
			return ErrBadRule.With("%s cannot be its own guardian", g)
		}
		if _, err := m.existing(ctx, g); err != nil {
			return err
		}
	}
	return nil
}
