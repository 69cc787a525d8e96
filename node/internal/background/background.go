// Package background has work yield to what others wait for.
package background

import "runtime"

// Yield has the rest of the calling goroutine run by a thread of its own at a lower priority
// than the node's other threads, where the system knows of such: what it does is late then,
// while blocks, votes and clients need all processors. The thread ends with the goroutine.
func Yield() {
	runtime.LockOSThread()
	lower()
}
