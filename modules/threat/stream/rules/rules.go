package rules

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds of a set.
const (
	MaxRules      = 64
	MaxConditions = 64 // of one rule
	MaxDepth      = 8
	MaxScore      = 10000
	MaxReason     = 256 // bytes
	MaxSet        = 1 << 19
)

// ErrRules is wrapped by every error of this package.
var ErrRules = errors.New("rules")

// Check says what is wrong with a set.
func Check(set *threatv1.RuleSet) error {
	if len(set.GetRules()) > MaxRules {
		return fmt.Errorf("%w: a set has at most %d", ErrRules, MaxRules)
	}
	last := ""
	for i, r := range set.GetRules() {
		switch {
		case !wire.Named(r.GetName()):
			return fmt.Errorf("%w: rule %d has no name of lower case, digits and hyphens, of at most %d bytes", ErrRules, i, wire.MaxName)
		case r.Name <= last:
			return fmt.Errorf("%w: %s is not above the name before it", ErrRules, r.Name)
		case !readable(r.Reason):
			return fmt.Errorf("%w: the reason of %s is no line of 1 to %d bytes", ErrRules, r.Name, MaxReason)
		case r.Score < 1 || r.Score > MaxScore:
			return fmt.Errorf("%w: the score of %s is not 1 to %d", ErrRules, r.Name, MaxScore)
		}
		left := MaxConditions
		if err := check(r.When, MaxDepth, &left); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRules, r.Name, err)
		}
		last = r.Name
	}
	return nil
}

func readable(s string) bool {
	if s == "" || len(s) > MaxReason || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		// Controls, line ends and marks of direction, by number: tables of what is printable differ between releases
		// of Unicode.
		if r < 0x20 || r >= 0x7F && r < 0xA0 || r >= 0x2028 && r <= 0x202E || r >= 0x2066 && r <= 0x2069 {
			return false
		}
	}
	return true
}

func check(p *threatv1.Predicate, depth int, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("more than %d conditions", MaxConditions)
	}
	if depth == 0 {
		return fmt.Errorf("conditions nest deeper than %d", MaxDepth)
	}
	switch kind := p.GetKind().(type) {
	case *threatv1.Predicate_Test:
		t := kind.Test
		if !wire.Named(t.GetFeature()) {
			return fmt.Errorf("a test has no name of a feature")
		}
		if t.Comparison < threatv1.Comparison_COMPARISON_LESS || t.Comparison > threatv1.Comparison_COMPARISON_GREATER {
			return fmt.Errorf("the test of %s has no comparison", t.Feature)
		}
		return nil
	case *threatv1.Predicate_Count:
		parts := kind.Count.GetParts()
		if len(parts) < 2 || kind.Count.Least < 1 || uint64(kind.Count.Least) > uint64(len(parts)) {
			return fmt.Errorf("a count is of at least two conditions and asks for 1 to all of them")
		}
		for _, part := range parts {
			if err := check(part, depth-1, left); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("a condition is of no known kind")
}

// Marshal is the canonical bytes of a set.
func Marshal(set *threatv1.RuleSet) ([]byte, error) {
	if err := Check(set); err != nil {
		return nil, err
	}
	raw, err := set.MarshalVT()
	if err != nil || len(raw) > MaxSet {
		return nil, fmt.Errorf("%w: a set has at most %d bytes", ErrRules, MaxSet)
	}
	return raw, nil
}

// Unmarshal is the inverse of Marshal.
func Unmarshal(raw []byte) (*threatv1.RuleSet, error) {
	set := &threatv1.RuleSet{}
	if err := wire.Unmarshal(raw, set, MaxSet); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRules, err)
	}
	if err := Check(set); err != nil {
		return nil, err
	}
	return set, nil
}
