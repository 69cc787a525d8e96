package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestForecastsOfANode(t *testing.T) {
	s := onChain(t)
	for i := range 3 {
		register(s, fmt.Sprintf("forecast-%d", i), "{}")
	}
	// The follower is a moment behind the block.
	for end := time.Now().Add(20 * time.Second); s.run("threat", "forecast", registrar).code != 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	out := s.ok("threat", "forecast", registrar, "--horizon", "3")
	plain := strings.Join(strings.Fields(out), " ")
	for _, words := range []string{"subject " + registrar + " history", "buckets of 1m0s", "until block ", "model mean", "TIME RATE 80 % 95 % RISK 95 %"} {
		if !strings.Contains(plain, words) {
			t.Errorf("no %q in\n%s", words, out)
		}
	}
	if rows := strings.Count(out, "\n20"); rows != 3 {
		t.Errorf("%d rows in\n%s", rows, out)
	}
	v := s.json("threat", "forecast", alpha, "--kind", "organisation", "--horizon", "2")
	if points := v["points"].([]any); len(points) != 2 {
		t.Errorf("%v", v)
	}
	if out := s.ok("threat", "forecast", "--by", "rate", "--top", "5"); !strings.Contains(out, "SUBJECT") || !strings.Contains(out, registrar) {
		t.Errorf("%s", out)
	}
	if v := s.json("threat", "forecast", "--kind", "organisation"); len(v["subjects"].([]any)) == 0 {
		t.Errorf("%v", v)
	}
	s.fails(5, "forecast/3", "threat", "forecast", "did:chancery:nobody")
	s.fails(5, "forecast/3", "threat", "forecast", alpha+":nobody", "--kind", "organisation", "--backtest")
	// The chain is younger than half an hour.
	s.fails(1, "forecast/4", "threat", "forecast", registrar, "--backtest")
}

func TestForecastCommandLines(t *testing.T) {
	s := newShell(t)
	for words, args := range map[string][]string{
		"--kind":    {"did:chancery:alpha", "--kind", "person"},
		"--by":      {"--by", "name"},
		"--top":     {"did:chancery:alpha", "--top", "3"},
		"--top and": {"--backtest", "--by", "risk"},
		"--horizon": {"--horizon", "4"},
		"--folds":   {"did:chancery:alpha", "--folds", "4"},
		"1 to 48":   {"did:chancery:alpha", "--horizon", "49"},
		"1 to 100":  {"--top", "0"},
		"SUBJECT":   {""},
		"accepts":   {"a", "b"},
	} {
		s.fails(2, words, append([]string{"threat", "forecast"}, args...)...)
	}
	s.fails(3, "client/2", "threat", "forecast", "did:chancery:alpha")
}

func TestSparkline(t *testing.T) {
	if got := sparkline([]float64{0, 1, 3.5, 7, 9}, 7); got != "▁▂▄██" {
		t.Error(got)
	}
	if got := sparkline([]float64{0, 0}, 0); got != "▁▁" {
		t.Error(got)
	}
	for x, want := range map[float64]string{0: "0", 3: "3", 3.456: "3.46", 1234.5: "1234"} {
		if got := number(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}
