package divergence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/p2p/conn"
	"github.com/cometbft/cometbft/types"
	gogotypes "github.com/cosmos/gogoproto/types"

	"github.com/chancery/chancery/chain/state"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// Channel is the peer-to-peer channel of questions and answers.
	Channel = byte(0x78)

	maxMessage     = 1 << 20          // bytes
	maxWaiting     = 8                // questions of peers that wait for their turn
	answerPatience = 30 * time.Second // the most that an answer may take to make
	peerPatience   = 40 * time.Second // the most that one is waited for
	busyPause      = time.Second      // before a question is asked again
)

// Host is what a Reactor knows of its node.
type Host struct {
	// State is the state of a height, 0 for the latest.
	State func(height int64) (state.Snapshot, error)
	// Header is the signed header of a height.
	Header  func(height int64) (*types.LightBlock, error)
	Version string // the program's
	Tree    string // kind of the state's tree
	// Joined is told of each peer that connects. It must not wait.
	Joined func()
	Log    *slog.Logger
}

// Reactor carries questions about states, and their answers, between nodes that are peers.
// Only a node that an active organisation binds can be one. Answers are made one at a time,
// whoever asks, and a peer must rest as long as its last answer took to make.
type Reactor struct {
	p2p.BaseReactor
	host   Host
	cancel context.CancelFunc
	group  sync.WaitGroup
	queue  chan question

	mu      sync.Mutex // guards what follows
	last    uint64
	pending map[uint64]pending
	resting map[p2p.ID]time.Time // until when a peer's questions are refused
}

type question struct {
	from p2p.Peer
	id   uint64
	q    *nodev1.HashesRequest
}

type pending struct {
	peer   p2p.ID
	answer chan *nodev1.PeerMessage // holds one
}

// NewReactor makes the reactor of a node.
func NewReactor(h Host) *Reactor {
	r := &Reactor{host: h, queue: make(chan question, maxWaiting), pending: make(map[uint64]pending), resting: make(map[p2p.ID]time.Time)}
	r.BaseReactor = *p2p.NewBaseReactor("Divergence", r)
	return r
}

// OnStart implements service.Service.
func (r *Reactor) OnStart() error {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case x := <-r.queue:
				r.serve(ctx, x)
			}
		}
	})
	return nil
}

// OnStop implements service.Service. No state is read any more when it returns.
func (r *Reactor) OnStop() {
	r.cancel()
	r.group.Wait()
}

// GetChannels implements p2p.Reactor.
func (r *Reactor) GetChannels() []*conn.ChannelDescriptor {
	return []*conn.ChannelDescriptor{{
		ID: Channel, Priority: 1, SendQueueCapacity: 2 * maxWaiting, RecvMessageCapacity: maxMessage, MessageType: &gogotypes.BytesValue{},
	}}
}

// AddPeer implements p2p.Reactor.
func (r *Reactor) AddPeer(p2p.Peer) { r.host.Joined() }

// RemovePeer implements p2p.Reactor.
func (r *Reactor) RemovePeer(peer p2p.Peer, _ any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.resting {
		if time.Now().After(at) {
			delete(r.resting, id)
		}
	}
	for id, p := range r.pending {
		if p.peer == peer.ID() {
			close(p.answer)
			delete(r.pending, id)
		}
	}
}

// Receive implements p2p.Reactor.
func (r *Reactor) Receive(e p2p.Envelope) {
	raw, ok := e.Message.(*gogotypes.BytesValue)
	m := new(nodev1.PeerMessage)
	if !ok || m.UnmarshalVT(raw.Value) != nil {
		r.Switch.StopPeerForError(e.Src, errors.New("it sent what is no message about states"))
		return
	}
	q := m.GetQuestion()
	if q == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if p, ok := r.pending[m.Id]; ok && p.peer == e.Src.ID() {
			delete(r.pending, m.Id)
			p.answer <- m
		}
		return
	}
	if wait := r.rests(e.Src.ID()); wait > 0 {
		r.refuse(e.Src, m.Id, "its last answer took long to make", wait)
		return
	}
	select {
	case r.queue <- question{from: e.Src, id: m.Id, q: q}:
	default:
		r.refuse(e.Src, m.Id, "others ask, too", busyPause)
	}
}

// rests is for how long a peer has to wait yet.
func (r *Reactor) rests(id p2p.ID) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.resting[id])
}

