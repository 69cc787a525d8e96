package threat

import (
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// A genesis by hand gives bytes and a schedule.
func TestModelsWithoutRecords(t *testing.T) {
	one, two, three := rawDetector(t, "one"), rawDetector(t, "two", manyRules), rawDetector(t, "three")
	d := openDesk(t, &threatv1.Genesis{
		Params: deskParams(), Models: []*threatv1.GenesisModel{{Bytes: one}, {Bytes: two}, {Bytes: three}},
		Schedule: &threatv1.Schedule{Active: hashOf(one), Shadow: hashOf(two)},
	})
	d.wantStage(hashOf(one), activeStage)
	d.wantStage(hashOf(two), shadowStage)
	d.wantStage(hashOf(three), registeredStage)
	if rec := d.model(hashOf(two)); rec.Name != "two" || rec.Author != chaintest.Consortium || rec.Loaded != 3 {
		t.Fatalf("record %v", rec)
	}
	if c := d.m.choose(d.View()); nameOfLoaded(c.active) != "one" || nameOfLoaded(c.shadow) != "two" {
		t.Fatalf("chosen %v", c)
	}
	d.CheckGenesis()
}

func TestModelsGenesisIsChecked(t *testing.T) {
	d := newDesk(t)
	one, two := d.registers(rawDetector(t, "one")), d.registers(rawDetector(t, "two"))
	three := hashOf([]byte{1})
	d.Do(chaintest.Consortium, &threatv1.RegisterModel{Hash: three, Size: 3})
	d.moves(one, shadowStage, activeStage)
	d.moves(two, shadowStage, canaryStage)
	d.step(func(ctx *chain.Ctx, m *Module) error {
		m.count(ctx, []modelTally{{hash: one, scored: 1}})
		return nil
	})
	for name, change := range map[string]func(byHash map[string]*threatv1.GenesisModel, s *threatv1.Schedule){
		"nothing":              nil,
		"other bytes":          func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(one)].Bytes[3] ^= 1 },
		"fewer bytes":          func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(one)].Bytes = nil },
		"bytes of one loading": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(three)].Bytes = []byte{1} },
		"complete and loading": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) {
			m[string(three)].Bytes, m[string(three)].Record.Loaded = []byte{1, 2, 3}, 1
		},
		"stage and schedule": func(_ map[string]*threatv1.GenesisModel, s *threatv1.Schedule) { s.Active, s.Previous = nil, nil },
		"two in one place": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) {
			m[string(two)].Record.Stage, m[string(two)].Record.Share = activeStage, 0
		},
		"unknown in schedule":    func(_ map[string]*threatv1.GenesisModel, s *threatv1.Schedule) { s.Next = hashOf(nil) },
		"loading in schedule":    func(_ map[string]*threatv1.GenesisModel, s *threatv1.Schedule) { s.Previous = three },
		"canary without a share": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(two)].Record.Share = 0 },
		"bands": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) {
			m[string(one)].Record.Counts.Bands = nil
		},
		"no stage": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(three)].Record.Stage = 0 },
		"short hash": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) {
			m[string(three)].Record.Hash = three[1:]
		},
		"twice":  func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(three)].Record.Hash = one },
		"chunks": func(m map[string]*threatv1.GenesisModel, _ *threatv1.Schedule) { m[string(one)].Record.Chunks = 7 },
		"retired with bytes": func(m map[string]*threatv1.GenesisModel, s *threatv1.Schedule) {
			m[string(two)].Record.Stage, m[string(two)].Record.Share, s.Canary = retiredStage, 0, nil
		},
		"no bytes, no record": func(m map[string]*threatv1.GenesisModel, s *threatv1.Schedule) { m[string(three)].Record = nil },
	} {
		t.Run(name, func(t *testing.T) {
			models, s := d.m.exportModels(d.View())
			byHash := map[string]*threatv1.GenesisModel{}
			for _, m := range models {
				byHash[string(m.Record.Hash)] = m
			}
			if change != nil {
				change(byHash, s)
			}
			fresh := newDesk(t)
			r := fresh.step(func(ctx *chain.Ctx, m *Module) error { return m.importModels(ctx, models, s) })
			if (r.Code == 0) != (change == nil) {
				t.Fatalf("import: %d %s", r.Code, r.Log)
			}
			if r.Code != 0 && r.Codespace != "threat" {
				t.Fatalf("import: %s", r.Log)
			}
		})
	}
}
