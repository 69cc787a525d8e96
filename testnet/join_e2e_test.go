//go:build linux

package testnet_test

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/node/receipt"
	"github.com/chancery/chancery/testnet"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// snapshotsEvery makes the validators of a new network take snapshots at a short
// interval: they are stopped, configured and started again.
func (s *started) snapshotsEvery(blocks int64) {
	s.t.Helper()
	s.run("testnet", "stop", "--dir", s.dir)
	for _, v := range s.record.Validators {
		home := testnet.Dir(s.dir).Home(v)
		c, err := config.Load(home)
		if err != nil {
			s.t.Fatal(err)
		}
		c.Snapshots.Interval = blocks
		if err := config.Write(home, c); err != nil {
			s.t.Fatal(err)
		}
	}
	s.run("testnet", "start", "--dir", s.dir, "--detach")
	s.reload()
}

// load has two validators take so many transactions.
func (s *started) load(want int64) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	var taken atomic.Int64
	ended := make(chan error, 2)
	for i := range 2 {
		go func() { ended <- s.flood(ctx, i, &taken) }()
	}
	for taken.Load() < want {
		select {
		case err := <-ended:
			s.t.Fatalf("after %d transactions: %v", taken.Load(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	cancel()
	for range 2 {
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			s.t.Error(err)
		}
	}
	s.until("the pools are empty", 3*time.Minute, func(v []testnet.View) bool { return v[0].PoolTxs+v[1].PoolTxs == 0 })
}

// act submits a transaction of an author and waits until it is in a block.
func (s *started) act(author string, signers []tx.Signer, m proto.Message) {
	s.t.Helper()
	c := s.dial(0)
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	raw, _, err := c.Draft(author, m).Sign(signers...)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := c.Commit(ctx, raw); err != nil {
		s.t.Fatalf("%T: %v", m, err)
	}
}

// consortium are administrators of enough members.
func (s *started) consortium() (out []tx.Signer) {
	for _, who := range []struct {
		validator int
		name      string
	}{{0, "admin-1"}, {1, "admin-1"}, {1, "admin-2"}, {2, "admin-1"}} {
		_, key := s.signer(who.validator, who.name)
		out = append(out, key)
	}
	return out
}

// joiner is a node that joins.
type joiner struct {
	*started
	home config.Home
	log  string
	proc *exec.Cmd
}

// joiner makes the home of a fifth node as an operator does, of an organisation that the
// consortium registers.
func (s *started) joiner() *joiner {
	s.t.Helper()
	return s.newcomer("quay", func(m proto.Message) { s.act(did.Consortium, s.consortium(), m) })
}

// newcomer makes the home of a node of an organisation that decide has the consortium
// register.
func (s *started) newcomer(slug string, decide func(proto.Message)) *joiner {
	s.t.Helper()
	organisation := "did:chancery:" + slug
	seed := make([]byte, 32)
	crand.Read(seed) // never fails
	key, err := keys.NewSigner(keys.Ed25519, seed)
	if err != nil {
		s.t.Fatal(err)
	}
	first, err := identity.Possess(s.record.ChainID, organisation, "key-1", key, identityv1.Purpose_PURPOSE_AUTHENTICATION)
	if err != nil {
		s.t.Fatal(err)
	}
	decide(&identityv1.RegisterOrganisation{Did: organisation, Keys: []*identityv1.NewKey{first}})

	j := &joiner{started: s, home: config.Home(filepath.Join(s.t.TempDir(), slug)), log: filepath.Join(s.t.TempDir(), slug+".log")}
	var members, peers []string
	for _, v := range s.record.Validators {
		members, peers = append(members, v.RPC), append(peers, v.NodeID+"@"+v.P2P)
	}
	genesis := testnet.Dir(s.dir).Home(s.record.Validators[0]).GenesisFile()
	made := j.ask("join", "--genesis", genesis, "--organisation", organisation, "--moniker", slug+"-1",
		"--members", strings.Join(members, ","), "--peers", strings.Join(peers, ","))
	if len(made["trusted_by"].([]any)) != 4 || made["step"] != "requested" {
		s.t.Fatalf("%v", made)
	}
	c, err := config.Load(j.home)
	if err != nil {
		s.t.Fatal(err)
	}
	listenSomewhere(s.t, &c)
	c.Snapshots.Interval, c.RPC.Development = 0, true
	if err := config.Write(j.home, c); err != nil {
		s.t.Fatal(err)
	}
	j.at("requested")
	s.act(organisation, []tx.Signer{client.Signer(did.URL(organisation, "key-1"), key)}, &identityv1.BindNode{NodeId: made["node_id"].(string)})
	j.at("admitted")
	s.t.Cleanup(j.kill)
	return j
}

func (j *joiner) ask(args ...string) map[string]any {
	j.t.Helper()
	out := j.run(append(args, "--home", string(j.home), "--output", "json")...)
	answer := map[string]any{}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		j.t.Fatalf("%v in %s", err, out)
	}
	return answer
}

func (j *joiner) at(step string) map[string]any {
	j.t.Helper()
	s := j.ask("join", "status")
	if s["step"] != step || s["next"] == "" {
		j.t.Fatalf("join status says %v, want %s", s, step)
	}
	return s
}

func (j *joiner) launch() {
	j.t.Helper()
	out, err := os.OpenFile(j.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		j.t.Fatal(err)
	}
	defer out.Close()
	j.proc = j.command("start", "--home", string(j.home))
	j.proc.Stdout, j.proc.Stderr = out, out
	if err := j.proc.Start(); err != nil {
		j.t.Fatal(err)
	}
}

func (j *joiner) kill() {
	if j.proc == nil {
		return
	}
	_ = j.proc.Process.Kill()
	_ = j.proc.Wait()
	j.proc = nil
	if j.t.Failed() {
		raw, _ := os.ReadFile(j.log)
		j.t.Logf("the log of the node that joins:\n%s", raw[max(0, len(raw)-8000):])
	}
}

// follows waits until the node follows the chain.
func (j *joiner) follows(patience time.Duration) *nodev1.StatusResponse {
	j.t.Helper()
	c, err := config.Load(j.home)
	if err != nil {
		j.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(j.t.Context(), patience)
	defer cancel()
	for {
		own, err := client.Dial(ctx, c.RPC.Listen)
		if err == nil {
			status, err := own.Status(ctx)
			if err == nil && status.Height > 0 && !status.CatchingUp && status.Healthy {
				_ = own.Close()
				return status
			}
			_ = own.Close()
		}
		select {
		case <-ctx.Done():
			j.t.Fatalf("after %v the node does not follow the chain: %v", patience, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// client is one of the node.
func (j *joiner) client() *client.Client {
	j.t.Helper()
	c, err := config.Load(j.home)
	if err != nil {
		j.t.Fatal(err)
	}
	own, err := client.Dial(j.t.Context(), c.RPC.Listen)
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(func() { _ = own.Close() })
	return own
}

// same checks that the node and a validator have one root at one height.
func (j *joiner) same() {
	j.t.Helper()
	own := j.client()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		a, err := own.Status(j.t.Context())
		if err != nil {
			j.t.Fatal(err)
		}
		b, err := j.dial(2).Status(j.t.Context())
		if err != nil {
			j.t.Fatal(err)
		}
		if a.Height == b.Height {
			if hex.EncodeToString(a.AppHash) != hex.EncodeToString(b.AppHash) {
				j.t.Fatalf("at height %d the root is %x, and a validator's %x", a.Height, a.AppHash, b.AppHash)
			}
			return
		}
		if time.Now().After(end) {
			j.t.Fatal("the node never was at one height with a validator")
		}
	}
}

// A new organisation's node joins with an empty disk by a snapshot, recovers when it is
// killed at any time meanwhile, follows the blocks with the others' roots, and becomes a
// validator. 'chancery join status' names each step.
func TestANodeJoinsBySnapshot(t *testing.T) {
	s := start(t)
	s.snapshotsEvery(20)
	s.strengthen(3) // receipts of later states need the header that announces it
	s.load(5000)
	j := s.joiner()
	s.until("there is a snapshot, and two blocks behind it", time.Minute, func(v []testnet.View) bool { return v[0].Height > 25 })
	for range 4 {
		j.launch()
		time.Sleep(time.Duration(500+rand.IntN(7500)) * time.Millisecond)
		j.kill()
	}
	j.launch()
	status := j.follows(2 * time.Minute)
	if status.OldestState <= 1 {
		t.Fatalf("the node has the state of height %d: it fetched all blocks", status.OldestState)
	}
	if _, err := os.Stat(j.home.RestoringFile()); err == nil {
		t.Error("the mark of a restoring is still there")
	}
	j.at("following")
	j.same()
	j.stop()
	j.sound()
	j.launch()
	j.follows(time.Minute)
	j.proves(1)
	s.load(1000)
	j.same()

	var list []json.RawMessage
	raw, err := os.ReadFile(filepath.Join(filepath.Dir(j.home.ConfigFile()), "bind-validator.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil || len(list) != 1 {
		t.Fatalf("%v in %s", err, raw)
	}
	own, err := j.home.Keys()
	if err != nil {
		t.Fatal(err)
	}
	s.act(did.Consortium, s.consortium(), &identityv1.BindValidator{PublicKey: own.Validator, Power: 3, Organisation: "did:chancery:quay", Moniker: "quay-1"})
	j.at("validating")
	s.load(500)
	j.same()
	j.kill()
	j.launch() // a node that joined starts like any other
	j.follows(time.Minute)
	j.same()
	j.proves(2)
	j.stop()
	j.sound()
}

// strengthen gives a validator more power.
func (s *started) strengthen(i int) {
	s.t.Helper()
	v := s.record.Validators[i]
	own, err := testnet.Dir(s.dir).Home(v).Keys()
	if err != nil {
		s.t.Fatal(err)
	}
	s.act(did.Consortium, s.consortium(), &identityv1.BindValidator{PublicKey: own.Validator, Power: 11, Organisation: v.Organisation, Moniker: "stronger"})
}

// stop ends the node in good order.
func (j *joiner) stop() {
	j.t.Helper()
	if err := j.proc.Process.Signal(syscall.SIGTERM); err != nil {
		j.t.Fatal(err)
	}
	_ = j.proc.Wait() // its log says why, if not in good order
	j.proc = nil
}

// sound checks all that the stopped node has on disk.
func (j *joiner) sound() {
	j.t.Helper()
	j.t.Log(j.run("fsck", "--home", string(j.home)))
}

// proves checks that the node makes receipts, which
// hold so many changes of validators, and verify with the genesis file alone.
func (j *joiner) proves(changes int) {
	j.t.Helper()
	genesis, _, err := config.ReadGenesis(j.home.GenesisFile())
	if err != nil {
		j.t.Fatal(err)
	}
	registry, err := node.Registry()
	if err != nil {
		j.t.Fatal(err)
	}
	own := j.client()
	status, err := own.Status(j.t.Context())
	if err != nil {
		j.t.Fatal(err)
	}
	// What leads from the genesis is fetched beside the first blocks.
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r, err := nodev1.NewReceiptsClient(own.Conn()).Build(j.t.Context(), &nodev1.BuildRequest{Keys: []*nodev1.Key{{Key: []byte{1, 2}}}})
		if err != nil {
			if time.Now().After(end) {
				j.t.Fatalf("the node makes no receipts: %v", err)
			}
			continue
		}
		report, err := receipt.Verify(r.Receipt, genesis, registry)
		if err != nil {
			j.t.Fatal(err)
		}
		if report.Height < status.OldestState || report.ValidatorChanges != changes {
			j.t.Fatalf("a receipt of height %d with %d changes of validators, want %d", report.Height, report.ValidatorChanges, changes)
		}
		return
	}
}

// snapshotsTaken logs what the snapshots of two validators took, one with each kind of
// tree, and how long blocks took meanwhile and otherwise.
func (s *started) snapshotsTaken() {
	s.t.Helper()
	for _, v := range s.record.Validators[:2] {
		raw, err := os.ReadFile(testnet.Dir(s.dir).LogFile(v))
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if _, text, ok := strings.Cut(line, "took a snapshot"); ok {
				s.t.Logf("%s:%s", v.Home, strings.TrimSpace(text))
			}
		}
	}
	c := nodev1.NewNodeClient(s.dial(0).Conn())
	var times []int64
	for height := int64(1); ; height++ {
		b, err := c.Block(s.t.Context(), &nodev1.BlockRequest{Height: height})
		if err != nil {
			break
		}
		times = append(times, b.Record.Time)
	}
	// The time of block h is that of the votes for block h-1.
	var beside, otherwise []int64
	for h := 52; h < len(times)-4; h++ {
		if gap := times[h] - times[h-1]; h%50 < 4 {
			beside = append(beside, gap)
		} else {
			otherwise = append(otherwise, gap)
		}
	}
	slices.Sort(beside)
	slices.Sort(otherwise)
	if len(beside) > 0 && len(otherwise) > 0 {
		s.t.Logf("between blocks: median %d ms and most %d ms of the %d beside a snapshot, %d ms and %d ms of the %d others",
			beside[len(beside)/2], beside[len(beside)-1], len(beside), otherwise[len(otherwise)/2], otherwise[len(otherwise)-1], len(otherwise))
	}
}

// The time to join a chain of 100 000 transactions, from the start of the node until it
// follows the chain. CHANCERY_LONG=1 runs it.
func TestJoiningALongChainIsQuick(t *testing.T) {
	if os.Getenv("CHANCERY_LONG") != "1" {
		t.Skip("loads a chain with 100 000 transactions; CHANCERY_LONG=1 runs it")
	}
	s := start(t)
	s.snapshotsEvery(50)
	s.load(100_000)
	s.snapshotsTaken()
	j := s.joiner()
	begun := time.Now()
	j.launch()
	status := j.follows(5 * time.Minute)
	took := time.Since(begun)
	j.same()
	t.Logf("joined at height %d with the state of height %d after %v", status.Height, status.OldestState, took.Round(100*time.Millisecond))
	if took > time.Minute {
		t.Errorf("it took %v, more than a minute", took)
	}
}
