package model

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// stopwatch starts to count how long a core works for the calling goroutine, which on a
// busy machine is less than what a clock shows. The returned function stops it.
func stopwatch() func() time.Duration {
	runtime.LockOSThread()
	begin := time.Now()
	var from unix.Timespec
	bad := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &from)
	return func() time.Duration {
		defer runtime.UnlockOSThread()
		var to unix.Timespec
		if bad != nil || unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &to) != nil {
			return time.Since(begin)
		}
		return time.Duration(to.Nano() - from.Nano())
	}
}
