package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/identity/did"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// rich is a chain that has records of every kind in every state.
func rich(t testing.TB) *world {
	w, _ := full(t)
	w.do(acme, w.rotation(acme, "key-1", "key-2", MaxOverlap))
	w.do(mercy, &identityv1.CreateGroup{Name: "ward"}, &identityv1.ChangeGroupMembers{Name: "ward", Add: []string{dot, ann, mercy}})
	w.do(mercy, &identityv1.CreateGroup{Name: "empty"}, &identityv1.AssignRole{Did: ann, Role: "chief", ExpiresAt: w.Now + 1e9})
	w.do(dot, rule(MaxDelay, 1, ann, ben))
	w.signed(dot, signers(ben), w.recovery(dot, "new-1", "new-2"))
	w.do(acme, rule(0, 1, quay))
	w.do(mercy, suspend(cyd))
	w.do(mercy, &identityv1.RegisterIdentity{Identity: member(t, did.Member("mercy", "old"), device)})
	w.do(mercy, deactivate(did.Member("mercy", "old")))
	w.do(did.Consortium, &identityv1.RegisterOrganisation{Did: hold, Keys: []*identityv1.NewKey{newKey(t, key(hold), authentication)}})
	w.do(did.Consortium, bind("b", hold, 3))
	w.do(hold, &identityv1.BindNode{NodeId: nodeID('c')})
	w.do(ann, &identityv1.AddKey{Did: ann, Key: newKey(t, keyOfID(ann, "key-2"), authentication)}, revoke(ann, "key-1"))
	return w
}

func TestGenesisOfARichStateComesBack(t *testing.T) {
	w := rich(t)
	raw := w.CheckGenesis()
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sections); err != nil {
		t.Fatal(err)
	}
	g := new(identityv1.Genesis)
	if err := protojson.Unmarshal(sections["identity"], g); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{
		"identities": len(g.Identities), "history": len(g.History), "keys": len(g.Keys), "recoveries": len(g.Recoveries), "roles": len(g.Roles),
		"groups": len(g.Groups), "memberships": len(g.Memberships), "validators": len(g.Validators), "nodes": len(g.Nodes),
	} {
		if n == 0 {
			t.Errorf("the state has no %s", name)
		}
	}
}

