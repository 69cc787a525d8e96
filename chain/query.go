package chain

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain/state"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	defaultPage = 50
	maxPage     = 500
)

// RegisterQueries registers the core's own query service.
func (a *App) RegisterQueries(s grpc.ServiceRegistrar, q Snapshots) {
	chainv1.RegisterQueryServer(s, &queries{a: a, at: q})
}

type queries struct {
	chainv1.UnimplementedQueryServer
	a  *App
	at Snapshots
}

// Version implements chainv1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Version(ctx context.Context, _ *chainv1.VersionRequest) (*chainv1.VersionResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return &chainv1.VersionResponse{Version: q.a.versionRecord(r)}, nil
}

// Plan implements chainv1.QueryServer. It reads the one record, so that it can be proven.
func (q *queries) Plan(ctx context.Context, _ *chainv1.PlanRequest) (*chainv1.PlanResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	p := q.a.Plan(r)
	if p == nil {
		return nil, ErrNoPlan.With("none is to come")
	}
	return &chainv1.PlanResponse{Plan: p}, nil
}

// Readiness implements chainv1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Readiness(ctx context.Context, req *chainv1.ReadinessRequest) (*chainv1.ReadinessResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	found, ok := q.a.core.readiness.Lookup(r, req.Organisation)
	if !ok {
		return nil, ErrNoReport.With("%s", req.Organisation)
	}
	return &chainv1.ReadinessResponse{Readiness: found}, nil
}

// Upgrade implements chainv1.QueryServer. It reads the one record, so that it can be
// proven.
func (q *queries) Upgrade(ctx context.Context, req *chainv1.UpgradeRequest) (*chainv1.UpgradeResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	u, ok := q.a.core.upgrades.Lookup(r, req.Name)
	if !ok {
		return nil, ErrNoPlan.With("%s has not ended", req.Name)
	}
	return &chainv1.UpgradeResponse{Upgrade: u}, nil
}

// Upgrades implements chainv1.QueryServer.
func (q *queries) Upgrades(ctx context.Context, req *chainv1.UpgradesRequest) (*chainv1.UpgradesResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(int(req.Limit), defaultPage)
	if limit > maxPage {
		return nil, ErrBadPage.With("limit %d", req.Limit)
	}
	out := new(chainv1.UpgradesResponse)
	for _, u := range q.a.core.upgrades.Walk(r, state.All()) {
		out.Upgrades = append(out.Upgrades, u)
	}
	slices.SortStableFunc(out.Upgrades, func(a, b *chainv1.Upgrade) int { return cmp.Compare(b.Height, a.Height) })
	out.Upgrades = out.Upgrades[:min(limit, len(out.Upgrades))]
	return out, nil
}

// UpgradeStatus implements chainv1.QueryServer.
func (q *queries) UpgradeStatus(ctx context.Context, _ *chainv1.UpgradeStatusRequest) (*chainv1.UpgradeStatusResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	return q.a.upgradeStatus(r), nil
}

// UpgradeStatus is how the upgrade that is to come stands in the latest state.
func (a *App) UpgradeStatus() *chainv1.UpgradeStatusResponse { return a.upgradeStatus(a.Latest()) }

func (a *App) upgradeStatus(r ReadCtx) *chainv1.UpgradeStatusResponse {
	out := &chainv1.UpgradeStatusResponse{Height: r.Height(), Version: a.VersionIn(r), Plan: a.Plan(r)}
	if out.Plan == nil {
		return out
	}
	at := func(organisation string) *chainv1.OrganisationReadiness {
		i, ok := slices.BinarySearchFunc(out.Organisations, organisation, func(o *chainv1.OrganisationReadiness, did string) int {
			return cmp.Compare(o.Organisation, did)
		})
		if !ok {
			out.Organisations = slices.Insert(out.Organisations, i, &chainv1.OrganisationReadiness{Organisation: organisation})
		}
		return out.Organisations[i]
	}
	if a.validators != nil {
		powers, total := a.validators.Powers(r)
		out.TotalPower = total
		for _, p := range powers {
			at(p.Organisation).Power += p.Power
		}
	}
	for organisation, report := range a.core.readiness.Walk(r, state.All()) {
		at(organisation).Readiness = report
	}
	for _, o := range out.Organisations {
		switch {
		case o.Readiness == nil:
		case o.Readiness.Ready:
			out.ReadyPower += o.Power
			addHash(out, o)
		default:
			out.FailedPower += o.Power
		}
	}
	slices.SortStableFunc(out.Hashes, func(a, b *chainv1.ReportedHash) int {
		return cmp.Or(cmp.Compare(a.StateHeight, b.StateHeight), cmp.Compare(b.Power, a.Power), bytes.Compare(a.AppHash, b.AppHash))
	})
	for i, h := range out.Hashes {
		out.Disagreement = out.Disagreement || i > 0 && out.Hashes[i-1].StateHeight == h.StateHeight
	}
	return out
}

// addHash counts the root that an organisation reported.
func addHash(out *chainv1.UpgradeStatusResponse, o *chainv1.OrganisationReadiness) {
	r := o.Readiness
	for _, h := range out.Hashes {
		if h.StateHeight == r.StateHeight && bytes.Equal(h.AppHash, r.AppHash) {
			h.Power += o.Power
			h.Organisations = append(h.Organisations, o.Organisation)
			return
		}
	}
	out.Hashes = append(out.Hashes, &chainv1.ReportedHash{
		StateHeight: r.StateHeight, AppHash: r.AppHash, Power: o.Power, Organisations: []string{o.Organisation},
	})
}
