package detector

import (
	"cmp"
	"slices"

	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// DefaultHold is the score from which a built detector holds. It denies nothing: what is held can be released.
const DefaultHold = 7500

// Build is a detector of trees, which may be nil, and the default settings of everything else. It is a message to be
// changed, such as by a blend that was calibrated, and encoded.
//
// The blend takes the calibration of the trees from the model, and for the streaming parts has corners that follow
// from what their values mean and not from data. So each of those alone stays below DefaultHold.
func Build(name string, model *threatv1.Model) *threatv1.Detector {
	d := &threatv1.Detector{
		Format: Format,
		Name:   name,
		Model:  model,
		Midas:  &threatv1.MidasSettings{Rows: 4, Columns: 2048, Relational: true, DecayNumerator: 1, DecayDenominator: 2, Seed: 0x6368616e63657279},
		TickMs: features.Minute,
		// Fifteen sixteenths are left after a day, so that half is after ten and a half: who moves to another ward is at
		// home there within weeks.
		Kin:       &threatv1.MidasSettings{Rows: 4, Columns: 2048, Relational: true, DecayNumerator: 15, DecayDenominator: 16, Seed: 0x6b696e646c65},
		KinTickMs: features.Day,
		HalfSpace: &threatv1.HalfSpaceSettings{
			Trees: 16, Depth: 8, Window: 512, SizeLimit: 8, Seed: 0x73656e74696e656c,
		},
		// A hundred events in one direction move a profile by about a third, at most twenty of them in a day.
		Profile:    &threatv1.ProfileSteps{StepNumerator: 1, StepDenominator: 256, StepsPerEpoch: 20, EpochMs: features.Day},
		Rules:      DefaultRules(),
		Thresholds: &threatv1.Thresholds{Hold: DefaultHold},
	}
	for i := range features.Schema.Features() {
		d.HalfSpace.Ranges = append(d.HalfSpace.Ranges, &threatv1.ValueRange{Low: 0, High: int64(features.Schema.Feature(i).Values)})
	}
	d.Blend = DefaultBlend(model)
	return d
}

// DefaultBlend is the blend that Build gives to a detector of the trees.
func DefaultBlend(model *threatv1.Model) *threatv1.Blend {
	b := &threatv1.Blend{Peak: 6000}
	add := func(part int, weight uint32, knots ...*threatv1.Knot) {
		b.Parts = append(b.Parts, &threatv1.BlendPart{Name: partNames[part], Weight: weight, Lifts: weight == 0, Knots: knots})
	}
	if model.GetBoosted() != nil {
		add(Boosted, 5000, knots(model.Boosted.Calibration)...)
	}
	if model.GetForest() != nil {
		add(Forest, 2000, knots(model.Forest.Calibration)...)
	}
	// An edge that is used once in n ticks has a chi-squared of about n when it is used, so hundreds are nothing unusual.
	add(MIDAS, 1000, knot(500*midas.One, 0), knot(5000*midas.One, 3000), knot(100_000*midas.One, 6000), knot(10_000_000*midas.One, 7000))
	// Sixteen trees, each at most 9 bits emptier than an even spread.
	add(HalfSpace, 1000, knot(16*fixed.LogScale, 0), knot(64*fixed.LogScale, 4000), knot(128*fixed.LogScale, 7000))
	// Twelve features; a habit of many values has about two bits of surprise in each.
	add(Own, 1000, knot(24*fixed.LogScale, 0), knot(48*fixed.LogScale, 4000), knot(96*fixed.LogScale, 7000))
	add(Peers, 1000, knot(4*fixed.LogScale, 0), knot(24*fixed.LogScale, 5000), knot(60*fixed.LogScale, 7000))
	add(Drift, 500, knot(fixed.LogScale, 0), knot(3*fixed.LogScale, 4000), knot(8*fixed.LogScale, 7000))
	add(Rules, 0, knot(0, 0), knot(MaxScore, MaxScore))
	return b
}

func knot(value int64, points uint32) *threatv1.Knot {
	return &threatv1.Knot{Value: value, Points: points}
}

// knots are the corners of a calibration, evenly thinned to as many as a blend may have.
func knots(c *threatv1.Calibration) []*threatv1.Knot {
	margins, scores := c.GetMargin(), c.GetScore()
	n := min(len(margins), len(scores))
	if n == 0 {
		return []*threatv1.Knot{knot(0, 0), knot(1, 0)}
	}
	if n == 1 {
		return []*threatv1.Knot{knot(margins[0], scores[0]), knot(margins[0]+1, scores[0])}
	}
	take := min(n, blend.MaxKnots)
	out := make([]*threatv1.Knot, take)
	for i := range out {
		at := i * (n - 1) / (take - 1)
		out[i] = knot(margins[at], scores[at])
	}
	return out
}

// DefaultRules are what must never pass unseen, whatever the other parts say.
func DefaultRules() *threatv1.RuleSet {
	set := &threatv1.RuleSet{Rules: []*threatv1.Rule{
		rule("break-glass-repeated", 8000, "emergency access is opened by somebody who opened it, or did other sensitive things, several times in the last hour",
			atLeast(features.BreakGlassFeature, 1), atLeast(features.SensitiveFeature, count(3))),
		rule("break-glass-by-suspect", 9000, "emergency access is opened by somebody whom validators think a risk",
			atLeast(features.BreakGlassFeature, 1), atLeast(features.RiskFeature, 3)),
		rule("burst-of-power", 8500, "one actor changes who may do what again and again within one block",
			atLeast(features.PrivilegeFeature, 1), atLeast(features.ActorInBlockFeature, 20)),
		rule("burst-of-sensitive", 8000, "one actor does many sensitive things within one block",
			atLeast(features.SensitivityMaxFeature, 3), atLeast(features.ActorInBlockFeature, 50)),
		rule("fresh-identity-with-power", 8500, "somebody who was registered within the hour changes validators, guard rails, policies or administrators",
			within(features.IdentityAgeFeature, features.Hour), power()),
		rule("fresh-key-in-bulk", 8000, "a key that was added within the last ten minutes is used in bulk, as after a theft",
			within(features.KeyAgeFeature, 10*features.Minute),
			either(atLeast(features.ActorMinuteFeature, count(30)), atLeast(features.ActorInBlockFeature, 20), atLeast(features.ItemsFeature, count(200))),
			atLeast(features.SensitivityMaxFeature, 1)),
		rule("fresh-key-with-power", 8500, "a key that was added within the hour changes validators, guard rails, policies or administrators",
			within(features.KeyAgeFeature, features.Hour), power()),
		rule("guard-rails-off-hours", 8500, "guard rails are replaced at night or on a weekend",
			atLeast(features.GuardRailsFeature, 1), atLeast(features.OffHoursFeature, 1)),
		rule("guard-rails-removed", 9000, "all guard rails are removed",
			atLeast(features.GuardRailsFeature, 1), atLeast(features.DestructiveFeature, 1)),
		rule("guessing", 6000, "one actor failed or was denied more than thirty times in the last hour",
			atLeast(features.FailedFeature, count(30))),
		rule("invalidated-in-bulk", 8000, "provenance is invalidated in bulk",
			atLeast(features.InvalidationsFeature, 1),
			either(atLeast(features.InvalidationsFeature, 20), atLeast(features.ItemsFeature, count(100)), atLeast(features.ActorMinuteFeature, count(60)))),
		rule("keys-of-others", 8000, "one transaction changes the keys of several others",
			atLeast(features.KeysOfOthersFeature, 3)),
		rule("recorded-consents-in-bulk", 6500, "an organisation records many consents on behalf of subjects at once",
			atLeast(features.RecordedConsentsFeature, 1),
			either(atLeast(features.RecordedConsentsFeature, 50), atLeast(features.ActorMinuteFeature, count(120)))),
		rule("recorded-consents-off-hours", 8000, "an organisation records many consents to special categories at night or on a weekend",
			atLeast(features.RecordedConsentsFeature, 1), atLeast(features.SpecialFeature, 1), atLeast(features.OffHoursFeature, 1),
			either(atLeast(features.RecordedConsentsFeature, 50), atLeast(features.ActorMinuteFeature, count(120)))),
		rule("severe-risk", 9500, "validators think the author a severe risk, and it is of consequence",
			atLeast(features.RiskFeature, 4), atLeast(features.SensitivityMaxFeature, 2)),
		rule("special-in-bulk", 8000, "one actor asks for special categories of data of many",
			atLeast(features.DecisionsFeature, 1), atLeast(features.SpecialFeature, 1),
			either(atLeast(features.SensitiveFeature, count(200)), atLeast(features.DecisionsFeature, 50)),
			atLeast(features.FreshFeature, count(50))),
		rule("suspect-with-power", 8500, "somebody whom validators think a risk changes who may do what",
			atLeast(features.RiskFeature, 3), atLeast(features.PrivilegeFeature, 1)),
		rule("validators-off-hours", 8000, "validators or nodes are changed at night or on a weekend, and power with them",
			atLeast(features.ValidatorsFeature, 1), atLeast(features.PrivilegeFeature, 1), atLeast(features.OffHoursFeature, 1)),
	}}
	slices.SortFunc(set.Rules, func(a, b *threatv1.Rule) int { return cmp.Compare(a.Name, b.Name) })
	return set
}

func rule(name string, score uint32, reason string, all ...*threatv1.Predicate) *threatv1.Rule {
	when := all[0]
	if len(all) > 1 {
		when = several(uint32(len(all)), all)
	}
	return &threatv1.Rule{Name: name, Reason: reason, Score: score, When: when}
}

// power holds where a transaction changes who has power over an organisation or the chain.
func power() *threatv1.Predicate {
	return several(2, []*threatv1.Predicate{
		atLeast(features.PrivilegeFeature, 1),
		either(
			atLeast(features.ValidatorsFeature, 1), atLeast(features.GuardRailsFeature, 1), atLeast(features.PoliciesFeature, 1),
			atLeast(features.IdentitiesFeature, 1), atLeast(features.ParametersFeature, 1)),
	})
}

func either(parts ...*threatv1.Predicate) *threatv1.Predicate { return several(1, parts) }

func several(least uint32, parts []*threatv1.Predicate) *threatv1.Predicate {
	return &threatv1.Predicate{Kind: &threatv1.Predicate_Count{Count: &threatv1.CountTest{Least: least, Parts: parts}}}
}

func test(feature int, c threatv1.Comparison, number int64) *threatv1.Predicate {
	return &threatv1.Predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{
		Feature: features.Table[feature].Name, Comparison: c, Number: number,
	}}}
}

// atLeast does not hold where the feature is not known, which is the least of all numbers.
func atLeast(feature int, number int64) *threatv1.Predicate {
	return test(feature, threatv1.Comparison_COMPARISON_AT_LEAST, number)
}

// within holds where an age is known and at most so many milliseconds.
func within(feature int, ms int64) *threatv1.Predicate {
	return several(2, []*threatv1.Predicate{
		atLeast(feature, 0), test(feature, threatv1.Comparison_COMPARISON_AT_MOST, fixed.Log2(uint64(ms)+1)),
	})
}

// count is a number of things as features in UnitLogCount have it.
func count(n uint64) int64 { return fixed.Log2(n + 1) }
