//go:build linux

package perturb

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/testnet"

	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

func TestASeedDecidesThePlan(t *testing.T) {
	for _, set := range []Set{V1, V2} {
		t.Run(set.name, func(t *testing.T) { seedDecides(t, set) })
	}
}

// What was run is repeated by its seed as long as the plans of the first set stay.
func TestSeedsOfTheFirstSetKeepTheirPlans(t *testing.T) {
	all := sha256.New()
	for seed := range uint64(502) {
		p := NewPlan(seed, 8*time.Second, V1)
		raw, err := json.Marshal(p.Steps)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(all, "%s %s\n", p.Mode, raw)
	}
	const want = "8b5fe62d6711c1496f33789f05ed2b52ade5ae000314101cd03e2a2b716b503b"
	if got := fmt.Sprintf("%x", all.Sum(nil)); got != want {
		t.Errorf("the plans of seeds 0 to 501 are %s, want %s", got, want)
	}
}

func TestASetIsNamedByItsFaults(t *testing.T) {
	s, err := NewSet("clock-skew,swap")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(100) {
		for _, step := range NewPlan(seed, 8*time.Second, s).Steps {
			if step.Fault != ClockSkew && step.Fault != Swap {
				t.Errorf("seed %d: %v", seed, step)
			}
		}
	}
	for _, name := range []string{"", "v3", "kill,", "earthquake"} {
		if _, err := NewSet(name); err == nil {
			t.Errorf("%q is a set", name)
		}
	}
	if v1, err := NewSet("v1"); err != nil || !reflect.DeepEqual(v1, V1) {
		t.Error(v1, err)
	}
}

func seedDecides(t *testing.T, set Set) {
	faults, modes := make(map[Fault]bool), make(map[Mode]bool)
	for seed := range uint64(200) {
		p := NewPlan(seed, 8*time.Second, set)
		if !reflect.DeepEqual(p, NewPlan(seed, 8*time.Second, set)) {
			t.Fatalf("seed %d has two plans", seed)
		}
		modes[p.Mode] = true
		total := time.Duration(0)
		for _, s := range p.Steps {
			faults[s.Fault] = true
			total += s.For + s.Rest
			switch {
			case p.Mode == Halves && len(s.Victims) != 2, p.Mode != Halves && len(s.Victims) != 1:
				t.Errorf("seed %d, %s: %v", seed, p.Mode, s)
			case p.Mode == Minority && s.Victims[0] != p.Steps[0].Victims[0]:
				t.Errorf("seed %d disturbs more than one validator", seed)
			}
		}
		if total < 8*time.Second || total > 16*time.Second {
			t.Errorf("seed %d takes %v", seed, total)
		}
	}
	for _, f := range set.single {
		if !faults[f] {
			t.Errorf("no seed has %s", f)
		}
	}
	if len(modes) != 3 {
		t.Errorf("modes %v", modes)
	}
}

