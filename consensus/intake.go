package consensus

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// admission is a transaction on its way into the pool.
type admission struct {
	raw      []byte
	hash     uint64 // XXH64 of raw, of what a peer offered
	since    time.Time
	fromPeer bool
	done     chan answer // nil: nobody waits for the answer
	hint     bool        // whether the answer says what the screen would say
}

// asks is what the pool asks of it. A peer has asked when it was submitted there.
func (a admission) asks() chain.Ask {
	switch {
	case a.fromPeer:
		return chain.AskNothing
	case a.hint:
		return chain.AskHint
	}
	return chain.AskRoom
}

// answer is what is said of an admission. The id is zero when there is none.
type answer struct {
	id   tx.ID
	hint *chainv1.Verdict // for whoever waits for the answer
	err  error
}

// intake holds what waits for its check, in a queue for each organisation that authors
// claim to be of. Batches take from the queues in turn, so that nobody's flood delays the
// check of another's.
type intake struct {
	ready chan struct{} // has room for one; full when something may wait

	mu     sync.Mutex              // guards all below
	queues map[string]*intakeQueue // none of which is empty
	turns  []*intakeQueue          // the same, in order of their turn
	n      int                     // of all
	peers  int                     // bytes of those that came from peers
}

type intakeQueue struct {
	organisation string
	waiting      []admission // oldest first
	bytes        int
}

func newIntake() *intake {
	return &intake{ready: make(chan struct{}, 1), queues: make(map[string]*intakeQueue)}
}

// mostQueues is of how many organisations what peers offered may wait: they are those that authors
// claim to be of, and for each look at what is lacking all are gone through.
const mostQueues = 1024

// put queues an admission, unless most wait of its organisation already, or it is from a
// peer and those of peers take mostPeers bytes with it, or are of mostQueues others.
func (q *intake) put(organisation string, a admission, most, mostPeers int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	own := q.queues[organisation]
	switch {
	case own != nil && len(own.waiting) >= most, a.fromPeer && q.peers+len(a.raw) > mostPeers, a.fromPeer && own == nil && len(q.queues) >= mostQueues:
		return false
	case own == nil:
		own = &intakeQueue{organisation: organisation}
		q.queues[organisation] = own
	}
	if a.fromPeer {
		q.peers += len(a.raw)
	}
	if len(own.waiting) == 0 {
		q.turns = append(q.turns, own)
	}
	own.waiting = append(own.waiting, a)
	own.bytes += len(a.raw)
	q.n++
	q.poke()
	return true
}

// poke has whoever waits for ready look.
func (q *intake) poke() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// oldest is since when the oldest waits; the zero time: nothing does.
func (q *intake) oldest() (since time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, own := range q.turns {
		if first := own.waiting[0].since; i == 0 || first.Before(since) {
			since = first
		}
	}
	return since
}

// forget takes out those that are in a block.
func (q *intake) forget(txs [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return
	}
	gone := make(map[uint64][]byte, len(txs))
	for _, raw := range txs {
		gone[xxhash.Sum64(raw)] = raw
	}
	q.turns = slices.DeleteFunc(q.turns, func(own *intakeQueue) bool {
		own.waiting = slices.DeleteFunc(own.waiting, func(a admission) bool {
			// Where two hashes are alike by chance, one waits on and is found to be known.
			raw, is := gone[a.hash]
			if is = is && bytes.Equal(raw, a.raw); is {
				q.left(own, a)
			}
			return is
		})
		if len(own.waiting) > 0 {
			return false
		}
		delete(q.queues, own.organisation)
		return true
	})
}

// left accounts for one that waits no more. It needs mu held.
func (q *intake) left(own *intakeQueue, a admission) {
	own.bytes -= len(a.raw)
	q.n--
	if a.fromPeer {
		q.peers -= len(a.raw)
	}
}

