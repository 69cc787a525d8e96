package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timer lets a goroutine sleep to within some ten microseconds. The runtime's own timers come up
// to a millisecond late in a process that is idle: it waits for them by epoll_wait, in whole
// milliseconds. It is of one goroutine.
type timer struct {
	fd   int
	file *os.File // of fd, which the runtime polls
}

// newTimer makes a timer whose sleep fails once ctx has ended.
func newTimer(ctx context.Context) (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	t := &timer{fd, os.NewFile(uintptr(fd), "timer")}
	context.AfterFunc(ctx, func() { _ = t.file.SetReadDeadline(time.Unix(1, 0)) }) // it fails where the timer was closed
	return t, nil
}

func (t *timer) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := unix.TimerfdSettime(t.fd, 0, &spec, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	var expirations [8]byte
	_, err := t.file.Read(expirations[:])
	return err
}

func (t *timer) close() error { return t.file.Close() }
