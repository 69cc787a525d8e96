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
	household   *household // of the principal; nil: to be gathered
	near        *household // of the resource; nil: to be gathered
	framed      *framed    // the request's context; nil: to be measured
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
	household  *household // of the principal
	rest       gathered   // what is not in the household
	found      []found    // in the organisation's entities, sorted by type and id
	size       size
	edges      uint64
	// Room for what is in rest, mostly.
	members [4]member
	finds   [4]found
	asks    [4]asked
}

// gathered is entities that were looked for, each once.
type gathered struct {
	members members
	found   []found // in the organisation's entities
	asked   []asked // every entity that was looked for there, in the order of looking
	size    size
	edges   uint64
	bytes   int
}

// household is an entity with its ancestors. Once gathered it may be shared, and is not
// changed.
type household struct {
	gathered
	lineage []types.EntityUID // sorted
	// What the entity says of the policies as the principal; nil: to be found out.
	policies, guardRails *shortlist
}

// recall is what came of looking for an entity, if it was looked for.
func (h *household) recall(uid types.EntityUID) (e *entity, version uint64, ok, known bool) {
	for i := range h.asked {
		if h.asked[i].uid != uid {
			continue
		}
		if m := h.members.find(uid); m.there {
			return m.entity, h.asked[i].version, true, true
		}
		return nil, 0, false, true
	}
	return nil, 0, false, false
}

// members are entities by their uid. Few are searched one by one.
type members struct {
	list  []member
	index map[types.EntityUID]int // nil while there are few
}

const fewMembers = 16

// member is an entity of a slice, or the note that there is none.
type member struct {
	uid    types.EntityUID
	entity *entity
	there  bool
}

func (m *members) len() int { return len(m.list) }

// find returns the member with a uid, or nil.
func (m *members) find(uid types.EntityUID) *member {
	if m.index != nil {
		if i, ok := m.index[uid]; ok {
			return &m.list[i]
		}
		return nil
	}
	for i := range m.list {
		if m.list[i].uid == uid {
			return &m.list[i]
		}
	}
	return nil
}

func (m *members) add(one member) {
	m.list = append(m.list, one)
	switch {
	case m.index != nil:
		m.index[one.uid] = len(m.list) - 1
	case len(m.list) > fewMembers:
		m.index = make(map[types.EntityUID]int, 2*len(m.list))
		for i := range m.list {
			m.index[m.list[i].uid] = i
		}
	}
}

type found struct {
	entity  *entity
	version uint64
}

type asked struct {
	uid     types.EntityUID
	version uint64 // 0: there is none
}

func (s *slice) find(uid types.EntityUID) *member {
	if m := s.rest.members.find(uid); m != nil {
		return m
	}
	return s.household.members.find(uid)
}

// Get implements types.EntityGetter.
func (s *slice) Get(uid types.EntityUID) (types.Entity, bool) {
	m := s.find(uid)
	if m == nil || !m.there {
		return types.Entity{}, false
	}
	return m.entity.cedar, true
}

// asked is every entity that was looked for.
func (s *slice) asked() []asked { return slices.Concat(s.household.asked, s.rest.asked) }

// versions are the versions of every entity that was looked for, sorted.
func (s *slice) versions() []*accessv1.EntityVersion {
	sorted := s.asked()
	slices.SortFunc(sorted, func(a, b asked) int { return compareUIDs(a.uid, b.uid) })
	out := make([]*accessv1.EntityVersion, len(sorted))
	for i, a := range sorted {
		out[i] = &accessv1.EntityVersion{Uid: fromCedar(a.uid), Version: a.version}
	}
	return out
}

// nothing stands for an entity that there is not.
var nothing = &entity{}

// gathering adds to what was gathered before.
type gathering struct {
	*question
	before *gathered
	to     *gathered
}

// load brings an entity in, at most once.
func (g *gathering) load(uid types.EntityUID) (*entity, error) {
	if m := g.to.members.find(uid); m != nil {
		return m.entity, nil
	}
	if m := g.before.members.find(uid); m != nil {
		return m.entity, nil
	}
	if g.before.members.len()+g.to.members.len() >= maxSliceEntities {
		return nil, ErrSlice.With("more than %d entities", maxSliceEntities)
	}
	if g.schema != nil {
		if action, ok := g.schema.resolved.Actions[uid]; ok {
			e := &entity{cedar: action.Entity, parents: parentsOf(action.Entity)}
			g.to.members.add(member{uid, e, true})
			g.to.edges += uint64(len(e.parents))
			return e, nil
		}
	}
	e, version, ok := g.source(uid)
	g.to.asked = append(g.to.asked, asked{uid, version})
	if ok {
		g.to.found = append(g.to.found, found{e, version})
	} else {
		e = nothing
	}
	if uid == g.request.Principal && len(g.memberships) > 0 {
		e, ok = g.withMemberships(e), true
	}
	g.to.members.add(member{uid, e, ok})
	g.to.size.join(e.size)
	g.to.edges += uint64(len(e.parents))
	if g.to.bytes += len(e.json); g.before.bytes+g.to.bytes > maxSliceBytes {
		return nil, ErrSlice.With("more than %d bytes of entities", maxSliceBytes)
	}
	return e, nil
}

