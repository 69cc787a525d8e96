package provenance

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// BenchmarkPrice tells what a unit of the dearest search costs, beside the 2.7 ns at
// which signatures are priced: a relation between the ends of two long chains, which
// is given up after all budgets.
func BenchmarkPrice(b *testing.B) {
	n := start(b)
	const chains = 4500
	for _, name := range []string{"up", "down"} {
		for at := 0; at < chains; at += 100 {
			r := &pb.Record{}
			for i := at; i < at+100; i++ {
				r.Nodes = append(r.Nodes, newEntity(fmt.Sprint(name, i)))
				if i > 0 {
					r.Relations = append(r.Relations, relation("DERIVATION", fmt.Sprint(name, i), fmt.Sprint(name, i-1)))
				}
			}
			n.Do(mercy, r)
		}
	}
	var took time.Duration
	units := uint64(0)
	for b.Loop() {
		// down0 has 4500 dependents, up4499 as many sources.
		m := &pb.Relate{Relations: []*pb.Relation{relation("DERIVATION", "down0", fmt.Sprint("up", chains-1))}}
		d, err := n.App().Decode(n.Tx(mercy, []proto.Message{m}, chaintest.Actor(mercy)))
		if err != nil {
			b.Fatal(err)
		}
		n.App().Admit(d) // its signature is known from then on
		x := n.App().Next()
		start := time.Now()
		r, err := x.Deliver(d)
		took += time.Since(start)
		if err != nil || r.Code != ErrTooEntangled.Code {
			b.Fatal(r.GetCode(), r.GetLog(), err)
		}
		units += r.Units
	}
	perUnit := float64(took.Nanoseconds()) / float64(units)
	b.ReportMetric(perUnit, "ns/unit")
	b.ReportMetric(float64(units)/float64(b.N), "units/op")
	b.ReportMetric(perUnit*float64(chain.DefaultParams().MaxOrganisationUnits)/1e9, "s/organisation")
}
