package consensus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	"github.com/chancery/chancery/consensus/divergence"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// damaged is a tree in which, with the block of a height, a value changes of which the block
// says nothing, as by a fault of the machine's memory.
type damaged struct {
	state.Tree
	at  *atomic.Int64 // 0: it stays whole
	key []byte
}

func (d damaged) Apply(changes []state.Change) ([]byte, error) {
	if d.Version()+1 == d.at.Load() {
		value := bytes.Clone(d.Latest().Lookup(d.key))
		value[0] ^= 1
		changes = append(slices.Clone(changes), state.Change{Key: d.key, Value: value})
		slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
	}
	return d.Tree.Apply(changes)
}

// blobKey is where a probe's fifth block puts its blob.
var blobKey = []byte{0x70, 0x01, 0, 0, 0, 0, 0, 0, 0, 5}

func memoryTree(t *testing.T) state.Tree {
	t.Helper()
	tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// keptReports collects the reports of a network's nodes.
type keptReports struct {
	mu  sync.Mutex
	all map[int][]*divergence.Report
}

func (k *keptReports) of(i int) func(*divergence.Report) (string, error) {
	return func(r *divergence.Report) (string, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.all[i] = append(k.all[i], r)
		return "the/report", nil
	}
}

func (k *keptReports) list(i int) []*divergence.Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all[i])
}

// A validator in whose state one value flips stops with the error that says so, and its report
// names the very key, while the other three go on; over either kind of tree.
func TestNetworkNamesTheKeyInWhichAStateParted(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs four validators for several seconds")
	}
	for name, open := range map[string]func(*testing.T) state.Tree{"disk": diskTree, "memory": memoryTree} {
		t.Run(name, func(t *testing.T) {
			var at atomic.Int64
			reports := &keptReports{all: map[int][]*divergence.Report{}}
			nodes := networkOver(t, 4, func(i int) state.Tree {
				if i == 0 {
					return damaged{Tree: open(t), at: &at, key: blobKey}
				}
				return open(t)
			}, func(i int, o *Options) { o.Parted, o.Tree, o.Version = reports.of(i), name, "v-test" })
			for _, n := range nodes {
				if err := n.Start(); err != nil {
					t.Fatal(err)
				}
			}
			ctx := within(t, 300*time.Second)
			if err := nodes[0].Records().Wait(ctx, 12); err != nil {
				t.Fatal(err)
			}
			at.Store(nodes[0].App().Tree().Version() + 5)
			select {
			case <-nodes[0].Done():
			case <-ctx.Done():
				t.Fatal("the node goes on")
			}
			height := at.Load()
			if err := nodes[0].Err(); !errors.Is(err, divergence.ErrParted) || !strings.Contains(err.Error(), "the/report") {
				t.Errorf("it ended with %v", err)
			}
			if s := nodes[0].Status(); s.Healthy || !strings.Contains(s.Reason, "the/report") {
				t.Errorf("status: %+v", s)
			}
			if err := nodes[1].Records().Wait(ctx, height+10); err != nil {
				t.Fatalf("the others do not go on: %v", err)
			}
			for i := range nodes[1:] {
				if r := reports.list(i + 1); len(r) > 0 {
					t.Errorf("node %d reports, too: %+v", i+1, r[0])
				}
			}
			all := reports.list(0)
			if len(all) != 1 {
				t.Fatalf("%d reports", len(all))
			}
			r := all[0]
			_, right, err := nodes[1].App().View(height)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != divergence.ThisNode || r.Height != height || r.Own.AppHash == r.Agreed.AppHash || r.Agreed.AppHash != hex.EncodeToString(right.Root()) {
				t.Errorf("%+v, agreed %+v", r, r.Agreed)
			}
			if r.Agreed.Power < 30 || r.Agreed.Of != 40 {
				t.Errorf("agreed by %+v", r.Agreed)
			}
			if len(r.Sides) != 2 || r.Sides[0].Power != 30 || r.Sides[0].Nodes != 3 || r.Sides[1].Power != 10 {
				t.Errorf("sides %+v", r.Sides)
			}
			for _, p := range r.Peers {
				if p.Tree != name || p.Version != "v-test" || p.Power != 10 || p.Silent != "" {
					t.Errorf("peer %+v", p)
				}
			}
			if r.Comparison == nil || r.Comparison.First == nil {
				t.Fatalf("nothing was compared: %s", r.Problem)
			}
			d := r.Comparison.First
			if d.RawKey != hex.EncodeToString(blobKey) || d.Collection != "probe/blobs" || d.Key != "5" || !d.Proved || d.Left == d.Right {
				t.Errorf("the first difference is %+v", d)
			}
			// What a node that catches up rests on: the header that a peer shows.
			shown, err := nodes[1].Hashes(ctx, &nodev1.HashesRequest{Height: height, Header: true})
			if err != nil {
				t.Fatal(err)
			}
			if a := nodes[2].parting.signed(height+1, shown.Next); a == nil || a.AppHash != r.Agreed.AppHash || a.Power < 30 || a.Of != 40 {
				t.Errorf("the header says %+v", a)
			}
			if a := nodes[2].parting.signed(height, shown.Next); a != nil {
				t.Errorf("the header of another height says %+v", a)
			}
			forged := bytes.Replace(shown.Next, right.Root(), nodes[0].App().Tree().Root(), 1)
			if a := nodes[2].parting.signed(height+1, forged); bytes.Equal(forged, shown.Next) || a != nil {
				t.Errorf("a header that nobody signed says %+v", a)
			}
			for _, m := range r.Comparison.Modules {
				if m.Differs() != (m.Name == "probe") {
					t.Errorf("module %+v", m)
				}
			}
		})
	}
}

// Where two of four validators have another state than the other two, nobody is right by the
// votes: the chain stands still, and each node reports a split and stays.
func TestNetworkReportsASplit(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs four validators for several seconds")
	}
	var at atomic.Int64
	reports := &keptReports{all: map[int][]*divergence.Report{}}
	nodes := networkOver(t, 4, func(i int) state.Tree {
		if i < 2 {
			return damaged{Tree: diskTree(t), at: &at, key: blobKey}
		}
		return memoryTree(t)
	}, func(i int, o *Options) {
		o.Parted = reports.of(i)
		o.Watchdog.Unhealthy = 6 * time.Second
	})
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 300*time.Second)
	if err := nodes[0].Records().Wait(ctx, 12); err != nil {
		t.Fatal(err)
	}
	height := max(nodes[0].App().Tree().Version(), nodes[1].App().Tree().Version()) + 5
	at.Store(height)
	for i, n := range nodes {
		for len(reports.list(i)) == 0 || n.Status().Healthy {
			select {
			case <-ctx.Done():
				t.Fatalf("node %d reports nothing: %+v", i, n.Status())
			case <-time.After(100 * time.Millisecond):
			}
		}
		r := reports.list(i)[0]
		if r.Verdict != divergence.Split || r.Agreed != nil || r.Height != height || len(r.Sides) != 2 || r.Sides[0].Power != 20 || r.Sides[1].Power != 20 {
			t.Errorf("node %d: %+v", i, r)
		}
		if r.Comparison == nil || r.Comparison.First == nil || r.Comparison.First.Key != "5" {
			t.Errorf("node %d: %+v, %s", i, r.Comparison, r.Problem)
		}
		if err := n.Err(); err != nil {
			t.Errorf("node %d ended: %v", i, err)
		}
		for !strings.Contains(n.Status().Reason, "the/report") {
			select {
			case <-ctx.Done():
				t.Fatalf("node %d: %+v", i, n.Status())
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}
