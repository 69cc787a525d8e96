package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// sampled is a CPU profile with so many nanoseconds of each stack, innermost function first.
func sampled(t *testing.T, stacks map[string]int64) *bytes.Buffer {
	t.Helper()
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}}}
	for stack, ns := range stacks {
		s := &profile.Sample{Value: []int64{1, ns}}
		for name := range strings.SplitSeq(stack, " ") {
			f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
			l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			s.Location = append(s.Location, l)
		}
		p.Sample = append(p.Sample, s)
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Time belongs to the innermost function that has a part: a library's to who called it,
// a signature's to signatures although the pool had it checked.
func TestSharesAreOfTheInnermostPart(t *testing.T) {
	got, err := shares(sampled(t, map[string]int64{
		"crypto/sha512.block github.com/chancery/chancery/chain/keys.Verify github.com/chancery/chancery/consensus.(*Pool).admit":                    400,
		"runtime.memmove github.com/cockroachdb/pebble.(*DB).Get github.com/cosmos/iavl.(*Node).get github.com/chancery/chancery/chain.(*App).Apply": 300,
		"runtime.mallocgc github.com/chancery/chancery/modules/threat/trees.Score github.com/chancery/chancery/modules/access.Decide":                200,
		"runtime.scanobject runtime.gcAssistAlloc runtime.mallocgc github.com/chancery/chancery/modules/threat/trees.Score":                          50,
		"syscall.Write net.(*conn).Write github.com/cometbft/cometbft/p2p/transport/tcp/conn.(*MConnection).flush":                                   25,
		"runtime.futex example.org/unknown.Function": 25,
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"signatures of transactions": 0.4, "state and its tree": 0.3, "scoring": 0.2, "garbage collection": 0.05, "engine: gossip": 0.025, rest: 0.025,
	}
	if len(got) != len(want) {
		t.Errorf("parts %v", got)
	}
	for name, share := range want {
		if math.Abs(got[name]-share) > 1e-9 {
			t.Errorf("%s has %v, want %v", name, got[name], share)
		}
	}
	if _, err := shares(sampled(t, nil)); err == nil {
		t.Error("a profile without samples has shares")
	}
}

// The table is there where profiles were taken, a column for each case.
func TestCostsAreOfEveryProfiledCase(t *testing.T) {
	s := made(ours, 0, 1000, 1000, 1000)
	for i := range s.Rounds {
		s.Rounds[i].Shares = map[string]float64{"scoring": 0.25}
		s.Rounds[i].Closed.CPU = 400 // of all four validators
	}
	text := newReport([]*series{s, made(theirs, 0, 1, 1, 1)}, options{}).markdown()
	for _, want := range []string{"| part | chancery-memory |\n", "| scoring | 25.0 (25.0–25.0) |\n", "| **together** | 100.0 (100.0–100.0) |\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if text := newReport([]*series{made(ours, 0, 1)}, options{}).markdown(); strings.Contains(text, "| part |") {
		t.Error("there are costs of what was not profiled")
	}
}
