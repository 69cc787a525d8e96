package node

import "golang.org/x/sys/unix"

// largePages asks the system to keep memory in large pages, where its transparent huge pages
// are for who asks (the setting "madvise", which most distributions have). The nodes of a large
// tree lie all over their memory, and nearly each is in another page of 4 KiB, for which the
// processor must walk the page tables. A system that cannot does without.
func largePages(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }
