//go:build unix

package testnet

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chancery/chancery/node/config"
)

func TestANetworkIsMadeWhole(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "five"))
	n, err := Open(t.Context(), d, "unused", Design{Validators: 5, By: Shipped(false)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Load(n.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Validators) != 5 {
		t.Fatalf("%d validators", len(r.Validators))
	}
	seen := map[string]bool{}
	var genesis string
	for i, v := range r.Validators {
		for _, a := range []string{v.RPC, v.P2P, v.Telemetry, v.NodeID, v.Organisation} {
			if seen[a] {
				t.Errorf("%s is there twice", a)
			}
			seen[a] = true
		}
		c, err := config.Load(d.Home(v))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.P2P.PersistentPeers) != 4 || c.RPC.Listen != v.RPC {
			t.Errorf("validator %d: peers %v, listens on %s", i, c.P2P.PersistentPeers, c.RPC.Listen)
		}
		doc, raw, err := config.ReadGenesis(d.Home(v).GenesisFile())
		if err != nil {
			t.Fatal(err)
		}
		if doc.ChainID != r.ChainID || len(doc.Validators) != 5 || genesis != "" && genesis != string(raw) {
			t.Errorf("validator %d has another genesis", i)
		}
		genesis = string(raw)
		ring, err := OpenKeyring(d, d.Home(v))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := ring.List()
		if err != nil || len(entries) != 3 {
			t.Fatalf("validator %d has keys %v, %v", i, entries, err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.DID, v.Organisation+":") || e.KeyURL != e.DID+"#key-1" {
				t.Errorf("key %s is bound to %q, %q", e.Name, e.DID, e.KeyURL)
			}
		}
	}
	info, err := os.Stat(d.PassphraseFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the passphrase's file: %v, %v", info.Mode(), err)
	}

	// An old network is found again, unless it is asked to be another.
	if _, err := Open(t.Context(), d, "unused", Design{By: Shipped(false)}); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), d, "unused", Design{Validators: 4, By: Shipped(false)}); err == nil || !strings.Contains(err.Error(), "5 validators") {
		t.Errorf("with another number of validators: %v", err)
	}
	if _, err := Open(t.Context(), d, "unused", Design{Validators: 5, BasePort: 19900, By: Shipped(false)}); err != nil {
		t.Errorf("with other ports: %v", err)
	}
	if r, err = Load(d); err != nil || r.Validators[1].P2P != "127.0.0.1:19904" {
		t.Errorf("after it was moved: %+v, %v", r, err)
	}
	c, err := config.Load(d.Home(r.Validators[0]))
	if err != nil || c.P2P.PersistentPeers[0] != r.Validators[1].NodeID+"@"+r.Validators[1].P2P {
		t.Errorf("peers after it was moved: %v, %v", c.P2P.PersistentPeers, err)
	}
}

func TestAHalfMadeNetworkIsMadeAgain(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "half"))
	if err := d.claim(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.path("validator-7", "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.PassphraseFile(), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(d); !errors.Is(err, errNoNetwork) {
		t.Fatalf("a half-made network is loaded: %v", err)
	}
	if _, err := Open(t.Context(), d, "unused", Design{Validators: 1, By: Shipped(false)}); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{d.path("validator-7"), d.makingFile()} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if _, err := Load(d); err != nil {
		t.Error(err)
	}
}

func TestAFolderOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Dir(dir), "unused", Design{Validators: 1, By: Shipped(false)}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// All validators hold their state where they are told to, and on both sides where nothing is said.
func TestWhereStatesAre(t *testing.T) {
	for tree, want := range map[string][]string{
		"": {config.TreeDisk, config.TreeMemory, config.TreeDisk}, config.TreeMemory: {config.TreeMemory, config.TreeMemory, config.TreeMemory}, config.TreeDisk: {config.TreeDisk, config.TreeDisk, config.TreeDisk},
	} {
		d := Dir(filepath.Join(t.TempDir(), "n"))
		if _, err := Create(t.Context(), d, "unused", Design{Validators: 3, By: Shipped(false), Tree: tree}); err != nil {
			t.Fatal(err)
		}
		r, err := Load(d)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range r.Validators {
			c, err := config.Load(d.Home(v))
			if err != nil {
				t.Fatal(err)
			}
			if c.State.Tree != want[i] {
				t.Errorf("%q: validator %d holds its state in %q, want %q", tree, i, c.State.Tree, want[i])
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "n")
	if _, err := Open(t.Context(), Dir(dir), "unused", Design{By: Shipped(false), Tree: "paper"}); err == nil || !strings.Contains(err.Error(), "want memory or disk") {
		t.Errorf("a tree on paper: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the refused network has a folder")
	}
}

func TestNumbersOfValidators(t *testing.T) {
	for _, n := range []int{-1, 17} {
		if _, err := Open(t.Context(), Dir(filepath.Join(t.TempDir(), "n")), "unused", Design{Validators: n, By: Shipped(false)}); err == nil || !strings.Contains(err.Error(), "1 to 16") {
			t.Errorf("%d: %v", n, err)
		}
	}
	// More than two thirds of the members act for the consortium.
	for n := 1; n <= MaxValidators; n++ {
		m := int(consortiumNeeded(n))
		if 3*m <= 2*n || 3*(m-1) > 2*n || m > n {
			t.Errorf("%d of %d", m, n)
		}
	}
}

func TestPortsInUseAreNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if err := portsFree(port, 1); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	for _, base := range []int{80, 65535} {
		if err := portsFree(base, 4); err == nil {
			t.Errorf("base port %d is accepted", base)
		}
	}
}

// A process that has the id of an earlier one is not touched.
func TestAProcessIsKnownByItsStart(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("there is no program sleep")
	}
	p, err := launch(exec.Command(sleep, "60"), (*exec.Cmd).Start, filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Fatal("a process that was started is not alive")
	}
	other := &Process{PID: p.PID, Started: p.Started + "0"}
	if other.alive() {
		t.Error("a process of another start is taken for this one")
	}
	if err := other.signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if other.gone(0); !p.alive() {
		t.Fatal("a process of another start was signalled")
	}
	began := time.Now()
	if forced, err := p.stop(); err != nil || forced {
		t.Errorf("stop: forced %v, %v", forced, err)
	}
	if p.alive() || time.Since(began) > stopPatience {
		t.Errorf("alive %v after %v", p.alive(), time.Since(began))
	}
	var none *Process
	if none.alive() {
		t.Error("no process is alive")
	}
}

func TestSignalsByName(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"KILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM, "STOP": syscall.SIGSTOP} {
		if got, err := signalNamed(name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := signalNamed("LOUD"); err == nil {
		t.Error("LOUD is a signal")
	}
}

func TestTable(t *testing.T) {
	table := Table([]View{
		{Index: 0, Organisation: "did:chancery:mercy-hospital", PID: 7, Running: true, Answers: true, Healthy: true, Height: 12, AppHash: "00112233445566778899", Peers: 3, TxRate: 1.5, RPC: "127.0.0.1:1"},
		{Index: 1, Organisation: "did:chancery:northside-lab"},
		{Index: 2, Organisation: "did:chancery:org-3", Running: true, Answers: true, Reason: "no block for 20 s"},
	})
	for _, want := range []string{"mercy-hospital", "001122334455 ", "1.5", "healthy", "stopped", "unhealthy: no block for 20 s"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"T/validator-0": "T/validator-0", "my net": "'my net'", "it's": `'it'\''s'`, "": "''"} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestLogsInJSONAreALineEach(t *testing.T) {
	var out strings.Builder
	l := &logLines{out: &out, validator: 2}
	for _, part := range []string{"time=1 ms", "g=\"a\"\nnext", "\n", "unfinished"} {
		if n, err := l.Write([]byte(part)); err != nil || n != len(part) {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if want := `{"validator":2,"line":"time=1 msg=\"a\""}` + "\n" + `{"validator":2,"line":"next"}` + "\n"; out.String() != want {
		t.Errorf("got %s", out.String())
	}
}
