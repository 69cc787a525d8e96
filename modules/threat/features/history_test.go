package features

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// TestHalfLives: what a millisecond leaves, to the power of the half-life, is a half, within what rounding down loses.
func TestHalfLives(t *testing.T) {
	for half, perMs := range map[uint64]uint64{Moment: momentPerMs, Week: weekPerMs, Minute: minutePerMs, Hour: hourPerMs, Day: dayPerMs} {
		got := fixed.Power(perMs, half)
		if got > fixed.One63/2 || got < fixed.One63/2-4*half {
			t.Errorf("%d ms leave %d of %d", half, got, uint64(fixed.One63))
		}
		// One more in the last place would be above a half: the constant is the largest that is not.
		x := new(big.Float).SetPrec(400).SetUint64(perMs + 1)
		x.Quo(x, new(big.Float).SetPrec(400).SetUint64(fixed.One63))
		y := big.NewFloat(1).SetPrec(400)
		for n := half; n > 0; n >>= 1 {
			if n&1 == 1 {
				y.Mul(y, x)
			}
			x.Mul(x, x)
		}
		if y.Cmp(big.NewFloat(0.5)) <= 0 {
			t.Errorf("the constant for %d ms is too small", half)
		}
	}
}

func TestCountsHalve(t *testing.T) {
	var h History
	for range 8 {
		h.Add(1000, Deed{Failed: true, Held: true, Fresh: true, Sensitive: true, Wander: 4 * fixed.LogScale})
	}
	if h.Count != 8 || h.First != 1000 || h.Last != 1000 || h.Minute != 8*One || h.Held != 8*One {
		t.Fatalf("%+v", h)
	}
	near := func(got, want uint64) bool { return got <= want && got+1 >= want }
	if m := h.At(1000 + Minute).Minute; !near(m, 4*One) {
		t.Errorf("after a minute %d", m)
	}
	later := h.At(1000 + 3*Hour)
	if !near(later.Hour, One) || !near(later.Failed, One) || !near(later.Fresh, One) || !near(later.Sensitive, One) || later.Minute != 0 {
		t.Errorf("after three hours %+v", later)
	}
	if d := h.At(1000 + 10*Day).Day; !near(d, One/128) {
		t.Errorf("after ten days %d", d)
	}
	if m := h.At(1000 + 2*Moment).Moment; !near(m, 2*One) {
		t.Errorf("after twenty seconds %d", m)
	}
	if !near(later.StrayHour, One) {
		t.Errorf("strays of an hour after three hours %d", later.StrayHour)
	}
	if w := h.At(1000 + 3*Week); !near(w.StrayWeek, One) || w.StrayDay != 0 || w.FreshDay != 0 {
		t.Errorf("after three weeks %+v", w)
	}
	if d := h.At(1000 + 3*Day); !near(d.StrayDay, One) || !near(d.FreshDay, One) || !near(d.Wander, 4*One) {
		t.Errorf("after three days %+v", d)
	}
	// Three bits are no stray, and count as bits.
	near3 := History{}
	near3.Add(1000, Deed{Wander: 3 * fixed.LogScale})
	if near3.StrayHour != 0 || near3.StrayDay != 0 || near3.StrayWeek != 0 || near3.Wander != 3*One {
		t.Errorf("three bits are %+v", near3)
	}
	if g := h.At(1 << 62); g.Day != 0 || g.Last != 1000 || g.Count != 8 {
		t.Errorf("in the end %+v", g)
	}
}

func TestReadingMovesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var read, unread History
		now := int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			now += rapid.Int64Range(-1000, 2*Day).Draw(t, "gap")
			d := Deed{Failed: rapid.Bool().Draw(t, "failed"), Fresh: rapid.Bool().Draw(t, "fresh"), Wander: rapid.Uint32Range(0, 5*fixed.LogScale).Draw(t, "wander"), Evidence: rapid.Uint64Range(0, 6).Draw(t, "evidence")}
			before := read
			at := read.At(now)
			if read != before || at.Minute > read.Minute || at.Hour > read.Hour || at.Day > read.Day || at.Last != read.Last {
				t.Fatalf("reading %+v gave %+v", before, at)
			}
			read.Add(now, d)
			unread.Add(now, d)
			if read != unread {
				t.Fatalf("%+v and %+v", read, unread)
			}
		}
		trace := &threatv1.Trace{Anchor: []byte{1}}
		read.Write(trace)
		if HistoryOf(trace) != read || len(trace.Anchor) != 1 {
			t.Fatalf("%+v comes back as %+v", read, HistoryOf(trace))
		}
	})
	if HistoryOf(nil) != (History{}) {
		t.Error("no trace is not the empty history")
	}
}

// TestHistoryIsPinned: validators fold the same transactions to the same bits.
func TestHistoryIsPinned(t *testing.T) {
	var h History
	seed, strays, now := fixed.Seed(1), fixed.Seed(2), int64(1_700_000_000_000)
	for range 1000 {
		now += int64(seed.Below(600_000))
		h.Add(now, Deed{Failed: seed.Below(10) == 0, Held: seed.Below(50) == 0, Fresh: seed.Below(4) == 0, Sensitive: seed.Below(3) == 0, Wander: uint32(strays.Below(4 * fixed.LogScale))})
	}
	if h != pinned {
		t.Errorf("%#v\nwant %#v", h, pinned)
	}
}

var pinned = History{
	First: 1_700_000_339_936, Last: 1_700_293_108_231, Count: 1000, Minute: 0x16480, Hour: 0x11c3cb, Day: 0x1832021,
	Failed: 0x156c6, Held: 0xe2d2, Fresh: 0x3f167, Sensitive: 0x5d048, Moment: 0x10041, FreshDay: 0x68fc7f,
	StrayHour: 0x41f7d, StrayDay: 0x623b6e, StrayWeek: 0xd4623b, Wander: 0x30e60cb,
}

// Of evidence the latest four are kept, each with its uses; a forger who takes turns with four is told, and what was long
// ago is forgotten.
func TestEvidenceIsKeptOfLate(t *testing.T) {
	var h History
	add := func(numbers ...uint64) {
		for _, n := range numbers {
			h.Add(1000, Deed{Evidence: n})
		}
	}
	want := func(number uint64, uses uint32) {
		t.Helper()
		if got := h.Evidence.Uses(number); got != uses {
			t.Errorf("evidence %d was used %d times, want %d: %+v", number, got, uses, h.Evidence)
		}
	}
	add(0, 0)
	want(0, 0)
	add(1, 2, 3, 4, 0, 1, 2, 3, 4, 1)
	for n, uses := range map[uint64]uint32{1: 3, 2: 2, 3: 2, 4: 2, 5: 0} {
		want(n, uses)
	}
	add(5)
	want(5, 1)
	want(2, 0) // the least recent went
	want(1, 3)
	add(2)
	want(2, 1)
	h.Evidence[1].Uses = 1<<32 - 1
	add(h.Evidence[1].Number)
	want(h.Evidence[0].Number, 1<<32-1)
	trace := new(threatv1.Trace)
	h.Write(trace)
	if got := HistoryOf(trace); got != h {
		t.Errorf("%+v comes back as %+v", h, got)
	}
	if got := HistoryOf(&threatv1.Trace{Evidence: []uint64{1, 2, 3, 4, 5, 6}, EvidenceUses: []uint32{1}}); got.Evidence.Uses(1) != 1 || got.Evidence.Uses(2) != 0 {
		t.Errorf("a trace of other lengths is %+v", got.Evidence)
	}
}
