package access

import (
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/bounded"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// How much a sitting holds; what was used least gives way.
const (
	sittingHouses   = 64
	sittingParties  = 2048
	sittingContexts = 2048
	// partyEntities and kinEntities are of how many entities a household may be that is kept, of
	// a principal and of a resource.
	partyEntities = 32
	kinEntities   = 8
)

// sitting is what the unrecorded decisions about one committed state share, each part
// read once. It holds what that state says and nothing else, so no answer depends on what
// is in it. Transactions have none: they are charged for what they read.
type sitting struct {
	houses   *lru.Cache[string, *house]
	parties  *lru.Cache[partyKey, *party]
	entities *drawer // those of other states with the same entities, too
	contexts *lru.Cache[contextKey, *framed]
}

// house is an organisation and what it decides by.
type house struct {
	policies   *accessv1.PolicySet
	guardRails *accessv1.PolicySet
	schema     *accessv1.Schema
	cedar      *cedarSchema // of schema, parsed
	settings   *accessv1.SettingsVersion
}

type partyKey struct{ organisation, principal string }

// party is a principal before an organisation.
type party struct {
	principal *accessv1.Principal
	risk      uint32
	glass     *accessv1.Glass // open; nil: none
	// household is nil where it is not kept.
	household *household
}

// looked is what came of looking for an entity.
type looked struct {
	entity  *entity
	version uint64
	ok      bool
	// kin is what it belongs to, once somebody asked for it as a resource.
	//determinism:allow what queries share; no transaction and no block reads it
	kin *atomic.Pointer[kin]
}

// kin is an entity's household, with the actions of a schema.
type kin struct {
	schema    *cedarSchema // nil: none
	household *household   // nil where it is not kept
}

// contextKey is what the context of a request without one of its own depends on.
type contextKey struct {
	partyKey
	purpose string
	action  types.EntityUID
}

// drawer is what came of looking for entities, in all states that have the same.
type drawer = bounded.Cache[entityKey, looked]

// lookedBytes is what is counted for each beside its key and its JSON, what it belongs to with it.
const lookedBytes = 128

func newDrawer() *drawer {
	return bounded.New(cachedEntities, cachedBytes, func(key entityKey, l looked) int {
		n := lookedBytes + len(key.A) + len(key.B) + len(key.C)
		if l.entity != nil {
			n += len(l.entity.json)
		}
		return n
	})
}

// latestDrawer is what was found of the entities as they have been since a version.
type latestDrawer struct {
	//determinism:allow guards what queries share; no transaction and no block reads it
	mu     sync.Mutex // guards both
	since  int64
	drawer *drawer // nil: nothing yet
}

// as is what was found of entities as they have been since a version.
func (l *latestDrawer) as(since int64) *drawer {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.drawer == nil || since > l.since:
		l.since, l.drawer = since, newDrawer()
	case since < l.since:
		return newDrawer() // of an old state
	}
	return l.drawer
}

func (m *Module) newSitting(r chain.ReadCtx) *sitting {
	s := &sitting{
		houses: cache[string, *house](sittingHouses), parties: cache[partyKey, *party](sittingParties),
		contexts: cache[contextKey, *framed](sittingContexts),
	}
	if since, ok := chain.Since(r, m.store.entityHeads.Prefix(), m.store.entities.Prefix()); ok {
		s.entities = m.latest.as(since)
	} else {
		s.entities = newDrawer()
	}
	return s
}

// evaluate is an unrecorded decision at the state that r reads: the outcome and the
// reason that record would write down.
func (m *Module) evaluate(r chain.ReadCtx, q *accessv1.Request) (accessv1.Outcome, string, error) {
	if err := checkRequest(q); err != nil {
		return 0, "", err
	}
	in, err := m.seated(r, q)
	if err != nil {
		return 0, "", err
	}
	e, err := m.caches.outcome(in)
	if err != nil {
		return 0, "", err
	}
	return e.verdict.Outcome, e.verdict.Reason, nil
}

// seated is live for a query, from the sitting if the state has one.
func (m *Module) seated(r chain.ReadCtx, q *accessv1.Request) (*inputs, error) {
	s, ok := chain.Kept(r, m.Name(), m.newSitting)
	if !ok {
		if err := m.checkOrganisation(r, q.Organisation); err != nil {
			return nil, err
		}
		return m.live(r, q), nil
	}
	h, err := m.house(r, s, q.Organisation)
	if err != nil {
		return nil, err
	}
	in := m.inputs(r, q)
	in.policies, in.guardRails, in.schema, in.settings = h.policies, h.guardRails, h.schema, h.settings
	source := func(uid types.EntityUID) (*entity, uint64, bool) {
		l := m.lookedUp(r, s, q.Organisation, uid)
		return l.entity, l.version, l.ok
	}
	if in.near = m.near(r, s, h, q, source); in.near == nil {
		in.source = source
	} else {
		in.source = func(uid types.EntityUID) (*entity, uint64, bool) {
			if e, version, ok, known := in.near.recall(uid); known {
				return e, version, ok
			}
			return source(uid)
		}
	}
	in.sitting, in.house = s, h
	p := m.party(r, in)
	in.principal, in.risk, in.household = p.principal, p.risk, p.household
	if p.glass != nil && covers(p.glass.Scope, q) {
		in.glass = p.glass.Id
	}
	return in, nil
}

