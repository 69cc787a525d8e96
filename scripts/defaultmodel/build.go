package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/blend"
	"github.com/chancery/chancery/modules/threat/trees"
	"github.com/chancery/chancery/node/model"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	"github.com/chancery/chancery/testnet/scenarios"
)

// The points of a calibration, and of how many of 10000 normal transactions they are
// reached by at most.
const (
	alarmPoints = 6000 // threat.DefaultParams().AlarmScore
	holdPoints  = detector.DefaultHold
	denyPoints  = 9800
	// holdBudget is what boosted trees may hold; the other parts hold what is far beyond
	// all that was seen. alarmBudget is what boosted trees may alarm of, streamAlarms what
	// each other part may.
	holdBudget   = 1.5e-4
	alarmBudget  = 75e-4
	streamAlarms = 2e-4
)

// building is how the default detector is made.
type building struct {
	train, validate seeds
	life            lifeOptions
	campaigns       int // of each kind and training seed
}

// Of a campaign's harmful transactions the first are what must be noticed, and are few
// beside those that follow. So trees are trained on the first firstOnes of each campaign
// firstTimes each.
const (
	firstOnes  = 3
	firstTimes = 2
)

// emphasised is samples to train on.
func emphasised(list []sample) (out []sample) {
	seen := map[string]int{}
	for i := range list {
		s, times := list[i], 1
		if label(&s) == 1 {
			if seen[s.campaign]++; seen[s.campaign] <= firstOnes {
				times = firstTimes
			}
		}
		for range times {
			out = append(out, s)
		}
	}
	return out
}

func (b *building) build(ctx context.Context, out string) error {
	probe, err := scenarios.Probe()
	if err != nil {
		return err
	}
	more := b.life
	more.campaigns = b.campaigns
	training, err := simulate(ctx, b.train, more, probe, false)
	if err != nil {
		return err
	}
	validation, err := simulate(ctx, b.validate, b.life, probe, false)
	if err != nil {
		return err
	}
	t := table(training)
	positive, negative := t.Positives()
	fmt.Fprintf(os.Stderr, "training on %d harmful and %d normal transactions\n", positive, negative)
	t = table(emphasised(training))
	trained, err := model.Train(ctx, t, model.Training{
		Name: "default", Kind: model.KindBoth, Seed: 1, NormalOnly: true, Schema: schema(),
		Boost:  model.BoostOptions{Trees: 160, Leaves: 24, Depth: 8, Rate: 0.08, L2: 5, MinRows: 20, Columns: 0.7, Rows: 0.8},
		Forest: model.ForestOptions{Trees: 100, Samples: 256},
		Test:   table(validation),
	})
	if err != nil {
		return err
	}
	d, _, err := b.assemble(trained, training, validation)
	if err != nil {
		return err
	}
	raw, err := detector.Encode(d)
	if err != nil {
		return err
	}
	// What is held changes what histories and profiles learn. So thresholds are chosen
	// again on the same seeds with the detector in force.
	if validation, err = b.enforced(ctx, raw, validation); err != nil {
		return err
	}
	d, card, err := b.assemble(trained, training, validation)
	if err != nil {
		return err
	}
	if raw, err = detector.Encode(d); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "default.detector"), raw, 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "default.detector.card.json"), card, 0o644); err != nil {
		return err
	}
	hash := detector.Hash(raw)
	fmt.Fprintf(os.Stderr, "default.detector: %d bytes, %x\n", len(raw), hash)
	return nil
}

// enforced is the validation seeds with a detector in force. A verdict has its four
// strongest parts alone, so for what MIDAS and half-space trees say the samples without
// enforcement are kept beside them, as normal life that no campaign disturbed.
func (b *building) enforced(ctx context.Context, raw []byte, log []sample) ([]sample, error) {
	out, err := simulate(ctx, b.validate, b.life, raw, true)
	if err != nil {
		return nil, err
	}
	for i := range log {
		if log[i].attack == scenarios.None {
			out = append(out, log[i])
		}
	}
	return out, nil
}

// schema is the row of package features.
func schema() model.Schema {
	out := make(model.Schema, features.Count)
	for i, f := range features.Table {
		out[i] = &threatv1.Feature{Name: f.Name, Unit: f.Unit.String()}
		switch f.Monotone {
		case trees.Increasing:
			out[i].Monotone = threatv1.Monotone_MONOTONE_INCREASING
		case trees.Decreasing:
			out[i].Monotone = threatv1.Monotone_MONOTONE_DECREASING
		}
	}
	return out
}

