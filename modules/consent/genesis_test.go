package consent

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"fmt"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func TestGenesisImportIsExport(t *testing.T) {
	n := newNet(t)
	ids := everyKind(n)
	raw := n.CheckGenesis()
	g := section(t, raw)
	if len(g.Records) != len(ids) {
		t.Fatalf("%d records exported, want %d", len(g.Records), len(ids))
	}
	seen := map[consentv1.Status]bool{}
	for _, rec := range g.Records {
		seen[rec.Status] = true
	}
	for s := range consentv1.Status_name {
		if s != 0 && !seen[consentv1.Status(s)] {
			t.Errorf("no record is %s", consentv1.Status(s))
		}
	}
	if len(g.History) == 0 || len(g.Delegations) != 2 || len(g.Dossiers) != 6 {
		t.Fatalf("%d versions, %d delegations, %d dossiers", len(g.History), len(g.Delegations), len(g.Dossiers))
	}
	// The state that the import built is the state that was exported, indexes included.
	other := chaintest.New(t, chaintest.Config{Partial: true, Genesis: string(raw), Modules: func() []chain.Module {
		return []chain.Module{New(Deps{Identity: people{}})}
	}})
	if got, want := dump(other), dump(n.Net); got != want {
		t.Fatalf("state differs after import:\n%s\n%s", got, want)
	}
}

func section(t *testing.T, raw json.RawMessage) *consentv1.Genesis {
	t.Helper()
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sections); err != nil {
		t.Fatal(err)
	}
	g := new(consentv1.Genesis)
	if err := chain.ReadGenesis(sections["consent"], g); err != nil {
		t.Fatal(err)
	}
	return g
}

// dump is the module's state as text.
func dump(n *chaintest.Net) string {
	var out strings.Builder
	for k, v := range n.View().Walk([]byte{prefix}, []byte{prefix + 1}, false) {
		fmt.Fprintf(&out, "%x %x\n", k, v)
	}
	return out.String()
}

func TestGenesisRefusesWhatDoesNotBelongTogether(t *testing.T) {
	n := newNet(t)
	everyKind(n)
	raw := n.CheckGenesis()
	for name, spoil := range map[string]func(*consentv1.Genesis){
		"record twice":         func(g *consentv1.Genesis) { g.Records = append(g.Records, g.Records[0]) },
		"record gone":          func(g *consentv1.Genesis) { g.Records = g.Records[1:] },
		"version gone":         func(g *consentv1.Genesis) { g.History = g.History[1:] },
		"version twice":        func(g *consentv1.Genesis) { g.History = append(g.History, g.History[0]) },
		"dossier gone":         func(g *consentv1.Genesis) { g.Dossiers = g.Dossiers[1:] },
		"dossier twice":        func(g *consentv1.Genesis) { g.Dossiers = append(g.Dossiers, g.Dossiers[0]) },
		"dossier lists less":   func(g *consentv1.Genesis) { longest(g).Consents = longest(g).Consents[1:] },
		"dossier lists others": func(g *consentv1.Genesis) { longest(g).Consents = append(longest(g).Consents, digest("x")) },
		"delegation twice":     func(g *consentv1.Genesis) { g.Delegations = append(g.Delegations, g.Delegations[0]) },
		"no terms":             func(g *consentv1.Genesis) { g.Records[0].Terms = nil },
		"special unmarked":     func(g *consentv1.Genesis) { g.Records[0].Terms.Categories[0].Special = false }, // law 8
	} {
		t.Run(name, func(t *testing.T) {
			g := section(t, raw)
			spoil(g)
			spoilt, err := chain.WriteGenesis(g)
			if err != nil {
				t.Fatal(err)
			}
			app := emptyApp(t)
			all, _ := json.Marshal(map[string]json.RawMessage{"consent": spoilt})
			if _, _, err := app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, all); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

// longest is the dossier with the most consents.
func longest(g *consentv1.Genesis) *consentv1.Dossier {
	best := g.Dossiers[0].Dossier
	for _, e := range g.Dossiers {
		if len(e.Dossier.Consents) > len(best.Consents) {
			best = e.Dossier
		}
	}
	return best
}

func emptyApp(t *testing.T) *chain.App {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true, NodeCache: 1000, ValueCache: 100})
	if err != nil {
		t.Fatal(err)
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Partial: true, Rand: strings.NewReader(strings.Repeat("seed", 100)),
		Modules: []chain.Module{New(Deps{Identity: people{}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// The key table in doc.go names every collection with its key and value.
func TestKeyTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	table := strings.Join(strings.Fields(string(doc)), " ")
	key := map[string]string{
		"consent/records": "bytes id", "consent/history": "bytes id, uint64 version", "consent/dossiers": "bytes subject, string controller",
		"consent/holdings": "string controller, bytes subject, bytes id", "consent/requests": "string controller, bytes id",
		"consent/recipients": "string recipient, bytes id", "consent/delegations": "bytes subject, string controller, string delegate",
	}
	for _, c := range New(Deps{}).Schema().Collections() {
		var kinds []string
		for _, part := range strings.Split(key[c.Name], ", ") {
			kind, _, _ := strings.Cut(part, " ")
			kinds = append(kinds, kind)
		}
		if got := strings.Join(kinds, ", "); got != c.Key {
			t.Errorf("%s has key %s, the test says %s", c.Name, c.Key, got)
		}
		row := fmt.Sprintf("0x%02x 0x%02x %s %s -> %s", c.Prefix[0], c.Prefix[1], strings.TrimPrefix(c.Name, "consent/"), key[c.Name], c.Value)
		if !strings.Contains(table, row) {
			t.Errorf("doc.go lacks %q", row)
		}
	}
}
