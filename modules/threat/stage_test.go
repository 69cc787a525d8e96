package threat

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Every pair of stages: the moves of the table and no other.
func TestStagesAndMoves(t *testing.T) {
	moves := map[threatv1.Stage]string{
		loadingStage: "retired", registeredStage: "shadow retired", shadowStage: "registered canary active retired",
		canaryStage: "registered shadow canary active retired",
	}
	names := map[string]threatv1.Stage{
		"registered": registeredStage, "shadow": shadowStage, "canary": canaryStage, "active": activeStage, "retired": retiredStage,
	}
	for from := range threatv1.Stage_name {
		from := threatv1.Stage(from)
		for name, to := range names {
			want := false
			for _, m := range bytes.Fields([]byte(moves[from])) {
				want = want || string(m) == name
			}
			if got := mayMove(from, to); got != want {
				t.Errorf("%s to %s: %v", from, to, got)
			}
		}
		if mayMove(from, loadingStage) || mayMove(from, threatv1.Stage_STAGE_UNSPECIFIED) {
			t.Errorf("%s to loading", from)
		}
	}
}

func TestSetModelStage(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	d.Fails(ErrNotConsortium, house, to(one, shadowStage))
	d.Fails(ErrNotFound, chaintest.Consortium, to(hashOf(nil), shadowStage))
	d.Fails(ErrModelStage, chaintest.Consortium, to(one, activeStage)) // not before it was seen in shadow
	d.Fails(ErrModelStage, chaintest.Consortium, to(one, canaryStage))
	for _, bad := range []*threatv1.SetModelStage{
		{Hash: one}, {Hash: one, Stage: loadingStage}, {Hash: one, Stage: 99}, {Hash: one[1:], Stage: shadowStage},
		{Hash: one, Stage: canaryStage}, {Hash: one, Stage: canaryStage, Share: whole + 1}, {Hash: one, Stage: shadowStage, Share: 1},
		{Hash: one, Stage: shadowStage, AtHeight: 1000}, {Hash: one, Stage: activeStage, AtHeight: -1},
	} {
		d.Fails(ErrInvalid, chaintest.Consortium, bad)
	}

	r := d.Do(chaintest.Consortium, to(one, shadowStage))
	if got := chaintest.Response[threatv1.SetModelStageResponse](t, r).Since; got != d.Height()+1 {
		t.Fatalf("since %d at %d", got, d.Height())
	}
	if e := soleEvent[threatv1.ModelStaged](t, r).Model; e.Stage != shadowStage || e.Since != d.Height()+1 || !e.EqualVT(d.model(one)) {
		t.Fatalf("event %v", e)
	}
	// Another one in shadow, and another canary, sends the first back.
	r = d.Do(chaintest.Consortium, to(two, shadowStage))
	if len(chaintest.Events[threatv1.ModelStaged](t, r)) != 2 {
		t.Fatal("two models moved")
	}
	d.wantStage(one, registeredStage)
	d.moves(one, shadowStage)
	d.moves(one, canaryStage)
	if got := d.model(one).Share; got != 2500 {
		t.Fatalf("share %d", got)
	}
	d.Do(chaintest.Consortium, &threatv1.SetModelStage{Hash: one, Stage: canaryStage, Share: 5000})
	if got := d.model(one).Share; got != 5000 {
		t.Fatalf("share %d", got)
	}
	d.wantStage(one, canaryStage)
	d.moves(two, shadowStage)
	d.moves(two, canaryStage)
	d.wantStage(one, registeredStage)
	if got := d.model(one).Share; got != 0 {
		t.Fatalf("share %d of a model that is no canary", got)
	}
	d.CheckGenesis()
	d.moves(two, retiredStage)
	if rec := d.model(two); rec.Loaded != 0 || len(d.m.modelBytes(d.View(), rec)) != 0 {
		t.Fatal("the bytes of a retired model are there")
	}
	if s := d.m.scheduleIn(d.View()); len(s.Canary) != 0 || len(s.Shadow) != 0 {
		t.Fatalf("schedule %v", s)
	}
	for _, s := range []threatv1.Stage{registeredStage, shadowStage, canaryStage, activeStage, retiredStage} {
		d.Fails(ErrModelStage, chaintest.Consortium, to(two, s))
	}
	d.CheckGenesis()
}

// A model becomes active at the beginning of the block that was named, not before.
func TestActivationAtAHeight(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	d.moves(one, shadowStage)
	r := d.Do(chaintest.Consortium, to(one, activeStage))
	if got := chaintest.Response[threatv1.SetModelStageResponse](t, r).Since; got != d.Height()+1 || d.model(one).Since != got {
		t.Fatalf("since %d, at %d", got, d.Height())
	}
	d.wantStage(one, activeStage) // for the next block
	d.Fails(ErrModelStage, chaintest.Consortium, to(one, registeredStage))
	d.Fails(ErrModelStage, chaintest.Consortium, to(one, retiredStage))

	d.moves(two, shadowStage)
	d.Fails(ErrTooLate, chaintest.Consortium, &threatv1.SetModelStage{Hash: two, Stage: activeStage, AtHeight: d.Height()})
	at := d.Height() + 4
	d.Do(chaintest.Consortium, &threatv1.SetModelStage{Hash: two, Stage: activeStage, AtHeight: at})
	d.CheckGenesis()
	for d.Height() < at-1 {
		d.wantStage(two, shadowStage)
		d.Block()
	}
	d.wantStage(two, activeStage)
	if rec := d.model(two); rec.Since != at {
		t.Fatalf("since %d, want %d", rec.Since, at)
	}
	d.wantStage(one, registeredStage)
	s := d.m.scheduleIn(d.View())
	if !bytes.Equal(s.Active, two) || !bytes.Equal(s.Previous, one) || len(s.Next) != 0 || s.NextHeight != 0 || len(s.Shadow) != 0 {
		t.Fatalf("schedule %v", s)
	}
	d.CheckGenesis()
}

