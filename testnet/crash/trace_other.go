//go:build !(linux && amd64)

package crash

import (
	"errors"
	"os/exec"
)

// How says what becomes of a step.
type How int

// What becomes of the step at which a program is disturbed.
const (
	Kill How = iota // the program dies before it
	Fail            // it is refused with EIO, and so is every one after it
)

// Outcome is what came of a program.
type Outcome struct {
	Steps     int
	Disturbed string
	Exit      int
}

// Supported says why programs cannot be traced here; nil: they can.
func Supported() error { return errors.New("programs are traced on linux/amd64 alone") }

// Run fails.
func Run(*exec.Cmd, string, int, How, int) (Outcome, error) { return Outcome{}, Supported() }