func (r *Reactor) refuse(to p2p.Peer, id uint64, reason string, retry time.Duration) {
	r.send(to, &nodev1.PeerMessage{Id: id, Of: &nodev1.PeerMessage_Refusal{Refusal: &nodev1.Refusal{Reason: reason, RetryMs: retry.Milliseconds()}}})
}

// send is false where the peer takes no message now.
func (r *Reactor) send(to p2p.Peer, m *nodev1.PeerMessage) bool {
	raw, err := m.MarshalVT()
	return err == nil && len(raw) < maxMessage/2 && to.TrySend(p2p.Envelope{ChannelID: Channel, Message: &gogotypes.BytesValue{Value: raw}})
}

// serve answers a question.
func (r *Reactor) serve(ctx context.Context, x question) {
	if wait := r.rests(x.from.ID()); wait > 0 {
		r.refuse(x.from, x.id, "its last answer took long to make", wait)
		return
	}
	begun := time.Now()
	within, cancel := context.WithTimeout(ctx, answerPatience)
	a, err := r.Answer(within, x.q)
	cancel()
	r.mu.Lock()
	r.resting[x.from.ID()] = time.Now().Add(time.Since(begun))
	r.mu.Unlock()
	switch {
	case ctx.Err() != nil:
	case err != nil:
		r.host.Log.Info("a peer's question about the state is not answered", "node", x.from.ID(), "error", err)
		r.refuse(x.from, x.id, err.Error(), 0)
	case !r.send(x.from, &nodev1.PeerMessage{Id: x.id, Of: &nodev1.PeerMessage_Answer{Answer: a}}):
		r.refuse(x.from, x.id, "the answer is too large, or the connection too slow", 0)
	}
}

// Answer is what this node says itself, whoever asks.
func (r *Reactor) Answer(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	s, err := r.host.State(q.Height)
	if err != nil {
		return nil, err
	}
	a, err := Answer(ctx, s, q)
	if err != nil {
		return nil, err
	}
	a.Version, a.Tree = r.host.Version, r.host.Tree
	if !q.Header {
		return a, nil
	}
	light, err := r.host.Header(a.Height + 1)
	if err != nil {
		return a, nil //nolint:nilerr // it has none yet, or no more
	}
	pb, err := light.ToProto()
	if err != nil {
		return nil, err
	}
	a.Next, err = pb.Marshal()
	return a, err
}

// From is the state of a peer as a source.
func (r *Reactor) From(id p2p.ID) Source {
	return func(ctx context.Context, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
		return r.Ask(ctx, id, q)
	}
}

// Ask puts a question to a peer, again while it is busy.
func (r *Reactor) Ask(ctx context.Context, id p2p.ID, q *nodev1.HashesRequest) (*nodev1.HashesResponse, error) {
	for {
		m, err := r.ask(ctx, id, q)
		if err != nil {
			return nil, err
		}
		if a := m.GetAnswer(); a != nil {
			return a, nil
		}
		no := m.GetRefusal()
		if no.GetRetryMs() <= 0 {
			return nil, fmt.Errorf("it refuses: %q", no.GetReason())
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it refuses: %q: %w", no.GetReason(), ctx.Err())
		case <-r.Quit():
			return nil, errStopping
		case <-time.After(time.Duration(min(no.RetryMs, peerPatience.Milliseconds())) * time.Millisecond):
		}
	}
}

var (
	errStopping = errors.New("the node is being stopped")
	errGone     = errors.New("it is not connected")
)

func (r *Reactor) ask(ctx context.Context, id p2p.ID, q *nodev1.HashesRequest) (*nodev1.PeerMessage, error) {
	peer := r.Switch.Peers().Get(id)
	if peer == nil {
		return nil, errGone
	}
	p := pending{peer: id, answer: make(chan *nodev1.PeerMessage, 1)}
	r.mu.Lock()
	r.last++
	n := r.last
	r.pending[n] = p
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.pending, n)
		r.mu.Unlock()
	}()
	if !r.send(peer, &nodev1.PeerMessage{Id: n, Of: &nodev1.PeerMessage_Question{Question: q}}) {
		return nil, errors.New("it takes no questions about its state: its program is an older one, or the connection is slow")
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.Quit():
		return nil, errStopping
	case <-time.After(peerPatience):
		return nil, errors.New("it says nothing")
	case m, ok := <-p.answer:
		if !ok {
			return nil, errGone
		}
		return m, nil
	}
}
