package chain

import (
	"iter"
	"testing"

	"github.com/chancery/chancery/chain/state"
)

type oneValue []byte

func (v oneValue) Lookup([]byte) []byte { return v }
func (v oneValue) Walk(_, _ []byte, _ bool) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) { yield([]byte("key"), v) }
}

// SPEC M1: reading a large value costs more than reading a small one, for it is
// copied and decoded.
func TestReadingCostsBySize(t *testing.T) {
	costs := DefaultParams().Costs
	for _, c := range []struct {
		bytes int
		reads uint64
	}{{0, 1}, {1, 1}, {1023, 1}, {1024, 2}, {16 << 10, 17}} {
		base := oneValue(make([]byte, c.bytes))
		if c.bytes == 0 {
			base = nil
		}
		written := state.NewOverlay(base)
		for name, r := range map[string]func(*meter) ReadCtx{
			"view":    func(m *meter) ReadCtx { return &view{reader: base, meter: m} },
			"context": func(m *meter) ReadCtx { return &Ctx{overlay: written, meter: m} },
		} {
			m := &meter{costs: costs, limit: 1 << 40}
			r(m).Lookup([]byte("key"))
			if m.used != c.reads*costs.Read {
				t.Errorf("%s: looking up %d bytes cost %d units, want %d reads", name, c.bytes, m.used, c.reads)
			}
			m.used = 0
			for range r(m).Walk(nil, nil, false) {
			}
			if m.used != (1+c.reads)*costs.Read {
				t.Errorf("%s: walking over %d bytes cost %d units, want %d reads", name, c.bytes, m.used, 1+c.reads)
			}
		}
	}
}
