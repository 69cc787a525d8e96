package detector

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// shape makes the splits of a tree: each hangs on an open place, the oldest where the tree is to be balanced.
func shape(seed *fixed.Seed, splits int, balanced bool, of []int) *threatv1.Splits {
	type place struct {
		split int
		right bool
	}
	out := &threatv1.Splits{}
	open := []place{{-1, false}}
	put := func(p place, child int32) {
		switch {
		case p.split < 0:
		case p.right:
			out.Right[p.split] = child
		default:
			out.Left[p.split] = child
		}
	}
	for i := range splits {
		at := 0
		if !balanced {
			at = int(seed.Below(uint64(len(open))))
		}
		put(open[at], int32(i))
		open = append(open[:at:at], open[at+1:]...)
		out.Feature = append(out.Feature, uint32(of[seed.Below(uint64(len(of)))]))
		out.Threshold = append(out.Threshold, int64(seed.Below(12*fixed.LogScale)))
		out.Left, out.Right = append(out.Left, 0), append(out.Right, 0)
		out.DefaultLeft = append(out.DefaultLeft, seed.Below(2) == 0)
		open = append(open, place{i, false}, place{i, true})
	}
	for i, p := range open {
		put(p, int32(-1-i))
	}
	return out
}

// expected are the means of the leaves below each split.
func expected(s *threatv1.Splits, leaves []int32) []int32 {
	sum, n := make([]int64, len(s.Feature)), make([]int64, len(s.Feature))
	out := make([]int32, len(s.Feature))
	for i := len(out) - 1; i >= 0; i-- {
		for _, child := range [2]int32{s.Left[i], s.Right[i]} {
			if child < 0 {
				sum[i] += int64(leaves[-1-child])
				n[i]++
			} else {
				sum[i] += sum[child]
				n[i] += n[child]
			}
		}
		out[i] = int32(sum[i] / n[i])
	}
	return out
}

// example is a model of so many boosted trees of 31 leaves and isolation trees of 256, over the whole table.
func example(boosted, forest int) *threatv1.Model {
	seed := fixed.Seed(7)
	m := &threatv1.Model{Format: artifact.Format, Name: "example"}
	var free, all []int
	for i, f := range features.Table {
		m.Features = append(m.Features, &threatv1.Feature{Name: f.Name, Unit: f.Unit.String(), Monotone: Direction(f.Monotone)})
		all = append(all, i)
		if f.Monotone == trees.Free {
			free = append(free, i)
		}
	}
	if boosted > 0 {
		m.Boosted = &threatv1.Boosted{Base: -100_000, Calibration: &threatv1.Calibration{Margin: []int64{-600_000, 0, 600_000}, Score: []uint32{0, 5000, 10_000}}}
	}
	for range boosted {
		t := &threatv1.BoostedTree{Splits: shape(&seed, 30, false, free)}
		for range 31 {
			t.Leaf = append(t.Leaf, int32(seed.Below(20_000))-10_000)
		}
		t.Expected = expected(t.Splits, t.Leaf)
		m.Boosted.Trees = append(m.Boosted.Trees, t)
	}
	if forest > 0 {
		m.Forest = &threatv1.Forest{Samples: 256, Calibration: &threatv1.Calibration{Margin: []int64{-20_000_000, 0, 20_000_000}, Score: []uint32{0, 3000, 10_000}}}
	}
	for range forest {
		t := &threatv1.IsolationTree{Splits: shape(&seed, 255, true, all)}
		for range 256 {
			t.Size = append(t.Size, 1)
		}
		m.Forest.Trees = append(m.Forest.Trees, t)
	}
	return m
}

