package access

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/chain/state/statetest"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

var benchEntities = flag.Int("entities", 5_000, "how many entities the state of a benchmark of decisions holds")

// registry is a module over a state of its own, written directly and read as a node's
// queries do.
type registry struct {
	module *Module
	tree   *state.Memory
	app    *chain.App
}

func openRegistry(m *Module) (*registry, error) {
	tree, err := state.OpenMemory(statetest.NewDisk(), state.MemoryOptions{NoSync: true})
	if err != nil {
		return nil, err
	}
	app, err := chain.New(chain.Options{
		ChainID: chaintest.ChainID, Tree: tree, Authenticator: chaintest.Actors{}, Modules: []chain.Module{m},
		Rand: bytes.NewReader(make([]byte, 32)), Partial: true,
	})
	return &registry{m, tree, app}, err
}

func (g *registry) At(context.Context) (chain.ReadCtx, error) {
	r, _, err := g.app.View(0)
	return r, err
}

// write makes a version.
func (g *registry) write(fn func(w state.Writer)) error {
	o := state.NewOverlay(g.tree.Latest())
	fn(o)
	if _, err := g.tree.Apply(o.Changes()); err != nil {
		return err
	}
	return g.tree.Save()
}

// bureau is a hospital with many policies and entities.
type bureau struct {
	*world
	*registry
	queries  *queries
	entities int
}

// newBureau writes policies that each fix a role, an action and a ward, a few of which
// each test an attribute, and records in wards. Three of the roles
// are the doctor's, besides her own.
func newBureau(b *testing.B, policies int) *bureau {
	b.Helper()
	d := &bureau{world: newWorld(b), entities: *benchEntities}
	var err error
	if d.registry, err = openRegistry(d.world.module); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.tree.Close() })
	d.queries = &queries{module: d.registry.module, snapshots: d.registry}
	for i := range 3 {
		d.identity[doctor].roles = append(d.identity[doctor].roles, fmt.Sprintf("r%04d", i))
	}
	var documents []*accessv1.Document
	for i := range policies {
		if per := (policies + maxDocuments - 1) / maxDocuments; i%per == 0 {
			documents = append(documents, &accessv1.Document{Name: fmt.Sprintf("d%02d", len(documents))})
		}
		document := documents[len(documents)-1]
		document.Text += fmt.Sprintf(`permit(principal in Chancery::Role::"mercy/r%04d",action==Action::"read",resource in W::"%d");`+"\n", i/10, i%10)
	}
	documents[0].Text += "forbid(principal,action,resource)when{context.risk>9000||resource.level>9};\n"
	// The bound on bytes is on what enters, and the set is as large as may enter.
	set, err := d.registry.module.caches.parseDocuments(documents)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.write(func(w state.Writer) {
		s := &d.registry.module.store
		s.organisations.Put(w, hospital, &accessv1.Organisation{Organisation: hospital, Version: 3, Policies: 1, Settings: 2, Entities: uint64(d.entities)})
		s.policies.Put(w, state.Join(hospital, uint64(1)), &accessv1.PolicySet{Organisation: hospital, Version: 1, Documents: documents, Hash: documentsHash(documents)})
		s.settings.Put(w, state.Join(hospital, uint64(2)), &accessv1.SettingsVersion{Organisation: hospital, Version: 2, Settings: settings()})
		for i := range d.entities {
			d.put(w, i, 1)
		}
	}); err != nil {
		b.Fatal(err)
	}
	if len(set.policies) != policies+1 {
		b.Fatal(len(set.policies))
	}
	return d
}

