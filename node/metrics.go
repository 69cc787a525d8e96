package node

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/consensus"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/disk"
)

// usedEvery is how old the measurement of used disk space may get: it walks the files.
const usedEvery = time.Minute

// parts are what of the disk is measured by itself: label and path under the home's
// data folder.
var diskParts = []struct{ name, path string }{
	{"state", diskTree}, {"state", memoryTree}, {"records", "records.db"}, {"engine", "engine"},
	{"judgement", "judgement"}, {"webhooks", "webhooks"}, {"traces", "traces"},
}

// collector measures what the node knows beside its stages, each time it is asked.
type collector struct {
	home    config.Home
	engine  *consensus.Node
	modules Modules
	info    []string // version, kind of tree, moniker
	reach   func() (bool, string)

	describe []*prometheus.Desc
	d        map[string]*prometheus.Desc

	mu       sync.Mutex // guards used and measured
	used     map[string]int64
	measured time.Time
}

func newCollector(n *Node, version string) *collector {
	c := &collector{
		home: n.home, engine: n.engine, modules: n.modules, reach: n.signerReach, d: map[string]*prometheus.Desc{},
		info: []string{version, n.config.State.Tree, n.config.Node.Moniker},
	}
	add := func(name, help string, labels ...string) {
		d := prometheus.NewDesc("chancery_"+name, help, labels, nil)
		c.d[name], c.describe = d, append(c.describe, d)
	}
	add("node_info", "Always 1; its labels say what runs.", "version", "tree", "moniker")
	add("node_behind_blocks", "Blocks that a peer has and this node lacks.")
	add("node_clock_offset_seconds", "How far this machine's clock is ahead of the other validators', from the times on their votes; absent where it is not known. It holds the time that votes travel.")
	add("peers_listed", "Peers that the configuration lists.")
	add("state_version", "Latest saved version of the state.")
	add("state_oldest_version", "Oldest version of the state that can be read.")
	add("records_oldest_height", "Oldest block whose events can be streamed.")
	add("validators", "Validators of the latest signed block.")
	add("validators_power", "Their voting power.")
	add("validators_signed", "Validators whose signature is in the commit of the latest signed block.")
	add("validators_signed_power", "Their voting power; a block needs more than two thirds of all.")
	add("validators_self_power", "Voting power of this node's validator, 0 where it is none.")
	add("version_in_force", "Version of the state machine in force.")
	add("version_newest", "Newest version of the state machine that the program knows.")
	add("upgrade_height", "Height of the upgrade that is to come, 0 when there is none.")
	add("upgrade_version", "Version of the state machine that it leads to, 0 when there is none.")
	add("upgrade_needed", "1 while the upgrade that is to come leads to a version that the program does not know: the node stops before its height.")
	add("upgrade_ready_power", "Voting power of organisations that reported a dry run that succeeded.")
	add("upgrade_failed_power", "Voting power of organisations that reported a dry run that failed.")
	add("upgrade_disagreement", "1 while organisations found different roots in dry runs on one state.")
	add("signer_connected", "1 while the validator key is in reach: in the home, or in a signer that is connected.")
	add("holds_waiting", "Transactions that wait for reviewers, and those denied or rejected whose authors may appeal: both take room.")
	add("holds_bytes", "Their bytes.")
	add("holds_capacity", "Transactions that may wait at once; one more is refused.")
	add("holds_next_wait_seconds", "How long the transaction has waited that expires next, 0 when none waits.")
	add("holds_next_expiry_seconds", "In how much block time it expires, 0 when none waits.")
	add("scorer_mode", "What is done with verdicts: 1 nothing, 2 they are logged, 3 they are carried out.")
	add("scorer_mode_set", "What the parameters say is done with them: more than scorer_mode while the breaker is open or the chain learns.")
	add("scorer_breaker_open", "1 while the circuit breaker lets verdicts be logged alone, because too many transactions were flagged.")
	add("scorer_model_active", "1 when a model is active and can score; without one each class of transactions fails open or closed as the parameters say.")
	add("disk_free_bytes", "Free space where the home's data lies, as a process without privileges may use it.")
	add("disk_size_bytes", "Size of that file system.")
	add("disk_budget_bytes", "Most bytes that the node's data may take; 0 where there is no budget.")
	add("disk_budget_used_bytes", "Bytes that the node's data take, where there is a budget.")
	add("disk_budget_level", "0 within the budget, 1 less than the window is kept, 2 the budget is nearly reached, 3 no new transactions are taken.")
	add("blocks_oldest_height", "Oldest block that the node has whole.")
	add("pruning_failing", "1 while nothing is pruned because the latest try failed.")
	add("disk_used_bytes", "Bytes of the node's files, by part; measured at most once a minute.", "part")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.describe {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(name string, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.d[name], prometheus.GaugeValue, v, labels...)
	}
	app := c.engine.App()
	gauge("node_info", 1, c.info...)
	gauge("node_behind_blocks", float64(c.engine.Behind()))
	if offset, known := c.engine.ClockOffset(); known {
		gauge("node_clock_offset_seconds", offset.Seconds())
	}
	gauge("peers_listed", float64(c.engine.Listed()))
	gauge("state_version", float64(app.Tree().Version()))
	gauge("state_oldest_version", float64(app.Tree().Oldest()))
	if oldest, err := c.engine.Records().Oldest(); err == nil {
		gauge("records_oldest_height", float64(oldest))
	}
	if light, err := c.engine.LightBlock(c.engine.Records().Head()); err == nil {
		s := signed(light)
		gauge("validators", float64(len(light.ValidatorSet.Validators)))
		gauge("validators_power", float64(light.ValidatorSet.TotalVotingPower()))
		gauge("validators_signed", float64(s.count))
		gauge("validators_signed_power", float64(s.power))
		own := float64(0)
		if _, v := light.ValidatorSet.GetByAddress(c.engine.ValidatorAddress()); v != nil {
			own = float64(v.VotingPower)
		}
		gauge("validators_self_power", own)
	}
	upgrade(gauge, app)
	reached := float64(0)
	if here, _ := c.reach(); here {
		reached = 1
	}
	gauge("signer_connected", reached)
	latest := app.Latest()
	c.sentinel(gauge, c.modules.Threat.Overview(latest), latest.Time())
	if free, size, err := disk.Space(c.home.Data()); err == nil {
		gauge("disk_free_bytes", float64(free))
		gauge("disk_size_bytes", float64(size))
	}
	pruning := c.engine.Pruning()
	gauge("disk_budget_bytes", float64(pruning.Budget))
	gauge("disk_budget_used_bytes", float64(pruning.Used))
	gauge("disk_budget_level", float64(pruning.Level))
	gauge("blocks_oldest_height", float64(pruning.OldestBlock))
	failing := float64(0)
	if pruning.Failure != "" {
		failing = 1
	}
	gauge("pruning_failing", failing)
	for part, bytes := range c.usedNow() {
		gauge("disk_used_bytes", float64(bytes), part)
	}
}

