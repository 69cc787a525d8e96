package forecast

import (
	"context"
	"math"
	"slices"
	"strings"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Bounds of requests.
const (
	defaultHorizon = 12
	defaultTop     = 10
	maxTop         = 100
	defaultFolds   = 10
	// candidatesOfTop is how many subjects are forecast for a ranking.
	candidatesOfTop = 256
	// maxHeavy is how many rankings and backtests are under way at once.
	maxHeavy = 1
)

// Service answers nodev1.Forecasts from a store.
type Service struct {
	nodev1.UnimplementedForecastsServer
	store *Store
	heavy chan struct{} // one entry for each ranking or backtest under way
}

// NewService makes a service.
func NewService(s *Store) *Service {
	return &Service{store: s, heavy: make(chan struct{}, maxHeavy)}
}

// Forecast implements nodev1.ForecastsServer.
func (s *Service) Forecast(_ context.Context, req *nodev1.ForecastRequest) (*nodev1.ForecastResponse, error) {
	kind, err := kindOfRequest(req.Kind)
	if err != nil {
		return nil, err
	}
	horizon, err := bounded(req.Horizon, defaultHorizon, MaxHorizon, "horizon")
	if err != nil {
		return nil, err
	}
	r, err := s.find(kind, req.Subject)
	if err != nil {
		return nil, err
	}
	f := Predict(r.History, horizon)
	resp := &nodev1.ForecastResponse{
		RateFit: fitProto(f.Rate), History: s.history(r), Latest: latestProto(r.History),
		Recent: slices.Clone(r.History.Counts[max(0, len(r.History.Counts)-MaxHorizon):]),
	}
	if f.Risk.Model != "" {
		resp.RiskFit = fitProto(f.Risk)
	}
	for _, p := range f.Points {
		resp.Points = append(resp.Points, pointProto(p))
	}
	return resp, nil
}

// Top implements nodev1.ForecastsServer.
func (s *Service) Top(ctx context.Context, req *nodev1.TopRequest) (*nodev1.TopResponse, error) {
	kind, err := kindOfRequest(req.Kind)
	if err != nil {
		return nil, err
	}
	limit, err := bounded(req.Limit, defaultTop, maxTop, "limit")
	if err != nil {
		return nil, err
	}
	var order Order
	switch req.Order {
	case nodev1.TopOrder_TOP_ORDER_UNSPECIFIED, nodev1.TopOrder_TOP_ORDER_DEVIATION:
		order = ByDeviation
	case nodev1.TopOrder_TOP_ORDER_RATE:
		order = ByRate
	case nodev1.TopOrder_TOP_ORDER_RISK:
		order = ByRisk
	default:
		return nil, ErrBadRequest.With("order is %d", req.Order)
	}
	done, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	place := s.store.Place()
	resp := &nodev1.TopResponse{BucketMs: s.store.width, Height: place.Height, Time: place.Time, CatchingUp: place.CatchingUp()}
	type ranked struct {
		measure float64
		subject *nodev1.TopSubject
	}
	var all []ranked
	for _, r := range s.store.Leading(kind, order, candidatesOfTop) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f := Predict(r.History, 1)
		x := ranked{f.Points[0].Rate.Expected, &nodev1.TopSubject{
			Subject: r.Name, Latest: latestProto(r.History), Next: pointProto(f.Points[0]), Model: f.Rate.Model,
		}}
		switch order {
		case ByDeviation:
			x.measure = math.Abs(x.subject.Latest.GetDistance())
		case ByRisk:
			x.measure = x.subject.Next.Risk.GetExpected()
		}
		all = append(all, x)
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		switch {
		case a.measure > b.measure:
			return -1
		case a.measure < b.measure:
			return 1
		default:
			return strings.Compare(a.subject.Subject, b.subject.Subject)
		}
	})
	for _, x := range all[:min(limit, len(all))] {
		resp.Subjects = append(resp.Subjects, x.subject)
	}
	return resp, nil
}

