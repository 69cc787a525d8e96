package artifact

import (
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Model is a model that Decode found usable. It is never written after that, so it may
// be shared.
type Model struct {
	proto           *threatv1.Model
	hash            [sha256.Size]byte
	size            int
	boosted, forest part
}

// part is an ensemble with its calibration; trees is nil where the model has none.
type part struct {
	trees *trees.Ensemble
	curve curve
}

// Name is the model's name.
func (m *Model) Name() string { return m.proto.Name }

// Hash is SHA-256 of the model's bytes.
func (m *Model) Hash() [sha256.Size]byte { return m.hash }

// Size is the number of the model's bytes.
func (m *Model) Size() int { return m.size }

// Message is a copy of the model's message.
func (m *Model) Message() *threatv1.Model { return m.proto.CloneVT() }

// Features is the length of a row.
func (m *Model) Features() int { return len(m.proto.Features) }

// FeatureName is the name of a row's value.
func (m *Model) FeatureName(i int) string { return m.proto.Features[i].Name }

// Boosted is the boosted trees, nil where there are none.
func (m *Model) Boosted() *trees.Ensemble { return m.boosted.trees }

// Forest is the isolation forest, nil where there is none.
func (m *Model) Forest() *trees.Ensemble { return m.forest.trees }

// MaxWork is the most units that a score can cost.
func (m *Model) MaxWork() uint32 {
	work := uint32(0)
	for _, p := range [2]part{m.boosted, m.forest} {
		if p.trees != nil {
			work += p.trees.MaxWork()
		}
	}
	return work
}

// Verdict is what the thresholds say of a score.
type Verdict uint8

// The verdicts.
const (
	Admit Verdict = iota
	Hold
	Deny
)

// String is the verdict's name.
func (v Verdict) String() string {
	switch v {
	case Hold:
		return "hold"
	case Deny:
		return "deny"
	default:
		return "admit"
	}
}

// Verdict compares a score with the model's thresholds.
func (m *Model) Verdict(score uint32) Verdict {
	t := m.proto.Thresholds
	switch {
	case t.GetDeny() != 0 && score >= t.GetDeny():
		return Deny
	case t.GetHold() != 0 && score >= t.GetHold():
		return Hold
	default:
		return Admit
	}
}

// Opinion is what one part of a model says of a row.
type Opinion struct {
	Margin int64  // Q16
	Score  uint32 // 0 to MaxScore
}

// Result is what a model says of a row. The opinion of a part that the model lacks is
// zero.
type Result struct {
	Score           uint32 // the larger of the parts' scores
	Boosted, Forest Opinion
	Work            uint32
}

// Score scores a row of one value per feature; trees.Missing stands for one that is not
// known. It allocates nothing, and fails for a row of another length alone.
func (m *Model) Score(row []int64) (Result, error) { return m.score(row, nil, nil) }

func (m *Model) score(row, boosted, forest []int64) (r Result, err error) {
	if m.boosted.trees != nil {
		if r.Boosted, err = m.boosted.judge(row, boosted, &r.Work); err != nil {
			return Result{}, err
		}
	}
	if m.forest.trees != nil {
		if r.Forest, err = m.forest.judge(row, forest, &r.Work); err != nil {
			return Result{}, err
		}
	}
	r.Score = max(r.Boosted.Score, r.Forest.Score)
	return r, nil
}

// judge scores a row, and adds contributions where they are asked for.
func (p *part) judge(row, contributions []int64, total *uint32) (Opinion, error) {
	var margin int64
	var work uint32
	var err error
	if contributions == nil {
		margin, work, err = p.trees.Score(row)
	} else {
		margin, work, err = p.trees.Explain(row, contributions)
	}
	*total += work
	return Opinion{Margin: margin, Score: p.curve.score(margin)}, err
}

// Explanation is a result with what each feature did to each part's margin, Q16. A
// part's bias and contributions add up to its margin. The list of a part that the
// model lacks is nil.
type Explanation struct {
	Result
	BoostedContributions, ForestContributions []int64
}

// Explain scores a row and says why.
func (m *Model) Explain(row []int64) (Explanation, error) {
	var e Explanation
	if m.boosted.trees != nil {
		e.BoostedContributions = make([]int64, m.Features())
	}
	if m.forest.trees != nil {
		e.ForestContributions = make([]int64, m.Features())
	}
	r, err := m.score(row, e.BoostedContributions, e.ForestContributions)
	if err != nil {
		return Explanation{}, err
	}
	e.Result = r
	return e, nil
}

// Reason is a feature and what it did to a margin, Q16.
type Reason struct {
	Feature      int
	Contribution int64
}

// Deciding is the contributions to the part whose score is the model's; the boosted
// trees where both are equal.
func (e Explanation) Deciding() []int64 {
	if e.BoostedContributions == nil || e.ForestContributions != nil && e.Forest.Score > e.Boosted.Score {
		return e.ForestContributions
	}
	return e.BoostedContributions
}

// Reasons are at most n of the features that raised a margin, the strongest first and
// of equal ones the first.
func Reasons(contributions []int64, n int) []Reason {
	var out []Reason
	for i, c := range contributions {
		if c > 0 {
			out = append(out, Reason{i, c})
		}
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return cmp.Compare(b.Contribution, a.Contribution) })
	return out[:min(n, len(out))]
}
