package snapshots_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	"github.com/chancery/chancery/consensus/snapshots"
)

// grow is a tree of so many versions of about 300 kB each.
func grow(t *testing.T, versions int) *state.Memory {
	t.Helper()
	tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for v := range versions {
		next(t, tree, v)
	}
	return tree
}

func next(t *testing.T, tree *state.Memory, v int) {
	t.Helper()
	if _, err := tree.Apply([]state.Change{{Key: fmt.Appendf(nil, "key-%06d", v), Value: bytes.Repeat([]byte{byte(v + 1)}, 300_000)}}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Save(); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, disk *statetest.Disk, keep int) *snapshots.Store {
	t.Helper()
	s, err := snapshots.Open(disk, keep)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// whole checks that every snapshot that is told of can be read and is the state of its
// height.
func whole(t *testing.T, s *snapshots.Store, tree *state.Memory) []snapshots.Snapshot {
	t.Helper()
	for _, one := range s.List() {
		var image bytes.Buffer
		for i := range one.Chunks {
			raw, err := s.Chunk(one.Height, i)
			if err != nil {
				t.Fatal(err)
			}
			if len(raw) > snapshots.ChunkBytes {
				t.Fatalf("a chunk of %d bytes", len(raw))
			}
			image.Write(raw)
		}
		restored, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		of, err := tree.At(one.Height)
		if err != nil {
			t.Fatal(err)
		}
		if err := restored.Import(&image, one.Height, of.Root()); err != nil {
			t.Fatalf("the snapshot of height %d: %v", one.Height, err)
		}
	}
	return s.List()
}

// Snapshots are whole and bounded in number, and outlive a restart.
func TestSnapshotsAreKept(t *testing.T) {
	tree, disk := grow(t, 8), statetest.NewDisk()
	s := open(t, disk, 2)
	for v := 8; v < 11; v++ {
		taken, err := s.Take(tree.Latest())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Take(tree.Latest()); err != nil || again.Hash() != taken.Hash() {
			t.Fatalf("a second of one height: %v", err)
		}
		next(t, tree, v)
	}
	heights := func(list []snapshots.Snapshot) (out []int64) {
		for _, one := range list {
			out = append(out, one.Height)
		}
		return out
	}
	if got := fmt.Sprint(heights(whole(t, s, tree))); got != "[9 10]" {
		t.Fatalf("snapshots of heights %s, want the latest two", got)
	}
	if len(s.List()[1].Chunks) < 3 {
		t.Fatalf("%d chunks: the test is too small", len(s.List()[1].Chunks))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(heights(whole(t, open(t, disk, 2), tree))); got != "[9 10]" {
		t.Fatalf("after a restart: %s", got)
	}
	if _, err := s.Chunk(8, 0); !errors.Is(err, snapshots.ErrNoChunk) {
		t.Fatalf("a chunk of a removed snapshot: %v", err)
	}
	if _, err := s.Chunk(10, 99); !errors.Is(err, snapshots.ErrNoChunk) {
		t.Fatalf("a chunk beyond the last: %v", err)
	}
}

// A snapshot that a peer was told of, or given a chunk of, within a minute stays beside newer ones, on a
// chain as quick as may be: but no more than as many again as are kept.
func TestWhatAPeerWasToldOfStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 2
		tree, s := grow(t, 1), open(t, statetest.NewDisk(), keep)
		v := 0
		take := func(n int) (heights string) {
			for range n {
				v++
				next(t, tree, v)
				if _, err := s.Take(tree.Latest()); err != nil {
					t.Fatal(err)
				}
			}
			var all []int64
			for _, one := range s.List() {
				all = append(all, one.Height)
			}
			return fmt.Sprint(all)
		}
		if got := take(3); got != "[3 4]" {
			t.Fatalf("snapshots of heights %s", got)
		}
		s.Offer()
		if got := take(5); got != "[3 4 8 9]" {
			t.Errorf("after five more there are %s, a peer was told of 3 and 4", got)
		}
		time.Sleep(50 * time.Second)
		if _, err := s.Chunk(4, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		if got := take(1); got != "[4 9 10]" {
			t.Errorf("there are %s, a peer was given a chunk of 4 alone", got)
		}
		time.Sleep(time.Minute)
		if got := take(1); got != "[10 11]" {
			t.Errorf("there are %s when nobody asked for a minute", got)
		}
		for range 10 {
			s.Offer()
			take(1)
		}
		if n := len(s.List()); n != 2*keep {
			t.Errorf("a peer that asks all the time keeps %d", n)
		}
		if err := s.Trim(1); err != nil || len(s.List()) != 1 {
			t.Errorf("%d are left of which one is to be: %v", len(s.List()), err)
		}
	})
}

// A crash at any step of taking and removing leaves whole snapshots or none, and no file
// that belongs to neither; the next one is taken as if nothing had been.
func TestACrashNeverLeavesHalfASnapshot(t *testing.T) {
	tree := grow(t, 5)
	run := func(disk *statetest.Disk) error {
		s, err := snapshots.Open(disk, 1)
		if err != nil {
			return err
		}
		for _, v := range []int64{4, 5} {
			of, err := tree.At(v)
			if err != nil {
				return err
			}
			if _, err := s.Take(of); err != nil {
				return err
			}
		}
		return nil
	}
	count := statetest.NewDisk()
	if err := run(count); err != nil {
		t.Fatal(err)
	}
	steps := count.Steps()
	if steps < 12 {
		t.Fatalf("%d steps", steps)
	}
	for step := 1; step <= steps; step++ {
		for _, partly := range []bool{false, true} {
			disk := statetest.NewDisk()
			disk.CrashAt(step, partly)
			if err := run(disk); err == nil {
				t.Fatalf("step %d: no error", step)
			}
			for how, left := range map[string]*statetest.Disk{"killed": disk.Killed(), "power lost": disk.PowerLost(false, func(unsynced int) int { return unsynced / 2 })} {
				s := open(t, left, 1)
				known := whole(t, s, tree)
				names, err := left.List()
				if err != nil {
					t.Fatal(err)
				}
				files := 0
				for _, one := range known {
					files += 1 + len(one.Chunks)
				}
				if len(names) != files {
					t.Fatalf("step %d, %s: files %v for %d snapshots", step, how, names, len(known))
				}
				s = open(t, left, 1) // which nobody has asked for a chunk
				if _, err := s.Take(tree.Latest()); err != nil {
					t.Fatalf("step %d, %s: %v", step, how, err)
				}
				if list := whole(t, s, tree); len(list) != 1 || list[0].Height != 5 {
					t.Fatalf("step %d, %s: %v", step, how, list)
				}
			}
		}
	}
}

// A chunk that the disk has changed is not given away, and neither is its snapshot told
// of any more.
func TestADamagedChunkIsNotServed(t *testing.T) {
	tree, disk := grow(t, 5), statetest.NewDisk()
	s := open(t, disk, 2)
	if _, err := s.Take(tree.Latest()); err != nil {
		t.Fatal(err)
	}
	name := "chunk-00000000000000000005-00000000"
	f, err := disk.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("not what it was")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Chunk(5, 0); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("%v", err)
	}
	if list := s.List(); len(list) != 0 {
		t.Fatalf("still told of: %v", list)
	}
}

