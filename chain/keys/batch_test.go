package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// crowd returns n good Ed25519 items by a few signers.
func crowd(tb testing.TB, n int) []Item {
	tb.Helper()
	var signers []Signer
	for fill := range byte(16) {
		signers = append(signers, newSigner(tb, Ed25519, fill))
	}
	items := make([]Item, n)
	for i := range items {
		items[i] = signed(tb, signers[i%len(signers)], binary.BigEndian.AppendUint64(nil, uint64(i)))
	}
	return items
}

func spoil(item Item) Item {
	item.Signature = bytes.Clone(item.Signature)
	item.Signature[40] ^= 1
	return item
}

func TestBatchEqualsSingleForArbitraryMixes(t *testing.T) {
	pool := crowd(t, 300)
	for fill := range byte(4) {
		pool = append(pool,
			signed(t, newSigner(t, P256, fill), []byte{fill}),
			signed(t, newSigner(t, MLDSA65, fill), []byte{fill}),
			mixedOrder(t, []byte{fill}, 3, 5, int(fill), int(fill)+3))
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 150).Draw(t, "n")
		badness := rapid.SampledFrom([]int{0, 1, 10, 50, 100}).Draw(t, "badness in percent")
		items := make([]Item, n)
		for i := range items {
			item := pool[rapid.IntRange(0, len(pool)-1).Draw(t, "item")]
			if rapid.IntRange(0, 99).Draw(t, "luck") < badness {
				item = damage(t, item)
			}
			items[i] = item
		}
		got := VerifyBatch(coin(rapid.Uint64().Draw(t, "coin")), items)
		if len(got) != len(items) {
			t.Fatalf("%d verdicts for %d items", len(got), len(items))
		}
		for i := range items {
			if want := items[i].verify(); got[i] != want {
				t.Fatalf("item %d: batch %v, single %v", i, got[i], want)
			}
		}
	})
}

func damage(t *rapid.T, item Item) Item {
	switch rapid.IntRange(0, 6).Draw(t, "damage") {
	case 0:
		return spoil(item)
	case 1:
		item.Message = append(bytes.Clone(item.Message), 0)
	case 2:
		item.Signature = item.Signature[:len(item.Signature)-1]
	case 3:
		item.Signature = nil
	case 4:
		item.Key = Public{Type: item.Key.Type, Bytes: item.Key.Bytes[1:]}
	case 5:
		item.Key = Public{Type: Ed25519, Bytes: make([]byte, 32)}
	case 6:
		item.Key.Type = 9
	}
	return item
}

func TestBisectionFindsEachBadOneInLargeBatches(t *testing.T) {
	good := crowd(t, 2*maxBatch+37)
	for name, bad := range map[string]func(i int) bool{
		"none":   func(int) bool { return false },
		"first":  func(i int) bool { return i == 0 },
		"last":   func(i int) bool { return i == len(good)-1 },
		"two":    func(i int) bool { return i == 5 || i == 2*maxBatch },
		"half":   func(i int) bool { return i%2 == 0 },
		"a run":  func(i int) bool { return i >= 100 && i < 200 },
		"all":    func(int) bool { return true },
		"sparse": func(i int) bool { return i%97 == 13 },
	} {
		t.Run(name, func(t *testing.T) {
			items := append([]Item(nil), good...)
			for i := range items {
				if bad(i) {
					items[i] = spoil(items[i])
				}
			}
			for i, ok := range VerifyBatch(coin(2), items) {
				if ok == bad(i) {
					t.Fatalf("item %d: %v", i, ok)
				}
			}
		})
	}
}

func TestBatchesAreCutAtTheirLargestSize(t *testing.T) {
	items := crowd(t, 64)
	many := make([]Item, 0, maxBatch+64)
	for len(many) < maxBatch+64 {
		many = append(many, items...)
	}
	many[maxBatch+1] = spoil(many[maxBatch+1])
	counted := &counter{Reader: coin(3)}
	for i, ok := range VerifyBatch(counted, many) {
		if ok == (i == maxBatch+1) {
			t.Fatalf("item %d: %v", i, ok)
		}
	}
	if counted.n%32 != 0 || counted.n < 64 {
		t.Errorf("read %d bytes of randomness, not 32 a batch", counted.n)
	}
}

