package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

type txService struct {
	nodev1.UnimplementedTxServer
	s *Server
}

// Submit implements nodev1.TxServer.
func (t *txService) Submit(ctx context.Context, req *nodev1.SubmitRequest) (*nodev1.SubmitResponse, error) {
	id, hint, err := t.s.engine.Submit(ctx, req.Tx, true)
	if errors.Is(err, chain.ErrSeen) {
		result, err := t.s.result(id)
		if err != nil {
			return nil, err
		}
		return &nodev1.SubmitResponse{TxId: id[:], Result: result}, nil
	}
	if err != nil {
		return nil, err
	}
	return &nodev1.SubmitResponse{TxId: id[:], Hint: hint}, nil
}

// SubmitStream implements nodev1.TxServer.
func (t *txService) SubmitStream(stream nodev1.Tx_SubmitStreamServer) error {
	caller, err := t.s.submitter(stream.Context())
	if err != nil {
		return err
	}
	if err := t.s.inDebt(caller); err != nil {
		return err
	}
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(req.Txs) > maxBatch {
			return ErrBadRequest.With("txs has %d transactions, at most %d", len(req.Txs), maxBatch)
		}
		resp := &nodev1.SubmitStreamResponse{Seq: req.Seq, Acks: t.submitAll(stream.Context(), req.Txs, req.Hints)}
		if err := stream.Send(resp); err != nil {
			return err
		}
		if err := t.s.pace(stream.Context(), caller, refusedForNow(resp.Acks)); err != nil {
			return err
		}
	}
}

// refusedForNow is how many may be submitted again.
func refusedForNow(acks []*nodev1.Ack) (n int) {
	for _, a := range acks {
		if a.Code >= errs.RetryFrom {
			n++
		}
	}
	return n
}

// submitAll submits side by side, so that the pool verifies their signatures
// together.
func (t *txService) submitAll(ctx context.Context, raws [][]byte, hints bool) []*nodev1.Ack {
	ctx, cancel := t.s.deadline(ctx)
	defer cancel()
	acks := make([]*nodev1.Ack, len(raws))
	var all sync.WaitGroup
	for i, raw := range raws {
		all.Go(func() { acks[i] = t.ack(ctx, raw, hints) })
	}
	all.Wait()
	return acks
}

func (t *txService) ack(ctx context.Context, raw []byte, hints bool) *nodev1.Ack {
	const method = "/chancery.node.v1.Tx/SubmitStream"
	ack := new(nodev1.Ack)
	_, err := t.s.guarded(method, func() (any, error) {
		id, hint, err := t.s.engine.Submit(ctx, raw, hints)
		ack.Hint = hint
		if id != (tx.ID{}) {
			ack.TxId = id[:]
		}
		return nil, err
	})
	if err == nil || errors.Is(err, chain.ErrSeen) {
		return ack
	}
	var e *errs.Error
	if !errors.As(err, &e) || e.Code == errs.Internal {
		// The status holds the incident's number and nothing else.
		ack.Code, ack.Codespace, ack.Log = chain.ErrInternal.Code, chain.ErrInternal.Module, toStatus(t.s.log, method, err).Error()
		return ack
	}
	ack.Code, ack.Codespace, ack.Log = e.Code, e.Module, e.Error()
	if e.Retryable() {
		ack.RetryAfterMs = uint32(pause(e).Milliseconds())
	}
	return ack
}

// Simulate implements nodev1.TxServer.
func (t *txService) Simulate(_ context.Context, req *nodev1.SimulateRequest) (*nodev1.SimulateResponse, error) {
	d, err := t.s.app.Decode(req.Tx)
	if err != nil {
		return nil, err
	}
	x := t.s.app.Next()
	result, err := x.Deliver(d)
	if err != nil {
		return nil, err
	}
	return &nodev1.SimulateResponse{Result: result}, nil
}

// Wait implements nodev1.TxServer.
func (t *txService) Wait(ctx context.Context, req *nodev1.WaitRequest) (*nodev1.WaitResponse, error) {
	id, err := parseID(req.TxId)
	if err != nil {
		return nil, err
	}
	if req.TimeoutMs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	for {
		head := t.s.records.Head()
		result, ok, err := t.s.records.Tx(id)
		if err != nil {
			return nil, err
		}
		if ok {
			return &nodev1.WaitResponse{Result: result}, nil
		}
		if err := t.s.wait(ctx, head+1); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return nil, ErrTimeout.With("%s is not committed yet, or in a block before %d, of which this node keeps no records", id, t.s.oldest())
			}
			return nil, err
		}
	}
}

// Result implements nodev1.TxServer.
func (t *txService) Result(_ context.Context, req *nodev1.ResultRequest) (*nodev1.ResultResponse, error) {
	id, err := parseID(req.TxId)
	if err != nil {
		return nil, err
	}
	result, err := t.s.result(id)
	if err != nil {
		return nil, err
	}
	return &nodev1.ResultResponse{Result: result}, nil
}

func (s *Server) result(id tx.ID) (*chainv1.TxResult, error) {
	result, ok, err := s.records.Tx(id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNoResult.With("%s is in no block from %d to %d", id, s.oldest(), s.records.Head())
	}
	return result, nil
}

// oldest is the oldest block with a record, 0 when there is none.
func (s *Server) oldest() int64 {
	oldest, err := s.records.Oldest()
	if err != nil {
		return 0
	}
	return oldest
}

func parseID(raw []byte) (tx.ID, error) {
	if len(raw) != len(tx.ID{}) {
		return tx.ID{}, ErrBadRequest.With("tx_id has %d bytes, want %d", len(raw), len(tx.ID{}))
	}
	return tx.ID(raw), nil
}
