package threat

import (
	"sync"

	"github.com/tidwall/btree"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// A version is what is known of all that was done up to a block: the fold of every
// journal up to it. It follows from the state after that block alone, and never
// changes. It holds
//
//   - for each actor and organisation with a transaction that has not trained yet, its
//     history up to the block; that of any other is in its trace;
//   - the cells of the streaming scorers.
//
// However a version came about, by going on from the one before or by reading
// everything again, it is the same, for both fold the same journals in the same order.
type version struct {
	height   int64
	progress *threatv1.Progress // shared, never changed
	streams  *streams           // nil: none
	lives    *btree.Map[string, *live]
	pending  []touched // heights above progress.Settled, ascending
	cells    *cellBook
}

// live is a subject's history and the height of the latest of its journals. Versions
// share it: it is replaced, never changed.
type live struct {
	features.History
	latest int64
}

// touched is the subjects that a journal is about, each once.
type touched struct {
	height   int64
	subjects []string
}

// keptVersions are how many versions are kept: the latest for blocks, and those
// before for admissions that began before the latest was committed.
const keptVersions = 3

// history gives out versions and keeps the latest.
type history struct {
	//determinism:allow guards a cache of what follows from committed state
	mu       sync.Mutex // guards all below, and the making of versions
	versions []*version // ascending heights, one by one
	drafts   []draft    // of blocks that were executed and may be committed, oldest first
}

// draft is what the execution of a block counted in cells: the version of its height
// need not count it again, where this is the block that was committed.
type draft struct {
	height  int64
	journal *threatv1.Journal
	cells   *cellBook
}

// keptDrafts is how many drafts are kept: one for each round of a height that got as far
// as a proposal, or nearly.
const keptDrafts = 3

// draft takes a book that will not be written any more.
func (h *history) draft(height int64, j *threatv1.Journal, cells *cellBook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drafts = append(h.drafts, draft{height, j, cells})
	if n := len(h.drafts) - keptDrafts; n > 0 {
		h.drafts = append([]draft(nil), h.drafts[n:]...)
	}
}

// drafted are the cells of a block that was executed here with this journal, nil where
// none was. The journal says all that cells depend on but the cells before, which blocks
// of one height share.
func (h *history) drafted(height int64, j *threatv1.Journal) *cellBook {
	for _, d := range h.drafts {
		if d.height == height && d.journal.EqualVT(j) {
			return d.cells
		}
	}
	return nil
}

// past is the version up to the block before the one at hand, of which r shows the
// state. Before the first block it follows from the genesis, which may be read again,
// and is not kept.
func (m *Module) past(r chain.ReadCtx) *version { return m.upTo(r, r.Height()-1) }

// upTo is the version up to a height, of which r shows the state.
func (m *Module) upTo(r state.Reader, height int64) *version {
	if height <= 0 {
		return m.rebuild(r, height)
	}
	h := &m.history
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.versions {
		if v.height == height {
			return v
		}
	}
	n := len(h.versions)
	switch {
	case n > 0 && h.versions[n-1].height == height-1:
		h.versions = append(h.versions, m.next(r, h.versions[n-1]))
		if n+1 > keptVersions {
			h.versions = append([]*version(nil), h.versions[n+1-keptVersions:]...)
		}
		return h.versions[len(h.versions)-1]
	case n > 0 && h.versions[n-1].height > height:
		return m.rebuild(r, height) // long ago: for whoever asked
	}
	h.versions = []*version{m.rebuild(r, height)}
	return h.versions[0]
}

// next is the version after v, where r shows the state of its height.
func (m *Module) next(r state.Reader, v *version) *version {
	n := &version{height: v.height + 1, progress: m.progressIn(r), streams: v.streams, lives: v.lives.Copy(), pending: v.pending}
	if n.sameStreams(v.progress) {
		n.cells = v.cells.copyAt(n.height)
	} else {
		n.begin()
	}
	if j, ok := m.journals.Peek(r, n.height); ok {
		counted := m.history.drafted(n.height, j)
		if counted != nil && n.streams == v.streams {
			n.cells = counted
		}
		m.fold(r, n, n.height, j, n.cells != counted)
	}
	for len(n.pending) > 0 && n.pending[0].height <= n.progress.Settled {
		for _, subject := range n.pending[0].subjects {
			if l, ok := n.lives.Get(subject); ok && l.latest <= n.progress.Settled {
				n.lives.Delete(subject)
			}
		}
		n.pending = n.pending[1:]
	}
	return n
}

// rebuild is the version at a height from the state of it alone.
func (m *Module) rebuild(r state.Reader, height int64) *version {
	v := &version{height: height, progress: m.progressIn(r), lives: new(btree.Map[string, *live])}
	v.begin()
	v.cells = m.readPages(r, v.progress.Paged)
	from := min(v.progress.Settled, v.progress.Paged)
	for at, j := range m.journals.Walk(r, state.All().After(state.Int64.Encode(nil, from))) {
		v.cells.height = at
		m.fold(r, v, at, j, at > v.progress.Paged)
	}
	return v
}

// begin makes the streams of v's progress, and no cells.
func (v *version) begin() {
	s, err := streamsOf(v.progress.Streams)
	if err != nil {
		panic(&state.Fault{Where: "read the settings of streaming scorers", Err: err})
	}
	v.streams, v.cells = s, &cellBook{height: v.height, mine: true}
}

func (v *version) sameStreams(p *threatv1.Progress) bool {
	return string(v.progress.Streams) == string(p.Streams) && v.progress.Began == p.Began
}

// fold counts the transactions of a journal: in histories where it has not trained
// yet, and in cells where these do not have it. r shows traces of v's progress.
func (m *Module) fold(r state.Reader, v *version, height int64, j *threatv1.Journal, absorb bool) {
	pending := height > v.progress.Settled
	var subjects []string
	count := func(subject string, d deed) {
		next := new(live)
		if l, ok := v.lives.Get(subject); ok {
			*next = *l
		} else {
			next.History = m.settledHistory(r, subject)
		}
		if next.latest != height {
			subjects = append(subjects, subject)
		}
		next.Add(d.time, d.counted())
		next.latest = height
		v.lives.Set(subject, next)
	}
	organisations := make([]string, len(j.Organisations))
	for i, o := range j.Organisations {
		organisations[i] = organisationSubject + o
	}
	actors := make([]uint64, len(j.Actors))
	for i, a := range j.Actors {
		actors[i] = fixed.Name([]byte(a))
	}
	for i, e := range j.Entries {
		d := deedOf(j, i)
		if pending {
			count(d.actor, d)
			count(organisations[j.Organisation[e.Actor]], d)
		}
		if absorb && d.Fate == threatv1.Fate_FATE_ADMITTED {
			u := uses{actor: actors[e.Actor], resource: e.Resource, kin: e.Kin}
			v.streams.absorb(v.cells, u, d.event(), j.Time, v.progress.Began)
		}
	}
	if pending {
		v.pending = append(v.pending, touched{height, subjects})
	}
}

// settledHistory is what a subject did, but for what is pending.
func (m *Module) settledHistory(r state.Reader, subject string) features.History {
	if t, ok := m.traces.Peek(r, subject); ok {
		return t.history
	}
	return features.History{}
}

func (m *Module) progressIn(r state.Reader) *threatv1.Progress {
	if p, ok := m.progress.Peek(r); ok {
		return p
	}
	return &threatv1.Progress{}
}
