package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/node/offline"
)

// The program of these tests knows one version. What a program does that knows the next is
// tested by the network in testnet.
func TestAnUpgradeThatTheProgramDoesNotKnow(t *testing.T) {
	s := onChain(t)
	// As the process of a node does.
	lock, err := offline.Lock(s.home())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	together := []string{"--author", "did:chancery:consortium", "--from", "one", "--from", "two"}
	sign := []string{"--from", "one", "--from", "two"}
	for s.json("status")["height"] == "0" {
		time.Sleep(20 * time.Millisecond)
	}
	if out := s.ok("upgrade", "status"); !strings.Contains(out, "1 in force, the program knows 1 to 1") || !strings.Contains(out, "none is to come") {
		t.Errorf("%s", out)
	}
	s.fails(5, "chain/25", "upgrade", "dry-run")
	s.fails(1, "chain/29", "upgrade", "dry-run", "--to-version", "1")
	s.fails(7, "chain/21", "upgrade", "dry-run", "--to-version", "2")
	s.fails(5, "chain/25", "query", "chain", "plan")

	schedule := append([]string{"tx", "chain", "schedule-upgrade", "--name", "autumn", "--height", "1000000000", "--version", "2",
		"--checksums-hash", "hex:" + strings.Repeat("ab", 32)}, together...)
	s.fails(1, "chain/10", append(schedule[:len(schedule)-6:len(schedule)-6], append([]string{"--author", alpha}, sign...)...)...)
	s.ok(schedule...)
	s.fails(1, "chain/24", schedule...)
	if out := s.ok("upgrade", "status"); !strings.Contains(out, "autumn: from block 1000000000 on version 2") || !strings.Contains(out, "upgrade needed") || !strings.Contains(out, "0 of 10 of the voting power") {
		t.Errorf("%s", out)
	}
	if v := s.json("upgrade", "status"); v["upgrade_needed"] != true || v["newest_version"] != 1.0 || v["status"].(map[string]any)["plan"].(map[string]any)["name"] != "autumn" {
		t.Errorf("%v", v)
	}
	if out := s.ok("status"); !strings.Contains(out, "UPGRADE NEEDED") {
		t.Errorf("%s", out)
	}
	s.fails(1, "a node is running", "upgrade", "status", "--stopped")

	s.fails(2, "--from", "upgrade", "dry-run", "--report")
	s.fails(2, "add --report", "upgrade", "dry-run", "--from", "one")
	s.fails(2, "may not be negative", "upgrade", "dry-run", "--at-height", "-1")
	s.fails(1, "chain/13", "upgrade", "dry-run", "--at-height", "999999999")
	s.fails(7, "chain/21", append([]string{"upgrade", "dry-run", "--report"}, sign...)...)
	if out := s.ok("upgrade", "status"); !strings.Contains(out, fmt.Sprintf("failed: chain/%d", chain.ErrUpgradeNeeded.Code)) || !strings.Contains(out, "0 of 10 of the voting power, 10 failed") {
		t.Errorf("%s", out)
	}
	for name, args := range map[string][]string{
		"plan": {"plan"}, "version": {"version"}, "readiness": {"readiness", "--organisation", alpha},
	} {
		receipt := s.path(name + ".receipt")
		s.ok(append(append([]string{"query", "chain"}, args...), "--prove", receipt)...)
		s.ok("verify", receipt)
	}

	s.fails(5, "chain/25", append([]string{"tx", "chain", "cancel-upgrade", "--name", "spring"}, together...)...)
	s.ok(append([]string{"tx", "chain", "cancel-upgrade", "--name", "autumn"}, together...)...)
	if out := s.ok("upgrade", "status"); !strings.Contains(out, "none is to come") {
		t.Errorf("%s", out)
	}
	if out := s.ok("query", "chain", "upgrades"); !strings.Contains(out, "cancelled") {
		t.Errorf("%s", out)
	}
}
