package state_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	dbm "github.com/cosmos/cosmos-db"
	ics23 "github.com/cosmos/ics23/go"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
)

func openMemory(t testing.TB, disk *statetest.Disk, o state.MemoryOptions) *state.Memory {
	t.Helper()
	m, err := state.OpenMemory(disk, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// small makes segments, images and the bounds of history matter in short tests.
var small = state.MemoryOptions{SegmentBytes: 400, ImageVersions: 7, ImageBytes: 1 << 40, KeepVersions: 1 << 30, KeepBytes: 1 << 40}

// proofs checks that two snapshots prove the same of a key, and that it holds.
func proofs(t interface {
	Helper()
	Fatalf(string, ...any)
}, want, got state.Snapshot, key []byte) {
	t.Helper()
	a, errA := want.Prove(key)
	b, errB := got.Prove(key)
	if errA != nil || errB != nil {
		if (errA == nil) != (errB == nil) || errors.Is(errA, state.ErrNoVersion) != errors.Is(errB, state.ErrNoVersion) {
			t.Fatalf("version %d, key %q: errors %v and %v", want.Version(), key, errA, errB)
		}
		return
	}
	rawA, errA := a.Marshal()
	rawB, errB := b.Marshal()
	if errA != nil || errB != nil || !bytes.Equal(rawA, rawB) {
		t.Fatalf("version %d, key %q: the proofs differ:\n%v\n%v", want.Version(), key, a, b)
	}
	value := got.Lookup(key)
	if value == nil && !ics23.VerifyNonMembership(state.ProofSpec, got.Root(), b, key) {
		t.Fatalf("version %d: the absence of %q does not verify", got.Version(), key)
	}
	if len(value) > 0 && !ics23.VerifyMembership(state.ProofSpec, got.Root(), b, key, value) {
		t.Fatalf("version %d: %q does not verify", got.Version(), key)
	}
}

func equal(t *rapid.T, want, got state.Snapshot, keys [][]byte) {
	t.Helper()
	if want.Version() != got.Version() || !bytes.Equal(want.Root(), got.Root()) {
		t.Fatalf("version %d with root %x, want %d with %x", got.Version(), got.Root(), want.Version(), want.Root())
	}
	for _, key := range keys {
		if a, b := want.Lookup(key), got.Lookup(key); !bytes.Equal(a, b) || (a == nil) != (b == nil) {
			t.Fatalf("version %d: %q is %q, want %q", want.Version(), key, b, a)
		}
		proofs(t, want, got, key)
	}
	bounds := [][]byte{nil, {}, {0}}
	for range 3 {
		bounds = append(bounds, rapid.SampledFrom(keys).Draw(t, "bound"))
	}
	pairs := func(s state.Snapshot, start, end []byte, reverse bool) (out []string) {
		for k, v := range s.Walk(start, end, reverse) {
			out = append(out, string(k), string(v))
		}
		return out
	}
	for _, start := range bounds {
		for _, end := range bounds {
			for _, reverse := range []bool{false, true} {
				if a, b := pairs(want, start, end, reverse), pairs(got, start, end, reverse); !slices.Equal(a, b) {
					t.Fatalf("version %d: walk %q to %q (reverse %v) yields\n%q\nwant\n%q", want.Version(), start, end, reverse, b, a)
				}
			}
		}
	}
}

// sized compares what a tree says of its size with what it holds.
func sized(t *rapid.T, m *state.Memory) {
	t.Helper()
	var keys, bytes int64
	for k, v := range m.Latest().Walk(nil, nil, false) {
		keys++
		bytes += int64(len(k) + len(v))
	}
	bytes += max(0, 2*keys-1)*state.NodeSize + keys*state.IndexSize
	if gotKeys, gotBytes, past := m.Size(); gotKeys != keys || gotBytes != bytes || past < 0 {
		t.Fatalf("it says %d keys in %d bytes and %d for the past, it has %d in %d", gotKeys, gotBytes, past, keys, bytes)
	}
}

// The two backends have the same roots, values and proofs after every block of
// sets, overwrites, removals and nothing, also when opened again, at every version
// that the tree in memory says it has.
func TestTheBackendsAgree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		db, disk := dbm.NewMemDB(), statetest.NewDisk()
		o := small
		o.KeepVersions = rapid.SampledFrom([]int{1, 3, 1 << 30}).Draw(r, "keep")
		if rapid.Bool().Draw(r, "poor hash") {
			o = state.PoorHash(o)
		}
		a := open(t, db)
		b := openMemory(t, disk, o)
		space := rapid.SampledFrom([]int{3, 40, 1000}).Draw(r, "keys")
		var keys [][]byte
		for i := range min(space, 40) {
			keys = append(keys, fmt.Appendf(nil, "%x", i*7919%space))
		}
		keys = append(keys, []byte("zz"), []byte("\x01"))
		for range rapid.IntRange(1, 60).Draw(r, "blocks") {
			writes := map[string][]byte{}
			for range rapid.SampledFrom([]int{0, 1, 5, 50}).Draw(r, "writes") {
				key := fmt.Sprintf("%x", rapid.IntRange(0, space-1).Draw(r, "key"))
				writes[key] = nil
				if rapid.IntRange(0, 2).Draw(r, "what") > 0 {
					writes[key] = []byte{byte(rapid.IntRange(1, 3).Draw(r, "value"))}
				}
			}
			var changes []state.Change
			for _, k := range slices.Sorted(maps.Keys(writes)) {
				changes = append(changes, state.Change{Key: []byte(k), Value: writes[k]})
			}
			for range rapid.IntRange(1, 2).Draw(r, "applies") {
				rootA, errA := a.Apply(changes)
				rootB, errB := b.Apply(changes)
				if errA != nil || errB != nil || !bytes.Equal(rootA, rootB) {
					r.Fatalf("version %d: roots %x, %v and %x, %v", a.Version()+1, rootA, errA, rootB, errB)
				}
				// What is applied next must not show what was applied before.
				if rapid.IntRange(0, 9).Draw(r, "other") == 0 {
					other := []state.Change{{Key: []byte("other"), Value: []byte("x")}}
					rootA, _ = a.Apply(other)
					rootB, _ = b.Apply(other)
					if !bytes.Equal(rootA, rootB) {
						r.Fatal("roots differ after another block")
					}
					_, _ = a.Apply(changes)
					_, _ = b.Apply(changes)
				}
			}
			if err := errors.Join(a.Save(), b.Save()); err != nil {
				r.Fatal(err)
			}
			if b.ImageDue() && rapid.Bool().Draw(r, "image") {
				if err := b.WriteImage(); err != nil {
					r.Fatal(err)
				}
			}
			if rapid.IntRange(0, 4).Draw(r, "restart") == 0 {
				b = openMemory(t, disk, o)
			}
			equal(r, a.Latest(), b.Latest(), keys)
			sized(r, b)
		}
		for v := int64(1); v <= a.Version(); v++ {
			got, err := b.At(v)
			if v < b.Oldest() {
				if !errors.Is(err, state.ErrNoVersion) {
					r.Fatalf("version %d before the oldest, %d: %v", v, b.Oldest(), err)
				}
				continue
			}
			if err != nil {
				r.Fatal(err)
			}
			want, err := a.At(v)
			if err != nil {
				r.Fatal(err)
			}
			equal(r, want, got, keys[:min(len(keys), 10)])
		}
	})
}

