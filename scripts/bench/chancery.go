package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/bench"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	"github.com/chancery/chancery/testnet/links"
)

const (
	chainID = "bench"
	// standing is how long before the first block organisations and clerks were
	// registered: the detector expects little good of newcomers.
	standing = 90 * 24 * time.Hour
)

// office is Chancery as an application: a network whose organisations have clerks.
type office struct {
	setting
	far          links.Regions
	binary, tree string
	scored       bool
	clerksEach   int
	archivists   int // clerks of an organisation who fill the state
	net          *network
	chain        *bench.Chain
	admins       []bench.Author // one of each organisation
	clerks       []bench.Author
	fillers      []bench.Author  // who fill the state, if any
	params       *chainv1.Params // nil: those of a new chain

	// What is known of the number of keys in state.
	keys       float64
	perConsent float64 // keys; 0: not measured yet
}

func (c *office) start(ctx context.Context, dir string) error {
	var err error
	if c.net, err = layOut(dir, c.tree, c.setting, c.far); err != nil {
		return err
	}
	f := identity.Founding{At: time.Now().Add(-standing).UnixMilli(), Threshold: uint32(c.Validators*2/3 + 1)}
	var teams, archives [][]bench.Author
	for i, m := range c.net.members {
		organisation := fmt.Sprintf("did:chancery:org-%d", i+1)
		seed := make([]byte, keys.SeedSize)
		copy(seed, client.NewSalt())
		signer, err := keys.NewSigner(keys.Ed25519, seed)
		if err != nil {
			return err
		}
		c.admins = append(c.admins, bench.Author{
			DID: organisation, Organisation: organisation, Signers: []tx.Signer{client.Signer(organisation+"#key-1", signer)},
		})
		pub, err := m.pv.GetPubKey()
		if err != nil {
			return err
		}
		founder := identity.Founder{
			DID:        organisation,
			Keys:       []identity.FoundingKey{{ID: "key-1", Public: signer.Public(), Purposes: []identityv1.Purpose{identityv1.Purpose_PURPOSE_AUTHENTICATION}}},
			Validators: []identity.FoundingValidator{{PublicKey: pub.Bytes(), Power: 10, Moniker: m.config.Node.Moniker}},
			Nodes:      []string{m.nodeID},
		}
		clerks, err := bench.NewClerks(organisation, c.clerksEach+c.archivists)
		if err != nil {
			return err
		}
		var team []bench.Author
		for _, k := range clerks {
			founder.Members = append(founder.Members, k.Member())
			team = append(team, k.Author)
		}
		teams, archives = append(teams, team[:c.clerksEach]), append(archives, team[c.clerksEach:])
		f.Organisations = append(f.Organisations, founder)
	}
	c.clerks, c.fillers = bench.InTurn(teams), bench.InTurn(archives)
	if err := c.writeGenesis(f); err != nil {
		return err
	}
	if err := c.net.run(func(m *member) []string { return []string{c.binary, "start", "--home", string(m.home)} }); err != nil {
		return err
	}
	addresses := make([]string, len(c.net.members))
	for i, m := range c.net.members {
		addresses[i] = m.config.RPC.Listen
	}
	if err := eventually(ctx, "the first blocks", func() error {
		if c.chain != nil {
			_ = c.chain.Close()
		}
		if c.chain, err = bench.Dial(ctx, addresses); err != nil {
			return err
		}
		if h, err := c.height(ctx); err != nil || h < 3 {
			return errors.Join(err, errors.New("no block 3 yet"))
		}
		return nil
	}); err != nil {
		return err
	}
	_, err = bench.Prepare(ctx, c.chain.First(), c.Workload, c.admins, 0, 0)
	return err
}

