package node

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the heap takes after its addresses were asked for is in large pages where the system has
// them for who asks, and nothing of it is memory before it is used, not in a process either that has
// asked before: there the runtime would clear it.
func TestTheHeapIsInLargePages(t *testing.T) {
	pages, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || !bytes.Contains(pages, []byte("[madvise]")) {
		t.Skip("this system has no large pages for who asks for them: /sys/kernel/mm/transparent_hugepage/enabled is not madvise")
	}
	if os.Getenv("CHANCERY_FRESH_HEAP") == "" {
		again := exec.Command(os.Args[0], "-test.run=^TestTheHeapIsInLargePages$", "-test.v")
		again.Env = append(os.Environ(), "CHANCERY_FRESH_HEAP=1")
		out, err := again.CombinedOutput()
		switch {
		case err != nil:
			t.Fatalf("in a process of its own: %v\n%s", err, out)
		case bytes.Contains(out, []byte("--- SKIP")):
			t.Skipf("in a process of its own:\n%s", out)
		}
		return
	}
	const room = 1 << 30
	before := resident(t)
	if !largeHeap(room) {
		overcommit, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
		var addresses unix.Rlimit
		if err = errors.Join(err, unix.Getrlimit(unix.RLIMIT_AS, &addresses)); err != nil {
			t.Fatal(err)
		}
		if addresses.Cur == unix.RLIM_INFINITY && !bytes.HasPrefix(overcommit, []byte("2")) {
			t.Fatal("nothing was asked for, though addresses are free")
		}
		t.Skip("addresses count as memory here")
	}
	if grown := resident(t) - before; grown > room/8 {
		t.Errorf("%d bytes of memory were taken for addresses", grown)
	}
	if largeHeap(room) {
		t.Error("addresses were taken a second time")
	}
	if grown := resident(t) - before; grown > room/8 {
		t.Errorf("%d bytes of memory were taken for addresses the second time", grown)
	}
	// More than is free in what the heap had before.
	taken := make([]byte, room/4)
	if flags := flagsOf(t, fmt.Sprintf("%p", &taken[len(taken)/2])); !strings.Contains(flags+" ", " hg ") {
		t.Errorf("memory of the heap is of pages with the flags %q", flags)
	}
}

// resident is how many bytes of memory the process has.
func resident(t *testing.T) int64 {
	var all, held int64
	raw, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(raw), &all, &held)
	}
	if err != nil {
		t.Fatal(err)
	}
	return held * int64(os.Getpagesize())
}

// flagsOf is what the system notes of the memory at an address.
func flagsOf(t *testing.T, pointer string) string {
	var address uint64
	if _, err := fmt.Sscanf(pointer, "0x%x", &address); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	within := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var from, to uint64
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			within = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && within {
			return flags
		}
	}
	t.Fatalf("no memory is known at %#x", address)
	return ""
}

// BenchmarkFirstTouch is what 4 KiB of memory cost that a process writes to for the first time: as
// pages of their own or parts of large ones, and first since they have been free for long, or
// again a moment after another mapping gave them back. On a machine of its own, the two
// are about the same. A virtual machine that gives what is free back to its host takes far longer for the
// first: the host has to find each page anew. Run it after a minute of quiet.
func BenchmarkFirstTouch(b *testing.B) {
	const size, page = 1 << 30, 4 << 10
	touch := func(b *testing.B, advice int) time.Duration {
		memory, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Madvise(memory, advice); err != nil {
			b.Skipf("the system has no large pages: %v", err)
		}
		began := time.Now()
		for i := 0; i < size; i += page {
			memory[i] = 1
		}
		took := time.Since(began)
		if err := unix.Munmap(memory); err != nil {
			b.Fatal(err)
		}
		return took
	}
	for _, kind := range []struct {
		name   string
		advice int
	}{{"small", unix.MADV_NOHUGEPAGE}, {"large", unix.MADV_HUGEPAGE}} {
		b.Run(kind.name, func(b *testing.B) {
			var first, again time.Duration
			for b.Loop() {
				first += touch(b, kind.advice)
				again += touch(b, kind.advice)
			}
			pages := float64(b.N) * size / page
			b.ReportMetric(float64(first.Nanoseconds())/pages, "ns/4KiB-first")
			b.ReportMetric(float64(again.Nanoseconds())/pages, "ns/4KiB-again")
		})
	}
}