// label is 1 for harm and 0 for normal life. What only prepares or covers has none, and
// nor has mimicry: what it takes is on purpose like normal life, and would teach trees
// that normal life is harm.
func label(s *sample) int8 {
	switch {
	case s.attack == scenarios.None:
		return 0
	case s.harmful && s.attack != scenarios.Mimicry:
		return 1
	}
	return -1
}

// table is samples with their labels, by the hash of both.
func table(list []sample) *model.Table {
	t := &model.Table{Rows: len(list), Columns: make([]model.Column, features.Count), Labels: make([]int8, len(list))}
	for i := range t.Columns {
		t.Columns[i] = model.Column{Name: features.Table[i].Name, Numbers: make([]float64, len(list))}
	}
	h := sha256.New()
	var line []byte
	for r := range list {
		s := &list[r]
		t.Labels[r] = label(s)
		line = append(line[:0], byte(t.Labels[r]))
		for i, v := range s.row {
			line = binary.BigEndian.AppendUint64(line, uint64(v))
			t.Columns[i].Numbers[r] = float64(v)
			if v == trees.Missing {
				t.Columns[i].Numbers[r] = math.NaN()
			}
		}
		h.Write(line)
	}
	t.Hash = [sha256.Size]byte(h.Sum(nil))
	return t
}

