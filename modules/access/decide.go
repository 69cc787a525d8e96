package access

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const decisionDomain = "chancery/access/decision/v1"

func (m *Module) decide() chain.Planner[*accessv1.Decide, *decided] {
	return chain.Planner[*accessv1.Decide, *decided]{
		Validate: func(msg *accessv1.Decide) error { return checkRequest(msg.Request) },
		Check:    m.checkAsker,
		Plan: func(ctx chain.ReadCtx, msg *accessv1.Decide) (*decided, error) {
			if err := m.checkAsker(ctx, msg); err != nil {
				return nil, err
			}
			in := m.live(ctx, msg.Request)
			e, err := m.caches.evaluate(in)
			if err != nil {
				return nil, err
			}
			return &decided{in, e}, nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.Decide, a *decided) (proto.Message, error) {
			d := m.record(ctx, msg.Request, a)
			v := d.Verdict
			return &accessv1.DecideResponse{Id: d.Id, Outcome: v.Outcome, Reason: v.Reason, ValidUntil: d.ValidUntil}, nil
		},
	}
}

// decided is the answer about a request, and what it was decided by.
type decided struct {
	in *inputs
	*evaluation
}

// checkAsker refuses who may not ask.
func (m *Module) checkAsker(ctx chain.ReadCtx, msg *accessv1.Decide) error {
	if err := m.checkOrganisation(ctx, msg.Request.Organisation); err != nil {
		return err
	}
	if ctx.Author() != msg.Request.Principal && !m.member(ctx, msg.Request.Organisation, ctx.Author(), roleEnforcement) {
		return ErrNotAsker.With("%s for %s", ctx.Author(), msg.Request.Principal)
	}
	return nil
}

func checkRequest(q *accessv1.Request) error {
	if q == nil {
		return ErrField.With("request is missing")
	}
	if err := checkDID("request.principal", q.Principal); err != nil {
		return err
	}
	if err := checkDID("request.organisation", q.Organisation); err != nil {
		return err
	}
	if err := checkUIDField("request.action", q.Action); err != nil {
		return err
	}
	if err := checkUIDField("request.resource", q.Resource); err != nil {
		return err
	}
	if err := checkIRI("request.purpose", q.Purpose); err != nil {
		return err
	}
	if q.GrantMs < 0 || q.GrantMs > maxGrantMs {
		return ErrField.With("request.grant_ms must be 0 to %d", maxGrantMs)
	}
	given, err := parseContext(q.Context)
	if err != nil {
		return err
	}
	return refuseSystemKeys(given)
}

// live gathers the inputs of a request from state.
func (m *Module) live(r chain.ReadCtx, q *accessv1.Request) *inputs {
	o := m.store.standing(r, q.Organisation)
	in := m.inputs(r, q)
	in.principal = m.principal(r, q.Principal)
	in.source = func(uid types.EntityUID) (*entity, uint64, bool) {
		e, ok := m.store.entityNow(r, q.Organisation, string(uid.Type), string(uid.ID))
		if !ok {
			return nil, 0, false
		}
		r.Charge(chain.PolicyStep, parsing(e.Json))
		return m.caches.entity(e.Json), e.Version, true
	}
	in.risk = m.risk(r, q.Principal)
	if g, ok := m.coveringGlass(r, q); ok {
		in.glass = g.Id
	}
	guardRails := m.store.standing(r, m.deps.Identity.Consortium()).GuardRails
	m.versions(r, in, o.Policies, o.Schema, o.Settings, guardRails)
	return in
}

// inputs are those of a request that need not be looked up.
func (m *Module) inputs(r chain.ReadCtx, q *accessv1.Request) *inputs {
	return &inputs{
		request: q, time: r.Time(), height: r.Height(),
		consents: func(a consentAsk) *accessv1.ConsentFinding { return m.findConsent(r, q, a) },
		charge:   func(steps uint64) { r.Charge(chain.PolicyStep, steps) },
	}
}

// risk of a DID, 0 to 10000.
func (m *Module) risk(r chain.ReadCtx, did string) uint32 {
	if m.deps.Risks == nil {
		return 0
	}
	return min(m.deps.Risks.Risk(r, did), 10_000)
}

// parsing is the steps of parsing a stored entity. They are charged whether or not
// this node has the parsed form at hand.
func parsing(json string) uint64 { return uint64(len(json)) / 16 }

// versions looks up the given versions of what is evaluated, to look at only; 0 is
// none.
func (m *Module) versions(r state.Reader, in *inputs, policies, schema, settings, guardRails uint64) {
	organisation := in.request.Organisation
	if policies > 0 {
		in.policies, _ = m.store.policies.Peek(r, state.Join(organisation, policies))
	}
	if schema > 0 {
		in.schema, _ = m.store.schemas.Peek(r, state.Join(organisation, schema))
	}
	if settings > 0 {
		in.settings, _ = m.store.settings.Peek(r, state.Join(organisation, settings))
	}
	if guardRails > 0 {
		in.guardRails, _ = m.store.guardRails.Peek(r, guardRails)
	}
}

