package trees

// Direction is what a growing feature may do to the margin.
type Direction int8

// The directions.
const (
	Free       Direction = 0
	Increasing Direction = 1  // never lower it
	Decreasing Direction = -1 // never raise it
)

// CheckMonotone refuses trees that do not keep the directions, one per feature: at each
// split on a feature with a direction, no leaf on the side of larger values may lie
// against it beyond a leaf on the other side. With that, changing one present value
// of a feature to a larger one moves the margin in its direction or not at all, however
// the other features stand. Missing values are outside of the promise.
//
// The trees must have passed New.
func CheckMonotone(directions []Direction, all []Tree) error {
	for i, t := range all {
		low, high := rangesOf(t)
		for j, s := range t.Splits {
			if int(s.Feature) >= len(directions) {
				return invalid("tree %d: split %d is on feature %d of %d", i, j, s.Feature, len(directions))
			}
			leftLow, leftHigh := below(t, low, high, s.Left)
			rightLow, rightHigh := below(t, low, high, s.Right)
			switch directions[s.Feature] {
			case Increasing:
				if leftHigh > rightLow {
					return invalid("tree %d: split %d makes a larger value of feature %d lower the margin, though it is declared to raise it", i, j, s.Feature)
				}
			case Decreasing:
				if leftLow < rightHigh {
					return invalid("tree %d: split %d makes a larger value of feature %d raise the margin, though it is declared to lower it", i, j, s.Feature)
				}
			}
		}
	}
	return nil
}
