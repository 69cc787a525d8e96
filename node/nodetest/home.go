package nodetest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/config"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// HomeChain is the id of the chain that NewHome founds.
const HomeChain = "node-test"

// NewHome makes the home of the only validator of a consortium. newGenesis is
// node.NewGenesis, which this package cannot import.
func NewHome(t testing.TB, newGenesis func(chainID string, at time.Time, appState json.RawMessage) (*types.GenesisDoc, error)) (config.Home, config.Config) {
	t.Helper()
	home := config.Home(t.TempDir())
	if err := home.Create(); err != nil {
		t.Fatal(err)
	}
	made, err := home.CreateKeys()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := keys.NewSigner(keys.Ed25519, []byte(strings.Repeat("k", keys.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1767600000000)
	founded, err := identity.NewGenesis(identity.Founding{At: at.UnixMilli(), Threshold: 1, Organisations: []identity.Founder{{
		DID: "did:chancery:alpha", Threshold: 1,
		Members: []identity.FoundingMember{{
			DID: "did:chancery:alpha:" + strings.Repeat("a", 26), Kind: identityv1.Kind_KIND_PERSON, Administrator: true,
			Keys: []identity.FoundingKey{{ID: "key-1", Public: signer.Public()}},
		}},
		Validators: []identity.FoundingValidator{{PublicKey: made.Validator, Power: 10, Moniker: "alpha"}},
		Nodes:      []string{made.NodeID},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	section, err := chain.WriteGenesis(founded)
	if err != nil {
		t.Fatal(err)
	}
	appState, err := json.Marshal(map[string]json.RawMessage{"identity": section})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := newGenesis(HomeChain, at, appState)
	if err != nil {
		t.Fatal(err)
	}
	if err := config.WriteGenesis(home.GenesisFile(), doc); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.RPC.Listen, c.P2P.Listen, c.Telemetry.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.RPC.Development = true
	c.Consensus.Commit = config.Duration(20 * time.Millisecond)
	c.State.NoSync = true
	c.Signer.WatchBlocks = 0 // nobody copies this home
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	return home, c
}