func decoded(t testing.TB, m *threatv1.Detector) *Detector {
	raw, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func memory(t testing.TB, d *Detector) *cell.Memory {
	m, err := cell.NewMemory(d.Extents()...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// world is a stream of transactions of a few actors, each with what is kept of it.
type world struct {
	d      *Detector
	cells  *cell.Memory
	seed   fixed.Seed
	now    int64
	actors [8]actor
	peers  profile.Anchor
}

type actor struct {
	history  features.History
	tally    profile.Tally
	anchor   *profile.Anchor
	adaptive *profile.Adaptive
}

const start = 1_767_571_200_000 // a Monday, 2026-01-05 00:00:00 UTC

func newWorld(t testing.TB, d *Detector) *world {
	w := &world{d: d, cells: memory(t, d), seed: 11, now: start, peers: profile.NewAnchor(features.Schema)}
	for i := range w.actors {
		w.actors[i].tally = profile.NewTally(features.Schema)
	}
	return w
}

// next is a transaction that may follow; who is its actor.
func (w *world) next() (in *Inputs, who int) {
	w.now += int64(w.seed.Below(400_000))
	who = int(w.seed.Below(uint64(len(w.actors))))
	a := &w.actors[who]
	classes := [...]features.Class{features.ClassDecision, features.ClassRegister, features.ClassGive, features.ClassKeys}
	c := features.NewContext()
	c.Now, c.ValidUntil, c.Size, c.Signers = w.now, w.now+60_000, 300+int(w.seed.Below(2000)), 1
	c.Author, c.AuthorOrganisation, c.Consortium, c.Kind = fmt.Sprintf("did:chancery:mercy:%d", who), "did:chancery:mercy", "did:chancery:consortium", features.AuthorPerson
	c.IdentityAge, c.KeyAge = w.now-start+30*features.Day, w.now-start+features.Day
	c.Actor, c.Organisation = a.history, a.history
	in = &Inputs{Context: &c, Actor: uint64(who) + 1, Resource: 100 + w.seed.Below(20), Kin: 1000 + w.seed.Below(4), Tick: w.d.Tick(w.now, start), KinTick: w.d.KinTick(w.now, start), Cells: w.cells, Anchor: a.anchor, Adaptive: a.adaptive, Peers: &w.peers}
	for range 1 + w.seed.Below(3) {
		in.Facts = append(in.Facts, features.Facts{Class: classes[(uint64(who)+w.seed.Below(2))%4], Sensitivity: uint8(w.seed.Below(3)), Resource: "r", Items: 1})
	}
	return in, who
}

// take lets a transaction be admitted and settle.
func (w *world) take(t testing.TB, in *Inputs, who int, s *Scratch) {
	if err := w.d.Absorb(w.cells, in, s.Event); err != nil {
		t.Fatal(err)
	}
	a := &w.actors[who]
	a.history.Add(w.now, features.Deed{Fresh: in.Context.Fresh(), Wander: in.Context.Wander(), Sensitive: features.Sensitive(in.Facts, in.Context)})
	settled, ok := profile.Settle(s.Event, profile.FateAdmitted, 1, 1, 2)
	if !ok {
		t.Fatal("an admitted event does not settle")
	}
	a.tally.Count(settled)
	if a.tally.Events() == 40 {
		anchor := a.tally.Freeze()
		adaptive := anchor.Adapt()
		a.anchor, a.adaptive = &anchor, &adaptive
	}
	if a.adaptive != nil {
		a.adaptive.Absorb(settled, w.d.Steps(), w.d.Epoch(w.now))
	}
}

func (w *world) run(t testing.TB, n int, s *Scratch, each func(*Inputs, Result)) {
	for range n {
		in, who := w.next()
		r, err := w.d.Score(in, s)
		if err != nil {
			t.Fatal(err)
		}
		each(in, r)
		w.take(t, in, who, s)
	}
}

func TestPartsSpeakWhenTheyHaveSomethingToSay(t *testing.T) {
	d := decoded(t, Build("whole", example(20, 10)))
	w := newWorld(t, d)
	in, _ := w.next()
	in.Tick = 1
	var s Scratch
	r, err := d.Score(in, &s)
	if err != nil {
		t.Fatal(err)
	}
	if want := [Parts]bool{Boosted: true, Forest: true}; r.Present != want || in.Context.AnchorSurprise != trees.Missing {
		t.Errorf("at the beginning %v", r.Present)
	}
	var last Result
	var seen [Parts]bool
	w.run(t, 1500, &s, func(_ *Inputs, r Result) {
		for i, p := range r.Present {
			seen[i] = seen[i] || p
			if !p && r.Values[i] != 0 {
				t.Fatalf("%s says %d and is not there", PartName(i), r.Values[i])
			}
		}
		if r.Work > d.MaxWork() {
			t.Fatalf("a score cost %d of at most %d", r.Work, d.MaxWork())
		}
		if r.Score > MaxScore || r.Count > MaxDrivers {
			t.Fatalf("%+v", r)
		}
		last = r
	})
	for part := range Rules {
		if !seen[part] || !last.Present[part] {
			t.Errorf("%s never spoke, or was silent in the end: %v", PartName(part), last.Present)
		}
	}
	// Without trees and rules, the streaming parts alone.
	m := Build("streams", nil)
	m.Rules = nil
	m.Blend.Parts = m.Blend.Parts[:5]
	d = decoded(t, m)
	w = newWorld(t, d)
	w.run(t, 600, &s, func(_ *Inputs, r Result) { last = r })
	if want := [Parts]bool{MIDAS: true, HalfSpace: true, Own: true, Peers: true, Drift: true}; last.Present != want {
		t.Errorf("streams alone: %v", last.Present)
	}
	// A transaction without a resource has no edge.
	in, _ = w.next()
	in.Resource = 0
	if r, err = d.Score(in, &s); err != nil || r.Present[MIDAS] || in.Context.Edge.Known {
		t.Errorf("without a resource: %v %v", r.Present, err)
	}
}

func TestBurstIsFound(t *testing.T) {
	d := decoded(t, Build("streams", nil))
	w := newWorld(t, d)
	var s Scratch
	w.run(t, 1500, &s, func(*Inputs, Result) {})
	in, _ := w.next()
	quiet, err := d.Score(in, &s)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if err := d.Absorb(w.cells, in, s.Event); err != nil {
			t.Fatal(err)
		}
	}
	loud, err := d.Score(in, &s)
	if err != nil {
		t.Fatal(err)
	}
	if loud.Values[MIDAS] < 100*quiet.Values[MIDAS] || loud.Score <= quiet.Score || loud.Drivers[0].Part != MIDAS {
		t.Errorf("quiet %+v\nloud %+v", quiet, loud)
	}
}

// What an actor uses of a kin is in the row; another actor's uses are not.
func TestKinIsCounted(t *testing.T) {
	d := decoded(t, Build("streams", nil))
	cells := memory(t, d)
	c := features.NewContext()
	c.Now = start
	var s Scratch
	score := func(in Inputs) []int64 {
		t.Helper()
		in.Context, in.Cells, in.Facts = &c, cells, []features.Facts{{Class: features.ClassDecision}}
		in.Tick, in.KinTick = d.Tick(c.Now, start), d.KinTick(c.Now, start)
		if _, err := d.Score(&in, &s); err != nil {
			t.Fatal(err)
		}
		return s.Row[:]
	}
	uses := func(in Inputs) {
		t.Helper()
		in.Tick, in.KinTick = d.Tick(c.Now, start), d.KinTick(c.Now, start)
		if err := d.Absorb(cells, &in, s.Event); err != nil {
			t.Fatal(err)
		}
	}
	const q = fixed.LogScale
	if row := score(Inputs{Actor: 1, Resource: 100}); row[features.KinLatelyFeature] != trees.Missing || row[features.KinSurpriseFeature] != trees.Missing {
		t.Errorf("without kin: %v", row)
	}
	for i := range uint64(31) {
		uses(Inputs{Actor: 1, Resource: 100 + i, Kin: 7})
	}
	uses(Inputs{Actor: 2, Resource: 300, Kin: 8})
	usual := slices.Clone(score(Inputs{Actor: 1, Resource: 200, Kin: 7}))
	if usual[features.KinLatelyFeature] != 5*q || usual[features.KinSurpriseFeature] != 0 || usual[features.StrayFeature] != 0 {
		t.Errorf("the usual kin was used 2^%d/4096 times, and surprises by %d", usual[features.KinLatelyFeature], usual[features.KinSurpriseFeature])
	}
	other := score(Inputs{Actor: 1, Resource: 201, Kin: 8})
	if other[features.KinLatelyFeature] != 0 || other[features.KinSurpriseFeature] != 5*q || other[features.StrayFeature] != 1 {
		t.Errorf("another kin was used 2^%d/4096 times, and surprises by %d", other[features.KinLatelyFeature], other[features.KinSurpriseFeature])
	}
	if row := score(Inputs{Actor: 1, Resource: 100, Kin: 8}); row[features.StrayFeature] != 0 {
		t.Error("a resource that was used before strays")
	}

	// A ward that was left is nobody's usual one some months later.
	c.Now += 90 * features.Day
	for i := range uint64(31) {
		uses(Inputs{Actor: 1, Resource: 500 + i, Kin: 8})
	}
	if row := score(Inputs{Actor: 1, Resource: 600, Kin: 7}); row[features.StrayFeature] != 1 {
		t.Errorf("a kin of three months ago is usual: used 2^%d/4096 times", row[features.KinLatelyFeature])
	}
	if row := score(Inputs{Actor: 1, Resource: 600, Kin: 8}); row[features.StrayFeature] != 0 {
		t.Error("a kin of today is not usual")
	}
	// Resource 100 was last used 90 days ago, 530 now, and 700 never.
	for resource, want := range map[uint64]int64{100: fixed.Log2(90*features.Day + 1), 530: 0, 700: trees.Missing} {
		if got := score(Inputs{Actor: 3, Resource: resource})[features.ResourceIdleFeature]; got != want {
			t.Errorf("resource %d: idle for 2^%d/4096 ms, want %d", resource, got, want)
		}
	}
}

type failing struct{}

func (failing) Cell(cell.Key) (cell.Cell, error) { return cell.Cell{}, cell.ErrOutside }

func TestStoreErrorsComeThrough(t *testing.T) {
	d := decoded(t, Build("streams", nil))
	w := newWorld(t, d)
	in, _ := w.next()
	in.Cells = failing{}
	if _, err := d.Score(in, &Scratch{}); err == nil {
		t.Error("an error of the store is swallowed")
	}
}

// TestFeaturesAreBoundByName: a model that lists the same features in another order scores the same and names the same.
func TestFeaturesAreBoundByName(t *testing.T) {
	m := example(20, 10)
	turned := m.CloneVT()
	n := len(m.Features)
	for i := range n {
		turned.Features[i] = m.Features[n-1-i]
	}
	for _, t := range turned.Boosted.Trees {
		for i, f := range t.Splits.Feature {
			t.Splits.Feature[i] = uint32(n-1) - f
		}
	}
	for _, t := range turned.Forest.Trees {
		for i, f := range t.Splits.Feature {
			t.Splits.Feature[i] = uint32(n-1) - f
		}
	}
	a, b := decoded(t, Build("a", m)), decoded(t, Build("a", turned))
	w := newWorld(t, a)
	var s, s2 Scratch
	named := 0
	w.run(t, 300, &s, func(in *Inputs, r Result) {
		other, err := b.Score(in, &s2)
		if err != nil || other.Score != r.Score || other.Values != r.Values {
			t.Fatalf("%+v\nand %+v, %v", r, other, err)
		}
		for _, driver := range r.Drivers[:r.Count] {
			if driver.Part == Boosted && driver.Feature > 0 {
				named++
				if features.Table[driver.Feature-1].Monotone != trees.Free {
					t.Fatalf("the driver is %s, on which no tree splits", features.Table[driver.Feature-1].Name)
				}
			}
		}
		if r.Drivers != other.Drivers && r.Score >= ExplainFrom {
			// Contributions that are equal go to the first in the model's order alone.
			for i := range r.Drivers {
				if r.Drivers[i].Value != other.Drivers[i].Value || r.Drivers[i].Part != other.Drivers[i].Part {
					t.Fatalf("%+v\nand %+v", r.Drivers, other.Drivers)
				}
			}
		}
	})
	if named == 0 {
		t.Error("no driver of the trees names its feature")
	}
}

func TestNothingIsAllocated(t *testing.T) {
	d := decoded(t, Build("whole", example(200, 100)))
	w := newWorld(t, d)
	var s Scratch
	w.run(t, 700, &s, func(*Inputs, Result) {})
	in, _ := w.next()
	var r Result
	if n := testing.AllocsPerRun(50, func() { r, _ = d.Score(in, &s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for part := range Rules {
		if !r.Present[part] {
			t.Errorf("%s was not measured", PartName(part))
		}
	}
}

func TestRefused(t *testing.T) {
	good := func() *threatv1.Detector { return Build("good", example(2, 2)) }
	for name, spoil := range map[string]func(*threatv1.Detector){
		"form":            func(m *threatv1.Detector) { m.Format = 2 },
		"no name":         func(m *threatv1.Detector) { m.Name = "" },
		"name":            func(m *threatv1.Detector) { m.Name = "A b" },
		"card":            func(m *threatv1.Detector) { m.CardHash = []byte{1} },
		"deny below hold": func(m *threatv1.Detector) { m.Thresholds = &threatv1.Thresholds{Hold: 5000, Deny: 4000} },
		"hold":            func(m *threatv1.Detector) { m.Thresholds = &threatv1.Thresholds{Hold: 10_001} },
		"bands":           func(m *threatv1.Detector) { m.Baseline = []uint32{10_000} },
		"sum of bands":    func(m *threatv1.Detector) { m.Baseline = make([]uint32, Bands) },
		"unknown feature": func(m *threatv1.Detector) { m.Model.Features[3].Name = "shoe-size" },
		"decimals":        func(m *threatv1.Detector) { m.Model.Features[3].Decimals = 2 },
		"categories":      func(m *threatv1.Detector) { m.Model.Features[3].Categories = []string{"a"} },
		"direction":       func(m *threatv1.Detector) { m.Model.Features[features.RiskFeature].Monotone = 0 },
		"broken model":    func(m *threatv1.Detector) { m.Model.Boosted.Trees[0].Splits.Left[0] = 99 },
		"no tick":         func(m *threatv1.Detector) { m.TickMs = 0 },
		"short tick":      func(m *threatv1.Detector) { m.TickMs = 10 },
		"tick without midas": func(m *threatv1.Detector) {
			m.Midas = nil
			m.Blend.Parts = append(m.Blend.Parts[:2], m.Blend.Parts[3:]...)
		},
		"midas": func(m *threatv1.Detector) { m.Midas.Rows = 99 },
		"kin":   func(m *threatv1.Detector) { m.Kin.Rows = 99 },
		"kin alone": func(m *threatv1.Detector) {
			m.Kin.Relational, m.Kin.DecayNumerator, m.Kin.DecayDenominator = false, 0, 1
		},
		"no tick of kin":   func(m *threatv1.Detector) { m.KinTickMs = 0 },
		"long tick of kin": func(m *threatv1.Detector) { m.KinTickMs = MaxPeriod + 1 },
		"tick without kin": func(m *threatv1.Detector) { m.Kin = nil },
		"cells":            func(m *threatv1.Detector) { m.Midas.Columns = 1 << 16 },
		"half-space":       func(m *threatv1.Detector) { m.HalfSpace.Depth = 40 },
		"ranges":           func(m *threatv1.Detector) { m.HalfSpace.Ranges = m.HalfSpace.Ranges[1:] },
		"steps":            func(m *threatv1.Detector) { m.Profile.StepNumerator = 1 << 20 },
		"epoch":            func(m *threatv1.Detector) { m.Profile.EpochMs = 0 },
		"rule's feature": func(m *threatv1.Detector) {
			m.Rules.Rules[0].When = &threatv1.Predicate{Kind: &threatv1.Predicate_Test{Test: &threatv1.FeatureTest{Feature: "shoe-size", Comparison: 3}}}
		},
		"no blend":         func(m *threatv1.Detector) { m.Blend = nil },
		"part of no name":  func(m *threatv1.Detector) { m.Blend.Parts[0].Name = "luck" },
		"order of parts":   func(m *threatv1.Detector) { p := m.Blend.Parts; p[0], p[1] = p[1], p[0] },
		"part not blended": func(m *threatv1.Detector) { m.Blend.Parts = m.Blend.Parts[1:] },
		"part not there":   func(m *threatv1.Detector) { m.Profile = nil },
		"weight":           func(m *threatv1.Detector) { m.Blend.Parts[0].Weight = 1 << 20 },
	} {
		m := good()
		spoil(m)
		if _, err := Encode(m); err == nil {
			t.Errorf("%s: it is accepted", name)
		} else if !strings.Contains(err.Error(), ErrInvalid.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	raw, err := Encode(good())
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":       nil,
		"too long":      make([]byte, MaxBytes+1),
		"cut":           raw[:len(raw)-1],
		"unknown field": append(bytes.Clone(raw), protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)...),
		"unknown bytes": append(bytes.Clone(raw), protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte{1})...),
		"two names":     append(bytes.Clone(raw), protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "good")...),
		"two models":    append(bytes.Clone(raw), protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), must(example(1, 0).MarshalVT()))...),
		"group":         protowire.AppendTag(nil, 3, protowire.StartGroupType),
	} {
		if _, err := Decode(bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}

func TestSpacesDoNotClash(t *testing.T) {
	d := decoded(t, Build("whole", nil))
	seen := map[cell.Space]bool{}
	for _, e := range d.Extents() {
		if seen[e.Space] {
			t.Errorf("two tables are %d", e.Space)
		}
		seen[e.Space] = true
	}
	if len(seen) != 8 {
		t.Errorf("there are %d tables", len(seen))
	}
	o := Build("other", example(1, 0))
	if !d.SameCells(decoded(t, o)) {
		t.Error("other trees are other cells")
	}
	o.Midas.Seed++
	if d.SameCells(decoded(t, o)) {
		t.Error("another seed is the same cells")
	}
	for _, change := range []func(*threatv1.Detector){
		func(m *threatv1.Detector) { m.Kin.Seed++ }, func(m *threatv1.Detector) { m.KinTickMs++ },
		func(m *threatv1.Detector) { m.Kin, m.KinTickMs = nil, 0 },
	} {
		o := Build("other", nil)
		if change(o); d.SameCells(decoded(t, o)) {
			t.Error("another way to count kin is the same cells")
		}
	}
}

func TestTicksAndRulings(t *testing.T) {
	m := Build("whole", nil)
	m.Thresholds = &threatv1.Thresholds{Hold: 7000, Deny: 9000}
	d := decoded(t, m)
	for _, c := range [][3]int64{{start, start, 1}, {start - 5, start, 1}, {start + 59_999, start, 1}, {start + 60_000, start, 2}, {start + 3_600_000, start, 61}} {
		if got := d.Tick(c[0], c[1]); got != uint64(c[2]) {
			t.Errorf("%d from %d is tick %d", c[0], c[1], got)
		}
	}
	for score, want := range map[uint16]chainv1.Ruling{0: chainv1.Ruling_RULING_ADMIT, 6999: chainv1.Ruling_RULING_ADMIT, 7000: chainv1.Ruling_RULING_HOLD, 8999: chainv1.Ruling_RULING_HOLD, 9000: chainv1.Ruling_RULING_DENY, 10_000: chainv1.Ruling_RULING_DENY} {
		if got := d.Ruling(score); got != want {
			t.Errorf("%d is %v", score, got)
		}
	}
	if Band(0) != 0 || Band(499) != 0 || Band(500) != 1 || Band(10_000) != Bands-1 {
		t.Error("bands")
	}
	m.Thresholds = nil
	if d = decoded(t, m); d.Ruling(10_000) != chainv1.Ruling_RULING_ADMIT {
		t.Error("without thresholds something is held")
	}
}

// TestRiskNeverLowers: with everything else the same, a larger common risk never lowers the score of the example, whose
// boosted trees are free of it.
func TestRiskNeverLowers(t *testing.T) {
	m := example(10, 0)
	d := decoded(t, Build("whole", m))
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, d)
		w.seed = fixed.Seed(rapid.Uint64().Draw(rt, "seed"))
		in, _ := w.next()
		var s Scratch
		last := uint16(0)
		for risk := range uint8(5) {
			in.Context.Risk = risk
			r, err := d.Score(in, &s)
			if err != nil || r.Score < last {
				rt.Fatalf("risk %d: %d after %d, %v", risk, r.Score, last, err)
			}
			last = r.Score
		}
	})
}

