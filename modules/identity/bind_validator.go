package identity

import (
	"bytes"
	"regexp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

var moniker = regexp.MustCompile(`^[A-Za-z0-9._-]([A-Za-z0-9 ._-]{0,62}[A-Za-z0-9._-])?$`)

func (m *Module) bindValidator() chain.Route {
	return chain.Handle(chain.Handler[*identityv1.BindValidator]{
		Validate: func(msg *identityv1.BindValidator) error {
			d, err := checkDID("organisation", msg.Organisation)
			if err != nil {
				return err
			}
			if !d.IsOrganisation() {
				return ErrBadDID.With("organisation: %s is none", msg.Organisation)
			}
			if len(msg.Replaces) > 0 {
				if err := validateConsensusKey(msg.Replaces); err != nil {
					return err
				}
				if bytes.Equal(msg.Replaces, msg.PublicKey) || msg.Power == 0 {
					return ErrBadValidator.With("replaces: a key takes the place of another, with power")
				}
			}
			if msg.Power == 0 && msg.Moniker == "" {
				return validateConsensusKey(msg.PublicKey)
			}
			return validateValidator(msg.PublicKey, msg.Power, msg.Moniker)
		},
		Check: m.checkBindValidator,
		Execute: func(ctx *chain.Ctx, msg *identityv1.BindValidator) (proto.Message, error) {
			before, _ := m.s.validators.Lookup(ctx, msg.PublicKey)
			m.noteTurnover(ctx)
			if len(msg.Replaces) > 0 {
				old, _ := m.s.validators.Lookup(ctx, msg.Replaces)
				m.unbind(ctx, msg.Replaces, msg.Organisation)
				ctx.UpdateValidator(chain.ValidatorUpdate{Key: consensusKey(msg.Replaces), Was: old.GetPower()})
			}
			if msg.Power == 0 {
				m.unbind(ctx, msg.PublicKey, msg.Organisation)
			} else {
				m.s.validators.Put(ctx, msg.PublicKey, &identityv1.Validator{
					PublicKey: msg.PublicKey, Power: msg.Power, Organisation: msg.Organisation, Moniker: msg.Moniker, Bound: mark(ctx, 0),
				})
				ctx.Emit(&identityv1.ValidatorBound{PublicKey: msg.PublicKey, Power: msg.Power, Organisation: msg.Organisation})
			}
			ctx.UpdateValidator(chain.ValidatorUpdate{Key: consensusKey(msg.PublicKey), Power: msg.Power, Was: before.GetPower()})
			return &identityv1.BindValidatorResponse{}, nil
		},
	})
}

func (m *Module) unbind(ctx *chain.Ctx, key []byte, organisation string) {
	m.s.validators.Remove(ctx, key)
	ctx.Emit(&identityv1.ValidatorUnbound{PublicKey: key, Organisation: organisation})
}

func validateConsensusKey(public []byte) error {
	if _, err := keys.NewPublic(keys.Ed25519, public); err != nil {
		return ErrBadValidator.With("public_key: %v", err)
	}
	return nil
}

// validateValidator checks the form of a validator that is there to stay.
func validateValidator(public []byte, power int64, name string) error {
	if err := validateConsensusKey(public); err != nil {
		return err
	}
	if power < 1 || power > MaxPower {
		return ErrBadValidator.With("power is %d", power)
	}
	if !moniker.MatchString(name) {
		return ErrBadValidator.With("moniker: letters, digits, spaces inside, . _ and -")
	}
	return nil
}

func consensusKey(public []byte) keys.Public {
	return keys.Public{Type: keys.Ed25519, Bytes: public}
}

func (m *Module) checkBindValidator(ctx chain.ReadCtx, msg *identityv1.BindValidator) error {
	if err := byConsortium(ctx); err != nil {
		return err
	}
	before := m.Validators(ctx)
	i := slices.IndexFunc(before, func(v *identityv1.Validator) bool { return bytes.Equal(v.PublicKey, msg.PublicKey) })
	if i >= 0 && before[i].Organisation != msg.Organisation {
		return ErrValidatorTaken.With("%s", before[i].Organisation)
	}
	after := slices.DeleteFunc(slices.Clone(before), func(v *identityv1.Validator) bool { return bytes.Equal(v.PublicKey, msg.PublicKey) })
	if len(msg.Replaces) > 0 {
		old := slices.IndexFunc(after, func(v *identityv1.Validator) bool { return bytes.Equal(v.PublicKey, msg.Replaces) })
		switch {
		case old < 0:
			return ErrNoValidator.With("replaces: %x", msg.Replaces)
		case after[old].Organisation != msg.Organisation:
			return ErrValidatorTaken.With("replaces: %s", after[old].Organisation)
		case i >= 0:
			return ErrBadValidator.With("public_key: it is bound already; only a new key takes the place of another")
		}
		after = slices.Delete(after, old, old+1)
	}
	if msg.Power == 0 {
		if i < 0 {
			return ErrNoValidator.With("%x", msg.PublicKey)
		}
		if len(after) == 0 {
			return ErrLastValidator.With("%x", msg.PublicKey)
		}
		return m.checkChange(ctx, before, after)
	}
	if i < 0 {
		id, err := m.existing(ctx, msg.Organisation)
		if err != nil {
			return err
		}
		if id.Status != identityv1.Status_STATUS_ACTIVE {
			return ErrSuspended.With("%s", id.Did)
		}
		if holder, ok := m.s.holders.Lookup(ctx, holderKey(identityv1.KeyType_KEY_TYPE_ED25519, msg.PublicKey)); ok {
			return ErrKeyTaken.With("it is %s#%s", holder.Did, holder.Key)
		}
		if len(msg.Replaces) == 0 && len(before) >= MaxValidators {
			return ErrTooMany.With("%d validators, at most %d", len(before), MaxValidators)
		}
	}
	after = byKey(append(after, &identityv1.Validator{PublicKey: msg.PublicKey, Power: msg.Power, Organisation: msg.Organisation}))
	return m.checkChange(ctx, before, after)
}

// checkChange refuses what would endanger the chain, whoever asks: a large number of
// signatures, or a vote, does not make it go on.
func (m *Module) checkChange(r chain.ReadCtx, before, after []*identityv1.Validator) error {
	if err := checkPower(before, after); err != nil {
		return err
	}
	return checkTurnover(m.settled(r, before), before, after)
}

// checkPower refuses a change of the validators after which an organisation could
// stop the chain alone: with four organisations or more, none may reach a third of
// the voting power by a change that makes its share larger. With fewer there is no
// way to keep everybody below a third. Powers are bounded so that the products fit
// int64.
func checkPower(before, after []*identityv1.Validator) error {
	was, is := powers(before), powers(after)
	if len(is) < 4 {
		return nil
	}
	totalWas, totalIs := sum(was), sum(is)
	for _, p := range is {
		old := int64(0)
		if i := slices.IndexFunc(was, func(o power) bool { return o.organisation == p.organisation }); i >= 0 {
			old = was[i].power
		}
		if 3*p.power >= totalIs && p.power*totalWas > old*totalIs {
			return ErrTooMuchPower.With("%s: %d of %d", p.organisation, p.power, totalIs)
		}
	}
	return nil
}

type power struct {
	organisation string
	power        int64
}

// powers are the voting powers of organisations, in order of first appearance.
func powers(validators []*identityv1.Validator) []power {
	var out []power
	for _, v := range validators {
		i := slices.IndexFunc(out, func(o power) bool { return o.organisation == v.Organisation })
		if i < 0 {
			out = append(out, power{organisation: v.Organisation})
			i = len(out) - 1
		}
		out[i].power += v.Power
	}
	return out
}

func sum(list []power) int64 {
	total := int64(0)
	for _, p := range list {
		total += p.power
	}
	return total
}
