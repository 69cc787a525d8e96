// Package tamper runs a program whose clock is wrong and whose disk is slow, while all else
// on the machine goes on as it is.
//
// The clock is changed in the library by which a program reads it, in the program's own pages
// of it, at no cost; the monotonic clock stays. A filter of system calls
// (seccomp_unotify(2)) hands those that write and sync files to this process, which has the
// kernel do them later. Neither needs a right but that to trace one's own children. The
// program must be a static Go program for linux/amd64, whose start the filter knows.
package tamper

import (
	"errors"
	"time"
)

// ErrFilter says that system calls cannot be filtered here. The command was not started.
var ErrFilter = errors.New("system calls cannot be filtered here")

// Options say what can be tampered with. With a disk each write costs the program time, also
// while none is made slow.
type Options struct {
	Clock bool
	// Disk is a folder below which writes and syncs can be made slow; empty: none is.
	Disk string
}

// Clock is what the program's real-time clock says: the machine's time and so much more,
// and each second Drift more from when it was set. What the kernel itself notes, such as
// the times of files, stays the machine's.
type Clock struct {
	Ahead time.Duration
	Drift time.Duration
}

// Disk is how long it takes at most to sync a file, and to write to one; each takes between
// half of it and all of it, and one after the other.
type Disk struct {
	Sync, Write time.Duration
}