// TestGolden pins the bytes of a built detector and what it says of a stream, on every machine.
func TestGolden(t *testing.T) {
	raw, err := Encode(Build("golden", example(40, 20)))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "bytes %d hash %x work %d\n", len(raw), d.Hash(), d.MaxWork())
	w := newWorld(t, d)
	var s Scratch
	sum, i := sha256.New(), 0
	w.run(t, 2000, &s, func(_ *Inputs, r Result) {
		for _, v := range s.Row {
			sum.Write(binary.BigEndian.AppendUint64(nil, uint64(v)))
		}
		fmt.Fprintf(sum, "%+v", r)
		if i++; i%100 == 0 {
			fmt.Fprintf(&out, "%d score %d values %v drivers %v event %v sum %x\n", i, r.Score, r.Values, r.Drivers[:r.Count], s.Event, sum.Sum(nil)[:8])
		}
	})
	const path = "testdata/golden.txt"
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("it says otherwise than %s (%v):\n%s", path, err, out.String())
	}
}

// TestDamagedBytes: whatever becomes of the bytes, they are refused, or are another detector in canonical bytes.
func TestDamagedBytes(t *testing.T) {
	raw := must(Encode(Build("whole", example(2, 1))))
	seed := fixed.Seed(3)
	usable := 0
	for range 3000 {
		bad := bytes.Clone(raw)
		for range 1 + seed.Below(3) {
			at := seed.Below(uint64(len(bad)))
			switch seed.Below(3) {
			case 0:
				bad[at] ^= 1 << seed.Below(8)
			case 1:
				bad = append(bad[:at:at], bad[at+1:]...)
			default:
				bad[at] = byte(seed.Next())
			}
		}
		d, err := Decode(bad)
		if err != nil {
			continue
		}
		usable++
		if again := must(d.Message().MarshalVT()); !bytes.Equal(again, bad) {
			t.Fatal("bytes that are not canonical are accepted")
		}
		if usable%50 == 0 {
			w := newWorld(t, d)
			w.run(t, 2, &Scratch{}, func(_ *Inputs, r Result) {
				if r.Score > MaxScore || r.Work > d.MaxWork() {
					t.Fatalf("%+v", r)
				}
			})
		}
	}
	if usable == 0 {
		t.Error("no damage was harmless, so nothing but refusals was tested")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(must(Encode(Build("whole", example(3, 2)))))
	f.Add(must(Encode(Build("streams", nil))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := Encode(d.Message())
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("it encodes to other bytes: %v", err)
		}
		w := newWorld(t, d)
		var s Scratch
		w.run(t, 5, &s, func(_ *Inputs, r Result) {
			if r.Score > MaxScore || r.Work > d.MaxWork() {
				t.Fatalf("%+v", r)
			}
			if _, err := d.Explain(s.Row[:], r.Verdict(d.Ruling(r.Score)), 3); err != nil {
				t.Fatal(err)
			}
		})
	})
}

