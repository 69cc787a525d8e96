package bench

import (
	"context"
	"errors"
	"io"

	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

// rudeStream submits whatever it is given at once: nothing but HTTP/2 holds it up.
type rudeStream struct {
	call   nodev1.Tx_SubmitStreamClient
	cancel context.CancelFunc
	seq    uint64
	done   chan struct{} // closed when receiving has ended
	err    error         // why; read after done is closed
}

func openRude(ctx context.Context, c nodev1.TxClient, heard func(uint64, []*nodev1.Ack)) (*rudeStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	call, err := c.SubmitStream(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &rudeStream{call: call, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for {
			r, err := call.Recv()
			if err != nil {
				s.err = err
				return
			}
			heard(r.Seq, r.Acks)
		}
	}()
	return s, nil
}

// Send returns when gRPC has taken the batch, which is not before the node has room for
// what was sent before it.
func (s *rudeStream) Send(txs [][]byte) (uint64, error) {
	s.seq++
	err := s.call.Send(&nodev1.SubmitStreamRequest{Txs: txs, Seq: s.seq})
	if errors.Is(err, io.EOF) { // the reason comes from Recv
		<-s.done
		err = s.err
	}
	return s.seq, err
}

func (s *rudeStream) Close() error {
	defer s.cancel()
	if err := s.call.CloseSend(); err != nil {
		s.cancel()
	}
	<-s.done
	if errors.Is(s.err, io.EOF) {
		return nil
	}
	return s.err
}
