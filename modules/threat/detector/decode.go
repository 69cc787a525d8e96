package detector

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/stream/rules"
	"github.com/chancery/chancery/modules/threat/stream/wire"
	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Bounds of a detector besides those of its parts.
const (
	Format   = 1
	MaxBytes = 2 << 20
	MaxScore = blend.Whole
	// MaxCells is the most cells that a detector keeps.
	MaxCells = 1 << 18
	// MinPeriod and MaxPeriod bound ticks and epochs, in milliseconds.
	MinPeriod = 1000
	MaxPeriod = 30 * 24 * 3_600_000
	// Bands is the number of bands of scores, each of 500, that a baseline has.
	Bands = 20
)

// The parts, in their permanent order.
const (
	Boosted = iota
	Forest
	MIDAS
	HalfSpace
	Own
	Peers
	Drift
	Rules
	Parts
)

var partNames = [Parts]string{"boosted", "forest", "midas", "half-space", "own", "peers", "drift", "rules"}

// PartName is the name of a part, empty where there is none.
func PartName(part int) string {
	if part < 0 || part >= Parts {
		return ""
	}
	return partNames[part]
}

// ErrInvalid is wrapped by every refusal of a detector.
var ErrInvalid = errors.New("the detector is not usable")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

// Detector scores transactions. Decode makes it.
type Detector struct {
	proto *threatv1.Detector
	hash  [sha256.Size]byte
	size  int

	model  *artifact.Model
	bound  []int // place in the row of each of the model's features
	sketch *midas.Sketch
	kin    *midas.Sketch // uses of kin
	space  *halfspace.Forest
	rules  *rules.Rules
	blend  *blend.Blend
	parts  []int // part of each of the blend's
	slots  [Parts]int
	work   uint64
}

// Hash is a detector's name to the chain: SHA-256 of its bytes.
func Hash(raw []byte) [sha256.Size]byte { return sha256.Sum256(raw) }

// Encode is the canonical bytes of a detector, which Decode accepts.
func Encode(m *threatv1.Detector) ([]byte, error) {
	raw, err := m.MarshalVT()
	if err != nil {
		return nil, invalid("%w", err)
	}
	if _, err := Decode(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// Decode reads and checks a detector. The rules:
//
//  1. At most MaxBytes, canonical, without unknown fields, of Format; the name as wire.Named has it; the card's hash
//     of 32 bytes or none.
//  2. The model, where there is one, passes artifact.Decode; each of its features is in features.Table, without
//     decimals and categories, and boosted trees keep the directions that the table declares.
//  3. MIDAS, half-space trees, steps of profiles, rules and blend pass their packages' checks. Half-space trees have
//     one range for each feature of features.Schema, rules name features of the table. Ticks and epochs are between
//     MinPeriod and MaxPeriod, and a tick is there if and only if MIDAS is, as is one of kin. Kin is relational.
//  4. All tables of cells together have at most MaxCells.
//  5. The blend's parts are some of the eight, in their order, of those that the detector has; and all that lift or
//     have a model, settings or rules of their own are among them. own, peers and drift need steps of profiles.
//  6. hold and deny are scores, and deny is not below hold where both are set.
//  7. The baseline has no bands, or Bands that sum to 10000.
func Decode(raw []byte) (*Detector, error) {
	if len(raw) > MaxBytes {
		return nil, invalid("it has %d bytes; at most %d are allowed", len(raw), MaxBytes)
	}
	d := &Detector{hash: Hash(raw), size: len(raw)}
	if err := d.open(raw); err != nil {
		return nil, err
	}
	m := &threatv1.Detector{}
	if err := wire.Unmarshal(raw, m, MaxBytes); err != nil {
		return nil, invalid("%w", err)
	}
	d.proto = m
	for _, check := range [...]func(*threatv1.Detector) error{d.head, d.bind, d.streams, d.rule, d.mix} {
		if err := check(m); err != nil {
			return nil, err
		}
	}
	d.work = d.most()
	return d, nil
}

// longest is how many bytes the fields of a Detector have, by number, where they are messages.
var longest = map[protowire.Number]int{
	2: wire.MaxName, 3: artifact.MaxBytes, 4: midas.MaxSettings, 6: halfspace.MaxSettings, 7: 64, 8: rules.MaxSet, 9: blend.MaxBlend, 10: 16, 11: 32, 12: 64, 13: midas.MaxSettings,
}

// open bounds what the bytes would unmarshal into before memory is spent on it, and reads the model.
func (d *Detector) open(raw []byte) error {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return invalid("it is not a detector's bytes")
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, kind, raw); n < 0 {
			return invalid("it is not a detector's bytes")
		}
		if kind == protowire.BytesType {
			part, _ := protowire.ConsumeBytes(raw)
			limit, ok := longest[number]
			if !ok || len(part) > limit {
				return invalid("field %d is not known, or has more than %d bytes", number, limit)
			}
			if number == 3 {
				if d.model != nil {
					return invalid("it has two models")
				}
				var err error
				if d.model, err = artifact.Decode(part); err != nil {
					return invalid("%w", err)
				}
			}
		}
		raw = raw[n:]
	}
	return nil
}

