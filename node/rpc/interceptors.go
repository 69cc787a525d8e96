package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// free methods are answered however busy the node is.
func free(method string) bool { return method == healthv1.Health_Check_FullMethodName }

// admitted gives a unary call its slot before its request is received, so that what
// arrives is bounded too, and the request a time by which it must be there.
func (s *Server) admitted(method string, handler grpc.MethodHandler) grpc.MethodHandler {
	return func(service any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (response any, failure error) {
		begun := time.Now()
		refused := func(err error) error {
			err = toStatus(s.log, method, err)
			s.metrics.call(method, err, time.Since(begun))
			return err
		}
		who, audit, err := s.allowed(ctx, method)
		if err != nil {
			return nil, refused(err)
		}
		if audit {
			defer func() { s.audited(ctx, who, method, begun, failure) }()
		}
		if !free(method) {
			give, err := s.shares.take(who)
			if err != nil {
				return nil, refused(err)
			}
			defer give()
			if !s.calls.take() {
				return nil, refused(ErrBusy.With("at most %d calls", cap(s.calls)))
			}
			defer s.calls.give()
		}
		return handler(service, ctx, func(into any) error {
			arrives(ctx)
			err := arrived(ctx, s.arrive(s.limits.Deadline, func() error { return receive(into) }))
			if errors.Is(err, errElapsed) {
				err = ErrTimeout.With("the request did not arrive within %s", s.limits.Deadline)
			}
			if err != nil {
				return refused(err)
			}
			return nil
		}, interceptor)
	}
}

// arrive gives a client a time to send a message. After an error the call must be
// ended, which also ends the receiving left behind.
func (s *Server) arrive(most time.Duration, receive func() error) error {
	done := make(chan error, 1)
	go func() { done <- receive() }()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errElapsed
	case <-s.life.Done():
		return ErrStopping
	}
}

// unary is around every unary call whose request has arrived: deadline, state,
// panics, errors.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	begun := time.Now()
	defer func() {
		err = toStatus(s.log, info.FullMethod, err)
		s.metrics.call(info.FullMethod, err, time.Since(begun))
	}()
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
			if errors.Is(p, state.ErrNoVersion) {
				resp, err = nil, chain.ErrBadHeight.Wrap(p) // it was pruned while it was read
				return
			}
			resp, err = nil, incident(s.log, method, slog.String("fault", p.Error()))
		default:
			resp, err = nil, incident(s.log, method, slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
		}
	}()
	return fn()
}

// stream is around every streaming call: slot, time to receive and to send, end of
// the node, panics, errors.
func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	begun := time.Now()
	who, audit, refusal := s.allowed(stream.Context(), info.FullMethod)
	defer func() {
		err = toStatus(s.log, info.FullMethod, err)
		s.metrics.call(info.FullMethod, err, time.Since(begun))
		if audit {
			s.audited(stream.Context(), who, info.FullMethod, begun, err)
		}
	}()
	if refusal != nil {
		return refusal
	}
	give, err := s.shares.take(who)
	if err != nil {
		return err
	}
	defer give()
	// Subscriptions have slots of their own, so that they cannot keep out all else.
	slots, what := s.calls, "calls"
	if info.FullMethod == nodev1.Events_Subscribe_FullMethodName || info.FullMethod == nodev1.Sentinel_Watch_FullMethodName {
		slots, what = s.subscribers, "subscriptions"
	}
	if !slots.take() {
		return ErrBusy.With("at most %d %s", cap(slots), what)
	}
	defer slots.give()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	p := &patient{ServerStream: stream, s: s, ctx: ctx, method: info.FullMethod}
	_, err = s.guarded(info.FullMethod, func() (any, error) { return nil, handler(srv, p) })
	if err != nil && p.failure != nil {
		// A handler that is not ours may have made something else of it.
		err = p.failure
	}
	if code := status.Code(err); s.life.Err() != nil && (code == codes.Canceled || errors.Is(err, context.Canceled)) {
		err = ErrStopping
	}
	return err
}

// patient is a stream whose client has a time to send and to take each message.
// Its context ends with the node, too. It belongs to one goroutine.
type patient struct {
	grpc.ServerStream
	s        *Server
	ctx      context.Context
	method   string
	received bool  // whether there was a first message
	failure  error // of receiving or sending
}

func (p *patient) Context() context.Context { return p.ctx }

// RecvMsg implements grpc.ServerStream.
func (p *patient) RecvMsg(into any) error {
	most, late := p.s.limits.Deadline, ErrTimeout
	if p.received {
		most, late = p.s.limits.Idle, ErrIdle
	}
	arrives(p.ctx)
	err := arrived(p.ctx, p.s.arrive(most, func() error { return p.ServerStream.RecvMsg(into) }))
	if err == nil {
		err = p.still()
	}
	switch {
	case errors.Is(err, errElapsed):
		err = late.With("nothing arrived within %s", most)
	case err == nil:
		p.received = true
		return nil
	}
	if !errors.Is(err, io.EOF) {
		p.failure = err
	}
	return err
}

// still refuses to go on for a caller who may no longer call the method.
func (p *patient) still() error {
	_, _, err := p.s.allowed(p.ctx, p.method)
	return err
}

// SendMsg implements grpc.ServerStream.
func (p *patient) SendMsg(m any) error {
	err := p.still()
	if err == nil {
		err = p.s.send(p.ctx, func() error { return p.ServerStream.SendMsg(m) })
	}
	if err != nil {
		p.failure = err
	}
	return err
}

// send gives a client the time that a slow reader has to take a message. After an
// error the stream must be ended, which also ends the sending left behind.
func (s *Server) send(ctx context.Context, send func() error) error {
	done := make(chan error, 1)
	go func() { done <- send() }()
	timer := time.NewTimer(s.limits.SlowReader)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		s.metrics.slow.Inc()
		return ErrSlowReader.With("nothing was taken for %s", s.limits.SlowReader)
	case <-s.life.Done():
		return ErrStopping
	case <-ctx.Done():
		if s.life.Err() != nil {
			return ErrStopping
		}
		return ctx.Err()
	}
}
