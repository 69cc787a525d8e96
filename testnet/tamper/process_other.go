//go:build !(linux && amd64)

package tamper

import (
	"errors"
	"os/exec"
)

// Supported says why programs cannot be tampered with here; nil: they can.
func Supported() error { return errors.New("programs are tampered with on linux/amd64 alone") }

// Process is a program that is tampered with.
type Process struct{}

// Start fails.
func Start(*exec.Cmd, Options) (*Process, error) { return nil, Supported() }

// SetClock does nothing.
func (*Process) SetClock(Clock) {}

// SetDisk does nothing.
func (*Process) SetDisk(Disk) {}

// Err is nil.
func (*Process) Err() error { return nil }
