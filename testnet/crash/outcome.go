package crash

// How says what becomes of a step.
type How int

// What becomes of the step at which a program is disturbed.
const (
	Kill     How = iota // the program dies before it
	Fail                // it is refused with EIO, and so is every one after it
	FailOnce            // it alone is refused with EIO
	Belie               // it alone is said to have failed with EIO, and was done
)

// Outcome is what came of a program.
type Outcome struct {
	Steps     int    // that it made or tried
	Disturbed string // the step that was disturbed, such as "rename /…/data"; empty: there were fewer
	Exit      int    // its exit status; -1: a signal ended it
}
