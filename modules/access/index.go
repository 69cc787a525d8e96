package access

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// The parts of a request that a policy's scope can fix.
const (
	partPrincipal = iota
	partAction
	partResource
	parts
)

// scopeKey is what a scope can fix of a part: an entity that it must be or have as an
// ancestor, or, with an empty id and typed set, its type.
type scopeKey struct {
	part  int
	typed bool
	uid   types.EntityUID
}

// index finds the policies of a set that can apply to a request by what their scopes
// fix. A policy is kept under one part of its scope, the one that fewest policies of
// the set share; that the rest of its scope matches as well is tested one by one.
type index struct {
	buckets map[scopeKey][]int32 // positions in policySet.policies
	rest    []int32              // of the policies whose scopes fix nothing
}

// lineage is an entity with all its ancestors.
type lineage struct {
	uid       types.EntityUID
	ancestors []types.EntityUID // with itself, sorted
}

func (l *lineage) has(uid types.EntityUID) bool {
	// Comparing for order is dearer than for equality.
	if len(l.ancestors) <= 16 {
		return slices.Contains(l.ancestors, uid)
	}
	_, ok := slices.BinarySearchFunc(l.ancestors, uid, compareUIDs)
	return ok
}

// inScope tells whether a scope holds for an entity, as Cedar does.
func (l *lineage) inScope(scope ast.IsScopeNode) bool {
	switch n := scope.(type) {
	case ast.ScopeTypeEq:
		return l.uid == n.Entity
	case ast.ScopeTypeIn:
		return l.has(n.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(n.Entities, l.has)
	case ast.ScopeTypeIs:
		return l.uid.Type == n.Type
	case ast.ScopeTypeIsIn:
		return l.uid.Type == n.Type && l.has(n.Entity)
	}
	return true
}

// keysOf are the keys of which a request must have one for a scope to hold; fixed is
// false when the scope holds for every entity.
func keysOf(part int, scope ast.IsScopeNode) (keys []scopeKey, fixed bool) {
	entity := func(uid types.EntityUID) scopeKey { return scopeKey{part: part, uid: uid} }
	switch n := scope.(type) {
	case ast.ScopeTypeEq:
		return []scopeKey{entity(n.Entity)}, true
	case ast.ScopeTypeIn:
		return []scopeKey{entity(n.Entity)}, true
	case ast.ScopeTypeInSet:
		for _, uid := range sortedUIDs(n.Entities) {
			keys = append(keys, entity(uid))
		}
		return keys, true
	case ast.ScopeTypeIs:
		return []scopeKey{typeKey(part, n.Type)}, true
	case ast.ScopeTypeIsIn:
		return []scopeKey{entity(n.Entity)}, true
	}
	return nil, false
}

func typeKey(part int, typ types.EntityType) scopeKey {
	return scopeKey{part: part, typed: true, uid: types.EntityUID{Type: typ}}
}

// scopes are a policy's, by part.
func (p *policy) scopes() [parts]ast.IsScopeNode {
	return [parts]ast.IsScopeNode{p.tree.Principal, p.tree.Action, p.tree.Resource}
}

func newIndex(policies []policy) index {
	shared := map[scopeKey]int{}
	for i := range policies {
		for part, scope := range policies[i].scopes() {
			keys, _ := keysOf(part, scope)
			for _, k := range keys {
				shared[k]++
			}
		}
	}
	x := index{buckets: map[scopeKey][]int32{}}
	for i := range policies {
		best, fewest, found := []scopeKey(nil), 0, false
		for part, scope := range policies[i].scopes() {
			keys, fixed := keysOf(part, scope)
			if !fixed {
				continue
			}
			n := 0
			for _, k := range keys {
				n += shared[k]
			}
			if !found || n < fewest {
				best, fewest, found = keys, n, true
			}
		}
		if !found {
			x.rest = append(x.rest, int32(i))
			continue
		}
		for _, k := range best {
			x.buckets[k] = append(x.buckets[k], int32(i))
		}
	}
	return x
}

// selection is the policies of a set whose scopes hold for a request: exactly those
// of which a condition can be evaluated.
type selection struct {
	set    *policySet
	chosen []int32 // sorted, and so by id
	tested uint64  // scopes and keys that were looked at
	cost   cost
	hops   int
}

// shortlist is what a principal alone says of a set: the policies that the index keeps under it
// or an ancestor of it, and whose scopes it is in.
type shortlist struct {
	fit    []int32
	tested uint64 // scopes and keys that were looked at
}

// shortlist selects by the principal. Its result depends on the set and the lineage alone.
func (s *policySet) shortlist(principal *lineage) *shortlist {
	out := new(shortlist)
	out.tested = s.index.under(partPrincipal, principal, func(bucket []int32) {
		for _, i := range bucket {
			if principal.inScope(s.policies[i].tree.Principal) {
				out.fit = append(out.fit, i)
			}
		}
	})
	return out
}

// under visits the policies that are kept under an entity or an ancestor of it, and returns how many
// keys and policies these were.
func (x *index) under(part int, l *lineage, visit func(bucket []int32)) (tested uint64) {
	if len(x.buckets) == 0 {
		return 0
	}
	look := func(k scopeKey) {
		bucket := x.buckets[k]
		tested += 1 + uint64(len(bucket))
		visit(bucket)
	}
	look(typeKey(part, l.uid.Type))
	for _, uid := range l.ancestors {
		look(scopeKey{part: part, uid: uid})
	}
	return tested
}

// choose selects from a set. Its result depends on the set and the lineages alone: short is the
// principal's, or nil, and then found out.
func (s *policySet) choose(request *[parts]lineage, short *shortlist) *selection {
	if short == nil {
		short = s.shortlist(&request[partPrincipal])
	}
	out := &selection{set: s, tested: short.tested + uint64(len(s.index.rest)), chosen: slices.Clone(s.index.rest)}
	action, resource := &request[partAction], &request[partResource]
	for _, i := range short.fit {
		if tree := s.policies[i].tree; action.inScope(tree.Action) && resource.inScope(tree.Resource) {
			out.chosen = append(out.chosen, i)
		}
	}
	for _, part := range []int{partAction, partResource} {
		out.tested += s.index.under(part, &request[part], func(bucket []int32) {
			for _, i := range bucket {
				tree := s.policies[i].tree
				if request[partPrincipal].inScope(tree.Principal) && action.inScope(tree.Action) && resource.inScope(tree.Resource) {
					out.chosen = append(out.chosen, i)
				}
			}
		})
	}
	// A scope that names several entities can be met under more than one of them.
	slices.Sort(out.chosen)
	out.chosen = slices.Compact(out.chosen)
	for _, i := range out.chosen {
		out.cost.add(&s.policies[i].cost)
		out.hops = max(out.hops, s.policies[i].hops)
	}
	return out
}

// authorize is Cedar's answer of the selected policies alone.
func (s *selection) authorize(entities types.EntityGetter, request types.Request) (types.Decision, types.Diagnostic) {
	if len(s.chosen) == 0 {
		return types.Deny, types.Diagnostic{}
	}
	return cedar.Authorize(s, entities, request)
}

// literals appends the entities that the selected policies' conditions name.
func (s *selection) literals(to []types.EntityUID) []types.EntityUID {
	for _, i := range s.chosen {
		to = append(to, s.set.policies[i].literals...)
	}
	return to
}