// Backtest implements nodev1.ForecastsServer.
func (s *Service) Backtest(ctx context.Context, req *nodev1.BacktestRequest) (*nodev1.BacktestResponse, error) {
	kind, err := kindOfRequest(req.Kind)
	if err != nil {
		return nil, err
	}
	folds, err := bounded(req.Folds, defaultFolds, MaxFolds, "folds")
	if err != nil {
		return nil, err
	}
	horizon, err := bounded(req.Horizon, defaultHorizon, MaxHorizon, "horizon")
	if err != nil {
		return nil, err
	}
	var of []Record
	if req.Subject != "" {
		r, err := s.find(kind, req.Subject)
		if err != nil {
			return nil, err
		}
		of = append(of, r)
	}
	done, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer done()
	if req.Subject == "" {
		of = s.store.Leading(kind, ByRate, MaxBacktested)
	}
	var t tally
	for _, r := range of {
		if err := t.add(ctx, r.History, folds, horizon); err != nil {
			return nil, err
		}
	}
	report := t.report()
	if report.Points == 0 {
		return nil, ErrNoHistory.With("a subject needs more than %d buckets of %s", leastHistory, s.store.settings.Bucket)
	}
	resp := &nodev1.BacktestResponse{
		Subjects: uint32(report.Subjects), Folds: uint32(report.Folds), Points: uint32(report.Points),
		Mae: report.MAE, NaiveMae: report.NaiveMAE, Mase: report.MASE, NaiveMase: report.NaiveMASE, Scaled: uint32(report.Scaled),
		Coverage_80: report.Coverage80, Coverage_95: report.Coverage95,
		RiskPoints: uint32(report.RiskPoints), RiskMae: report.RiskMAE, RiskCoverage_95: report.RiskCoverage95,
		BucketMs: s.store.width,
	}
	for _, name := range []string{ModelMean, ModelTrend, ModelProfile, ModelSeason} {
		if n := report.Models[name]; n > 0 {
			resp.Models = append(resp.Models, &nodev1.ModelCount{Model: name, Folds: uint32(n)})
		}
	}
	return resp, nil
}

// begin takes the place of a ranking or a backtest.
func (s *Service) begin() (done func(), err error) {
	select {
	case s.heavy <- struct{}{}:
		return func() { <-s.heavy }, nil
	default:
		return nil, ErrBusy
	}
}

func (s *Service) find(kind Kind, name string) (Record, error) {
	if name == "" || len(name) > MaxSubject {
		return Record{}, ErrBadRequest.With("subject has %d bytes, want 1 to %d", len(name), MaxSubject)
	}
	r, ok := s.store.Find(kind, name)
	if !ok {
		return Record{}, ErrNoSubject
	}
	return r, nil
}

func kindOfRequest(k nodev1.SubjectKind) (Kind, error) {
	switch k {
	case nodev1.SubjectKind_SUBJECT_KIND_ACTOR:
		return Actor, nil
	case nodev1.SubjectKind_SUBJECT_KIND_ORGANISATION:
		return Organisation, nil
	case nodev1.SubjectKind_SUBJECT_KIND_RESOURCE:
		return Resource, nil
	default:
		return 0, ErrBadRequest.With("kind is %d; choose actor, organisation or resource", k)
	}
}

// bounded is a number from 1 to most, or a default for 0.
func bounded(given uint32, otherwise, most int, field string) (int, error) {
	if given == 0 {
		return otherwise, nil
	}
	if given > uint32(most) {
		return 0, ErrBadRequest.With("%s is %d, at most %d", field, given, most)
	}
	return int(given), nil
}

func (s *Service) history(r Record) *nodev1.ForecastHistory {
	place := s.store.Place()
	return &nodev1.ForecastHistory{
		BucketMs: s.store.width, Buckets: uint32(len(r.History.Counts)), Hours: uint32(len(r.History.Hours)),
		Events: r.Events, First: r.First, Active: r.Active,
		Height: place.Height, Time: place.Time, CatchingUp: place.CatchingUp(),
	}
}

func bandProto(b Band) *nodev1.ForecastBand {
	return &nodev1.ForecastBand{Expected: b.Expected, Low_80: b.Low80, High_80: b.High80, Low_95: b.Low95, High_95: b.High95}
}

func pointProto(p Point) *nodev1.ForecastPoint {
	out := &nodev1.ForecastPoint{Time: p.Time, Rate: bandProto(p.Rate)}
	if p.Risk != nil {
		out.Risk = bandProto(*p.Risk)
	}
	return out
}

func fitProto(f Fit) *nodev1.ForecastFit {
	return &nodev1.ForecastFit{
		Model: f.Model, Alpha: f.Alpha, Beta: f.Beta, Gamma: f.Gamma, Phi: f.Phi,
		MeanError: f.MeanError, Rmse: f.RMSE, Dispersion: f.Dispersion, Residuals: uint32(f.Residuals),
	}
}

func latestProto(h History) *nodev1.ForecastDeviation {
	d, ok := Deviate(h)
	if !ok {
		return nil
	}
	return &nodev1.ForecastDeviation{Time: d.Time, Observed: d.Observed, Rate: bandProto(d.Rate), Distance: d.Distance}
}

var _ nodev1.ForecastsServer = (*Service)(nil)
