package threat

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// InitGenesis implements chain.Module.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(threatv1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return ErrInvalid.Wrap(err)
	}
	if g.Params == nil {
		g.Params = DefaultParams()
	}
	if err := CheckParams(g.Params); err != nil {
		return err
	}
	m.params.Put(ctx, g.Params)
	if err := m.importModels(ctx, g.Models, g.Schedule); err != nil {
		return err
	}
	if err := m.importHolds(ctx, g.Holds); err != nil {
		return err
	}
	if err := m.importResponses(ctx, g); err != nil {
		return err
	}
	if err := m.importHistory(ctx, g); err != nil {
		return err
	}
	if b := g.Breaker; b != nil {
		if err := checkBreaker(b); err != nil {
			return err
		}
		m.breaker.Put(ctx, b)
	}
	return nil
}

// importHistory writes what transactions did on the chain that was exported. Heights of
// journals, and those of progress, are at most 0, so that all is before block 1.
func (m *Module) importHistory(ctx *chain.Ctx, g *threatv1.Genesis) error {
	slices.SortFunc(g.Traces, func(a, b *threatv1.GenesisTrace) int { return strings.Compare(a.GetSubject(), b.GetSubject()) })
	for i, t := range g.Traces {
		if t.GetSubject() == "" || t.Trace == nil || i > 0 && t.Subject == g.Traces[i-1].Subject {
			return ErrInvalid.With("traces[%d] lacks its subject or trace, or is there twice", i)
		}
		own, err := readTrace(t.Trace)
		if err != nil {
			return ErrInvalid.With("the trace of %s: %v", t.Subject, err)
		}
		m.traces.PutShared(ctx, t.Subject, own)
	}
	p := g.Progress
	if p == nil {
		p = new(threatv1.Progress)
	}
	if p.Settled > 0 || p.Paged > 0 || p.Began < 0 {
		return ErrInvalid.With("progress has heights above 0, or a time before 1970")
	}
	if _, err := streamsOf(p.Streams); err != nil {
		return ErrInvalid.With("progress.streams: %v", err)
	}
	slices.SortFunc(g.Journals, func(a, b *threatv1.GenesisJournal) int { return cmp.Compare(a.GetHeight(), b.GetHeight()) })
	pending, latest := uint64(0), int64(0)
	for i, j := range g.Journals {
		switch {
		case j.GetHeight() > 0 || j.GetHeight() < -maxPending || i > 0 && j.Height == g.Journals[i-1].Height:
			return ErrInvalid.With("journals[%d] is above height 0, too far below it, or there twice", i)
		case j.Height <= min(p.Settled, p.Paged):
			return ErrInvalid.With("the journal of height %d is not needed by progress", j.Height)
		case j.Journal.GetTime() < latest:
			return ErrInvalid.With("the journal of height %d is older than the one before", j.Height)
		}
		if err := checkJournal(j.Journal); err != nil {
			return err
		}
		latest = j.Journal.Time
		if j.Height > p.Settled {
			pending += uint64(len(j.Journal.Entries))
		}
		m.journals.Put(ctx, j.Height, j.Journal)
	}
	if p.Pending != pending {
		return ErrInvalid.With("progress.pending is %d, the journals have %d", p.Pending, pending)
	}
	slices.SortFunc(g.Pages, func(a, b *threatv1.GenesisPage) int { return cmp.Compare(a.GetNumber(), b.GetNumber()) })
	for i, page := range g.Pages {
		if page.GetPage() == nil || i > 0 && page.Number == g.Pages[i-1].Number || page.Number>>(2*rowBits) >= spaces {
			return ErrInvalid.With("pages[%d] has no page, or is there twice", i)
		}
		if err := checkPage(page.Page); err != nil {
			return ErrInvalid.With("the page %d: %v", page.Number, err)
		}
		m.pages.Put(ctx, page.Number, page.Page)
	}
	if g.Progress != nil {
		m.progress.Put(ctx, p)
	}
	return nil
}

// checkPage refuses a page that is not as page.message has it.
func checkPage(m *threatv1.Page) error {
	zeroEnd := func(list []uint64) bool { return len(list) > 0 && list[len(list)-1] == 0 }
	if zeroEnd(m.Past) || zeroEnd(m.Now) || zeroEnd(m.Epoch) {
		return ErrInvalid.With("zeros at the end of a list")
	}
	if max(len(m.Past), len(m.Now), len(m.Epoch)) > pageCells {
		return cell.ErrOutside
	}
	return nil
}

func checkBreaker(b *threatv1.BreakerState) error {
	sum := uint64(0)
	for i, actor := range b.Actors {
		if i > 0 && actor <= b.Actors[i-1] || len(b.Counts) <= i || b.Counts[i] == 0 {
			return ErrInvalid.With("the breaker's actors are not sorted, or lack their counts")
		}
		sum += uint64(b.Counts[i])
	}
	if len(b.Counts) != len(b.Actors) || len(b.Actors) > maxBreakerActors+1 || sum != uint64(b.Flagged) || b.Flagged > b.Seen || b.OpenUntil < 0 {
		return ErrInvalid.With("the breaker's counts do not add up")
	}
	return nil
}

// ExportGenesis implements chain.Module. Journals are numbered from the latest, which
// gets height 0, down without gaps: by their order alone, so that a chain that begins
// with them exports the same.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := &threatv1.Genesis{Params: m.paramsIn(r), Holds: m.exportHolds(r)}
	g.Models, g.Schedule = m.exportModels(r)
	m.exportResponses(r, g)
	for subject, t := range m.traces.Walk(r, state.All()) {
		g.Traces = append(g.Traces, &threatv1.GenesisTrace{Subject: subject, Trace: t.message()})
	}
	for height, j := range m.journals.Walk(r, state.All()) {
		g.Journals = append(g.Journals, &threatv1.GenesisJournal{Height: height, Journal: j})
	}
	if p, ok := m.progress.Lookup(r); ok {
		settled, paged := p.Settled, p.Paged
		p.Settled, p.Paged = 0, 0
		for i, j := range g.Journals {
			rank := int64(i - len(g.Journals))
			if j.Height > settled {
				p.Settled = min(p.Settled, rank)
			}
			if j.Height > paged {
				p.Paged = min(p.Paged, rank)
			}
		}
		g.Progress = p
	}
	for i, j := range g.Journals {
		j.Height = int64(i + 1 - len(g.Journals))
	}
	for number, page := range m.pages.Walk(r, state.All()) {
		g.Pages = append(g.Pages, &threatv1.GenesisPage{Number: number, Page: page})
	}
	if b, ok := m.breaker.Lookup(r); ok {
		g.Breaker = b
	}
	return g, nil
}

// NewGenesis is the genesis state of a chain that is judged by a detector, given by its
// canonical bytes, from the first block on; verdicts are carried out from learningUntil
// on, in Unix milliseconds of block time.
func NewGenesis(detector []byte, learningUntil int64) *threatv1.Genesis {
	params := DefaultParams()
	params.Mode, params.LearningUntil = threatv1.Mode_MODE_ENFORCE, learningUntil
	hash := sha256.Sum256(detector)
	return &threatv1.Genesis{
		Params:   params,
		Models:   []*threatv1.GenesisModel{{Bytes: detector}},
		Schedule: &threatv1.Schedule{Active: hash[:]},
	}
}
