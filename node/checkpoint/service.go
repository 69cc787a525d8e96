package checkpoint

import (
	"context"
	"errors"
	"strings"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// Service answers nodev1.Checkpoints from a publisher.
type Service struct {
	nodev1.UnimplementedCheckpointsServer
	p *Publisher
}

// NewService makes a service. With nil it refuses every call by ErrOff.
func NewService(p *Publisher) *Service { return &Service{p: p} }

// Checkpoint implements nodev1.CheckpointsServer.
func (s *Service) Checkpoint(context.Context, *nodev1.CheckpointRequest) (*nodev1.CheckpointResponse, error) {
	p := s.p
	if p == nil {
		return nil, ErrOff
	}
	c, err := p.current()
	if err != nil && !errors.Is(err, ErrNotYet) {
		return nil, err
	}
	resp := &nodev1.CheckpointResponse{
		Checkpoint: string(c.note), Size: c.Size, Root: c.Root[:], VerifierKey: p.o.Key.Public().String(),
		Interval: p.o.Interval, Quorum: uint32(p.o.Quorum),
	}
	if c.Size == 0 {
		resp.Root = nil
	}
	p.mu.Lock()
	resp.Signed = p.signed.Size
	if p.failure != nil {
		resp.Failure = p.failure.Error()
	}
	p.mu.Unlock()
	for _, w := range p.witnesses {
		w.mu.Lock()
		x := &nodev1.WitnessStatus{Name: w.Key.Name(), VerifierKey: w.Key.String(), Size: w.signed}
		if w.signed > 0 {
			x.Time = w.since.UnixMilli()
		}
		if w.failure != nil {
			x.Failure = strings.ToValidUTF8(w.failure.Error(), "\uFFFD")
		}
		w.mu.Unlock()
		resp.Witnesses = append(resp.Witnesses, x)
	}
	return resp, nil
}

// Inclusion implements nodev1.CheckpointsServer.
func (s *Service) Inclusion(_ context.Context, req *nodev1.InclusionRequest) (*nodev1.InclusionResponse, error) {
	if s.p == nil {
		return nil, ErrOff
	}
	proof, err := s.p.Inclusion(req.Height)
	if err != nil {
		return nil, err
	}
	return &nodev1.InclusionResponse{Proof: string(proof.Text())}, nil
}

// Consistency implements nodev1.CheckpointsServer.
func (s *Service) Consistency(_ context.Context, req *nodev1.ConsistencyRequest) (*nodev1.ConsistencyResponse, error) {
	if s.p == nil {
		return nil, ErrOff
	}
	proof, err := s.p.Consistency(req.Size)
	if err != nil {
		return nil, err
	}
	return &nodev1.ConsistencyResponse{Proof: string(proof.Text())}, nil
}
