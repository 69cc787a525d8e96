package background_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/chancery/chancery/node/internal/background"
)

// Work that yields has a lower priority, and nobody else has.
func TestYieldLowersItsThreadAlone(t *testing.T) {
	priority := func() int {
		p, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
		if err != nil {
			t.Fatal(err)
		}
		return 20 - p // the system call counts from 40 down to 1
	}
	before := priority()
	found := make(chan int)
	go func() {
		background.Yield()
		found <- priority()
	}()
	if lowered := <-found; lowered <= before && before < 19 {
		t.Errorf("the priority is %d in the background, and %d before", lowered, before)
	}
	for range 100 {
		done := make(chan int)
		go func() { done <- priority() }()
		if other := <-done; other != before {
			t.Fatalf("another goroutine has priority %d, want %d", other, before)
		}
	}
}
