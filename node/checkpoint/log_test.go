package checkpoint

import (
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// A log begins where it was flushed, whatever a crash left behind that.
func TestALogBeginsWhereItWasFlushed(t *testing.T) {
	dir := t.TempDir()
	l := grown(t, dir, 10)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	want := headOf(t, l, 10)
	for h := int64(11); h <= 17; h++ {
		if err := l.Append(headerHash(1000 + h)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = grown(t, dir, 10)
	if l.Size() != 10 || headOf(t, l, 10) != want {
		t.Fatalf("size %d", l.Size())
	}
	l = grown(t, dir, 25)
	if fresh := grown(t, t.TempDir(), 25); headOf(t, l, 25) != headOf(t, fresh, 25) {
		t.Error("what was not flushed has left something")
	}
}

// Each step of flushing fails, before it did anything and after it did.
func TestFlushFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, done := range []bool{false, true} {
		dir := t.TempDir()
		l := grown(t, dir, 5)
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		good := l.write
		l.write = func(path string, raw []byte) error {
			if done {
				return errors.Join(good(path, raw), broken)
			}
			return broken
		}
		for h := int64(6); h <= 9; h++ {
			if err := l.Append(headerHash(h)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Flush(); !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l, damaged, err := OpenLog(dir, Origin(chainID))
		if err != nil || damaged != nil {
			t.Fatal(err, damaged)
		}
		if want := map[bool]int64{false: 5, true: 9}[done]; l.Size() != want {
			t.Errorf("size %d, want %d", l.Size(), want)
		}
		if l = grown(t, dir, 12); headOf(t, l, 12) != headOf(t, grown(t, t.TempDir(), 12), 12) {
			t.Error("another root")
		}
	}
}

// Every flipped bit is found by CheckFolder, and no proof is handed out that does not verify.
func TestFlippedBitsOfALog(t *testing.T) {
	dir := t.TempDir()
	l := grown(t, dir, 21)
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	head := headOf(t, l, 21)
	known := func(height int64) []byte { return headerHash(height) }
	if n, err := CheckFolder(dir, Origin(chainID), known); n != 21 || err != nil {
		t.Fatal(n, err)
	}
	r := rand.New(rand.NewSource(1))
	for _, name := range []string{hashesFile, headFile} {
		path := filepath.Join(dir, name)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			bad := append([]byte{}, raw...)
			at := r.Intn(len(raw) * 8)
			bad[at/8] ^= 1 << (at % 8)
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := CheckFolder(dir, Origin(chainID), known); err == nil {
				t.Fatalf("%s, bit %d is not found", name, at)
			}
			// The log that is open reads what is on disk.
			for h := int64(1); h <= 21; h++ {
				path, err := l.Inclusion(h, head)
				if err == nil {
					err = tlog.CheckRecord(path, 21, head.Root, h-1, Block{h, headerHash(h)}.leafHash())
					if err != nil {
						t.Fatalf("%s, bit %d: a wrong proof is handed out: %v", name, at, err)
					}
				} else if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
			}
			if _, err := l.Consistency(13, head); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoBlock) {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A leaf that was wrong from the beginning on is found where the header is there.
	wrong := func(height int64) []byte { return headerHash(height + 1) }
	if _, err := CheckFolder(dir, Origin(chainID), wrong); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if _, err := CheckFolder(dir, Origin(chainID), func(int64) []byte { return nil }); err != nil {
		t.Error(err)
	}
}

func TestALogThatIsDamagedBeginsAnewAndOneOfAnotherChainNot(t *testing.T) {
	dir := t.TempDir()
	l := grown(t, dir, 8)
	if err := errors.Join(l.Flush(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenLog(dir, Origin("other-1")); !errors.Is(err, ErrOtherLog) {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(dir, hashesFile), 100); err != nil {
		t.Fatal(err)
	}
	l, damaged, err := OpenLog(dir, Origin(chainID))
	if err != nil || !errors.Is(damaged, ErrDamaged) || l.Size() != 0 {
		t.Fatal(l, damaged, err)
	}
}