// The two agree on a tree of many keys over many blocks, too.
func TestTheBackendsAgreeOnALargeTree(t *testing.T) {
	a, b := open(t, dbm.NewMemDB()), openMemory(t, statetest.NewDisk(), state.MemoryOptions{})
	var seed uint64
	draw := func(n uint64) uint64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return (seed >> 33) % n
	}
	for version := range 3000 {
		writes := map[string][]byte{}
		for range draw(30) {
			key := fmt.Sprintf("key-%05d", draw(20000)>>draw(12))
			if draw(3) == 0 {
				writes[key] = nil
			} else {
				writes[key] = fmt.Appendf(nil, "%d", draw(100))
			}
		}
		var changes []state.Change
		for _, k := range slices.Sorted(maps.Keys(writes)) {
			changes = append(changes, state.Change{Key: []byte(k), Value: writes[k]})
		}
		rootA, errA := a.Apply(changes)
		rootB, errB := b.Apply(changes)
		if err := errors.Join(errA, errB, a.Save(), b.Save()); err != nil || !bytes.Equal(rootA, rootB) {
			t.Fatalf("version %d: roots %x and %x, %v", version+1, rootA, rootB, err)
		}
		proofs(t, a.Latest(), b.Latest(), fmt.Appendf(nil, "key-%05d", draw(20000)>>draw(12)))
	}
}

