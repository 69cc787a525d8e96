//go:build unix

package testnet_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery/chancery/testnet"
)

// A burst on a network whose members have a past is held in part, with reasons in plain
// words, and all validators say the same of it.
func TestScenarioHoldsABurst(t *testing.T) {
	e := newE2E(t)
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := e.command("testnet", "scenario", "--dir", e.dir, "--past", "1", "--seed", "0", "--attack", "burst", "--hour", "22", "--least", "30", "--for", "40s", "--output", "json")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v:\n%s", err, said.String())
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	t.Log(said.String())
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type flagged struct {
		Height  int64
		TxID    string `json:"tx_id"`
		Harmful bool
		Ruling  string
		Reasons []string
		Why     string
	}
	type tally struct{ Transactions, Held, Denied int }
	var r struct {
		Campaigns []struct {
			Name    string
			Harmful struct{ Network, Simulated tally }
			First   *flagged `json:"first_kept"`
		}
		Flagged   []flagged
		Agreement *struct{ Validators, Blocks, Results, Holds, Receipts int }
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if len(r.Campaigns) != 1 {
		t.Fatalf("%d campaigns, want 1", len(r.Campaigns))
	}
	c := r.Campaigns[0]
	if n := c.Harmful.Network; n.Transactions < 30 || n.Held+n.Denied == 0 {
		t.Errorf("%s: %d harmful transactions, %d held and %d denied", c.Name, n.Transactions, n.Held, n.Denied)
	}
	if c.Harmful.Simulated.Transactions != c.Harmful.Network.Transactions {
		t.Errorf("%s: %d harmful transactions on the network, %d in the simulation", c.Name, c.Harmful.Network.Transactions, c.Harmful.Simulated.Transactions)
	}
	kept := 0
	for _, f := range r.Flagged {
		if f.Ruling != "alarm" {
			kept++
		}
	}
	switch a := r.Agreement; {
	case a == nil:
		t.Error("the validators were not compared")
	case a.Validators != 4 || a.Blocks < 2 || a.Results < c.Harmful.Network.Transactions || a.Holds != kept || a.Receipts < 4:
		t.Errorf("the validators were compared in %+v; %d were held or denied", *a, kept)
	}
	if c.First == nil {
		t.Fatal("nothing is said to be the first that was held")
	}
	if !strings.HasPrefix(c.First.Why, "What counted most is that ") || len(c.First.Reasons) == 0 || c.First.Height < 2 {
		t.Errorf("the first that was held: %+v", *c.First)
	}

	// Every validator explains it in the same words, which the report has.
	record, err := testnet.Load(testnet.Dir(e.dir))
	if err != nil {
		t.Fatal(err)
	}
	first := ""
	for i, v := range record.Validators {
		text := e.run("threat", "explain", c.First.TxID, "--node", v.RPC, "--output", "json")
		var x struct{ Paragraphs []string }
		if err := json.Unmarshal([]byte(text), &x); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		words := strings.Join(x.Paragraphs, "\n")
		if i == 0 {
			first = words
		}
		if words != first || !strings.Contains(words, c.First.Why) {
			t.Errorf("validator %d explains it as %q, validator 0 as %q, the report as %q", i, words, first, c.First.Why)
		}
	}
	// A second scenario finds the network there.
	if text, err := e.try("testnet", "scenario", "--dir", e.dir, "--past", "1"); err == nil || !strings.Contains(text, "holds one already") {
		t.Errorf("a past for a network that runs: %v, %s", err, text)
	}
}
