package threat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/threat/detector"
	"github.com/chancery/chancery/modules/threat/features"
	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// describeWork and contextWork are what finding the features costs, in units of
	// chain.ModelStep: for each message, and for each transaction.
	describeWork = 20
	contextWork  = 100
)

// screening judges the transactions of one block.
type screening struct {
	m      *Module
	params *threatv1.Params
	mode   threatv1.Mode // MODE_LOG while the breaker is open
	models *chosen

	// Those of when the block opens: what is put or removed in a block is for the next.
	playbooks []*threatv1.Playbook

	// What is known from before the block. The streams are those of the active model;
	// where the version has others, cells begin anew and fresh is set. The past is read
	// when the block opens: later the state shows what the block did.
	past     *version
	streams  *streams
	settings settings
	began    int64
	fresh    bool

	// What the block's transactions changed.
	lives   map[string]features.History
	counts  map[string]uint32
	edges   map[edge]uint32
	cells   *cellBook
	journal writer
	seen    []sighting
	tallies []modelTally
	absent  error

	scratch, beside detector.Scratch
	judged          judged
}

// edge is a use of a resource by an actor.
type edge struct{ actor, resource uint64 }

// judged is what was found of the transaction that was judged last.
type judged struct {
	*findings    // shared, not to be changed
	id           tx.ID
	begun, done  bool // done: a verdict was found
	organisation string
	uses         uses
	context      features.Context // with what happened in the block
	actor, group features.History // before the transaction, without counts of the block
	event        profile.Event
	sensitive    bool
	model        []byte // that decided; nil: none could
	absent       error  // why none could
	other        *otherVerdict
	score        uint16
	flagged      bool // by its score it is held or denied, were verdicts carried out
	playbook     string
	approvals    uint32
	lately       profile.Anchor // what peers do of late
}

// situation is what playbooks see of the transaction that was judged last.
func (s *screening) situation(c *chain.Candidate, v *chainv1.Verdict) *situation {
	j := &s.judged
	return &situation{
		candidate: c, verdict: v, facts: j.facts, context: &j.context, model: j.model,
		alarming: alarming(s.params, v, &j.context), enforced: s.mode == threatv1.Mode_MODE_ENFORCE, playbooks: s.playbooks,
	}
}

// Open implements chain.Screen.
func (m *Module) Open(ctx *chain.Ctx, votes []*chainv1.Vote) chain.Screening {
	m.hear(ctx, votes)
	s := &screening{m: m, params: m.paramsIn(ctx), mode: m.mode(ctx)}
	if s.mode == threatv1.Mode_MODE_OFF {
		if ctx.Height()%pageEvery == 0 && m.anyJournal(ctx) {
			s.past = m.past(ctx) // for the pages
		}
		return s
	}
	s.models, s.playbooks = m.choose(ctx), m.playbooksIn(ctx)
	s.past = m.past(ctx)
	s.streams, s.began = s.past.streams, s.past.progress.Began
	if s.models.active != nil {
		s.settings = m.settings.of(s.models.active.detector)
	}
	if s.fresh = string(s.settings.streams) != string(s.past.progress.Streams); s.fresh {
		var err error
		if s.streams, err = streamsOf(s.settings.streams); err != nil {
			panic(&state.Fault{Where: "read the settings of streaming scorers", Err: err})
		}
		s.began, s.cells = ctx.Time(), &cellBook{height: ctx.Height(), mine: true}
	} else {
		s.cells = s.past.cells.copyAt(ctx.Height())
	}
	return s
}

// Model implements chain.Screening.
func (s *screening) Model() []byte {
	if s.models == nil || s.models.active == nil {
		return nil
	}
	return s.models.active.hash
}

// findings are what is known of a transaction from the state before it and from itself.
type findings struct {
	facts           []features.Facts
	kind            uint32
	edge            edge
	kin             uint64
	evidence        uint64
	before          features.Context // without what happened in the block
	own, peers, all *trace           // of the author, of its peers, of its organisation; nil: none
	exempt          bool             // it is never held nor denied by its score
}

// nothing was found out of a transaction: it ran out of units.
var nothing findings

