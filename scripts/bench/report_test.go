package main

import (
	"encoding/json"
	"image/png"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chancery/chancery/node/bench"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// made is rounds of a case with these throughputs.
func made(s setting, state int, throughputs ...float64) *series {
	out := &series{setting: s, State: state}
	for i, v := range throughputs {
		closed := &bench.Result{Throughput: v, MessageRate: v * float64(s.Messages), CPU: 1e6 / v}
		closed.Nodes = []bench.Node{{PID: 1, CPU: 1, Resident: 100 << 20}}
		f := figures{Round: i + 1, Keys: state, Closed: closed, Disk: 2000}
		for range 2 {
			f.Open = append(f.Open, &bench.Result{Latency: bench.Latency{P50: 100, P99: 200, Max: 300}, CPU: 400})
			f.BlockMs = append(f.BlockMs, 120)
		}
		out.Rounds = append(out.Rounds, f)
	}
	return out
}

var (
	ours   = setting{inMemory, bench.Consent, 1, 4, 0}
	tenful = setting{inMemory, bench.Consent, 10, 4, 0}
	theirs = setting{reference, bench.Consent, 1, 4, 0}
)

// The median of the rounds' ratios is not the ratio of the medians.
func TestRatiosAreOfEachRoundsPair(t *testing.T) {
	r := newReport([]*series{made(ours, 0, 100, 300, 200), made(tenful, 0, 50, 50, 50), made(theirs, 0, 100, 200, 400)}, options{rates: []int{100, 200}})
	find := func(s setting, figure string) spanned {
		i := slices.IndexFunc(r.Ratios, func(x ratio) bool { return x.setting == s && x.Figure == figure })
		if i < 0 {
			t.Fatalf("%v has no ratio of %s", s, figure)
		}
		return r.Ratios[i].Values
	}
	if got := find(ours, txRate); got != (spanned{1, 0.5, 1.5}) {
		t.Errorf("the ratio of throughput is %+v", got)
	}
	if got := find(tenful, messageRate); got.Median != 2.5 {
		t.Errorf("the ratio of messages is %+v", got)
	}
	if got := find(ours, "p99 at 200 tx/s"); got.Median != 1 {
		t.Errorf("the ratio of latency is %+v", got)
	}
	if slices.ContainsFunc(r.Ratios, func(x ratio) bool { return x.App == reference }) {
		t.Error("the reference is compared with itself")
	}
}

func TestJudgeFailsWhereARatioFell(t *testing.T) {
	was := func(median float64) []ratio { return []ratio{{ours, 0, txRate, spanned{Median: median}}} }
	for _, c := range []struct {
		now, before []ratio
		fault       string
	}{
		{was(0.86), was(1), ""},
		{was(1.4), was(1), ""},
		{was(0.84), was(1), "fell from 1.00 to 0.84"},
		{nil, was(1), "was not measured"},
		{[]ratio{{tenful, 0, txRate, spanned{Median: 2}}}, was(1), "was not measured"},
		{was(1), nil, "holds no ratios"},
	} {
		_, err := judge(c.now, c.before, 0.15)
		if (err != nil) != (c.fault != "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("now %v, before %v: %v, want %q", c.now, c.before, err, c.fault)
		}
	}
}

func TestSettingsStandBesideTheirReference(t *testing.T) {
	o, err := flags([]string{"--only", "chancery-memory,kvstore", "--workload", "consent,mixed", "--validators", "1,4", "--messages", "1,10"})
	if err != nil {
		t.Fatal(err)
	}
	got := settings(o)
	count := 0
	for _, s := range got {
		if s.App == reference {
			count++
		}
	}
	if len(got) != 2*(1+4) || count != 2 {
		t.Errorf("%d settings, of which %d are the reference's: %v", len(got), count, got)
	}
	if o, err = flags([]string{"--only", "kvstore", "--regions", "1,3", "--delays", "1,2,3"}); err != nil {
		t.Fatal(err)
	}
	if got = settings(o); len(got) != 2 || got[0].Regions != 0 || got[1].Regions != 3 || o.far[2] != 3*time.Millisecond {
		t.Errorf("with regions: %v, %v", got, o.far)
	}
	for _, args := range [][]string{{"--only", "other"}, {"--validators", "17"}, {"--workload", "giving"}, {"--state", "x"}, {"--rounds", "0"}, {"--settle", "301"}, {"--regions", "2"}, {"--delays", "1,2"}, {"more"}} {
		if _, err := flags(args); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}

func TestTheReportIsWhole(t *testing.T) {
	one, sixteen := ours, ours
	one.Validators, sixteen.Validators = 1, 16
	r := newReport([]*series{
		made(one, 10_000, 900, 1000, 1100), made(one, 5_000_000, 800, 900, 1000), made(sixteen, 10_000, 100, 110, 120), made(theirs, 0, 500, 600, 700),
	}, options{rates: []int{100, 200}, rounds: 3, seconds: 5})
	dir := t.TempDir()
	if err := r.write(dir, "x"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "x.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(raw, &back); err != nil || len(back.Series) != 4 || back.Series[1].Rounds[2].Closed.Throughput != 1000 {
		t.Errorf("x.json: %v, %d series", err, len(back.Series))
	}
	text, err := os.ReadFile(filepath.Join(dir, "x.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 1000 (900–1100) |", "(x-latency.png)", "(x-state.png)", "(x-validators.png)", "Rounds: 3."} {
		if !strings.Contains(string(text), want) {
			t.Errorf("x.md lacks %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"x-latency.png", "x-state.png", "x-validators.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if c, err := png.DecodeConfig(f); err != nil || c.Width != 1600 || c.Height != 600 {
			t.Errorf("%s: %v, %d by %d", name, err, c.Width, c.Height)
		}
		_ = f.Close()
	}
}

func TestTheCommandHasNoPathsOfThisMachine(t *testing.T) {
	if got := command([]string{"--binary", "/home/you/bin/chancery", "--out=/tmp/x", "--rate", "5"}); got != "go run ./scripts/bench --binary chancery --out=x --rate 5" {
		t.Error(got)
	}
}

func TestReadsAreReportedForACPUSecond(t *testing.T) {
	h := hdrhistogram.New(1, longestCall, 3)
	for us := int64(1); us <= 1000; us++ {
		if err := h.RecordValue(us); err != nil {
			t.Fatal(err)
		}
	}
	row := &readRow{Name: "decisions", Seconds: 10, Handled: 8, Quick: 7}
	// Of 6 s of processor time 1 s is the load's, so 100 000 answers took 5 s.
	row.finish(100_000, h, 6, 0.1)
	if row.Rate != 10_000 || row.CPU != 50 || row.Latency.P50 != 0.5 || row.Latency.P99 != 0.99 || row.Latency.Max != 1 {
		t.Errorf("%+v", row)
	}
	dir := t.TempDir()
	r := &readReport{Command: "bench reads", Rows: []*readRow{{Name: "nothing but the load"}, row}}
	if err := r.write(dir, "reads"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "reads.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "| decisions | 10000 | 20000 | 0.50 | 0.99 | 1.00 | 87.50 % | 0 |") || strings.Contains(string(text), "nothing but") {
		t.Errorf("%s", text)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "reads.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again readReport
	if err := json.Unmarshal(raw, &again); err != nil || len(again.Rows) != 2 || *again.Rows[1] != *row {
		t.Errorf("%v of %s", err, raw)
	}
}

// The node's own count of quick calls is read by method, whatever other calls there were.
func TestQuickCallsAreThoseThatTheNodeCounts(t *testing.T) {
	registry := prometheus.NewRegistry()
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chancery_rpc_call_seconds", Buckets: []float64{.0005, quickly, .0025}}, []string{"method"})
	registry.MustRegister(seconds)
	for _, took := range []float64{0.0001, 0.0009, 0.002, 3} {
		seconds.WithLabelValues(accessv1.Query_Evaluate_FullMethodName).Observe(took)
		seconds.WithLabelValues(accessv1.Query_Evaluations_FullMethodName).Observe(0.0001)
	}
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	m := &member{}
	m.config.Telemetry.Listen = server.Listener.Addr().String()
	l := &library{office: &office{net: &network{members: []*member{m}}}}
	for method, want := range map[string][2]int64{
		accessv1.Query_Evaluate_FullMethodName: {2, 4}, accessv1.Query_Entity_FullMethodName: {}, "": {},
	} {
		within, all, err := l.handled(t.Context(), method)
		if err != nil || within != want[0] || all != want[1] {
			t.Errorf("%q: %v of %v, %v; want %v", method, within, all, err, want)
		}
	}
}

func TestReadFlagsAreBounded(t *testing.T) {
	for _, args := range [][]string{
		{"--policies", "10001"}, {"--entities", "1000001"}, {"--graph", "1999"}, {"--tree", "air"}, {"--batch", "1001"}, {"--clients", "0"}, {"more"},
	} {
		if _, err := readFlags(args); err == nil {
			t.Errorf("%v are taken", args)
		}
	}
	if o, err := readFlags([]string{"--policies", "10000,1000", "--entities", "1000000", "--graph", "1000000"}); err != nil || o.policies[0] != 1000 {
		t.Errorf("%v, %v", o, err)
	}
}
