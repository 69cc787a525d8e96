package access

import (
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// question is what Cedar is asked, with everything that it may look at.
type question struct {
	request    types.Request
	policies   *policySet
	guardRails *policySet
	schema     *cedarSchema // nil: none
	// source finds the entities of the resource's organisation.
	source func(types.EntityUID) (*entity, uint64, bool)
	// memberships are the principal's parents by identity.
	memberships []types.EntityUID
	// charge meters steps before they are taken.
	charge func(steps uint64)
}

// answer is what Cedar says.
type answer struct {
	forbidden  bool     // a guard rail forbids
	allowed    bool     // the policies allow
	guardRails []string // that forbid, sorted
	policies   []string // that determined what the policies say, sorted
	errors     []string // sorted; guard rails with the prefix guard-rail:
	malformed  string   // request/schema or entity/schema: nothing was evaluated
	detail     string   // what did not conform
	slice      *slice
	steps      uint64
}

const guardRailPrefix = "guard-rail:"

// judge is the one path on which policies are evaluated: for transactions, for
// queries, and when recorded decisions are repeated.
func judge(q *question) (*answer, error) {
	s, err := q.slice()
	if err != nil {
		return nil, err
	}
	a := &answer{slice: s, steps: s.steps()}
	if a.steps > maxSteps {
		return nil, ErrTooMuchWork.With("%d steps, at most %d", a.steps, maxSteps)
	}
	q.charge(a.steps)
	if q.schema != nil {
		if err := q.schema.request(q.request); err != nil {
			a.malformed, a.detail = reasonRequestSchema, clip(err.Error())
			return a, nil
		}
		for _, f := range s.found {
			if err := q.schema.validator.Entity(f.entity.cedar); err != nil {
				a.malformed, a.detail = reasonEntitySchema, clip(f.entity.cedar.UID.String()+": "+err.Error())
				return a, nil
			}
		}
	}
	_, rails := s.guardRails.authorize(s, q.request)
	decision, own := s.policies.authorize(s, q.request)
	a.guardRails = reasons(rails)
	a.forbidden = len(a.guardRails) > 0
	a.allowed = decision == types.Allow
	a.policies = reasons(own)
	for _, e := range own.Errors {
		a.errors = append(a.errors, string(e.PolicyID))
	}
	for _, e := range rails.Errors {
		a.errors = append(a.errors, guardRailPrefix+string(e.PolicyID))
	}
	slices.Sort(a.errors)
	return a, nil
}

// reasons are a diagnostic's policies, sorted: Cedar promises no order.
func reasons(d types.Diagnostic) []string {
	var out []string
	for _, r := range d.Reasons {
		out = append(out, string(r.PolicyID))
	}
	slices.Sort(out)
	return out
}

// slice is the entities that an evaluation can see, and the policies that it looks
// at. It is filled by question.slice and not changed after.
type slice struct {
	policies   *selection
	guardRails *selection
	seen       map[types.EntityUID]member
	found      []found // in the organisation's entities, sorted by type and id
	asked      []asked // every entity that was looked for, in the order of looking
	size       size
	edges      uint64
}

// member is an entity of a slice, or the note that there is none.
type member struct {
	entity *entity
	there  bool
}

type found struct {
	entity  *entity
	version uint64
}

type asked struct {
	uid     types.EntityUID
	version uint64 // 0: there is none
}

// Get implements types.EntityGetter.
func (s *slice) Get(uid types.EntityUID) (types.Entity, bool) {
	m, ok := s.seen[uid]
	if !ok || !m.there {
		return types.Entity{}, false
	}
	return m.entity.cedar, true
}

// versions are the versions of every entity that was looked for, sorted.
func (s *slice) versions() []*accessv1.EntityVersion {
	sorted := slices.Clone(s.asked)
	slices.SortFunc(sorted, func(a, b asked) int { return compareUIDs(a.uid, b.uid) })
	out := make([]*accessv1.EntityVersion, len(sorted))
	for i, a := range sorted {
		out[i] = &accessv1.EntityVersion{Uid: fromCedar(a.uid), Version: a.version}
	}
	return out
}

// nothing stands for an entity that there is not.
var nothing = &entity{}

// gathering fills a slice.
type gathering struct {
	*question
	*slice
	bytes int
}

// load brings an entity into the slice, at most once.
func (g *gathering) load(uid types.EntityUID) (*entity, error) {
	if m, ok := g.seen[uid]; ok {
		return m.entity, nil
	}
	if len(g.seen) >= maxSliceEntities {
		return nil, ErrSlice.With("more than %d entities", maxSliceEntities)
	}
	if g.schema != nil {
		if action, ok := g.schema.resolved.Actions[uid]; ok {
			e := &entity{cedar: action.Entity}
			g.seen[uid] = member{e, true}
			g.edges += uint64(action.Entity.Parents.Len())
			return e, nil
		}
	}
	e, version, ok := g.source(uid)
	g.asked = append(g.asked, asked{uid, version})
	if ok {
		g.found = append(g.found, found{e, version})
	} else {
		e = nothing
	}
	if uid == g.request.Principal && len(g.memberships) > 0 {
		e, ok = g.withMemberships(e), true
	}
	g.seen[uid] = member{e, ok}
	g.size.join(e.size)
	g.edges += uint64(e.cedar.Parents.Len())
	if g.bytes += len(e.json); g.bytes > maxSliceBytes {
		return nil, ErrSlice.With("more than %d bytes of entities", maxSliceBytes)
	}
	return e, nil
}

// ancestors loads entities and all their ancestors, level by level, and returns
// them with the ancestors, sorted.
func (g *gathering) ancestors(of ...types.EntityUID) ([]types.EntityUID, error) {
	all := sortedUIDs(of)
	for level := all; len(level) > 0; {
		var parents []types.EntityUID
		for _, uid := range level {
			e, err := g.load(uid)
			if err != nil {
				return nil, err
			}
			for p := range e.cedar.Parents.All() {
				parents = append(parents, p)
			}
		}
		if len(parents) == 0 {
			break
		}
		level = nil
		for _, p := range sortedUIDs(parents) {
			if _, known := slices.BinarySearchFunc(all, p, compareUIDs); !known {
				level = append(level, p)
			}
		}
		if len(level) > 0 {
			all = sortedUIDs(slices.Concat(all, level))
		}
	}
	return all, nil
}

// slice gathers the entities that evaluation can reach. First the principal, the
// action and the resource with their ancestors: on these depends which policies'
// scopes hold. Then what those policies can see: what the context and the
// policies' conditions name, what the attributes of these and of the request's
// entities lead to in as many hops as the policies take, and the ancestors of all.
func (q *question) slice() (*slice, error) {
	s := &slice{seen: make(map[types.EntityUID]member, 16), asked: make([]asked, 0, 12), found: make([]found, 0, 4)}
	g := &gathering{question: q, slice: s}
	request := [parts]lineage{{uid: q.request.Principal}, {uid: q.request.Action}, {uid: q.request.Resource}}
	for i := range request {
		var err error
		if request[i].ancestors, err = g.ancestors(request[i].uid); err != nil {
			return nil, err
		}
	}
	s.policies, s.guardRails = q.policies.choose(&request), q.guardRails.choose(&request)

	var level []types.EntityUID
	s.size.join(measure(q.request.Context, &level))
	level = s.guardRails.literals(s.policies.literals(level))
	hops := max(s.policies.hops, s.guardRails.hops)
	if hops == 0 && len(level) == 0 {
		return s.sort(), nil
	}
	level = append(level, q.request.Principal, q.request.Action, q.request.Resource)
	var all []types.EntityUID
	followed := map[types.EntityUID]bool{}
	for hop := 0; len(level) > 0 && hop <= hops; hop++ {
		var next []types.EntityUID
		for _, uid := range sortedUIDs(level) {
			if followed[uid] {
				continue
			}
			followed[uid] = true
			e, err := g.load(uid)
			if err != nil {
				return nil, err
			}
			if uid != q.request.Principal && uid != q.request.Action && uid != q.request.Resource {
				all = append(all, uid)
			}
			next = append(next, e.refs...)
		}
		level = next
	}
	if _, err := g.ancestors(all...); err != nil {
		return nil, err
	}
	return s.sort(), nil
}

func (s *slice) sort() *slice {
	slices.SortFunc(s.found, func(a, b found) int { return compareUIDs(a.entity.cedar.UID, b.entity.cedar.UID) })
	return s
}

// withMemberships adds what identity says to the principal's own entity.
func (q *question) withMemberships(e *entity) *entity {
	parents := slices.Clone(q.memberships)
	for p := range e.cedar.Parents.All() {
		parents = append(parents, p)
	}
	out := *e
	out.cedar.UID = q.request.Principal
	out.cedar.Parents = types.NewEntityUIDSet(sortedUIDs(parents)...)
	return &out
}

// steps bounds the work of choosing the policies and of evaluating them over a
// slice: one step per scope that was tested; of the chosen policies, one per syntax
// node; for a node that compares, by the largest value that it could meet, with
// sets compared pairwise; for a node that searches ancestors, by all parents; for
// a like, by pattern and string.
func (s *slice) steps() uint64 {
	total := uint64(0)
	for _, chosen := range []*selection{s.policies, s.guardRails} {
		c := &chosen.cost
		elements := max(s.size.set, c.maxSet)
		compare := max(s.size.bytes, c.maxString)/64 + elements + elements*elements/64
		total += chosen.tested + c.nodes + c.compares*compare + c.ins*(s.edges+elements) +
			c.patterns*max(s.size.str, c.maxString)/256
	}
	return total + s.size.values + s.edges
}