func (d *Detector) head(m *threatv1.Detector) error {
	switch t := m.Thresholds; {
	case m.Format != Format:
		return invalid("its form is %d; this program reads %d", m.Format, Format)
	case !wire.Named(m.Name):
		return invalid("the name is not 1 to %d of the characters a-z 0-9 . _ -", wire.MaxName)
	case len(m.CardHash) != 0 && len(m.CardHash) != sha256.Size:
		return invalid("the card's hash has %d bytes; it has %d or none", len(m.CardHash), sha256.Size)
	case t.GetHold() > MaxScore || t.GetDeny() > MaxScore || t.GetDeny() != 0 && t.GetDeny() < t.GetHold():
		return invalid("the thresholds hold %d and deny %d are not scores to %d, the first not above the second", t.GetHold(), t.GetDeny(), MaxScore)
	case len(m.Baseline) != 0 && len(m.Baseline) != Bands:
		return invalid("the baseline has %d bands; it has %d or none", len(m.Baseline), Bands)
	}
	sum := uint64(0)
	for _, share := range m.Baseline {
		sum += uint64(share)
	}
	if len(m.Baseline) > 0 && sum != MaxScore {
		return invalid("the bands of the baseline sum to %d, not to %d", sum, MaxScore)
	}
	return nil
}

func (d *Detector) bind(m *threatv1.Detector) error {
	if d.model == nil {
		return nil
	}
	for _, f := range m.Model.Features {
		at, ok := features.Index(f.Name)
		switch {
		case !ok:
			return invalid("the model reads the feature %q, which this program does not know", f.Name)
		case f.Decimals != 0 || len(f.Categories) != 0:
			return invalid("the model's feature %s has decimals or categories; rows are whole numbers already", f.Name)
		case m.Model.Boosted != nil && features.Table[at].Monotone != trees.Free && f.Monotone != Direction(features.Table[at].Monotone):
			return invalid("the model does not keep the direction of the feature %s", f.Name)
		}
		d.bound = append(d.bound, at)
	}
	return nil
}

// Direction is a direction as a model states it.
func Direction(d trees.Direction) threatv1.Monotone {
	switch d {
	case trees.Increasing:
		return threatv1.Monotone_MONOTONE_INCREASING
	case trees.Decreasing:
		return threatv1.Monotone_MONOTONE_DECREASING
	}
	return threatv1.Monotone_MONOTONE_UNSPECIFIED
}

func (d *Detector) streams(m *threatv1.Detector) error {
	if (m.Midas != nil) != (m.TickMs != 0) || m.TickMs != 0 && !period(m.TickMs) {
		return invalid("a tick has %d to %d milliseconds with MIDAS and 0 without", MinPeriod, MaxPeriod)
	}
	if (m.Kin != nil) != (m.KinTickMs != 0) || m.KinTickMs != 0 && !period(m.KinTickMs) {
		return invalid("a tick of kin has %d to %d milliseconds with kin and 0 without", MinPeriod, MaxPeriod)
	}
	for _, of := range [...]struct {
		from  *threatv1.MidasSettings
		first cell.Space
		to    **midas.Sketch
	}{{m.Midas, midas.SpaceEdge, &d.sketch}, {m.Kin, midas.SpaceKin, &d.kin}} {
		if of.from == nil {
			continue
		}
		raw, err := of.from.MarshalVT()
		if err != nil {
			return invalid("%w", err)
		}
		s, err := midas.Unmarshal(raw)
		if err == nil {
			*of.to, err = midas.NewAt(s, of.first)
		}
		if err != nil {
			return invalid("%w", err)
		}
	}
	if d.kin != nil && !m.Kin.Relational {
		return invalid("kin is counted with relations")
	}
	if m.HalfSpace != nil {
		raw, err := m.HalfSpace.MarshalVT()
		if err != nil {
			return invalid("%w", err)
		}
		s, err := halfspace.Unmarshal(raw)
		if err != nil {
			return invalid("%w", err)
		}
		if n := features.Schema.Features(); len(s.Ranges) != n {
			return invalid("half-space trees have %d ranges; there are %d features of profiles", len(s.Ranges), n)
		}
		if d.space, err = halfspace.New(s); err != nil {
			return invalid("%w", err)
		}
	}
	cells := uint64(0)
	for _, e := range d.Extents() {
		cells += e.Cells()
	}
	if cells > MaxCells {
		return invalid("it keeps %d cells; at most %d are allowed", cells, MaxCells)
	}
	if m.Profile != nil {
		if !period(m.Profile.EpochMs) {
			return invalid("an epoch has %d to %d milliseconds", MinPeriod, MaxPeriod)
		}
		if err := d.Steps().Check(); err != nil {
			return invalid("%w", err)
		}
	}
	return nil
}

