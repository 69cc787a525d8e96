package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// The values of --kind and --by.
var (
	subjectKinds = map[string]nodev1.SubjectKind{
		"actor":        nodev1.SubjectKind_SUBJECT_KIND_ACTOR,
		"organisation": nodev1.SubjectKind_SUBJECT_KIND_ORGANISATION,
		"resource":     nodev1.SubjectKind_SUBJECT_KIND_RESOURCE,
	}
	topOrders = map[string]nodev1.TopOrder{
		"deviation": nodev1.TopOrder_TOP_ORDER_DEVIATION,
		"rate":      nodev1.TopOrder_TOP_ORDER_RATE,
		"risk":      nodev1.TopOrder_TOP_ORDER_RISK,
	}
)

func (a *app) threatForecast() *cobra.Command {
	var kind, by string
	var horizon, folds, top uint32
	backtest := false
	c := &cobra.Command{
		Use:   "forecast [SUBJECT]",
		Short: "Show what to expect of an actor, an organisation or a resource",
		Long: lines(
			"Shows how many transactions a node expects of a subject in its next buckets of time,",
			"and at which risk, with the intervals that hold 80 % and 95 % of what comes; and the",
			"latest bucket beside what was expected of it. Without SUBJECT it shows the subjects",
			"that stand out. With --backtest it shows how well such forecasts of the past did.",
			"",
			"SUBJECT is the DID of an actor or an organisation, or the name of a resource. A node",
			"forecasts from its own records; it is not part of consensus. See docs/forecast.md.",
		),
		Example: examples(
			"chancery threat forecast",
			"chancery threat forecast --kind organisation --by rate --top 20",
			"chancery threat forecast did:chancery:mercy:registrar --horizon 24",
			"chancery threat forecast did:chancery:mercy --kind organisation --output json",
			"chancery threat forecast --backtest --folds 20",
		),
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			subject := ""
			if len(args) > 0 {
				if subject = args[0]; subject == "" {
					return usagef("SUBJECT is empty; leave it out to see which subjects stand out")
				}
			}
			k, ok := subjectKinds[kind]
			if !ok {
				return usagef("--kind is %q; choose actor, organisation or resource", kind)
			}
			order, ok := topOrders[by]
			if !ok {
				return usagef("--by is %q; choose deviation, rate or risk", by)
			}
			given := cmd.Flags().Changed
			ranking := subject == "" && !backtest
			switch {
			case !ranking && (given("top") || given("by")):
				return usagef("--top and --by rank subjects; give neither SUBJECT nor --backtest with them")
			case ranking && given("horizon"):
				return usagef("--horizon is of a forecast or a backtest; give SUBJECT or --backtest with it")
			case !backtest && given("folds"):
				return usagef("--folds is of a backtest; give --backtest with it")
			}
			for _, f := range []struct {
				flag        string
				value, most uint32
			}{{"horizon", horizon, 48}, {"folds", folds, 100}, {"top", top, 100}} {
				if f.value < 1 || f.value > f.most {
					return usagef("--%s is %d; give 1 to %d", f.flag, f.value, f.most)
				}
			}
			ctx, cancel := a.within(cmd)
			defer cancel()
			conn, err := a.dial(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			client := nodev1.NewForecastsClient(conn.Conn())
			switch {
			case backtest:
				return a.backtest(ctx, client, &nodev1.BacktestRequest{Kind: k, Subject: subject, Folds: folds, Horizon: horizon})
			case ranking:
				return a.standingOut(ctx, client, &nodev1.TopRequest{Kind: k, Order: order, Limit: top})
			default:
				return a.forecast(ctx, client, &nodev1.ForecastRequest{Kind: k, Subject: subject, Horizon: horizon})
			}
		},
	}
	f := c.Flags()
	f.StringVar(&kind, "kind", "actor", "what SUBJECT is: actor, organisation or resource")
	f.Uint32Var(&horizon, "horizon", 12, "how many buckets ahead, at most 48")
	f.Uint32Var(&top, "top", 10, "how many subjects to show, at most 100")
	f.StringVar(&by, "by", "deviation", "rank subjects by deviation from what was expected, by rate or by risk")
	f.BoolVar(&backtest, "backtest", false, "forecast the past again and show how well that went")
	f.Uint32Var(&folds, "folds", 10, "from how many points in the past, at most 100")
	complete(c, "kind", "actor", "organisation", "resource")
	complete(c, "by", "deviation", "rate", "risk")
	return c
}

func (a *app) forecast(ctx context.Context, client nodev1.ForecastsClient, req *nodev1.ForecastRequest) error {
	r, err := client.Forecast(ctx, req)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.print(r)
	}
	h := r.GetHistory()
	width := time.Duration(h.GetBucketMs()) * time.Millisecond
	out := facts{
		{"subject", req.Subject},
		{"history", fmt.Sprintf("%d buckets of %s and %d hours, %d transactions since %s", h.GetBuckets(), width, h.GetHours(), h.GetEvents(), stamp(h.GetFirst()))},
		{"until", fmt.Sprintf("block %d of %s%s", h.GetHeight(), stamp(h.GetTime()), behind(h.GetCatchingUp()))},
		{"last active", moment(h.GetActive())},
		{"model", fitted(r.GetRateFit())},
	}
	if r.GetRiskFit() != nil {
		out = append(out, fact{"model of risk", fitted(r.GetRiskFit())})
	}
	if d := r.GetLatest(); d != nil {
		out = append(out, fact{"latest bucket", fmt.Sprintf("%s, expected %s (95 %%: %s): %s", number(d.GetObserved()),
			number(d.GetRate().GetExpected()), span(d.GetRate().GetLow_95(), d.GetRate().GetHigh_95()), verdict(d))})
	}
	expected := make([]float64, len(r.GetPoints()))
	rows := [][]string{{"TIME", "RATE", "80 %", "95 %", "RISK", "95 %"}}
	for i, p := range r.GetPoints() {
		expected[i] = p.GetRate().GetExpected()
		row := []string{stamp(p.GetTime()), number(p.GetRate().GetExpected()), span(p.GetRate().GetLow_80(), p.GetRate().GetHigh_80()),
			span(p.GetRate().GetLow_95(), p.GetRate().GetHigh_95()), "-", "-"}
		if risk := p.GetRisk(); risk != nil {
			row[4], row[5] = fmt.Sprintf("%.0f", risk.GetExpected()), fmt.Sprintf("%.0f to %.0f", risk.GetLow_95(), risk.GetHigh_95())
		}
		rows = append(rows, row)
	}
	most := 0.0
	for _, v := range append(expected, r.GetRecent()...) {
		most = max(most, v)
	}
	chart := fmt.Sprintf("\n%s│%s\nthe latest buckets │ the next ones; the highest is %s\n\n", sparkline(r.GetRecent(), most), sparkline(expected, most), number(most))
	return a.write(out.text() + chart + table(rows))
}

