package trees

import "math/bits"

// Score is the margin of a row (Q16) and the units of work that it cost. It allocates
// nothing.
func (e *Ensemble) Score(row []int64) (margin int64, work uint32, err error) {
	if len(row) != e.features {
		return 0, 0, ErrRow
	}
	margin = e.base
	work = uint32(len(e.roots))
	for _, at := range e.roots {
		for at >= 0 {
			s := &e.steps[at]
			// The borrow is 1 where the value is larger than the bound. It chooses the child without
			// a branch, which no processor could foresee.
			_, right := bits.Sub64(s.bound, order(row[s.feature])-uint64(s.skip), 0)
			at = s.child[right&1]
			work++
		}
		margin += int64(e.leaves[-1-at])
	}
	return margin, work, nil
}

// Explain is Score, and adds to each feature's contribution (Q16) what the feature
// moved the margin from the bias: Bias plus all that was added is the margin.
// contributions has one element per feature.
func (e *Ensemble) Explain(row, contributions []int64) (margin int64, work uint32, err error) {
	if len(row) != e.features || len(contributions) != e.features {
		return 0, 0, ErrRow
	}
	margin = e.base
	work = uint32(len(e.roots))
	for _, at := range e.roots {
		for at >= 0 {
			s := &e.steps[at]
			_, right := bits.Sub64(s.bound, order(row[s.feature])-uint64(s.skip), 0)
			from := e.expected[at]
			at = s.child[right&1]
			work++
			to := int32(0)
			if at >= 0 {
				to = e.expected[at]
			} else {
				to = e.leaves[-1-at]
			}
			contributions[s.feature] += int64(to) - int64(from)
		}
		margin += int64(e.leaves[-1-at])
	}
	return margin, work, nil
}
