//go:build unix

package testnet_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/testnet"
	"github.com/chancery/chancery/testnet/scenario"
)

// e2e is a network of the built binary, reached by its command line as people do.
type e2e struct {
	t      *testing.T
	binary string
	dir    string
}

func newE2E(t *testing.T) *e2e {
	if os.Getenv("CHANCERY_E2E") != "1" {
		t.Skip("runs whole networks of the built binary; 'make e2e' does")
	}
	binary := os.Getenv("CHANCERY_BIN")
	if binary == "" {
		t.Fatal("CHANCERY_BIN must name the built binary; 'make e2e' sets it")
	}
	e := &e2e{t: t, binary: binary, dir: filepath.Join(t.TempDir(), "net")}
	t.Cleanup(func() {
		if t.Failed() {
			e.logs()
		}
		if _, err := os.Stat(filepath.Join(e.dir, "testnet.json")); err == nil {
			if out, err := e.try("testnet", "stop", "--dir", e.dir); err != nil {
				t.Errorf("stop: %v: %s", err, out)
			}
		}
	})
	return e
}

func (e *e2e) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.binary, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CHANCERY_") || strings.HasPrefix(v, "CHANCERY_SHARED=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// Where the tests of a package run, ../shared is not what it is elsewhere.
	if os.Getenv("CHANCERY_SHARED") == "" {
		cmd.Env = append(cmd.Env, "CHANCERY_SHARED=../../shared")
	}
	return cmd
}

