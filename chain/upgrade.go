package chain

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// FirstVersion is the version of the state machine of a chain whose genesis names none.
const FirstVersion = 1

const (
	// minNotice is how many blocks lie at least between the block that makes a plan and the
	// plan's height.
	minNotice = 30
	// maxLeap is how many versions one upgrade may advance.
	maxLeap = 10

	maxPlanName = 40
	maxProgram  = 64
	maxModule   = 32
)

// Migration leads the state from one version of the state machine to the next, by steps in
// order. Their context is that of the first block of the new version, with the time of the
// block before; its Version is the one that the migration leads to. The work is not metered.
type Migration []Step

// Step is a module's part of a migration.
type Step struct {
	Module string
	// Run changes the state. Its error undoes the whole upgrade, SPEC U4. Like any other
	// execution it may depend on nothing but the context.
	Run func(ctx *Ctx) error
}

// Versions are the oldest and the newest version of the state machine that this program
// knows: it executes blocks by any from the one to the other.
func (a *App) Versions() (oldest, newest uint32) {
	return a.oldest, a.oldest + uint32(len(a.migrations))
}

// VersionIn is the version of the state machine in force in a state.
func (a *App) VersionIn(r state.Reader) uint32 { return a.versionRecord(r).Version }

func (a *App) versionRecord(r state.Reader) *chainv1.Version {
	if v, ok := a.core.version.Peek(r); ok {
		return v
	}
	return &chainv1.Version{Version: FirstVersion}
}

// Plan is the upgrade that is to come in a state, nil where there is none.
func (a *App) Plan(r state.Reader) *chainv1.UpgradePlan {
	p, _ := a.core.plan.Lookup(r)
	return p
}

// planIn is the plan, not to be changed.
func (a *App) planIn(r state.Reader) *chainv1.UpgradePlan {
	p, _ := a.core.plan.Peek(r)
	return p
}

// Executable tells whether this program can execute the block after the latest committed
// one: ErrUpgradeNeeded where it does not know the version yet that the block needs, and
// ErrTooNew where it does not know it any more, SPEC U5.
func (a *App) Executable() error {
	latest := a.tree.Latest()
	if latest.Version() == 0 {
		return nil // InitGenesis tells
	}
	if err := a.known(a.VersionIn(latest)); err != nil {
		return err
	}
	if p := a.planIn(latest); p != nil && latest.Version()+1 >= p.Height {
		return a.reaches(p)
	}
	return nil
}

// known refuses a version that this program does not know.
func (a *App) known(version uint32) error {
	switch oldest, newest := a.Versions(); {
	case version > newest:
		return ErrUpgradeNeeded.With("the state is of version %d, this program knows %d to %d", version, oldest, newest)
	case version < oldest:
		return ErrTooNew.With("the state is of version %d, this program knows %d to %d", version, oldest, newest)
	}
	return nil
}

// reaches refuses a plan whose version this program does not know.
func (a *App) reaches(p *chainv1.UpgradePlan) error {
	if oldest, newest := a.Versions(); p.Version > newest {
		return ErrUpgradeNeeded.With("upgrade %s: from block %d on version %d is in force, this program knows %d to %d", p.Name, p.Height, p.Version, oldest, newest)
	}
	return nil
}

// beginWith takes the version of a genesis into the state; 0 stands for the first.
func (a *App) beginWith(ctx *Ctx, version uint32) error {
	if version <= FirstVersion {
		return a.known(FirstVersion)
	}
	ctx.version = version
	a.core.version.Put(ctx, &chainv1.Version{Version: version})
	return a.known(version)
}

// exportedVersion is what beginWith reads to begin with the version in force.
func (a *App) exportedVersion(r state.Reader) uint32 {
	if v := a.VersionIn(r); v != FirstVersion {
		return v
	}
	return 0
}

// migrated is what the migrations of an upgrade do to a state.
type migrated struct {
	changes []state.Change
	events  []*chainv1.Event
	updates []ValidatorUpdate
	err     error // why one failed; then all else is empty
}

// trialCache keeps what migrations do, so that admission and the candidates of a height
// find it out once.
type trialCache struct {
	//determinism:allow lets callers wait for a result that is the same for each of them
	mu     sync.Mutex // guards the rest; held while migrations run
	base   int64      // version of the tree
	to     uint32
	result *migrated // nil: none is known
}

