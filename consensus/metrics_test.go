package consensus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// However many organisations have transactions waiting, the lanes take a bounded number
// of labels.
func TestLanesTakeFewLabels(t *testing.T) {
	p := NewPool(nil, DefaultPoolOptions(), NewMetrics(nil))
	for i := range 3 * maxLaneLabels {
		d := &tx.Decoded{ID: tx.ID{byte(i), byte(i >> 8)}, Raw: make([]byte, 10+i)}
		if err := p.place(d, fmt.Sprintf("did:chancery:o%d", i), false); err != nil {
			t.Fatal(err)
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(newPoolCollector(p))
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "chancery_pool_lane_bytes" {
			continue
		}
		total := 0.0
		for _, m := range f.Metric {
			total += m.GetGauge().GetValue()
		}
		_, bytes := p.Size()
		if len(f.Metric) != maxLaneLabels+1 || int(total) != bytes {
			t.Errorf("%d lanes of %v bytes, want %d of %d", len(f.Metric), total, maxLaneLabels+1, bytes)
		}
	}
}

// What leaves the pool is counted by why, and refusals by their code, a fault's too.
func TestPoolCounts(t *testing.T) {
	m := NewMetrics(nil)
	p := NewPool(nil, DefaultPoolOptions(), m)
	var ids []tx.ID
	for i := range 3 {
		d := &tx.Decoded{ID: tx.ID{byte(i)}, Raw: []byte{1}}
		ids = append(ids, d.ID)
		if err := p.place(d, "did:chancery:a", i == 0); err != nil {
			t.Fatal(err)
		}
	}
	p.Evict(ids[0])
	p.Committed(2, nil, ids[1], ids[1])
	for reason, want := range map[string]float64{"refused": 1, "committed": 1, "expired": 0} {
		if n := testutil.ToFloat64(m.left.WithLabelValues(reason)); n != want {
			t.Errorf("%s: %v, want %v", reason, n, want)
		}
	}
	if got := code(chain.ErrBusy.With("x")); got != fmt.Sprintf("chain/%d", chain.ErrBusy.Code) {
		t.Error(got)
	}
	if a, b := code(errors.New("one")), code(errors.New("another")); a != b {
		t.Errorf("faults have the labels %s and %s", a, b)
	}
}

// picky traces nothing.
type picky struct{}

func (picky) Sampled(tx.ID) bool                             { return false }
func (picky) Span(tx.ID, string, time.Time, time.Time, bool) {}

// BenchmarkStages is what measuring costs a transaction: its five stages, and its share of
// a committed block of 1000.
func BenchmarkStages(b *testing.B) {
	for name, m := range map[string]*Metrics{"metrics": NewMetrics(nil), "traces-unsampled": NewMetrics(picky{})} {
		b.Run(name, func(b *testing.B) {
			d := &tx.Decoded{}
			for b.Loop() {
				for _, s := range []chain.Stage{chain.StageVerify, chain.StageCheck, chain.StageHint, chain.StageJudge, chain.StageExecute} {
					m.Spent(s, m.Mark(), d)
				}
			}
		})
	}
	b.Run("block", func(b *testing.B) {
		m := NewMetrics(nil)
		r := &chainv1.BlockRecord{}
		for range 1000 {
			r.Txs = append(r.Txs, &chainv1.TxResult{Events: []*chainv1.Event{{Type: "chancery.access.v1.Decided"}}})
		}
		for b.Loop() {
			m.committed(r, 1)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/tx")
	})
}
