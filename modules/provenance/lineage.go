package provenance

import (
	"iter"

	"github.com/chancery/chancery/chain/state"
)

// searchBudgets are how many relations a search may read, in each direction, before
// the other direction has its turn; after the last it gives up. The first is enough
// for a node that was registered with its relations.
var searchBudgets = [...]int{16, 256, 4096}

// sources yields the nodes that a node's lineage leads to.
func (m *Module) sources(r state.Reader, of nodeKey) iter.Seq[nodeKey] {
	return func(yield func(nodeKey) bool) {
		for k, e := range m.out.Walk(r, state.Under(nodeCodec, of)) {
			if k.B.A > uint32(lastLineage) {
				return
			}
			if e.Relation.Object != nil && e.Relation.Object.External == "" && !yield(keyOf(e.Relation.Object)) {
				return
			}
		}
	}
}

// dependents yields the nodes whose lineage leads to a node.
func (m *Module) dependents(r state.Reader, of nodeKey) iter.Seq[nodeKey] {
	return func(yield func(nodeKey) bool) {
		for k, b := range m.in.Walk(r, state.Under(nodeCodec, of)) {
			if k.B.A > uint32(lastLineage) || !yield(keyOf(b.Subject)) {
				return
			}
		}
	}
}

// keepAcyclic refuses a relation of the lineage from subject to object that would
// close a cycle: one where object already leads to subject. It searches from both
// ends in turns, with growing budgets. Whichever end runs out of relations first
// without meeting the other proves that there is no cycle; a node that nothing
// depends on yet, or one without sources, does so at once.
func (m *Module) keepAcyclic(r state.Reader, subject, object nodeKey) error {
	if subject == object {
		return ErrCycle.With("%s version %d of %s", subject.B, subject.C, subject.A)
	}
	for _, budget := range searchBudgets {
		for _, side := range []struct {
			from, to nodeKey
			next     func(state.Reader, nodeKey) iter.Seq[nodeKey]
		}{
			{subject, object, m.dependents},
			{object, subject, m.sources},
		} {
			met, exhausted := reach(r, side.from, side.to, budget, side.next)
			if met {
				return ErrCycle.With("%s version %d of %s comes from %s version %d of %s", object.B, object.C, object.A, subject.B, subject.C, subject.A)
			}
			if exhausted {
				return nil
			}
		}
	}
	return ErrTooEntangled.With("%s version %d of %s", subject.B, subject.C, subject.A)
}

// reach searches breadth first for a node, reading at most budget relations.
// exhausted means that everything reachable was seen.
func reach(r state.Reader, from, to nodeKey, budget int, next func(state.Reader, nodeKey) iter.Seq[nodeKey]) (met, exhausted bool) {
	seen := map[nodeKey]bool{from: true}
	for queue := []nodeKey{from}; len(queue) > 0; queue = queue[1:] {
		for k := range next(r, queue[0]) {
			if budget == 0 {
				return false, false
			}
			budget--
			if k == to {
				return true, false
			}
			if !seen[k] {
				seen[k] = true
				queue = append(queue, k)
			}
		}
	}
	return false, true
}