// migrate is what the migrations from the version in force in a committed state to another
// do. Their context depends on that state alone.
func (a *App) migrate(latest state.Snapshot, to uint32) *migrated {
	a.trial.mu.Lock()
	defer a.trial.mu.Unlock()
	if a.trial.result != nil && a.trial.base == latest.Version() && a.trial.to == to {
		return a.trial.result
	}
	m := new(migrated)
	ctx := &Ctx{
		env:     env{chainID: a.chainID, height: latest.Version() + 1, time: a.headIn(latest).Time},
		overlay: state.NewOverlay(latest), updates: &m.updates,
	}
	for from := a.VersionIn(latest); from < to && m.err == nil; from++ {
		ctx.version = from + 1
		for _, step := range a.migrations[from-a.oldest] {
			if err := guard(func() error { return step.Run(ctx) }); err != nil {
				m.err = fmt.Errorf("migration to version %d, step of %s: %w", from+1, step.Module, err)
				break
			}
		}
	}
	if m.err != nil {
		m.updates = nil
	} else {
		m.changes, m.events = ctx.overlay.Changes(), ctx.events
	}
	a.trial.base, a.trial.to, a.trial.result = latest.Version(), to, m
	return m
}

// upgrade finds out by which version the block is executed, and where a plan is due begins
// with its migrations, SPEC U3 and U4. plan is the one in the state, nil for none.
func (x *Execution) upgrade(latest state.Snapshot, plan *chainv1.UpgradePlan) {
	a := x.app
	x.version = a.VersionIn(x.overlay)
	if x.unknown = a.known(x.version); x.unknown != nil || plan == nil || x.header.Height < plan.Height {
		return
	}
	if x.unknown = a.reaches(plan); x.unknown != nil {
		return
	}
	m := a.migrate(latest, plan.Version)
	for _, c := range m.changes {
		if c.Value == nil {
			x.overlay.Remove(c.Key)
			continue
		}
		x.overlay.Set(c.Key, c.Value)
	}
	x.updates = append(x.updates, m.updates...)
	ctx := x.blockCtx()
	ended := &chainv1.Upgrade{Plan: plan.CloneVT(), Outcome: chainv1.UpgradeOutcome_UPGRADE_OUTCOME_DONE, FromVersion: x.version}
	if m.err != nil {
		e := errs.As(m.err)
		ended.Outcome, ended.Codespace, ended.Code = chainv1.UpgradeOutcome_UPGRADE_OUTCOME_FAILED, e.Module, e.Code
	} else {
		x.version, x.began = plan.Version, plan.Version
		a.core.version.Put(ctx, &chainv1.Version{Version: plan.Version, Height: x.header.Height})
	}
	a.endPlan(ctx, ended)
	x.record.Events = append(x.record.Events, m.events...)
	x.record.Events = append(x.record.Events, ctx.events...)
}

// endPlan removes the plan with its reports and files how it ended.
func (a *App) endPlan(ctx *Ctx, u *chainv1.Upgrade) {
	var reporters []string
	for organisation := range a.core.readiness.Walk(ctx, state.All()) {
		reporters = append(reporters, organisation)
	}
	for _, organisation := range reporters {
		a.core.readiness.Remove(ctx, organisation)
	}
	ctx.Remove(a.core.plan.Key())
	u.Height, u.Time = ctx.Height(), ctx.Time()
	a.core.upgrades.Put(ctx, u.Plan.Name, u)
	ctx.Emit(&chainv1.UpgradeEnded{Upgrade: u})
}

// Trial is what a dry run of an upgrade did.
type Trial struct {
	From, To uint32 // versions
	Height   int64  // of the state that it began with
	// Root is the root of the state after an empty block that begins with the upgrade. On
	// one state of the chain, equal programs find equal roots.
	Root []byte
	// Changes are those of the migrations, sorted by key.
	Changes []KeyChange
	Events  []*chainv1.Event // of the migrations
}

