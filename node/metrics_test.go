package node

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/checkpoint"
	"github.com/chancery/chancery/node/config"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const metricsDocument = "../docs/metrics.md"

// metric is one that a node has.
type metric struct{ name, kind, unit, labels, help string }

var descForm = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)".*variableLabels: \{([^}]*)\}`)

// unitOf is the unit that a name ends with.
func unitOf(name string) string {
	name = strings.TrimSuffix(strings.TrimSuffix(name, "_total"), "_sum")
	for suffix, unit := range map[string]string{
		"_seconds": "s", "_bytes": "bytes", "_transactions": "transactions", "_blocks": "blocks", "_power": "voting power",
		"_height": "height", "_version": "height", "_signatures": "signatures", "_spans": "spans",
	} {
		if strings.HasSuffix(name, suffix) {
			return unit
		}
	}
	return "1"
}

// everything is a running node in which everything that measures is on.
func everything(t *testing.T) *Node {
	home, c := newHome(t)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	if err := os.WriteFile(string(home)+"/secret", []byte("whsec_"+strings.Repeat("QUFB", 11)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := config.DefaultWebhook()
	w.Name, w.URL, w.SecretFiles, w.Types = "pager", hook.URL, []string{"secret"}, []string{"chancery.threat.v1.TxHeld"}
	c.Webhooks = []config.Webhook{w}
	witness, err := checkpoint.NewSigner("witness.example", checkpoint.WitnessRole)
	if err != nil {
		t.Fatal(err)
	}
	c.Checkpoint.Interval = 2
	c.Witnesses = []config.Witness{{URL: hook.URL, Key: witness.Public().String(), Timeout: config.Duration(time.Second)}}
	c.Telemetry.TracesFile, c.Telemetry.TracesRatio = "data/traces/spans.jsonl", 1
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	n := open(t, home)
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	until(t, "there are blocks", func() bool { return n.Engine().Status().Height > 3 })
	return n
}

// metrics lists what a node measures, whether it has a value yet or not.
func metrics(t *testing.T, n *Node) []metric {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	var out []metric
	for _, c := range n.registry.collectors {
		descs := make(chan *prometheus.Desc, 1000)
		c.Describe(descs)
		close(descs)
		for d := range descs {
			parts := descForm.FindStringSubmatch(d.String())
			if parts == nil {
				t.Fatalf("cannot read %s", d)
			}
			m := metric{name: parts[1], help: strings.ReplaceAll(parts[2], `\"`, `"`), labels: strings.ReplaceAll(parts[3], ",", ", ")}
			if m.kind = kinds[m.name]; m.kind == "" {
				switch c.(type) {
				case *prometheus.CounterVec, prometheus.Counter:
					m.kind = "counter"
				case *prometheus.HistogramVec:
					m.kind = "histogram"
				default:
					m.kind = "gauge"
				}
			}
			m.unit = unitOf(m.name)
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return slices.Compact(out)
}

// own tells whether a name is the node's or the engine's, and not the Go runtime's or the
// process's.
func own(name string) bool {
	return strings.HasPrefix(name, "chancery_") || strings.HasPrefix(name, "cometbft_")
}

// docs/metrics.md lists everything that a node measures, and nothing else. Names follow
// the conventions of Prometheus.
func TestMetricsDocument(t *testing.T) {
	n := everything(t)
	all := metrics(t, n)
	var b strings.Builder
	b.WriteString(`# Metrics

What ` + "`/metrics`" + ` of a node's telemetry listener serves, in the form of Prometheus. Besides what is listed here there are the
usual ` + "`go_*` and `process_*`" + ` of the Go runtime and the process. Histograms have the series ` + "`_bucket`, `_sum` and `_count`" + `. Labels take few
values: codes and types are those of the program, organisations are at most 64 by name, methods are the services' own. Alerts and what to do
about them are in [runbooks.md](runbooks.md). This page is written by ` + "`go test ./node -run TestMetricsDocument -rewrite`" + `.
`)
	for _, part := range []struct{ title, prefix string }{
		{"The node", "chancery_"}, {"The consensus engine, where `telemetry.engine` is set", "cometbft_"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| Name | Type | Unit | Labels | What it says |\n|---|---|---|---|---|\n", part.title)
		for _, m := range all {
			if strings.HasPrefix(m.name, part.prefix) {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, m.unit, m.labels, strings.ReplaceAll(m.help, "|", "\\|"))
			}
		}
	}
	byName := map[string]bool{}
	for _, m := range all {
		byName[m.name] = true
		if !strings.HasPrefix(m.name, "chancery_") {
			continue
		}
		if m.help == "" || (m.kind == "counter") != strings.HasSuffix(m.name, "_total") {
			t.Errorf("%s, a %s, %q: want help, and _total for counters alone", m.name, m.kind, m.help)
		}
	}
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if own(f.GetName()) && !byName[f.GetName()] {
			t.Errorf("%s is served and described nowhere", f.GetName())
		}
	}
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.WriteFile(metricsDocument, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(metricsDocument)
	if err != nil || string(have) != b.String() {
		t.Fatalf("docs/metrics.md is not what a node measures (%v); run the test with -rewrite and look at the difference", err)
	}
}

// Every stage of a transaction leaves its measurements, and those of what lies around.
func TestStagesAreMeasured(t *testing.T) {
	n := everything(t)
	commit(t, n)
	values := map[string]float64{}
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			values[f.GetName()] += valueOf(m)
		}
	}
	for _, name := range []string{
		"chancery_pool_admitted_total", "chancery_pool_admission_seconds", "chancery_pool_wait_seconds", "chancery_pool_removed_total",
		"chancery_verification_batch_seconds", "chancery_verification_transactions_total", "chancery_check_seconds", "chancery_scoring_seconds",
		"chancery_execution_seconds", "chancery_proposal_prepare_seconds", "chancery_proposal_proposals_total", "chancery_block_finalize_seconds",
		"chancery_block_finalized_total", "chancery_block_commit_seconds", "chancery_block_transactions_total", "chancery_block_bytes_total",
		"chancery_block_events_total", "chancery_disk_free_bytes", "chancery_disk_used_bytes", "chancery_validators", "chancery_validators_signed_power",
		"chancery_state_version", "chancery_scorer_mode", "chancery_holds_capacity", "chancery_trace_spans_total", "cometbft_consensus_height",
		"go_goroutines", "process_open_fds",
	} {
		if values[name] <= 0 {
			t.Errorf("%s is %v", name, values[name])
		}
	}
}

func valueOf(m *dto.Metric) float64 {
	if h := m.GetHistogram(); h != nil {
		return float64(h.GetSampleCount())
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}

// founder signs as the only person of newHome's consortium.
type founder struct{ keys.Signer }

const founderDID = "did:chancery:alpha:aaaaaaaaaaaaaaaaaaaaaaaaaa"

func (founder) KeyURL() string { return founderDID + "#key-1" }

// commit has the founder ask for a decision, and waits for the answer's block.
func commit(t *testing.T, n *Node) tx.ID {
	t.Helper()
	signer, err := keys.NewSigner(keys.Ed25519, []byte(strings.Repeat("k", keys.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	raw, id, err := tx.Draft{
		ChainID: testChain, Author: founderDID, ValidUntil: n.Engine().App().Head().Time + 60_000, Salt: fmt.Appendf(nil, "%016d", n.Engine().App().Head().Height),
		Messages: []proto.Message{&accessv1.Decide{Request: &accessv1.Request{
			Organisation: "did:chancery:alpha", Principal: founderDID, Purpose: "https://w3id.org/dpv#ServiceProvision",
			Action: &accessv1.EntityUid{Type: "Action", Id: "read"}, Resource: &accessv1.EntityUid{Type: "Record", Id: "1"},
		}}},
	}.Sign(founder{signer})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Engine().Submit(context.Background(), raw, true); err != nil {
		t.Fatal(err)
	}
	until(t, "the transaction is committed", func() bool {
		_, ok, err := n.Engine().Records().Tx(id)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	})
	return id
}
