//go:build unix

package testnet_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/config"
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

// The demonstration ends well in under a minute although one validator, whichever
// it is, is killed at some moment in its middle; its receipts verify.
func TestTheDemonstrationSurvivesAKilledValidator(t *testing.T) {
	for victim := range 4 {
		t.Run(fmt.Sprintf("validator %d", victim), func(t *testing.T) {
			e := newE2E(t)
			receipts := e.demonstrate(victim)
			genesis := filepath.Join(e.dir, "validator-0", "config", "genesis.json")
			for _, path := range receipts {
				e.run("verify", path, "--genesis", genesis)
			}
			if victim == 0 {
				e.everyByteCounts(receipts, genesis)
			}
		})
	}
}

// demonstrate runs the demonstration, kills a validator after some step, and
// returns the receipts' paths.
func (e *e2e) demonstrate(victim int) []string {
	t := e.t
	t.Helper()
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
	last := rand.IntN(len(scenario.Names()) - 1) // the step after which it is killed
	pause := time.Duration(rand.IntN(1000)) * time.Millisecond
	t.Logf("killed %v after step %d", pause, last)
	killed := make(chan string, 1)
	kill := func() {
		time.Sleep(pause)
		out, err := e.try("testnet", "kill", fmt.Sprint(victim), "--dir", e.dir)
		if err != nil {
			out = fmt.Sprintf("%v: %s", err, out)
		} else {
			out = ""
		}
		killed <- out
	}
	var all strings.Builder
	steps, receipts := 0, []string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(&all, line)
		done := strings.HasPrefix(line, "✓")
		if done {
			steps++
		}
		if steps == last && (done || strings.Contains(line, "take part")) {
			go kill()
		}
		if path := strings.TrimSpace(line); strings.HasSuffix(path, ".receipt") {
			receipts = append(receipts, path)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, all.String(), faults.String())
	}
	// Where the last steps were faster than the pause, there is nothing to kill.
	if fault := <-killed; fault != "" && !strings.Contains(fault, "does not run") {
		t.Fatal(fault)
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
	return receipts
}

// everyByteCounts flips every byte of real receipts, as damage would and, with the
// checksum made right, as a forger would; and a sample by the program itself.
func (e *e2e) everyByteCounts(paths []string, genesisFile string) {
	t := e.t
	t.Helper()
	genesis, _, err := config.ReadGenesis(genesisFile)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, path := range paths {
		name := filepath.Base(path)
		names += " " + name
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		reasons := make(map[string]int)
		refused := func(what string, bad []byte) {
			t.Helper()
			_, err := node.VerifyReceipt(bad, genesis)
			var refusal *errs.Error
			if !errors.As(err, &refusal) || refusal.Module != "receipt" || refusal.Code == errs.Internal {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			reasons[fmt.Sprintf("%s/%d", refusal.Module, refusal.Code)]++
		}
		forge := func(bad []byte) []byte {
			sum := sha256.Sum256(bad[:len(bad)-sha256.Size])
			return append(bad[:len(bad)-sha256.Size], sum[:]...)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << rand.IntN(8)
			refused(fmt.Sprintf("byte %d is %#x", i, bad[i]), bad)
			if i < len(raw)-sha256.Size {
				refused(fmt.Sprintf("byte %d is %#x, with the checksum made right", i, bad[i]), forge(bad))
			}
		}
		for range 200 {
			i := rand.IntN(len(raw) - sha256.Size)
			for bit := range 8 {
				bad := bytes.Clone(raw)
				bad[i] ^= 1 << bit
				refused(fmt.Sprintf("byte %d is %#x, with the checksum made right", i, bad[i]), forge(bad))
			}
		}
		t.Logf("%s, %d bytes: %v", name, len(raw), reasons)
		for range 5 {
			bad := bytes.Clone(raw)
			i := rand.IntN(len(bad))
			bad[i] ^= 1 << rand.IntN(8)
			if rand.IntN(2) == 0 && i < len(bad)-sha256.Size {
				bad = forge(bad)
			}
			at := filepath.Join(t.TempDir(), "bad.receipt")
			if err := os.WriteFile(at, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := e.try("verify", at, "--genesis", genesisFile)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "receipt/") {
				t.Errorf("%s with byte %d flipped: %v: %s", name, i, err, out)
			}
		}
	}
	for _, want := range []string{"decision", "consent.receipt", "entity", "absent"} {
		if !strings.Contains(names, want) {
			t.Errorf("there is no receipt %q among%s", want, names)
		}
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