// DryRun executes an empty block by a later version on top of the latest state, which
// begins with the migrations to it, and does not commit it. Of the tree only the working
// copy changes, so the App must be no running node's.
func (a *App) DryRun(to uint32) (*Trial, error) {
	latest := a.tree.Latest()
	head := a.headIn(latest)
	from := a.VersionIn(latest)
	if latest.Version() == 0 {
		return nil, ErrBadHeight.With("there is no state yet")
	}
	if err := a.known(from); err != nil {
		return nil, err
	}
	if _, newest := a.Versions(); to > newest {
		return nil, ErrUpgradeNeeded.With("version %d is asked for, this program knows %d to %d", to, a.oldest, newest)
	}
	if to <= from {
		return nil, ErrNoMigration.With("version %d is in force, and version %d is asked for", from, to)
	}
	m := a.migrate(latest, to)
	if m.err != nil {
		return nil, m.err
	}
	height := latest.Version() + 1
	plan := &chainv1.UpgradePlan{Height: height, Version: to}
	if p := a.Plan(latest); p != nil && p.Version == to {
		plan = p
		plan.Height = height
	}
	x := a.beginPlanned(latest, Header{Height: height, Time: head.Time}, plan)
	x.open(nil)
	root, err := a.Apply(x.End())
	if err != nil {
		return nil, err
	}
	t := &Trial{From: from, To: to, Height: latest.Version(), Root: root, Events: m.events}
	for _, c := range m.changes {
		of, _ := a.registry.Of(c.Key)
		t.Changes = append(t.Changes, KeyChange{Collection: of, Key: c.Key, Before: latest.Lookup(c.Key), After: c.Value})
	}
	return t, nil
}

func (a *App) scheduleUpgrade() Route {
	return Handle(Handler[*chainv1.ScheduleUpgrade]{
		Validate: func(m *chainv1.ScheduleUpgrade) error {
			switch {
			case !planName(m.Name):
				return ErrBadPlan.With("name must have 1 to %d of a-z, 0-9, dot and hyphen, and begin with a letter or a digit", maxPlanName)
			case m.Height <= 0 || m.Height > math.MaxInt64/2:
				return ErrBadPlan.With("height is %d", m.Height)
			case len(m.ChecksumsHash) != sha256.Size:
				return ErrBadPlan.With("checksums_hash must be the %d bytes of a SHA-256", sha256.Size)
			case len(m.NotesHash) != 0 && len(m.NotesHash) != sha256.Size:
				return ErrBadPlan.With("notes_hash must be the %d bytes of a SHA-256, or empty", sha256.Size)
			}
			return nil
		},
		Check: func(ctx ReadCtx, m *chainv1.ScheduleUpgrade) error {
			if ctx.Author() != a.auth.Consortium() {
				return ErrNotConsortium.With("author is %s", ctx.Author())
			}
			if p := a.planIn(ctx); p != nil {
				return ErrPlanned.With("%s at height %d", p.Name, p.Height)
			}
			switch v := ctx.Version(); {
			case a.core.upgrades.Has(ctx, m.Name):
				return ErrBadPlan.With("the name %s was another plan's; choose a new one", m.Name)
			case m.Height < ctx.Height()+minNotice:
				return ErrBadPlan.With("height is %d; this is block %d, and an upgrade needs a notice of %d blocks", m.Height, ctx.Height(), minNotice)
			case m.Version <= v || m.Version > v+maxLeap:
				return ErrBadPlan.With("version is %d; version %d is in force, and one upgrade leads at most %d further", m.Version, v, maxLeap)
			}
			return nil
		},
		Execute: func(ctx *Ctx, m *chainv1.ScheduleUpgrade) (proto.Message, error) {
			p := &chainv1.UpgradePlan{
				Name: m.Name, Height: m.Height, Version: m.Version, ChecksumsHash: m.ChecksumsHash, NotesHash: m.NotesHash,
				ScheduledHeight: ctx.Height(), ScheduledTime: ctx.Time(),
			}
			a.core.plan.Put(ctx, p)
			ctx.Emit(&chainv1.UpgradeScheduled{Plan: p})
			return &chainv1.ScheduleUpgradeResponse{}, nil
		},
	})
}

func planName(s string) bool {
	return word(s, maxPlanName, ".-", false) && s[0] != '.' && s[0] != '-'
}

