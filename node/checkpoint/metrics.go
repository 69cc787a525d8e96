package checkpoint

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Publisher measures.
type metrics struct{ requests *prometheus.CounterVec }

// newMetrics registers them, where there is somebody who gathers.
func newMetrics(p *Publisher, r prometheus.Registerer) (*metrics, error) {
	opts := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "chancery", Subsystem: "checkpoint", Name: n, Help: help}
	}
	m := &metrics{prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total", "Checkpoints that witnesses were asked to co-sign, by witness and outcome: cosigned, ahead, refused or failed.")), []string{"witness", "outcome"})}
	if r == nil {
		return m, nil
	}
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 {
			p.mu.Lock()
			defer p.mu.Unlock()
			return of()
		})
	}
	list := []prometheus.Collector{
		m.requests,
		gauge("signed_blocks", "Blocks that the latest checkpoint of this node covers.", func() float64 { return float64(p.signed.Size) }),
		gauge("failing", "1 while the node makes no checkpoints because something is wrong.", func() float64 {
			if p.failure != nil {
				return 1
			}
			return 0
		}),
	}
	if p.o.Quorum > 0 {
		list = append(list,
			gauge("witnessed_blocks", "Blocks that the latest checkpoint covers that the quorum of witnesses co-signed.", func() float64 { return float64(p.witnessed.Size) }),
			gauge("unwitnessed_intervals", "Checkpoints that were due since the latest that the quorum of witnesses co-signed.", func() float64 {
				return float64((p.signed.Size - p.witnessed.Size) / p.o.Interval)
			}))
	}
	for _, c := range list {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of checkpoints: %w", err)
		}
	}
	return m, nil
}
