package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/modules/threat"
)

// OpenTree opens a tree for the benchmarks, which are outside the package.
var OpenTree = openTree

// sentinelCollector measures the sentinel of a chain without an engine.
type sentinelCollector struct {
	*collector
	overview func() (threat.Overview, int64)
}

// SentinelCollector measures the sentinel as a node does, by what it looks like at a block
// time in milliseconds.
func SentinelCollector(overview func() (o threat.Overview, now int64)) prometheus.Collector {
	return sentinelCollector{newCollector(&Node{}, "test"), overview}
}

func (c sentinelCollector) Collect(out chan<- prometheus.Metric) {
	o, now := c.overview()
	c.sentinel(func(name string, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.d[name], prometheus.GaugeValue, v, labels...)
	}, o, now)
}