// fill saves so many versions in a tree and returns the roots of all its versions.
func fill(t testing.TB, m *state.Memory, versions int, roots map[int64][]byte) {
	t.Helper()
	for range versions {
		v := m.Version() + 1
		root, err := m.Apply(block(v))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Save(); err != nil {
			t.Fatal(err)
		}
		roots[v] = root
	}
}

// block is what version v changes.
func block(v int64) []state.Change {
	var out []state.Change
	for i := range int64(6) {
		c := state.Change{Key: fmt.Appendf(nil, "key-%d-%02d", i, (v*7+i)%13)}
		if (v+i)%4 != 0 {
			c.Value = fmt.Appendf(nil, "value-%d-%d", v, i)
		}
		out = append(out, c)
	}
	return out
}

// A crash within the last record, at whatever byte, leaves the version before, and
// the tree goes on from there.
func TestATornRecordIsCutOff(t *testing.T) {
	disk := statetest.NewDisk()
	roots := map[int64][]byte{}
	fill(t, openMemory(t, disk, state.MemoryOptions{}), 3, roots)
	const name = "log-00000000000000000001"
	before := len(disk.Bytes(name))
	m := openMemory(t, disk, state.MemoryOptions{})
	fill(t, m, 1, roots)
	const last = "log-00000000000000000004"
	whole := disk.Bytes(last)
	if before == 0 || len(whole) < 100 {
		t.Fatalf("segments of %d and %d bytes", before, len(whole))
	}
	for n := range len(whole) + 1 {
		for _, rest := range []string{"none", "zeros", "ones"} {
			torn := bytes.Clone(whole[:n])
			if n < len(whole) {
				switch rest {
				case "zeros":
					torn = append(torn, make([]byte, len(whole)-n)...)
				case "ones":
					torn = append(torn, bytes.Repeat([]byte{0xFF}, len(whole)-n)...)
				}
			}
			disk := disk.Killed()
			disk.Put(last, torn)
			m, err := state.OpenMemory(disk, state.MemoryOptions{})
			if err != nil {
				t.Fatalf("%d bytes, then %s: %v", n, rest, err)
			}
			want := int64(3)
			if bytes.Equal(torn, whole) {
				want = 4
			}
			if m.Version() != want || !bytes.Equal(m.Root(), roots[want]) {
				t.Fatalf("%d bytes, then %s: version %d, want %d", n, rest, m.Version(), want)
			}
			if want == 3 && len(torn) > 0 && len(torn) != 8 && m.Recovered().Cut == 0 {
				t.Fatalf("%d bytes, then %s: nothing was cut", n, rest)
			}
			again := map[int64][]byte{}
			fill(t, m, 3, again)
			if m = openMemory(t, disk, state.MemoryOptions{}); m.Version() != want+3 || !bytes.Equal(again[4], roots[4]) && want == 3 {
				t.Fatalf("%d bytes, then %s: the tree does not go on: version %d", n, rest, m.Version())
			}
		}
	}
}

