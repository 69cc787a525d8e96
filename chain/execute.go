package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Header is what of a block's header execution depends on.
type Header struct {
	Height int64
	Time   int64 // Unix milliseconds
}

// Block is an executed block: what it changes and what came of its transactions.
type Block struct {
	Header  Header
	Txs     []*tx.Decoded  // in order, shared and not to be changed
	Changes []state.Change // sorted by key
	Record  *chainv1.BlockRecord
	Updates []ValidatorUpdate // sorted by key, one per key

	// Demanded are the transactions that this block began to demand.
	Demanded []tx.ID
	// Version is the version of the state machine that began with this block, 0 for none.
	Version uint32
	// Foresight is what came of looking ahead. It is the node's own affair.
	Foresight Foresight

	ids       []byte
	forgotten [][]byte
}

// Execution is a block being executed over the latest committed state. It may be
// dropped at any point without a trace.
type Execution struct {
	app       *App
	header    Header
	params    *chainv1.Params
	version   uint32       // of the state machine, in force in this block
	began     uint32       // the version that began with this block, 0 for none
	unknown   error        // this program does not know the version that the block needs; nil: it does
	base      state.Reader // the committed state that overlay is over
	overlay   *state.Overlay
	ahead     *foresight // nil: nothing was foreseen
	record    *chainv1.BlockRecord
	updates   []ValidatorUpdate
	ids       []byte
	delivered []*tx.Decoded
	inBlock   map[tx.ID]struct{}
	until     int64
	used      map[string]uint64 // units by organisation
	all       uint64            // units of all organisations

	screening Screening // nil: transactions are not judged
	opening   []*chainv1.Event
	verdicts  []*chainv1.Verdict

	misbehaviour []*chainv1.Misbehaviour

	heard    []heard // what the docket's votes list
	asked    bool    // whether demanded was read
	demanded []*chainv1.Demand
}

// Begin starts a block on top of the latest committed one. votes are what its docket
// carries of votes for that one, verified; see Screen.Open.
func (a *App) Begin(h Header, votes ...*chainv1.Vote) *Execution {
	x := a.beginOn(a.tree.Latest(), h)
	votes, x.heard = hear(votes)
	x.open(votes)
	return x
}

// open has the transactions judged.
func (x *Execution) open(votes []*chainv1.Vote) {
	if x.app.screen != nil {
		ctx := x.blockCtx()
		x.screening = x.app.screen.Open(ctx, votes)
		x.opening = ctx.events
	}
}

// beginOn starts a block on top of a committed state, in which transactions are not judged.
func (a *App) beginOn(latest state.Snapshot, h Header) *Execution {
	return a.beginPlanned(latest, h, a.planIn(latest))
}

// beginPlanned starts one that begins with the upgrade of a plan where it is due, nil for
// none.
func (a *App) beginPlanned(latest state.Snapshot, h Header, plan *chainv1.UpgradePlan) *Execution {
	x := &Execution{
		app: a, header: h,
		base: latest, overlay: state.NewOverlay(latest),
		record:  &chainv1.BlockRecord{Height: h.Height, Time: h.Time},
		inBlock: make(map[tx.ID]struct{}),
		used:    make(map[string]uint64),
	}
	if latest.Version() == 0 {
		a.mu.RLock()
		g := a.genesis
		a.mu.RUnlock()
		if g != nil {
			for _, c := range g.changes {
				if c.Value != nil { // removed from a tree that is empty
					x.overlay.Set(c.Key, c.Value)
				}
			}
			x.record.Events = append(x.record.Events, g.events...)
		}
	}
	x.upgrade(latest, plan)
	x.params = a.paramsIn(x.overlay)
	return x
}

// Report tells what the block carries evidence of, before End.
func (x *Execution) Report(of []*chainv1.Misbehaviour) { x.misbehaviour = of }