func upgrade(gauge func(string, float64, ...string), app *chain.App) {
	s := app.UpgradeStatus()
	_, newest := app.Versions()
	gauge("version_in_force", float64(s.Version))
	gauge("version_newest", float64(newest))
	gauge("upgrade_height", float64(s.Plan.GetHeight()))
	gauge("upgrade_version", float64(s.Plan.GetVersion()))
	gauge("upgrade_needed", one(s.Plan.GetVersion() > newest))
	gauge("upgrade_ready_power", float64(s.ReadyPower))
	gauge("upgrade_failed_power", float64(s.FailedPower))
	gauge("upgrade_disagreement", one(s.Disagreement))
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *collector) sentinel(gauge func(string, float64, ...string), o threat.Overview, now int64) {
	gauge("holds_waiting", float64(o.Held))
	gauge("holds_bytes", float64(o.HeldBytes))
	gauge("holds_capacity", float64(o.MaxHeld))
	waited, left := float64(0), float64(0)
	if o.NextHeldAt != 0 {
		waited, left = float64(now-o.NextHeldAt)/1000, float64(o.NextExpiresAt-now)/1000
	}
	gauge("holds_next_wait_seconds", waited)
	gauge("holds_next_expiry_seconds", left)
	gauge("scorer_mode", float64(o.Mode))
	gauge("scorer_mode_set", float64(o.Set))
	gauge("scorer_breaker_open", one(o.OpenUntil != 0))
	gauge("scorer_model_active", one(o.Model))
}

// usedNow is the bytes of each part.
func (c *collector) usedNow() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.measured) < usedEvery {
		return c.used
	}
	used := map[string]int64{}
	for _, p := range diskParts {
		used[p.name] += bytesUnder(filepath.Join(c.home.Data(), p.path))
	}
	c.used, c.measured = used, time.Now()
	return used
}

// bytesUnder is the size of the files of a folder, as far as they can be looked at:
// databases remove files while it looks.
func bytesUnder(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // gone meanwhile, or not there at all
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

// signatures are the validators that signed a block.
type signatures struct {
	count int
	power int64
}

func signed(light *types.LightBlock) (s signatures) {
	for _, sig := range light.Commit.Signatures {
		if sig.BlockIDFlag != types.BlockIDFlagCommit {
			continue
		}
		if _, v := light.ValidatorSet.GetByAddress(sig.ValidatorAddress); v != nil {
			s.count, s.power = s.count+1, s.power+v.VotingPower
		}
	}
	return s
}
