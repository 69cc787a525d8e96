package rpc

import (
	"errors"
	"time"

	"github.com/chancery/chancery/consensus/records"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// maxTypes is the most event types of one subscription.
	maxTypes = 100
	// maxResponseEvents and maxResponseBytes bound one response.
	maxResponseEvents = 500
	maxResponseBytes  = 256 << 10
)

type eventsService struct {
	nodev1.UnimplementedEventsServer
	s *Server
}

// Subscribe implements nodev1.EventsServer. Nothing is buffered for a subscriber:
// each response is read from the records when the one before has gone out.
func (e *eventsService) Subscribe(req *nodev1.SubscribeRequest, stream nodev1.Events_SubscribeServer) error {
	e.s.metrics.subscribers.Inc()
	defer e.s.metrics.subscribers.Dec()

	wanted, err := wantedTypes(req.Types)
	if err != nil {
		return err
	}
	at, err := e.s.begin(req.From)
	if err != nil {
		return err
	}
	told := time.Now()
	tell := func(resp *nodev1.SubscribeResponse) error {
		told = time.Now()
		resp.Head = e.s.records.Head()
		return stream.Send(resp)
	}
	if err := tell(at.response()); err != nil {
		return err
	}
	for {
		if at.height > e.s.records.Head() {
			if !req.Follow {
				return tell(at.response())
			}
			err := e.s.waitFor(stream.Context(), at.height, e.s.limits.Heartbeat-time.Since(told))
			if errors.Is(err, errElapsed) {
				err = tell(at.response())
			}
			if err != nil {
				return err
			}
			continue
		}
		block, err := e.s.records.Block(at.height)
		if errors.Is(err, records.ErrNoBlock) {
			return ErrCursorTooOld.With("the cursor is in block %d, the oldest is %d", at.height, e.s.oldest())
		}
		if err != nil {
			return err
		}
		events := eventsOf(block)
		if int(at.index) > len(events) {
			return ErrBadRequest.With("the cursor is at event %d of block %d, which has %d", at.index, at.height, len(events))
		}
		for at.height == block.Height {
			var resp *nodev1.SubscribeResponse
			resp, at = fill(block.Height, events, at, wanted)
			if len(resp.Events) == 0 && time.Since(told) < e.s.limits.Heartbeat {
				continue
			}
			if err := tell(resp); err != nil {
				return err
			}
			e.s.metrics.events.Add(float64(len(resp.Events)))
		}
	}
}

// place is a cursor.
type place struct {
	height int64
	index  uint32 // events of the block before it
}

// response tells the place and nothing else.
func (p place) response() *nodev1.SubscribeResponse {
	return &nodev1.SubscribeResponse{Cursor: &nodev1.Cursor{Height: p.height, Index: p.index}}
}

// begin is where a subscription starts.
func (s *Server) begin(from *nodev1.Cursor) (place, error) {
	head := s.records.Head()
	if from == nil {
		return place{height: head + 1}, nil
	}
	p := place{from.Height, from.Index}
	switch {
	case p.height < 0 || p.height == 0 && p.index > 0:
		return p, ErrBadRequest.With("there is no cursor {height: %d, index: %d}", p.height, p.index)
	case p.height == 0:
		p.height = 1
	case p.height > head+1 || p.height == head+1 && p.index > 0:
		return p, ErrCursorAhead.With("the cursor is in block %d, the node has %d", p.height, head)
	}
	oldest, err := s.records.Oldest()
	if err != nil {
		return p, err
	}
	if p.height <= head && p.height < oldest {
		return p, ErrCursorTooOld.With("the cursor is in block %d, the oldest is %d", p.height, oldest)
	}
	return p, nil
}

func wantedTypes(types []string) (map[string]bool, error) {
	if len(types) > maxTypes {
		return nil, ErrBadRequest.With("types has %d names, at most %d", len(types), maxTypes)
	}
	if len(types) == 0 {
		return nil, nil
	}
	wanted := make(map[string]bool, len(types))
	for _, t := range types {
		if t == "" || len(t) > 256 {
			return nil, ErrBadRequest.With("types holds a name that is empty or longer than 256 bytes")
		}
		wanted[t] = true
	}
	return wanted, nil
}

// eventsOf lists a block's events in order.
func eventsOf(b *chainv1.BlockRecord) []*nodev1.BlockEvent {
	var out []*nodev1.BlockEvent
	add := func(id []byte, events []*chainv1.Event) {
		for _, e := range events {
			out = append(out, &nodev1.BlockEvent{Height: b.Height, Index: uint32(len(out)), Time: b.Time, TxId: id, Event: e})
		}
	}
	for _, t := range b.Txs {
		add(t.TxId, t.Events)
	}
	add(nil, b.Events)
	return out
}

// fill takes the wanted events after a place into one response, up to its bounds
// or the end of the block, and returns the place after them.
func fill(height int64, events []*nodev1.BlockEvent, at place, wanted map[string]bool) (*nodev1.SubscribeResponse, place) {
	var out []*nodev1.BlockEvent
	size := 0
	for int(at.index) < len(events) && len(out) < maxResponseEvents && size < maxResponseBytes {
		e := events[at.index]
		at.index++
		if wanted == nil || wanted[e.Event.Type] {
			out = append(out, e)
			size += len(e.Event.Value)
		}
	}
	if int(at.index) == len(events) {
		at = place{height: height + 1}
	}
	resp := at.response()
	resp.Events = out
	return resp, at
}