// Chunks are compressed on disk, and those that a program before left as they are are served
// and inspected all the same.
func TestChunksFromBeforeCompressionAreServed(t *testing.T) {
	tree, disk := grow(t, 5), statetest.NewDisk()
	s := open(t, disk, 2)
	taken, err := s.Take(tree.Latest())
	if err != nil {
		t.Fatal(err)
	}
	stored := int64(0)
	for i := range taken.Chunks {
		raw, err := s.Chunk(5, i)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("chunk-%020d-%08d", 5, i)
		stored += int64(len(disk.Bytes(name)))
		disk.Put(name, raw)
	}
	if stored == 0 || stored >= taken.Size {
		t.Errorf("%d bytes on disk, of an image of %d", stored, taken.Size)
	}
	if list := whole(t, s, tree); len(list) != 1 {
		t.Fatalf("served are %v", list)
	}
	err = snapshots.Inspect(disk, func(_ int64, _ []byte, damage error) error { return damage })
	if err != nil {
		t.Error(err)
	}
}

// slow is a state whose image takes long to make.
type slow struct {
	state.Snapshot
	parts int
	each  time.Duration
}

func (s slow) Export(out io.Writer) error {
	for range s.parts {
		time.Sleep(s.each)
		if _, err := out.Write([]byte("part")); err != nil {
			return err
		}
	}
	return nil
}

// Taking a snapshot leaves three quarters of a processor to blocks.
func TestTakeRests(t *testing.T) {
	tree := grow(t, 1)
	s := open(t, statetest.NewDisk(), 2)
	begun := time.Now()
	if _, err := s.Take(slow{tree.Latest(), 5, 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("50 ms of work took %v, less than four times as long", took)
	}
}

// A node that stops does not wait for the end of a rest, and takes no other snapshot.
func TestAbandonEndsARest(t *testing.T) {
	tree := grow(t, 1)
	s := open(t, statetest.NewDisk(), 2)
	done := make(chan error, 1)
	go func() {
		_, err := s.Take(slow{tree.Latest(), 2, 2 * time.Second}) // rests for six
		done <- err
	}()
	time.Sleep(2500 * time.Millisecond)
	begun := time.Now()
	s.Abandon()
	s.Abandon()
	if err := <-done; !errors.Is(err, snapshots.ErrAbandoned) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it went on for %v", took)
	}
	if _, err := s.Take(tree.Latest()); !errors.Is(err, snapshots.ErrAbandoned) {
		t.Errorf("afterwards: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzDescription(f *testing.F) {
	f.Add(snapshots.Description{Root: make([]byte, 32), Size: 5, Chunks: make([][sha256.Size]byte, 1)}.Marshal())
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := snapshots.Parse(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(d.Marshal(), raw) {
			t.Fatal("two forms of one description")
		}
		if n := int64(len(d.Chunks)); d.Size > n*snapshots.ChunkBytes || d.Size <= (n-1)*snapshots.ChunkBytes {
			t.Fatalf("%d bytes in %d chunks", d.Size, n)
		}
	})
}
