package detector

import (
	"strings"
	"testing"

	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/trees"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	noon  = start + 12*features.Hour
	night = start + 2*features.Hour
)

// scene is a transaction as the rules see it.
type scene struct {
	facts []features.Facts
	c     features.Context
}

// quiet is a decision by a person of long standing, at noon.
func quiet() *scene {
	c := features.NewContext()
	c.Now, c.Author, c.AuthorOrganisation, c.Consortium = noon, "did:chancery:mercy:a", "did:chancery:mercy", "did:chancery:consortium"
	c.Kind, c.IdentityAge, c.KeyAge, c.Signers, c.Size = features.AuthorPerson, 400*features.Day, 90*features.Day, 1, 500
	c.Actor = features.History{Last: noon - features.Hour, Count: 900, Hour: 5 * features.One, Day: 40 * features.One}
	c.Edge = features.Use{Known: true, Past: 12}
	return &scene{facts: []features.Facts{{Class: features.ClassDecision, Sensitivity: 2, Resource: "r", Items: 1}}, c: c}
}

func (s *scene) of(n int, f features.Facts) {
	s.facts = nil
	for range n {
		s.facts = append(s.facts, f)
	}
}

// lately is a count of Q16 that is as of now.
func (s *scene) lately(n uint64) uint64 {
	s.c.Actor.Last = s.c.Now
	return n * features.One
}

var (
	policy    = features.Facts{Class: features.ClassPolicy, Sensitivity: 3, Privilege: true}
	rails     = features.Facts{Class: features.ClassGuardRail, Sensitivity: 4, Privilege: true}
	glass     = features.Facts{Class: features.ClassBreakGlass, Sensitivity: 4, Emergency: true, Privilege: true}
	recorded  = features.Facts{Class: features.ClassOnBehalf, Sensitivity: 2, OnBehalf: true}
	delicate  = features.Facts{Class: features.ClassOnBehalf, Sensitivity: 4, OnBehalf: true, Special: true}
	ended     = features.Facts{Class: features.ClassInvalidate, Sensitivity: 2, Destructive: true}
	validator = features.Facts{Class: features.ClassValidator, Sensitivity: 4, Privilege: true}
	health    = features.Facts{Class: features.ClassDecision, Sensitivity: 3, Special: true}
)

// scenes has for every default rule one in which it holds, and beside it one that is almost the same and in which it
// does not.
var scenes = map[string][2]func(*scene){
	"break-glass-repeated":      {func(s *scene) { s.of(1, glass); s.c.Actor.Sensitive = s.lately(3) }, func(s *scene) { s.of(1, glass); s.c.Actor.Sensitive = s.lately(2) }},
	"break-glass-by-suspect":    {func(s *scene) { s.of(1, glass); s.c.Risk = 3 }, func(s *scene) { s.of(1, glass); s.c.Risk = 2 }},
	"burst-of-power":            {func(s *scene) { s.of(1, policy); s.c.Actor.InBlock = 20 }, func(s *scene) { s.of(1, policy); s.c.Actor.InBlock = 19 }},
	"burst-of-sensitive":        {func(s *scene) { s.of(1, health); s.c.Actor.InBlock = 50 }, func(s *scene) { s.c.Actor.InBlock = 50 }},
	"fresh-identity-with-power": {func(s *scene) { s.of(1, policy); s.c.IdentityAge = features.Hour }, func(s *scene) { s.of(1, policy); s.c.IdentityAge = trees.Missing }},
	"fresh-key-in-bulk":         {func(s *scene) { s.c.KeyAge = 9 * features.Minute; s.facts[0].Items = 200 }, func(s *scene) { s.c.KeyAge = 20 * features.Minute; s.facts[0].Items = 200 }},
	"fresh-key-with-power":      {func(s *scene) { s.of(1, validator); s.c.KeyAge = 0 }, func(s *scene) { s.of(1, validator); s.c.KeyAge = trees.Missing }},
	"guard-rails-off-hours":     {func(s *scene) { s.of(1, rails); s.c.Now = night }, func(s *scene) { s.of(1, rails) }},
	"guard-rails-removed":       {func(s *scene) { f := rails; f.Destructive = true; s.of(1, f) }, func(s *scene) { s.of(1, rails) }},
	"guessing":                  {func(s *scene) { s.c.Actor.Failed = s.lately(30) }, func(s *scene) { s.c.Actor.Failed = s.lately(29) }},
	"invalidated-in-bulk":       {func(s *scene) { s.of(20, ended) }, func(s *scene) { s.of(19, ended) }},
	"keys-of-others": {
		func(s *scene) {
			s.of(3, features.Facts{Class: features.ClassKeys, Sensitivity: 2, Subject: "did:chancery:mercy:b"})
		},
		func(s *scene) {
			s.of(3, features.Facts{Class: features.ClassKeys, Sensitivity: 2, Subject: s.c.Author})
		},
	},
	"recorded-consents-in-bulk":   {func(s *scene) { s.of(50, recorded) }, func(s *scene) { s.of(49, recorded) }},
	"recorded-consents-off-hours": {func(s *scene) { s.of(50, delicate); s.c.Now = night }, func(s *scene) { s.of(50, recorded); s.c.Now = night }},
	"severe-risk":                 {func(s *scene) { s.c.Risk = 4 }, func(s *scene) { s.c.Risk = 4; s.facts[0].Sensitivity = 1 }},
	"special-in-bulk": {
		func(s *scene) { s.of(1, health); s.c.Actor.Sensitive, s.c.Actor.Fresh = s.lately(200), s.lately(50) },
		func(s *scene) { s.of(1, health); s.c.Actor.Sensitive = s.lately(200) },
	},
	"suspect-with-power":   {func(s *scene) { s.of(1, policy); s.c.Risk = 3 }, func(s *scene) { s.c.Risk = 3 }},
	"validators-off-hours": {func(s *scene) { s.of(1, validator); s.c.Now = night }, func(s *scene) { s.of(1, validator) }},
}

