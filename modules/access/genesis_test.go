package access

import (
	"encoding/json"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Genesis import is export, with every kind of record there, and what was imported
// works on.
func TestGenesis(t *testing.T) {
	w := newWorld(t).furnish()
	w.guardRails(`@id("rail") forbid (principal, action, resource) when { context.risk > 9999 };`)
	w.Do(hospital, &accessv1.SetSchema{Organisation: hospital, Schema: cedarText(strings.Replace(strictSchema, "risk: Long", "risk: Long, time: Long", 1))})
	w.consents.given[subject("p")] = 1
	granted := w.allowed(read(doctor, "patient"), "policy/permit")
	revoked := w.allowed(read(doctor, "open"), "policy/permit")
	w.Do(hospital, &accessv1.Revoke{DecisionId: revoked.Id, Reason: accessv1.RevocationReason_REVOCATION_REASON_MISTAKE})
	glass := chaintest.Response[accessv1.BreakGlassResponse](t, w.Do(nurse, emergency()))
	w.allowed(read(nurse, "patient"), "break-glass")
	w.Do(nurse, &accessv1.EndBreakGlass{Id: glass.Id})
	w.Do(reviewer, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	w.Do(nurse, emergency())
	w.Do(hospital, &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Ward", "7")}})
	w.endings[w.Height()+1] = [][]byte{consentOf(subject("p"))}
	w.Block()
	w.revokes(doctor, 2, 0)

	raw := w.CheckGenesis()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	var lists map[string][]json.RawMessage
	if err := json.Unmarshal(all["access"], &lists); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"organisations", "policies", "schemas", "settings", "guard_rails", "entities", "decisions", "ended_consents", "glasses", "ended_principals"} {
		if len(lists[f]) == 0 {
			t.Errorf("there is no record of %s", f)
		}
	}

	deps := Deps{Identity: w.identity, Consents: w.consents, Risks: w.risks}
	net := chaintest.New(t, chaintest.Config{Partial: true, Genesis: string(raw), Modules: func() []chain.Module {
		m := New(deps)
		return []chain.Module{m, &endings{access: m}}
	}})
	net.Now = w.Now
	again := &world{Net: net, t: t, identity: w.identity, consents: w.consents, risks: w.risks, module: w.module, queries: &queries{module: w.module, snapshots: net}}
	again.reproduce(again.decision(granted.Id))
	if s := again.state(again.decision(granted.Id)); s != accessv1.GrantState_GRANT_STATE_REVOKED {
		t.Fatalf("a revoked grant is %v after import", s)
	}
	again.allowed(read(nurse, "patient"), "break-glass")
	if d := again.allowed(read(doctor, "open"), "policy/permit"); d.Sequence != 5 {
		t.Fatalf("the next decision has sequence %d, want 5", d.Sequence)
	}
	if n := len(again.list(&accessv1.DecisionsRequest{By: &accessv1.DecisionsRequest_Organisation{Organisation: hospital}})); n != 5 {
		t.Fatalf("%d decisions are listed, want 5", n)
	}
	again.Fails(ErrGlassOpen, nurse, emergency())
}

// A genesis that the entry would refuse does not start a chain.
func TestGenesisIsChecked(t *testing.T) {
	for name, raw := range map[string]string{
		"not a genesis": `{"nothing":1}`,
		"policies":      `{"policies":[{"organisation":"did:chancery:mercy","version":"1","documents":[{"name":"a","text":"hello"}]}]}`,
		"guard rails":   `{"guardRails":[{"version":"1","documents":[{"name":"a","text":"permit (principal, action, resource);"}]}]}`,
		"schema":        `{"schemas":[{"organisation":"did:chancery:mercy","version":"1","schema":{"format":"SCHEMA_FORMAT_CEDAR","text":"hello"}}]}`,
		"settings":      `{"settings":[{"organisation":"did:chancery:mercy","version":"1","settings":{}}]}`,
		"entity":        `{"entities":[{"organisation":"did:chancery:mercy","version":"1","uid":{"type":"R","id":"1"},"json":"hello"}]}`,
		"other entity":  `{"entities":[{"organisation":"did:chancery:mercy","version":"1","uid":{"type":"R","id":"1"},"json":"{\"uid\":{\"type\":\"R\",\"id\":\"2\"},\"parents\":[],\"attrs\":{},\"tags\":{}}"}]}`,
		"no version":    `{"organisations":[{"organisation":"did:chancery:mercy","version":"1","policies":"1"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := tryGenesis(t, raw); err == nil {
				t.Fatal("it was accepted")
			}
		})
	}
}

// tryGenesis starts a chain with a section of the module.
func tryGenesis(t *testing.T, section string) error {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 100, ValueCache: 100})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Partial: true, Rand: strings.NewReader(strings.Repeat("x", 64)),
		Modules: []chain.Module{New(Deps{Identity: fakeIdentity{}, Consents: &fakeConsents{}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, json.RawMessage(`{"access":`+section+`}`))
	return err
}
