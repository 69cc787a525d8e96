package access

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// dear are messages whose work is large for their price.
func dear(w *world) map[string]func(i int) proto.Message {
	one := func(m proto.Message) func(int) proto.Message { return func(int) proto.Message { return m } }
	put := func(attribute func(i int) string, n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"uid":{"type":"Big","id":"%d"},"attrs":%s,"parents":[]}`, i, attribute(i)))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	// 60 entities of 16 kB, all named by one record, for whose policy they are read.
	text := strings.Repeat("x", 4000)
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf(`{"__entity":{"type":"Big","id":"%d"}}`, i))
		w.entities(fmt.Sprintf(`[{"uid":{"type":"Big","id":"%d"},"attrs":{"a":"%s","b":"%s","c":"%s","d":"%s"},"parents":[]}]`, i, text, text, text, text))
	}
	w.entities(`[{"uid":{"type":"Record","id":"big"},"attrs":{"all":[` + strings.Join(names, ",") + `]},"parents":[]}]`)
	// The same in entities of many small values.
	var small []string
	for i := range 250 {
		small = append(small, fmt.Sprintf(`"k%d":[1,2,3,4,5,6,7]`, i))
	}
	names = nil
	for i := range 60 {
		names = append(names, fmt.Sprintf(`{"__entity":{"type":"Many","id":"%d"}}`, i))
		w.entities(fmt.Sprintf(`[{"uid":{"type":"Many","id":"%d"},"attrs":{%s},"parents":[]}]`, i, strings.Join(small, ",")))
	}
	w.entities(`[{"uid":{"type":"Record","id":"many"},"attrs":{"all":[` + strings.Join(names, ",") + `]},"parents":[]}]`)
	policies := func(n int) func(int) proto.Message {
		return func(i int) proto.Message {
			m := &accessv1.SetPolicies{Organisation: hospital}
			for d := range 2 {
				m.Documents = append(m.Documents, &accessv1.Document{Name: fmt.Sprint("d", d), Text: strings.Repeat(fmt.Sprintf("permit (principal, action, resource) when { context.risk < %d };\n", i), n/2)})
			}
			return m
		}
	}
	return map[string]func(int) proto.Message{
		"decide":            one(&accessv1.Decide{Request: read(doctor, "open")}),
		"decide, big":       one(&accessv1.Decide{Request: read(doctor, "big")}),
		"decide, many":      one(&accessv1.Decide{Request: read(doctor, "many")}),
		"put, long strings": one(&accessv1.PutEntities{Organisation: hospital, Entities: put(func(int) string { return fmt.Sprintf(`{"a":"%s"}`, text) }, 15)}),
		"put, many values":  one(&accessv1.PutEntities{Organisation: hospital, Entities: put(func(int) string { return "{" + strings.Join(small, ",") + "}" }, 11)}),
		"put, many":         one(&accessv1.PutEntities{Organisation: hospital, Entities: put(func(int) string { return "{}" }, 256)}),
		"policies":          policies(1000),
		"policies, 2":       policies(2),
	}
}

// BenchmarkPrice tells what a unit of the dearest messages costs, beside the 2.7 ns
// at which signatures are priced, and how long what one organisation may put into a
// block takes.
func BenchmarkPrice(b *testing.B) {
	w := newWorld(b).furnish()
	w.policies(hospitalPolicies + `permit (principal, action, resource) when { resource has all && resource.all.isEmpty() };
permit (principal, action, resource) when { resource has all && resource.other.another == 1 };`)
	messages := dear(w)
	author := func(m proto.Message) string {
		if d, ok := m.(*accessv1.Decide); ok {
			return d.Request.Principal
		}
		return hospital
	}
	for name, message := range messages {
		b.Run(name, func(b *testing.B) {
			var took time.Duration
			units := uint64(0)
			n := 0
			for b.Loop() {
				n++
				m := message(n)
				d, err := w.App().Decode(w.Tx(author(m), []proto.Message{m}, chaintest.Actor(author(m))))
				if err != nil {
					b.Fatal(err)
				}
				w.App().Admit(d) // its signature is known from then on
				x := w.App().Next()
				start := time.Now()
				r, err := x.Deliver(d)
				took += time.Since(start)
				if err != nil || r.Code != 0 {
					b.Fatal(r.GetCode(), r.GetLog(), err)
				}
				units += r.Units
			}
			perUnit := float64(took.Nanoseconds()) / float64(units)
			b.ReportMetric(perUnit, "ns/unit")
			b.ReportMetric(float64(units)/float64(n), "units/op")
			b.ReportMetric(perUnit*float64(chain.DefaultParams().MaxOrganisationUnits)/1e9, "s/organisation")
		})
	}
}
