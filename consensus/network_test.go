package consensus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/ports"
	"github.com/chancery/chancery/consensus/records"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// circle is a probe whose genesis binds several validators, who are all members.
type circle struct {
	*probe
	public [][]byte
	nodes  []string // node ids of the organisations org-0, org-1, …
}

func (c circle) InitGenesis(ctx *chain.Ctx, _ json.RawMessage) error {
	for _, k := range c.public {
		ctx.UpdateValidator(chain.ValidatorUpdate{Key: keys.Public{Type: keys.Ed25519, Bytes: k}, Power: 10})
	}
	return nil
}

func (c circle) NodeAllowed(chain.ReadCtx, string) bool { return true }

func (c circle) NodeOrganisation(_ chain.ReadCtx, id string) (string, bool) {
	i := slices.Index(c.nodes, id)
	return organisation(i), i >= 0
}

func organisation(i int) string { return fmt.Sprintf("org-%d", i) }

func (c circle) Validators(chain.ReadCtx) []*identityv1.Validator {
	var out []*identityv1.Validator
	for i, k := range c.public {
		out = append(out, &identityv1.Validator{PublicKey: k, Power: 10, Organisation: organisation(i)})
	}
	return out
}

func (c circle) Powers(r chain.ReadCtx) ([]chain.Power, int64) {
	return powersOf(c.Validators(r), func(int) int64 { return 10 })
}

// network starts n validators on loopback that know one another; change bends each
// before it starts.
func network(t *testing.T, n int, change func(i int, o *Options)) []*Node {
	t.Helper()
	return networkOver(t, n, func(int) state.Tree { return diskTree(t) }, change)
}

func diskTree(t *testing.T) state.Tree {
	t.Helper()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// networkOver is a network whose nodes have these trees. Each of the first ten blocks adds a
// blob to the state.
func networkOver(t *testing.T, n int, trees func(i int) state.Tree, change func(i int, o *Options)) []*Node {
	t.Helper()
	configs := make([]*config.Config, n)
	public := make([][]byte, n)
	peers, ids := make([]string, n), make([]string, n)
	first, err := ports.Pick(n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range configs {
		c := config.DefaultConfig()
		c.SetRoot(t.TempDir())
		for _, dir := range []string{"config", "data"} {
			if err := os.MkdirAll(filepath.Join(c.RootDir, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		c.DBBackend, c.RPC.ListenAddress, c.TxIndex.Indexer = "memdb", "", "null"
		c.P2P.PexReactor, c.P2P.AllowDuplicateIP, c.P2P.AddrBookStrict = false, true, false
		c.Consensus.TimeoutCommit, c.Consensus.TimeoutPropose = 20*time.Millisecond, 400*time.Millisecond
		key, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
		if err != nil {
			t.Fatal(err)
		}
		address := ports.Address(first + i)
		c.P2P.ListenAddress = "tcp://" + address
		ids[i] = string(key.ID())
		peers[i] = ids[i] + "@" + address
		pub, err := privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()).GetPubKey()
		if err != nil {
			t.Fatal(err)
		}
		configs[i], public[i] = c, pub.Bytes()
	}
	params := types.DefaultConsensusParams()
	params.ABCI.VoteExtensionsEnableHeight = 1
	genesis := &types.GenesisDoc{
		ChainID: chaintest.ChainID, GenesisTime: time.Now().Add(-time.Second), InitialHeight: 1, ConsensusParams: params, AppState: []byte("{}"),
	}
	nodes := make([]*Node, n)
	for i, c := range configs {
		var others []string
		for j, p := range peers {
			if j != i {
				others = append(others, p)
			}
		}
		c.P2P.PersistentPeers = strings.Join(others, ",")
		tree := trees(i)
		members := circle{probe: newProbe(), public: public, nodes: ids}
		members.grow = 40
		app, err := chain.New(chain.Options{
			ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Screen: judging, Validators: members,
			Modules: []chain.Module{members}, Rand: rand.New(rand.NewSource(1)), Partial: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		log, err := records.Open(dbm.NewMemDB(), true)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{
			Config: c, App: app, Records: log, Membership: members, Log: slog.New(slog.DiscardHandler), Genesis: genesis,
			Voice: &voice{says: fmt.Appendf(nil, "!%d", i)},
		}
		if change != nil {
			change(i, &o)
		}
		if nodes[i], err = Open(o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nodes[i].Stop() })
	}
	return nodes
}

// A validator that lies in each docket that it proposes, in one way after the other, is
// outvoted: the others go on committing, agree on every root, and know who lied.
func TestNetworkOutvotesALiar(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs four validators for several seconds")
	}
	var mu sync.Mutex // guards lies
	lies := make(map[string]int)
	nodes := network(t, 4, func(i int, o *Options) {
		if i > 0 {
			o.Lied = func(l Lie) {
				mu.Lock()
				defer mu.Unlock()
				lies[fmt.Sprintf("%X", l.Proposer)]++
			}
		}
	})
	liar := nodes[0]
	kinds := []func(d *chainv1.Docket){
		func(d *chainv1.Docket) {
			for _, v := range d.Verdicts {
				v.Score++
			}
		},
		func(d *chainv1.Docket) { d.Verdicts = d.Verdicts[:len(d.Verdicts)/2] },
		func(d *chainv1.Docket) { d.Model = bytes.Repeat([]byte{1}, 32) },
		func(d *chainv1.Docket) {
			for _, v := range d.Votes {
				v.Extension = []byte(extension("!forged"))
			}
		},
	}
	told := make([]int, len(kinds)) // guarded by mu
	turn := 0
	liar.app.bend = func(txs [][]byte) [][]byte {
		d, err := chain.DecodeDocket(txs[0])
		if err != nil {
			t.Error(err)
			return txs
		}
		honest := d.CloneVT()
		kinds[turn%len(kinds)](d)
		if d.EqualVT(honest) {
			return txs // nothing to lie about in this block; this lie is for the next
		}
		mu.Lock()
		told[turn%len(kinds)]++
		mu.Unlock()
		turn++
		raw, err := d.MarshalVT()
		if err != nil {
			t.Error(err)
		}
		tag := len(txs[0]) - honest.SizeVT()
		return append([][]byte{append(bytes.Clone(txs[0][:tag]), raw...)}, txs[1:]...)
	}
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 100*time.Second)
	honest := nodes[1]
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return lies[liar.ValidatorAddress().String()] >= 3*len(kinds) && !slices.Contains(told, 0)
	}
	if err := honest.Records().Wait(ctx, 2); err != nil {
		t.Fatal(err)
	}
	committed := 0
	for !enough() {
		// All four go on: honest proposers commit whatever is submitted.
		raw := setParams(chaintest.Consortium, time.Now().Add(time.Minute).UnixMilli())
		id, _, err := honest.Submit(ctx, raw, true)
		if err != nil {
			t.Fatalf("after %d commits: %v", committed, err)
		}
		for {
			if _, ok, err := honest.Records().Tx(id); err != nil {
				t.Fatal(err)
			} else if ok {
				committed++
				break
			}
			if err := honest.Records().Wait(ctx, honest.Records().Head()+1); err != nil {
				t.Fatalf("after %d commits: %v", committed, err)
			}
		}
	}
	height := honest.Records().Head()
	var roots [][]byte
	for _, n := range nodes {
		if err := n.Records().Wait(ctx, height); err != nil {
			t.Fatalf("a node stays behind height %d: %v", height, err)
		}
		_, snap, err := n.App().View(height)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, snap.Root())
	}
	for _, r := range roots[1:] {
		if !bytes.Equal(r, roots[0]) {
			t.Fatalf("roots of height %d differ: %x", height, roots)
		}
	}
	if err := liar.Stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, n := range told {
		if n == 0 {
			t.Errorf("lie %d was never told: %v", i, told)
		}
	}
	if len(lies) != 1 {
		t.Errorf("others are said to have lied: %v", lies)
	}
	t.Logf("height %d, %d transactions committed, lies told %v, seen by three nodes %v", height, committed, told, lies)
}
