package forecast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chancery/chancery/consensus/records"
)

// retryPause is how long a follower that could not read a record waits.
const retryPause = 10 * time.Second

// Follow feeds a store with the node's committed blocks until ctx ends: first those of
// the look-back, then each as it is committed. A record that cannot be read is logged
// and tried again: forecasts fall behind, and the node goes on.
func Follow(ctx context.Context, store *Store, log *records.Log, source Source, to *slog.Logger) {
	for ctx.Err() == nil {
		err := follow(ctx, store, log, source)
		if ctx.Err() != nil {
			return
		}
		to.Error("forecasts fall behind: a record could not be read", "error", err, "again_in", retryPause)
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

func follow(ctx context.Context, store *Store, log *records.Log, source Source) error {
	store.ahead(log.Head())
	height := store.Place().Height + 1
	if height == 1 {
		begin, err := beginning(log, store.settings.LookBack)
		if err != nil {
			return err
		}
		height = begin
	}
	for {
		if err := log.Wait(ctx, height); err != nil {
			return err
		}
		store.ahead(log.Head())
		block, err := log.Block(height)
		if errors.Is(err, records.ErrNoBlock) {
			// It was pruned meanwhile, or the node took its state from a snapshot.
			oldest, oldErr := log.Oldest()
			if oldErr != nil {
				return oldErr
			}
			if oldest <= height {
				return err
			}
			height = oldest
			continue
		}
		if err != nil {
			return err
		}
		store.Observe(block.Height, block.Time, source(block))
		height++
	}
}

// beginning is the first block of the look-back: the oldest whose time is not further
// behind the latest block's. Times of blocks rise, so a bisection finds it.
func beginning(log *records.Log, back time.Duration) (int64, error) {
	head := log.Head()
	oldest, err := log.Oldest()
	if err != nil {
		return 0, err
	}
	if head < max(oldest, 1) {
		return max(oldest, 1), nil
	}
	latest, err := log.Block(head)
	if err != nil {
		return 0, fmt.Errorf("find where to begin: %w", err)
	}
	since := latest.Time - back.Milliseconds()
	low, high := max(oldest, 1), head // the answer is among them
	for low < high {
		middle := low + (high-low)/2
		block, err := log.Block(middle)
		switch {
		case errors.Is(err, records.ErrNoBlock):
			low = middle + 1
		case err != nil:
			return 0, fmt.Errorf("find where to begin: %w", err)
		case block.Time < since:
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, nil
}