// Deliver executes a transaction. An error means that the transaction may not be
// in the block at all: it left no trace, and the error says whether the same
// bytes may be tried again. A transaction that was executed and failed is no
// error: its result has a code.
func (x *Execution) Deliver(d *tx.Decoded) (*chainv1.TxResult, error) {
	if _, ok := x.inBlock[d.ID]; ok {
		return nil, ErrSeen.With("%s is in this block already", d.ID)
	}
	start, updates := x.overlay.Mark(), len(x.updates)
	v := x.view(d)
	m := v.meter
	known := x.ahead.about(d)
	authority, err := x.door(v, d, known)
	if err != nil {
		return nil, err
	}
	if !known.signed || known.authority.came != cameTrue {
		if err := badSignature(d, x.app.verified.Verify(x.app.rand, signatures(d, authority))); err != nil {
			return nil, err
		}
	}
	v.author, v.organisation, v.signers = d.Body.Author, authority.Organisation, authority.Signers
	ctx := &Ctx{env: v.env, overlay: x.overlay, meter: m, updates: &x.updates}
	c := &Candidate{Decoded: d, Authority: authority}
	mark := x.app.mark()
	verdict, row, failure := x.judge(v, c, known)
	x.app.spent(StageJudge, mark, d)
	var responses [][]byte
	mark = x.app.mark()
	switch {
	case failure != nil:
	case verdict.GetRuling() == chainv1.Ruling_RULING_HOLD || verdict.GetRuling() == chainv1.Ruling_RULING_DENY:
		failure = ErrHeld
		if verdict.Ruling == chainv1.Ruling_RULING_DENY {
			failure = ErrDenied
		}
		// What the chain does of itself is charged, and never runs out of units.
		m.limit = math.MaxUint64
		if err := ctx.Atomic(func() error { return guard(func() error { return x.screening.Keep(ctx, c, verdict) }) }); err != nil {
			x.overlay.Rollback(start)
			return nil, err
		}
	default:
		failure = ctx.Atomic(func() error {
			return guard(func() (err error) {
				responses, err = x.app.run(ctx, d, known)
				return err
			})
		})
		if verdict != nil {
			m.limit = math.MaxUint64
			// An error is a fault of the screen that hits every node alike; the transaction
			// stands without the response.
			_ = ctx.Atomic(func() error {
				return guard(func() error { x.screening.Respond(ctx, c, verdict); return nil })
			})
		}
	}
	x.app.spent(StageExecute, mark, d)
	m.used += ctx.beside
	// What kept transactions and the screen's own doing need comes on top of the limit of
	// one transaction: what fits into a block alone must not be refused for ever.
	if err := x.quota(authority.Organisation, m.used); err != nil {
		x.overlay.Rollback(start)
		x.updates = x.updates[:updates]
		return nil, err
	}
	x.used[authority.Organisation] += m.used
	x.all += m.used
	x.inBlock[d.ID] = struct{}{}
	x.ids = append(x.ids, d.ID[:]...)
	x.delivered = append(x.delivered, d)
	x.until = max(x.until, d.Body.ValidUntil)
	r := &chainv1.TxResult{
		TxId: d.ID[:], Height: x.header.Height, Index: uint32(len(x.record.Txs)),
		Units: m.used, Time: x.header.Time, Verdict: verdict, Row: row, Events: ctx.events,
	}
	if failure != nil {
		e := errs.As(failure)
		r.Code, r.Codespace, r.Log = e.Code, e.Module, failure.Error()
	} else {
		r.Responses = responses
	}
	x.record.Txs = append(x.record.Txs, r)
	x.verdicts = append(x.verdicts, verdict)
	if x.screening != nil {
		x.screening.Note(c, verdict, r)
	}
	return r, nil
}

// quota refuses what would be too much work for the organisation, SPEC M3, or for the
// block, M4.
func (x *Execution) quota(organisation string, units uint64) error {
	if used := x.used[organisation]; used > 0 && used+units > x.params.MaxOrganisationUnits {
		return ErrOverQuota.With("%s has used %d of %d units", organisation, used, x.params.MaxOrganisationUnits)
	}
	if x.all > 0 && x.all+units > x.params.MaxBlockUnits {
		return ErrBlockFull.With("%d of %d units are used", x.all, x.params.MaxBlockUnits)
	}
	return nil
}

// judge is the screen's verdict, nil where nothing is judged. A transaction that has
// too few units to be judged is admitted and fails.
func (x *Execution) judge(v *view, c *Candidate, known *foreseen) (verdict *chainv1.Verdict, row []int64, failure error) {
	if x.screening == nil {
		return nil, nil, nil
	}
	failure = guard(func() error {
		verdict, row = x.screening.Judge(v, c, func() any {
			gathered, _ := settle(&known.gathered, x.overlay, v.meter, func() (any, error) { return x.screening.Gather(v, c), nil })
			return gathered
		})
		return nil
	})
	if failure != nil {
		verdict, row = &chainv1.Verdict{Ruling: chainv1.Ruling_RULING_ADMIT}, nil
	}
	return verdict, row, failure
}

