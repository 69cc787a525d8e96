package rpc_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/chancery/chancery/consensus/alerttest"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Clients that take nothing, and a fault of the node, are what their alerts are for.
func TestAlertsOfTheDoor(t *testing.T) {
	d := open(t, limits())
	nodes := nodev1.NewNodeClient(d.dial())
	ask := func() error {
		_, err := nodes.Status(t.Context(), &nodev1.StatusRequest{})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	lag, faults := alerttest.Record(t, "ChancerySubscribersLag"), alerttest.Record(t, "ChanceryFaults")
	lag.Gather(0, "node", d.metrics)
	for range 4 {
		if _, err := nodev1.NewNodeClient(d.dial()).Genesis(t.Context(), &nodev1.GenesisRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "four are cut off", func() bool { return d.measured("chancery_rpc_slow_readers_total") == 4 })
	lag.Gather(5, "node", d.metrics)

	if text := faults.Gather(0, "node", d.metrics); strings.Contains(text, `code="Internal"`) {
		t.Fatal(text)
	}
	d.engine.status = func() *nodev1.StatusResponse { panic(errors.New("a nil map")) }
	if err := ask(); err == nil {
		t.Fatal("no fault")
	}
	if text := faults.Gather(5, "node", d.metrics); !strings.Contains(text, `chancery_rpc_calls_total{code="Internal",method="/chancery.node.v1.Node/Status"} 1`) {
		t.Error(text)
	}
	d.engine.status = nil
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	faults.Gather(10, "node", d.metrics)
}
