package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	cmtdb "github.com/cometbft/cometbft-db"
	"github.com/cometbft/cometbft/config"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/store"
	dbm "github.com/cosmos/cosmos-db"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/records"
)

// stored is all that a node has on disk.
type stored struct {
	blocks, states, records, tree map[string][]byte
}

type pairs interface {
	Valid() bool
	Next()
	Key() []byte
	Value() []byte
	Close() error
}

func contents(t testing.TB, it pairs, err error) map[string][]byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]byte{}
	for ; it.Valid(); it.Next() {
		m[string(it.Key())] = bytes.Clone(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// faults fails one write of several databases together.
type faults struct {
	at       int  // of the writes to come, the one that fails; below 0: none
	persists bool // whether what failed is on disk all the same
	writes   int
}

var errKilled = errors.New("killed")

func (f *faults) write(do func() error) error {
	f.writes++
	if f.at < 0 || f.writes-1 < f.at {
		return do()
	}
	if f.writes-1 == f.at && f.persists {
		_ = do()
	}
	return errKilled
}

type killedEngineDB struct {
	cmtdb.DB
	f *faults
}

func (d killedEngineDB) NewBatch() cmtdb.Batch { return killedEngineBatch{d.DB.NewBatch(), d.f} }

type killedEngineBatch struct {
	cmtdb.Batch
	f *faults
}

func (b killedEngineBatch) Write() error     { return b.f.write(b.Batch.Write) }
func (b killedEngineBatch) WriteSync() error { return b.f.write(b.Batch.WriteSync) }

type killedDB struct {
	dbm.DB
	f *faults
}

func (d killedDB) NewBatch() dbm.Batch            { return killedBatch{d.DB.NewBatch(), d.f} }
func (d killedDB) NewBatchWithSize(int) dbm.Batch { return d.NewBatch() }
func (d killedDB) Set(k, v []byte) error          { return d.f.write(func() error { return d.DB.Set(k, v) }) }
func (d killedDB) SetSync(k, v []byte) error      { return d.Set(k, v) }
func (d killedDB) Close() error                   { return nil }

type killedBatch struct {
	dbm.Batch
	f *faults
}

func (b killedBatch) Write() error     { return b.f.write(b.Batch.Write) }
func (b killedBatch) WriteSync() error { return b.f.write(b.Batch.WriteSync) }

// disk is the databases of a node that was stopped, in which writes may fail.
type disk struct {
	f             *faults
	blocks, state *cmtdb.MemDB
	records, tree *dbm.MemDB
}

func diskOf(t testing.TB, s stored) *disk {
	d := &disk{f: &faults{at: -1}, blocks: cmtdb.NewMemDB(), state: cmtdb.NewMemDB(), records: dbm.NewMemDB(), tree: dbm.NewMemDB()}
	for m, set := range map[*map[string][]byte]func(k, v []byte) error{&s.blocks: d.blocks.Set, &s.states: d.state.Set, &s.records: d.records.Set, &s.tree: d.tree.Set} {
		for k, v := range *m {
			if err := set([]byte(k), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d
}

func (d *disk) stored(t testing.TB) stored {
	var s stored
	for into, db := range map[*map[string][]byte]cmtdb.DB{&s.blocks: d.blocks, &s.states: d.state} {
		it, err := db.Iterator(nil, nil)
		*into = contents(t, it, err)
	}
	for into, db := range map[*map[string][]byte]dbm.DB{&s.records: d.records, &s.tree: d.tree} {
		it, err := db.Iterator(nil, nil)
		*into = contents(t, it, err)
	}
	return s
}

// pruner begins to prune, as a node does that starts.
func (d *disk) pruner(t testing.TB, o PruningOptions) *pruner {
	t.Helper()
	tree, err := state.OpenIAVL(killedDB{d.tree, d.f}, state.IAVLOptions{NodeCache: 100, ValueCache: 10})
	if err != nil {
		t.Fatal(err)
	}
	log, err := records.Open(killedDB{d.records, d.f}, false)
	if err != nil {
		t.Fatal(err)
	}
	log.Publish(tree.Version())
	blocks, states := killedEngineDB{d.blocks, d.f}, killedEngineDB{d.state, d.f}
	return &pruner{
		o: o, blocks: store.NewBlockStore(blocks), states: sm.NewStore(states, sm.StoreOptions{}), blockDB: blocks, stateDB: states,
		records: log, tree: tree, beginning: func() bool { return false }, log: slog.New(slog.DiscardHandler),
		link: func(height int64) ([]byte, error) { return fmt.Appendf(nil, "link %d", height), nil },
	}
}

// all prunes until nothing is left to do.
func (p *pruner) all() error {
	for {
		before := p.status()
		oldest, _ := p.records.Oldest()
		version := p.tree.Oldest()
		if err := p.step(context.Background(), p.records.Head(), time.Now()); err != nil {
			return err
		}
		now, _ := p.records.Oldest()
		if after := p.status(); after == before && now == oldest && p.tree.Oldest() == version {
			return nil
		}
	}
}

// brisk makes empty blocks come quickly.
func brisk(c *config.Config) { c.Consensus.TimeoutPropose = 30 * time.Millisecond }

// ran is what a node has on disk that made so many blocks, and then stopped.
func ran(t testing.TB, height int64) stored {
	t.Helper()
	n := single(t.(*testing.T), nil, WatchdogOptions{}, brisk)
	ctx := within(t.(*testing.T), time.Minute)
	for i := int64(1); i < height; i += 10 {
		if err := n.Records().Wait(ctx, i); err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Submit(ctx, setParams(chaintest.Consortium, time.Now().Add(time.Minute).UnixMilli()), false); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Records().Wait(ctx, height); err != nil {
		t.Fatal(err)
	}
	var s stored
	read := func() {
		f, err := n.Freeze()
		if err != nil {
			t.Fatal(err)
		}
		each := func(p interface {
			Each(func(k, v []byte) error) error
		}) map[string][]byte {
			m := map[string][]byte{}
			if err := p.Each(func(k, v []byte) error { m[string(k)] = bytes.Clone(v); return nil }); err != nil {
				t.Fatal(err)
			}
			return m
		}
		s = stored{blocks: each(f.Engine["blockstore"]), states: each(f.Engine["state"]), records: each(f.Records), tree: each(f.State.Pairs)}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	read()
	return s
}

// A crash before, at and after every single write of pruning leaves a node that starts,
// and the next run ends where one without a crash does.
func TestPruningIsResumedAfterACrashAtAnyWrite(t *testing.T) {
	begun := ran(t, MinWindow+45)
	o := PruningOptions{Blocks: true, States: true, WindowBlocks: MinWindow}

	whole := diskOf(t, begun)
	p := whole.pruner(t, o)
	head := p.records.Head()
	if err := p.all(); err != nil {
		t.Fatal(err)
	}
	want := whole.stored(t)
	if base := p.blocks.Base(); base != head-MinWindow+1 || p.tree.Oldest() != base {
		t.Fatalf("of %d blocks those from %d on are left, and states from %d", head, base, p.tree.Oldest())
	}
	if oldest, _ := p.records.Oldest(); oldest != p.blocks.Base() {
		t.Fatalf("records from %d on are left, blocks from %d", oldest, p.blocks.Base())
	}
	if s := p.status(); s.OldestHeader != s.OldestBlock {
		t.Fatalf("no evidence can be of block %d, but headers from %d on are left", s.OldestBlock-1, s.OldestHeader)
	}
	for height := int64(1); height < p.blocks.Base(); height++ {
		for _, format := range []string{metaKey, commitKey, extendedKey, "SC:%d", "P:%d:0"} {
			if _, ok := want.blocks[fmt.Sprintf(format, height)]; ok {
				t.Fatalf("%s is left of the blocks", fmt.Sprintf(format, height))
			}
		}
	}
	kept := 0
	for key := range want.states {
		var height int64
		if n, _ := fmt.Sscanf(key, validatorsKey, &height); n == 1 && height < p.blocks.Base() {
			kept++
		}
		if n, _ := fmt.Sscanf(key, paramsKey, &height); n == 1 && height < p.blocks.Base() {
			kept++
		}
	}
	if kept != 2 {
		t.Fatalf("%d entries of validators and parameters of pruned heights are left, want those two that the others refer to", kept)
	}
	for height := p.blocks.Base(); height <= head; height++ {
		if _, err := p.states.LoadValidators(height); err != nil {
			t.Fatalf("validators of block %d: %v", height, err)
		}
		if _, err := p.states.LoadConsensusParams(height); err != nil {
			t.Fatalf("parameters of block %d: %v", height, err)
		}
		if p.blocks.LoadBlock(height) == nil || p.blocks.LoadSeenCommit(height) == nil && p.blocks.LoadBlockCommit(height) == nil {
			t.Fatalf("block %d is gone", height)
		}
		if _, err := p.records.Block(height); err != nil {
			t.Fatal(err)
		}
		if _, err := p.tree.At(height); err != nil {
			t.Fatal(err)
		}
	}
	writes := whole.f.writes
	if writes < 40 {
		t.Fatalf("pruning made %d writes: the test covers nothing", writes)
	}
	for at := range writes {
		for _, persists := range []bool{false, true} {
			d := diskOf(t, begun)
			d.f.at, d.f.persists = at, persists
			if err := d.pruner(t, o).all(); !errors.Is(err, errKilled) {
				t.Fatalf("write %d failed and pruning says: %v", at, err)
			}
			d.f.at = -1
			if err := d.pruner(t, o).all(); err != nil {
				t.Fatalf("after a crash at write %d (on disk: %v): %v", at, persists, err)
			}
			same(t, at, d.stored(t), want)
		}
	}
}

func same(t *testing.T, at int, got, want stored) {
	t.Helper()
	for name, m := range map[string][2]map[string][]byte{
		"blocks": {got.blocks, want.blocks}, "engine's state": {got.states, want.states}, "records": {got.records, want.records}, "state": {got.tree, want.tree},
	} {
		for k, v := range m[1] {
			if !bytes.Equal(m[0][k], v) {
				t.Fatalf("after a crash at write %d, %q of the %s is %.40x, want %.40x", at, k, name, m[0][k], v)
			}
		}
		for k := range m[0] {
			if _, ok := m[1][k]; !ok {
				t.Fatalf("after a crash at write %d, %q of the %s is left over", at, k, name)
			}
		}
	}
}

// Headers stay as long as evidence may be of their heights, whatever the window says.
func TestHeadersStayForEvidence(t *testing.T) {
	before := evidenceParams
	t.Cleanup(func() { evidenceParams = before })
	evidenceParams.MaxAgeDuration = time.Hour
	d := diskOf(t, ran(t, MinWindow+25))
	p := d.pruner(t, PruningOptions{Blocks: true, States: true, WindowBlocks: MinWindow})
	if err := p.all(); err != nil {
		t.Fatal(err)
	}
	if s := p.status(); s.OldestBlock < 20 || s.OldestHeader != 1 {
		t.Fatalf("%+v", s)
	}
	for height := int64(1); height < p.blocks.Base(); height++ {
		set, err := p.states.LoadValidators(height)
		if err != nil {
			t.Fatal(err)
		}
		meta, commit := p.blocks.LoadBlockMeta(height), p.blocks.LoadBlockCommit(height)
		if meta == nil || commit == nil {
			t.Fatalf("evidence of block %d cannot be verified", height)
		}
		if err := set.VerifyCommit(chaintest.ChainID, meta.BlockID, height, commit); err != nil {
			t.Fatal(err)
		}
	}
}

// A running node prunes behind its blocks, and says what it does not have any more.
func TestARunningNodePrunes(t *testing.T) {
	pruning = PruningOptions{Blocks: true, States: true, WindowBlocks: MinWindow}
	t.Cleanup(func() { pruning = PruningOptions{} })
	n := single(t, nil, WatchdogOptions{}, brisk)
	ctx := within(t, time.Minute)
	if err := n.Records().Wait(ctx, MinWindow+40); err != nil {
		t.Fatal(err)
	}
	for n.Pruning().OldestBlock < 20 || n.App().Tree().Oldest() < 20 {
		if err := n.Records().Wait(ctx, n.Records().Head()+1); err != nil {
			t.Fatalf("%+v, and states from %d on: %v", n.Pruning(), n.App().Tree().Oldest(), err)
		}
	}
	if s := n.Pruning(); s.OldestBlock > n.Records().Head()-MinWindow+1 || s.Failure != "" {
		t.Fatalf("%+v at block %d", s, n.Records().Head())
	}
	if _, _, err := n.App().View(3); !errors.Is(err, chain.ErrBadHeight) {
		t.Fatalf("a state of a pruned height: %v", err)
	}
	if _, err := n.Records().Block(3); !errors.Is(err, records.ErrNoBlock) {
		t.Fatalf("the record of a pruned block: %v", err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

// The levels follow what is used, and refusing goes on until there is some room.
func TestDiskLevels(t *testing.T) {
	const budget = 1000
	for _, c := range []struct {
		used   int64
		before DiskLevel
		want   DiskLevel
	}{
		{0, DiskWithin, DiskWithin}, {799, DiskShort, DiskWithin}, {800, DiskWithin, DiskShort}, {899, DiskAlarm, DiskShort},
		{900, DiskWithin, DiskAlarm}, {949, DiskWithin, DiskAlarm}, {950, DiskWithin, DiskRefuses}, {930, DiskRefuses, DiskRefuses},
		{920, DiskRefuses, DiskRefuses}, {919, DiskRefuses, DiskAlarm}, {5000, DiskWithin, DiskRefuses},
	} {
		if got := levelOf(c.used*10_000, budget*10_000, c.before); got != c.want {
			t.Errorf("%d of %d after level %d is level %d, want %d", c.used, budget, c.before, got, c.want)
		}
	}
	if levelOf(1<<50, 0, DiskWithin) != DiskWithin {
		t.Error("without a budget there is no level")
	}
}

// A node whose data reach the budget prunes below its window, oldest first and never below
// the minimum, and takes no new transactions in the end but for the urgent.
func TestABudgetGoesBeforeTheWindow(t *testing.T) {
	d := diskOf(t, ran(t, MinWindow+60))
	used := int64(850)
	p := d.pruner(t, PruningOptions{Blocks: true, States: true, WindowBlocks: 1 << 40, Budget: 1_000_000, Used: func() int64 { return used * 1000 }})
	if err := p.all(); err != nil {
		t.Fatal(err)
	}
	if p.blocks.Base() != 1 {
		t.Fatalf("the window was not kept while there was room: the oldest block is %d", p.blocks.Base())
	}
	clock := time.Now()
	before := now
	now = func() time.Time { return clock }
	t.Cleanup(func() { now = before })
	head, oldest := p.records.Head(), int64(1)
	for range 100 {
		p.weigh()
		clock = clock.Add(time.Minute)
		if err := p.step(context.Background(), head, clock); err != nil {
			t.Fatal(err)
		}
		base := p.blocks.Base()
		if base < oldest || base > oldest+blocksPerStep {
			t.Fatalf("from %d to %d in one step", oldest, base)
		}
		oldest = base
	}
	if oldest != head-MinWindow+1 {
		t.Fatalf("of %d blocks those from %d on are left, want the latest %d", head, oldest, MinWindow)
	}
	if p.full() {
		t.Fatal("transactions are refused too early")
	}
	used = 960
	p.weigh()
	if !p.full() {
		t.Fatal("transactions are taken when there is no room")
	}

	h := newHost(t)
	h.pool.o.Full = p.full
	raw := setParams(chaintest.Consortium, h.now.Add(time.Minute).UnixMilli())
	decoded, err := h.app.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.pool.place(decoded, "o", false); !errors.Is(err, chain.ErrDiskBudget) {
		t.Fatalf("a transaction without room: %v", err)
	}
	used = 500
	p.weigh()
	if err := h.pool.place(decoded, "o", false); err != nil {
		t.Fatal(err)
	}
}

// Of the engine's log of votes, files go only when what follows the latest block is in
// later ones.
func TestTheEngineLogIsTrimmed(t *testing.T) {
	dir := t.TempDir()
	p := &pruner{o: PruningOptions{Blocks: true}, wal: filepath.Join(dir, "wal"), log: slog.New(slog.DiscardHandler)}
	begun := time.Now()
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprintf("wal.%03d", i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, begun, begun.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	left := func(want ...string) {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v are left, want %v", got, want)
		}
	}
	trim := func(height int64, at time.Duration) {
		t.Helper()
		if err := p.trimLog(height, begun.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	all := []string{"wal.000", "wal.001", "wal.002", "wal.003", "wal.004", "wal.005"}
	trim(10, 150*time.Second) // the mark: files 0 to 2 were closed before it
	left(all...)
	trim(11, 10*time.Minute) // one block came: the end of the latest may be in any
	left(all...)
	trim(12, 11*time.Minute)
	left(all[3:]...)
	trim(14, 12*time.Minute) // the two latest stay in any case
	left(all[4:]...)
}
