package trees

import "math/bits"

// Score is the margin of a row (Q16) and the units of work that it cost. It allocates
// nothing.
//
// A tree is a chain of reads that each wait for the one before. So four trees are
// walked at a time, and a tree that has ended gives its lane to the next one.
func (e *Ensemble) Score(row []int64) (margin int64, work uint32, err error) {
	if len(row) != e.features {
		return 0, 0, ErrRow
	}
	margin = e.constant
	work = uint32(e.trees)
	roots, leaves := e.roots, e.leaves
	if len(roots) >= 4 {
		a, b, c, d := roots[0], roots[1], roots[2], roots[3]
		roots = roots[4:]
		for {
			a, b, c, d = e.child(a, row), e.child(b, row), e.child(c, row), e.child(d, row)
			work += 4
			if a|b|c|d >= 0 {
				continue
			}
			if a < 0 {
				if len(roots) == 0 {
					break
				}
				margin += int64(leaves[-1-a])
				a, roots = roots[0], roots[1:]
			}
			if b < 0 {
				if len(roots) == 0 {
					break
				}
				margin += int64(leaves[-1-b])
				b, roots = roots[0], roots[1:]
			}
			if c < 0 {
				if len(roots) == 0 {
					break
				}
				margin += int64(leaves[-1-c])
				c, roots = roots[0], roots[1:]
			}
			if d < 0 {
				if len(roots) == 0 {
					break
				}
				margin += int64(leaves[-1-d])
				d, roots = roots[0], roots[1:]
			}
		}
		for _, at := range [4]int32{a, b, c, d} {
			for at >= 0 {
				at = e.child(at, row)
				work++
			}
			margin += int64(leaves[-1-at])
		}
	}
	for _, at := range roots {
		for at >= 0 {
			at = e.child(at, row)
			work++
		}
		margin += int64(leaves[-1-at])
	}
	return margin, work, nil
}

// child is where a split sends a row. The borrow is 1 where the value is larger than
// the bound; it chooses without a branch, which no processor could foresee.
func (e *Ensemble) child(at int32, row []int64) int32 {
	s := &e.steps[at]
	_, right := bits.Sub64(s.bound, order(row[s.feature])-uint64(s.skip), 0)
	return s.child[right&1]
}

// Explain is Score, and adds to each feature's contribution (Q16) what the feature
// moved the margin from the bias: Bias plus all that was added is the margin.
// contributions has one element per feature.
func (e *Ensemble) Explain(row, contributions []int64) (margin int64, work uint32, err error) {
	if len(row) != e.features || len(contributions) != e.features {
		return 0, 0, ErrRow
	}
	margin = e.constant
	work = uint32(e.trees)
	for _, at := range e.roots {
		for at >= 0 {
			feature, from := e.steps[at].feature, e.expected[at]
			at = e.child(at, row)
			work++
			to := int32(0)
			if at >= 0 {
				to = e.expected[at]
			} else {
				to = e.leaves[-1-at]
			}
			contributions[feature] += int64(to) - int64(from)
		}
		margin += int64(e.leaves[-1-at])
	}
	return margin, work, nil
}