// take appends to batch until it has most or size bytes, or nothing waits, of each organisation
// until it has the bytes that lack says, which it counts down, unless that is nil.
func (q *intake) take(batch []admission, most, size int, lack map[string]int) []admission {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := 0
	var enough []*intakeQueue
	for len(q.turns) > 0 && len(batch) < most && taken < size {
		own := q.turns[0]
		q.turns = q.turns[1:]
		if lack != nil && lack[own.organisation] <= 0 {
			enough = append(enough, own)
			continue
		}
		a := own.waiting[0]
		own.waiting[0] = admission{} // not to hold its bytes
		if own.waiting = own.waiting[1:]; len(own.waiting) > 0 {
			q.turns = append(q.turns, own)
		} else {
			delete(q.queues, own.organisation)
		}
		q.left(own, a)
		if lack != nil {
			lack[own.organisation] -= len(a.raw)
		}
		taken += len(a.raw)
		batch = append(batch, a)
	}
	q.turns = append(q.turns, enough...)
	return batch
}

// each is how many bytes wait, by organisation.
func (q *intake) each() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make(map[string]int, len(q.turns))
	for _, own := range q.turns {
		out[own.organisation] = own.bytes
	}
	return out
}

// bytes is how many bytes wait of an organisation.
func (q *intake) bytes(organisation string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if own := q.queues[organisation]; own != nil {
		return own.bytes
	}
	return 0
}

// size is how many wait, and the bytes of those that came from peers.
func (q *intake) size() (n, peerBytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n, q.peers
}

// Submit checks a transaction and puts it into the pool. Submitting bytes that are
// in the pool already is no error; bytes that were committed give chain.ErrSeen. What
// the organisation has waiting already may leave no room: then nothing of it is checked,
// and the chain.ErrBusy says when to come back.
func (p *Pool) Submit(ctx context.Context, raw []byte) error {
	return p.submit(ctx, raw, true).err
}

// submit is Submit, and tells the id and, where hint says so, what the screen would say.
func (p *Pool) submit(ctx context.Context, raw []byte, hint bool) answer {
	claim := p.app.Claim(raw)
	if err := p.room(raw, claim); err != nil {
		p.metrics.refused.WithLabelValues(source(false), code(err)).Inc()
		return answer{id: claim.ID(), err: err}
	}
	done := make(chan answer, 1)
	if !p.intake.put(claim.Organisation, admission{raw: raw, done: done, hint: hint}, p.o.Queue, 0) {
		err := chain.ErrBusy.With("%d transactions of the organisation wait for their check", p.o.Queue)
		p.metrics.refused.WithLabelValues(source(false), code(err)).Inc()
		return answer{id: claim.ID(), err: err}
	}
	select {
	case a := <-done:
		return a
	case <-ctx.Done():
		return answer{err: chain.ErrBusy.Wrap(ctx.Err())}
	}
}

// Offer takes a transaction from a peer. It does not wait for the check, which a block may
// spare it; false means that too many wait for it and the peer's copy should be taken later.
func (p *Pool) Offer(raw []byte) bool {
	claim := p.app.Claim(raw)
	return p.offered.put(claim.Organisation, admission{raw: raw, hash: xxhash.Sum64(raw), since: p.now(), fromPeer: true}, p.o.Queue, p.o.QueueBytes)
}

// room says whether there is going to be room for what is submitted, as far as its claim
// tells: a flood is to cost a node less than it costs the sender. What is here already,
// or was committed, needs none, and one of an organisation of which nothing waits has it
// whatever its size.
func (p *Pool) room(raw []byte, claim chain.Claimed) error {
	checking := p.intake.bytes(claim.Organisation) + p.offered.bytes(claim.Organisation)
	p.mu.Lock()
	l := p.lanes[claim.Organisation]
	most, before := p.mostOf(l), checking
	if l != nil {
		before += l.bytes
	}
	waiting := before + len(raw)
	p.mu.Unlock()
	if before == 0 || waiting <= most {
		return nil
	}
	switch id := claim.ID(); {
	case p.lookup(id) != nil || p.app.Seen(id):
		return nil
	case waiting <= urgentRoom(most) && p.o.Urgent != nil:
		if d, err := p.app.Decode(raw); err != nil || p.o.Urgent(d.Messages) {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy(l, len(raw))
}
