package consensus

import (
	"encoding/binary"
	"errors"
	"math/rand"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// knowing gives a validator a program that knows so many migrations.
func knowing(t *testing.T, o *Options, migrations int) {
	t.Helper()
	members := o.Membership.(circle)
	members.probe = newProbe()
	tree, err := state.OpenIAVL(dbm.NewMemDB(), state.IAVLOptions{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.App.Close(); err != nil {
		t.Fatal(err)
	}
	migration := chain.Migration{{Module: "probe", Run: func(ctx *chain.Ctx) error {
		members.blobs.Put(ctx, 1000, "migrated")
		return nil
	}}}
	o.App, err = chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Screen: judging, Validators: members,
		Modules: []chain.Module{members}, Rand: rand.New(rand.NewSource(1)), Partial: true,
		Migrations: []chain.Migration{migration}[:migrations],
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Membership = members
}

// SPEC U5, U9: of four validators one does not know the version that a plan leads to. It
// stops with the block before the plan's height and says what it needs; the others carry the
// upgrade out, and headers name the version from the block after on.
func TestAnUpgradeWithOneLateValidator(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs four validators for several seconds")
	}
	const late = 3
	nodes := network(t, 4, func(i int, o *Options) {
		known := 1
		if i == late {
			known = 0
		}
		knowing(t, o, known)
	})
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	reach := func(n *Node, height int64) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); n.App().Tree().Version() < height; time.Sleep(10 * time.Millisecond) {
			if err := n.Err(); err != nil || time.Now().After(end) {
				t.Fatalf("at height %d, where %d is wanted: %v", n.App().Tree().Version(), height, err)
			}
		}
	}
	reach(nodes[0], 2)
	plan := &chainv1.ScheduleUpgrade{Name: "autumn", Height: nodes[0].App().Tree().Version() + 40, Version: 2, ChecksumsHash: make([]byte, 32)}
	salt++
	raw, _, err := tx.Draft{
		ChainID: chaintest.ChainID, Author: chaintest.Consortium, ValidUntil: time.Now().Add(time.Minute).UnixMilli(),
		Salt:     binary.BigEndian.AppendUint64(make([]byte, 8), salt),
		Messages: []proto.Message{plan},
	}.Sign(chaintest.Actor(chaintest.Consortium))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := nodes[0].Submit(t.Context(), raw, false); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes[:late] {
		reach(n, plan.Height+5)
	}
	select {
	case <-nodes[late].Done():
	case <-time.After(time.Minute):
		t.Fatal("the validator that does not know the version goes on")
	}
	if err := nodes[late].Err(); !errors.Is(err, chain.ErrUpgradeNeeded) {
		t.Fatalf("it stopped because %v", err)
	}
	if s := nodes[late].Status(); s.Healthy || s.Height != plan.Height-1 {
		t.Fatalf("it says %+v, want height %d", s, plan.Height-1)
	}
	for height, want := range map[int64]uint64{plan.Height - 1: 1, plan.Height: 1, plan.Height + 1: 2, plan.Height + 4: 2} {
		b, err := nodes[0].LightBlock(height)
		if err != nil {
			t.Fatal(err)
		}
		if b.Version.App != want {
			t.Errorf("header %d names version %d, want %d", height, b.Version.App, want)
		}
	}
	probe := newProbe()
	if got, _ := probe.blobs.Lookup(nodes[1].App().Latest(), 1000); got != "migrated" {
		t.Errorf("the migration wrote %q", got)
	}
}
