package scenarios

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

func planOf(t *testing.T, o Options) *Plan {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// written is a plan as a file.
func written(t *testing.T, p *Plan, keep func(*Action) bool) []byte {
	t.Helper()
	var b bytes.Buffer
	for a := range p.Actions() {
		if keep == nil || keep(a) {
			if err := a.Write(&b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.Bytes()
}

func TestOneSeedGivesOnePlan(t *testing.T) {
	p := planOf(t, Options{Seed: 7, Days: 10, Attacks: Kinds()})
	sum := sha256.Sum256(written(t, p, nil))
	if again := sha256.Sum256(written(t, p, nil)); again != sum {
		t.Fatal("a second pass over the same plan gives other bytes")
	}
	got := hex.EncodeToString(sum[:]) + "\n"
	golden := filepath.Join("testdata", "plan.sha256")
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the plan's SHA-256 is %s, want %s", got, want)
	}
}

func TestAnotherSeedGivesAnotherPlan(t *testing.T) {
	a := written(t, planOf(t, Options{Seed: 1, Days: 3}), nil)
	b := written(t, planOf(t, Options{Seed: 2, Days: 3}), nil)
	if bytes.Equal(a, b) {
		t.Error("two seeds give one plan")
	}
}

func TestLifeIsTheSameWithAndWithoutAttacks(t *testing.T) {
	quiet := written(t, planOf(t, Options{Seed: 3, Days: 15}), nil)
	normal := written(t, planOf(t, Options{Seed: 3, Days: 15, Attacks: Kinds(), Campaigns: 2}), func(a *Action) bool { return a.Campaign == "" })
	if !bytes.Equal(quiet, normal) {
		t.Error("normal life differs when there are attacks")
	}
}

func TestLabelsFitTogether(t *testing.T) {
	for seed := range uint64(4) {
		p := planOf(t, Options{Seed: seed, Days: 21, Attacks: Kinds(), Campaigns: 3})
		last, harmful := int64(0), map[string]int{}
		from := p.o.Start + int64(p.o.Warmup)*day
		for a := range p.Actions() {
			if a.At < last {
				t.Fatalf("seed %d: %d after %d", seed, a.At, last)
			}
			last = a.At
			switch {
			case a.Harmful && a.Attack == None:
				t.Fatalf("seed %d: harmful and no attack: %+v", seed, a)
			case a.Attack != None && !strings.HasPrefix(a.Campaign, a.Attack.String()+"/"):
				t.Fatalf("seed %d: %s in campaign %q", seed, a.Attack, a.Campaign)
			case a.Attack != None && a.At < from:
				t.Fatalf("seed %d: %s within the warm-up", seed, a.Campaign)
			case len(a.Signers) == 0 || len(a.Messages) == 0 || len(a.Makes) > len(a.Messages):
				t.Fatalf("seed %d: incomplete: %+v", seed, a)
			}
			if a.Harmful {
				harmful[a.Campaign]++
			}
		}
		if len(harmful) != 3*len(Kinds()) {
			t.Errorf("seed %d: %d campaigns do harm, want %d", seed, len(harmful), 3*len(Kinds()))
		}
		for _, k := range Kinds() {
			for n := range 3 {
				if name := fmt.Sprintf("%s/%d", k, n+1); harmful[name] == 0 {
					t.Errorf("seed %d: nothing of %s", seed, name)
				}
			}
		}
		for name, n := range harmful {
			if n < 3 {
				t.Errorf("seed %d: %s has %d harmful transactions", seed, name, n)
			}
		}
	}
}

// Every plan executes: nothing is refused at the door, few transactions of normal life
// fail, and attacks do what they are labelled with.
func TestPlansExecute(t *testing.T) {
	p := planOf(t, Options{Seed: 11, Days: 8, Life: 0.25, Force: 0.4, Warmup: 2, Campaigns: 1, Attacks: Kinds()})
	normal, failed, hit := 0, 0, map[string]int{}
	report, err := Run(t.Context(), p, RunOptions{}, func(o *Outcome) error {
		switch {
		case o.Refused != nil:
			t.Errorf("refused: %T of %s: %v", o.Messages[0], o.Author, o.Refused)
		case o.Campaign == "":
			normal++
			if o.Result.Code != 0 {
				failed++
			}
		case o.Harmful && o.Result.Code == 0:
			hit[o.Campaign]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Refused != 0 || normal < 1000 || failed == 0 || failed*100 >= 3*normal {
		t.Errorf("%+v, of %d normal transactions %d failed", report, normal, failed)
	}
	for _, k := range Kinds() {
		if hit[k.String()+"/1"] < 3 {
			t.Errorf("%s: %d harmful transactions had an effect", k, hit[k.String()+"/1"])
		}
	}
}

func TestActionsAreReadBack(t *testing.T) {
	raw := written(t, planOf(t, Options{Seed: 5, Days: 4, Warmup: 1, Attacks: []Kind{ConsentForgery}}), nil)
	var again bytes.Buffer
	for l := range bytes.Lines(raw) {
		a, err := ParseAction(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Write(&again); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(raw, again.Bytes()) {
		t.Error("a plan that is read and written is another")
	}
	for _, bad := range []string{``, `{}x`, `{"at":1,"other":2}`, `{"attack":"all"}`, `{"messages":["AA=="]}`} {
		if _, err := ParseAction([]byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

func TestResolveLeavesTheActionAsItIs(t *testing.T) {
	p := planOf(t, Options{Seed: 5, Days: 9})
	names := Names{}
	for a := range p.Actions() {
		for _, standIn := range a.Makes {
			if standIn != nil {
				names[[32]byte(standIn)] = bytes.Repeat([]byte{7}, 32)
			}
		}
	}
	changed := 0
	for a := range p.Actions() {
		before := make([]proto.Message, len(a.Messages))
		for i, m := range a.Messages {
			before[i] = proto.Clone(m)
		}
		for i, m := range names.Resolve(a.Messages) {
			if !proto.Equal(m, before[i]) {
				changed++
			}
			if !proto.Equal(a.Messages[i], before[i]) {
				t.Fatalf("Resolve changed %v", before[i])
			}
		}
	}
	if changed == 0 {
		t.Error("nothing refers to anything")
	}
}

func TestParseKinds(t *testing.T) {
	for text, want := range map[string][]Kind{
		"all": Kinds(), "none": nil, "": nil, "burst, burst,credential-theft": {CredentialTheft, Burst},
	} {
		if got, err := ParseKinds(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"theft", "none,burst", ","} {
		if got, err := ParseKinds(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{}, {Days: MaxDays + 1}, {Days: 3, Warmup: 3}, {Days: 3, Life: -1}, {Days: 3, Force: 1000}, {Days: 3, Organisations: 3},
		{Days: 3, Organisations: 8}, {Days: 3, Campaigns: MaxCampaigns + 1}, {Days: 3, Sites: make([]Site, 2)},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestShiftsAreAsLongAsTheySay(t *testing.T) {
	c := newCalendar(DefaultStart, 60, stream(1, "calendar"))
	hours := map[rota]float64{office: 8, wardShifts: 12, rotating: 8}
	for k, want := range hours {
		n := 0
		for d := range 56 {
			from, to, ok := c.shift(k, 3, d)
			if !ok {
				continue
			}
			n++
			if got := float64(to-from) / float64(hour); got != want {
				t.Errorf("rota %d: %v hours, want %v", k, got, want)
			}
			if _, _, on := c.onShift(k, 3, from+hour); !on {
				t.Errorf("rota %d: not on shift an hour after its begin", k)
			}
		}
		if n < 24 || n > 42 {
			t.Errorf("rota %d: %d shifts in eight weeks", k, n)
		}
	}
}

// On organisations that exist already, everything that somebody does who is not
// registered by the plan itself is signed with the sites' keys.
func TestSitesActForThemselves(t *testing.T) {
	var sites []Site
	for i := range 4 {
		org := fmt.Sprintf("did:chancery:member-%d", i)
		sites = append(sites, Site{
			Organisation: org, Needed: 1, Administrators: []Holder{{org + ":a", org + ":a#key-1"}}, Registrar: Holder{org + ":r", org + ":r#key-1"},
		})
	}
	p := planOf(t, Options{Seed: 1, Days: 2, Sites: sites, Attacks: Kinds()})
	if _, err := p.Founding(); err == nil {
		t.Error("organisations that exist have a genesis")
	}
	if _, err := Run(t.Context(), p, RunOptions{}, nil); err == nil {
		t.Error("a plan for organisations that exist runs on a chain of its own")
	}
	known := map[string]bool{}
	for _, s := range sites {
		known[s.Administrators[0].Key], known[s.Registrar.Key] = true, true
	}
	for a := range p.Actions() {
		for _, m := range a.Messages {
			switch m := m.(type) {
			case *identityv1.RegisterIdentity:
				known[m.Identity.Did+"#"+m.Identity.Keys[0].Id] = true
			case *identityv1.RotateKey:
				known[m.Did+"#"+m.NewKey.Id] = true
			}
		}
		for _, url := range a.Signers {
			if !known[url] {
				t.Fatalf("%s signs and was never registered: %s", url, a.Author)
			}
		}
	}
}

// With the sentinel at work each transaction has a verdict and a row, and what is held
// is not executed.
func TestTheSentinelSeesEverything(t *testing.T) {
	probe, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	section, err := Sentinel(probe, false)
	if err != nil {
		t.Fatal(err)
	}
	p := planOf(t, Options{Seed: 2, Days: 2, Life: 0.2, Warmup: 1, Force: 0.3, Attacks: []Kind{Burst}})
	seen := 0
	if _, err := Run(t.Context(), p, RunOptions{Genesis: map[string]json.RawMessage{"threat": section}}, func(o *Outcome) error {
		if o.Refused != nil || o.Result.Verdict == nil || len(o.Result.Row) != features.Count {
			t.Fatalf("%v %v", o.Refused, o.Result)
		}
		for _, d := range o.Result.Verdict.Drivers {
			if d.Part == detector.MIDAS {
				seen++
			}
			if Reason(d) == "unknown" {
				t.Errorf("nothing is known of %v", d)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("MIDAS never says anything")
	}
}

func TestReasonTakesAnyDriver(t *testing.T) {
	for part := range uint32(12) {
		for _, feature := range []uint32{0, 1, 5, 70, 1 << 31} {
			if Reason(&chainv1.Driver{Part: part, Feature: feature}) == "" {
				t.Errorf("part %d, feature %d: no words", part, feature)
			}
		}
	}
}

// Nobody acts on what an earlier action was to make and did not, as when it was held;
// what no action was to make is somebody's mistake, and is executed.
func TestNobodyActsOnWhatDidNotComeToBe(t *testing.T) {
	id := bytes.Repeat([]byte{7}, 32)
	a := &Action{Messages: []proto.Message{&consentv1.Withdraw{Id: id}}}
	names, meant := Names{}, map[[32]byte]bool{}
	if lacks(a, names, meant) {
		t.Error("a mistake is left out")
	}
	meant[[32]byte(id)] = true
	if !lacks(a, names, meant) {
		t.Error("a consent that was never recorded is withdrawn")
	}
	names[[32]byte(id)] = []byte{1}
	if lacks(a, names, meant) {
		t.Error("a consent that was recorded is not withdrawn")
	}
}