// A byte that changed before the last record is an error, never a shorter history.
func TestDamageBeforeTheTailIsAnError(t *testing.T) {
	disk := statetest.NewDisk()
	roots := map[int64][]byte{}
	o := state.MemoryOptions{SegmentBytes: 700}
	fill(t, openMemory(t, disk, o), 8, roots)
	names, _ := disk.List()
	if len(names) < 2 {
		t.Fatalf("one segment: %v", names)
	}
	for i, name := range names {
		whole := disk.Bytes(name)
		for at := range whole {
			disk := disk.Killed()
			bad := bytes.Clone(whole)
			bad[at] ^= 0x10
			disk.Put(name, bad)
			m, err := state.OpenMemory(disk, o)
			if err == nil && (i < len(names)-1 || m.Version() < 7) {
				t.Fatalf("%s, byte %d of %d: opens at version %d", name, at, len(whole), m.Version())
			}
		}
	}
	// A file that is missing is an error, too, but for the last.
	for _, name := range names[:len(names)-1] {
		disk := disk.Killed()
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := state.OpenMemory(disk, o); err == nil {
			t.Fatalf("opens without %s", name)
		}
	}
}

// An image of which any byte changed is not used: the one before it and the log
// lead to the same version. Without both the tree does not open.
func TestADamagedImageIsNotUsed(t *testing.T) {
	disk := statetest.NewDisk()
	roots := map[int64][]byte{}
	m := openMemory(t, disk, small)
	for range 3 {
		fill(t, m, 7, roots)
		if err := m.WriteImage(); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, m, 2, roots)
	names, _ := disk.List()
	var images []string
	for _, n := range names {
		if strings.HasPrefix(n, "image-") {
			images = append(images, n)
		}
	}
	if len(images) != 2 || slices.Contains(names, "log-00000000000000000001") {
		t.Fatalf("files %v", names)
	}
	if m = openMemory(t, disk.Killed(), small); m.Recovered().Image != 21 || m.Recovered().Replayed != 2 || m.Oldest() != 21 {
		t.Fatalf("%+v, oldest %d", m.Recovered(), m.Oldest())
	}
	whole := disk.Bytes(images[1])
	for at := range whole {
		for _, bad := range [][]byte{whole[:at], append(append(bytes.Clone(whole[:at]), whole[at]^1), whole[at+1:]...)} {
			disk := disk.Killed()
			disk.Put(images[1], bad)
			m, err := state.OpenMemory(disk, small)
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			if r := m.Recovered(); len(r.Damaged) != 1 || r.Image != 14 || m.Version() != 23 || !bytes.Equal(m.Root(), roots[23]) {
				t.Fatalf("byte %d: %+v, version %d", at, r, m.Version())
			}
			if at%50 != 0 {
				continue
			}
			disk.Put(images[0], []byte("nothing"))
			if _, err := state.OpenMemory(disk, small); err == nil {
				t.Fatal("the tree opens without an image")
			}
		}
	}
}

// A folder that a program before compression wrote opens as it was left, goes on, and is
// inspected without a complaint.
func TestAFolderFromBeforeCompressionOpens(t *testing.T) {
	roots := map[int64][]byte{}
	source := openMemory(t, statetest.NewDisk(), state.MemoryOptions{})
	disk := statetest.NewDisk()
	for v := int64(1); v <= 6; v++ {
		fill(t, source, 1, roots)
		if v >= 4 {
			disk.Put(fmt.Sprintf("log-%020d", v), state.PlainSegment(v, roots[v], block(v)))
		}
		if v == 3 {
			disk.Put(fmt.Sprintf("image-%020d", v), export(t, source.Latest()))
		}
	}
	m := openMemory(t, disk, state.MemoryOptions{})
	if r := m.Recovered(); r.Image != 3 || r.Replayed != 3 || len(r.Damaged) != 0 || !bytes.Equal(m.Root(), roots[6]) {
		t.Fatalf("%+v, version %d", r, m.Version())
	}
	fill(t, m, 2, roots)
	if err := m.WriteImage(); err != nil {
		t.Fatal(err)
	}
	fill(t, m, 2, roots)
	if m = openMemory(t, disk, state.MemoryOptions{}); m.Version() != 10 || m.Recovered().Image != 8 || !bytes.Equal(m.Root(), roots[10]) {
		t.Fatalf("%+v, version %d", m.Recovered(), m.Version())
	}
	seen := int64(2)
	damage, err := state.InspectMemory(disk, func(version int64, root []byte) error {
		if seen++; version != seen || !bytes.Equal(root, roots[version]) {
			t.Errorf("version %d with root %x after version %d", version, root, seen-1)
		}
		return nil
	})
	if err != nil || len(damage) != 0 || seen != 10 {
		t.Fatalf("%v, %v, up to version %d", err, damage, seen)
	}
}

