package access

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const glassDomain = "chancery/access/break-glass/v1"

func (m *Module) breakGlass() chain.Handler[*accessv1.BreakGlass] {
	return chain.Handler[*accessv1.BreakGlass]{
		Validate: checkBreakGlass,
		Check: func(ctx chain.ReadCtx, msg *accessv1.BreakGlass) error {
			person, organisation := ctx.Author(), msg.Scope.Organisation
			if kind, ok := m.deps.Identity.Kind(ctx, person); !ok || kind != kindPerson || !slices.Contains(ctx.Signers(), person) {
				return ErrNotAPerson.With("author is %s", person)
			}
			if !m.deps.Identity.Active(ctx, person) {
				return ErrGlassDisabled.With("%s is not active", person)
			}
			if err := m.checkOrganisation(ctx, organisation); err != nil {
				return err
			}
			settings := m.currentSettings(ctx, organisation)
			switch settings.GetBreakGlass() {
			case accessv1.BreakGlassRule_BREAK_GLASS_RULE_ANYONE:
			case accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS:
				if of, ok := m.deps.Identity.Organisation(ctx, person); !ok || of != organisation {
					return ErrGlassDisabled.With("%s is of another organisation", person)
				}
			default:
				return ErrGlassDisabled.With("%s has it disabled", organisation)
			}
			for _, purpose := range msg.Scope.Purposes {
				if _, listed := legalBasis(settings, purpose); !listed {
					return ErrPurpose.With("%s", purpose)
				}
			}
			if g, ok := m.openGlass(ctx, organisation, person); ok {
				return ErrGlassOpen.With("%x until %d", g.Id, g.ExpiresAt)
			}
			for k := range m.store.reviewsByPerson.Walk(ctx, state.Under(state.String, person)) {
				if k.B < ctx.Time() {
					return ErrReviewOverdue.With("%x was due at %d", k.C, k.B)
				}
				break
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.BreakGlass) (proto.Message, error) {
			txID := ctx.TxID()
			g := &accessv1.Glass{
				Sequence: advance(ctx, m.store.glassSequence), Person: ctx.Author(), Reason: msg.Reason, Text: msg.Text,
				Scope: msg.Scope, OpenedAt: ctx.Time(), ExpiresAt: ctx.Time() + msg.DurationMs,
				TxId: txID[:], Height: ctx.Height(),
			}
			g.Id = identifier(glassDomain, g.TxId, g.Sequence)
			g.ReviewDueAt = ctx.Time() + m.currentSettings(ctx, g.Scope.Organisation).ReviewMs
			m.store.glasses.Put(ctx, g.Id, g)
			m.indexGlass(ctx, g)
			ctx.Emit(&accessv1.GlassBroken{BreakGlassId: g.Id, Person: g.Person, Reason: g.Reason, Scope: g.Scope, ExpiresAt: g.ExpiresAt})
			ctx.Emit(&accessv1.Alert{
				Kind: accessv1.AlertKind_ALERT_KIND_GLASS_BROKEN, Organisation: g.Scope.Organisation,
				Subject: g.Person, BreakGlassId: g.Id,
			})
			ctx.Emit(&accessv1.ReviewDue{BreakGlassId: g.Id, Organisation: g.Scope.Organisation, Person: g.Person, DueAt: g.ReviewDueAt})
			return &accessv1.BreakGlassResponse{Id: g.Id, ExpiresAt: g.ExpiresAt, ReviewDueAt: g.ReviewDueAt}, nil
		},
	}
}

func checkBreakGlass(msg *accessv1.BreakGlass) error {
	if _, known := accessv1.BreakGlassReason_name[int32(msg.Reason)]; !known || msg.Reason == accessv1.BreakGlassReason_BREAK_GLASS_REASON_UNSPECIFIED {
		return ErrField.With("reason is missing or unknown")
	}
	if err := checkText("text", msg.Text); err != nil {
		return err
	}
	if msg.DurationMs < minGlassMs || msg.DurationMs > maxGlassMs {
		return ErrField.With("duration_ms must be %d to %d", minGlassMs, maxGlassMs)
	}
	s := msg.Scope
	if s == nil {
		return ErrField.With("scope is missing")
	}
	if err := checkDID("scope.organisation", s.Organisation); err != nil {
		return err
	}
	if s.ResourceType == "" && s.ResourceId != "" {
		return ErrField.With("scope.resource_id needs scope.resource_type")
	}
	if s.ResourceType != "" {
		if err := checkUIDField("scope.resource", &accessv1.EntityUid{Type: s.ResourceType, Id: s.ResourceId}); err != nil {
			return err
		}
	}
	if len(s.Actions) == 0 || len(s.Actions) > maxScopeEntries || len(s.Purposes) == 0 || len(s.Purposes) > maxScopeEntries {
		return ErrField.With("scope.actions and scope.purposes must have 1 to %d entries each", maxScopeEntries)
	}
	for _, purpose := range s.Purposes {
		if err := checkIRI("scope.purposes", purpose); err != nil {
			return err
		}
	}
	return checkUIDs("scope.actions", s.Actions)
}

func (m *Module) currentSettings(r state.Reader, organisation string) *accessv1.Settings {
	o := m.store.organisation(r, organisation)
	if o.Settings == 0 {
		return nil
	}
	s, _ := m.store.settings.Lookup(r, state.Join(organisation, o.Settings))
	return s.GetSettings()
}

// indexGlass makes a break-glass findable. Of those that nobody ended, the latest
// of a person is the open one, if any is.
func (m *Module) indexGlass(w state.Writer, g *accessv1.Glass) {
	organisation, id := g.Scope.Organisation, string(g.Id)
	m.store.glassesByOrganisation.Put(w, state.Join(organisation, g.Sequence), id)
	m.store.glassesByPerson.Put(w, state.Join(g.Person, g.Sequence), id)
	if g.EndedAt == 0 {
		m.store.openGlasses.Put(w, state.Join(organisation, g.Person), id)
	}
	if g.Review == nil {
		m.store.reviewsByOrganisation.Add(w, state.Join3(organisation, g.ReviewDueAt, g.Id))
		m.store.reviewsByPerson.Add(w, state.Join3(g.Person, g.ReviewDueAt, g.Id))
	}
}

func glassOpen(g *accessv1.Glass, now int64) bool { return g.EndedAt == 0 && now < g.ExpiresAt }

// openGlass is the break-glass that a person has open at an organisation.
func (m *Module) openGlass(r chain.ReadCtx, organisation, person string) (*accessv1.Glass, bool) {
	id, ok := m.store.openGlasses.Lookup(r, state.Join(organisation, person))
	if !ok {
		return nil, false
	}
	g, ok := m.store.glasses.Lookup(r, []byte(id))
	return g, ok && glassOpen(g, r.Time())
}

// coveringGlass is the open break-glass whose scope a request is in.
func (m *Module) coveringGlass(r chain.ReadCtx, q *accessv1.Request) (*accessv1.Glass, bool) {
	g, ok := m.openGlass(r, q.Organisation, q.Principal)
	return g, ok && covers(g.Scope, q)
}

// GlassOpen tells whether the principal of a request that is in form has a break-glass
// open at r.Time() in whose scope the request is.
func (m *Module) GlassOpen(r chain.ReadCtx, q *accessv1.Request) bool {
	_, ok := m.coveringGlass(r, q)
	return ok
}

func covers(s *accessv1.Scope, q *accessv1.Request) bool {
	return s.Organisation == q.Organisation &&
		(s.ResourceType == "" || s.ResourceType == q.Resource.Type) &&
		(s.ResourceId == "" || s.ResourceId == q.Resource.Id) &&
		slices.Contains(s.Purposes, q.Purpose) &&
		slices.ContainsFunc(s.Actions, func(a *accessv1.EntityUid) bool { return a.Type == q.Action.Type && a.Id == q.Action.Id })
}
