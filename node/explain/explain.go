// Package explain says in words why the sentinel judged a transaction as it did: for a
// data-protection officer who must answer for a decision that a program prepared (GDPR
// Art. 22), and for the person whom it is about.
//
// It reads the detector, the row of features and the verdict, all three of which a node
// has on record, and adds nothing that is not in them.
package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// MaxContributions is how many features are named for each of the trees.
	MaxContributions = 5
	// maxTried is how many values of one feature are tried for another outcome.
	maxTried = 200
)

// parts are the detector's parts in plain words.
var parts = [detector.Parts]string{
	detector.Boosted:   "likeness to known misuse",
	detector.Forest:    "oddness",
	detector.MIDAS:     "unusual pace",
	detector.HalfSpace: "rarity",
	detector.Own:       "difference from the author's own habits",
	detector.Peers:     "likeness to others rather than to the author",
	detector.Drift:     "slow change of habits",
	detector.Rules:     "a fixed rule",
}

// Explainer explains verdicts of one detector. It is safe for concurrent use.
type Explainer struct {
	detector *detector.Detector
	message  *threatv1.Detector
}

// New is an Explainer of a detector.
func New(d *detector.Detector) *Explainer { return &Explainer{detector: d, message: d.Message()} }

// Name is the detector's.
func (e *Explainer) Name() string { return e.detector.Name() }

// Thresholds are the scores from which the detector holds and denies, 0 for never.
func (e *Explainer) Thresholds() (hold, deny uint32) {
	t := e.message.GetThresholds()
	return t.GetHold(), t.GetDeny()
}

// Sentence is the driver that a verdict names first, empty where it names none.
func (e *Explainer) Sentence(v *chainv1.Verdict) string {
	if len(v.GetDrivers()) == 0 {
		return ""
	}
	return e.detector.Sentence(v.Drivers[0])
}

// Reasons are the drivers of a verdict. A row of another length than the features' gives
// them without values.
func (e *Explainer) Reasons(row []int64, v *chainv1.Verdict) []*nodev1.Reason {
	var out []*nodev1.Reason
	for _, d := range v.GetDrivers() {
		r := &nodev1.Reason{Part: detector.PartName(int(min(d.GetPart(), detector.Parts))), Points: d.GetPoints(), Sentence: e.detector.Sentence(d)}
		if d.GetPart() < detector.Parts {
			r.What = parts[d.Part]
		}
		at := int(min(d.GetFeature(), 1<<16)) - 1
		switch d.GetPart() {
		case detector.Boosted, detector.Forest:
			if at >= 0 && at < features.Count {
				r.Feature, r.Meaning = features.Table[at].Name, features.Table[at].Meaning
				if len(row) == features.Count {
					r.Value = Value(at, row[at])
				}
			}
		case detector.HalfSpace, detector.Own, detector.Peers, detector.Drift:
			if at >= 0 && at < features.Schema.Features() {
				r.Feature = features.Schema.Feature(at).Name
			}
		case detector.Rules:
			if set := e.detector.RuleSet(); set != nil && at >= 0 && at < set.Len() {
				r.Feature, r.Meaning = set.Name(at), set.Reason(at)
			}
		}
		out = append(out, r)
	}
	return out
}

// Value is a feature's value with its unit.
func Value(feature int, v int64) string {
	text := detector.Value(feature, v)
	if v == trees.Missing || feature < 0 || feature >= features.Count {
		return text
	}
	if u := features.Table[feature].Unit; u == features.UnitLevel {
		return "level " + text
	}
	return text
}

// Rules are the rules that hold for a row, the one of the highest score first.
func (e *Explainer) Rules(row []int64) []*nodev1.HeldRule {
	set := e.detector.RuleSet()
	if set == nil || len(row) != features.Count {
		return nil
	}
	var out []*nodev1.HeldRule
	held := set.Judge(row).Held
	for i, r := range e.message.GetRules().GetRules() {
		if held&(1<<i) == 0 {
			continue
		}
		out = append(out, &nodev1.HeldRule{Name: r.Name, Reason: r.Reason, Score: r.Score, Conditions: conditions(r.When, row)})
	}
	slices.SortStableFunc(out, func(a, b *nodev1.HeldRule) int { return cmp.Compare(b.Score, a.Score) })
	return out
}

