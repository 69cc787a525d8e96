package client

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/chancery/chancery/node/internal/clock"
)

// backoff spaces attempts: each pause is drawn from the upper half of a span that
// doubles up to a limit, so that many clients do not come back together.
type backoff struct {
	first, limit time.Duration
	span         time.Duration
}

// pause waits for at least atLeast, or returns the context's error.
func (b *backoff) pause(ctx context.Context, atLeast time.Duration) error {
	if b.span == 0 {
		b.span = b.first
	}
	wait := max(b.span/2+rand.N(b.span/2+1), atLeast)
	b.span = min(2*b.span, b.limit)
	if !clock.Wait(ctx, wait) {
		return ctx.Err()
	}
	return nil
}

func (b *backoff) reset() { b.span = 0 }