// Images and logs of values that are alike are compressed.
func TestImagesAndLogsAreCompressed(t *testing.T) {
	disk := statetest.NewDisk()
	m := openMemory(t, disk, state.MemoryOptions{})
	plain := 0
	var changes []state.Change
	for i := range 1000 {
		c := state.Change{Key: fmt.Appendf(nil, "key-%06d", i), Value: fmt.Appendf(nil, "a value that is like others, of %d", i)}
		plain += len(c.Key) + len(c.Value)
		changes = append(changes, c)
	}
	if _, err := m.Apply(changes); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Save(), m.WriteImage()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"log-00000000000000000001", "image-00000000000000000001"} {
		if n := len(disk.Bytes(name)); n == 0 || 3*n > plain {
			t.Errorf("%s has %d bytes, of keys and values of %d", name, n, plain)
		}
	}
}

// A record whose changes lead to another root than it says is an error, though its
// bytes are whole.
func TestTheLogMustLeadToItsRoots(t *testing.T) {
	root, err := state.Root(block(1))
	if err != nil {
		t.Fatal(err)
	}
	open := func(changes []state.Change) error {
		disk := statetest.NewDisk()
		disk.Put("log-00000000000000000001", state.Segment(t, 1, root, changes))
		_, err := state.OpenMemory(disk, small)
		return err
	}
	if err := open(block(1)); err != nil {
		t.Fatal(err)
	}
	if err := open(block(2)); err == nil || !strings.Contains(err.Error(), "leads to root") {
		t.Fatal(err)
	}
}