var comparisons = map[threatv1.Comparison]string{
	threatv1.Comparison_COMPARISON_LESS: "less than", threatv1.Comparison_COMPARISON_AT_MOST: "at most",
	threatv1.Comparison_COMPARISON_EQUAL: "", threatv1.Comparison_COMPARISON_NOT_EQUAL: "other than",
	threatv1.Comparison_COMPARISON_AT_LEAST: "at least", threatv1.Comparison_COMPARISON_GREATER: "more than",
}

// conditions are the parts of a condition, all of which must be true where it is a
// conjunction, as sentences with the values of a row.
func conditions(p *threatv1.Predicate, row []int64) []string {
	c := p.GetCount()
	if c == nil {
		return []string{condition(p, row)}
	}
	if int(c.Least) < len(c.Parts) {
		return []string{condition(p, row)}
	}
	var out []string
	for _, part := range c.Parts {
		out = append(out, conditions(part, row)...)
	}
	return out
}

func condition(p *threatv1.Predicate, row []int64) string {
	if t := p.GetTest(); t != nil {
		at, ok := features.Index(t.Feature)
		if !ok {
			return t.Feature
		}
		want := detector.Value(at, t.Number)
		if how := comparisons[t.Comparison]; how != "" {
			want = how + " " + want
		}
		return fmt.Sprintf("%s: %s (the rule asks for %s)", features.Table[at].Meaning, Value(at, row[at]), want)
	}
	c := p.GetCount()
	var of []string
	for _, part := range c.GetParts() {
		of = append(of, condition(part, row))
	}
	if int(c.GetLeast()) == len(of) {
		return "all of: " + strings.Join(of, "; ")
	}
	return fmt.Sprintf("at least %d of: %s", c.GetLeast(), strings.Join(of, "; "))
}

// Contributions are the features that raised the margins of the trees most.
func (e *Explainer) Contributions(row []int64) []*nodev1.Contribution {
	model, bound := e.detector.Model(), e.bound()
	if model == nil || len(row) != features.Count {
		return nil
	}
	x, err := model.Explain(gather(row, bound))
	if err != nil {
		return nil // only a row of another length fails
	}
	var out []*nodev1.Contribution
	for _, part := range []struct {
		part int
		list []int64
	}{{detector.Boosted, x.BoostedContributions}, {detector.Forest, x.ForestContributions}} {
		for _, r := range artifact.Reasons(part.list, MaxContributions) {
			at := bound[r.Feature]
			out = append(out, &nodev1.Contribution{
				Part: detector.PartName(part.part), Feature: features.Table[at].Name, Meaning: features.Table[at].Meaning,
				Value: Value(at, row[at]), Contribution: r.Contribution,
			})
		}
	}
	return out
}

// bound is the place in the row of each of the model's features, which a detector's are
// all in.
func (e *Explainer) bound() []int {
	list := e.message.GetModel().GetFeatures()
	out := make([]int, len(list))
	for i, f := range list {
		out[i], _ = features.Index(f.Name)
	}
	return out
}

func gather(row []int64, bound []int) []int64 {
	out := make([]int64, len(bound))
	for i, at := range bound {
		out[i] = row[at]
	}
	return out
}

// different says of the parts that the score could follow from what they would need.
var different = [detector.Parts]string{
	detector.Boosted:   "It would have to be less like what was labelled as misuse in training; no single feature changes that alone.",
	detector.Forest:    "It would have to be more like what is usual; no single feature changes that alone.",
	detector.MIDAS:     "The uses of this resource by this author would have to come at a pace closer to the usual one.",
	detector.HalfSpace: "Transactions like it would have to be more common on this chain.",
	detector.Own:       "It would have to be more like what its author does, or was approved to do; a change of duties is approved by rebasing the author's profile.",
	detector.Peers:     "It would have to be more like what its author does than like what others of the organisation do.",
	detector.Drift:     "The author's habits would have to be closer to the approved ones; a change of duties is approved by rebasing the author's profile.",
}