func TestEveryCheckFindsWhatItIsFor(t *testing.T) {
	sound := func() (*run, []map[int64]block) {
		r := &run{result: new(Result), load: new(load)}
		var chains []map[int64]block
		for range Validators {
			chains = append(chains, map[int64]block{
				1: {header: "A", app: "0", record: "a", txs: []string{"x", "y"}},
				2: {header: "B", app: "1", record: "b", txs: []string{"z"}},
			})
		}
		r.load.acks = []acknowledged{{"y", 1, 1}, {"z", 2, 0}}
		return r, chains
	}
	for name, c := range map[string]struct {
		spoil func(*run, []map[int64]block)
		want  string
	}{
		"nothing":             {func(*run, []map[int64]block) {}, ""},
		"another header":      {func(_ *run, c []map[int64]block) { c[2][2] = block{header: "C", record: "b", txs: c[2][2].txs} }, "validator 2 has header C"},
		"another record":      {func(_ *run, c []map[int64]block) { c[3][1] = block{header: "A", record: "c"} }, "record of block 1 differs on validator 3"},
		"twice":               {func(_ *run, c []map[int64]block) { c[0][2] = block{header: "B", record: "b", txs: []string{"z", "x"}} }, "is in block 1 at 0 and in block 2 at 1"},
		"lost":                {func(r *run, _ []map[int64]block) { r.load.acks = append(r.load.acks, acknowledged{"w", 2, 1}) }, "is in no block"},
		"elsewhere":           {func(r *run, _ []map[int64]block) { r.load.acks[0].height = 2 }, "acknowledged for block 2 at 1, is in block 1 at 1"},
		"begun at a snapshot": {func(_ *run, c []map[int64]block) { delete(c[1], 1) }, ""},
	} {
		r, chains := sound()
		c.spoil(r, chains)
		r.agree(chains, chains[0])
		r.onceEach(chains[0], 2)
		if got := strings.Join(r.result.Violations, "\n"); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	all := []told{{1, 0, "a"}, {1, 1, "b"}, {2, 0, "c"}}
	for name, got := range map[string][]told{"gap": {all[0], all[2]}, "repeat": {all[0], all[1], all[1], all[2]}, "end": all[:2], "more": append(all[:3:3], told{3, 0, "d"})} {
		if differ(got, all) == "" {
			t.Errorf("a stream with a %s passes", name)
		}
	}
	if fault := differ(all, all); fault != "" {
		t.Error(fault)
	}
}

func TestWhoLiesIsNamedAndNobodyElse(t *testing.T) {
	r := &run{record: new(testnet.Record)}
	for _, who := range []string{"a", "b", "c", "d"} {
		r.record.Validators = append(r.record.Validators, testnet.Validator{Organisation: who})
	}
	event := func(kind string, m proto.Message) told {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return told{event: fmt.Sprintf(" %s %x", kind, raw)}
	}
	lied := func(who string) told {
		return event("chancery.threat.v1.ProposerAccused", &threatv1.ProposerAccused{Organisation: who})
	}
	twice := func(who string) told {
		return event("chancery.governance.v1.Misbehaved", &governancev1.Misbehaved{Offence: &governancev1.Offence{Organisation: who}})
	}
	often := func(l lie) (out []lie) {
		for range liesToName {
			out = append(out, l)
		}
		return out
	}
	for name, c := range map[string]struct {
		told             []lie
		events           []told
		missing, wronged int
	}{
		"nothing":                  {},
		"a proposer is named":      {often(lie{1, "order", 5}), []told{lied("b")}, 0, 0},
		"a proposer is not":        {often(lie{1, "order", 5}), nil, 1, 0},
		"another is":               {often(lie{1, "order", 5}), []told{lied("c")}, 1, 1},
		"one lie may come late":    {[]lie{{1, "order", 5}}, nil, 0, 0},
		"a censor need not be":     {often(lie{1, "censor", 5}), nil, 0, 0},
		"two votes are named":      {often(lie{2, "double-prevote", 5}), []told{twice("c")}, 0, 0},
		"two votes are not":        {often(lie{2, "double-precommit", 5}), []told{lied("c")}, 1, 1},
		"slander names nobody":     {often(lie{0, "slander", 5}), nil, 0, 0},
		"slander is believed":      {often(lie{0, "slander", 5}), []told{lied("b"), lied("c")}, 0, 2},
		"an honest one voted once": {nil, []told{twice("a")}, 0, 1},
	} {
		must, may := r.expected(c.told)
		named, err := accusations(c.events)
		if err != nil {
			t.Fatal(err)
		}
		if missing, wronged := unnamed(must, named), unnamed(named, may); len(missing) != c.missing || len(wronged) != c.wronged {
			t.Errorf("%s: not named %v, named wrongly %v", name, missing, wronged)
		}
	}
}

func TestABlockInWhichItsProposerLiedIsFound(t *testing.T) {
	dir := t.TempDir()
	r := &run{net: &testnet.Network{Dir: testnet.Dir(dir)}, result: new(Result)}
	if err := os.WriteFile(r.lies(1)+".told", []byte("order 5\ncensor 6\nphantoms 7\norder 8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	blocks := make(map[int64]block)
	for h := int64(5); h <= 7; h++ {
		blocks[h] = block{proposer: "B"}
	}
	blocks[8] = block{proposer: "A"}
	r.refused(blocks, [Validators]string{"A", "B", "C", "D"})
	if got := r.result.Violations; len(got) != 1 || !strings.Contains(got[0], "block 5 of validator 1") {
		t.Errorf("found %q", got)
	}
}
