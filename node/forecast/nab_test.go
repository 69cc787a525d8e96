package forecast

import (
	"encoding/csv"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the table in docs/forecast.md anew")

// counted are the series of the Numenta Anomaly Benchmark that are counts of events
// in regular buckets.
var counted = []string{
	"realTweets/Twitter_volume_AAPL", "realTweets/Twitter_volume_AMZN", "realTweets/Twitter_volume_CRM",
	"realTweets/Twitter_volume_CVS", "realTweets/Twitter_volume_FB", "realTweets/Twitter_volume_GOOG",
	"realTweets/Twitter_volume_IBM", "realTweets/Twitter_volume_KO", "realTweets/Twitter_volume_PFE",
	"realTweets/Twitter_volume_UPS", "realAWSCloudwatch/elb_request_count_8c0756", "realKnownCause/nyc_taxi",
}

// readNAB is a series as counts of buckets of the width of its first step. Its times,
// which name no zone, are taken for UTC. A bucket that is left out counts nothing.
func readNAB(t *testing.T, path string) History {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := func(row []string) int64 {
		when, err := time.Parse(time.DateTime, row[0])
		if err != nil {
			t.Fatal(err)
		}
		return when.UnixMilli()
	}
	rows = rows[1:]
	h := History{Bucket: at(rows[1]) - at(rows[0])}
	first, last := at(rows[0])/h.Bucket, at(rows[len(rows)-1])/h.Bucket
	h.End, h.HoursEnd = last+1, (last+1)*h.Bucket/hour
	h.Counts, h.Risks = make([]float64, h.End-first), make([]float64, h.End-first)
	for i := range h.Risks {
		h.Risks[i] = math.NaN()
	}
	for _, row := range rows {
		if h.Counts[at(row)/h.Bucket-first], err = strconv.ParseFloat(row[1], 64); err != nil {
			t.Fatal(err)
		}
	}
	begin := (first*h.Bucket + hour - 1) / hour
	h.Hours = make([]float64, h.HoursEnd-begin)
	for i, v := range h.Counts {
		if k := (first+int64(i))*h.Bucket/hour - begin; k >= 0 && k < int64(len(h.Hours)) {
			h.Hours[k] += v
		}
	}
	return h
}

// kept is what a store with the settings keeps of a history, and the buckets after it
// that are to be forecast.
func (h History) kept(s Settings, ahead int) History {
	begin := max(0, len(h.Counts)-s.Buckets-ahead)
	h.Counts, h.Risks = h.Counts[begin:], h.Risks[begin:]
	h.Hours = h.Hours[max(0, len(h.Hours)-s.Hours):]
	return h
}

// docs/forecast.md has what this measures. Without the data it is skipped.
func TestNAB(t *testing.T) {
	root := os.Getenv("CHANCERY_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	data := filepath.Join(root, "datasets", "nab", "data")
	if _, err := os.Stat(data); err != nil {
		t.Skipf("the Numenta Anomaly Benchmark is not at %s; set CHANCERY_SHARED", data)
	}
	var b strings.Builder
	b.WriteString("| Series | Bucket | MASE | seasonal naive | MAE ÷ naive MAE | 80 % holds | 95 % holds | Models |\n|---|---|---|---|---|---|---|---|\n")
	better, ratios := 0, 0.0
	for _, name := range counted {
		whole := readNAB(t, filepath.Join(data, name+".csv"))
		r := backtestKept(whole, DefaultSettings(), 40)
		var models []string
		for _, m := range []string{ModelMean, ModelTrend, ModelProfile, ModelSeason} {
			if n := r.Models[m]; n > 0 {
				models = append(models, fmt.Sprintf("%s %d", m, n))
			}
		}
		fmt.Fprintf(&b, "| %s | %v | %.2f | %.2f | %.2f | %.0f %% | %.0f %% | %s |\n", filepath.Base(name),
			time.Duration(whole.Bucket)*time.Millisecond, r.MASE, r.NaiveMASE, r.MAE/r.NaiveMAE,
			100*r.Coverage80, 100*r.Coverage95, strings.Join(models, ", "))
		if r.MASE < r.NaiveMASE {
			better++
		}
		ratios += math.Log(r.MAE / r.NaiveMAE)
		if r.Coverage95 < 0.85 {
			t.Errorf("%s: the 95 %% interval holds %.1f %%", name, 100*r.Coverage95)
		}
	}
	fmt.Fprintf(&b, "\nBetter than seasonal naive on %d of %d; the geometric mean of MAE ÷ naive MAE is %.2f.\n",
		better, len(counted), math.Exp(ratios/float64(len(counted))))
	if better < len(counted)*3/4 {
		t.Errorf("better than seasonal naive on %d of %d alone", better, len(counted))
	}
	t.Logf("\n%s", b.String())
	inDocument(t, b.String())
}

// backtestKept is a backtest from origins over the second half of a history that is
// longer than what is kept.
func backtestKept(whole History, s Settings, folds int) Report {
	var all tally
	n := len(whole.Counts)
	for fold := range folds {
		origin := n/2 + fold*(n/2-MaxHorizon)/folds
		h := whole.before(n-origin-MaxHorizon).kept(s, MaxHorizon)
		all.fold(h, len(h.Counts)-MaxHorizon, MaxHorizon)
	}
	return all.report()
}

// inDocument holds the table of docs/forecast.md against what was measured.
func inDocument(t *testing.T, table string) {
	t.Helper()
	const path = "../../docs/forecast.md"
	const begin, end = "<!-- nab: written by go test ./node/forecast -run TestNAB -rewrite -->\n", "<!-- end of nab -->\n"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s lacks the marks of the table", path)
	}
	want := head + begin + "\n" + table + "\n" + end + tail
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(raw) {
		t.Errorf("the table in %s is not what is measured; run go test ./node/forecast -run TestNAB -rewrite", path)
	}
}
