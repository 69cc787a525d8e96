package node

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	rtm "runtime/metrics"

	"golang.org/x/sys/unix"
)

// largePages asks the system to keep memory in large pages, where its transparent huge pages
// are for who asks (the setting "madvise", which most distributions have). The nodes of a large
// tree lie all over their memory, and nearly each is in another page of 4 KiB, for which the
// processor must walk the page tables. A system that cannot does without.
func largePages(memory []byte) { _ = unix.Madvise(memory, unix.MADV_HUGEPAGE) }

// heapPiece is how many bytes of addresses are taken at a time.
const heapPiece = 64 << 20

// largeHeap asks for large pages for the next so many bytes that the heap will have, and tells
// whether it did. The runtime asks for none, so that each 4 KiB of a heap that grows cost a fault, which
// is dear in a virtual machine. It takes addresses, of which the heap uses the lowest first, and no
// memory: they are those of objects which nobody writes to and which are collected and given back
// before this returns. What was asked for addresses outlives that.
//
// Nothing is done where large pages are for all or for nobody, where addresses count
// as memory (a limit of RLIMIT_AS, or vm.overcommit_memory = 2), and in a process whose heap was larger
// than it is: the runtime writes zeros to what it gives out again, which would take the memory after all. For the
// same reason the objects are small beside the heap: one that begins in what was used before is cleared whole.
func largeHeap(room int64) bool {
	pages, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !bytes.Contains(pages, []byte("[madvise]")) {
		return false
	}
	var addresses unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &addresses); err != nil || addresses.Cur != unix.RLIM_INFINITY {
		return false
	}
	overcommit, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	if err != nil || bytes.HasPrefix(overcommit, []byte("2")) {
		return false
	}
	if idleHeap() > heapPiece {
		return false
	}
	// The runtime ends the process where it gets no memory, so it is not the one to find out.
	probe, err := unix.Mmap(-1, 0, int(room), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil || unix.Munmap(probe) != nil {
		return false
	}
	var taken [][]byte
	for n := int64(0); n < room; n += heapPiece {
		piece := make([]byte, heapPiece)
		largePages(piece)
		taken = append(taken, piece)
	}
	runtime.KeepAlive(taken)
	debug.FreeOSMemory()
	return true
}

// idleHeap is how many bytes of addresses the heap has without using them.
func idleHeap() uint64 {
	samples := []rtm.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	rtm.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}
