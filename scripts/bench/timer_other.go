//go:build !linux

package main

import "time"

// timer is that of Linux, as well as the runtime's does it.
type timer struct{}

func newTimer() (*timer, error) { return new(timer), nil }

func (*timer) sleep(d time.Duration) error { time.Sleep(d); return nil }
func (*timer) close() error                { return nil }