// assemble makes a detector of the trees, with calibrations and thresholds that are
// chosen on validation's normal transactions.
func (b *building) assemble(trained *model.Trained, training, validation []sample) (*threatv1.Detector, []byte, error) {
	m := new(threatv1.Model)
	if err := m.UnmarshalVT(trained.Raw); err != nil {
		return nil, nil, err
	}
	d := detector.Build("default", m)
	values, present, err := parts(trained.Model, validation)
	if err != nil {
		return nil, nil, err
	}
	// Any part may speak up alone: each has its own budget of false holds.
	d.Blend.Peak = blend.Whole
	for _, p := range d.Blend.Parts {
		part := slices.IndexFunc(allParts(), func(name string) bool { return name == p.Name })
		if part == detector.Rules {
			continue
		}
		var normal []int64
		for i := range validation {
			if label(&validation[i]) == 0 && present[i][part] {
				normal = append(normal, values[i][part])
			}
		}
		p.Knots = calibrate(part, normal)
	}
	lowerRules(d.Rules, validation)
	for i := range validation {
		if present[i][detector.Rules] {
			values[i][detector.Rules] = judged(d.Rules, &validation[i])
		}
	}
	d.Thresholds = &threatv1.Thresholds{Hold: holdPoints, Deny: denyPoints}
	scores, err := blended(d.Blend, values, present)
	if err != nil {
		return nil, nil, err
	}
	tellFalse(d.Blend, validation, values, present, scores)
	card := b.card(trained, training, validation, scores)
	d.Baseline = baseline(validation, scores)
	raw, err := json.MarshalIndent(card, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	raw = append(raw, '\n')
	sum := sha256.Sum256(raw)
	d.CardHash = sum[:]
	return d, raw, nil
}

func allParts() []string {
	out := make([]string, detector.Parts)
	for i := range out {
		out[i] = detector.PartName(i)
	}
	return out
}

// parts is what every part says of every sample.
func parts(m *artifact.Model, list []sample) (values [][detector.Parts]int64, present [][detector.Parts]bool, err error) {
	values, present = make([][detector.Parts]int64, len(list)), make([][detector.Parts]bool, len(list))
	for i := range list {
		x, err := m.Score(list[i].row)
		if err != nil {
			return nil, nil, err
		}
		values[i][detector.Boosted], present[i][detector.Boosted] = x.Boosted.Margin, true
		values[i][detector.Forest], present[i][detector.Forest] = x.Forest.Margin, true
		for part := detector.MIDAS; part < detector.Parts; part++ {
			values[i][part], present[i][part] = list[i].said(part)
		}
	}
	return values, present, nil
}

// calibrate is the corners of a part's points by how rare a value is among normal
// transactions. Boosted trees hold from where their budget is spent; the other parts
// alarm, and hold only far beyond all that was seen.
func calibrate(part int, normal []int64) []*threatv1.Knot {
	slices.Sort(normal)
	if len(normal) == 0 {
		return []*threatv1.Knot{{Value: 0}, {Value: 1}}
	}
	// above is the least value that at most a share of the normal ones reach.
	above := func(share float64) int64 {
		n := int(share * float64(len(normal)))
		return normal[len(normal)-1-n] + 1
	}
	top := normal[len(normal)-1]
	spread := max(top-normal[len(normal)/2], 2)
	corners := []*threatv1.Knot{
		{Value: normal[len(normal)/2], Points: 0}, {Value: above(0.1), Points: 1000}, {Value: above(0.01), Points: 3000},
	}
	if part == detector.Boosted {
		corners = append(corners,
			&threatv1.Knot{Value: above(alarmBudget), Points: alarmPoints}, &threatv1.Knot{Value: above(holdBudget), Points: holdPoints},
			&threatv1.Knot{Value: top + 3<<16, Points: denyPoints}, &threatv1.Knot{Value: top + 6<<16, Points: blend.Whole})
	} else {
		corners = append(corners,
			&threatv1.Knot{Value: above(streamAlarms), Points: alarmPoints},
			&threatv1.Knot{Value: top + spread/2, Points: holdPoints - 1}, &threatv1.Knot{Value: top + 4*spread, Points: holdPoints + 500})
	}
	// Values rise; of equal ones the last has the points.
	var out []*threatv1.Knot
	for _, k := range corners {
		for len(out) > 0 && out[len(out)-1].Value >= k.Value {
			out = out[:len(out)-1]
		}
		out = append(out, k)
	}
	if len(out) == 1 {
		out = append(out, &threatv1.Knot{Value: out[0].Value + 1, Points: out[0].Points})
	}
	return out
}

// blended is the score of every sample.
func blended(m *threatv1.Blend, values [][detector.Parts]int64, present [][detector.Parts]bool) ([]uint16, error) {
	raw, err := m.MarshalVT()
	if err != nil {
		return nil, err
	}
	settings, err := blend.Unmarshal(raw)
	if err != nil {
		return nil, err
	}
	b, err := blend.New(settings)
	if err != nil {
		return nil, err
	}
	order := make([]int, len(m.Parts))
	for i, p := range m.Parts {
		order[i] = slices.Index(allParts(), p.Name)
	}
	out := make([]uint16, len(values))
	inputs := make([]blend.Input, len(order))
	for i := range values {
		for k, part := range order {
			inputs[k] = blend.Input{Present: present[i][part], Value: values[i][part], Feature: -1}
		}
		out[i] = b.Score(inputs).Score
	}
	return out, nil
}

// baseline is how many of 10000 normal scores fall into each band, by largest remainder.
func baseline(list []sample, scores []uint16) []uint32 {
	var counts [detector.Bands]int
	total := 0
	for i := range list {
		if label(&list[i]) == 0 {
			counts[detector.Band(scores[i])]++
			total++
		}
	}
	out := make([]uint32, detector.Bands)
	order := make([]int, detector.Bands)
	left := uint32(10000)
	for i, n := range counts {
		order[i] = i
		out[i] = uint32(n * 10000 / total)
		left -= out[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return counts[b]*10000%total - counts[a]*10000%total })
	for _, i := range order[:left] {
		out[i]++
	}
	return out
}

// kindCount is how many harmful transactions of a kind reach a score.
type kindCount struct {
	Kind    string `json:"kind"`
	Harmful int    `json:"harmful"`
	Alarmed int    `json:"alarmed"`
	Held    int    `json:"held"`
}

// card says how the detector was made and measured. It has no date and no machine in it.
func (b *building) card(trained *model.Trained, training, validation []sample, scores []uint16) any {
	normal, held, alarmed := 0, 0, 0
	kinds := make([]kindCount, len(scenarios.Kinds()))
	for i, k := range scenarios.Kinds() {
		kinds[i].Kind = k.String()
	}
	for i := range validation {
		s := &validation[i]
		switch {
		case s.attack == scenarios.None:
			normal++
			if scores[i] >= holdPoints {
				held++
			}
			if scores[i] >= alarmPoints {
				alarmed++
			}
		case s.harmful:
			k := &kinds[s.attack-1]
			k.Harmful++
			if scores[i] >= holdPoints {
				k.Held++
			}
			if scores[i] >= alarmPoints {
				k.Alarmed++
			}
		}
	}
	dataHash := table(training).Hash
	positive, negative := table(training).Positives()
	return struct {
		Name       string          `json:"name"`
		Data       string          `json:"data"`
		DataHash   string          `json:"data_sha256"`
		Train      seeds           `json:"training_seeds"`
		Validate   seeds           `json:"validation_seeds"`
		Days       int             `json:"days"`
		Life       float64         `json:"life"`
		Campaigns  int             `json:"campaigns_of_each_kind"`
		Trained    int             `json:"training_campaigns_of_each_kind"`
		Emphasis   string          `json:"training_emphasis"`
		Harmful    int             `json:"training_harmful"`
		Normal     int             `json:"training_normal"`
		Thresholds map[string]int  `json:"thresholds"`
		Chosen     string          `json:"thresholds_chosen"`
		Validation map[string]int  `json:"validation_normal"`
		Kinds      []kindCount     `json:"validation_harmful"`
		Model      json.RawMessage `json:"model"`
		Limits     []string        `json:"limits"`
	}{
		Name: "default", Data: "testnet/scenarios, see docs/scenarios.md", DataHash: hex.EncodeToString(dataHash[:]),
		Train: b.train, Validate: b.validate, Days: b.life.days, Life: b.life.life, Campaigns: b.life.campaigns,
		Trained: b.campaigns, Emphasis: fmt.Sprintf("boosted trees saw the first %d harmful transactions of each campaign %d times", firstOnes, firstTimes),
		Harmful: positive, Normal: negative,
		Thresholds: map[string]int{"alarm": alarmPoints, "hold": holdPoints, "deny": denyPoints},
		Chosen:     "each part's points follow from how rare its value is among the validation seeds' normal transactions; the score is the largest of the parts' points",
		Validation: map[string]int{"transactions": normal, "held": held, "alarmed": alarmed},
		Kinds:      kinds, Model: trained.Card,
		Limits: []string{
			"It was trained and measured on a consortium that was made up. Real life differs, and it will hold more of it.",
			"It has seen the kinds of attacks that docs/scenarios.md names, and no others, but for the parts that learn without labels.",
			"Mimicry is not among what it was trained on.",
			"It has learnt nothing of a chain that is new: profiles and counts fill in the first days.",
		},
	}
}

// tellFalse says on standard error which parts would hold normal life.
func tellFalse(m *threatv1.Blend, list []sample, values [][detector.Parts]int64, present [][detector.Parts]bool, scores []uint16) {
	counts := map[string]int{}
	for i := range list {
		if label(&list[i]) != 0 || scores[i] < holdPoints {
			continue
		}
		for _, p := range m.Parts {
			part := slices.Index(allParts(), p.Name)
			if !present[i][part] || blend.Calibrate(points(p.Knots), values[i][part]) < holdPoints {
				continue
			}
			name := p.Name
			for _, d := range list[i].verdict.GetDrivers() {
				if part == detector.Rules && int(d.Part) == part {
					name = scenarios.Reason(d)
				}
			}
			counts[name+" of "+list[i].kind]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(os.Stderr, "of normal life, %s holds %d\n", name, counts[name])
	}
}

func points(knots []*threatv1.Knot) []blend.Knot {
	out := make([]blend.Knot, len(knots))
	for i, k := range knots {
		out[i] = blend.Knot{Value: k.Value, Points: uint16(k.Points)}
	}
	return out
}

// lowerRules lets rules that would hold normal life of the validation seeds only alarm.
func lowerRules(set *threatv1.RuleSet, validation []sample) {
	for i := range validation {
		s := &validation[i]
		if label(s) != 0 {
			continue
		}
		if at, ok := s.rule(); ok && at < len(set.Rules) && set.Rules[at].Score >= holdPoints {
			fmt.Fprintf(os.Stderr, "the rule %s would hold normal life (%s), and is lowered to an alarm\n", set.Rules[at].Name, s.kind)
			set.Rules[at].Score = holdPoints - 500
		}
	}
}

// judged is the score of the rule that spoke loudest of a sample.
func judged(set *threatv1.RuleSet, s *sample) int64 {
	if at, ok := s.rule(); ok && at < len(set.Rules) {
		return int64(set.Rules[at].Score)
	}
	return 0
}