// principal is what identity says of a DID.
func (m *Module) principal(r chain.ReadCtx, did string) *accessv1.Principal {
	kind, ok := m.deps.Identity.Kind(r, did)
	if !ok {
		return &accessv1.Principal{}
	}
	p := &accessv1.Principal{
		Kind:   kind,
		Active: m.deps.Identity.Active(r, did),
		Roles:  sorted(m.deps.Identity.Roles(r, did)),
		Groups: sorted(m.deps.Identity.Groups(r, did)),
	}
	p.Organisation, _ = m.deps.Identity.Organisation(r, did)
	return p
}

func sorted(names []string) []string {
	if slices.IsSorted(names) {
		return names
	}
	return slices.Sorted(slices.Values(names))
}

// findConsent asks consent.
func (m *Module) findConsent(r chain.ReadCtx, q *accessv1.Request, a consentAsk) *accessv1.ConsentFinding {
	f := &accessv1.ConsentFinding{Status: consentGiven, Subject: a.subject, Categories: a.categories}
	id, version, err := m.deps.Consents.Permits(r, a.subject, q.Organisation, q.Principal, q.Purpose, a.categories)
	if err != nil {
		e := errs.As(err)
		f.Status = fmt.Sprintf("%s/%d", e.Module, e.Code)
		return f
	}
	f.Id, f.Version = id, version
	return f
}

// record writes a decision down.
func (m *Module) record(ctx *chain.Ctx, q *accessv1.Request, a *decided) *accessv1.Decision {
	in, e := a.in, a.evaluation
	txID := ctx.TxID()
	d := &accessv1.Decision{
		Sequence: advance(ctx, m.store.sequence), Author: ctx.Author(), Request: q, Verdict: e.verdict,
		Principal: in.principal, Risk: in.risk, BreakGlassId: in.glass,
		OrganisationVersion: m.store.organisation(ctx, q.Organisation).Version,
		ConsortiumVersion:   m.store.organisation(ctx, m.deps.Identity.Consortium()).Version,
		Height:              ctx.Height(), Time: ctx.Time(), TxId: txID[:],
	}
	d.Id = identifier(decisionDomain, d.TxId, d.Sequence)
	if e.verdict.Outcome == accessv1.Outcome_OUTCOME_ALLOW {
		length := in.settings.Settings.GrantMs
		if q.GrantMs > 0 {
			length = min(length, q.GrantMs)
		}
		d.ValidUntil = ctx.Time() + length
	}
	if len(e.verdict.BreakGlassId) > 0 {
		g, _ := m.store.glasses.Lookup(ctx, in.glass)
		d.ValidUntil = min(d.ValidUntil, g.ExpiresAt)
		g.Uses++
		m.store.glasses.Put(ctx, g.Id, g)
	}
	m.store.decisions.Put(ctx, d.Id, d)
	m.indexDecision(ctx, d)
	m.announce(ctx, d)
	return d
}

func (m *Module) announce(ctx *chain.Ctx, d *accessv1.Decision) {
	q, v := d.Request, d.Verdict
	ctx.Emit(&accessv1.Decided{
		DecisionId: d.Id, Author: d.Author, Principal: q.Principal, Organisation: q.Organisation,
		Action: q.Action, Resource: q.Resource, Purpose: q.Purpose, LegalBasis: v.LegalBasis,
		Outcome: v.Outcome, Reason: v.Reason, ConsentId: v.Consent.Id, BreakGlassId: v.BreakGlassId, ValidUntil: d.ValidUntil,
	})
	if len(v.BreakGlassId) > 0 {
		ctx.Emit(&accessv1.Alert{
			Kind: accessv1.AlertKind_ALERT_KIND_GLASS_USED, Organisation: q.Organisation,
			Subject: q.Principal, BreakGlassId: v.BreakGlassId, DecisionId: d.Id,
		})
	}
}

// indexDecision makes a decision findable. A consent is indexed when the decision
// rests on it.
func (m *Module) indexDecision(w state.Writer, d *accessv1.Decision) {
	q, id := d.Request, string(d.Id)
	m.store.byOrganisation.Put(w, state.Join3(q.Organisation, uint64(d.Height), d.Sequence), id)
	m.store.byPrincipal.Put(w, state.Join(q.Principal, d.Sequence), id)
	m.store.byResource.Put(w, state.Join3(q.Organisation, q.Resource.Type, state.Join(q.Resource.Id, d.Sequence)), id)
	if restsOnConsent(d) {
		m.store.byConsent.Put(w, state.Join(d.Verdict.Consent.Id, d.Sequence), id)
	}
	if len(d.Verdict.BreakGlassId) > 0 {
		m.store.byGlass.Put(w, state.Join(d.Verdict.BreakGlassId, d.Sequence), id)
	}
}

// restsOnConsent tells whether a decision would not stand without its consent.
func restsOnConsent(d *accessv1.Decision) bool {
	return d.Verdict.Reason == reasonPermit && len(d.Verdict.Consent.GetId()) > 0
}
