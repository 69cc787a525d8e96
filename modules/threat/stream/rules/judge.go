package rules

import (
	"fmt"
	"slices"

	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Rules is a set bound to a list of features. It is safe for concurrent use.
type Rules struct {
	rules []bound
	nodes []node
}

type bound struct {
	name, reason string
	score        uint16
	root         int   // in nodes
	features     []int // that it tests, ascending
}

// node is a condition; its parts follow it, each with its own parts.
type node struct {
	number     int64
	feature    int32
	comparison threatv1.Comparison // unspecified for a count
	least      uint8
	parts      uint8
	end        int32 // index of the node after all parts
}

// Bind finds the features that a set names in a list of names, and refuses a set that does not pass Check or names
// another.
func Bind(set *threatv1.RuleSet, features []string) (*Rules, error) {
	if err := Check(set); err != nil {
		return nil, err
	}
	r := &Rules{}
	for _, rule := range set.GetRules() {
		b := bound{name: rule.Name, reason: rule.Reason, score: uint16(rule.Score), root: len(r.nodes)}
		if err := r.bind(rule.When, features, &b); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRules, rule.Name, err)
		}
		slices.Sort(b.features)
		b.features = slices.Compact(b.features)
		r.rules = append(r.rules, b)
	}
	return r, nil
}

func (r *Rules) bind(p *threatv1.Predicate, features []string, b *bound) error {
	at := len(r.nodes)
	if t := p.GetTest(); t != nil {
		i := slices.Index(features, t.Feature)
		if i < 0 {
			return fmt.Errorf("there is no feature %s", t.Feature)
		}
		b.features = append(b.features, i)
		r.nodes = append(r.nodes, node{number: t.Number, feature: int32(i), comparison: t.Comparison, end: int32(at + 1)})
		return nil
	}
	c := p.GetCount()
	r.nodes = append(r.nodes, node{least: uint8(c.Least), parts: uint8(len(c.Parts))})
	for _, part := range c.Parts {
		if err := r.bind(part, features, b); err != nil {
			return err
		}
	}
	r.nodes[at].end = int32(len(r.nodes))
	return nil
}

// Len is the number of rules.
func (r *Rules) Len() int { return len(r.rules) }

// Name is the name of rule i, which is below Len.
func (r *Rules) Name(i int) string { return r.rules[i].name }

// Reason is the reason of rule i, which is below Len.
func (r *Rules) Reason(i int) string { return r.rules[i].reason }

// Features are the indices of the features that rule i tests, ascending; i is below Len. They are not to be changed.
func (r *Rules) Features(i int) []int { return r.rules[i].features }

// Work is the number of conditions that Judge looks at, at most.
func (r *Rules) Work() uint64 { return uint64(len(r.nodes)) }

// Verdict is what a set says of an event.
type Verdict struct {
	Score uint16 // the largest score of a rule that holds, 0 where none does
	Rule  int    // the first rule of that score, -1 where none holds
	Held  uint64 // bit i is set where rule i holds
}

// Judge applies the rules to the values of the features. A test of a feature that has no value never holds.
func (r *Rules) Judge(values []int64) Verdict {
	v := Verdict{Rule: -1}
	for i := range r.rules {
		if !r.holds(r.rules[i].root, values) {
			continue
		}
		v.Held |= 1 << i
		if r.rules[i].score > v.Score {
			v.Score, v.Rule = r.rules[i].score, i
		}
	}
	return v
}

// holds calls itself at most MaxDepth deep.
func (r *Rules) holds(at int, values []int64) bool {
	n := &r.nodes[at]
	if n.comparison == threatv1.Comparison_COMPARISON_UNSPECIFIED {
		var count uint8
		at++
		for range n.parts {
			if r.holds(at, values) {
				count++
			}
			at = int(r.nodes[at].end)
		}
		return count >= n.least
	}
	if int(n.feature) >= len(values) {
		return false
	}
	x := values[n.feature]
	switch n.comparison {
	case threatv1.Comparison_COMPARISON_LESS:
		return x < n.number
	case threatv1.Comparison_COMPARISON_AT_MOST:
		return x <= n.number
	case threatv1.Comparison_COMPARISON_EQUAL:
		return x == n.number
	case threatv1.Comparison_COMPARISON_NOT_EQUAL:
		return x != n.number
	case threatv1.Comparison_COMPARISON_AT_LEAST:
		return x >= n.number
	}
	return x > n.number
}