// Judge implements chain.Screening.
func (s *screening) Judge(r chain.ReadCtx, c *chain.Candidate, gathered func() any) (*chainv1.Verdict, []int64) {
	if s.mode == threatv1.Mode_MODE_OFF {
		return nil, nil
	}
	j := &s.judged
	*j = judged{findings: &nothing, id: c.ID, begun: true, organisation: c.Authority.Organisation}
	s.place(c, gathered().(*findings))
	decides, beside, why := s.models.deciding(j.organisation)
	ruling, result := chainv1.Ruling_RULING_ADMIT, detector.Result{}
	if decides != nil {
		result, why = s.score(r, decides, &s.scratch)
	}
	var row []int64
	if decides == nil || why != nil {
		j.absent = why
		c := j.context
		c.Senses = features.NoSenses()
		j.event = features.Event(j.facts, &c)
		result = detector.Result{}
	} else {
		j.model, j.score, j.event = decides.hash, result.Score, s.scratch.Event
		row = slices.Clone(s.scratch.Row[:])
		ruling = decides.detector.Ruling(result.Score)
	}
	j.sensitive = features.Sensitive(j.facts, &j.context)
	if beside != nil {
		s.compare(r, beside, j.exempt)
	}
	if j.exempt {
		ruling = chainv1.Ruling_RULING_ADMIT
	}
	j.flagged = ruling != chainv1.Ruling_RULING_ADMIT
	v := result.Verdict(ruling)
	switch {
	case s.mode != threatv1.Mode_MODE_ENFORCE:
		v.Ruling = chainv1.Ruling_RULING_ADMIT
	case j.exempt || j.flagged:
	case j.model == nil && s.failsClosed(c.Messages):
		v.Ruling = chainv1.Ruling_RULING_HOLD
	default:
		hold, playbook, approvals := s.m.before(r, s.situation(c, v))
		if hold {
			v.Ruling, j.playbook, j.approvals = chainv1.Ruling_RULING_HOLD, playbook, approvals
		}
	}
	j.done = true
	return v, row
}

// Gather implements chain.Screening. It reads traces whether or not they are needed, so that
// what r is charged follows from the state and the transaction alone.
func (s *screening) Gather(r chain.ReadCtx, c *chain.Candidate) any {
	if s.mode == threatv1.Mode_MODE_OFF {
		return nil
	}
	g, id, author, organisation := new(findings), s.m.deps.Identity, c.Body.Author, c.Authority.Organisation
	r.Charge(chain.ModelStep, contextWork+describeWork*uint64(len(c.Messages)))
	g.facts = make([]features.Facts, 0, len(c.Messages))
	for _, message := range c.Messages {
		f, _ := features.Describe(message)
		g.facts = append(g.facts, f)
	}
	kind, _ := id.Kind(r, author)
	g.kind = kindNumber(kind)
	g.edge.actor = fixed.Name([]byte(author))
	if lead := features.Lead(g.facts); lead >= 0 {
		g.edge.resource = g.facts[lead].Number()
		g.evidence, g.kin = g.facts[lead].Evidence, s.kin(r, c.Messages[lead])
	}
	x := &g.before
	*x = features.NewContext()
	x.Now, x.ValidUntil, x.Size, x.Signers = r.Time(), c.Body.ValidUntil, len(c.Raw), len(c.Tx.Signatures)
	x.Author, x.AuthorOrganisation, x.Consortium = author, organisation, id.Consortium()
	x.Kind = features.AuthorKindOf(kind)
	x.Roles = len(id.Roles(r, author))
	x.Administrator = id.IsAdministrator(r, organisation, author)
	switch x.Kind {
	case features.AuthorConsortium:
		x.Depth = 2
	case features.AuthorOrganisation:
		x.Depth = 1
	}
	if identity, key, ok := id.Ages(r, author); ok {
		x.IdentityAge = identity
		if key >= 0 { // without a key of its own, there is none to be new
			x.KeyAge = key
		}
	}
	x.Risk = uint8(s.m.CommonRisk(r, author))
	x.OrganisationRisk = uint8(s.m.CommonRisk(r, organisation))
	g.own, _ = s.m.traces.Peek(r, author)
	g.peers, _ = s.m.traces.Peek(r, peersOf(organisation, g.kind))
	g.all, _ = s.m.traces.Peek(r, organisationSubject+organisation)
	g.exempt = s.m.exempt(r, c)
	return g
}

// place adds to what was gathered of the transaction at hand what happened in the block.
func (s *screening) place(c *chain.Candidate, g *findings) {
	j, author := &s.judged, c.Body.Author
	group := organisationSubject + j.organisation
	j.findings = g
	j.uses = uses{actor: g.edge.actor, resource: g.edge.resource, kin: g.kin}
	j.context = g.before
	j.actor, j.group = s.history(author, g.own), s.history(group, g.all)
	j.context.Actor, j.context.Organisation = j.actor, j.group
	j.context.Actor.InBlock, j.context.Organisation.InBlock = s.counts[author], s.counts[group]
	j.context.EdgeInBlock = s.edges[g.edge]
}

// kin is a number for the kin of the resource that a message asks a decision about, 0
// where it is about no resource that has one. It is looked up whether or not the
// detector reads it.
func (s *screening) kin(r chain.ReadCtx, message proto.Message) uint64 {
	ask, is := message.(*accessv1.Decide)
	if !is {
		return 0
	}
	of := ask.GetRequest().GetOrganisation()
	parent, ok := s.m.deps.Access.Kin(r, of, ask.GetRequest().GetResource())
	if !ok {
		return 0
	}
	return features.Kin(of, parent)
}

