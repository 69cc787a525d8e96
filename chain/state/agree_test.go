package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	ics23 "github.com/cosmos/ics23/go"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

// agreeing is a tree on disk and one in memory that are given the same blocks, and what
// happened to them.
type agreeing struct {
	t       *testing.T
	r       *rand.Rand
	disk    state.Tree
	folder  string // of disk
	memory  *state.Memory
	files   *statetest.Disk
	options state.MemoryOptions
	live    map[string]bool // the keys that there are
	gone    []string        // some keys that there were

	blocks, changes, removals, empty       int
	present, absent, older                 int
	pruned, images, restarts, kills, moved int
}

func newAgreeing(t *testing.T, seed int64) *agreeing {
	a := &agreeing{
		t: t, r: rand.New(rand.NewSource(seed)), live: map[string]bool{}, files: statetest.NewDisk(),
		options: state.MemoryOptions{SegmentBytes: 1 << 18, ImageVersions: 150, ImageBytes: 1 << 21, KeepVersions: 200},
	}
	a.openDisk(filepath.Join(t.TempDir(), "state"))
	a.memory = openMemory(t, a.files, a.options)
	return a
}

func (a *agreeing) openDisk(folder string) {
	a.t.Helper()
	a.folder = folder
	db, err := dbm.NewGoLevelDB("state", folder, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.disk, err = state.OpenIAVL(db, state.IAVLOptions{NoSync: true, NodeCache: 5000, ValueCache: 500}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agreeing) check(what string, errs ...error) {
	a.t.Helper()
	if err := errors.Join(errs...); err != nil {
		a.t.Fatalf("block %d, %s: %v", a.blocks, what, err)
	}
}

// key is a random key: of a few that are written all the time, of many, of a family with
// a long prefix in common, or one above all before it.
func (a *agreeing) key() string {
	switch n := a.r.Intn(100); {
	case n < 20:
		return fmt.Sprintf("hot-%02d", a.r.Intn(40))
	case n < 60:
		return string(binary.BigEndian.AppendUint32([]byte{0x12, byte(n % 7)}, uint32(a.r.Intn(40_000))*2_654_435_761))
	case n < 85:
		return fmt.Sprintf("did:chancery:organisation-of-some-name:%04d/%03d", a.r.Intn(300), a.r.Intn(100))
	}
	return fmt.Sprintf("seq-%010d", a.blocks*100+a.r.Intn(100))
}

// block is what a random block changes, sorted.
func (a *agreeing) block() []state.Change {
	writes := map[string][]byte{}
	n := []int{0, 1, 5, 20, 60, 200}[a.r.Intn(6)]
	for range n {
		key := a.key()
		if a.r.Intn(3) == 0 { // most that is removed is there
			if have := a.some(); have != "" && a.r.Intn(4) > 0 {
				key = have
			}
			writes[key] = nil
			continue
		}
		value := make([]byte, 1+a.r.Intn([]int{8, 40, 300, 3000}[min(a.r.Intn(40)/10, 3)]))
		_, _ = a.r.Read(value)
		writes[key] = value
	}
	var out []state.Change
	for _, key := range slices.Sorted(maps.Keys(writes)) {
		out = append(out, state.Change{Key: []byte(key), Value: writes[key]})
	}
	return out
}

// some is a key that there is, "" for none.
func (a *agreeing) some() string {
	for key := range a.disk.Latest().Walk([]byte(a.key()), nil, false) {
		return string(key)
	}
	return ""
}

// step applies a random block to both, now and then after another that is dropped.
func (a *agreeing) step() {
	a.t.Helper()
	changes := a.block()
	if a.r.Intn(10) == 0 {
		other := a.block()
		rootA, errA := a.disk.Apply(other)
		rootB, errB := a.memory.Apply(other)
		a.check("apply what is dropped", errA, errB)
		a.same(rootA, rootB)
	}
	rootA, errA := a.disk.Apply(changes)
	rootB, errB := a.memory.Apply(changes)
	a.check("apply", errA, errB)
	a.same(rootA, rootB)
	a.check("save", a.disk.Save(), a.memory.Save())
	a.same(a.disk.Root(), a.memory.Root())
	a.same(rootA, a.disk.Root())
	a.blocks++
	a.changes += len(changes)
	if len(changes) == 0 {
		a.empty++
	}
	for _, c := range changes {
		key := string(c.Key)
		if c.Value != nil {
			a.live[key] = true
		} else if a.live[key] {
			a.removals++
			delete(a.live, key)
			if len(a.gone) < 1000 {
				a.gone = append(a.gone, key)
			} else {
				a.gone[a.r.Intn(len(a.gone))] = key
			}
		}
	}
	a.proofs(a.disk.Latest(), a.memory.Latest())
}

func (a *agreeing) same(x, y []byte) {
	a.t.Helper()
	if !bytes.Equal(x, y) {
		a.t.Fatalf("block %d: the roots are %x on disk and %x in memory", a.blocks, x, y)
	}
}

// proofs compares proofs of what is there, of what was removed and of what never was.
func (a *agreeing) proofs(disk, memory state.Snapshot) {
	a.t.Helper()
	keys := []string{a.key(), a.some(), "", "\xff\xff"}
	if len(a.gone) > 0 {
		keys = append(keys, a.gone[a.r.Intn(len(a.gone))])
	}
	for _, key := range keys {
		if key == "" {
			continue
		}
		k := []byte(key)
		value := disk.Lookup(k)
		if !bytes.Equal(value, memory.Lookup(k)) {
			a.t.Fatalf("block %d: %q has two values", a.blocks, key)
		}
		p, errA := disk.Prove(k)
		q, errB := memory.Prove(k)
		if errA != nil && errB != nil && isEmpty(disk) && isEmpty(memory) {
			continue // nothing proves what an empty tree lacks
		}
		a.check("prove", errA, errB)
		rawA, errA := p.Marshal()
		rawB, errB := q.Marshal()
		a.check("marshal a proof", errA, errB)
		if !bytes.Equal(rawA, rawB) {
			a.t.Fatalf("block %d: two proofs of %q", a.blocks, key)
		}
		if value != nil {
			a.present++
			if !ics23.VerifyMembership(state.ProofSpec, disk.Root(), q, k, value) || ics23.VerifyNonMembership(state.ProofSpec, disk.Root(), q, k) {
				a.t.Fatalf("block %d: the proof of %q does not hold", a.blocks, key)
			}
			continue
		}
		a.absent++
		if !ics23.VerifyNonMembership(state.ProofSpec, disk.Root(), q, k) {
			a.t.Fatalf("block %d: the proof that %q is absent does not hold", a.blocks, key)
		}
	}
}

func isEmpty(s state.Snapshot) bool {
	for range s.Walk(nil, nil, false) {
		return false
	}
	return true
}

// disturb does what happens to a tree between blocks: it is read at an older version,
// pruned, written as an image, closed or killed and opened again, or made anew from an
// image of the other.
func (a *agreeing) disturb() {
	a.t.Helper()
	latest := a.disk.Version()
	oldest := max(a.disk.Oldest(), a.memory.Oldest())
	switch n := a.r.Intn(400); {
	case n < 20:
		at := oldest + a.r.Int63n(latest-oldest+1)
		x, errA := a.disk.At(at)
		y, errB := a.memory.At(at)
		a.check("read an older version", errA, errB)
		a.same(x.Root(), y.Root())
		a.proofs(x, y)
		a.older++
	case n < 28 && latest > oldest:
		to := oldest + a.r.Int63n(latest-oldest)
		a.check("prune", a.disk.Prune(to), a.memory.Prune(to))
		for _, tree := range []state.Tree{a.disk, a.memory} {
			if _, err := tree.At(to); !errors.Is(err, state.ErrNoVersion) {
				a.t.Fatalf("block %d: version %d was pruned: %v", a.blocks, to, err)
			}
		}
		a.pruned++
	case n < 34:
		if a.memory.ImageDue() {
			a.check("write an image", a.memory.WriteImage())
			a.images++
		}
	case n < 39:
		a.check("close the tree on disk", a.disk.Close())
		a.openDisk(a.folder)
		a.restarts++
	case n < 44:
		if a.r.Intn(2) == 0 {
			a.check("close the tree in memory", a.memory.Close())
			a.restarts++
		} else {
			a.files = a.files.Killed()
			a.kills++
		}
		a.memory = openMemory(a.t, a.files, a.options)
	case n == 44:
		a.move(latest)
	}
	a.same(a.disk.Root(), a.memory.Root())
	if a.disk.Version() != latest || a.memory.Version() != latest {
		a.t.Fatalf("block %d: versions %d and %d, want %d", a.blocks, a.disk.Version(), a.memory.Version(), latest)
	}
}

// move compares the images of both and lets one of them begin anew from the other's.
func (a *agreeing) move(version int64) {
	a.t.Helper()
	image := export(a.t, a.disk.Latest())
	if !bytes.Equal(image, export(a.t, a.memory.Latest())) {
		a.t.Fatalf("block %d: two images of one version", a.blocks)
	}
	root := a.disk.Root()
	if a.r.Intn(2) == 0 {
		a.check("close the tree on disk", a.disk.Close())
		a.openDisk(filepath.Join(a.t.TempDir(), "state"))
		a.check("import", a.disk.Import(bytes.NewReader(image), version, root))
	} else {
		a.check("close the tree in memory", a.memory.Close())
		a.files = statetest.NewDisk()
		a.memory = openMemory(a.t, a.files, a.options)
		a.check("import", a.memory.Import(bytes.NewReader(image), version, root))
	}
	a.moved++
}

// SPEC S5, over random blocks: the tree on disk and the tree in memory have the same root
// after each, prove presence and absence by the same bytes, and export the same images,
// while both are pruned, restarted, killed and made anew from one another's images.
// CHANCERY_LONG=1 makes it 10 000 blocks.
func TestTheBackendsAgreeOverManyBlocks(t *testing.T) {
	blocks, seed := 300, int64(1)
	if os.Getenv("CHANCERY_LONG") != "" {
		blocks, seed = 10_000, time.Now().UnixNano()
	}
	t.Logf("seed %d", seed)
	a := newAgreeing(t, seed)
	for range blocks {
		a.step()
		a.disturb()
	}
	var keys int
	x, y := a.disk.Latest(), a.memory.Latest()
	for key, value := range x.Walk(nil, nil, false) {
		keys++
		if !a.live[string(key)] || !bytes.Equal(value, y.Lookup(key)) {
			t.Fatalf("%q is there, or has another value", key)
		}
	}
	if keys != len(a.live) {
		t.Errorf("%d keys, want %d", keys, len(a.live))
	}
	for what, n := range map[string]int{
		"removals": a.removals, "empty blocks": a.empty, "proofs of presence": a.present, "proofs of absence": a.absent,
		"older versions": a.older, "prunings": a.pruned, "images": a.images, "restarts": a.restarts, "kills": a.kills,
	} {
		if n == 0 {
			t.Errorf("no %s were tried", what)
		}
	}
	if os.Getenv("CHANCERY_LONG") != "" && a.moved == 0 {
		t.Error("neither was made from the other's image")
	}
	t.Logf("%d blocks, %d of them empty, with %d changes and %d removals; %d keys in the end", a.blocks, a.empty, a.changes, a.removals, keys)
	t.Logf("%d proofs of presence and %d of absence compared; %d older versions read", a.present, a.absent, a.older)
	t.Logf("%d prunings, %d images, %d restarts, %d kills, %d made from the other's image", a.pruned, a.images, a.restarts, a.kills, a.moved)
	a.check("close", a.disk.Close(), a.memory.Close())
}