func (a *app) standingOut(ctx context.Context, client nodev1.ForecastsClient, req *nodev1.TopRequest) error {
	r, err := client.Top(ctx, req)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.print(r)
	}
	width := time.Duration(r.GetBucketMs()) * time.Millisecond
	head := fmt.Sprintf("buckets of %s until block %d of %s%s\n", width, r.GetHeight(), stamp(r.GetTime()), behind(r.GetCatchingUp()))
	rows := [][]string{{"SUBJECT", "LATEST", "EXPECTED", "95 %", "DEVIATIONS", "NEXT", "RISK"}}
	for _, s := range r.GetSubjects() {
		row := []string{s.GetSubject(), "-", "-", "-", "-", number(s.GetNext().GetRate().GetExpected()), "-"}
		if d := s.GetLatest(); d != nil {
			row[1], row[2], row[3], row[4] = number(d.GetObserved()), number(d.GetRate().GetExpected()),
				span(d.GetRate().GetLow_95(), d.GetRate().GetHigh_95()), verdict(d)
		}
		if risk := s.GetNext().GetRisk(); risk != nil {
			row[6] = fmt.Sprintf("%.0f", risk.GetExpected())
		}
		rows = append(rows, row)
	}
	return a.write(head + table(rows))
}

func (a *app) backtest(ctx context.Context, client nodev1.ForecastsClient, req *nodev1.BacktestRequest) error {
	defer a.spin("forecasting the past")()
	r, err := client.Backtest(ctx, req)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.print(r)
	}
	var models []string
	for _, m := range r.GetModels() {
		models = append(models, fmt.Sprintf("%s %d", m.GetModel(), m.GetFolds()))
	}
	scaled := "-"
	if r.GetScaled() > 0 {
		scaled = fmt.Sprintf("%.3f, seasonal naive %.3f", r.GetMase(), r.GetNaiveMase())
	}
	out := facts{
		{"subjects", r.GetSubjects()},
		{"origins", r.GetFolds()},
		{"buckets", fmt.Sprintf("%d of %s", r.GetPoints(), time.Duration(r.GetBucketMs())*time.Millisecond)},
		{"MAE", fmt.Sprintf("%.3f, seasonal naive %.3f", r.GetMae(), r.GetNaiveMae())},
		{"MASE", scaled},
		{"80 % holds", fmt.Sprintf("%.1f %%", 100*r.GetCoverage_80())},
		{"95 % holds", fmt.Sprintf("%.1f %%", 100*r.GetCoverage_95())},
		{"models", models},
	}
	if r.GetRiskPoints() > 0 {
		out = append(out,
			fact{"MAE of risk", fmt.Sprintf("%.0f over %d buckets", r.GetRiskMae(), r.GetRiskPoints())},
			fact{"95 % of risk holds", fmt.Sprintf("%.1f %%", 100*r.GetRiskCoverage_95())})
	}
	return a.write(out.text())
}

// behind says so of a node that has not counted all of its blocks.
func behind(catchingUp bool) string {
	if catchingUp {
		return " (still reading what was before it started)"
	}
	return ""
}

// fitted is a model in words.
func fitted(f *nodev1.ForecastFit) string {
	text := f.GetModel()
	if f.GetAlpha() > 0 {
		text += fmt.Sprintf(", alpha %.3g, beta %.2g, gamma %.2g, phi %.3g", f.GetAlpha(), f.GetBeta(), f.GetGamma(), f.GetPhi())
	}
	return text + fmt.Sprintf("; root mean squared error %s over %d buckets", number(f.GetRmse()), f.GetResiduals())
}

// verdict tells whether a bucket was as expected.
func verdict(d *nodev1.ForecastDeviation) string {
	text := fmt.Sprintf("%+.1f", d.GetDistance())
	switch {
	case d.GetObserved() > d.GetRate().GetHigh_95():
		return text + " above"
	case d.GetObserved() < d.GetRate().GetLow_95():
		return text + " below"
	default:
		return text
	}
}

// number has two decimals where they matter.
func number(x float64) string {
	if x >= 100 || x == float64(int64(x)) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

func span(low, high float64) string { return fmt.Sprintf("%.0f to %.0f", low, high) }

// sparkline draws values from 0 to most, each as one block.
func sparkline(values []float64, most float64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		at := 0
		if most > 0 {
			at = int(v / most * float64(len(blocks)-1))
		}
		b.WriteRune(blocks[min(max(at, 0), len(blocks)-1)])
	}
	return b.String()
}