func TestAnotherMoveCancelsAnActivation(t *testing.T) {
	d := newDesk(t)
	one := d.registers(rawDetector(t, "one"))
	d.moves(one, shadowStage)
	for _, s := range []threatv1.Stage{canaryStage, shadowStage, registeredStage} {
		at := d.Height() + 3
		d.Do(chaintest.Consortium, &threatv1.SetModelStage{Hash: one, Stage: activeStage, AtHeight: at})
		d.moves(one, s)
		for d.Height() < at+1 {
			d.Block()
		}
		d.wantStage(one, s)
	}
}

// Whatever is asked of models in whatever order: the schedule and the stages agree,
// bytes are there unless a model is retired or loading, and retired is the end.
func TestModelsKeepTheirPromises(t *testing.T) {
	raws := [][]byte{rawDetector(t, "a"), rawDetector(t, "b"), rawDetector(t, "c")}
	seen := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		d := openDesk(t, &threatv1.Genesis{
			Params: deskParams(), Models: []*threatv1.GenesisModel{{Bytes: raws[0]}, {Bytes: raws[1]}},
			Schedule: &threatv1.Schedule{Active: hashOf(raws[0]), Shadow: hashOf(raws[1])},
		})
		ended := map[string]bool{}
		for range rapid.IntRange(5, 25).Draw(rt, "steps") {
			raw := rapid.SampledFrom(raws).Draw(rt, "which")
			hash := hashOf(raw)
			var msg proto.Message
			switch rapid.IntRange(0, 8).Draw(rt, "what") {
			case 0:
				msg = &threatv1.RegisterModel{Hash: hash, Size: uint32(len(raw))}
			case 1:
				msg = &threatv1.AddModelChunk{Hash: hash, Bytes: raw}
			case 2:
				msg = &threatv1.RollBack{}
			default:
				stages := []threatv1.Stage{registeredStage, shadowStage, shadowStage, canaryStage, canaryStage, activeStage, activeStage, activeStage, retiredStage}
				m := to(hash, rapid.SampledFrom(stages).Draw(rt, "stage"))
				if m.Stage == activeStage && rapid.Bool().Draw(rt, "later") {
					m.AtHeight = d.Height() + rapid.Int64Range(1, 4).Draw(rt, "height")
				}
				msg = m
			}
			r := d.Block(d.Tx(chaintest.Consortium, protoList(msg)))[0]
			seen[fmt.Sprintf("%T %v", msg, r.Code == 0)]++
			if r.Code == errs.Internal {
				rt.Fatal(r.Log)
			}
			auditModels(rt, d, ended)
		}
	})
	for _, kind := range []string{"RegisterModel", "AddModelChunk", "RollBack", "SetModelStage"} {
		for _, ok := range []bool{true, false} {
			if seen[fmt.Sprintf("*threatv1.%s %v", kind, ok)] == 0 {
				t.Errorf("%s %v never happened: too little was tried", kind, ok)
			}
		}
	}
}

func auditModels(t *rapid.T, d *desk, ended map[string]bool) {
	r := d.View()
	s := d.m.scheduleIn(r)
	for hash, rec := range d.m.models.Walk(r, state.All()) {
		if want := stageIn(s, hash); want != rec.Stage && (staged(want) || staged(rec.Stage)) {
			t.Fatalf("%s is %s, and by the schedule %s", rec.Name, rec.Stage, want)
		}
		if raw := d.m.modelBytes(r, rec); bytes.Equal(hashOf(raw), hash) == (rec.Stage == retiredStage || rec.Stage == loadingStage) {
			t.Fatalf("%s is %s and has %d bytes", rec.Name, rec.Stage, len(raw))
		}
		if ended[string(hash)] && rec.Stage != retiredStage {
			t.Fatalf("%s was retired and is %s", rec.Name, rec.Stage)
		}
		ended[string(hash)] = rec.Stage == retiredStage
		if (rec.Share > 0) != (rec.Stage == canaryStage) || rec.Since > d.Height()+1 {
			t.Fatalf("record %v", rec)
		}
	}
	for _, hash := range [][]byte{s.Active, s.Previous, s.Next, s.Canary, s.Shadow} {
		if rec, ok := d.m.models.Lookup(r, hash); len(hash) > 0 && (!ok || rec.Stage == retiredStage || rec.Stage == loadingStage) {
			t.Fatalf("the schedule names %v", rec)
		}
	}
	if len(s.Active) > 0 && bytes.Equal(s.Active, s.Previous) || (len(s.Next) > 0) != (s.NextHeight > d.Height()) {
		t.Fatalf("schedule %v at %d", s, d.Height())
	}
	if c := d.m.choose(r); (c.active != nil) != (len(s.Active) > 0) || (c.canary != nil) != (len(s.Canary) > 0) || (c.shadow != nil) != (len(s.Shadow) > 0) {
		t.Fatalf("schedule %v, chosen %v", s, c)
	}
}