type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestBatchesWithoutRandomnessAreCheckedSingly(t *testing.T) {
	items := crowd(t, 20)
	items[7] = spoil(items[7])
	for name, rand := range map[string]io.Reader{
		"nil":   nil,
		"fails": iotest.ErrReader(errors.New("no entropy")),
		"short": bytes.NewReader(make([]byte, 31)),
	} {
		for i, ok := range VerifyBatch(rand, items) {
			if ok == (i == 7) {
				t.Errorf("%s: item %d: %v", name, i, ok)
			}
		}
	}
}

func TestMemoryGivesTheVerdictsOfVerifyBatch(t *testing.T) {
	pool := crowd(t, 40)
	for i := range 20 {
		pool = append(pool, spoil(pool[i]))
	}
	pool = append(pool, signed(t, newSigner(t, P256, 1), []byte("p")), spoil(signed(t, newSigner(t, P256, 1), []byte("p"))))
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(-1, 40).Draw(t, "capacity")
		m := NewMemory(capacity, [32]byte{1})
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			var items []Item
			for range rapid.IntRange(0, 30).Draw(t, "n") {
				items = append(items, pool[rapid.IntRange(0, len(pool)-1).Draw(t, "item")])
			}
			got := m.Verify(coin(1), items)
			for i := range items {
				if got[i] != items[i].verify() {
					t.Fatalf("item %d: %v", i, got[i])
				}
				if m.Knows(items[i]) && !got[i] {
					t.Fatalf("item %d is bad and remembered", i)
				}
			}
			if m.Len() > max(capacity, 0) {
				t.Fatalf("holds %d of %d", m.Len(), capacity)
			}
		}
	})
}

func TestMemoryForgetsTheOldestFirst(t *testing.T) {
	items := crowd(t, 30)
	m := NewMemory(20, [32]byte{})
	for _, item := range items {
		m.Remember(item)
	}
	if m.Len() != 20 {
		t.Fatalf("holds %d", m.Len())
	}
	for i, item := range items {
		if m.Knows(item) != (i >= 10) {
			t.Errorf("item %d: %v", i, m.Knows(item))
		}
	}
}

func TestMemoryDoesNotCheckAgainWhatItKnows(t *testing.T) {
	m := NewMemory(100, [32]byte{})
	items := crowd(t, 50)
	for range 2 {
		for i, ok := range m.Verify(coin(1), items) {
			if !ok {
				t.Fatalf("item %d is refused", i)
			}
		}
	}
	counted := &counter{Reader: coin(1)}
	m.Verify(counted, items)
	if counted.n != 0 {
		t.Error("known items went through a batch again")
	}
}

// A fingerprint without lengths would not tell these apart.
func TestMemoryTellsFieldsApart(t *testing.T) {
	base := Item{Key: Public{Ed25519, []byte("k")}, Message: []byte("ab"), Signature: []byte("c")}
	m := NewMemory(10, [32]byte{})
	m.Remember(base)
	for name, other := range map[string]Item{
		"moved byte":   {Key: base.Key, Message: []byte("a"), Signature: []byte("bc")},
		"other type":   {Key: Public{P256, []byte("k")}, Message: base.Message, Signature: base.Signature},
		"other key":    {Key: Public{Ed25519, []byte("l")}, Message: base.Message, Signature: base.Signature},
		"longer key":   {Key: Public{Ed25519, []byte("ka")}, Message: []byte("b"), Signature: base.Signature},
		"no signature": {Key: base.Key, Message: base.Message},
	} {
		if m.Knows(other) {
			t.Errorf("%s is known", name)
		}
	}
	if !m.Knows(base) {
		t.Error("the remembered one is unknown")
	}
}

func TestMemoryIsSafeForConcurrentUse(t *testing.T) {
	items := crowd(t, 64)
	items[9] = spoil(items[9])
	m := NewMemory(32, [32]byte{})
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			random := coin(uint64(worker))
			for range 3 {
				for i, ok := range m.Verify(random, items) {
					if ok == (i == 9) {
						t.Errorf("item %d: %v", i, ok)
					}
				}
				m.Remember(items[worker])
				m.Knows(items[worker])
				m.Len()
			}
		})
	}
	wait.Wait()
}
