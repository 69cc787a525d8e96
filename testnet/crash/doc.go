// Package crash stops programs at each step at which they change files, one after the
// other, so that a test can see what every such moment leaves behind.
//
// A step is a system call of any thread that changes something below a folder: it writes,
// syncs, truncates, creates, renames, links or removes. The program is the built one and
// knows nothing of it: it runs under ptrace(2). A step is not made, with the program
// killed in its place, or it is refused with EIO: for good, as by a bad disk, or this once.
// Or it is made, and said to have failed. A program that is killed at step n+1 made step n
// and learnt nothing of it, so killing at every step is both: failed, and failed but done.
// What a power failure leaves is not shown by it: what was written and not synced is there.
package crash