// Where one image is kept, it is read back before the one before it goes: one that the disk
// has not taken as it was written leaves the folder as it was.
func TestASingleImageIsReadBack(t *testing.T) {
	o := small
	o.Images = 1
	disk := &bending{Disk: statetest.NewDisk()}
	roots := map[int64][]byte{}
	m, err := state.OpenMemory(disk, o)
	if err != nil {
		t.Fatal(err)
	}
	files := func() string {
		names, err := disk.List()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for range 2 {
		fill(t, m, 7, roots)
		if err := m.WriteImage(); err != nil {
			t.Fatal(err)
		}
	}
	const single = "image-00000000000000000014"
	before := files()
	if strings.Count(before, "image-") != 1 || !strings.Contains(before, single) || strings.Contains(before, "log-00000000000000000001") {
		t.Fatal(before)
	}
	fill(t, m, 1, roots)
	before = files()
	disk.bend = true
	if err := m.WriteImage(); !errors.Is(err, state.ErrImage) {
		t.Fatalf("an image that the disk has bent: %v", err)
	}
	if after := files(); after != before {
		t.Fatalf("%s, before it was %s", after, before)
	}
	disk.bend = false
	if m, err = state.OpenMemory(disk, o); err != nil || m.Version() != 15 || m.Recovered().Image != 14 {
		t.Fatalf("%+v, %v", m.Recovered(), err)
	}
	// Without it the error says what is wrong with it.
	disk.Put(single, []byte("nothing"))
	if _, err := state.OpenMemory(disk, o); !errors.Is(err, state.ErrImage) || !strings.Contains(err.Error(), "empty the data folder") {
		t.Fatal(err)
	}
}

// bending is a disk that changes a byte of each image that is read.
type bending struct {
	*statetest.Disk
	bend bool
}

func (b *bending) Open(name string) (io.ReadCloser, int64, error) {
	r, size, err := b.Disk.Open(name)
	if err != nil || !b.bend || !strings.HasPrefix(name, "image-") {
		return r, size, err
	}
	raw, err := io.ReadAll(r)
	if err == nil {
		raw[len(raw)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(raw)), size, errors.Join(err, r.Close())
}

// The first image has the log from the first version on beside it.
func TestTheLogStandsInForTheFirstImage(t *testing.T) {
	disk := statetest.NewDisk()
	roots := map[int64][]byte{}
	m := openMemory(t, disk, small)
	fill(t, m, 9, roots)
	if err := m.WriteImage(); err != nil {
		t.Fatal(err)
	}
	fill(t, m, 2, roots)
	disk.Put("image-00000000000000000009", []byte("nothing"))
	m = openMemory(t, disk, small)
	if r := m.Recovered(); r.Image != 0 || r.Replayed != 11 || len(r.Damaged) != 1 || !bytes.Equal(m.Root(), roots[11]) {
		t.Fatalf("%+v, version %d", r, m.Version())
	}
}

// A process that dies at any step, and a power failure that takes what was not
// synced, leave the last version that was reported as saved, or the next, whole.
func TestACrashLeavesAWholeVersion(t *testing.T) {
	for images := range 2 {
		t.Run(fmt.Sprintf("images=%d", images+1), func(t *testing.T) { crashAnywhere(t, images+1) })
	}
}

func crashAnywhere(t *testing.T, images int) {
	const versions = 25
	want := map[int64][]byte{}
	whole := statetest.NewDisk()
	fill(t, openMemory(t, whole, state.MemoryOptions{}), versions+3, want)
	o := small
	o.ImageVersions, o.Images = 3, images
	run := func(disk *statetest.Disk) (saved int64) {
		m, err := state.OpenMemory(disk, o)
		if err != nil {
			return 0
		}
		for m.Version() < versions {
			if _, err := m.Apply(block(m.Version() + 1)); err != nil {
				return m.Version()
			}
			if err := m.Save(); err != nil {
				return m.Version()
			}
			if m.ImageDue() && m.WriteImage() != nil {
				return m.Version()
			}
		}
		return m.Version()
	}
	counting := statetest.NewDisk()
	if run(counting) != versions {
		t.Fatal("the run without a crash fails")
	}
	if counting.Steps() < 100 {
		t.Fatalf("%d steps", counting.Steps())
	}
	tails := map[string]func(int) int{
		"none": func(int) int { return 0 }, "half": func(n int) int { return n / 2 }, "all": func(n int) int { return n },
	}
	for step := 1; step <= counting.Steps(); step++ {
		for _, partly := range []bool{false, true} {
			disk := statetest.NewDisk()
			disk.CrashAt(step, partly)
			saved := run(disk)
			left := map[string]*statetest.Disk{"killed": disk.Killed()}
			for name, tail := range tails {
				left["power, old names, "+name] = disk.PowerLost(false, tail)
				left["power, new names, "+name] = disk.PowerLost(true, tail)
			}
			for how, disk := range left {
				m, err := state.OpenMemory(disk, o)
				if err != nil {
					t.Fatalf("step %d (partly %v), %s: %v", step, partly, how, err)
				}
				if v := m.Version(); v != saved && v != saved+1 || v > 0 && !bytes.Equal(m.Root(), want[v]) {
					t.Fatalf("step %d (partly %v), %s: version %d with root %x, saved were %d", step, partly, how, v, m.Root(), saved)
				}
				again := map[int64][]byte{}
				fill(t, m, 2, again)
				reopened := openMemory(t, disk, o)
				if v := reopened.Version(); v != m.Version() || !bytes.Equal(reopened.Root(), want[v]) {
					t.Fatalf("step %d (partly %v), %s: does not go on", step, partly, how)
				}
			}
		}
	}
}

// A Save that fails makes the tree refuse more, so that nothing is written behind
// half a record.
func TestAFailedSaveIsFinal(t *testing.T) {
	disk := statetest.NewDisk()
	m := openMemory(t, disk, state.MemoryOptions{})
	fill(t, m, 2, map[int64][]byte{})
	disk.CrashAt(1, true)
	if _, err := m.Apply(block(3)); err != nil {
		t.Fatal(err)
	}
	if err := m.Save(); !errors.Is(err, statetest.ErrCrash) {
		t.Fatal(err)
	}
	disk.CrashAt(0, false)
	if _, err := m.Apply(block(3)); !errors.Is(err, statetest.ErrCrash) {
		t.Fatalf("apply after a failed save: %v", err)
	}
	if err := m.Save(); !errors.Is(err, statetest.ErrCrash) {
		t.Fatalf("save after a failed save: %v", err)
	}
	if m.Version() != 2 {
		t.Fatalf("version %d", m.Version())
	}
}

// History is bounded by versions and by memory, and Oldest tells what is there.
func TestHistoryIsBounded(t *testing.T) {
	for _, c := range []struct {
		o    state.MemoryOptions
		want int64
	}{
		{state.MemoryOptions{KeepVersions: 5}, 5},
		{state.MemoryOptions{KeepVersions: 1}, 1},
		{state.MemoryOptions{KeepBytes: 1}, 16},
		{state.MemoryOptions{}, 40},
	} {
		m := openMemory(t, statetest.NewDisk(), c.o)
		if m.Oldest() != 0 {
			t.Fatalf("oldest of nothing is %d", m.Oldest())
		}
		fill(t, m, 40, map[int64][]byte{})
		if got := m.Version() - m.Oldest() + 1; got != c.want {
			t.Fatalf("%+v: %d versions, want %d", c.o, got, c.want)
		}
		if _, err := m.At(m.Oldest()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.At(m.Oldest() - 1); !errors.Is(err, state.ErrNoVersion) {
			t.Fatal(err)
		}
	}
}

// Where nobody writes the images that are due, Save does, and the log stays bounded.
func TestSaveWritesAnImageThatIsLate(t *testing.T) {
	disk := statetest.NewDisk()
	m := openMemory(t, disk, small)
	fill(t, m, 27, map[int64][]byte{})
	if !m.ImageDue() {
		t.Fatal("no image is due after 27 versions")
	}
	if names, _ := disk.List(); slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "image-") }) {
		t.Fatalf("an image early: %v", names)
	}
	fill(t, m, 200, map[int64][]byte{})
	names, _ := disk.List()
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "image-") }) || len(names) > 60 {
		t.Fatalf("%d files: %v", len(names), names)
	}
}

