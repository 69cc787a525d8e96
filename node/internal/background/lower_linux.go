package background

import "golang.org/x/sys/unix"

// niceness is that of work in the background: a thread of this much gets a tenth of the time
// of another one, where there is not enough for both (sched(7)).
const niceness = 10

// lower lowers the calling thread's priority. Whoever may not has it as it is.
func lower() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness) }