// full is the screen's, false where the transaction has too few units to be asked about.
func (x *Execution) full(r ReadCtx, c *Candidate) (full bool) {
	_ = guard(func() error {
		full = x.screening.Full(r, c)
		return nil
	})
	return full
}

// room refuses, as Deliver would, a transaction that would be kept by its verdict and
// that the screen has no room for. It leaves no trace.
func (x *Execution) room(v *view, c *Candidate, verdict *chainv1.Verdict) error {
	if verdict.GetRuling() != chainv1.Ruling_RULING_HOLD && verdict.GetRuling() != chainv1.Ruling_RULING_DENY {
		return nil
	}
	return x.try(v, &meter{costs: v.meter.costs, limit: math.MaxUint64}, func(ctx *Ctx) error { return x.screening.Keep(ctx, c, verdict) })
}

// try does something within the block and undoes it, whatever came of it.
func (x *Execution) try(v *view, m *meter, do func(ctx *Ctx) error) error {
	start := x.overlay.Mark()
	defer x.overlay.Rollback(start)
	var updates []ValidatorUpdate
	ctx := &Ctx{env: v.env, overlay: x.overlay, meter: m, updates: &updates}
	return guard(func() error { return do(ctx) })
}

// End closes the block. It panics where this program does not know the block's version
// of the state machine: Executable tells before.
func (x *Execution) End() *Block {
	if x.unknown != nil {
		panic(fmt.Sprintf("chain: block %d was executed all the same: %v", x.header.Height, x.unknown))
	}
	x.ahead.end()
	events := x.opening
	if len(x.misbehaviour) > 0 {
		for _, m := range x.app.modules {
			if w, ok := m.(Witness); ok {
				ctx := x.blockCtx()
				w.Misbehaved(ctx, x.misbehaviour)
				events = append(events, ctx.events...)
			}
		}
	}
	for _, m := range x.app.modules {
		if g, ok := m.(Governing); ok {
			ctx := x.blockCtx()
			g.Decide(ctx)
			events = append(events, ctx.events...)
		}
	}
	if x.screening != nil {
		ctx := x.blockCtx()
		x.screening.Close(ctx)
		events = append(events, ctx.events...)
		x.record.Model = x.model()
	}
	for _, m := range x.app.modules {
		if e, ok := m.(BlockEnder); ok {
			ctx := x.blockCtx()
			e.EndBlock(ctx)
			events = append(events, ctx.events...)
		}
	}
	ctx := x.blockCtx()
	made := x.settleDemands(ctx)
	events = append(events, ctx.events...)
	forgotten := x.app.rememberSeen(ctx, x.ids, x.until)
	x.app.core.head.Put(ctx, &chainv1.Head{Height: x.header.Height, Time: x.header.Time})
	x.record.Events = append(x.record.Events, events...)
	return &Block{
		Header: x.header, Txs: x.delivered, Changes: x.overlay.Changes(), Record: x.record,
		Updates: lastPerKey(x.updates), Demanded: made, Version: x.began, Foresight: x.ahead.tally(), ids: x.ids, forgotten: forgotten,
	}
}

// blockCtx is a context of the block itself: no author, not metered.
func (x *Execution) blockCtx() *Ctx {
	return &Ctx{
		env:     env{chainID: x.app.chainID, height: x.header.Height, time: x.header.Time, version: x.version},
		overlay: x.overlay, updates: &x.updates,
	}
}

// Apply writes an executed block to the working tree and returns the root that
// Commit will save. It may be called again before Commit.
func (a *App) Apply(b *Block) ([]byte, error) {
	if want := a.tree.Version() + 1; b.Header.Height != want {
		return nil, fmt.Errorf("chain: block %d applied on top of state %d", b.Header.Height, want-1)
	}
	root, err := a.tree.Apply(b.Changes)
	if err != nil {
		return nil, err
	}
	a.applied = b
	return root, nil
}

// Commit makes the applied block durable.
func (a *App) Commit() error {
	if a.applied == nil {
		return errors.New("chain: Commit without Apply")
	}
	if err := a.tree.Save(); err != nil {
		return err
	}
	for _, raw := range a.applied.forgotten {
		a.seen.forget(raw)
	}
	a.seen.add(a.applied.ids)
	a.written.see(a.applied.Header.Height, a.applied.Changes)
	for _, d := range a.applied.Txs {
		a.decoded.drop(d) // from now on only who sends it again asks for it
	}
	a.applied = nil
	a.mu.Lock()
	a.genesis = nil
	a.mu.Unlock()
	return nil
}

