package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/offline"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Trial is what a dry run of an upgrade did.
type Trial struct {
	*chain.Trial
	Plan   *chainv1.UpgradePlan // in the state that it began with; nil: none
	Before []byte               // root of that state
	Newest uint32               // version that the program knows
}

// DryRunOptions is what is tried.
type DryRunOptions struct {
	// Height is that of the state to begin with; 0: that of the block which made the plan,
	// or where there is no plan, or no such state any more, the latest.
	Height int64
	// Version is the one to come to; 0: the plan's.
	Version uint32
	// Work is the folder for the copy of the state, which is removed afterwards; empty: the
	// system's for temporary files.
	Work string
}

// DryRun tries an upgrade on a copy of a home's state. A running node is asked for the
// state; of one that is stopped the home is read. Nothing in the home changes.
func DryRun(ctx context.Context, home config.Home, o DryRunOptions) (_ *Trial, err error) {
	genesis, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(o.Work, "chancery-dry-run-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	image, err := os.OpenFile(filepath.Join(work, "image"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	version, root, err := imageOf(ctx, home, o.Height, image)
	if err != nil {
		return nil, err
	}
	if _, err := image.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	db, err := openDB("goleveldb", "state", work, smallCache)
	if err != nil {
		return nil, err
	}
	tree, err := state.OpenIAVL(db, state.IAVLOptions{NodeCache: 50_000, ValueCache: 1000, NoSync: true})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	app, err := Wire().App(genesis.ChainID, tree)
	if err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	if err := app.Restore(image, version, root); err != nil {
		return nil, fmt.Errorf("copy the state: %w", err)
	}
	t := &Trial{Plan: app.Plan(tree.Latest()), Before: root}
	_, t.Newest = app.Versions()
	to := o.Version
	if to == 0 {
		to = t.Plan.GetVersion()
	}
	if to == 0 {
		return nil, chain.ErrNoPlan.With("the state of height %d holds none; name the version to come to, or the height of a state that holds the plan", version)
	}
	if t.Trial, err = app.DryRun(to); err != nil {
		return t, &DryRunError{Height: version, Err: err}
	}
	return t, nil
}

// DryRunError says why a dry run failed on the copy of a state.
type DryRunError struct {
	Height int64 // of the state
	Err    error
}

// Error implements error.
func (e *DryRunError) Error() string {
	return fmt.Sprintf("the dry run on the state of height %d failed: %v", e.Height, e.Err)
}

// Unwrap is the cause.
func (e *DryRunError) Unwrap() error { return e.Err }

// imageOf writes an image of a home's state.
func imageOf(ctx context.Context, home config.Home, height int64, out io.Writer) (version int64, root []byte, err error) {
	lock, err := offline.Lock(home)
	if errors.Is(err, offline.ErrRunning) {
		return askImage(ctx, home, height, out)
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	app, err := openOffline(home)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	s, err := trialState(app, height)
	if err != nil {
		return 0, nil, err
	}
	return s.Version(), s.Root(), s.Export(out)
}

// openOffline is the state machine over the state of a home whose lock the caller holds. It
// is for reading alone.
func openOffline(home config.Home) (*chain.App, error) {
	c, err := config.Load(home)
	if err != nil {
		return nil, err
	}
	genesis, _, err := config.ReadGenesis(home.GenesisFile())
	if err != nil {
		return nil, err
	}
	tree, err := offline.Tree(home, c.State.Backend)
	if err != nil {
		return nil, err
	}
	app, err := Wire().App(genesis.ChainID, tree)
	if err != nil {
		return nil, errors.Join(err, tree.Close())
	}
	return app, nil
}

// trialState is the state of a height, 0 for the one that members compare their dry runs
// on: that of the block which made the plan.
func trialState(app *chain.App, height int64) (state.Snapshot, error) {
	latest := app.Tree().Latest()
	if height == 0 {
		if p := app.Plan(latest); p != nil && p.ScheduledHeight >= app.Tree().Oldest() {
			height = p.ScheduledHeight
		}
	}
	_, s, err := app.View(height)
	return s, err
}

// UpgradeStanding is what the state of a stopped node says of upgrades.
type UpgradeStanding struct {
	Status         *chainv1.UpgradeStatusResponse
	Oldest, Newest uint32 // versions that this program knows
	// Err is why this program cannot execute the next block; nil: it can.
	Err error
}

// StoppedUpgrade reads how an upgrade stands from the home of a node that is stopped, and
// whether this program can go on from there.
func StoppedUpgrade(home config.Home) (_ *UpgradeStanding, err error) {
	lock, err := offline.Lock(home)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	app, err := openOffline(home)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	s := &UpgradeStanding{Status: app.UpgradeStatus(), Err: app.Executable()}
	s.Oldest, s.Newest = app.Versions()
	return s, nil
}

// The headers of an image that the operator's door gives away.
const (
	imageHeight = "Chancery-Height"
	imageRoot   = "Chancery-Root"
	imageError  = "Chancery-Error"
)

// image answers with the image of a state: that of the height in the query, or the one that
// members compare their dry runs on.
func (a *admin) image(w http.ResponseWriter, r *http.Request) {
	if !a.busy.CompareAndSwap(false, true) {
		http.Error(w, "a backup or an image is being made already", http.StatusConflict)
		return
	}
	defer a.busy.Store(false)
	a.calls.Add(1)
	defer a.calls.Done()
	height, err := strconv.ParseInt(r.URL.Query().Get("height"), 10, 64)
	if err != nil || height < 0 {
		http.Error(w, "height is no height", http.StatusBadRequest)
		return
	}
	s, err := trialState(a.node.engine.App(), height)
	if err != nil {
		w.Header().Set(imageError, "bad-height")
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set(imageHeight, strconv.FormatInt(s.Version(), 10))
	w.Header().Set(imageRoot, hex.EncodeToString(s.Root()))
	if err := s.Export(w); err != nil {
		a.node.log.Error("the image of the state failed", "error", err)
		panic(http.ErrAbortHandler) // the connection is cut, so that the reader learns of it
	}
	a.node.log.Info("gave an image of the state away for a dry run", "height", s.Version())
}

// askImage has a running node write an image of its state.
func askImage(ctx context.Context, home config.Home, height int64, out io.Writer) (int64, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://node/state?height=%d", height), nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := AdminClient(home).Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("ask the running node for its state: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // what there is of it
		if resp.Header.Get(imageError) != "" {
			return 0, nil, chain.ErrBadHeight.With("height %d", height)
		}
		return 0, nil, fmt.Errorf("the node gives no image of its state: %s", text)
	}
	version, err := strconv.ParseInt(resp.Header.Get(imageHeight), 10, 64)
	if err != nil {
		return 0, nil, fmt.Errorf("the node names no height of its state: %w", err)
	}
	root, err := hex.DecodeString(resp.Header.Get(imageRoot))
	if err != nil {
		return 0, nil, fmt.Errorf("the node names no root of its state: %w", err)
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return 0, nil, fmt.Errorf("the state was cut off, the node's log may say why: %w", err)
	}
	return version, root, nil
}

// FailedReport is the report that a dry run failed with an error.
func FailedReport(plan string, stateHeight int64, newest uint32, program string, err error) *chainv1.ReportReadiness {
	e := errs.As(err)
	return &chainv1.ReportReadiness{
		Name: plan, StateHeight: stateHeight, NewestVersion: newest, Program: program, Codespace: e.Module, Code: e.Code,
	}
}
