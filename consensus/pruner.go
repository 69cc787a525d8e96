package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/evidence"
	cmtstate "github.com/cometbft/cometbft/proto/tendermint/state"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/records"
	"github.com/chancery/chancery/consensus/snapshots"
)

// MinWindow is how many of the latest blocks every node keeps at least.
const MinWindow = 100

// PruningOptions says what a node keeps of the past.
type PruningOptions struct {
	// Blocks tells whether blocks, results and events before the window go, States whether
	// versions of a state on disk do.
	Blocks, States bool
	// WindowBlocks of the latest blocks are in the window, MinWindow at least, and those
	// that are no older than Window, in block time.
	WindowBlocks int64
	Window       time.Duration
	// Budget is the most bytes that the node's data may take, as Used measures it; 0: any.
	Budget int64
	Used   func() int64
}

// DiskLevel says how much of its budget a node's data takes.
type DiskLevel int

// The levels. Each holds what those before it do.
const (
	DiskWithin  DiskLevel = iota
	DiskShort             // less than the window is kept
	DiskAlarm             // people should look
	DiskRefuses           // no new transactions are taken
)

// The levels begin at so many hundredths of the budget; DiskRefuses ends below refuseEnd.
const (
	shortFrom  = 80
	alarmFrom  = 90
	refuseFrom = 95
	refuseEnd  = 92
)

const (
	// blocksPerStep and versionsPerStep bound what is removed with one block.
	blocksPerStep   = 20
	versionsPerStep = 4
	// sweepPerStep bounds the headers and the like that are removed with one block.
	sweepPerStep = 200

	weighEvery    = 2 * time.Second
	logEvery      = 10 * time.Second // between looks at the engine's log of votes
	prunePause    = 10 * time.Second // after a step that failed
	reclaimPause  = 20 * time.Second // between two compactions, at least
	complainEvery = 10 * time.Minute
)

// pruner removes what a node need not keep, beside the blocks. Its steps are, in order:
//
//	links    what receipts need forever of blocks that go, into the records
//	blocks   the engine's blocks, by its own store
//	trim     what only whole blocks need of those heights: extensions, parameters, results
//	sweep    headers, commits and validators of heights that evidence can no longer be of
//	records  results and events
//	states   versions of the state
//
// Each may be ended by a crash at any time: what it had not removed is removed by the next
// run, since each begins where its own store does, trim and sweep where the records say.
type pruner struct {
	o         PruningOptions
	blocks    *store.BlockStore
	states    sm.Store
	blockDB   cmtdb.DB
	stateDB   cmtdb.DB
	records   *records.Log
	tree      state.Tree
	snapshots *snapshots.Store // nil: none are kept
	interval  int64            // between snapshots
	wal       string           // the head of the engine's log of votes
	beginning func() bool
	link      func(height int64) ([]byte, error) // of a header that announces other validators
	log       *slog.Logger

	// Of the goroutine that prunes.
	floor     int64         // below it the budget lets nothing be kept; 0: it does not say
	dirty     bool          // something was removed since the latest compaction
	reclaimed time.Time     // when that ended
	cost      time.Duration // how long it took
	mark      struct {      // when a height was seen, for trimLog
		height int64
		at     time.Time
	}

	mu         sync.Mutex // guards all below
	used       int64
	level      DiskLevel
	failure    string // of the latest step; empty: it went well
	complained time.Time
}

// PruningStatus is what a node keeps, and how much disk it takes.
type PruningStatus struct {
	OldestBlock int64 // 0: there is none
	// OldestHeader is the oldest of those that are kept without gaps, for evidence.
	OldestHeader int64
	Used, Budget int64 // 0: there is no budget
	Level        DiskLevel
	Failure      string // why nothing is pruned; empty: it is
}