// Admission is what Admit says of one transaction.
type Admission struct {
	Authority Authority
	Err       error // why it may not enter; nil: it may
	// Hint is what the screen would say of it now, where that was asked for.
	Hint *chainv1.Verdict
}

// Admit decides which transactions may enter the node's pool: for each the door,
// then what the modules can say of it from the latest state, at the latest block's
// time. They are judged independently of one another. Their signatures are
// verified in one batch.
func (a *App) Admit(ds ...*tx.Decoded) []Admission { return a.AdmitWithHints(ds, nil) }

// Ask is what else is asked of an admission.
type Ask uint8

// What may be asked.
const (
	AskNothing Ask = iota
	// AskRoom asks to refuse what would be kept and has no room, as a block would. Judging
	// costs as much as in a block, so it is done only where there is no room.
	AskRoom
	// AskHint asks for that, and what the screen would say.
	AskHint
)

// AdmitWithHints is Admit, and answers what is asked of each; nil asks nothing.
func (a *App) AdmitWithHints(ds []*tx.Decoded, asks []Ask) []Admission {
	out := make([]Admission, len(ds))
	views := make([]*view, len(ds))
	x, done := a.admitting.begin(a, slices.ContainsFunc(asks, func(k Ask) bool { return k != AskNothing }), len(ds))
	defer done()
	var items []keys.Item
	for i, d := range ds {
		views[i] = x.view(d)
		if out[i].Authority, out[i].Err = x.door(views[i], d, &nothing); out[i].Err == nil {
			items = append(items, signatures(d, out[i].Authority)...)
		}
	}
	mark := a.mark()
	good := a.verified.Verify(a.rand, items)
	a.spent(StageVerify, mark, ds...)
	for i, d := range ds {
		if out[i].Err != nil {
			continue
		}
		n := len(d.Tx.Signatures)
		if out[i].Err = badSignature(d, good[:n]); out[i].Err == nil {
			mark = a.mark()
			out[i].Err = x.rehearse(views[i], d, out[i].Authority)
			a.spent(StageCheck, mark, d)
		}
		if out[i].Err == nil && x.screening != nil && asks[i] != AskNothing {
			c := &Candidate{Decoded: d, Authority: out[i].Authority}
			if asks[i] == AskHint || x.full(views[i], c) {
				mark = a.mark()
				verdict, _, _ := x.judge(views[i], c, &nothing)
				a.spent(StageHint, mark, d)
				out[i].Err = x.room(views[i], c, verdict)
				if asks[i] == AskHint {
					out[i].Hint = verdict
				}
			}
		}
		if out[i].Err == nil {
			a.decoded.keep(d)
		}
		good = good[n:]
	}
	return out
}

// mostAdmitted is how many transactions may be judged over one throwaway block, unless they
// come together: it remembers what it read for them.
const mostAdmitted = 512

// admitting is the throwaway block over which admissions are judged, which change nothing of
// it. It is made anew when a block was committed: small batches would pay more for it than
// for what they are about.
type admitting struct {
	//determinism:allow admissions are the node's own affair, and never part of a block
	mu     sync.Mutex
	x      *Execution // nil: none yet
	judged int
}

// begin is the block for n more, until done is called.
func (g *admitting) begin(a *App, judge bool, n int) (x *Execution, done func()) {
	g.mu.Lock()
	latest := a.tree.Latest().Version()
	if g.x == nil || latest == 0 || g.x.header.Height != latest+1 || g.judged+n > mostAdmitted {
		g.x, g.judged = a.next(false), 0
	}
	if judge && g.x.screening == nil {
		g.x.open(nil)
	}
	g.judged += n
	return g.x, g.mu.Unlock
}

// Next starts a throwaway block after the latest, at the latest block's time.
func (a *App) Next() *Execution { return a.next(true) }

// next takes height and state from one snapshot: a block may be committed meanwhile.
func (a *App) next(judge bool) *Execution {
	latest := a.tree.Latest()
	h := a.headIn(latest)
	x := a.beginOn(latest, Header{Height: h.Height + 1, Time: h.Time})
	if judge {
		x.open(nil)
	}
	return x
}