func TestDefaultIsUsable(t *testing.T) {
	raw, ok := Default()
	if !ok {
		if _, err := os.Stat("data/default.detector"); err == nil {
			t.Error("the file is there and is not embedded")
		}
		return
	}
	if _, err := Decode(raw); err != nil {
		t.Error(err)
	}
}

// BenchmarkScore scores with 200 boosted trees of 31 leaves and a forest of 100 trees of 256, all parts present: below
// ExplainFrom, and from there on, where drivers name the features of trees.
func BenchmarkScore(b *testing.B) {
	for _, explained := range []bool{false, true} {
		b.Run(fmt.Sprintf("explained=%v", explained), func(b *testing.B) {
			m := Build("whole", example(200, 100))
			if !explained {
				for _, p := range m.Blend.Parts {
					for _, k := range p.Knots {
						k.Points /= 10
					}
				}
			}
			d := decoded(b, m)
			w := newWorld(b, d)
			var s Scratch
			w.run(b, 1500, &s, func(*Inputs, Result) {})
			inputs := make([]*Inputs, 64)
			for i := range inputs {
				inputs[i], _ = w.next()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				r, err := d.Score(inputs[i%len(inputs)], &s)
				if err != nil || !explained && r.Score >= ExplainFrom {
					b.Fatal(r.Score, err)
				}
			}
		})
	}
}

// BenchmarkScoreOfDefault scores with the detector that ships with the program.
func BenchmarkScoreOfDefault(b *testing.B) {
	raw, ok := Default()
	if !ok {
		b.Skip("none ships")
	}
	d, err := Decode(raw)
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, d)
	var s Scratch
	w.run(b, 1500, &s, func(*Inputs, Result) {})
	inputs := make([]*Inputs, 64)
	for i := range inputs {
		inputs[i], _ = w.next()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := d.Score(inputs[i%len(inputs)], &s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAbsorb(b *testing.B) {
	d := decoded(b, Build("streams", nil))
	w := newWorld(b, d)
	var s Scratch
	w.run(b, 100, &s, func(*Inputs, Result) {})
	in, _ := w.next()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Absorb(w.cells, in, s.Event); err != nil {
			b.Fatal(err)
		}
	}
}
