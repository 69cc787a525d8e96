package scenarios

import (
	"container/heap"
	"math/rand/v2"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// generator runs the world's clock. What happens is a queue of functions by time; each
// emits actions of now and puts others into the queue.
type generator struct {
	*world
	yield   func(*Action) bool
	stopped bool
	now     int64
	end     int64
	queue   queue
	order   uint64
	marks   map[string]int // stand-ins made so far, by who makes them
}

type event struct {
	at    int64
	order uint64
	do    func()
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, k int) bool {
	return q[i].at < q[k].at || q[i].at == q[k].at && q[i].order < q[k].order
}
func (q queue) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func newGenerator(o Options) *generator {
	g := &generator{world: newWorld(o), marks: map[string]int{}}
	g.end = o.Start + int64(o.Days)*day
	return g
}

// at has something happen at a time, or now when that has passed. What would happen
// after the end does not.
func (g *generator) at(t int64, do func()) {
	if t >= g.end {
		return
	}
	g.order++
	heap.Push(&g.queue, event{max(t, g.now), g.order, do})
}

func (g *generator) in(span int64, do func()) { g.at(g.now+span, do) }

func (g *generator) run() {
	g.now = g.o.Start
	g.found()
	for d := range g.o.Days {
		g.at(g.calendar.midnight(d)+2*hour+hour/2, func() { g.today(d) })
	}
	g.attacks()
	for g.queue.Len() > 0 && !g.stopped {
		e := heap.Pop(&g.queue).(event)
		g.now = e.at
		e.do()
	}
}

// mark is a new stand-in of a part of the plan.
func (g *generator) mark(of string) []byte {
	g.marks[of]++
	d := g.o.digest("stand-in", of, strconv.Itoa(g.marks[of]))
	return d[:]
}

func (g *generator) emit(a *Action) {
	if a.At = g.now; !g.stopped && !g.yield(a) {
		g.stopped = true
	}
}

// act has a member do something with its own key.
func (g *generator) act(a *actor, messages ...proto.Message) { g.make(a, nil, messages...) }

func (g *generator) make(a *actor, makes [][]byte, messages ...proto.Message) {
	if !a.gone {
		g.emit(&Action{Author: a.did, Signers: []string{a.keyURL()}, Messages: messages, Makes: makes})
	}
}

// govern has an organisation do something by as many administrators as it takes.
func (g *generator) govern(org *organisation, messages ...proto.Message) {
	g.emit(&Action{Author: org.did, Signers: org.signers(), Messages: messages})
}

func (org *organisation) signers() []string {
	var out []string
	for _, h := range org.admins[:org.needed] {
		out = append(out, h.Key)
	}
	return out
}

// assembly has the consortium do something by as many organisations as it takes.
func (g *generator) assembly(messages ...proto.Message) {
	var signers []string
	for _, org := range g.organisations[:g.consortiumNeeded()] {
		signers = append(signers, org.signers()...)
	}
	g.emit(&Action{Author: did.Consortium, Signers: signers, Messages: messages})
}

func (g *generator) register(a *actor) proto.Message {
	key, err := identity.Possess(g.o.ChainID, a.did, keyName(a.key), g.o.signer(a.keyURL()), identityv1.Purpose_PURPOSE_AUTHENTICATION)
	if err != nil {
		panic("scenarios: prove a key: " + err.Error())
	}
	return &identityv1.RegisterIdentity{Identity: &identityv1.NewIdentity{Did: a.did, Kind: a.job.kind(), Keys: []*identityv1.NewKey{key}}}
}

// perTransaction is how many messages of one kind the founding puts into a transaction.
const perTransaction = 16

// found registers everybody, sets the rules and takes over what there was before. It
// takes two hours of the first night.
func (g *generator) found() {
	t := g.now
	step := func(do func()) {
		t += 5 * second
		g.at(t, do)
	}
	step(func() { g.rails() })
	for _, org := range g.organisations {
		var roles []proto.Message
		for i := 0; i < len(org.staff); i += perTransaction {
			chunk := org.staff[i:min(i+perTransaction, len(org.staff))]
			step(func() {
				var all []proto.Message
				for _, a := range chunk {
					all = append(all, g.register(a))
				}
				g.registrar(org, all...)
			})
			for _, a := range chunk {
				for _, role := range a.job.roles() {
					roles = append(roles, &identityv1.AssignRole{Did: a.did, Role: role})
				}
			}
		}
		for i := 0; i < len(roles); i += perTransaction {
			step(func() { g.govern(org, roles[i:min(i+perTransaction, len(roles))]...) })
		}
		step(func() {
			org.policies++
			g.govern(org, g.setPolicies(org), org.settings())
		})
	}
	for _, org := range g.organisations {
		g.takeOver(org, step)
	}
}

func (g *generator) registrar(org *organisation, messages ...proto.Message) {
	g.emit(&Action{Author: org.registrar.DID, Signers: []string{org.registrar.Key}, Messages: messages})
}

func (g *generator) rails() {
	g.railsEdition++
	g.assembly(&accessv1.SetGuardRails{Documents: []*accessv1.Document{{Name: "consortium", Text: guardRails(g.railsEdition)}}})
}

// takeOver registers records and data sets, and the consents that older systems hold.
func (g *generator) takeOver(org *organisation, step func(func())) {
	var list []cedarEntity
	for n := range org.wards {
		list = append(list, cedarEntity{ward(n), map[string]any{}, []cedarUID{}})
	}
	for _, id := range org.datasets {
		list = append(list, datasetEntity(id))
	}
	for _, s := range org.subjects {
		list = append(list, recordEntity(s))
	}
	for i := 0; i < len(list); i += 100 {
		step(func() { g.govern(org, putEntities(org, list[i:min(i+100, len(list))]...)) })
	}
	if org.trade != hospital {
		return
	}
	service := org.those(migration)[0]
	for i := 0; i < len(org.subjects); i += perTransaction {
		step(func() {
			var all []proto.Message
			var makes [][]byte
			for _, s := range org.subjects[i:min(i+perTransaction, len(org.subjects))] {
				if s.inside || chance(service.r, 0.85) {
					give, agreed := g.imported(service, s)
					all, makes = append(all, give), append(makes, agreed.id)
				}
			}
			if len(all) > 0 {
				g.make(service, makes, all...)
			}
		})
	}
}

// today lets the day begin for everybody.
func (g *generator) today(d int) {
	for _, org := range g.organisations {
		r := stream(g.o.Seed, "day "+org.slug+" "+strconv.Itoa(d))
		for _, a := range org.staff {
			if from, to, ok := g.calendar.shift(a.job.rota(), a.phase, d); ok && !a.gone && a.job.kind() == identityv1.Kind_KIND_PERSON && a.job != patient && !chance(a.r, 0.04) {
				g.at(from+between(a.r, 0, 12*minute), func() { g.work(a, to) })
			}
		}
		g.machines(org, d)
		g.administration(org, d, r)
		switch org.trade {
		case hospital:
			g.arrivals(org, r)
			g.emergencies(org, r)
			g.portal(org, r)
		case institute:
			g.studies(org, d, r)
		}
	}
	if d > 0 && d%21 == 16 {
		g.at(g.calendar.midnight(d)+14*hour, g.rails)
	}
}

// work is a member's shift: one thing after the other, at its job's pace.
func (g *generator) work(a *actor, until int64) {
	span := func() int64 {
		t := logNormal(a.r, int64(float64(a.job.pace())/g.o.Life), 0.8)
		if g.o.Life < 20 {
			t = max(t, 5*second)
		}
		return t
	}
	var next func()
	next = func() {
		if g.now >= until || a.gone {
			return
		}
		if chance(a.r, 0.008) {
			g.mistake(a)
		} else {
			g.task(a)
		}
		g.in(span(), next)
	}
	g.in(span()/2, next)
}

// pace is the median time between two things that a member does on shift.
func (j job) pace() int64 {
	switch j {
	case nurse:
		return 45 * minute
	case doctor:
		return 32 * minute
	case clerk:
		return 30 * minute
	case analyst:
		return 25 * minute
	case adjuster:
		return 14 * minute
	case researcher:
		return 35 * minute
	case dispatcher:
		return 50 * minute
	}
	return 150 * minute
}

// task is one thing that a member does.
func (g *generator) task(a *actor) {
	switch a.job {
	case nurse, doctor:
		g.treat(a)
	case clerk:
		g.frontDesk(a)
	case analyst:
		g.interpret(a)
	case quality:
		g.control(a)
	case adjuster:
		g.claim(a)
	case researcher:
		g.study(a)
	case dispatcher:
		g.dispatch(a)
	case steward:
		g.steward(a)
	case reviewer:
		g.audit(a)
	}
}

// administration is what registrars and administrators do: newcomers, leavers, keys.
func (g *generator) administration(org *organisation, d int, r *rand.Rand) {
	morning := func() int64 { return g.calendar.midnight(d) + between(r, 9*hour, 16*hour) }
	if !g.calendar.works(d) || d == 0 {
		return
	}
	if chance(r, 0.09) && len(org.those(newcomers[org.trade]...)) > 0 {
		g.at(morning(), func() { g.newcomer(org, pick(r, newcomers[org.trade]), r) })
	}
	if staff := org.those(nurse, doctor, clerk, adjuster, researcher, analyst); len(staff) > 6 && chance(r, 0.05) {
		g.at(morning(), func() {
			if a := pick(r, staff); !a.gone && len(org.those(a.job)) > 3 {
				a.gone = true
				g.govern(org, &identityv1.Deactivate{Did: a.did, Reason: identityv1.Reason_REASON_CEASED})
			}
		})
	}
	for range 2 {
		if chance(r, 0.3) {
			a := pick(r, org.staff)
			g.at(morning(), func() { g.rotate(a) })
		}
	}
	if chance(r, 0.12) {
		g.at(morning(), func() {
			org.policies++
			g.govern(org, g.setPolicies(org))
		})
	}
	if chance(r, 0.1) {
		a := pick(r, org.staff)
		until := g.calendar.midnight(d) + between(r, 3, 20)*day
		g.at(morning(), func() {
			if !a.gone {
				g.govern(org, &identityv1.AssignRole{Did: a.did, Role: "on-call", ExpiresAt: until})
			}
		})
	}
}

// newcomers are the jobs for which an organisation hires.
var newcomers = map[trade][]job{
	hospital: {nurse, nurse, doctor, clerk}, laboratory: {analyst}, insurer: {adjuster}, institute: {researcher},
	registry: {researcher}, logistics: {sensor},
}

func (g *generator) newcomer(org *organisation, j job, r *rand.Rand) *actor {
	a := g.join(org, j, r)
	g.registrar(org, g.register(a))
	g.in(between(r, 4*minute, 50*minute), func() {
		var roles []proto.Message
		for _, role := range j.roles() {
			roles = append(roles, &identityv1.AssignRole{Did: a.did, Role: role})
		}
		if len(roles) > 0 {
			g.govern(org, roles...)
		}
	})
	return a
}

// rotate replaces a member's key; the old one holds for another day.
func (g *generator) rotate(a *actor) {
	if a.gone {
		return
	}
	old := a.key
	next := &actor{did: a.did, key: old + 1}
	key, err := identity.Possess(g.o.ChainID, a.did, keyName(next.key), g.o.signer(next.keyURL()))
	if err != nil {
		panic("scenarios: prove a key: " + err.Error())
	}
	g.act(a, &identityv1.RotateKey{Did: a.did, KeyId: keyName(old), NewKey: key, OverlapMs: day})
	a.key++
}
