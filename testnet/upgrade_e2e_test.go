//go:build linux

package testnet_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/consensus/alerttest"
	"github.com/chancery/chancery/testnet"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// program builds a program with a second version of the state machine. The milestone is
// what its migration writes; empty: what it should.
func program(t *testing.T, milestone string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "chancery")
	flags := "-s -w -X main.version=v2.0.0-test"
	if milestone != "" {
		flags += " -X github.com/chancery/chancery/node.milestone=" + milestone
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "grpcnotrace upgradetest", "-ldflags", flags, "-o", path, "./node/cmd/chancery")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// with is the same network, operated by another program.
func (s *started) with(binary string) *started {
	e := *s.e2e
	e.binary = binary
	return &started{e2e: &e, record: s.record}
}

// admins are the flags by which a member's organisation signs.
func admins(i int) []string {
	if i == 1 {
		return []string{"--from", "admin-1", "--from", "admin-2"}
	}
	return []string{"--from", "admin-1"}
}

// refusal runs a command that must fail with an exit code, and returns what it said.
func (s *started) refusal(i, exit int, args ...string) string {
	s.t.Helper()
	out, err := s.member(i, args...)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != exit {
		s.t.Fatalf("validator %d: %s: %v, want exit code %d:\n%s", i, strings.Join(args, " "), err, exit, out)
	}
	return out
}

// standing is 'chancery upgrade status' of a validator.
func (s *started) standing(i int, args ...string) *standing {
	s.t.Helper()
	out, err := s.member(i, append([]string{"upgrade", "status"}, args...)...)
	if err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	x := new(standing)
	if err := json.Unmarshal([]byte(out), x); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	x.raw = out
	return x
}

type standing struct {
	raw    string
	Status struct {
		Version       int
		Plan          *struct{ Name, Height string }
		ReadyPower    string `json:"ready_power"`
		FailedPower   string `json:"failed_power"`
		Disagreement  bool
		Organisations []struct {
			Organisation string
			Readiness    *struct {
				Ready     bool
				Codespace string
				Code      int
			}
		}
	}
	Needed  bool `json:"upgrade_needed"`
	Problem string
}

// restart stops a validator in good order and starts it with this program.
func (s *started) restart(i int) {
	s.t.Helper()
	s.run("testnet", "kill", fmt.Sprint(i), "--signal", "TERM", "--dir", s.dir)
	s.launchAgain(i)
}

// launchAgain starts a validator that is stopping or has stopped.
func (s *started) launchAgain(i int) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out, err := s.try("testnet", "restart", fmt.Sprint(i), "--dir", s.dir)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("restart validator %d: %v: %s", i, err, out)
		}
	}
}

func (s *started) height() int64 { return highest(s.status()) }

// log is what a validator's programs have written.
func (s *started) log(i int) string {
	s.t.Helper()
	raw, err := os.ReadFile(testnet.Dir(s.dir).LogFile(s.record.Validators[i]))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(raw)
}

// ended waits until no process runs a validator.
func (s *started) ended(i int) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if out, err := s.member(i, "upgrade", "status", "--stopped"); err == nil {
			return
		} else if time.Now().After(end) {
			s.t.Fatalf("validator %d has not ended: %s", i, out)
		}
	}
}

