package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// bundle is a file with a change of the chain's parameters.
func (s *shell) bundle(change func(*chainv1.Params)) string {
	s.t.Helper()
	p := chain.DefaultParams()
	change(p)
	m, err := tx.Envelope(&chainv1.SetParams{Params: p})
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := protoJSON((*txv1.Message)(m))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.file("messages.json", "["+string(raw)+"]")
}

func TestAProposalFromItsPreviewToItsExecution(t *testing.T) {
	s := onChain(t)
	why := s.file("why.txt", "Larger documents are signed by more people.")
	file := s.bundle(func(p *chainv1.Params) { p.MaxSignatures = 33 })

	for s.json("gov", "preview", "--file", file)["height"] == 0.0 {
		time.Sleep(20 * time.Millisecond) // the genesis state is in the tree from block 1 on
	}
	preview := s.ok("gov", "preview", "--file", file)
	for _, words := range []string{"it would be executed", "kinds parameters", "module chain", "changed params", "maxSignatures: 32 -> 33", "event chain.ParamsChanged"} {
		if !strings.Contains(preview, words) {
			t.Errorf("the preview lacks %q:\n%s", words, preview)
		}
	}
	if v := s.json("gov", "preview", "--file", file); fmt.Sprint(v["changes"]) != "[map[change:changed collection:chain/params fields:[map[after:33 before:32 field:maxSignatures]] key:]]" {
		t.Errorf("%v", v["changes"])
	}
	bad := s.bundle(func(p *chainv1.Params) { p.MaxSignatures = 0 })
	if out := s.ok("gov", "preview", "--file", bad); !strings.Contains(out, "it would be refused: chain/11") {
		t.Errorf("%s", out)
	}
	sign := []string{"--from", "one", "--from", "two"}
	proposing := func(file, title string, more ...string) []string {
		return append(append([]string{"gov", "propose", "--file", file, "--title", title, "--rationale", why}, sign...), more...)
	}
	s.fails(1, "chain/11", proposing(bad, "What cannot be")...)
	s.fails(1, "governance/14", proposing(file, "ask ann@alpha.example")...)
	s.fails(1, "identity/29", "gov", "propose", "--file", file, "--title", "Alone", "--rationale", why, "--from", "one")
	s.fails(2, "--rationale", "gov", "propose", "--file", file, "--title", "No reason", "--from", "one")

	r := s.json(proposing(file, "Let more people sign", "--link", "https://alpha.example/why")...)
	made := r["responses"].([]any)[0].(map[string]any)["value"].(map[string]any)
	id := made["proposal_id"].(string)
	shown := s.ok("gov", "show", id)
	for _, words := range []string{"Let more people sign", "status          voting", "message 0 chain.SetParams", "have not voted  " + alpha, "50.0001 % yes"} {
		if !strings.Contains(shown, words) {
			t.Errorf("it lacks %q:\n%s", words, shown)
		}
	}
	if out := s.ok("gov", "list", "--status", "voting"); !strings.Contains(out, "Let more people sign") {
		t.Errorf("%s", out)
	}
	if out := s.ok("gov", "preview", id); !strings.Contains(out, "maxSignatures: 32 -> 33") {
		t.Errorf("%s", out)
	}
	s.fails(2, "is no vote", append([]string{"gov", "vote", id, "maybe"}, sign...)...)
	s.fails(2, "is no number", append([]string{"gov", "vote", "0", "yes"}, sign...)...)
	out := s.ok(append([]string{"gov", "vote", id, "yes", "--note", why}, sign...)...)
	if !strings.Contains(out, "event governance.VotingEnded") || !strings.Contains(out, "status  passed") {
		t.Errorf("%s", out)
	}
	proposal := func() map[string]any { return s.json("gov", "show", id)["proposal"].(map[string]any) }
	for until := time.Now().Add(30 * time.Second); proposal()["status"] != "STATUS_EXECUTED"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("it is not executed: %v", proposal())
		}
	}
	outcome := s.json("gov", "show", id)["outcome"].(map[string]any)
	if outcome["code"] != 0.0 || !strings.Contains(fmt.Sprint(outcome["events"]), "max_signatures:33") {
		t.Errorf("%v", outcome)
	}
	if out := s.ok("gov", "show", id); !strings.Contains(out, "executed at height") {
		t.Errorf("%s", out)
	}
	if out := s.json("gov", "preview", "--file", file); fmt.Sprint(out["changes"]) != "[map[change:changed collection:chain/params fields:[] key:]]" {
		t.Errorf("done, and yet it would change %v", out["changes"])
	}
	receipt := s.path("outcome.receipt")
	s.ok("query", "governance", "outcome", "--proposal-id", id, "--prove", receipt)
	s.ok("verify", receipt)

	// What is cancelled is not voted on, and a veto of the only organisation ends it.
	r = s.json(proposing(file, "Once more", "--emergency")...)
	id = r["responses"].([]any)[0].(map[string]any)["value"].(map[string]any)["proposal_id"].(string)
	s.ok(append([]string{"gov", "cancel", id}, sign...)...)
	s.fails(1, "governance/6", append([]string{"gov", "vote", id, "yes"}, sign...)...)
	if got := proposal()["status"]; got != "STATUS_CANCELLED" {
		t.Errorf("it is %v", got)
	}
	if v := s.json("gov", "params"); v["max_open"] != 5.0 {
		t.Errorf("%v", v)
	}
	s.fails(5, "governance/3", "gov", "show", "999")
}