func TestGenesisMakesTheFirstValidators(t *testing.T) {
	g, err := NewGenesis(consortium())
	if err != nil {
		t.Fatal(err)
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	m := New()
	app, err := chain.New(chain.Options{ChainID: chaintest.ChainID, Tree: tree, Authenticator: m, Modules: []chain.Module{m}, Rand: strings.NewReader(strings.Repeat("r", 64)), Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	_, validators, err := app.InitGenesis(chain.Header{Height: 1, Time: chaintest.GenesisTime}, json.RawMessage(`{"identity":`+string(section)+`}`))
	if err != nil || len(validators) != 3 || validators[0].Power != 10 {
		t.Errorf("%v, %v", validators, err)
	}
}

func TestNewGenesisIsInOrder(t *testing.T) {
	w := start(t)
	g, err := NewGenesis(consortium())
	if err != nil {
		t.Fatal(err)
	}
	exported, err := w.m.ExportGenesis(w.View())
	if err != nil {
		t.Fatal(err)
	}
	if !g.EqualVT(exported.(*identityv1.Genesis)) {
		t.Error("the export of a new chain is not its genesis state")
	}
}

func TestCheckGenesisRefuses(t *testing.T) {
	w := rich(t)
	find := func(g *identityv1.Genesis, name string) *identityv1.Identity {
		for _, id := range g.Identities {
			if id.Did == name {
				return id
			}
		}
		t.Fatalf("no %s", name)
		return nil
	}
	for name, c := range map[string]struct {
		want   *errs.Error
		change func(g *identityv1.Genesis)
	}{
		"empty":              {ErrUnknownDID, func(g *identityv1.Genesis) { g.Reset() }},
		"twice":              {ErrTwice, func(g *identityv1.Genesis) { g.Identities = append(g.Identities, g.Identities[0]) }},
		"bad DID":            {ErrBadDID, func(g *identityv1.Genesis) { g.Identities[0].Did = "x" }},
		"kind":               {ErrBadKind, func(g *identityv1.Genesis) { find(g, acme).Kind = person }},
		"named person":       {ErrBadKind, func(g *identityv1.Genesis) { find(g, robot).Kind = person }},
		"organisation":       {ErrNotMember, func(g *identityv1.Genesis) { find(g, robot).Organisation = acme }},
		"status":             {ErrStatus, func(g *identityv1.Genesis) { find(g, acme).Status = 0 }},
		"suspended all":      {ErrStatus, func(g *identityv1.Genesis) { find(g, did.Consortium).Status = 2 }},
		"version":            {ErrNoVersion, func(g *identityv1.Genesis) { find(g, acme).Version = 0 }},
		"high version":       {ErrNoVersion, func(g *identityv1.Genesis) { id := find(g, hold); id.Version, id.Updated.Version = 1<<60, 1<<60 }},
		"missing version":    {ErrNoVersion, func(g *identityv1.Genesis) { id := find(g, hold); id.Version, id.Updated.Version = 2, 2 }},
		"history of nobody":  {ErrUnknownDID, func(g *identityv1.Genesis) { g.History[0].Did = "did:chancery:nobody" }},
		"future history":     {ErrNoVersion, func(g *identityv1.Genesis) { g.History[0].Version = 99 }},
		"threshold":          {ErrBadThreshold, func(g *identityv1.Genesis) { find(g, mercy).Threshold = 9 }},
		"no members":         {ErrBadThreshold, func(g *identityv1.Genesis) { id := find(g, did.Consortium); id.Controllers, id.Threshold = nil, 0 }},
		"no administrator":   {ErrLastKey, func(g *identityv1.Genesis) { id := find(g, quay); id.Controllers, id.Threshold = nil, 0 }},
		"foreign controller": {ErrNotMember, func(g *identityv1.Genesis) { find(g, quay).Controllers[0] = ann }},
		"unknown controller": {ErrUnknownDID, func(g *identityv1.Genesis) { find(g, quay).Controllers[0] = did.Member("quay", "x") }},
		"person's services":  {ErrBadKind, func(g *identityv1.Genesis) { find(g, dot).Services = []*identityv1.Service{{}} }},
		"bad service":        {ErrBadService, func(g *identityv1.Genesis) { find(g, acme).Services = []*identityv1.Service{{}} }},
		"bad rule":           {ErrBadRule, func(g *identityv1.Genesis) { find(g, acme).Recovery.DelayMs = -1 }},
		"missing key":        {ErrUnknownKey, func(g *identityv1.Genesis) { find(g, acme).Keys = []string{"none"} }},
		"pending key listed": {ErrUnknownKey, func(g *identityv1.Genesis) { find(g, dot).Keys = []string{"key-1", "new-1"} }},
		"key of nobody":      {ErrUnknownDID, func(g *identityv1.Genesis) { g.Keys[0].Did = "did:chancery:nobody" }},
		"bad key":            {ErrBadKey, func(g *identityv1.Genesis) { g.Keys[0].Public = []byte{1} }},
		"key's purposes":     {ErrBadKey, func(g *identityv1.Genesis) { g.Keys[0].Purposes = nil }},
		"shared key": {ErrKeyTaken, func(g *identityv1.Genesis) {
			g.Keys[1].Type, g.Keys[1].Public, g.Keys[1].Purposes = g.Keys[0].Type, g.Keys[0].Public, g.Keys[0].Purposes
		}},
		"lost pending key":   {ErrNoRecovery, func(g *identityv1.Genesis) { g.Recoveries = nil }},
		"recovery of nobody": {ErrUnknownDID, func(g *identityv1.Genesis) { g.Recoveries[0].Did = "did:chancery:nobody" }},
		"recovery's key":     {ErrUnknownKey, func(g *identityv1.Genesis) { g.Recoveries[0].Keys[0] = "key-1" }},
		"recovery's time":    {ErrBadTime, func(g *identityv1.Genesis) { g.Recoveries[0].DueAt = 0 }},
		"roles of nobody":    {ErrUnknownDID, func(g *identityv1.Genesis) { g.Roles[0].Did = "did:chancery:nobody" }},
		"no roles":           {ErrTooMany, func(g *identityv1.Genesis) { g.Roles[0].Grants = nil }},
		"bad role":           {ErrBadName, func(g *identityv1.Genesis) { g.Roles[0].Grants[0].Role = "X" }},
		"group's slug":       {ErrBadName, func(g *identityv1.Genesis) { g.Groups[0].Organisation = acme }},
		"group's count":      {ErrTooMany, func(g *identityv1.Genesis) { g.Groups[0].Members++ }},
		"unknown group":      {ErrNoGroup, func(g *identityv1.Genesis) { g.Memberships[0].Groups[0] = "mercy/none" }},
		"membership":         {ErrUnknownDID, func(g *identityv1.Genesis) { g.Memberships[0].Did = "did:chancery:nobody" }},
		"validator":          {ErrBadValidator, func(g *identityv1.Genesis) { g.Validators[0].Power = 0 }},
		"validator's owner":  {ErrBadValidator, func(g *identityv1.Genesis) { g.Validators[0].Organisation = ann }},
		"validator's key":    {ErrKeyTaken, func(g *identityv1.Genesis) { g.Validators[0].PublicKey = key(hold).Public().Bytes }},
		"validator twice":    {ErrTwice, func(g *identityv1.Genesis) { g.Validators = append(g.Validators, g.Validators[0]) }},
		"node":               {ErrBadNode, func(g *identityv1.Genesis) { g.Nodes[0].Id = "x" }},
		"node twice":         {ErrTwice, func(g *identityv1.Genesis) { g.Nodes = append(g.Nodes, g.Nodes[0]) }},
		"node's owner":       {ErrBadNode, func(g *identityv1.Genesis) { g.Nodes[0].Organisation = ann }},
	} {
		t.Run(name, func(t *testing.T) {
			exported, err := w.m.ExportGenesis(w.View())
			if err != nil {
				t.Fatal(err)
			}
			g := exported.(*identityv1.Genesis)
			if err := CheckGenesis(g); err != nil {
				t.Fatal(err)
			}
			c.change(g)
			if err := CheckGenesis(g); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestNewGenesisRefuses(t *testing.T) {
	f := consortium()
	f.Threshold = 4
	if _, err := NewGenesis(f); !errors.Is(err, ErrBadThreshold) {
		t.Error(err)
	}
	f = consortium()
	f.Organisations[1].Keys = nil
	if _, err := NewGenesis(f); !errors.Is(err, ErrLastKey) {
		t.Error(err)
	}
}

// The keys of stored records are part of the chain's format.
func TestSchema(t *testing.T) {
	var b strings.Builder
	for _, c := range New().Schema().Collections() {
		fmt.Fprintf(&b, "%x %s: %s -> %s\n", c.Prefix, c.Name, c.Key, c.Value)
	}
	golden(t, "schema.txt", []byte(b.String()))
}

// Codes are permanent.
func TestErrors(t *testing.T) {
	var b strings.Builder
	for _, e := range Errors.All() {
		fmt.Fprintf(&b, "%d %s\n", e.Code, e.Text)
	}
	golden(t, "errors.txt", []byte(b.String()))
}
