package access

import (
	"context"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// queries serves the module's gRPC service.
type queries struct {
	accessv1.UnimplementedQueryServer
	module    *Module
	snapshots chain.Snapshots
}

// pageLimit is the number of entries of a page.
func pageLimit(limit uint32) (int, error) {
	switch {
	case limit == 0:
		return defaultPageLimit, nil
	case limit > maxPageLimit:
		return 0, ErrField.With("limit must be 1 to %d", maxPageLimit)
	}
	return int(limit), nil
}

func orMissing[V any](v V, ok bool, format string, args ...any) (V, error) {
	if !ok {
		var zero V
		return zero, ErrNotFound.With(format, args...)
	}
	return v, nil
}

func (q *queries) Organisation(ctx context.Context, req *accessv1.OrganisationRequest) (*accessv1.Organisation, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	o, ok := q.module.store.organisations.Lookup(r, req.Organisation)
	return orMissing(o, ok, "organisation %s has set nothing", req.Organisation)
}

func (q *queries) Policies(ctx context.Context, req *accessv1.VersionRequest) (*accessv1.PolicySet, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	version := req.Version
	if version == 0 {
		version = q.module.store.organisation(r, req.Organisation).Policies
	}
	p, ok := q.module.store.policies.Lookup(r, state.Join(req.Organisation, version))
	return orMissing(p, ok, "policies of %s, version %d", req.Organisation, version)
}

func (q *queries) Schema(ctx context.Context, req *accessv1.VersionRequest) (*accessv1.Schema, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	version := req.Version
	if version == 0 {
		version = q.module.store.organisation(r, req.Organisation).Schema
	}
	s, ok := q.module.store.schemas.Lookup(r, state.Join(req.Organisation, version))
	return orMissing(s, ok, "schema of %s, version %d", req.Organisation, version)
}

func (q *queries) Settings(ctx context.Context, req *accessv1.VersionRequest) (*accessv1.SettingsVersion, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	version := req.Version
	if version == 0 {
		version = q.module.store.organisation(r, req.Organisation).Settings
	}
	s, ok := q.module.store.settings.Lookup(r, state.Join(req.Organisation, version))
	return orMissing(s, ok, "settings of %s, version %d", req.Organisation, version)
}

func (q *queries) GuardRails(ctx context.Context, req *accessv1.GuardRailsRequest) (*accessv1.PolicySet, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	version := req.Version
	if version == 0 {
		version = q.module.store.organisation(r, q.module.deps.Identity.Consortium()).GuardRails
	}
	p, ok := q.module.store.guardRails.Lookup(r, version)
	return orMissing(p, ok, "guard rails, version %d", version)
}

func (q *queries) History(ctx context.Context, req *accessv1.HistoryRequest) (*accessv1.HistoryResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	out := &accessv1.HistoryResponse{}
	add := func(version uint64, hash []byte, c *accessv1.Change) {
		out.Versions = append(out.Versions, &accessv1.HistoryResponse_Version{Version: version, Hash: hash, Change: c})
	}
	span := state.Under(state.String, req.Organisation).Down().After(req.PageToken)
	switch req.Kind {
	case accessv1.HistoryKind_HISTORY_KIND_POLICIES:
		page, next := q.module.store.policies.Page(r, span, limit)
		for _, p := range page {
			add(p.Version, p.Hash, p.Change)
		}
		out.NextPageToken = next
	case accessv1.HistoryKind_HISTORY_KIND_SCHEMA:
		page, next := q.module.store.schemas.Page(r, span, limit)
		for _, s := range page {
			add(s.Version, s.Hash, s.Change)
		}
		out.NextPageToken = next
	case accessv1.HistoryKind_HISTORY_KIND_SETTINGS:
		page, next := q.module.store.settings.Page(r, span, limit)
		for _, s := range page {
			add(s.Version, nil, s.Change)
		}
		out.NextPageToken = next
	case accessv1.HistoryKind_HISTORY_KIND_GUARD_RAILS:
		page, next := q.module.store.guardRails.Page(r, state.All().Down().After(req.PageToken), limit)
		for _, p := range page {
			add(p.Version, p.Hash, p.Change)
		}
		out.NextPageToken = next
	default:
		return nil, ErrField.With("kind is missing or unknown")
	}
	return out, nil
}

func (q *queries) Entity(ctx context.Context, req *accessv1.EntityRequest) (*accessv1.Entity, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkUIDField("uid", req.Uid); err != nil {
		return nil, err
	}
	if req.Version == 0 {
		e, ok := q.module.store.entityNow(r, req.Organisation, req.Uid.Type, req.Uid.Id)
		return orMissing(e, ok, "entity %s", toCedar(req.Uid))
	}
	e, ok := q.module.store.entities.Lookup(r, state.Join3(req.Organisation, req.Uid.Type, state.Join(req.Uid.Id, req.Version)))
	return orMissing(e, ok, "entity %s, version %d", toCedar(req.Uid), req.Version)
}

func (q *queries) Entities(ctx context.Context, req *accessv1.EntitiesRequest) (*accessv1.EntitiesResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	span := state.Under(state.String, req.Organisation)
	if req.Type != "" {
		span = state.Under2(state.String, state.String, req.Organisation, req.Type)
	}
	keys := state.TripleOf(state.String, state.String, state.String)
	out := &accessv1.EntitiesResponse{}
	var last []byte
	for k, version := range q.module.store.entityHeads.Walk(r, span.After(req.PageToken)) {
		if len(out.Entities) == limit {
			out.NextPageToken = last
			break
		}
		e, ok := q.module.store.entities.Lookup(r, state.Join3(k.A, k.B, state.Join(k.C, version)))
		if !ok {
			panic("access: an entity's head names a version that is not there")
		}
		out.Entities = append(out.Entities, e)
		last = keys.Encode(nil, k)
	}
	return out, nil
}

func (q *queries) EntityHistory(ctx context.Context, req *accessv1.EntityHistoryRequest) (*accessv1.EntitiesResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	if err := checkUIDField("uid", req.Uid); err != nil {
		return nil, err
	}
	span := state.Under2(state.String, state.PairOf(state.String, state.String), req.Organisation, state.Join(req.Uid.Type, req.Uid.Id))
	page, next := q.module.store.entities.Page(r, span.Down().After(req.PageToken), limit)
	return &accessv1.EntitiesResponse{Entities: page, NextPageToken: next}, nil
}

func (q *queries) Decision(ctx context.Context, req *accessv1.DecisionRequest) (*accessv1.Decision, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	d, ok := q.module.store.decisions.Lookup(r, req.Id)
	return orMissing(d, ok, "decision %x", req.Id)
}

func (q *queries) Decisions(ctx context.Context, req *accessv1.DecisionsRequest) (*accessv1.DecisionsResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	s := &q.module.store
	var ids []string
	out := &accessv1.DecisionsResponse{}
	switch by := req.By.(type) {
	case *accessv1.DecisionsRequest_Organisation:
		ids, out.NextPageToken = s.byOrganisation.Page(r, state.Under(state.String, by.Organisation).Down().After(req.PageToken), limit)
	case *accessv1.DecisionsRequest_Principal:
		ids, out.NextPageToken = s.byPrincipal.Page(r, state.Under(state.String, by.Principal).Down().After(req.PageToken), limit)
	case *accessv1.DecisionsRequest_Resource:
		if err := checkUIDField("resource.uid", by.Resource.GetUid()); err != nil {
			return nil, err
		}
		uid := by.Resource.Uid
		span := state.Under2(state.String, state.PairOf(state.String, state.String), by.Resource.Organisation, state.Join(uid.Type, uid.Id))
		ids, out.NextPageToken = s.byResource.Page(r, span.Down().After(req.PageToken), limit)
	case *accessv1.DecisionsRequest_ConsentId:
		ids, out.NextPageToken = s.byConsent.Page(r, state.Under(state.Bytes, by.ConsentId).Down().After(req.PageToken), limit)
	case *accessv1.DecisionsRequest_BreakGlassId:
		ids, out.NextPageToken = s.byGlass.Page(r, state.Under(state.Bytes, by.BreakGlassId).Down().After(req.PageToken), limit)
	default:
		return nil, ErrField.With("give organisation, principal, resource, consent_id or break_glass_id")
	}
	for _, id := range ids {
		d, ok := s.decisions.Lookup(r, []byte(id))
		if !ok {
			panic("access: an index names a decision that is not there")
		}
		out.Decisions = append(out.Decisions, d)
	}
	return out, nil
}

func (q *queries) GrantStatus(ctx context.Context, req *accessv1.DecisionRequest) (*accessv1.GrantStatusResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	d, ok := q.module.store.decisions.Lookup(r, req.Id)
	if !ok {
		return nil, ErrNotFound.With("decision %x", req.Id)
	}
	return &accessv1.GrantStatusResponse{
		State: q.module.grantState(r, d), ValidUntil: d.ValidUntil, Purpose: d.Request.Purpose,
		Height: r.Height(), Time: r.Time(),
	}, nil
}

func (q *queries) Evaluate(ctx context.Context, req *accessv1.EvaluateRequest) (*accessv1.EvaluateResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	outcome, reason, err := q.module.evaluate(r, req.Request)
	if err != nil {
		return nil, err
	}
	return &accessv1.EvaluateResponse{Outcome: outcome, Reason: reason, Height: r.Height(), Time: r.Time()}, nil
}

func (q *queries) Evaluations(ctx context.Context, req *accessv1.EvaluationsRequest) (*accessv1.EvaluationsResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.module.evaluations(ctx, r, req)
}

func (q *queries) Explain(ctx context.Context, req *accessv1.ExplainRequest) (*accessv1.ExplainResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.module.explain(r, req)
}

func (q *queries) WhatIf(ctx context.Context, req *accessv1.WhatIfRequest) (*accessv1.WhatIfResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.module.whatIf(ctx, r, req)
}

func (q *queries) BreakGlass(ctx context.Context, req *accessv1.BreakGlassRequest) (*accessv1.Glass, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	g, ok := q.module.store.glasses.Lookup(r, req.Id)
	return orMissing(g, ok, "break-glass %x", req.Id)
}

func (q *queries) BreakGlasses(ctx context.Context, req *accessv1.BreakGlassesRequest) (*accessv1.BreakGlassesResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	var ids []string
	out := &accessv1.BreakGlassesResponse{}
	switch by := req.By.(type) {
	case *accessv1.BreakGlassesRequest_Organisation:
		ids, out.NextPageToken = q.module.store.glassesByOrganisation.Page(r, state.Under(state.String, by.Organisation).Down().After(req.PageToken), limit)
	case *accessv1.BreakGlassesRequest_Person:
		ids, out.NextPageToken = q.module.store.glassesByPerson.Page(r, state.Under(state.String, by.Person).Down().After(req.PageToken), limit)
	default:
		return nil, ErrField.With("give organisation or person")
	}
	for _, id := range ids {
		out.Glasses = append(out.Glasses, q.module.glass(r, []byte(id)))
	}
	return out, nil
}

func (q *queries) Reviews(ctx context.Context, req *accessv1.ReviewsRequest) (*accessv1.BreakGlassesResponse, error) {
	r, err := q.snapshots.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Limit)
	if err != nil {
		return nil, err
	}
	out := &accessv1.BreakGlassesResponse{}
	keys, next := q.module.store.reviewsByOrganisation.Page(r, state.Under(state.String, req.Organisation).After(req.PageToken), limit)
	for _, k := range keys {
		if req.Overdue && k.B >= r.Time() {
			return out, nil
		}
		out.Glasses = append(out.Glasses, q.module.glass(r, k.C))
	}
	out.NextPageToken = next
	return out, nil
}

// glass returns a break-glass that an index names.
func (m *Module) glass(r state.Reader, id []byte) *accessv1.Glass {
	g, ok := m.store.glasses.Lookup(r, id)
	if !ok {
		panic("access: an index names a break-glass that is not there")
	}
	return g
}
