package artifact

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds of a model besides those of its trees.
const (
	Format          = 1
	MaxBytes        = 2 << 20
	MaxName         = 64
	MaxFeatureName  = 128
	MaxUnit         = 32
	MaxDecimals     = 18
	MaxCategories   = 256
	MaxCategory     = 128
	MaxKnots        = 256
	MaxKnot         = 1 << 42
	MaxScore        = 10_000
	bytesOfCardHash = sha256.Size
)

// ErrInvalid is wrapped by every refusal of a model.
var ErrInvalid = errors.New("the model is not usable")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Hash is a model's name to the chain: SHA-256 of its bytes.
func Hash(raw []byte) [sha256.Size]byte { return sha256.Sum256(raw) }

// Decode reads and checks a model. The rules:
//
//  1. At most MaxBytes, canonical, without unknown fields, of Format.
//  2. The name, and the names, units, columns and categories of features, have the
//     form that the .proto file says. No two features have one name.
//  3. Boosted trees, a forest or both are there, and keep the bounds of package trees:
//     number, depth, splits, leaves; children behind their parents, each with one
//     parent; features that are in the schema; expectations between the leaves.
//  4. Boosted trees keep the direction that a feature declares.
//  5. Each calibration rises in margin, does not fall in score and keeps its bounds.
//  6. hold and deny are scores, and deny is not below hold where both are set.
//  7. The card's hash has 32 bytes or none.
func Decode(raw []byte) (*Model, error) {
	if len(raw) > MaxBytes {
		return nil, invalid("it has %d bytes; at most %d are allowed", len(raw), MaxBytes)
	}
	if err := count(raw); err != nil {
		return nil, err
	}
	m := &threatv1.Model{}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, m); err != nil {
		return nil, invalid("it is not a model's bytes")
	}
	again, err := m.MarshalVT()
	if err != nil || !bytes.Equal(raw, again) {
		return nil, invalid("its bytes are not canonical")
	}
	out, err := build(m)
	if err != nil {
		return nil, err
	}
	out.hash, out.size = Hash(raw), len(raw)
	return out, nil
}

