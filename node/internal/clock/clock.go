// Package clock waits.
package clock

import (
	"context"
	"time"
)

// Wait waits for a duration. It returns false, and at once, where ctx ends before.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
