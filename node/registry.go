package node

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// registry is where a node's measurements are registered. It remembers their collectors,
// so that also what has no value yet can be described.
type registry struct {
	*prometheus.Registry

	mu         sync.Mutex // guards collectors
	collectors []prometheus.Collector
}

func newRegistry() *registry { return &registry{Registry: prometheus.NewRegistry()} }

// Register implements prometheus.Registerer.
func (r *registry) Register(c prometheus.Collector) error {
	if err := r.Registry.Register(c); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectors = append(r.collectors, c)
	return nil
}

// MustRegister implements prometheus.Registerer.
func (r *registry) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}