func (e *e2e) try(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := e.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (e *e2e) run(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.t.Fatalf("%s: %v:\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (e *e2e) logs() {
	out, err := e.try("testnet", "logs", "--dir", e.dir, "--lines", "15")
	e.t.Logf("the logs (%v):\n%s", err, out)
}

func (e *e2e) status() []testnet.View {
	e.t.Helper()
	var s struct {
		Validators []testnet.View `json:"validators"`
	}
	out := e.run("testnet", "status", "--dir", e.dir, "--output", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		e.t.Fatalf("%v in %s", err, out)
	}
	return s.Validators
}

// until waits for a state of the network.
func (e *e2e) until(what string, patience time.Duration, ok func([]testnet.View) bool) []testnet.View {
	e.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		views := e.status()
		if ok(views) {
			return views
		}
		if time.Now().After(end) {
			e.t.Fatalf("after %v it is not so that %s:\n%s", patience, what, testnet.Table(views))
		}
	}
}

// oneHash tells whether all validators are at one height with one app hash.
func oneHash(views []testnet.View) bool {
	for _, v := range views {
		if !v.Answers || v.CatchingUp || v.AppHash != views[0].AppHash || v.Height != views[0].Height {
			return false
		}
	}
	return true
}

func highest(views []testnet.View) int64 {
	h := int64(0)
	for _, v := range views {
		h = max(h, v.Height)
	}
	return h
}

// The demonstration ends well in under a minute although one validator is killed
// in its middle.
func TestTheDemonstrationSurvivesAKilledValidator(t *testing.T) {
	e := newE2E(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := e.command("testnet", "start", "--validators", "4", "--dir", e.dir, "--demo", "--once")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var faults bytes.Buffer
	cmd.Stderr = &faults
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	var all strings.Builder
	steps, receipts := 0, []string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(&all, line)
		if strings.HasPrefix(line, "✓") {
			if steps++; steps == 4 {
				e.run("testnet", "kill", "0", "--dir", e.dir)
			}
		}
		if path := strings.TrimSpace(line); strings.HasSuffix(path, ".receipt") {
			receipts = append(receipts, path)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, all.String(), faults.String())
	}
	if want := len(scenario.Names()); steps != want {
		t.Errorf("%d steps done, want %d:\n%s", steps, want, all.String())
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v", took)
	} else {
		t.Logf("it took %v", took)
	}
	for _, v := range e.status() {
		if v.Running {
			t.Errorf("validator %d still runs", v.Index)
		}
	}
	if len(receipts) < 5 {
		t.Fatalf("receipts: %v", receipts)
	}
	genesis := filepath.Join(e.dir, "validator-0", "config", "genesis.json")
	for _, path := range receipts {
		e.run("verify", path, "--genesis", genesis)
	}
}

// Two of four validators are not enough; with a third the chain goes on, and all
// agree once the fourth is back.
func TestTwoOfFourStopTheChain(t *testing.T) {
	e := newE2E(t)
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	e.run("testnet", "kill", "2", "--dir", e.dir)
	e.run("testnet", "kill", "3", "--dir", e.dir)
	time.Sleep(2 * time.Second) // a block may have been decided already
	before := e.status()
	time.Sleep(4 * time.Second)
	after := e.status()
	if highest(after) != highest(before) {
		t.Fatalf("two of four committed blocks %d to %d", highest(before)+1, highest(after))
	}
	e.run("testnet", "restart", "3", "--dir", e.dir)
	e.until("three of four commit", 30*time.Second, func(v []testnet.View) bool { return highest(v) > highest(after)+2 })
	e.run("testnet", "restart", "2", "--dir", e.dir)
	e.until("all have one app hash", 60*time.Second, oneHash)
}

// A halted process, other than a dead one, keeps its connections.
func TestAHaltedValidatorCatchesUp(t *testing.T) {
	e := newE2E(t)
	e.run("testnet", "start", "--validators", "4", "--dir", e.dir, "--detach")
	e.run("testnet", "kill", "1", "--dir", e.dir, "--signal", "STOP")
	height := highest(e.status())
	e.until("the others commit", 30*time.Second, func(v []testnet.View) bool { return highest(v) > height+5 })
	e.run("testnet", "kill", "1", "--dir", e.dir, "--signal", "CONT")
	e.until("all have one app hash", 60*time.Second, oneHash)
}

// What is printed as the first transaction of one's own works as it stands; it is
// there still after the network was stopped and started.
func TestAFirstTransactionOutlivesAStop(t *testing.T) {
	e := newE2E(t)
	var started struct {
		Running    bool                `json:"running"`
		Validators []testnet.Validator `json:"validators"`
		HowTo      struct {
			Look        []string `json:"look"`
			Submit      string   `json:"submit"`
			Environment string   `json:"environment"`
			Stop        string   `json:"stop"`
		} `json:"how_to"`
	}
	start := func() {
		t.Helper()
		cmd := e.command("testnet", "start", "--dir", e.dir, "--detach", "--output", "json")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("start: %v: %s", err, out)
		}
		if err := json.Unmarshal(out, &started); err != nil || !started.Running {
			t.Fatalf("start: %v: %s", err, out)
		}
	}
	shell := func(line string) string {
		t.Helper()
		cmd := e.command()
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", line}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v:\n%s", line, err, out)
		}
		return string(out)
	}
	start()
	shell(started.HowTo.Submit)
	shell(started.HowTo.Look[0])
	if out := shell(started.HowTo.Environment + "\n" + e.binary + " keys show registrar"); !strings.Contains(out, started.Validators[0].Organisation) {
		t.Errorf("in the network's environment: %s", out)
	}
	height := highest(e.status())
	shell(started.HowTo.Stop)
	start()
	if now := highest(e.status()); now < height {
		t.Errorf("at height %d after it was at %d", now, height)
	}
	for _, v := range started.Validators {
		out := e.run("query", "provenance", "node", "--node", v.RPC, "--json",
			fmt.Sprintf(`{"organisation":%q,"id":"my-first-file"}`, started.Validators[0].Organisation))
		if !strings.Contains(out, "my-first-file") {
			t.Errorf("validator %d does not know the entity: %s", v.Index, out)
		}
	}
	// The very same line again is no error: the entity is there with this content.
	shell(started.HowTo.Submit)
}