// Readers of saved versions, and images, go beside the blocks. What a version holds
// never changes under its readers (run with -race).
func TestReadersBesideBlocks(t *testing.T) {
	o := small
	o.KeepVersions = 20
	m := openMemory(t, statetest.NewDisk(), o)
	fill(t, m, 1, map[int64][]byte{})
	done := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s, err := m.At(max(m.Oldest(), m.Version()-3))
				if errors.Is(err, state.ErrNoVersion) {
					continue // pruned between the two calls
				}
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				for k, v := range s.Walk(nil, nil, false) {
					if !bytes.Equal(s.Lookup(k), v) {
						t.Errorf("version %d: %q changes under its reader", s.Version(), k)
					}
					p, err := s.Prove(k)
					if err != nil || !ics23.VerifyMembership(state.ProofSpec, s.Root(), p, k, v) {
						t.Errorf("version %d: %q does not verify, %v", s.Version(), k, err)
					}
					n++
				}
				if n == 0 {
					t.Errorf("version %d is empty", s.Version())
				}
			}
		})
	}
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if m.ImageDue() {
				if err := m.WriteImage(); err != nil {
					t.Error(err)
				}
			}
			runtime.GC() // what nobody reads any more is used again
		}
	})
	fill(t, m, 300, map[int64][]byte{})
	close(done)
	group.Wait()
	version, root := m.Version(), m.Root()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if version != 301 || len(root) != 32 {
		t.Fatalf("version %d, root %x", version, root)
	}
}