// ancestors loads entities and all their ancestors, level by level, and returns
// them with the ancestors, sorted.
func (g *gathering) ancestors(of ...types.EntityUID) ([]types.EntityUID, error) {
	level := sortedUIDs(of)
	all := append(make([]types.EntityUID, 0, len(level)+3), level...)
	for len(level) > 0 {
		var next []types.EntityUID
		for _, uid := range level {
			e, err := g.load(uid)
			if err != nil {
				return nil, err
			}
			for _, p := range e.parents {
				if _, known := slices.BinarySearchFunc(all, p, compareUIDs); !known {
					next = append(next, p)
				}
			}
		}
		slices.SortFunc(next, compareUIDs)
		level = slices.Compact(next)
		all = append(all, level...)
		slices.SortFunc(all, compareUIDs)
	}
	return all, nil
}

// join brings in a household that was gathered from the same entities, as ancestors does.
func (g *gathering) join(h *household) ([]types.EntityUID, error) {
	for i := range h.members.list {
		if _, err := g.load(h.members.list[i].uid); err != nil {
			return nil, err
		}
	}
	return h.lineage, nil
}

// gatherHousehold gathers an entity's.
func (q *question) gatherHousehold(of types.EntityUID) (*household, error) {
	h := &household{}
	g := &gathering{question: q, before: new(gathered), to: &h.gathered}
	var err error
	h.lineage, err = g.ancestors(of)
	return h, err
}

// slice gathers the entities that evaluation can reach. First the principal, the
// action and the resource with their ancestors: on these depends which policies'
// scopes hold. Then what those policies can see: what the context and the
// policies' conditions name, what the attributes of these and of the request's
// entities lead to in as many hops as the policies take, and the ancestors of all.
func (q *question) slice() (*slice, error) {
	s := &slice{household: q.household}
	var err error
	if s.household == nil {
		if s.household, err = q.gatherHousehold(q.request.Principal); err != nil {
			return nil, err
		}
	}
	s.rest.members.list, s.rest.found, s.rest.asked = s.members[:0], s.finds[:0], s.asks[:0]
	g := &gathering{question: q, before: &s.household.gathered, to: &s.rest}
	request := [parts]lineage{{uid: q.request.Principal, ancestors: s.household.lineage}, {uid: q.request.Action}, {uid: q.request.Resource}}
	if request[partAction].ancestors, err = g.ancestors(q.request.Action); err != nil {
		return nil, err
	}
	if q.near != nil && !slices.Contains(q.near.lineage, q.request.Principal) { // the principal has more ancestors than are stored
		request[partResource].ancestors, err = g.join(q.near)
	} else {
		request[partResource].ancestors, err = g.ancestors(q.request.Resource)
	}
	if err != nil {
		return nil, err
	}
	s.policies = q.policies.choose(&request, s.household.policies)
	s.guardRails = q.guardRails.choose(&request, s.household.guardRails)
	if err := q.reach(g, s); err != nil {
		return nil, err
	}
	s.found = slices.Concat(s.household.found, s.rest.found)
	slices.SortFunc(s.found, func(a, b found) int { return compareUIDs(a.entity.cedar.UID, b.entity.cedar.UID) })
	s.size.join(s.household.size)
	s.size.join(s.rest.size)
	s.edges = s.household.edges + s.rest.edges
	return s, nil
}

// reach gathers what the chosen policies can see besides the request's entities and
// their ancestors.
func (q *question) reach(g *gathering, s *slice) error {
	f := q.framed
	if f == nil {
		f = newFramed(q.request.Context)
	}
	s.size.join(f.size)
	level := s.guardRails.literals(s.policies.literals(slices.Clone(f.refs)))
	hops := max(s.policies.hops, s.guardRails.hops)
	if hops == 0 && len(level) == 0 {
		return nil
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
				return err
			}
			if uid != q.request.Principal && uid != q.request.Action && uid != q.request.Resource {
				all = append(all, uid)
			}
			next = append(next, e.refs...)
		}
		level = next
	}
	_, err := g.ancestors(all...)
	return err
}

// withMemberships adds what identity says to the principal's own entity.
func (q *question) withMemberships(e *entity) *entity {
	out := *e
	out.cedar.UID = q.request.Principal
	out.parents = sortedUIDs(slices.Concat(q.memberships, e.parents))
	out.cedar.Parents = types.NewEntityUIDSet(out.parents...)
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
