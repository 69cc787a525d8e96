//go:build !(linux && amd64)

package crash

import (
	"errors"
	"os/exec"
)

// Supported says why programs cannot be traced here; nil: they can.
func Supported() error { return errors.New("programs are traced on linux/amd64 alone") }

// Run fails.
func Run(*exec.Cmd, string, int, How, int) (Outcome, error) { return Outcome{}, Supported() }