// Encode is the canonical bytes of a model, which Decode accepts.
func Encode(m *threatv1.Model) ([]byte, error) {
	raw, err := m.MarshalVT()
	if err != nil {
		return nil, invalid("%v", err)
	}
	if _, err := Decode(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// count refuses bytes that would unmarshal into more messages than a model may have,
// before memory is spent on them.
func count(raw []byte) error {
	features, err := each(raw, func(num protowire.Number, part []byte) error {
		if num != 4 && num != 5 {
			return nil
		}
		n, err := each(part, func(protowire.Number, []byte) error { return nil }, 2)
		if err == nil && n > trees.MaxTrees {
			err = invalid("there are %d trees; at most %d are allowed", n, trees.MaxTrees)
		}
		return err
	}, 3)
	if err == nil && features > trees.MaxFeatures {
		err = invalid("there are %d features; at most %d are allowed", features, trees.MaxFeatures)
	}
	return err
}

// each visits the length-delimited fields of a message and counts those of a number.
func each(raw []byte, visit func(protowire.Number, []byte) error, number protowire.Number) (n int, err error) {
	for len(raw) > 0 {
		num, kind, size := protowire.ConsumeTag(raw)
		if size < 0 {
			return 0, invalid("it is not a model's bytes")
		}
		raw = raw[size:]
		size = protowire.ConsumeFieldValue(num, kind, raw)
		if size < 0 {
			return 0, invalid("it is not a model's bytes")
		}
		if kind == protowire.BytesType {
			part, _ := protowire.ConsumeBytes(raw)
			if err := visit(num, part); err != nil {
				return 0, err
			}
			if num == number {
				n++
			}
		}
		raw = raw[size:]
	}
	return n, nil
}

func build(m *threatv1.Model) (*Model, error) {
	if m.Format != Format {
		return nil, invalid("its form is %d; this program reads %d", m.Format, Format)
	}
	if !validName(m.Name) {
		return nil, invalid("the name is not 1 to %d of the characters a-z 0-9 . _ -", MaxName)
	}
	if n := len(m.CardHash); n != 0 && n != bytesOfCardHash {
		return nil, invalid("the card's hash has %d bytes; it has %d or none", n, bytesOfCardHash)
	}
	directions, err := schema(m.Features)
	if err != nil {
		return nil, err
	}
	t := m.Thresholds
	if t.GetHold() > MaxScore || t.GetDeny() > MaxScore || t.GetDeny() != 0 && t.GetDeny() < t.GetHold() {
		return nil, invalid("the thresholds hold %d and deny %d are not scores to %d, the first not above the second", t.GetHold(), t.GetDeny(), MaxScore)
	}
	out := &Model{proto: m}
	if m.Boosted == nil && m.Forest == nil {
		return nil, invalid("there are no trees in it")
	}
	if b := m.Boosted; b != nil {
		all := make([]trees.Tree, len(b.Trees))
		for i, t := range b.Trees {
			if all[i], err = boosted(t); err != nil {
				return nil, invalid("boosted tree %d: %w", i, err)
			}
		}
		if out.boosted.trees, err = trees.New(len(m.Features), b.Base, all); err != nil {
			return nil, invalid("boosted: %w", err)
		}
		if err := trees.CheckMonotone(directions, all); err != nil {
			return nil, invalid("boosted: %w", err)
		}
		if out.boosted.curve, err = calibration(b.Calibration); err != nil {
			return nil, invalid("boosted: %w", err)
		}
	}
	if f := m.Forest; f != nil {
		all := make([]trees.IsolationTree, len(f.Trees))
		for i, t := range f.Trees {
			if all[i], err = isolation(t); err != nil {
				return nil, invalid("isolation tree %d: %w", i, err)
			}
		}
		if out.forest.trees, err = trees.NewForest(len(m.Features), f.Samples, all); err != nil {
			return nil, invalid("forest: %w", err)
		}
		if out.forest.curve, err = calibration(f.Calibration); err != nil {
			return nil, invalid("forest: %w", err)
		}
	}
	return out, nil
}

func boosted(t *threatv1.BoostedTree) (trees.Tree, error) {
	splits, err := splitsOf(t.GetSplits())
	if err != nil {
		return trees.Tree{}, err
	}
	if len(t.GetExpected()) != len(splits) {
		return trees.Tree{}, fmt.Errorf("%d splits have %d expectations", len(splits), len(t.GetExpected()))
	}
	for i := range splits {
		splits[i].Expected = t.Expected[i]
	}
	return trees.Tree{Splits: splits, Leaves: t.GetLeaf()}, nil
}

func isolation(t *threatv1.IsolationTree) (trees.IsolationTree, error) {
	splits, err := splitsOf(t.GetSplits())
	return trees.IsolationTree{Splits: splits, Sizes: t.GetSize()}, err
}

func splitsOf(s *threatv1.Splits) ([]trees.Split, error) {
	n := len(s.GetFeature())
	if len(s.GetThreshold()) != n || len(s.GetLeft()) != n || len(s.GetRight()) != n || len(s.GetDefaultLeft()) != n {
		return nil, errors.New("the lists of splits are not equally long")
	}
	if n > trees.MaxSplits {
		return nil, fmt.Errorf("there are %d splits; at most %d are allowed", n, trees.MaxSplits)
	}
	out := make([]trees.Split, n)
	for i := range out {
		if s.Feature[i] >= trees.MaxFeatures {
			return nil, fmt.Errorf("split %d is on feature %d, which is not there", i, s.Feature[i])
		}
		out[i] = trees.Split{
			Feature: uint16(s.Feature[i]), Threshold: s.Threshold[i],
			Left: s.Left[i], Right: s.Right[i], DefaultLeft: s.DefaultLeft[i],
		}
	}
	return out, nil
}

// schema checks the features and returns the direction of each.
func schema(features []*threatv1.Feature) ([]trees.Direction, error) {
	if n := len(features); n < 1 || n > trees.MaxFeatures {
		return nil, invalid("there are %d features; 1 to %d are allowed", n, trees.MaxFeatures)
	}
	names := make([]string, len(features))
	directions := make([]trees.Direction, len(features))
	for i, f := range features {
		names[i] = f.Name
		switch {
		case f.Name == "" || !plain(f.Name, MaxFeatureName) || !plain(f.Unit, MaxUnit) || !plain(f.Column, MaxFeatureName):
			return nil, invalid("feature %d: name, unit or column is too long or has control characters", i)
		case f.Column == f.Name:
			return nil, invalid("feature %d: a column is named only where it is not the feature's name", i)
		case f.Decimals > MaxDecimals || f.Decimals > 0 && len(f.Categories) > 0:
			return nil, invalid("feature %d has %d decimals; at most %d are allowed, and none with categories", i, f.Decimals, MaxDecimals)
		case len(f.Categories) > MaxCategories:
			return nil, invalid("feature %d has %d categories; at most %d are allowed", i, len(f.Categories), MaxCategories)
		}
		for j, c := range f.Categories {
			if !plain(c, MaxCategory) || j > 0 && c <= f.Categories[j-1] {
				return nil, invalid("feature %d: its categories are not in order, each once, without control characters", i)
			}
		}
		switch f.Monotone {
		case threatv1.Monotone_MONOTONE_UNSPECIFIED:
		case threatv1.Monotone_MONOTONE_INCREASING:
			directions[i] = trees.Increasing
		case threatv1.Monotone_MONOTONE_DECREASING:
			directions[i] = trees.Decreasing
		default:
			return nil, invalid("feature %d has the unknown direction %d", i, int32(f.Monotone))
		}
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return nil, invalid("two features are named %q", names[i])
		}
	}
	return directions, nil
}

// plain tells whether text is short enough and free of control characters.
func plain(s string, most int) bool {
	if len(s) > most {
		return false
	}
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

func validName(s string) bool {
	if len(s) < 1 || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}