// BenchmarkLookup looks up keys of a large tree at random, with the index and without it.
func BenchmarkLookup(b *testing.B) {
	m := openMemory(b, statetest.NewDisk(), state.MemoryOptions{ImageVersions: 1 << 40, ImageBytes: 1 << 40, NoSync: true})
	key := func(i int) []byte {
		sum := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
		return append([]byte("consent/record/"), sum[:]...)
	}
	const keys, block = 1 << 20, 1 << 14
	for first := 0; first < keys; first += block {
		var changes []state.Change
		for i := range block {
			changes = append(changes, state.Change{Key: key(first + i), Value: make([]byte, 200)})
		}
		slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
		if _, err := m.Apply(changes); err != nil {
			b.Fatal(err)
		}
		if err := m.Save(); err != nil {
			b.Fatal(err)
		}
	}
	s := m.Latest()
	wanted := make([][]byte, 1<<16)
	for i := range wanted {
		wanted[i] = key(i * 7919 % (2 * keys)) // every other one is not there
	}
	for name, lookup := range map[string]func([]byte) []byte{
		"index": s.Lookup,
		"tree":  func(k []byte) []byte { return state.FindInTree(s, k) },
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				lookup(wanted[i%len(wanted)])
			}
		})
	}
}

// FuzzLog: whatever a segment holds, reading it neither panics nor yields a version
// with another root than its record says.
func FuzzLog(f *testing.F) {
	disk := statetest.NewDisk()
	m, err := state.OpenMemory(disk, state.MemoryOptions{})
	if err != nil {
		f.Fatal(err)
	}
	fill(f, m, 3, map[int64][]byte{})
	f.Add(disk.Bytes("log-00000000000000000001"))
	f.Add([]byte("CHSTLOG1"))
	f.Add([]byte("CHSTLOG2"))
	root, err := state.Root(block(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state.PlainSegment(1, root, block(1)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := state.ReadSegment(raw); err != nil {
			return
		}
		disk := statetest.NewDisk()
		disk.Put("log-00000000000000000001", raw)
		if m, err := state.OpenMemory(disk, state.MemoryOptions{}); err == nil {
			v, root := m.Version(), m.Root()
			if m = openMemory(t, disk, state.MemoryOptions{}); m.Version() != v || !bytes.Equal(m.Root(), root) {
				t.Fatalf("opens at version %d, then at %d", v, m.Version())
			}
		}
	})
}

// FuzzRecord: a body that decodes encodes to one that decodes to the same.
func FuzzRecord(f *testing.F) {
	f.Add(binary.AppendUvarint([]byte{1, 0}, 1))
	f.Add(append([]byte{1, 2}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, raw []byte) { state.CheckRecord(t, raw) })
}

// FuzzImage: whatever an image holds, reading it does not panic, and what is read
// is written as it was.
func FuzzImage(f *testing.F) {
	disk := statetest.NewDisk()
	m, err := state.OpenMemory(disk, state.MemoryOptions{})
	if err != nil {
		f.Fatal(err)
	}
	fill(f, m, 3, map[int64][]byte{})
	if err := m.WriteImage(); err != nil {
		f.Fatal(err)
	}
	f.Add(disk.Bytes("image-00000000000000000003"))
	f.Fuzz(func(t *testing.T, raw []byte) { state.CheckImage(t, raw) })
}