func TestDefaultRules(t *testing.T) {
	d := decoded(t, Build("rules", nil))
	held := func(change func(*scene)) uint64 {
		s := quiet()
		change(s)
		row := make([]int64, features.Count)
		features.Fill(row, s.facts, &s.c)
		return d.RuleSet().Judge(row).Held
	}
	if got := held(func(*scene) {}); got != 0 {
		t.Errorf("a quiet decision breaks rules %b", got)
	}
	if n := d.RuleSet().Len(); n != len(scenes) {
		t.Errorf("%d rules have %d scenes", n, len(scenes))
	}
	for i := range d.RuleSet().Len() {
		pair, ok := scenes[d.RuleSet().Name(i)]
		if !ok {
			t.Errorf("%s has no scene", d.RuleSet().Name(i))
			continue
		}
		if held(pair[0])&(1<<i) == 0 {
			t.Errorf("%s does not hold where it should", d.RuleSet().Name(i))
		}
		if held(pair[1])&(1<<i) != 0 {
			t.Errorf("%s holds where it should not", d.RuleSet().Name(i))
		}
	}
}

// TestRuleLifts: what a rule says is the least that the score is, and its reason is told.
func TestRuleLifts(t *testing.T) {
	d := decoded(t, Build("rules", nil))
	sc := quiet()
	sc.of(1, rails)
	sc.c.Now = night
	var s Scratch
	r, err := d.Score(&Inputs{Facts: sc.facts, Context: &sc.c, Cells: memory(t, d), Tick: 1}, &s)
	if err != nil || r.Score != 8500 || r.Drivers[0].Part != Rules || d.Ruling(r.Score) != chainv1.Ruling_RULING_HOLD {
		t.Fatalf("%+v %v", r, err)
	}
	v := r.Verdict(d.Ruling(r.Score))
	said, err := d.Explain(s.Row[:], v, 3)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"rule guard-rails-off-hours: guard rails are replaced at night", "(8500 of 10000)", "off-hours: yes", "guard-rails: 1"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in:\n%s", want, all)
		}
	}
}

// TestStreamsAloneDoNotHold: what was not calibrated on data does not reach the score from which a built detector holds.
func TestStreamsAloneDoNotHold(t *testing.T) {
	parts := DefaultBlend(nil).Parts
	for _, p := range parts[:len(parts)-1] {
		if most := p.Knots[len(p.Knots)-1].Points; most >= DefaultHold || p.Lifts {
			t.Errorf("%s reaches %d", p.Name, most)
		}
	}
	if p := parts[len(parts)-1]; p.Name != PartName(Rules) || !p.Lifts {
		t.Error("rules do not lift")
	}
}

// TestCalibrationIsThinned: a blend has fewer corners than a model may have, and keeps the outermost.
func TestCalibrationIsThinned(t *testing.T) {
	m := example(1, 1)
	m.Boosted.Calibration = &threatv1.Calibration{}
	for i := range int64(256) {
		m.Boosted.Calibration.Margin = append(m.Boosted.Calibration.Margin, i*i)
		m.Boosted.Calibration.Score = append(m.Boosted.Calibration.Score, uint32(i))
	}
	m.Forest.Calibration = &threatv1.Calibration{Margin: []int64{5}, Score: []uint32{700}}
	parts := decoded(t, Build("thin", m)).Message().Blend.Parts
	if k := parts[0].Knots; len(k) != 64 || k[0].Value != 0 || k[63].Value != 255*255 || k[63].Points != 255 {
		t.Errorf("%v", k)
	}
	if k := parts[1].Knots; len(k) != 2 || k[0].Points != 700 || k[1].Points != 700 {
		t.Errorf("%v", k)
	}
}