// An upgrade of a running network: a first plan is taken back, and a node with the new
// program went on by the old rules; of the second, one member's program is another one and
// one member is late. The late one stops before the height and says what it needs, the
// others go on by the new rules, and it catches up with the new program, from the block
// before and from the first block on. A receipt from before verifies after.
func TestAnUpgradeOfARunningNetwork(t *testing.T) {
	newE2E(t) // skips before anything is built
	fresh, tampered := program(t, ""), program(t, "another")
	s := start(t)
	next, other := s.with(fresh), s.with(tampered)
	work := t.TempDir()
	genesis := testnet.Dir(s.dir).Home(s.record.Validators[0]).GenesisFile()

	raw, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	checksums := filepath.Join(work, "SHA256SUMS")
	list := fmt.Appendf(nil, "%x  chancery\n", sha256.Sum256(raw))
	if err := os.WriteFile(checksums, list, 0o600); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(list)
	before := filepath.Join(work, "before.receipt")
	s.asMember(0, "query", "governance", "params", "--prove", before, "--genesis", genesis)

	telemetry := s.record.Validators[0].Telemetry
	needed := alerttest.Record(t, "ChanceryUpgradeNeeded")
	needed.Scrape(0, "node", telemetry)

	// The first plan is taken back by an emergency vote. A node that runs the new program
	// already goes on by the old rules, past the height.
	first := s.height() + 150
	s.decide(0, s.messages(&chainv1.ScheduleUpgrade{Name: "spring", Height: first, Version: 2, ChecksumsHash: hash[:]}), "Upgrade in spring")
	if x := s.standing(1); x.Status.Plan == nil || x.Status.Plan.Name != "spring" || !x.Needed || x.Status.Version != 1 {
		t.Fatalf("%s", x.raw)
	}
	needed.Scrape(5, "node", telemetry)
	next.restart(3)
	s.decide(2, s.messages(&chainv1.CancelUpgrade{Name: "spring"}), "Take the upgrade in spring back")
	views := s.until("all are past the height of the plan that was taken back", 5*time.Minute, func(v []testnet.View) bool {
		return v[0].Height > first+2 && v[1].Height > first+2 && v[2].Height > first+2 && v[3].Height > first+2
	})
	t.Logf("the plan for block %d was taken back; block %d is made by the old rules, with one node of the new program", first, highest(views))
	for i := range 4 {
		if x := s.standing(i); x.Status.Version != 1 || x.Status.Plan != nil || x.Needed {
			t.Fatalf("validator %d: %s", i, x.raw)
		}
	}
	needed.Scrape(10, "node", telemetry)
	s.restart(3) // the old program again

	// The second plan.
	height := s.height() + 400
	s.decide(0, s.messages(&chainv1.ScheduleUpgrade{Name: "autumn", Height: height, Version: 2, ChecksumsHash: hash[:]}), "Upgrade in autumn")
	planned := s.height()
	s.until("the validator that was started again has the plan, too", time.Minute, func(v []testnet.View) bool { return v[3].Height >= planned })
	dryRun := func(i int, more ...string) []string {
		return append(append([]string{"upgrade", "dry-run", "--work", work}, more...), admins(i)...)
	}
	differ := alerttest.Record(t, "ChanceryUpgradeDisagreement")
	differ.Scrape(0, "node", telemetry)
	// With --report two answers follow one another.
	rootIn := func(out string) string {
		t.Helper()
		var trial struct {
			Root    string `json:"root_after"`
			Before  string `json:"root_before"`
			Changes []struct {
				Collection string
				Added      int
			}
		}
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&trial); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if len(trial.Root) != 64 || trial.Root == trial.Before || len(trial.Changes) != 1 || trial.Changes[0].Collection != "annals/organisations" || trial.Changes[0].Added != 4 {
			t.Fatalf("%s", out)
		}
		return trial.Root
	}
	var roots []string
	for i := range 2 {
		out, err := next.member(i, dryRun(i, "--checksums", checksums, "--report")...)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		roots = append(roots, rootIn(out))
	}
	if roots[0] != roots[1] {
		t.Fatalf("two members found %s", roots)
	}
	// One has another program, which does other things: it shows, whether or not it looks at
	// the checksums.
	if out := other.refusal(2, 1, "upgrade", "dry-run", "--work", work, "--checksums", checksums); !strings.Contains(out, "does not list this program") {
		t.Fatal(out)
	}
	out := other.refusal(2, 1, dryRun(2, "--report")...)
	if !strings.Contains(out, "the programs differ") {
		t.Fatal(out)
	}
	t.Logf("the dry run of another program: %s", out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	// And one has no new program yet.
	out = s.refusal(3, 7, dryRun(3, "--report")...)
	if !strings.Contains(out, `"code": 21`) {
		t.Fatal(out)
	}
	x := s.standing(0)
	if !x.Status.Disagreement || x.Status.FailedPower == "0" || !x.Needed {
		t.Fatalf("%s", x.raw)
	}
	for _, o := range x.Status.Organisations {
		late := o.Organisation == s.record.Validators[3].Organisation
		if o.Readiness == nil || o.Readiness.Ready == late || late && (o.Readiness.Codespace != "chain" || o.Readiness.Code != 21) {
			t.Fatalf("%s", x.raw)
		}
	}
	if body := differ.Scrape(5, "node", telemetry); !strings.Contains(body, "chancery_upgrade_disagreement 1\n") {
		t.Error(body)
	}
	text := s.run("upgrade", "status", "--node", s.record.Validators[0].RPC)
	t.Logf("upgrade status:\n%s", text)
	if !strings.Contains(text, "WARNING") || !strings.Contains(text, "different roots") || !strings.Contains(text, "failed: chain/21") || !strings.Contains(text, "upgrade needed") {
		t.Fatal(text)
	}
	if out := s.refusal(0, 1, "doctor"); !strings.Contains(out, "does not know version 2") {
		t.Fatal(out)
	}
	// With the right program it agrees; the home of a stopped node gives the same root.
	s.run("testnet", "kill", "2", "--signal", "TERM", "--dir", s.dir)
	s.ended(2)
	out, err = next.member(2, "upgrade", "dry-run", "--work", work)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := rootIn(out); got != roots[0] {
		t.Fatalf("of the stopped node's home: %s, want %s", got, roots[0])
	}
	next.launchAgain(2)
	s.until("validator 2 is back", time.Minute, func(v []testnet.View) bool { return v[2].Answers })
	if out, err := next.member(2, dryRun(2, "--report")...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if x := s.standing(0); x.Status.Disagreement || x.Status.FailedPower == "0" {
		t.Fatalf("%s", x.raw)
	}
	// The late one tries the new program, and leaves the old one in place.
	if out, err := next.member(3, dryRun(3, "--report")...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if x := s.standing(0); x.Status.Disagreement || x.Status.FailedPower != "0" {
		t.Fatalf("%s", x.raw)
	}
	differ.Scrape(10, "node", telemetry)
	for i := range 2 {
		next.restart(i)
	}
	s.until("the new programs run by the old rules", time.Minute, func(v []testnet.View) bool { return v[0].Answers && v[1].Answers })
	if x := s.standing(0); x.Status.Version != 1 || x.Needed {
		t.Fatalf("%s", x.raw)
	}
	if now := s.height(); now >= height {
		t.Fatalf("the chain is at block %d already", now)
	}

	// The height.
	s.until("three go on by the new rules", 10*time.Minute, func(v []testnet.View) bool {
		return v[0].Height > height+5 && v[1].Height > height+5 && v[2].Height > height+5
	})
	if x := s.standing(0); x.Status.Version != 2 || x.Status.Plan != nil {
		t.Fatalf("%s", x.raw)
	}
	health, _ := s.member(3, "health")
	if !strings.Contains(health, "upgrade-needed") || !strings.Contains(health, "version 2") || !strings.Contains(health, fmt.Sprint(height-1)) && !strings.Contains(health, fmt.Sprint(height)) {
		t.Errorf("the late validator says %s", health)
	}
	t.Logf("the late validator says %s", health)
	s.ended(3)
	if log := s.log(3); !strings.Contains(log, "chain/21") || strings.Contains(log, "panic") {
		t.Errorf("the late validator's log: %s", log[max(0, len(log)-3000):])
	}
	if x := s.standing(3, "--stopped"); !x.Needed || !strings.Contains(x.Problem, "autumn") {
		t.Errorf("%s", x.raw)
	}
	home := string(testnet.Dir(s.dir).Home(s.record.Validators[3]))
	for _, args := range [][]string{{"start"}, {"doctor"}} {
		cmd := s.command(append(args, "--home", home)...)
		out, err := cmd.CombinedOutput()
		var ended *exec.ExitError
		want := map[string]int{"start": 7, "doctor": 1}[args[0]]
		if !errors.As(err, &ended) || ended.ExitCode() != want || !bytes.Contains(out, []byte("version 2")) {
			t.Errorf("%s with the old program: %v\n%s", args[0], err, out)
		}
	}
	next.launchAgain(3)
	caughtUp := func() {
		t.Helper()
		s.until("all four are at one height with one root", 5*time.Minute, func(v []testnet.View) bool {
			return v[3].Answers && !v[3].CatchingUp && v[3].Height > height+5 && slices.ContainsFunc(v[:3], func(o testnet.View) bool { return o.Height == v[3].Height && o.AppHash == v[3].AppHash })
		})
	}
	caughtUp()

	// From the first block on the old program comes to the block before the height and no
	// further, and the new one all the way.
	s.run("testnet", "kill", "3", "--signal", "TERM", "--dir", s.dir)
	s.ended(3)
	s.run("reset", "--home", home, "--yes")
	size := len(s.log(3))
	s.launchAgain(3)
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(s.log(3)[size:], "the node stops before an upgrade"); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("the old program does not come to the height: %s", s.log(3)[size:])
		}
	}
	s.ended(3)
	if log := s.log(3)[size:]; strings.Contains(log, "panic") || strings.Contains(log, "Failed to process committed block") {
		t.Errorf("the old program in block sync: %s", log[max(0, len(log)-3000):])
	}
	if x := s.standing(3, "--stopped"); !x.Needed {
		t.Errorf("%s", x.raw)
	}
	next.launchAgain(3)
	caughtUp()

	// The roots and the receipts.
	for _, h := range []int64{height - 1, height, height + 1, height + 2} {
		want := s.lightBlock(s.dial(0), h).SignedHeader.Header
		for i := 1; i < 4; i++ {
			if got := s.lightBlock(s.dial(i), h).SignedHeader.Header; !bytes.Equal(got.AppHash, want.AppHash) {
				t.Errorf("in block %d validator %d has the root %x, and validator 0 %x", h, i, got.AppHash, want.AppHash)
			}
		}
		if v := map[bool]uint64{true: 2, false: 1}[h > height]; want.Version.App != v {
			t.Errorf("header %d names version %d, want %d", h, want.Version.App, v)
		}
	}
	after := filepath.Join(work, "after.receipt")
	next.asMember(3, "query", "chain", "version", "--prove", after, "--genesis", genesis)
	for _, p := range []*started{s, next} {
		if out := p.run("verify", before, after, "--genesis", genesis); !strings.Contains(out, "chain/version") {
			t.Errorf("%s", out)
		}
	}
	status, err := nodev1.NewNodeClient(s.dial(3).Conn()).Status(t.Context(), &nodev1.StatusRequest{})
	if err != nil || status.StateVersion != 2 || status.NewestVersion != 2 {
		t.Errorf("%v, %v", status, err)
	}
}
