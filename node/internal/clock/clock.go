// Package clock waits, and bounds waiting.
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

// Within is a context that ends after a duration at the latest; 0: whenever ctx does.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