// history is what a subject with a trace, or none, did up to the transaction at hand.
func (s *screening) history(subject string, settled *trace) features.History {
	if h, ok := s.lives[subject]; ok {
		return h
	}
	if l, ok := s.past.lives.Get(subject); ok {
		return l.History
	}
	if settled != nil {
		return settled.history
	}
	return features.History{}
}

// score scores the transaction at hand. An error is why there is no score.
func (s *screening) score(r chain.ReadCtx, by *loaded, scratch *detector.Scratch) (detector.Result, error) {
	j := &s.judged
	in := detector.Inputs{
		Facts: j.facts, Context: &j.context, Actor: j.edge.actor, Resource: j.edge.resource,
		Kin: j.uses.kin, Tick: by.detector.Tick(r.Time(), s.began), KinTick: by.detector.KinTick(r.Time(), s.began), Cells: s.cells,
	}
	if s.models.active != by && string(s.m.settings.of(by.detector).streams) != string(s.settings.streams) {
		in.Tick, in.KinTick, in.Cells = 1, 1, noCells{} // they are counted by other settings
	}
	if t := j.own; t != nil && t.known {
		in.Anchor, in.Adaptive = &t.anchor, &t.adaptive
	}
	if t := j.peers; t != nil && t.known {
		j.lately = t.adaptive.Rebase()
		in.Peers = &j.lately
	}
	result, err := by.detector.Score(&in, scratch)
	if _, none := in.Cells.(noCells); none {
		j.context.Edge, j.context.Kin = features.Use{}, features.Use{}
	}
	r.Charge(chain.ModelStep, result.Work)
	return result, err
}

// noCells are cells that nothing was counted in.
type noCells struct{}

// Cell implements cell.Reader.
func (noCells) Cell(cell.Key) (cell.Cell, error) { return cell.Cell{}, nil }

// compare asks the model that scores beside the one that decides.
func (s *screening) compare(r chain.ReadCtx, beside *loaded, exempt bool) {
	senses := s.judged.context.Senses
	result, err := s.score(r, beside, &s.beside)
	s.judged.context.Senses = senses
	if err != nil {
		return
	}
	s.judged.other = &otherVerdict{
		model: beside.hash, score: uint32(result.Score),
		flagged: !exempt && beside.detector.Ruling(result.Score) != chainv1.Ruling_RULING_ADMIT,
	}
}

// failsClosed tells whether one of the messages is held where no model can score it.
func (s *screening) failsClosed(messages []proto.Message) bool {
	return slices.ContainsFunc(messages, func(m proto.Message) bool {
		_, ok := slices.BinarySearch(s.params.FailClosed, string(nameOf(m)))
		return ok
	})
}

// last is what was found of a transaction. It is the one that was judged last, for a
// block's transactions are delivered one after another.
func (s *screening) last(c *chain.Candidate) *judged {
	if !s.judged.begun || s.judged.id != c.ID {
		panic("threat: a transaction was not judged last before it was kept, executed or noted")
	}
	return &s.judged
}

// Full implements chain.Screening.
func (s *screening) Full(r chain.ReadCtx, c *chain.Candidate) bool {
	if s.mode != threatv1.Mode_MODE_ENFORCE {
		return false // nothing is kept
	}
	return s.m.roomFor(r, s.params, &threatv1.Hold{Organisation: c.Authority.Organisation, Size: uint32(len(c.Raw))}) != nil
}

// Keep implements chain.Screening. Playbooks respond to what is kept as to what is
// executed.
func (s *screening) Keep(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict) error {
	j := s.last(c)
	if err := s.m.keep(ctx, c, v, j.model, j.other, j.playbook, j.approvals); err != nil {
		return err
	}
	s.m.after(ctx, s.situation(c, v))
	return nil
}

// Respond implements chain.Screening.
func (s *screening) Respond(ctx *chain.Ctx, c *chain.Candidate, v *chainv1.Verdict) {
	if v == nil {
		return
	}
	j := s.last(c)
	if v.Score >= s.params.AlarmScore {
		alarm := &threatv1.Alarm{
			TxId: c.ID[:], Author: c.Body.Author, Organisation: j.organisation, Verdict: v, Model: j.model,
		}
		for _, message := range c.Messages {
			if kind := string(nameOf(message)); !slices.Contains(alarm.Kinds, kind) {
				alarm.Kinds = append(alarm.Kinds, kind)
			}
		}
		ctx.Emit(alarm)
	}
	s.m.after(ctx, s.situation(c, v))
}