func (c *office) writeGenesis(f identity.Founding) error {
	g, err := identity.NewGenesis(f)
	if err != nil {
		return err
	}
	section, err := chain.WriteGenesis(g)
	if err != nil {
		return err
	}
	sections := map[string]json.RawMessage{"identity": section}
	if c.params != nil {
		if sections["chain"], err = chain.WriteGenesis(&chainv1.Genesis{Params: c.params}); err != nil {
			return err
		}
	}
	if c.scored {
		raw, ok := detector.Default()
		if !ok {
			return errors.New("this build has no default detector, so there is nothing to score by")
		}
		g := threat.NewGenesis(raw, 0)
		g.Params.Mode = threatv1.Mode_MODE_LOG
		if c.archivists > 0 {
			// The profiles of authors are trained from the start, as they are on a chain of any age.
			g.Params.MaxPending = youngPending
			// How many raise an alarm depends on how long the load has lasted, and on no size.
			g.Params.AlarmScore = noAlarm
		}
		if sections["threat"], err = chain.WriteGenesis(g); err != nil {
			return err
		}
	}
	appState, err := json.Marshal(sections)
	if err != nil {
		return err
	}
	doc, err := node.NewGenesis(chainID, time.Now(), appState)
	if err != nil {
		return err
	}
	for _, m := range c.net.members {
		if err := config.WriteGenesis(m.home.GenesisFile(), doc); err != nil {
			return err
		}
	}
	return nil
}

func (c *office) network() *network { return c.net }

func (c *office) target() bench.Target { return c.chain }

func (c *office) workload() (bench.Workload, error) {
	return bench.NewWork(chainID, c.Workload, c.clerks, c.Messages)
}

func (c *office) height(ctx context.Context) (int64, error) {
	s, err := c.chain.First().Status(ctx)
	if err != nil {
		return 0, err
	}
	return s.Height, nil
}

func (c *office) stop() {
	if c.chain != nil {
		_ = c.chain.Close()
	}
	c.net.stop()
}

const (
	// sample is of how many transactions that fill the state the keys are counted.
	sample = 1000
	// youngPending is how many transactions wait to train, where sizes of the state are compared:
	// few, so that some do at each size.
	youngPending = 5000
	// noAlarm is a score that hardly any has.
	noAlarm = 10_000
)

// fill gives consents until the state holds about so many keys. How many keys a consent
// has is counted on the first few.
func (c *office) fill(ctx context.Context, keys float64) error {
	if c.perConsent == 0 {
		before, err := c.count(ctx)
		if err != nil {
			return err
		}
		if err := c.give(ctx, sample); err != nil {
			return err
		}
		if c.keys, err = c.count(ctx); err != nil {
			return err
		}
		c.perConsent = (c.keys - before) / sample
	}
	if n := int((keys - c.keys) / c.perConsent); n > 0 {
		if err := c.give(ctx, n); err != nil {
			return err
		}
		c.keys += float64(n) * c.perConsent
	}
	return nil
}

// give submits n transactions with a consent each: with more, those that are measured would be
// something new to the detector.
func (c *office) give(ctx context.Context, n int) error {
	w, err := bench.NewWork(chainID, bench.Giving, c.fillers, 1)
	if err != nil {
		return err
	}
	r, err := bench.Run(ctx, c.chain, w, bench.Options{Window: 4000, Most: n, Duration: time.Hour, Patience: time.Hour, Drain: 10 * time.Minute})
	if err == nil && r.Counts.Executed < n {
		err = fmt.Errorf("%d of %d transactions that fill the state were executed; refused: %v", r.Counts.Executed, n, r.Counts.Refused)
	}
	return err
}

// count is the number of keys in state.
func (c *office) count(ctx context.Context) (float64, error) {
	s, err := nodev1.NewNodeClient(c.chain.First().Conn()).State(ctx, &nodev1.StateRequest{})
	if err != nil {
		return 0, err
	}
	n := 0
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return float64(n), nil
		}
		if err != nil {
			return 0, err
		}
		n += len(r.Pairs)
	}
}
