package chain

import (
	"fmt"
	"io"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// corePrefix is the state prefix of the core; modules take others.
const corePrefix = 0x01

const defaultVerified = 200_000

// Options is what an App is made of.
type Options struct {
	ChainID       string
	Tree          state.Tree // owned by the App from then on
	Authenticator Authenticator
	// Modules in order: genesis, end of block and export follow it.
	Modules []Module
	// Screen judges transactions; nil: none is judged.
	Screen Screen
	// Observer is told where time goes; nil: nobody is.
	Observer Observer
	// Validators say whose lists of waiting transactions count; nil: nobody's does.
	Validators Validators
	// Rand seeds the caches and batch verification. No result depends on it.
	Rand io.Reader
	// Workers is on how many processors a block's transactions are looked at ahead. No result
	// depends on it. 0: one.
	Workers int
	// Verified is how many verified signatures are remembered. 0: 200 000.
	Verified int
	// Oldest is the oldest version of the state machine that the program knows; 0: the
	// first. Migrations lead from it to the newest, one version each.
	Oldest     uint32
	Migrations []Migration
	// Partial lets arms of tx.v1.Message have no route: for tests of one module.
	Partial bool
}

// App is the state machine. Begin, Apply and Commit belong to one goroutine, the
// consensus engine's; everything else may be called by any.
type App struct {
	chainID  string
	tree     state.Tree
	auth     Authenticator
	screen   Screen   // nil: none
	observer Observer // nil: none
	modules  []Module

	validators Validators // nil: nobody's lists count

	oldest     uint32
	migrations []Migration
	trial      trialCache

	router   *router
	registry *state.Registry
	core     coreState
	workers  int // at least 1
	verified *keys.Memory
	rand     io.Reader
	decoded  decodedCache
	seen     *seenSet
	kept     *lru.Cache[stateID, *kept]
	written  written

	admitting admitting

	//determinism:allow bounds the memory of callers that decode at one time, and no result
	large sync.Mutex // held while a transaction of more than largeTx bytes is decoded

	//determinism:allow guards the genesis writes, which the engine sets once before block 1
	mu      sync.RWMutex // guards genesis
	genesis *genesisState

	applied *Block // applied to the tree and not yet committed
}

type coreState struct {
	schema *state.Schema
	params state.Item[*chainv1.Params]
	head   state.Item[*chainv1.Head]
	seen   state.Map[uint64, *chainv1.Seen]

	lists   state.Map[[]byte, *chainv1.Listed]
	demands state.Map[[]byte, *chainv1.Demand]

	version   state.Item[*chainv1.Version]
	plan      state.Item[*chainv1.UpgradePlan]
	readiness state.Map[string, *chainv1.Readiness]
	upgrades  state.Map[string, *chainv1.Upgrade]
}

func newCoreState() coreState {
	s := state.NewSchema("chain", corePrefix)
	return coreState{
		schema: s,
		params: state.NewItem(s, 0x01, "params", state.Proto[chainv1.Params]()),
		head:   state.NewItem(s, 0x02, "head", state.Proto[chainv1.Head]()),
		seen:   state.NewMap(s, 0x03, "seen", state.Uint64, state.Proto[chainv1.Seen]()),

		lists:   state.NewMap(s, 0x04, "lists", state.Bytes, state.Proto[chainv1.Listed]()),
		demands: state.NewMap(s, 0x05, "demands", state.Bytes, state.Proto[chainv1.Demand]()),

		version:   state.NewItem(s, 0x06, "version", state.Proto[chainv1.Version]()),
		plan:      state.NewItem(s, 0x07, "plan", state.Proto[chainv1.UpgradePlan]()),
		readiness: state.NewMap(s, 0x08, "readiness", state.String, state.Proto[chainv1.Readiness]()),
		upgrades:  state.NewMap(s, 0x09, "upgrades", state.String, state.Proto[chainv1.Upgrade]()),
	}
}

// New builds the state machine and refuses clashes of names, prefixes and routes.
func New(o Options) (*App, error) {
	if o.Oldest == 0 {
		o.Oldest = FirstVersion
	}
	if o.Verified == 0 {
		o.Verified = defaultVerified
	}
	var seed [32]byte
	if _, err := io.ReadFull(o.Rand, seed[:]); err != nil {
		return nil, fmt.Errorf("seed the signature cache: %w", err)
	}
	a := &App{
		chainID: o.ChainID, tree: o.Tree, auth: o.Authenticator, screen: o.Screen, observer: o.Observer, modules: o.Modules, validators: o.Validators,
		oldest: o.Oldest, migrations: o.Migrations,
		core: newCoreState(), workers: max(o.Workers, 1), rand: &sharedRand{r: o.Rand}, decoded: newDecodedCache(decodedEntries, decodedBytes),
		verified: keys.NewMemory(o.Verified, seed), seen: &seenSet{ids: make(map[tx.ID]struct{})}, kept: newKeptStates(),
	}
	schemas := []*state.Schema{a.core.schema}
	routes := []Route{a.setParams(), a.scheduleUpgrade(), a.cancelUpgrade(), a.reportReadiness()}
	governing := ""
	for _, m := range o.Modules {
		schemas = append(schemas, m.Schema())
		routes = append(routes, m.Routes()...)
		if k, ok := m.(Keeper); ok {
			k.SetExecutor(a)
		}
		if g, ok := m.(Governing); ok {
			if governing != "" {
				return nil, fmt.Errorf("the modules %s and %s both decide for the consortium; leave one out", governing, m.Name())
			}
			governing = m.Name()
			g.SetMandate(mandate{a})
		}
	}
	var err error
	if a.registry, err = state.NewRegistry(schemas...); err != nil {
		return nil, err
	}
	if a.router, err = newRouter(routes, o.Partial); err != nil {
		return nil, err
	}
	a.loadSeen(o.Tree.Latest())
	a.written.begin(o.Tree.Version())
	return a, nil
}

// ChainID is the chain's id.
func (a *App) ChainID() string { return a.chainID }

// Registry is every collection of the chain.
func (a *App) Registry() *state.Registry { return a.registry }

// Modules are the modules, in order.
func (a *App) Modules() []Module { return a.modules }

// Workers is on how many processors a block's transactions are looked at.
func (a *App) Workers() int { return a.workers }

// Tree is the committed state.
func (a *App) Tree() state.Tree { return a.tree }

// Head is the latest committed block, zero before the first.
func (a *App) Head() *chainv1.Head { return a.headIn(a.tree.Latest()) }

func (a *App) headIn(r state.Reader) *chainv1.Head {
	h, ok := a.core.head.Lookup(r)
	if !ok {
		return &chainv1.Head{}
	}
	return h
}

// View is the committed state at a height, 0 for the latest, as queries see it.
func (a *App) View(height int64) (ReadCtx, state.Snapshot, error) {
	snap := a.tree.Latest()
	if height != 0 && height != snap.Version() {
		var err error
		if snap, err = a.tree.At(height); err != nil {
			return nil, nil, ErrBadHeight.Wrap(err)
		}
	}
	return a.committed(snap), snap, nil
}

// committed is a view of a saved state, with what queries keep beside it.
func (a *App) committed(snap state.Snapshot) ReadCtx {
	if snap.Version() == 0 {
		return a.view(snap, 0)
	}
	at := stateID{snap.Version(), string(snap.Root())}
	k, ok := a.kept.Get(at)
	if !ok {
		k = &kept{env: a.view(snap, at.version).env, written: &a.written, values: make(map[string]any)}
		if earlier, ok, _ := a.kept.PeekOrAdd(at, k); ok {
			k = earlier
		}
	}
	return &view{env: k.env, reader: snap, kept: k}
}

// Latest is the latest state; before block 1, what the genesis wrote.
func (a *App) Latest() ReadCtx {
	a.mu.RLock()
	g := a.genesis
	a.mu.RUnlock()
	// Who forgets the genesis has saved block 1 before.
	if snap := a.tree.Latest(); snap.Version() > 0 || g == nil {
		return a.ViewOf(snap, snap.Version())
	}
	return a.ViewOf(state.Sorted(g.changes), 0)
}

// ViewOf is a context for queries over any reader of the state at a height.
func (a *App) ViewOf(r state.Reader, height int64) ReadCtx { return a.view(r, height) }

func (a *App) view(r state.Reader, height int64) *view {
	v := &view{env: env{chainID: a.chainID, height: height, version: a.VersionIn(r)}, reader: r}
	if h, ok := a.core.head.Peek(r); ok {
		v.time = h.Time
	}
	return v
}

// Decode parses a transaction. What Admit let in lately is not parsed again.
func (a *App) Decode(raw []byte) (*tx.Decoded, error) {
	if len(raw) > tx.MaxBytes {
		return tx.Decode(raw)
	}
	// Decoded, the bytes of empty records take a hundred times their size. Before the
	// first block the genesis' parameters are not in the tree, and the door judges.
	latest := a.tree.Latest()
	if most := a.paramsIn(latest).MaxTxBytes; latest.Version() > 0 && uint64(len(raw)) > most {
		return nil, ErrTooLarge.With("%d bytes, at most %d", len(raw), most)
	}
	if d, ok := a.decoded.find(raw); ok {
		return d, nil
	}
	if len(raw) > largeTx {
		a.large.Lock()
		defer a.large.Unlock()
	}
	return tx.Decode(raw)
}

// Claimed is what a transaction says of itself, before anything of it is checked.
type Claimed struct {
	tx.Claim
	Organisation string // that its author belongs to; empty: there is no such author, or no block yet
}

// Claim reads what the bytes claim, for much less than it takes to check them.
func (a *App) Claim(raw []byte) Claimed {
	claimed := Claimed{Claim: tx.Peek(raw)}
	if claimed.Author == "" {
		return claimed
	}
	latest := a.tree.Latest()
	_ = guard(func() error {
		claimed.Organisation, _ = a.auth.Organisation(a.ViewOf(latest, latest.Version()), claimed.Author)
		return nil
	})
	return claimed
}

// Seen tells whether a transaction was committed and is still remembered.
func (a *App) Seen(id tx.ID) bool { return a.seen.has(id) }

func (a *App) paramsIn(r state.Reader) *chainv1.Params {
	if p, ok := a.core.params.Peek(r); ok {
		return p
	}
	return DefaultParams()
}

// Restore makes the state, in which nothing was committed, that of an image; see
// state.Tree.Import. Nothing else of the engine's may run at the same time.
func (a *App) Restore(image io.Reader, version int64, root []byte) error {
	if err := a.tree.Import(image, version, root); err != nil {
		return err
	}
	latest := a.tree.Latest()
	if head := a.headIn(latest); head.Height != version {
		return fmt.Errorf("the state of version %d is that of block %d", version, head.Height)
	}
	a.loadSeen(latest)
	a.written.begin(version)
	a.mu.Lock()
	a.genesis = nil
	a.mu.Unlock()
	return nil
}

// Close releases the tree.
func (a *App) Close() error { return a.tree.Close() }