// Note implements chain.Screening.
func (s *screening) Note(c *chain.Candidate, v *chainv1.Verdict, r *chainv1.TxResult) {
	if v == nil {
		return
	}
	j := s.last(c)
	j.begun = false
	if s.lives == nil {
		s.lives, s.counts, s.edges = make(map[string]features.History), make(map[string]uint32), make(map[edge]uint32)
	}
	group := organisationSubject + j.organisation
	s.counts[c.Body.Author]++
	s.counts[group]++
	if !j.done {
		return // it ran out of units while it was judged: there is nothing to learn from
	}
	s.edges[j.edge]++
	d := deed{
		actor: c.Body.Author, organisation: j.organisation, kind: j.kind, time: j.context.Now,
		Entry: &threatv1.Entry{
			Resource: j.edge.resource, Event: slices.Clone(j.event[:features.Schema.Features()]), Fate: fateOf(v.Ruling),
			Failed: v.Ruling == chainv1.Ruling_RULING_ADMIT && r.Code != 0,
			Fresh:  j.context.Fresh(), Sensitive: j.sensitive, Wander: j.context.Wander(),
			Kin: j.uses.kin, Evidence: j.evidence,
		},
	}
	s.journal.add(d.actor, d.organisation, d.kind, d.Entry)
	j.actor.Add(d.time, d.counted())
	j.group.Add(d.time, d.counted())
	s.lives[d.actor], s.lives[group] = j.actor, j.group
	if d.Fate == threatv1.Fate_FATE_ADMITTED {
		s.streams.absorb(s.cells, j.uses, j.event, d.time, s.began)
	}
	if s.mode == threatv1.Mode_MODE_ENFORCE {
		s.seen = append(s.seen, sighting{d.actor, j.flagged})
	}
	if j.model == nil {
		s.absent = j.absent
	} else {
		s.tally(j.model, uint32(j.score), j.flagged)
	}
	if o := j.other; o != nil {
		s.tally(o.model, o.score, o.flagged)
	}
}

func fateOf(r chainv1.Ruling) threatv1.Fate {
	switch r {
	case chainv1.Ruling_RULING_HOLD:
		return threatv1.Fate_FATE_HELD
	case chainv1.Ruling_RULING_DENY:
		return threatv1.Fate_FATE_DENIED
	}
	return threatv1.Fate_FATE_ADMITTED
}

// tally counts what a model said.
func (s *screening) tally(model []byte, score uint32, flagged bool) {
	i := slices.IndexFunc(s.tallies, func(t modelTally) bool { return string(t.hash) == string(model) })
	if i < 0 {
		i = len(s.tallies)
		s.tallies = append(s.tallies, modelTally{hash: model})
	}
	s.tallies[i].add(score, flagged)
}

// Close implements chain.Screening: it writes the block's journal, lets those train
// whose time has come, writes pages when they are due, and moves the breaker and the
// models' counts.
func (s *screening) Close(ctx *chain.Ctx) {
	m := s.m
	before := m.progressIn(ctx)
	p := before.CloneVT()
	if n := len(s.journal.journal.Entries); n > 0 {
		s.journal.journal.Time = ctx.Time()
		m.journals.Put(ctx, ctx.Height(), &s.journal.journal)
		if !s.fresh {
			m.history.draft(ctx.Height(), &s.journal.journal, s.cells)
		}
		p.Pending += uint64(n)
		if s.fresh {
			m.removePages(ctx)
			p.Streams, p.Began, p.Paged = s.settings.streams, s.began, ctx.Height()-1
			m.prune(ctx, p)
		}
	}
	m.settle(ctx, p, s.params, s.steps(ctx))
	if ctx.Height()%pageEvery == 0 && m.anyJournal(ctx) {
		m.writePages(ctx, s.book(p), p.Paged)
		p.Paged = ctx.Height()
		m.prune(ctx, p)
	}
	if !p.EqualVT(before) {
		m.progress.Put(ctx, p)
	}
	if s.params.Mode == threatv1.Mode_MODE_ENFORCE {
		m.watch(ctx, s.seen)
	}
	m.count(ctx, s.tallies)
	if s.absent != nil {
		ctx.Emit(&threatv1.ModelAbsent{Model: m.scheduleIn(ctx).Active, Reason: s.absent.Error()})
	}
}

// book is the cells at the end of the block, counted by the streams of p.
func (s *screening) book(p *threatv1.Progress) *cellBook {
	switch {
	case s.mode == threatv1.Mode_MODE_OFF:
		return s.past.cells
	case s.fresh && string(p.Streams) != string(s.settings.streams):
		return s.past.cells // nothing was counted, and the change waits until something is
	}
	return s.cells
}

// steps are the active model's.
func (s *screening) steps(ctx *chain.Ctx) steps {
	models := s.models
	if models == nil {
		models = s.m.choose(ctx)
	}
	if models.active == nil {
		return defaultSteps
	}
	return s.m.settings.of(models.active.detector).steps
}
