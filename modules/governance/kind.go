package governance

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	kindOther      = governancev1.Kind_KIND_OTHER
	kindMembership = governancev1.Kind_KIND_MEMBERSHIP
	kindValidators = governancev1.Kind_KIND_VALIDATORS
	kindParameters = governancev1.Kind_KIND_PARAMETERS
	kindModel      = governancev1.Kind_KIND_MODEL
	kindGuardRails = governancev1.Kind_KIND_GUARD_RAILS
	kindUpgrade    = governancev1.Kind_KIND_UPGRADE
	kindRules      = governancev1.Kind_KIND_RULES
)

// ruled are the kinds that have rules of their own, sorted.
var ruled = []governancev1.Kind{kindOther, kindMembership, kindValidators, kindParameters, kindModel, kindGuardRails, kindUpgrade}

// kinds are the kinds of messages that are not KIND_OTHER. All else of identity is
// KIND_MEMBERSHIP: whatever the consortium may change there decides who acts for a member.
var kinds = map[protoreflect.FullName]governancev1.Kind{
	nameOf(&identityv1.BindValidator{}): kindValidators,
	nameOf(&identityv1.BindNode{}):      kindValidators,
	nameOf(&identityv1.UnbindNode{}):    kindValidators,

	nameOf(&chainv1.SetParams{}):       kindParameters,
	nameOf(&threatv1.SetParams{}):      kindParameters,
	nameOf(&threatv1.SetPlaybook{}):    kindParameters,
	nameOf(&threatv1.RemovePlaybook{}): kindParameters,
	nameOf(&threatv1.RebaseAnchors{}):  kindParameters,
	nameOf(&threatv1.ResetBreaker{}):   kindParameters,

	nameOf(&threatv1.RegisterModel{}): kindModel,
	nameOf(&threatv1.AddModelChunk{}): kindModel,
	nameOf(&threatv1.SetModelStage{}): kindModel,
	nameOf(&threatv1.RollBack{}):      kindModel,

	nameOf(&accessv1.SetGuardRails{}): kindGuardRails,

	nameOf(&chainv1.ScheduleUpgrade{}): kindUpgrade,
	nameOf(&chainv1.CancelUpgrade{}):   kindUpgrade,

	nameOf(&governancev1.SetParams{}): kindRules,
}

func nameOf(m proto.Message) protoreflect.FullName { return m.ProtoReflect().Descriptor().FullName() }

func kindOf(m proto.Message) governancev1.Kind {
	if k, ok := kinds[nameOf(m)]; ok {
		return k
	}
	if nameOf(m).Parent() == nameOf(&identityv1.BindValidator{}).Parent() {
		return kindMembership
	}
	return kindOther
}

// kindsOf are the kinds of messages, sorted, each once.
func kindsOf(messages []proto.Message) []governancev1.Kind {
	var out []governancev1.Kind
	for _, m := range messages {
		out = append(out, kindOf(m))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ruleFor is what a proposal of kinds needs: of shares and times the strictest of theirs.
// An emergency's shares are at least its own, and its times replace theirs.
func ruleFor(p *governancev1.Params, of []governancev1.Kind, emergency bool) *governancev1.Rule {
	out := new(governancev1.Rule)
	for _, k := range p.Rules {
		if slices.Contains(of, k.Kind) || slices.Contains(of, kindRules) {
			stricter(out, k.Rule)
		}
	}
	if emergency {
		e := p.Emergency
		times := governancev1.Rule{VotingMs: e.VotingMs, MinVotingMs: e.MinVotingMs, MaxVotingMs: e.MaxVotingMs, TimeLockMs: e.TimeLockMs}
		stricter(out, e)
		out.VotingMs, out.MinVotingMs, out.MaxVotingMs, out.TimeLockMs = times.VotingMs, times.MinVotingMs, times.MaxVotingMs, times.TimeLockMs
	}
	return out
}

// stricter makes a rule as strict as another where that is stricter. The fewer it takes to
// veto, the stricter.
func stricter(r, o *governancev1.Rule) {
	r.Quorum, r.Threshold = max(r.Quorum, o.Quorum), max(r.Threshold, o.Threshold)
	if r.Veto == 0 || o.Veto < r.Veto {
		r.Veto = o.Veto
	}
	r.VotingMs, r.TimeLockMs = max(r.VotingMs, o.VotingMs), max(r.TimeLockMs, o.TimeLockMs)
	r.MinVotingMs, r.MaxVotingMs = max(r.MinVotingMs, o.MinVotingMs), max(r.MaxVotingMs, o.MaxVotingMs)
}