func (d *bureau) put(w state.Writer, i int, level int) {
	id := fmt.Sprint(i)
	e, err := parseEntity(fmt.Sprintf(`{"uid":{"type":"Record","id":"%s"},"attrs":{"level":%d,"title":"chart %s"},"parents":[{"type":"W","id":"%d"}]}`, id, level, id, i%10), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.registry.module.store.entityHeads.Put(w, state.Join3(hospital, "Record", id), 3)
	d.registry.module.store.entities.Put(w, state.Join3(hospital, "Record", state.Join(id, uint64(3))), &accessv1.Entity{Organisation: hospital, Uid: uid("Record", id), Version: 3, Json: e.json})
}

// ask makes one unrecorded decision about any record.
func (d *bureau) ask(tb testing.TB, r *rand.Rand) {
	out, err := d.queries.Evaluate(context.Background(), &accessv1.EvaluateRequest{Request: read(doctor, fmt.Sprint(r.IntN(d.entities)))})
	if err != nil || out.Outcome != accessv1.Outcome_OUTCOME_ALLOW {
		tb.Error(out, err)
	}
}

// cpu is the processor time of the process, on all cores and with the collector's.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEvaluate is one unrecorded decision as the query answers it, about a record
// chosen anew each time.
func BenchmarkEvaluate(b *testing.B) {
	for _, policies := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(policies), func(b *testing.B) {
			d := newBureau(b, policies)
			r := rand.New(rand.NewPCG(1, 2))
			d.ask(b, r)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				d.ask(b, r)
			}
			b.ReportMetric(float64(b.N)/(cpu(b)-before).Seconds(), "decisions/cpu-s")
		})
	}
}

// BenchmarkWholeSet is what Cedar alone takes for a decision without an index: every
// policy is evaluated, over the entities that a decision with the index sees.
func BenchmarkWholeSet(b *testing.B) {
	for _, policies := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(policies), func(b *testing.B) {
			d := newBureau(b, policies)
			r, _ := d.registry.At(context.Background())
			in := d.registry.module.live(r, read(doctor, "7"))
			in.consent = &accessv1.ConsentFinding{Status: consentNotRequired}
			q, err := d.registry.module.caches.question(in, types.NewEntityUID(typePerson, doctor))
			if err != nil {
				b.Fatal(err)
			}
			q.source = in.source
			s, err := q.slice()
			if err != nil {
				b.Fatal(err)
			}
			all := &selection{set: q.policies}
			for i := range q.policies.policies {
				all.chosen = append(all.chosen, int32(i))
			}
			for b.Loop() {
				if decision, _ := cedar.Authorize(all, s, q.request); decision != types.Allow {
					b.Fatal("denied")
				}
			}
		})
	}
}

// BenchmarkEvaluateWhileCommitting decides while nothing is committed, and while blocks
// of 2000 writes, some of them to the entities that are asked about, are applied and
// saved ten times a second.
func BenchmarkEvaluateWhileCommitting(b *testing.B) {
	for _, policies := range []int{1000, 10_000} {
		for _, load := range []string{"idle", "committing"} {
			b.Run(fmt.Sprint(policies, "/", load), func(b *testing.B) {
				d := newBureau(b, policies)
				r := rand.New(rand.NewPCG(1, 2))
				d.ask(b, r)
				stop, blocks := make(chan struct{}), 0
				var committing sync.WaitGroup
				if load == "committing" {
					committing.Go(func() { blocks = d.commit(b, stop) })
				}
				var took []time.Duration
				for b.Loop() {
					start := time.Now()
					d.ask(b, r)
					took = append(took, time.Since(start))
				}
				close(stop)
				committing.Wait()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
				b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
				b.ReportMetric(float64(blocks), "blocks")
			})
		}
	}
}

// commit writes blocks until stop is closed, and returns how many.
func (d *bureau) commit(b *testing.B, stop <-chan struct{}) (blocks int) {
	r := rand.New(rand.NewPCG(3, 4))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ; ; blocks++ {
		select {
		case <-stop:
			return blocks
		case <-tick.C:
		}
		if err := d.write(func(w state.Writer) {
			for range 1000 {
				d.put(w, r.IntN(d.entities), r.IntN(9))
			}
		}); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkParseSet is what a node pays once for a set that it has not at hand.
func BenchmarkParseSet(b *testing.B) {
	text := strings.Repeat(`permit(principal in Chancery::Role::"mercy/r0001",action==Action::"read",resource in W::"1");`+"\n", 640)
	var documents []*accessv1.Document
	for i := range 15 {
		documents = append(documents, &accessv1.Document{Name: fmt.Sprintf("d%02d", i), Text: text})
	}
	for b.Loop() {
		if _, err := parseSet(documents); err != nil {
			b.Fatal(err)
		}
	}
}