func newPruner(n *Node, o PruningOptions) *pruner {
	o.WindowBlocks = max(o.WindowBlocks, MinWindow)
	return &pruner{
		o: o, blocks: n.node.BlockStore(), states: n.store, blockDB: n.databases.open["blockstore"], stateDB: n.databases.open["state"],
		records: n.o.Records, tree: n.o.App.Tree(), snapshots: n.o.Snapshots, interval: n.o.SnapshotInterval,
		wal: n.o.Config.Consensus.WalFile(), beginning: n.app.beginning, link: n.link, log: n.o.Log.With("part", "pruning"),
	}
}

// Pruning tells what the node keeps.
func (n *Node) Pruning() PruningStatus { return n.pruner.status() }

func (p *pruner) status() PruningStatus {
	s := PruningStatus{OldestBlock: p.blocks.Base(), Budget: p.o.Budget}
	s.OldestHeader = s.OldestBlock
	if extent, err := p.records.Pruned(); err == nil && extent.Swept > 0 {
		s.OldestHeader = extent.Swept
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Used, s.Level, s.Failure = p.used, p.level, p.failure
	return s
}

// full tells whether no new transactions are to be taken.
func (p *pruner) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.level == DiskRefuses
}

// run prunes with each block until ctx ends.
func (p *pruner) run(ctx context.Context) {
	for {
		at, wait := now(), weighEvery
		head := p.records.Head()
		if err := p.step(ctx, head, at); err != nil && ctx.Err() == nil {
			p.log.Error("pruning failed and is tried again", "error", err)
			p.failed(err)
			wait = prunePause
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		within, cancel := context.WithTimeout(ctx, wait)
		_ = p.records.Wait(within, head+1) // with or without a block, it goes on
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

func (p *pruner) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = ""
	if err != nil {
		p.failure = err.Error()
	}
}

// step removes what is due when a block came, within bounds. The head was read at the time
// or later.
func (p *pruner) step(ctx context.Context, head int64, at time.Time) error {
	if head == 0 || p.beginning() || p.blocks.Base() == 0 {
		return nil
	}
	more, err := p.prune(head)
	if err != nil {
		return err
	}
	if err := p.trimLog(head, at); err != nil {
		return err
	}
	p.failed(nil)
	if !more {
		return p.relieve(ctx, head)
	}
	return nil
}

// prune does all steps once. It tells whether there is more to do at once.
func (p *pruner) prune(head int64) (more bool, err error) {
	below := int64(0)
	if p.o.Blocks {
		if below, err = p.due(head, p.blocks.Base(), blocksPerStep); err != nil {
			return false, err
		}
		for _, step := range []func(below int64) (bool, error){p.pruneBlocks, p.trim, p.sweep, p.pruneRecords} {
			again, err := step(below)
			if err != nil {
				return false, err
			}
			more = more || again
		}
		below = p.blocks.Base()
	} else if p.o.States {
		if below, err = p.due(head, p.tree.Oldest(), versionsPerStep); err != nil {
			return false, err
		}
	}
	if p.o.States {
		again, err := p.pruneStates(below)
		return more || again, err
	}
	return more, nil
}

// due is the height below which blocks are to go, from the oldest on and so many at most.
func (p *pruner) due(head, oldest int64, most int64) (int64, error) {
	least := p.least(head, false)
	below := min(least, head-p.o.WindowBlocks+1)
	latest := p.blocks.LoadBlockMeta(head)
	if latest == nil {
		return 0, fmt.Errorf("there is no header of block %d", head)
	}
	since := latest.Header.Time.Add(-p.o.Window)
	height := oldest
	for ; height < min(below, oldest+most); height++ {
		if meta := p.blocks.LoadBlockMeta(height); p.o.Window > 0 && meta != nil && !meta.Header.Time.Before(since) {
			break
		}
	}
	return max(height, min(p.floor, p.least(head, true), oldest+most)), nil
}

// least is the height from which on everything is kept whatever the window says: the
// latest MinWindow blocks, and those that follow a snapshot, which a node that joins from it
// has to fetch. Where disk is short, older snapshots than the latest do not count, nor one
// that lies more than two intervals back.
func (p *pruner) least(head int64, short bool) int64 {
	least := head - MinWindow + 1
	if p.snapshots == nil {
		return max(least, 1)
	}
	list := p.snapshots.List()
	if short && len(list) > 0 {
		list = list[len(list)-1:]
	}
	for _, s := range list {
		if !short || s.Height > head-2*p.interval {
			least = min(least, s.Height)
		}
	}
	return max(least, 1)
}

// pruneBlocks removes the engine's blocks below a height, after what receipts need of them
// forever is in the records. Headers and commits stay as long as evidence may be of them.
func (p *pruner) pruneBlocks(below int64) (more bool, err error) {
	base := p.blocks.Base()
	if below <= base {
		return false, nil
	}
	if err := p.begin(base); err != nil {
		return false, err
	}
	if err := p.keepLinks(base, below); err != nil {
		return false, err
	}
	s, err := p.states.Load()
	if err != nil {
		return false, fmt.Errorf("read the engine's state: %w", err)
	}
	if _, _, err := p.blocks.PruneBlocks(below, s); err != nil {
		return false, fmt.Errorf("prune the blocks below %d: %w", below, err)
	}
	p.dirty = true
	return below-base >= blocksPerStep, nil
}

// begin remembers where the engine's stores begin, before anything is removed.
func (p *pruner) begin(base int64) error {
	extent, err := p.records.Pruned()
	if err != nil || extent.Trimmed > 0 {
		return err
	}
	return p.records.SetPruned(records.Pruned{Trimmed: base, Swept: base})
}

// keepLinks writes down the changes of validators that headers of some heights announce.
func (p *pruner) keepLinks(from, to int64) error {
	var links []records.Link
	for height := from; height < to; height++ {
		meta := p.blocks.LoadBlockMeta(height)
		if meta == nil || bytes.Equal(meta.Header.ValidatorsHash, meta.Header.NextValidatorsHash) {
			continue
		}
		raw, err := p.link(height)
		if err != nil {
			return fmt.Errorf("keep the change of validators of block %d: %w", height, err)
		}
		links = append(links, records.Link{Height: height, Raw: raw})
	}
	if len(links) == 0 {
		return nil
	}
	return p.records.PutLinks(links...)
}

// The keys of the engine's databases, by height; its own are private to it.
const (
	metaKey       = "H:%d"
	commitKey     = "C:%d"
	extendedKey   = "EC:%d"
	validatorsKey = "validatorsKey:%d"
	paramsKey     = "consensusParamsKey:%d"
	responsesKey  = "abciResponsesKey:%d"
)

// trim removes what only whole blocks need: commits with extensions, results, and which
// consensus parameters a height had, but for those entries that hold parameters.
func (p *pruner) trim(int64) (more bool, err error) {
	extent, err := p.records.Pruned()
	if err != nil {
		return false, err
	}
	to := min(p.blocks.Base(), extent.Trimmed+sweepPerStep)
	if extent.Trimmed == 0 || extent.Trimmed >= to {
		return false, nil
	}
	blocks, states := p.blockDB.NewBatch(), p.stateDB.NewBatch()
	defer func() { err = errors.Join(err, blocks.Close(), states.Close()) }()
	for height := extent.Trimmed; height < to; height++ {
		if err := errors.Join(blocks.Delete(keyAt(extendedKey, height)), states.Delete(keyAt(responsesKey, height))); err != nil {
			return false, err
		}
		var info cmtstate.ConsensusParamsInfo
		holds, err := p.holds(keyAt(paramsKey, height), &info, func() bool { return !info.ConsensusParams.Equal(&cmtproto.ConsensusParams{}) })
		if err != nil {
			return false, err
		}
		if !holds {
			if err := states.Delete(keyAt(paramsKey, height)); err != nil {
				return false, err
			}
		}
	}
	if err := errors.Join(blocks.Write(), states.Write()); err != nil {
		return false, fmt.Errorf("trim the engine's stores below %d: %w", to, err)
	}
	p.dirty = true
	extent.Trimmed = to
	return to < p.blocks.Base(), p.records.SetPruned(extent)
}

// holds tells whether an entry of the engine's state is there and is more than a reference to
// an older one. The engine follows references, so those that are none are kept.
func (p *pruner) holds(key []byte, into interface{ Unmarshal([]byte) error }, more func() bool) (bool, error) {
	raw, err := p.stateDB.Get(key)
	if err != nil || len(raw) == 0 {
		return false, err
	}
	if err := into.Unmarshal(raw); err != nil {
		return false, fmt.Errorf("%s of the engine's state: %w", key, err)
	}
	return more(), nil
}

// sweep removes headers, commits and which validators a height had, where no evidence can
// be of that height any more; entries that hold validators stay.
func (p *pruner) sweep(int64) (more bool, err error) {
	extent, err := p.records.Pruned()
	if err != nil || extent.Swept == 0 {
		return false, err
	}
	s, err := p.states.Load()
	if err != nil {
		return false, fmt.Errorf("read the engine's state: %w", err)
	}
	blocks, states := p.blockDB.NewBatch(), p.stateDB.NewBatch()
	defer func() { err = errors.Join(err, blocks.Close(), states.Close()) }()
	height := extent.Swept
	for ; height < min(extent.Trimmed, extent.Swept+sweepPerStep); height++ {
		meta := p.blocks.LoadBlockMeta(height)
		if meta != nil && !evidence.IsEvidenceExpired(s.LastBlockHeight, s.LastBlockTime, height, meta.Header.Time, s.ConsensusParams.Evidence) {
			break
		}
		if err := errors.Join(blocks.Delete(keyAt(metaKey, height)), blocks.Delete(keyAt(commitKey, height))); err != nil {
			return false, err
		}
		var info cmtstate.ValidatorsInfo
		holds, err := p.holds(keyAt(validatorsKey, height), &info, func() bool { return info.ValidatorSet != nil })
		if err != nil {
			return false, err
		}
		if !holds {
			if err := states.Delete(keyAt(validatorsKey, height)); err != nil {
				return false, err
			}
		}
	}
	if height == extent.Swept {
		return false, nil
	}
	if err := errors.Join(blocks.Write(), states.Write()); err != nil {
		return false, fmt.Errorf("sweep the engine's stores below %d: %w", height, err)
	}
	p.dirty = true
	again := height-extent.Swept >= sweepPerStep
	extent.Swept = height
	return again, p.records.SetPruned(extent)
}

func keyAt(format string, height int64) []byte { return fmt.Appendf(nil, format, height) }

// pruneRecords removes results and events of blocks that the engine no longer has.
func (p *pruner) pruneRecords(int64) (more bool, err error) {
	n, err := p.records.Prune(p.blocks.Base(), 2*blocksPerStep)
	p.dirty = p.dirty || n > 0
	return n == 2*blocksPerStep, err
}

// pruneStates forgets versions of a state on disk, one after the other. What a tree in
// memory keeps is bounded by itself.
func (p *pruner) pruneStates(below int64) (more bool, err error) {
	if _, inMemory := p.tree.(*state.Memory); inMemory {
		return false, nil
	}
	oldest := p.tree.Oldest()
	for version := oldest; version < min(below, p.tree.Version()); version++ {
		if version == oldest+versionsPerStep {
			return true, nil
		}
		err := p.tree.Prune(version)
		if errors.Is(err, state.ErrExporting) {
			return false, nil // a snapshot is being taken of it; the next block comes by
		}
		if err != nil {
			return false, err
		}
		p.dirty = true
	}
	return false, nil
}
