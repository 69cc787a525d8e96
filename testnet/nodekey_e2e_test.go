//go:build unix

package testnet_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	"github.com/chancery/chancery/node/config"
	"github.com/chancery/chancery/testnet"

	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// asOrganisation has a member bind or unbind a node.
func (s *started) asOrganisation(i int, m proto.Message) {
	s.t.Helper()
	signers := []tx.Signer{}
	for _, name := range []string{"admin-1", "admin-2"} {
		_, key := s.signer(i, name)
		signers = append(signers, key)
	}
	s.act(s.record.Validators[i].Organisation, signers, m)
}

// Every node of a network under load gets a new key, one after the other. Nothing that was
// acknowledged is lost, all are connected afterwards, and a process with an old key is let
// in by nobody until it is bound again.
func TestNodeKeysRotateUnderLoad(t *testing.T) {
	s := start(t)
	var mu sync.Mutex // guards the two
	var ids []string
	var fault error
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	who, key := s.signer(0, "registrar")
	var group sync.WaitGroup
	for w := range 4 {
		c := s.dial(w, (w+1)%4)
		group.Go(func() {
			for ctx.Err() == nil {
				r, err := c.Do(context.WithoutCancel(ctx), who, []tx.Signer{key}, &provenancev1.RegisterEntity{
					Id: fmt.Sprintf("rotated-%d", entities.Add(1)), Entity: &provenancev1.Entity{MediaType: "text/plain"},
				})
				mu.Lock()
				if err != nil {
					fault = errors.Join(fault, err)
				} else {
					ids = append(ids, fmt.Sprintf("%x", r.TxId))
				}
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	defer group.Wait()
	defer cancel()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(ids)
	}
	s.until("transactions are committed", time.Minute, func([]testnet.View) bool { return count() >= 20 })

	old := make([]string, 4)
	for i, v := range s.record.Validators {
		home := testnet.Dir(s.dir).Home(v)
		var err error
		if old[i], err = config.NodeID(home); err != nil {
			t.Fatal(err)
		}
		s.run("node-key", "prepare", "--home", string(home))
		next, err := home.NextNodeID()
		if err != nil {
			t.Fatal(err)
		}
		// A start before the chain binds the new one keeps the old one.
		if i == 0 {
			s.again(i)
			if id, err := config.NodeID(home); err != nil || id != old[i] {
				t.Fatalf("the node took a key that nobody binds: %s, %v", id, err)
			}
		}
		s.asOrganisation(i, &identityv1.BindNode{NodeId: next})
		for _, o := range s.record.Validators {
			if o.Index != i {
				relist(t, testnet.Dir(s.dir).Home(o), old[i], next)
			}
		}
		before := count()
		s.again(i)
		if id, err := config.NodeID(home); err != nil || id != next {
			t.Fatalf("validator %d has the node id %s, want %s: %v", i, id, next, err)
		}
		s.asOrganisation(i, &identityv1.UnbindNode{NodeId: old[i]})
		s.until("clients go on after the rotation", time.Minute, func([]testnet.View) bool { return count() >= before+20 })
	}
	cancel()
	group.Wait()
	if fault != nil {
		t.Fatalf("a client: %v", fault)
	}
	for i := range 4 {
		c := s.dial(i)
		for end := time.Now().Add(time.Minute); ; time.Sleep(500 * time.Millisecond) {
			status, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if status.Peers == 3 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("validator %d has the peers %v", i, status.PeerIds)
			}
		}
		txs := nodev1.NewTxClient(c.Conn())
		for _, id := range ids {
			raw, err := hex.DecodeString(id)
			if err != nil {
				t.Fatal(err)
			}
			if r, err := txs.Wait(t.Context(), &nodev1.WaitRequest{TxId: raw}); err != nil || r.Result.Code != 0 {
				t.Fatalf("validator %d has lost the transaction %s, which was acknowledged: %v", i, id, err)
			}
		}
	}
	t.Logf("%d acknowledged transactions are on all four, whose node keys are new", len(ids))
	s.withOldKey(2, old[2])
}

// again stops a validator in good order, starts it, and waits until it takes part.
func (s *started) again(i int) {
	s.t.Helper()
	s.run("testnet", "kill", fmt.Sprint(i), "--signal", "TERM", "--dir", s.dir)
	s.run("testnet", "restart", fmt.Sprint(i), "--dir", s.dir)
	height := highest(s.status())
	s.until(fmt.Sprintf("validator %d takes part again", i), 2*time.Minute, func(v []testnet.View) bool {
		return v[i].Answers && !v[i].CatchingUp && v[i].Height > height
	})
}

// relist replaces a node's id in the list of peers of a home.
func relist(t *testing.T, home config.Home, from, to string) {
	t.Helper()
	c, err := config.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, p := range c.P2P.PersistentPeers {
		if strings.HasPrefix(p, from+"@") {
			c.P2P.PersistentPeers[i] = to + strings.TrimPrefix(p, from)
			n++
		}
	}
	if n != 1 {
		t.Fatalf("%s lists %s %d times", home, from, n)
	}
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
}

// withOldKey runs a node with a member's old node key.
func (s *started) withOldKey(i int, old string) {
	t := s.t
	t.Helper()
	from := testnet.Dir(s.dir).Home(s.record.Validators[i])
	home := config.Home(filepath.Join(t.TempDir(), "thief"))
	s.run("init", "--home", string(home), "--genesis", from.GenesisFile(), "--set", "rpc.development=true")
	raw, err := os.ReadFile(from.LastNodeKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(home.NodeKeyFile(), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := config.NodeID(home); err != nil || id != old {
		t.Fatalf("%s, %v", id, err)
	}
	c, err := config.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range s.record.Validators {
		id, err := config.NodeID(testnet.Dir(s.dir).Home(v))
		if err != nil {
			t.Fatal(err)
		}
		c.P2P.PersistentPeers = append(c.P2P.PersistentPeers, id+"@"+v.P2P)
	}
	listenSomewhere(t, &c)
	if err := config.Write(home, c); err != nil {
		t.Fatal(err)
	}
	node := s.process("start", "--home", string(home))
	cmd, log := node.cmd, node.log
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was asked to end
	}()
	height := func() int64 {
		own, err := client.Dial(t.Context(), c.RPC.Listen)
		if err != nil {
			return -1
		}
		defer own.Close()
		status, err := own.Status(t.Context())
		if err != nil {
			return -1
		}
		return status.Height
	}
	for end := time.Now().Add(time.Minute); height() < 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			raw, _ := os.ReadFile(log) // it is for the reader of a failure
			t.Fatalf("the node with the old key does not answer: %s", raw)
		}
	}
	refusals := func() (out []int) {
		for _, v := range s.record.Validators {
			raw, err := os.ReadFile(testnet.Dir(s.dir).LogFile(v))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for line := range strings.Lines(string(raw)) {
				if strings.Contains(line, "refusing a peer that no active organisation has bound") && strings.Contains(line, old) {
					n++
				}
			}
			out = append(out, n)
		}
		return out
	}
	for end := time.Now().Add(30 * time.Second); slices.Contains(refusals(), 0); time.Sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the validators refused the old node id %v times", refusals())
		}
	}
	if h := height(); h != 0 {
		t.Errorf("a node with the old key got to height %d", h)
	}
	// It was for want of the binding alone.
	s.asOrganisation(i, &identityv1.BindNode{NodeId: old})
	for end := time.Now().Add(time.Minute); height() < 3; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("bound again, the node is at height %d", height())
		}
	}
}