// Otherwise is what would have to be different for a transaction to be executed, one
// sentence each, or from which score it would not have been. Each sentence about a part or
// a rule is about that alone: where several are over the threshold, all must change.
func (e *Explainer) Otherwise(row []int64, v *chainv1.Verdict) []string {
	hold, _ := e.Thresholds()
	if hold == 0 {
		return []string{"This model holds and denies nothing, whatever the score."}
	}
	if v.GetScore() < hold {
		return []string{fmt.Sprintf("By its score it would have been held from %d of 10000 on; it had %d.", hold, v.GetScore())}
	}
	out := []string{fmt.Sprintf("Its score would have to be below %d of 10000; it was %d.", hold, v.GetScore())}
	ruled := false
	for _, r := range e.Rules(row) {
		if r.Score >= hold {
			ruled = true
			out = append(out, fmt.Sprintf("The rule %s would have to be broken in one of these: %s.", r.Name, strings.Join(r.Conditions, "; ")))
		}
	}
	for _, d := range v.GetDrivers() {
		part := int(min(d.GetPart(), detector.Parts))
		if part >= detector.Rules || d.GetPoints() < hold && (ruled || d.GetPoints() < hold/2) {
			continue
		}
		if part == detector.Boosted || part == detector.Forest {
			if found := e.alone(part, row, hold); len(found) > 0 {
				out = append(out, found...)
				continue
			}
		}
		out = append(out, different[part])
	}
	return out
}

// alone are the features by which, were one of them different and all else the same,
// trees would say less than the threshold. The nearest values are tried first, and only
// features that raised the margin.
func (e *Explainer) alone(part int, row []int64, hold uint32) []string {
	model, bound, knots := e.detector.Model(), e.bound(), e.knots(part)
	if model == nil || len(row) != features.Count {
		return nil
	}
	points := func(r []int64) uint32 {
		x, err := model.Score(r)
		if err != nil {
			return detector.MaxScore
		}
		margin := x.Boosted.Margin
		if part == detector.Forest {
			margin = x.Forest.Margin
		}
		return uint32(blend.Calibrate(knots, margin))
	}
	gathered := gather(row, bound)
	if points(gathered) < hold {
		return nil
	}
	x, err := model.Explain(gathered)
	if err != nil {
		return nil
	}
	list, splits := x.BoostedContributions, e.splits(part)
	if part == detector.Forest {
		list = x.ForestContributions
	}
	var out []string
	for _, r := range artifact.Reasons(list, MaxContributions) {
		at, was := bound[r.Feature], gathered[r.Feature]
		for _, value := range nearest(splits, r.Feature, was) {
			gathered[r.Feature] = value
			now := points(gathered)
			gathered[r.Feature] = was
			if now < hold {
				direction := "at most"
				if value > was {
					direction = "at least"
				}
				out = append(out, fmt.Sprintf("With all else the same, the %s would stay below the threshold if this were different: %s: %s %s instead of %s.",
					map[int]string{detector.Boosted: "boosted trees", detector.Forest: "forest"}[part], features.Table[at].Meaning, direction, detector.Value(at, value), Value(at, was)))
				break
			}
		}
	}
	return out
}

// knots are a part's calibration in the blend.
func (e *Explainer) knots(part int) []blend.Knot {
	for _, p := range e.message.GetBlend().GetParts() {
		if p.Name != detector.PartName(part) {
			continue
		}
		out := make([]blend.Knot, len(p.Knots))
		for i, k := range p.Knots {
			out[i] = blend.Knot{Value: k.Value, Points: uint16(k.Points)}
		}
		return out
	}
	return nil
}

// splits are those of a part's trees.
func (e *Explainer) splits(part int) []*threatv1.Splits {
	var out []*threatv1.Splits
	if part == detector.Boosted {
		for _, t := range e.message.GetModel().GetBoosted().GetTrees() {
			out = append(out, t.Splits)
		}
		return out
	}
	for _, t := range e.message.GetModel().GetForest().GetTrees() {
		out = append(out, t.Splits)
	}
	return out
}

// nearest are the values of a feature at which a split sends a row another way than the
// value that it has, the nearest first.
func nearest(splits []*threatv1.Splits, feature int, was int64) []int64 {
	if was == trees.Missing {
		return nil
	}
	var out []int64
	for _, s := range splits {
		for i, f := range s.GetFeature() {
			if int(f) != feature {
				continue
			}
			if t := s.Threshold[i]; t < was {
				out = append(out, t)
			} else if t < math.MaxInt64 {
				out = append(out, t+1)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	far := func(v int64) uint64 { // differences of int64 in order fit a uint64
		if v < was {
			return uint64(was) - uint64(v)
		}
		return uint64(v) - uint64(was)
	}
	slices.SortStableFunc(out, func(a, b int64) int { return cmp.Compare(far(a), far(b)) })
	return out[:min(len(out), maxTried)]
}
