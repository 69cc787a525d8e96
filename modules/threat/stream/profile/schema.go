package profile

import (
	"errors"
	"fmt"

	"github.com/chancery/chancery/modules/threat/stream/wire"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// MaxFeatures is the most features of a schema.
	MaxFeatures = 16
	// MaxValues is the most values of a feature.
	MaxValues = 64
	// MaxSchema is the most bytes that a schema has.
	MaxSchema = MaxFeatures * (wire.MaxName + 16)
)

// ErrSchema is wrapped by every error about a schema, ErrRecord by every error about the bytes of a profile.
var (
	ErrSchema = errors.New("schema of profiles")
	ErrRecord = errors.New("record of a profile")
)

// Feature is a categorical feature. Its last value stands for every other.
type Feature struct {
	Name   string // as wire.Named has it; unique
	Values int    // 2 to MaxValues
}

// Schema is the features of profiles, in the order in which events carry them. The zero Schema has none.
type Schema struct {
	features [MaxFeatures]Feature
	count    int
}

// NewSchema returns a schema of 1 to MaxFeatures features.
func NewSchema(features ...Feature) (Schema, error) {
	var s Schema
	if len(features) < 1 || len(features) > MaxFeatures {
		return s, fmt.Errorf("%w: features are 1 to %d", ErrSchema, MaxFeatures)
	}
	for i, f := range features {
		if !wire.Named(f.Name) {
			return s, fmt.Errorf("%w: feature %d has no name in lower case, of at most %d bytes", ErrSchema, i, wire.MaxName)
		}
		for _, other := range features[:i] {
			if other.Name == f.Name {
				return s, fmt.Errorf("%w: two features are named %s", ErrSchema, f.Name)
			}
		}
		if f.Values < 2 || f.Values > MaxValues {
			return s, fmt.Errorf("%w: %s has 2 to %d values", ErrSchema, f.Name, MaxValues)
		}
		s.features[i] = f
	}
	s.count = len(features)
	return s, nil
}

// Features is the number of features.
func (s *Schema) Features() int { return s.count }

// Feature is the i-th feature, and the zero one where there is none.
func (s *Schema) Feature(i int) Feature {
	if i < 0 || i >= s.count {
		return Feature{}
	}
	return s.features[i]
}

// Marshal is the canonical bytes of a threatv1.ProfileSchema.
func (s *Schema) Marshal() ([]byte, error) {
	m := &threatv1.ProfileSchema{}
	for _, f := range s.features[:s.count] {
		m.Features = append(m.Features, &threatv1.ProfileFeature{Name: f.Name, Values: uint32(f.Values)})
	}
	return m.MarshalVT()
}

// UnmarshalSchema is the inverse of Marshal.
func UnmarshalSchema(raw []byte) (Schema, error) {
	var m threatv1.ProfileSchema
	if err := wire.Unmarshal(raw, &m, MaxSchema); err != nil {
		return Schema{}, fmt.Errorf("%w: %w", ErrSchema, err)
	}
	features := make([]Feature, 0, len(m.Features))
	for _, f := range m.Features {
		features = append(features, Feature{f.Name, int(min(f.Values, MaxValues+1))})
	}
	return NewSchema(features...)
}

// Event is the values of an event's features by the order of the schema. A value that the schema does not have counts
// as the feature's last.
type Event [MaxFeatures]uint8

// value is what e says of a feature that has that many values.
func (e *Event) value(feature, values int) int {
	return min(int(e[feature]), values-1)
}

// Hour is the hour of the day, 0 to 23, of a time in seconds since 1970, UTC.
func Hour(seconds int64) uint8 {
	const day = 24 * 3600
	return uint8((seconds%day + day) % day / 3600)
}
