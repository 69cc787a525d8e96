package main

import (
	"context"
	"slices"
	"testing"
	"time"
)

// A timer never comes early, and is not late by much in the median; more would be seen as the
// latency of what is measured.
func TestATimerIsExact(t *testing.T) {
	clock, err := newTimer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = clock.close() }()
	const each = 1300 * time.Microsecond
	var late []time.Duration
	for range 101 {
		begun := time.Now()
		if err := clock.sleep(each); err != nil {
			t.Fatal(err)
		}
		late = append(late, time.Since(begun)-each)
	}
	slices.Sort(late)
	if late[0] < 0 {
		t.Errorf("early by %s", -late[0])
	}
	t.Logf("late by %s in the median, %s at most", late[50], late[100])
	if late[50] > 2*time.Millisecond {
		t.Errorf("late by %s in the median", late[50])
	}
	if err := clock.sleep(-1); err != nil {
		t.Error(err)
	}
}

// Who sleeps until a call that is due later than the measurement ends is woken by its end.
func TestATimerEndsWithItsContext(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	clock, err := newTimer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = clock.close() }()
	time.AfterFunc(20*time.Millisecond, end)
	begun := time.Now()
	if err := clock.sleep(time.Minute); err == nil || time.Since(begun) > 30*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}