// word tells whether a text is one word of lower-case letters, digits and what else is
// allowed.
func word(s string, most int, also string, upper bool) bool {
	if s == "" || len(s) > most {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', upper && c >= 'A' && c <= 'Z':
			return false
		}
		return !strings.ContainsRune(also, c)
	})
}

func (a *App) cancelUpgrade() Route {
	return Handle(Handler[*chainv1.CancelUpgrade]{
		Validate: func(m *chainv1.CancelUpgrade) error {
			if !planName(m.Name) {
				return ErrBadPlan.With("name is missing or malformed")
			}
			return nil
		},
		Check: func(ctx ReadCtx, m *chainv1.CancelUpgrade) error {
			if ctx.Author() != a.auth.Consortium() {
				return ErrNotConsortium.With("author is %s", ctx.Author())
			}
			return a.planned(ctx, m.Name)
		},
		Execute: func(ctx *Ctx, m *chainv1.CancelUpgrade) (proto.Message, error) {
			a.endPlan(ctx, &chainv1.Upgrade{
				Plan: a.Plan(ctx), Outcome: chainv1.UpgradeOutcome_UPGRADE_OUTCOME_CANCELLED, FromVersion: ctx.Version(),
			})
			return &chainv1.CancelUpgradeResponse{}, nil
		},
	})
}

// planned refuses a name that is not that of the plan that is to come.
func (a *App) planned(r ReadCtx, name string) error {
	switch p := a.planIn(r); {
	case p == nil:
		return ErrNoPlan.With("%s; none is to come", name)
	case p.Name != name:
		return ErrNoPlan.With("%s; %s is to come", name, p.Name)
	}
	return nil
}

func (a *App) reportReadiness() Route {
	return Handle(Handler[*chainv1.ReportReadiness]{
		Validate: func(m *chainv1.ReportReadiness) error {
			switch {
			case !planName(m.Name):
				return ErrBadReport.With("name is missing or malformed")
			case m.StateHeight < 0 || m.NewestVersion == 0:
				return ErrBadReport.With("state_height is negative or newest_version is missing")
			case !word(m.Program, maxProgram, ".-+", true):
				return ErrBadReport.With("program must have 1 to %d letters, digits, dots, hyphens and plus signs", maxProgram)
			case m.Ready && (m.StateHeight == 0 || len(m.AppHash) != sha256.Size || m.Codespace != "" || m.Code != 0):
				return ErrBadReport.With("who is ready gives state_height and the %d bytes of app_hash, and no code", sha256.Size)
			case !m.Ready && (len(m.AppHash) != 0 || m.Code == 0 || !word(m.Codespace, maxModule, "-", false)):
				return ErrBadReport.With("who is not ready gives codespace and code of the error, and no app_hash")
			}
			return nil
		},
		Check: func(ctx ReadCtx, m *chainv1.ReportReadiness) error {
			if err := a.planned(ctx, m.Name); err != nil {
				return err
			}
			if m.StateHeight >= ctx.Height() {
				return ErrBadReport.With("state_height is %d, this is block %d", m.StateHeight, ctx.Height())
			}
			if ctx.Author() != ctx.Organisation() {
				return ErrNoReporter.With("author is %s, of %s", ctx.Author(), ctx.Organisation())
			}
			if a.validators == nil {
				return nil
			}
			powers, _ := a.validators.Powers(ctx)
			for _, p := range powers {
				if p.Organisation == ctx.Author() {
					return nil
				}
			}
			return ErrNoReporter.With("%s has none", ctx.Author())
		},
		Execute: func(ctx *Ctx, m *chainv1.ReportReadiness) (proto.Message, error) {
			id := ctx.TxID()
			r := &chainv1.Readiness{
				Name: m.Name, Organisation: ctx.Author(), Ready: m.Ready, StateHeight: m.StateHeight, AppHash: bytes.Clone(m.AppHash),
				NewestVersion: m.NewestVersion, Program: m.Program, Codespace: m.Codespace, Code: m.Code,
				Height: ctx.Height(), Time: ctx.Time(), TxId: id[:],
			}
			a.core.readiness.Put(ctx, r.Organisation, r)
			ctx.Emit(&chainv1.ReadinessReported{Readiness: r})
			return &chainv1.ReportReadinessResponse{}, nil
		},
	})
}
