package access

import (
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
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
	a := &answer{slice: s, steps: q.steps(s)}
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
	_, rails := cedar.Authorize(q.guardRails, s.entities, q.request)
	decision, own := cedar.Authorize(q.policies, s.entities, q.request)
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

// slice is the entities that an evaluation can see.
type slice struct {
	entities types.EntityMap
	found    []found                   // in the organisation's entities, sorted by type and id
	versions []*accessv1.EntityVersion // of every entity that was looked for, sorted
	size     size
	edges    uint64
}

type found struct {
	entity  *entity
	version uint64
}

// slice gathers, level by level, the entities that evaluation can reach: what the
// request, the context and the policies name, what their attributes lead to in as
// many hops as the policies take, and the ancestors of all of these.
func (q *question) slice() (*slice, error) {
	s := &slice{entities: types.EntityMap{}}
	seen := map[types.EntityUID]*entity{}
	bytes := 0
	load := func(uid types.EntityUID) (*entity, error) {
		if e, ok := seen[uid]; ok {
			return e, nil
		}
		if len(seen) >= maxSliceEntities {
			return nil, ErrSlice.With("more than %d entities", maxSliceEntities)
		}
		if q.schema != nil {
			if action, ok := q.schema.resolved.Actions[uid]; ok {
				e := &entity{cedar: action.Entity}
				seen[uid] = e
				s.entities[uid] = action.Entity
				s.edges += uint64(action.Entity.Parents.Len())
				return e, nil
			}
		}
		e, version, ok := q.source(uid)
		s.versions = append(s.versions, &accessv1.EntityVersion{Uid: fromCedar(uid), Version: version})
		if !ok {
			e = &entity{cedar: types.Entity{UID: uid}}
		} else {
			s.found = append(s.found, found{e, version})
			s.entities[uid] = e.cedar
		}
		if uid == q.request.Principal && len(q.memberships) > 0 {
			e = q.withMemberships(e)
			s.entities[uid] = e.cedar
		}
		seen[uid] = e
		s.size.join(e.size)
		s.edges += uint64(e.cedar.Parents.Len())
		if bytes += len(e.json); bytes > maxSliceBytes {
			return nil, ErrSlice.With("more than %d bytes of entities", maxSliceBytes)
		}
		return e, nil
	}

	roots := []types.EntityUID{q.request.Principal, q.request.Action, q.request.Resource}
	s.size.join(measure(q.request.Context, &roots))
	roots = append(roots, q.policies.literals...)
	level := sortedUIDs(append(roots, q.guardRails.literals...))
	var all []types.EntityUID
	for hop := 0; len(level) > 0 && hop <= max(q.policies.hops, q.guardRails.hops); hop++ {
		var next []types.EntityUID
		for _, uid := range level {
			if _, ok := seen[uid]; ok {
				continue
			}
			e, err := load(uid)
			if err != nil {
				return nil, err
			}
			all = append(all, uid)
			next = append(next, e.refs...)
		}
		level = sortedUIDs(next)
	}
	for len(all) > 0 {
		var parents []types.EntityUID
		for _, uid := range all {
			for p := range seen[uid].cedar.Parents.All() {
				parents = append(parents, p)
			}
		}
		all = nil
		for _, uid := range sortedUIDs(parents) {
			if _, ok := seen[uid]; ok {
				continue
			}
			if _, err := load(uid); err != nil {
				return nil, err
			}
			all = append(all, uid)
		}
	}
	slices.SortFunc(s.found, func(a, b found) int { return compareUIDs(a.entity.cedar.UID, b.entity.cedar.UID) })
	slices.SortFunc(s.versions, func(a, b *accessv1.EntityVersion) int {
		if c := strings.Compare(a.Uid.Type, b.Uid.Type); c != 0 {
			return c
		}
		return strings.Compare(a.Uid.Id, b.Uid.Id)
	})
	return s, nil
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

// steps bounds the work of evaluating both sets over a slice: one step per syntax
// node; for a node that compares, by the largest value that it could meet, with
// sets compared pairwise; for a node that searches ancestors, by all parents; for
// a like, by pattern and string.
func (q *question) steps(s *slice) uint64 {
	total := uint64(0)
	for _, set := range []*policySet{q.policies, q.guardRails} {
		c := set.cost
		elements := max(s.size.set, c.maxSet)
		compare := max(s.size.bytes, c.maxString)/64 + elements + elements*elements/64
		total += c.nodes + c.compares*compare + c.ins*(s.edges+elements) +
			c.patterns*max(s.size.str, c.maxString)/256
	}
	return total + s.size.values + s.edges
}