// view is what a transaction sees of the block while it is judged.
func (x *Execution) view(d *tx.Decoded) *view {
	return &view{
		env:    env{chainID: x.app.chainID, height: x.header.Height, time: x.header.Time, version: x.version, txID: d.ID},
		reader: x.overlay,
		meter:  &meter{costs: x.params.Costs, limit: x.params.MaxTxUnits},
	}
}

// rehearse is what the modules say of a transaction that has passed the door. It leaves no trace.
func (x *Execution) rehearse(v *view, d *tx.Decoded, authority Authority) error {
	v.author, v.organisation, v.signers = d.Body.Author, authority.Organisation, authority.Signers
	if len(d.Messages) == 1 {
		return guard(func() error { return x.app.router.route(d.Messages[0]).check(v, d.Messages[0]) })
	}
	// A later message may rest on an earlier one, so they are executed in order; whoever judges
	// afterwards has all units that are left behind the door.
	m := *v.meter
	return x.try(v, &m, func(ctx *Ctx) error {
		_, err := x.app.run(ctx, d, &nothing)
		return err
	})
}

func signatures(d *tx.Decoded, authority Authority) []keys.Item {
	items := make([]keys.Item, len(d.Tx.Signatures))
	for i, s := range d.Tx.Signatures {
		items[i] = keys.Item{Key: authority.Keys[i], Message: d.SignedData, Signature: s.Signature}
	}
	return items
}

// badSignature is the refusal for the first of a transaction's signatures that is
// not good, SPEC T12.
func badSignature(d *tx.Decoded, good []bool) error {
	if i := slices.Index(good, false); i >= 0 {
		return ErrBadSignature.With("signature %d, key %s", i, d.Tx.Signatures[i].Key)
	}
	return nil
}

// door is SPEC chapter T but for T12: what must hold of a transaction, besides
// good signatures, before it may be in a block. It writes nothing.
func (x *Execution) door(v *view, d *tx.Decoded, known *foreseen) (authority Authority, err error) {
	a, p := x.app, x.params
	switch {
	case uint64(len(d.Raw)) > p.MaxTxBytes:
		return authority, ErrTooLarge.With("%d bytes, at most %d", len(d.Raw), p.MaxTxBytes)
	case d.Body.ChainId != a.chainID:
		return authority, ErrWrongChain.With("it is for %q, this is %q", d.Body.ChainId, a.chainID)
	case uint64(len(d.Messages)) > uint64(p.MaxMessages):
		return authority, ErrTooManyMessages.With("%d, at most %d", len(d.Messages), p.MaxMessages)
	case uint64(len(d.Tx.Signatures)) > uint64(p.MaxSignatures):
		return authority, ErrTooManySigners.With("%d, at most %d", len(d.Tx.Signatures), p.MaxSignatures)
	case d.Body.ValidUntil < v.time:
		return authority, ErrVoid.With("valid until %d, block time is %d", d.Body.ValidUntil, v.time)
	case d.Body.ValidUntil-v.time > p.MaxValidityMs:
		return authority, ErrTooFarAhead.With("%d ms ahead, at most %d", d.Body.ValidUntil-v.time, p.MaxValidityMs)
	case a.seen.has(d.ID):
		return authority, ErrSeen.With("%s", d.ID)
	}
	err = guard(func() error {
		v.meter.charge(p.Costs.Byte, uint64(len(d.Raw)))
		v.meter.charge(p.Costs.Signature, uint64(len(d.Tx.Signatures)))
		if !known.valid {
			if err := a.validate(v.version, d.Messages); err != nil {
				return err
			}
		}
		var err error
		authority, err = settle(&known.authority, x.overlay, v.meter, func() (Authority, error) { return a.authenticate(v, d) })
		return err
	})
	return authority, err
}

// validate looks at messages alone, as validateOne does.
func (a *App) validate(version uint32, messages []proto.Message) error {
	for _, m := range messages {
		if err := a.validateOne(version, m); err != nil {
			return err
		}
	}
	return nil
}

// validateOne looks at a message alone: whether there is a module for it in a version of the
// state machine, and it takes it.
func (a *App) validateOne(version uint32, m proto.Message) error {
	route := a.router.route(m)
	if route.validate == nil {
		return tx.ErrIncomplete.With("no module handles %s", m.ProtoReflect().Descriptor().FullName())
	}
	if err := route.knownIn(version, m); err != nil {
		return err
	}
	return route.validate(m)
}

