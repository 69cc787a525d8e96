package rpc_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/node/forecast"
	"github.com/chancery/chancery/node/nodetest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// seen is a source that takes every transaction for the consortium's, about one
// resource, with a score of 1000.
func seen(r *chainv1.BlockRecord) []forecast.Observation {
	var out []forecast.Observation
	for range r.Txs {
		out = append(out, forecast.Observation{
			Height: r.Height, Time: r.Time, Actor: chaintest.Consortium, Organisation: chaintest.Consortium,
			Resources: []string{"params"}, Score: 1000, Scored: true,
		})
	}
	return out
}

// predicted is a door whose forecasts are fed from the chain's records.
func predicted(t *testing.T, c *nodetest.Chain) nodev1.ForecastsClient {
	t.Helper()
	s := forecast.DefaultSettings()
	s.Bucket = time.Second // about one block of the test chain
	st, err := forecast.NewStore(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { forecast.Follow(ctx, st, c.Records, seen, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() { stop(); group.Wait() })
	d := serveWith(t, c, limits(), forecast.NewService(st))
	return nodev1.NewForecastsClient(d.dial())
}

func TestForecastsOfARunningChain(t *testing.T) {
	c := nodetest.New(t, nodetest.Config{Modules: []chain.Module{identity.New()}, Genesis: genesis(t)})
	for range 60 {
		c.Block(c.SetParams())
	}
	client := predicted(t, c)
	ctx := t.Context()
	ask := &nodev1.ForecastRequest{Kind: nodev1.SubjectKind_SUBJECT_KIND_ACTOR, Subject: chaintest.Consortium, Horizon: 5}
	// Blocks before and after the follower began, both once.
	for range 10 {
		c.Block(c.SetParams())
	}
	var got *nodev1.ForecastResponse
	until(t, "all blocks are counted", func() bool {
		var err error
		got, err = client.Forecast(ctx, ask)
		return err == nil && got.History.Height == c.Height() && !got.History.CatchingUp
	})
	if got.History.Events != 70 || len(got.Points) != 5 || got.History.Time != c.Now() || len(got.Recent) == 0 {
		t.Fatalf("%v", got)
	}
	rate := 1000 / float64(chaintest.BlockTime)
	for _, p := range got.Points {
		if e := p.Rate; e.Expected < 0.5*rate || e.Expected > 2*rate || e.Low_95 > e.Low_80 || e.High_80 > e.High_95 || e.High_95 < e.Low_95 {
			t.Errorf("%v, blocks make %.2f", e, rate)
		}
		if r := p.Risk; r == nil || r.Expected < 999 || r.Expected > 1001 {
			t.Errorf("risk %v", r)
		}
	}
	for _, order := range []nodev1.TopOrder{0, nodev1.TopOrder_TOP_ORDER_RATE, nodev1.TopOrder_TOP_ORDER_RISK} {
		top, err := client.Top(ctx, &nodev1.TopRequest{Kind: nodev1.SubjectKind_SUBJECT_KIND_RESOURCE, Order: order})
		if err != nil || len(top.Subjects) != 1 || top.Subjects[0].Subject != "params" || top.Subjects[0].Latest == nil || top.Subjects[0].Next.Risk == nil {
			t.Errorf("%v %v", top, err)
		}
	}
	for _, subject := range []string{"", chaintest.Consortium} {
		test, err := client.Backtest(ctx, &nodev1.BacktestRequest{Kind: nodev1.SubjectKind_SUBJECT_KIND_ORGANISATION, Subject: subject, Folds: 3, Horizon: 4})
		if err != nil || test.Subjects != 1 || test.Folds != 3 || test.Points == 0 || test.Coverage_95 < test.Coverage_80 || len(test.Models) == 0 {
			t.Errorf("%v %v", test, err)
		}
	}
}

func TestForecastsThatAreRefused(t *testing.T) {
	c := nodetest.New(t, nodetest.Config{Modules: []chain.Module{identity.New()}, Genesis: genesis(t)})
	client := predicted(t, c)
	ctx := t.Context()
	actor := nodev1.SubjectKind_SUBJECT_KIND_ACTOR
	for name, req := range map[string]*nodev1.ForecastRequest{
		"no kind": {Subject: "a"}, "another kind": {Kind: 9, Subject: "a"}, "no subject": {Kind: actor},
		"a long subject": {Kind: actor, Subject: string(make([]byte, forecast.MaxSubject+1))},
		"a far horizon":  {Kind: actor, Subject: "a", Horizon: forecast.MaxHorizon + 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.Forecast(ctx, req)
			refused(t, err, forecast.ErrBadRequest, codes.InvalidArgument)
		})
	}
	_, err := client.Forecast(ctx, &nodev1.ForecastRequest{Kind: actor, Subject: "did:chancery:nobody"})
	refused(t, err, forecast.ErrNoSubject, codes.NotFound)
	_, err = client.Top(ctx, &nodev1.TopRequest{Kind: actor, Limit: 1000})
	refused(t, err, forecast.ErrBadRequest, codes.InvalidArgument)
	_, err = client.Top(ctx, &nodev1.TopRequest{Kind: actor, Order: 9})
	refused(t, err, forecast.ErrBadRequest, codes.InvalidArgument)
	_, err = client.Backtest(ctx, &nodev1.BacktestRequest{Kind: actor})
	refused(t, err, forecast.ErrNoHistory, codes.FailedPrecondition)
	_, err = client.Backtest(ctx, &nodev1.BacktestRequest{Kind: actor, Folds: 101})
	refused(t, err, forecast.ErrBadRequest, codes.InvalidArgument)
}

func TestWithoutForecastsTheServiceIsNotThere(t *testing.T) {
	client := nodev1.NewForecastsClient(open(t, limits()).dial())
	_, err := client.Forecast(t.Context(), &nodev1.ForecastRequest{})
	if status.Code(err) != codes.Unimplemented {
		t.Fatal(err)
	}
}