func (m *Module) house(r chain.ReadCtx, s *sitting, did string) (*house, error) {
	if h, ok := s.houses.Get(did); ok {
		return h, nil
	}
	if err := m.checkOrganisation(r, did); err != nil {
		return nil, err
	}
	o := m.store.standing(r, did)
	in := &inputs{request: &accessv1.Request{Organisation: did}}
	m.versions(r, in, o.Policies, o.Schema, o.Settings, m.store.standing(r, m.deps.Identity.Consortium()).GuardRails)
	schema, err := m.caches.parseSchema(in.schema.GetSchema())
	if err != nil {
		return nil, err
	}
	h := &house{policies: in.policies, guardRails: in.guardRails, schema: in.schema, cedar: schema, settings: in.settings}
	s.houses.Add(did, h)
	return h, nil
}

// party is the principal of a request before the request's organisation.
func (m *Module) party(r chain.ReadCtx, in *inputs) *party {
	key := partyKey{in.request.Organisation, in.request.Principal}
	if p, ok := in.sitting.parties.Get(key); ok {
		return p
	}
	p := &party{principal: m.principal(r, in.request.Principal), risk: m.risk(r, in.request.Principal)}
	if g, ok := m.openGlass(r, in.request.Organisation, in.request.Principal); ok {
		p.glass = g
	}
	uid, ok := principalUID(in.request.Principal, p.principal.Kind)
	if ok && p.principal.Active {
		q := &question{request: types.Request{Principal: uid}, schema: in.house.cedar, source: in.source, memberships: memberships(p.principal)}
		// One that is beyond a bound is refused where the question is judged.
		if h, err := q.gatherHousehold(uid); err == nil && h.members.len() <= partyEntities {
			p.household = h
			principal := &lineage{uid: uid, ancestors: h.lineage}
			if set, err := m.caches.policiesOf(in.policies); err == nil {
				h.policies = set.shortlist(principal)
			}
			if set, err := m.caches.policiesOf(in.guardRails); err == nil {
				h.guardRails = set.shortlist(principal)
			}
		}
	}
	in.sitting.parties.Add(key, p)
	return p
}

// near is the household of a request's resource, nil where there is none at hand.
func (m *Module) near(r state.Reader, s *sitting, h *house, q *accessv1.Request, source func(types.EntityUID) (*entity, uint64, bool)) *household {
	uid := toCedar(q.Resource)
	l := m.lookedUp(r, s, q.Organisation, uid)
	if !l.ok {
		return nil
	}
	if known := l.kin.Load(); known != nil && known.schema == h.cedar {
		return known.household
	}
	gathering := &question{schema: h.cedar, source: func(of types.EntityUID) (*entity, uint64, bool) {
		if of == uid {
			return l.entity, l.version, l.ok
		}
		return source(of)
	}}
	near, err := gathering.gatherHousehold(uid)
	if err != nil {
		return nil // it is refused where the question is judged
	}
	kept := &kin{schema: h.cedar}
	if near.members.len() <= kinEntities {
		kept.household = near
	}
	l.kin.Store(kept)
	return near
}

// lookedUp is an entity of an organisation.
func (m *Module) lookedUp(r state.Reader, s *sitting, organisation string, uid types.EntityUID) looked {
	key := state.Join3(organisation, string(uid.Type), string(uid.ID))
	if l, ok := s.entities.Get(key); ok {
		return l
	}
	var l looked
	if stored, ok := m.store.entityNow(r, organisation, key.B, key.C); ok {
		// The drawer keeps it; what transactions parsed need not be parsed again.
		e, known := m.caches.entities.Get(stored.Json)
		if !known {
			e = storedEntity(stored.Json)
		}
		//determinism:allow what queries share; no transaction and no block reads it
		l = looked{e, stored.Version, true, new(atomic.Pointer[kin])}
		if len(stored.Json) > cachedEntityBytes {
			return l
		}
	}
	s.entities.Add(key, l)
	return l
}

// frame is the context that policies see of a request, measured.
func (in *inputs) frame(given types.Record, action types.EntityUID, schema *cedarSchema) *framed {
	if in.sitting == nil || given.Len() > 0 || len(in.glass) > 0 || in.consent.Status != consentNotRequired {
		return newFramed(in.fullContext(given, action, schema))
	}
	key := contextKey{partyKey{in.request.Organisation, in.request.Principal}, in.request.Purpose, action}
	if f, ok := in.sitting.contexts.Get(key); ok {
		return f
	}
	f := newFramed(in.fullContext(given, action, schema))
	in.sitting.contexts.Add(key, f)
	return f
}
