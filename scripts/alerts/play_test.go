package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rulesOf writes a file of one rule.
func rulesOf(t *testing.T, expr, hold string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yml")
	text := "groups:\n  - name: test\n    rules:\n      - alert: A\n        expr: '" + expr + "'\n        for: " + hold + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// played plays scrapes of the minutes 0, 10, 20, … of one instance.
func played(t *testing.T, rules string, texts ...string) []change {
	t.Helper()
	var recording []scrape
	for i, text := range texts {
		recording = append(recording, scrape{"n", time.UnixMilli(1_700_000_000_000).Add(time.Duration(i) * 10 * time.Minute).UnixMilli(), []byte(text)})
	}
	out, err := play(t.Context(), rules, recording)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPlay(t *testing.T) {
	gauge := func(v string) string { return "# TYPE g gauge\ng " + v + "\n" }
	for _, c := range []struct {
		name, expr, hold string
		texts            []string
		want             string
	}{
		{"a gauge waits for its time", "g > 1", "2m", []string{gauge("0"), gauge("2"), gauge("0")}, "12m0s+ 20m0s-"},
		{"too short a cause", "g > 1", "11m", []string{gauge("0"), gauge("2"), gauge("0")}, ""},
		{"a failed scrape", "up{job=\"chancery\"} == 0", "1m", []string{gauge("0"), "", gauge("0")}, "11m0s+ 20m0s-"},
		{"series of a failed scrape are stale", "g > 1", "0s", []string{gauge("0"), gauge("2"), ""}, "10m0s+ 20m0s-"},
		{"an increase leaves its window", "increase(g[5m]) > 0", "0s", []string{gauge("0"), gauge("2")}, "10m0s+ 14m45s-"},
		{"a counter that begins above nothing increases by nothing", "increase(g[5m]) > 0", "0s", []string{"other 0\n", gauge("2")}, ""},
		{"unless it is new", "(g unless g offset 5m) > 0", "0s", []string{"other 0\n", gauge("2")}, "10m0s+ 15m0s-"},
		{"what is not there", "absent_thing > 0", "0s", []string{gauge("2")}, ""},
		{"the clock is the recording's", "time() - g > 1700000060", "0s", []string{gauge("0")}, "1m15s+"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, x := range played(t, rulesOf(t, c.expr, c.hold), c.texts...) {
				got = append(got, x.at.String()+map[bool]string{true: "+", false: "-"}[x.firing])
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
}

func TestProves(t *testing.T) {
	on, off := change{at: 1, alert: "A", firing: true}, change{at: 2, alert: "A"}
	for _, c := range []struct {
		changes []change
		alert   string
		want    string
	}{
		{[]change{on, off}, "A", ""},
		{[]change{on}, "A", "did not clear"},
		{nil, "A", "did not fire"},
		{[]change{on, off}, "B", "is no alert"},
		{[]change{{alert: "A", firing: true}, off}, "A", "fired before its cause"},
	} {
		if got := proves(c.changes, c.alert, []string{"A"}); got != c.want {
			t.Errorf("%v: %q, want %q", c.changes, got, c.want)
		}
	}
}

// What does not parse, or is named otherwise, is refused.
func TestRefused(t *testing.T) {
	rules, dir := rulesOf(t, "g > 1", "1m"), t.TempDir()
	if err := run(t.Context(), rulesOf(t, "g >", "1m"), nil); err == nil {
		t.Error("a rule that does not parse")
	}
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("A/n@1700000000000.prom", "g 0\n")
	put("A/n@1700000600000.prom", "g 2\n")
	if err := run(t.Context(), rules, []string{dir}); err == nil || !strings.Contains(err.Error(), "A did not clear") {
		t.Error(err)
	}
	put("A/n@1700001200000.prom", "g 0\n")
	if err := run(t.Context(), rules, []string{dir}); err != nil {
		t.Error(err)
	}
	put("A/n.prom", "g 0\n")
	if err := run(t.Context(), rules, []string{dir}); err == nil || !strings.Contains(err.Error(), "INSTANCE@UNIXMS") {
		t.Error(err)
	}
}
