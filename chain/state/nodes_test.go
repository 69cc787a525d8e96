package state_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	ics23 "github.com/cosmos/ics23/go"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

// A version that somebody has stays as it was, with its proofs, while the nodes of those that
// nobody has are used for others; and in the end there is no node but those of the latest.
func TestNodesAreUsedAgain(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		o := small
		o.KeepVersions = rapid.SampledFrom([]int{1, 2, 5}).Draw(r, "keep")
		m := openMemory(t, statetest.NewDisk(), o)
		type held struct {
			state.Snapshot
			pairs map[string]string
		}
		var readers []held
		pairs := map[string]string{}
		for range rapid.IntRange(1, 40).Draw(r, "blocks") {
			var next map[string]string
			for range rapid.IntRange(1, 2).Draw(r, "tries") { // only the last is saved
				next = maps.Clone(pairs)
				var changes []state.Change
				for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 60), 0, 20, rapid.ID[int]).Draw(r, "keys") {
					key := fmt.Sprintf("%02d", i)
					if rapid.IntRange(0, 2).Draw(r, "remove") == 0 {
						delete(next, key)
						changes = append(changes, state.Change{Key: []byte(key)})
						continue
					}
					next[key] = fmt.Sprint(m.Version(), i)
					changes = append(changes, state.Change{Key: []byte(key), Value: []byte(next[key])})
				}
				slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
				if _, err := m.Apply(changes); err != nil {
					r.Fatal(err)
				}
			}
			if err := m.Save(); err != nil {
				r.Fatal(err)
			}
			pairs = next
			if rapid.Bool().Draw(r, "read") {
				readers = append(readers, held{m.Latest(), maps.Clone(pairs)})
			}
			if len(readers) > 0 && rapid.Bool().Draw(r, "forget") {
				i := rapid.IntRange(0, len(readers)-1).Draw(r, "which")
				readers = slices.Delete(readers, i, i+1)
			}
			if rapid.IntRange(0, 3).Draw(r, "collect") == 0 {
				runtime.GC()
			}
			for _, s := range readers {
				holds(r, s.Snapshot, s.pairs)
			}
		}
		readers = nil
		if o.KeepVersions > 1 && m.Oldest() < m.Version() {
			if err := m.Prune(m.Version() - 1); err != nil {
				r.Fatal(err)
			}
		}
		want, got := max(0, 2*len(pairs)-1), 0
		for range 100 {
			runtime.GC()
			if got = state.Nodes(m); got == want {
				return
			}
			time.Sleep(time.Millisecond) // what the collector found is told a moment later
		}
		r.Fatalf("%d nodes for %d keys, want %d", got, len(pairs), want)
	})
}

// holds compares a version with what it should hold.
func holds(r *rapid.T, s state.Snapshot, want map[string]string) {
	r.Helper()
	got := map[string]string{}
	for k, v := range s.Walk(nil, nil, false) {
		got[string(k)] = string(v)
		p, err := s.Prove(k)
		if err != nil || !ics23.VerifyMembership(state.ProofSpec, s.Root(), p, k, v) {
			r.Fatalf("version %d: %q does not verify, %v", s.Version(), k, err)
		}
	}
	if !maps.Equal(got, want) {
		r.Fatalf("version %d holds %v, want %v", s.Version(), got, want)
	}
}

// Changes that are out of order, of a key twice, or of a key that is too long are refused, and
// nothing of them is applied.
func TestChangesThatMemoryRefuses(t *testing.T) {
	m := openMemory(t, statetest.NewDisk(), small)
	value := []byte("v")
	for _, changes := range [][]state.Change{
		{{Key: []byte("b"), Value: value}, {Key: []byte("a"), Value: value}},
		{{Key: []byte("a"), Value: value}, {Key: []byte("a")}},
		{{Key: make([]byte, 1<<16), Value: value}},
	} {
		if _, err := m.Apply(changes); err == nil {
			t.Fatalf("%.50q was applied", changes)
		}
		if err := m.Save(); err == nil {
			t.Fatal("what was refused can be saved")
		}
	}
	if _, err := m.Apply([]state.Change{{Key: make([]byte, 1<<16-1), Value: value}}); err != nil {
		t.Fatal(err)
	}
}

