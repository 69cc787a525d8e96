package recent

import (
	"testing"

	"pgregory.net/rapid"
)

// TestBlocksKeepsTheLatestWithinTheBound compares with a list of all that was put.
func TestBlocksKeepsTheLatestWithinTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Blocks[int]{MaxBytes: rapid.IntRange(0, 50).Draw(t, "max")}
		type put struct{ size, value int }
		model, head := map[int64]put{}, int64(0)
		for n := range rapid.IntRange(1, 60).Draw(t, "n") {
			height := rapid.Int64Range(max(1, head-2), head+2).Draw(t, "height")
			p := put{rapid.IntRange(0, 30).Draw(t, "size"), n}
			b.Put(height, p.size, p.value)
			for h := range model {
				if h >= height {
					delete(model, h)
				}
			}
			model[height], head = p, height
			bytes := 0
			for h := head; h > 0; h-- {
				have, ok := b.Get(h)
				want, was := model[h]
				bytes += want.size
				within := was && (h == head || bytes <= b.MaxBytes)
				if ok != within || ok && have != want.value {
					t.Fatalf("block %d of %d: have %d (%t), want %d (%t)", h, head, have, ok, want.value, within)
				}
				if was && !within {
					for ; h > 0; h-- { // and nothing that is older
						delete(model, h)
					}
				}
			}
		}
	})
}
