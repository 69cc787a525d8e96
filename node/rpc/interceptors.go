package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// free methods are answered however busy the node is.
func free(method string) bool { return strings.HasPrefix(method, "/grpc.health.") }

// unary is around every unary call: slot, deadline, state, panics, errors.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	begun := time.Now()
	defer func() {
		err = toStatus(s.log, info.FullMethod, err)
		s.metrics.call(info.FullMethod, err, time.Since(begun))
	}()
	if !free(info.FullMethod) {
		if !s.calls.take() {
			return nil, ErrBusy.With("at most %d calls", cap(s.calls))
		}
		defer s.calls.give()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	r, err := readingOf(md)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	resp, err = s.guarded(info.FullMethod, func() (any, error) { return handler(withReading(ctx, r), req) })
	if r.snapshot != nil {
		header := metadata.Pairs(HeightKey, strconv.FormatInt(r.snapshot.Version(), 10))
		if err := grpc.SetHeader(ctx, header); err != nil {
			return nil, fmt.Errorf("send the height: %w", err)
		}
	}
	if !r.prove || !answered(err) {
		return resp, err
	}
	raw, failure := s.receipt(r)
	if failure == nil && len(raw) > maxTrailerReceipt {
		failure = ErrReceiptTooBig.With("%d bytes, at most %d", len(raw), maxTrailerReceipt)
	}
	if failure == nil {
		failure = grpc.SetTrailer(ctx, metadata.Pairs(ReceiptKey, string(raw)))
	}
	if failure != nil && err == nil {
		return nil, failure
	}
	return resp, err
}

// answered tells whether a query came to an answer, which a refusal is too: that
// there is no such record can be proven.
func answered(err error) bool {
	var e *errs.Error
	return err == nil || errors.As(err, &e) && e.Code != errs.Internal && !e.Is(chain.ErrNotProvable) && !e.Is(chain.ErrBadHeight)
}

// deadline gives the call one, and none that is too late.
func (s *Server) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, s.limits.MaxDeadline)
	}
	return context.WithTimeout(ctx, s.limits.Deadline)
}

// guarded turns a panic of a handler into an error. A query must never take the
// node down: a *state.Fault while blocks are executed does, and is not met here.
func (s *Server) guarded(method string, fn func() (any, error)) (resp any, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case walked:
			resp, err = nil, chain.ErrNotProvable
		case *state.Fault:
			resp, err = nil, incident(s.log, method, slog.String("fault", p.Error()))
		default:
			resp, err = nil, incident(s.log, method, slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
		}
	}()
	return fn()
}

// stream is around every streaming call.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	begun := time.Now()
	defer func() {
		err = toStatus(s.log, info.FullMethod, err)
		s.metrics.call(info.FullMethod, err, time.Since(begun))
	}()
	// Subscriptions have slots of their own, so that they cannot keep out all else.
	if info.FullMethod != nodev1.Events_Subscribe_FullMethodName && !free(info.FullMethod) {
		if !s.calls.take() {
			return ErrBusy.With("at most %d calls", cap(s.calls))
		}
		defer s.calls.give()
	}
	_, err = s.guarded(info.FullMethod, func() (any, error) { return nil, handler(srv, stream) })
	return err
}