func TestSentences(t *testing.T) {
	d := decoded(t, Build("whole", example(3, 3)))
	for want, driver := range map[string]*chainv1.Driver{
		"it is like what was labelled as misuse when the trees were trained, above all by: signatures (9000 of 10000)":                                    {Part: Boosted, Feature: features.SignersFeature + 1, Points: 9000},
		"it is unlike what the forest was grown from (3 of 10000)":                                                                                        {Part: Forest, Points: 3},
		"the use of this resource by all is far from its usual pace: chi-squared 7 (0 of 10000)":                                                          {Part: MIDAS, Feature: 3, Value: 7<<16 + 5},
		"transactions like it are rare, especially its hour: 2.5 bits (0 of 10000)":                                                                       {Part: HalfSpace, Feature: 2, Value: 2*fixed.LogScale + fixed.LogScale/2},
		"it is more like the author's peers than like the author: -1.2 bits (0 of 10000)":                                                                 {Part: Peers, Value: -fixed.LogScale - fixed.LogScale/4},
		"a rule that this detector does not have":                                                                                                         {Part: Rules, Feature: 4_000_000_000},
		"a part that this detector does not have":                                                                                                         {Part: 99},
		"the author's use of this resource is far from its usual pace: chi-squared 0 (0 of 10000)":                                                        {Part: MIDAS, Value: -5},
		"what the author does has moved from what it was approved to do, especially its class: 0.0 bits (0 of 10000)":                                     {Part: Drift, Feature: 1},
		"it is unlike what the author does or was approved to do, especially its nature: 12.0 bits (10000 of 10000)":                                      {Part: Own, Feature: 12, Value: 12 * fixed.LogScale, Points: 10_000},
		"it is like what was labelled as misuse when the trees were trained (0 of 10000)":                                                                 {Part: Boosted, Feature: 60_000},
		"rule break-glass-by-suspect: emergency access is opened by somebody whom validators think a risk (9000 of 10000)":                                {Part: Rules, Feature: 1, Points: 9000},
		"what the author does is far from its usual pace: chi-squared 140737488355327 (0 of 10000)":                                                       {Part: MIDAS, Feature: 2, Value: 1<<63 - 1},
		"what the author does has moved from what it was approved to do: -2251799813685248.0 bits (0 of 10000)":                                           {Part: Drift, Value: -1 << 63},
		"it is unlike what the author does or was approved to do, especially its class: 2251799813685247.9 bits (4294967295 of 10000)":                    {Part: Own, Feature: 1, Value: 1<<63 - 1, Points: 1<<32 - 1},
		"it is more like the author's peers than like the author, especially its weekday: 0.1 bits (0 of 10000)":                                          {Part: Peers, Feature: 3, Value: 410},
		"transactions like it are rare: 0.0 bits (0 of 10000)":                                                                                            {Part: HalfSpace, Feature: 77},
		"it is unlike what the forest was grown from, above all by: uses of the resource by the author before it in the block (10000 of 10000)":           {Part: Forest, Feature: features.EdgeInBlockFeature + 1, Points: 10_000},
		"it is like what was labelled as misuse when the trees were trained, above all by: common risk of the author, 0 unknown to 4 severe (1 of 10000)": {Part: Boosted, Feature: features.RiskFeature + 1, Points: 1},
	} {
		if got := d.Sentence(driver); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	if d.Sentence(nil) == "" {
		t.Error("no driver has no sentence")
	}
	for want, c := range map[string]struct {
		feature int
		v       int64
	}{
		"not known": {features.KeyAgeFeature, trees.Missing}, "yes": {features.OffHoursFeature, 1}, "no": {features.AdministratorFeature, 0},
		"about 2 h": {features.KeyAgeFeature, fixed.Log2(2*features.Hour + 1)}, "about 31": {features.ActorHourFeature, 5 * fixed.LogScale},
		"about 400 days": {features.IdentityAgeFeature, fixed.Log2(400*features.Day + 1)}, "about 0 ms": {features.KeyAgeFeature, 0},
		"1.5 bits": {features.DriftFeature, 6144}, "break-glass": {features.ClassFeature, int64(features.ClassBreakGlass)}, "7": {features.MessagesFeature, 7}, "": {-1, 3},
	} {
		if got := Value(c.feature, c.v); got != want {
			t.Errorf("%d of feature %d is %q, want %q", c.v, c.feature, got, want)
		}
	}
}

func TestExplanationNamesValues(t *testing.T) {
	d := decoded(t, Build("whole", example(20, 5)))
	w := newWorld(t, d)
	var s Scratch
	w.run(t, 3, &s, func(_ *Inputs, r Result) {
		said, err := d.Explain(s.Row[:], r.Verdict(d.Ruling(r.Score)), 2)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, line := range said {
			if strings.HasPrefix(line, "boosted: ") && strings.Contains(line, ", which raised the margin by ") {
				n++
			}
		}
		if n < 1 || n > 2 {
			t.Errorf("%d reasons of the boosted trees:\n%s", n, strings.Join(said, "\n"))
		}
	})
	if _, err := d.Explain(s.Row[1:], nil, 2); err == nil {
		t.Error("a short row is explained")
	}
}
