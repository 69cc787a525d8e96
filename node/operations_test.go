package node

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	metricName = regexp.MustCompile(`\b(?:chancery|cometbft)_[a-z0-9_]+`)
	documented = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
)

// known are the names that docs/metrics.md lists, which a test holds against a running
// node.
func known(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(metricsDocument)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, m := range documented.FindAllStringSubmatch(string(raw), -1) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			out[m[1]+suffix] = true
		}
	}
	return out
}

// Every alert uses metrics that there are and has a runbook with cause, check and remedy,
// and every runbook is an alert's. scripts/alerts holds the expressions against
// Prometheus' own parser.
func TestAlertsAndRunbooks(t *testing.T) {
	raw, err := os.ReadFile("../docs/operations/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	book, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(book), "\n## ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		sections[name] = text
	}
	names := known(t)
	var alerts []string
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Alert)
			for _, m := range metricName.FindAllString(r.Expr, -1) {
				if !names[m] {
					t.Errorf("%s uses %s, which no node measures", r.Alert, m)
				}
			}
			text := sections[r.Alert]
			for _, part := range []string{"**Cause.** ", "**Check.** ", "**Remedy.** ", "\n" + r.Expr + "\n"} {
				if !strings.Contains(text, part) {
					t.Errorf("the runbook of %s lacks %q", r.Alert, part)
				}
			}
			if r.Annotations["runbook"] != "docs/runbooks.md#"+strings.ToLower(r.Alert) || r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s: %v, %v", r.Alert, r.Annotations, r.Labels)
			}
		}
	}
	for name := range sections {
		if !slices.Contains(alerts, name) {
			t.Errorf("the runbook %s is no alert's", name)
		}
	}
	if len(alerts) < 15 {
		t.Errorf("%d alerts", len(alerts))
	}
}

// Every panel of the dashboards asks for metrics that there are.
func TestDashboards(t *testing.T) {
	names := known(t)
	files, err := filepath.Glob("../docs/operations/dashboard-*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Title, UID string
			Panels     []struct {
				ID      int
				Type    string
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(path, err)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: the panel %d %q", path, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				for _, m := range metricName.FindAllString(target.Expr, -1) {
					if !names[m] {
						t.Errorf("%s: %q asks for %s, which no node measures", path, p.Title, m)
					}
				}
			}
		}
		if d.Title == "" || d.UID == "" || len(ids) < 8 {
			t.Errorf("%s: %q, %d panels", path, d.Title, len(ids))
		}
	}
}

// The systemd units are such, where there is systemd to say so.
func TestSystemdUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze on this machine")
	}
	for _, unit := range []string{"chancery.service", "chancery-backup.service", "chancery-backup.timer"} {
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "../docs/operations/"+unit).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "is not executable") {
			t.Errorf("%s: %v: %s", unit, err, out)
		}
	}
}