func period(ms int64) bool { return ms >= MinPeriod && ms <= MaxPeriod }

func (d *Detector) rule(m *threatv1.Detector) (err error) {
	if m.Rules == nil {
		return nil
	}
	if d.rules, err = rules.Bind(m.Rules, features.Names()); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func (d *Detector) mix(m *threatv1.Detector) error {
	if m.Blend == nil {
		return invalid("it has no blend")
	}
	raw, err := m.Blend.MarshalVT()
	if err != nil {
		return invalid("%w", err)
	}
	s, err := blend.Unmarshal(raw)
	if err == nil {
		d.blend, err = blend.New(s)
	}
	if err != nil {
		return invalid("%w", err)
	}
	has := d.has()
	for i := range d.slots {
		d.slots[i] = -1
	}
	next := 0
	for i, p := range s.Parts {
		for next < Parts && partNames[next] != p.Name {
			next++
		}
		if next == Parts {
			return invalid("the blend's part %s is none of the eight, or not in their order", p.Name)
		}
		if !has[next] {
			return invalid("the blend has the part %s and the detector has not", p.Name)
		}
		d.parts, d.slots[next] = append(d.parts, next), i
	}
	for part, needed := range has {
		if needed && d.slots[part] < 0 && part != Own && part != Peers && part != Drift {
			return invalid("the detector has the part %s and the blend has not", partNames[part])
		}
	}
	return nil
}

// has tells which parts the detector has.
func (d *Detector) has() [Parts]bool {
	profiles := d.proto.Profile != nil
	return [Parts]bool{
		Boosted: d.model != nil && d.model.Boosted() != nil, Forest: d.model != nil && d.model.Forest() != nil,
		MIDAS: d.sketch != nil, HalfSpace: d.space != nil, Own: profiles, Peers: profiles, Drift: profiles, Rules: d.rules != nil,
	}
}

// Name is the detector's name.
func (d *Detector) Name() string { return d.proto.Name }

// Hash is SHA-256 of the detector's bytes.
func (d *Detector) Hash() [sha256.Size]byte { return d.hash }

// Size is the number of the detector's bytes.
func (d *Detector) Size() int { return d.size }

// Message is a copy of the detector's message.
func (d *Detector) Message() *threatv1.Detector { return d.proto.CloneVT() }

// Model is the trees, nil where there are none.
func (d *Detector) Model() *artifact.Model { return d.model }

// RuleSet is the rules, nil where there are none.
func (d *Detector) RuleSet() *rules.Rules { return d.rules }

// Steps bound how adaptive profiles move; zero where the detector has no profiles.
func (d *Detector) Steps() profile.Settings {
	p := d.proto.Profile
	return profile.Settings{StepNumerator: p.GetStepNumerator(), StepDenominator: p.GetStepDenominator(), StepsPerEpoch: p.GetStepsPerEpoch()}
}

// Epoch is the epoch of profiles that a time in Unix ms is in, 0 where there are none.
func (d *Detector) Epoch(now int64) uint64 {
	if d.proto.Profile == nil || now < 0 {
		return 0
	}
	return uint64(now / d.proto.Profile.EpochMs)
}

// Tick is the tick of MIDAS at a time, where the first began at start, both Unix ms: 1 before start and where there is
// no MIDAS.
func (d *Detector) Tick(now, start int64) uint64 { return tick(d.proto.TickMs, now, start) }

// KinTick is the tick of kin at a time, as Tick is that of MIDAS.
func (d *Detector) KinTick(now, start int64) uint64 { return tick(d.proto.KinTickMs, now, start) }

func tick(ms, now, start int64) uint64 {
	if ms == 0 || start < 0 || now <= start {
		return 1
	}
	return 1 + uint64(now-start)/uint64(ms)
}

// Extents are the tables of cells, in ascending order of their spaces.
func (d *Detector) Extents() (out []cell.Extent) {
	if d.sketch != nil {
		out = append(out, d.sketch.Extents()...)
	}
	if d.kin != nil {
		out = append(out, d.kin.Extents()...)
	}
	if d.space != nil {
		out = append(out, d.space.Extents()...)
	}
	return out
}

// SameCells tells whether the cells of one detector mean the same to another.
func (d *Detector) SameCells(o *Detector) bool {
	return d.proto.Midas.EqualVT(o.proto.Midas) && d.proto.TickMs == o.proto.TickMs && d.proto.HalfSpace.EqualVT(o.proto.HalfSpace) &&
		d.proto.Kin.EqualVT(o.proto.Kin) && d.proto.KinTickMs == o.proto.KinTickMs
}
