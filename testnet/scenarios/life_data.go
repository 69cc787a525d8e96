package scenarios

import (
	"math/rand/v2"
	"strconv"

	"google.golang.org/protobuf/proto"

	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// files are ids of entities that an organisation registered lately and that are valid
// as far as it knows; the oldest fall out.
type files struct {
	ids  []string
	made int // entities, runs and batches that it ever named
}

// recent is how many files an organisation keeps in mind.
const recent = 150

func (f *files) add(id string) {
	f.ids = append(f.ids, id)
	if len(f.ids) > recent {
		f.ids = f.ids[1:]
	}
}

func (org *organisation) fresh(kind string) string {
	org.files.made++
	return kind + ":" + org.tag + "-" + strconv.Itoa(org.files.made)
}

func multihash(sum []byte) []byte { return append([]byte{0x12, 32}, sum...) }

func (g *generator) content(of string) *provenancev1.Entity {
	sum := g.mark("content " + of)
	return &provenancev1.Entity{Hashes: [][]byte{multihash(sum)}, MediaType: "text/csv", Size: 1000 + uint64(sum[0])*977}
}

func ref(id string) *provenancev1.Ref { return &provenancev1.Ref{Id: id} }

func entityNode(id string, e *provenancev1.Entity) *provenancev1.NewNode {
	return &provenancev1.NewNode{Id: id, Description: &provenancev1.NewNode_Entity{Entity: e}}
}

func relation(kind provenancev1.RelationKind, subject, object string) *provenancev1.Relation {
	return &provenancev1.Relation{Kind: kind, Subject: ref(subject), Object: ref(object)}
}

// bundle is a run that used some files and made others.
func (g *generator) bundle(org *organisation, by string, used []string, outputs int, took int64) (*provenancev1.Record, []string) {
	run := org.fresh("run")
	m := &provenancev1.Record{Nodes: []*provenancev1.NewNode{{Id: run, Description: &provenancev1.NewNode_Activity{Activity: &provenancev1.Activity{
		StartedAt: g.now - took, EndedAt: g.now - second, Outcome: provenancev1.Outcome_OUTCOME_COMPLETED,
	}}}}}
	for _, id := range used {
		m.Relations = append(m.Relations, relation(provenancev1.RelationKind_RELATION_KIND_USAGE, run, id))
	}
	var made []string
	for range outputs {
		id := org.fresh("file")
		made = append(made, id)
		m.Nodes = append(m.Nodes, entityNode(id, g.content(by)))
		m.Relations = append(m.Relations, relation(provenancev1.RelationKind_RELATION_KIND_GENERATION, id, run))
		if len(used) > 0 {
			m.Relations = append(m.Relations, relation(provenancev1.RelationKind_RELATION_KIND_DERIVATION, id, used[0]))
		}
	}
	return m, made
}

// anchor is a batch of measurements by their Merkle root.
func (g *generator) anchor(org *organisation, by string, leaves uint64) *provenancev1.AnchorBatch {
	return &provenancev1.AnchorBatch{Id: org.fresh("batch"), Batch: &provenancev1.Batch{
		Root: g.mark("batch " + by), Leaves: leaves, Format: provenancev1.LeafFormat_LEAF_FORMAT_SHA256,
	}}
}

// every has something happen at a rhythm within the rest of a day, each time a little
// early or late.
func (g *generator) every(a *actor, d int, from, to, span int64, do func()) {
	span = max(int64(float64(span)/g.o.Life), second)
	base := g.calendar.midnight(d)
	for t := base + from + between(a.r, 0, span); t < base+to; t += span {
		g.at(t+between(a.r, -span/20, span/20), func() {
			if !a.gone {
				do()
			}
		})
	}
}

// machines are what services and devices do on a day.
func (g *generator) machines(org *organisation, d int) {
	for _, a := range org.those(monitor) {
		g.every(a, d, 3*hour, 27*hour, 3*hour, func() { g.act(a, g.anchor(org, a.did, 120+a.r.Uint64N(60))) })
	}
	for _, a := range org.those(analyser) {
		measure := func() {
			m, made := g.bundle(org, a.did, nil, 1+a.r.IntN(2), 9*minute)
			for _, id := range made {
				org.files.add(id)
			}
			g.act(a, m)
		}
		if g.calendar.works(d) {
			g.every(a, d, 6*hour, 20*hour, 35*minute, measure)
			g.every(a, d, 20*hour, 27*hour, 2*hour, measure)
		} else {
			g.every(a, d, 6*hour, 27*hour, 3*hour, measure)
		}
	}
	for _, a := range org.those(sensor) {
		g.trips(a, d)
	}
	for _, a := range org.those(archive) {
		g.nightly(a, d)
	}
	for _, a := range org.those(collector) {
		g.collect(a, d)
	}
}

// nightly is an archive's job: batches around 3 o'clock, and an anchor in the evening.
func (g *generator) nightly(a *actor, d int) {
	org := a.of
	t := g.calendar.midnight(d) + 3*hour + between(a.r, 0, 4*minute)
	for range 6 + a.r.IntN(8) {
		t += between(a.r, 4*second, 40*second)
		g.at(t, func() {
			var used []string
			for range min(len(org.files.ids), 1+a.r.IntN(4)) {
				used = append(used, pick(a.r, org.files.ids))
			}
			m, made := g.bundle(org, a.did, used, 1+a.r.IntN(3), 2*minute)
			for _, id := range made {
				org.files.add(id)
			}
			g.act(a, m)
		})
	}
	g.at(g.calendar.midnight(d)+21*hour+between(a.r, 0, 5*minute), func() {
		g.act(a, g.anchor(org, a.did, 2000+a.r.Uint64N(3000)))
	})
}

// trips are a vehicle's: each begins, is measured and ends.
func (g *generator) trips(a *actor, d int) {
	org := a.of
	span := 3 * hour
	if !g.calendar.works(d) {
		span = 8 * hour
	}
	g.every(a, d, 5*hour, 22*hour, span, func() {
		id := org.fresh("trip")
		g.act(a, &provenancev1.RegisterActivity{Id: id, Activity: &provenancev1.Activity{StartedAt: g.now}})
		long := between(a.r, 35*minute, 150*minute)
		for t := between(a.r, 15*minute, 25*minute); t < long; t += 30 * minute {
			g.in(t, func() { g.act(a, g.anchor(org, a.did, 30)) })
		}
		g.in(long, func() {
			g.act(a, &provenancev1.EndActivity{Id: id, EndedAt: g.now - second, Outcome: provenancev1.Outcome_OUTCOME_COMPLETED})
		})
	})
}

// collect is bulk reading that is due: an insurer's claims on Monday nights, a
// registry's data sets on Fridays.
func (g *generator) collect(a *actor, d int) {
	org, hospitals := a.of, g.of(hospital)
	switch {
	case org.trade == insurer && d%7 == 0 && d > 0:
		t := g.calendar.midnight(d) + 2*hour + hour/2 + between(a.r, minute, 9*minute)
		for range 50 + a.r.IntN(40) {
			t += between(a.r, 2*second, 9*second)
			g.at(t, func() {
				h := pick(a.r, hospitals)
				g.act(a, readRecord(a.did, h, pick(a.r, h.subjects), billing))
			})
		}
	case org.trade == registry && d%7 == 4:
		t := g.calendar.midnight(d) + 22*hour + between(a.r, 0, 20*minute)
		for range 2 {
			for _, o := range g.organisations {
				for _, id := range o.datasets {
					t += between(a.r, 3*second, 12*second)
					action := pick(a.r, []string{"read", "read", "export"})
					g.at(t, func() { g.act(a, decide(a.did, o, action, "Dataset", id, reporting)) })
				}
			}
		}
	}
}

// interpret is an analyst's work: the record behind a sample, or a corrected result.
func (g *generator) interpret(a *actor) {
	org := a.of
	switch x := a.r.Float64(); {
	case x < 0.62:
		h := pick(a.r, g.of(hospital))
		list := h.inside(-1)
		if len(a.mine) > 4 && chance(a.r, 0.3) {
			// The same sample again; its hospital may be the other one.
			s := pick(a.r, a.mine)
			for _, h := range g.of(hospital) {
				for _, o := range h.subjects {
					if o == s {
						g.act(a, readRecord(a.did, h, s, care))
						return
					}
				}
			}
		}
		if len(list) > 0 {
			s := pick(a.r, list)
			a.meet(s)
			g.act(a, readRecord(a.did, h, s, care))
		}
	case x < 0.9 || len(org.files.ids) < 3:
		m, made := g.bundle(org, a.did, nil, 1, 15*minute)
		for _, id := range made {
			org.files.add(id)
		}
		g.act(a, m)
	case x < 0.96:
		g.act(a, &provenancev1.ReviseEntity{Id: pick(a.r, org.files.ids), Entity: g.content(a.did)})
	default:
		g.act(a, decide(a.did, org, "read", "Dataset", pick(a.r, org.datasets), research))
	}
}

// control is quality management: corrections, invalid measurements, relations.
func (g *generator) control(a *actor) {
	org := a.of
	if len(org.files.ids) < 10 {
		return
	}
	i := a.r.IntN(len(org.files.ids))
	id := org.files.ids[i]
	switch x := a.r.Float64(); {
	case x < 0.4:
		g.act(a, &provenancev1.ReviseEntity{Id: id, Entity: g.content(a.did)})
	case x < 0.6:
		org.files.ids = append(org.files.ids[:i:i], org.files.ids[i+1:]...)
		g.act(a, &provenancev1.InvalidateEntity{Id: id, Reason: pick(a.r, []provenancev1.InvalidationReason{
			provenancev1.InvalidationReason_INVALIDATION_REASON_ERRONEOUS, provenancev1.InvalidationReason_INVALIDATION_REASON_EXPIRED,
		})})
	default:
		other := pick(a.r, org.files.ids)
		if other == id {
			return
		}
		g.act(a, &provenancev1.Relate{Relations: []*provenancev1.Relation{relation(provenancev1.RelationKind_RELATION_KIND_ALTERNATE, id, other)}})
	}
}

// claim is an adjuster's: one subject's record, often the one of before.
func (g *generator) claim(a *actor) {
	h := g.of(hospital)[0]
	if hospitals := g.of(hospital); chance(a.r, 0.4) {
		h = hospitals[len(hospitals)-1]
	}
	s := pick(a.r, h.subjects)
	g.act(a, readRecord(a.did, h, s, billing))
	for range a.r.IntN(3) {
		g.in(between(a.r, 30*second, 8*minute), func() { g.act(a, readRecord(a.did, h, s, billing)) })
	}
}

// study is a researcher's: data sets, now and then the records of who agreed, and what
// was made of them.
func (g *generator) study(a *actor) {
	org := a.of
	var owners []*organisation
	for _, o := range g.organisations {
		if len(o.datasets) > 0 && o.trade != registry {
			owners = append(owners, o)
		}
	}
	// Everybody works on a few data sets at a time.
	o := owners[(a.phase+g.calendar.dayOf(g.now)/14)%len(owners)]
	id := o.datasets[(a.phase+a.r.IntN(3))%len(o.datasets)]
	purpose := research
	if org.trade == registry {
		purpose = reporting
	}
	switch x := a.r.Float64(); {
	case x < 0.55:
		g.act(a, decide(a.did, o, "read", "Dataset", id, purpose))
	case x < 0.62:
		g.act(a, decide(a.did, o, "export", "Dataset", id, purpose))
	case x < 0.72 && org.trade == institute:
		h := pick(a.r, g.of(hospital))
		g.act(a, readRecord(a.did, h, pick(a.r, h.subjects), research))
	case x < 0.76:
		o := pick(a.r, owners)
		g.act(a, decide(a.did, o, "read", "Dataset", pick(a.r, o.datasets), purpose))
	default:
		var used []string
		if len(org.files.ids) > 0 {
			used = append(used, pick(a.r, org.files.ids))
		}
		m, made := g.bundle(org, a.did, used, 1, 40*minute)
		for _, id := range made {
			org.files.add(id)
		}
		g.act(a, m)
	}
}

// studies begins a project: new data sets, newcomers, and a busy week.
func (g *generator) studies(org *organisation, d int, r *rand.Rand) {
	if d%28 != 15 && d%28 != 16 {
		return
	}
	host := pick(r, g.of(hospital))
	if d%28 == 15 {
		g.at(g.calendar.midnight(d)+10*hour, func() {
			var list []cedarEntity
			for i := range 3 {
				id := "dataset-" + g.o.token("project", org.slug, strconv.Itoa(d), strconv.Itoa(i))[:12]
				host.datasets = append(host.datasets, id)
				list = append(list, datasetEntity(id))
			}
			host.policies++
			g.govern(host, putEntities(host, list...), g.setPolicies(host))
			g.newcomer(org, researcher, r)
			g.newcomer(org, researcher, r)
		})
		return
	}
	for _, a := range org.those(researcher) {
		for range 6 + r.IntN(10) {
			g.at(g.calendar.midnight(d+r.IntN(5))+between(r, 9*hour, 17*hour), func() {
				g.act(a, decide(a.did, host, "read", "Dataset", host.datasets[len(host.datasets)-1-a.r.IntN(min(3, len(host.datasets)))], research))
			})
		}
	}
}

// dispatch is a dispatcher's: planned trips and their papers.
func (g *generator) dispatch(a *actor) {
	org := a.of
	var m proto.Message = &provenancev1.RegisterEntity{Id: org.fresh("waybill"), Entity: g.content(a.did)}
	if chance(a.r, 0.3) && len(org.files.ids) > 0 {
		m = &provenancev1.ReviseEntity{Id: pick(a.r, org.files.ids), Entity: g.content(a.did)}
	}
	if e, ok := m.(*provenancev1.RegisterEntity); ok {
		org.files.add(e.Id)
	}
	g.act(a, m)
}