func (a *App) authenticate(r ReadCtx, d *tx.Decoded) (Authority, error) {
	claim := Claim{Author: d.Body.Author, Messages: d.Messages, Keys: make([]string, len(d.Tx.Signatures))}
	for i, s := range d.Tx.Signatures {
		claim.Keys[i] = s.Key
	}
	authority, err := a.auth.Authenticate(r, claim)
	if err == nil && len(authority.Keys) != len(claim.Keys) {
		panic("chain: the authenticator returned another number of keys than there are signatures")
	}
	return authority, err
}

// run plans and executes the messages in order.
func (a *App) run(ctx *Ctx, d *tx.Decoded, known *foreseen) ([][]byte, error) {
	responses := make([][]byte, len(d.Messages))
	for i, m := range d.Messages {
		route := a.router.route(m)
		plan, err := settle(known.planOf(i), ctx.overlay, ctx.meter, func() (any, error) { return route.plan(ctx, m) })
		if err != nil {
			return nil, inMessage(i, len(d.Messages), err)
		}
		response, err := route.execute(ctx, m, plan)
		if err != nil {
			return nil, inMessage(i, len(d.Messages), err)
		}
		if responses[i], err = response.(state.Message).MarshalVT(); err != nil {
			return nil, err
		}
	}
	return responses, nil
}

func inMessage(i, n int, err error) error {
	if n == 1 {
		return err
	}
	return fmt.Errorf("message %d: %w", i, err)
}

// guard turns running out of units, and a run-time error in a module (a nil
// pointer, an index out of range: the same on every node), into the transaction's
// failure. A *state.Fault and every other panic passes: they halt the node.
func guard(fn func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case outOfUnits:
			err = ErrOutOfUnits.With("at most %d units", p.limit)
		case runtime.Error:
			err = ErrInternal.With("%v", p)
		default:
			panic(p)
		}
	}()
	return fn()
}

// EventsHash is SHA-256 over events, each with the lengths of its type and its value as
// four bytes, big endian, before them.
func EventsHash(events []*chainv1.Event) []byte {
	h := sha256.New()
	for _, e := range events {
		for _, part := range [][]byte{[]byte(e.Type), e.Value} {
			var n [4]byte
			binary.BigEndian.PutUint32(n[:], uint32(len(part)))
			h.Write(n[:])
			h.Write(part)
		}
	}
	return h.Sum(nil)
}

// Outcome is the part of a result that validators agree on.
func Outcome(r *chainv1.TxResult) []byte {
	raw, err := (&chainv1.TxOutcome{TxId: r.TxId, Responses: r.Responses, EventsHash: EventsHash(r.Events), Verdict: r.Verdict}).MarshalVT()
	if err != nil {
		panic(&state.Fault{Where: "marshal an outcome", Err: err})
	}
	return raw
}

// lastPerKey joins the updates of each key to one, sorted by key. What came and went
// within the block is left out: the engine halts when it is told to remove a
// validator that it does not know.
func lastPerKey(updates []ValidatorUpdate) []ValidatorUpdate {
	var out []ValidatorUpdate
	for _, u := range updates {
		if i := slices.IndexFunc(out, func(o ValidatorUpdate) bool { return o.Key.Equal(u.Key) }); i >= 0 {
			out[i].Power = u.Power
			continue
		}
		out = append(out, u)
	}
	out = slices.DeleteFunc(out, func(u ValidatorUpdate) bool { return u.Was == 0 && u.Power == 0 })
	slices.SortFunc(out, func(a, b ValidatorUpdate) int { return bytes.Compare(a.Key.Bytes, b.Key.Bytes) })
	return out
}

// ResponseOf unmarshals the response of a message of a result.
func ResponseOf(r *chainv1.TxResult, i int, into proto.Message) error {
	if i >= len(r.Responses) {
		return fmt.Errorf("transaction %x has %d responses", r.TxId, len(r.Responses))
	}
	return proto.Unmarshal(r.Responses[i], into)
}

// Refuse records, without effect, a transaction that the door refused but that a
// decided block holds all the same.
func (x *Execution) Refuse(raw []byte, refusal error) *chainv1.TxResult {
	e := errs.As(refusal)
	id := tx.ID(sha256.Sum256(raw))
	r := &chainv1.TxResult{
		TxId: id[:], Height: x.header.Height, Index: uint32(len(x.record.Txs)), Time: x.header.Time,
		Code: e.Code, Codespace: e.Module, Log: refusal.Error(),
	}
	x.record.Txs = append(x.record.Txs, r)
	x.verdicts = append(x.verdicts, nil)
	return r
}