// Keys that are alike for long, that begin with each other, or that differ where a node does
// not look, are found, walked and proved as in the tree on disk; also when the tree was read
// from an image.
func TestKeysThatAreHardToTellApart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := open(t, dbm.NewMemDB())
		disk := statetest.NewDisk()
		b := openMemory(t, disk, small)
		begin := rapid.SampledFrom([]int{0, 3, 253, 300}).Draw(r, "alike")
		key := rapid.Custom(func(r *rapid.T) string {
			end := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 1, 12).Draw(r, "end")
			if rapid.IntRange(0, 9).Draw(r, "other") == 0 {
				return string(end)
			}
			return strings.Repeat("a", begin) + string(end)
		})
		seen := map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(r, "blocks") {
			writes := map[string][]byte{}
			for _, k := range rapid.SliceOfN(key, 0, 60).Draw(r, "keys") {
				writes[k], seen[k] = []byte(k), true
				if rapid.IntRange(0, 3).Draw(r, "remove") == 0 {
					writes[k] = nil
				}
			}
			var changes []state.Change
			for _, k := range slices.Sorted(maps.Keys(writes)) {
				changes = append(changes, state.Change{Key: []byte(k), Value: writes[k]})
			}
			for _, tree := range []state.Tree{a, b} {
				if _, err := tree.Apply(changes); err != nil {
					r.Fatal(err)
				}
				if err := tree.Save(); err != nil {
					r.Fatal(err)
				}
			}
			if err := state.CheckNodes(b.Latest()); err != nil {
				r.Fatal(err)
			}
		}
		keys := [][]byte{[]byte("b"), {0xff}}
		for _, k := range slices.Sorted(maps.Keys(seen)) {
			keys = append(keys, []byte(k), append([]byte(k), 0), []byte(k)[:len(k)-1])
		}
		keys = slices.DeleteFunc(keys, func(k []byte) bool { return len(k) == 0 })
		equal(r, a.Latest(), b.Latest(), keys)
		for _, k := range keys {
			if want, got := a.Latest().Lookup(k), state.FindInTree(b.Latest(), k); !bytes.Equal(want, got) {
				r.Fatalf("%q is %q, want %q", k, got, want)
			}
		}
		if err := b.WriteImage(); err != nil {
			r.Fatal(err)
		}
		if err := b.Close(); err != nil {
			r.Fatal(err)
		}
		again := openMemory(t, disk, small)
		if err := state.CheckNodes(again.Latest()); err != nil {
			r.Fatal(err)
		}
		equal(r, a.Latest(), again.Latest(), keys)
	})
}

// BenchmarkLarge measures a tree of a million keys, or of CHANCERY_KEYS: a collection of garbage,
// and blocks of ten thousand changes of which half add a key.
func BenchmarkLarge(b *testing.B) {
	keys := 1 << 20
	if more := os.Getenv("CHANCERY_KEYS"); more != "" {
		var err error
		if keys, err = strconv.Atoi(more); err != nil {
			b.Fatal(err)
		}
	}
	m := openMemory(b, statetest.NewDisk(), state.MemoryOptions{ImageVersions: 1 << 40, ImageBytes: 1 << 40, NoSync: true, KeepVersions: 20})
	put := func(i int) state.Change {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
		return state.Change{Key: append([]byte("co"), sum[:]...), Value: make([]byte, 300)}
	}
	apply := func(changes []state.Change) {
		if _, err := m.Apply(changes); err != nil {
			b.Fatal(err)
		}
	}
	save := func() {
		if err := m.Save(); err != nil {
			b.Fatal(err)
		}
	}
	sorted := func(changes []state.Change) []state.Change {
		slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
		return slices.CompactFunc(changes, func(a, b state.Change) bool { return bytes.Equal(a.Key, b.Key) })
	}
	const block = 10_000
	next := 0
	for next < keys {
		var changes []state.Change
		for range block {
			changes = append(changes, put(next))
			next++
		}
		apply(sorted(changes))
		save()
	}
	b.Run("collect", func(b *testing.B) {
		for range b.N {
			runtime.GC()
		}
	})
	b.Run("image", func(b *testing.B) {
		for range b.N {
			if err := m.Latest().Export(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("apply", func(b *testing.B) {
		random := rand.New(rand.NewPCG(1, 2))
		b.ReportAllocs()
		for range b.N {
			b.StopTimer()
			var changes []state.Change
			for range block / 2 {
				changes = append(changes, put(random.IntN(keys)), put(next))
				next++
			}
			changes = sorted(changes)
			b.StartTimer()
			apply(changes)
			b.StopTimer()
			save()
		}
	})
}
