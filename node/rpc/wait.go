package rpc

import (
	"context"
	"errors"
	"time"
)

// wait returns when the node has committed height, or with ErrStopping.
func (s *Server) wait(ctx context.Context, height int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	err := s.records.Wait(ctx, height)
	if err != nil && s.life.Err() != nil {
		return ErrStopping
	}
	return err
}

// errElapsed ends a wait of waitFor.
var errElapsed = errors.New("the time to wait has passed")

// waitFor is wait for at most a time, after which it returns errElapsed.
func (s *Server) waitFor(ctx context.Context, height int64, most time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := s.wait(limited, height)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return errElapsed
	}
	return err
}
