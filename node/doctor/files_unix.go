//go:build linux || darwin

package doctor

import "golang.org/x/sys/unix"

// openFiles is how many files this process, and one that is started like it, may have
// open; 0: it is not known.
func openFiles() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	// The Go runtime raises its own soft limit to the hard one.
	return uint64(l.Max)
}
