package scenarios

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/node/client"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// ReplayOptions is how a plan is submitted to a network that runs.
type ReplayOptions struct {
	// Signer is the key of a DID URL of the plan's sites.
	Signer func(url string) (tx.Signer, bool)
	// Speed is how many seconds of the plan pass in one of the clock, at least 1.
	Speed float64
	// Workers is how many transactions are under way at a time. 0: 64.
	Workers int
	// Done is called after every action, one at a time. May be nil.
	Done func(*Reply)
}

// Reply is what a network made of one action.
type Reply struct {
	*Action
	// Result is nil when the transaction was refused before it came into a block.
	Result *chainv1.TxResult
	// Err is why it was refused or failed, or is not executed yet.
	Err error
	// Took is from submission to the result.
	Took time.Duration
}

// Replay submits a plan with Sites: its founding one after the other, then life and
// attacks at the plan's rhythm, compressed. What the network's own clock says is not
// compressed: its hours of the day are those of the replay. An action that refers to an
// earlier one waits for its end. It ends early with an error when nothing can be submitted.
func Replay(ctx context.Context, c *client.Client, p *Plan, o ReplayOptions) error {
	if len(p.o.Sites) == 0 {
		return errors.New("scenarios: a plan without sites has a genesis of its own and is for Run")
	}
	if !(o.Speed >= 1) {
		return fmt.Errorf("scenarios: speed is %v, want at least 1", o.Speed)
	}
	if o.Workers <= 0 {
		o.Workers = 64
	}
	r := &replay{c: c, p: p, o: o, names: Names{}, making: map[[32]byte]chan struct{}{}, room: make(chan struct{}, o.Workers)}
	defer r.under.Wait()
	founded := p.o.Start + foundingLasts
	var began time.Time
	for a := range p.Actions() {
		if a.At < founded {
			reply := r.submit(ctx, a)
			r.tell(reply)
			if reply.Result == nil || reply.Result.Code != 0 {
				return fmt.Errorf("scenarios: the consortium of the plan is not founded: %w", reply.Err)
			}
			continue
		}
		if began.IsZero() {
			began = time.Now()
		}
		due := began.Add(time.Duration(float64(a.At-founded) / o.Speed * float64(time.Millisecond)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(due)):
		}
		r.start(ctx, a)
	}
	return nil
}

// foundingLasts is from a plan's beginning until everybody is registered.
const foundingLasts = 2*hour + 30*minute

// replay is a plan on its way to a network.
type replay struct {
	c     *client.Client
	p     *Plan
	o     ReplayOptions
	room  chan struct{}
	under sync.WaitGroup

	mu     sync.Mutex // guards names and making
	names  Names
	making map[[32]byte]chan struct{} // stand-ins that are under way; closed at the end

	telling sync.Mutex // keeps calls of Done apart
}

// start submits an action in the background, after those that it refers to.
func (r *replay) start(ctx context.Context, a *Action) {
	var before []chan struct{}
	r.mu.Lock()
	for _, m := range a.Messages {
		if ref := reference(m); ref != nil && len(*ref) == 32 {
			if ch, ok := r.making[[32]byte(*ref)]; ok {
				before = append(before, ch)
			}
		}
	}
	end := make(chan struct{})
	for _, standIn := range a.Makes {
		if standIn != nil {
			r.making[[32]byte(standIn)] = end
		}
	}
	r.mu.Unlock()
	r.under.Go(func() {
		for _, ch := range before {
			select {
			case <-ch:
			case <-ctx.Done():
			}
		}
		r.room <- struct{}{}
		reply := r.submit(ctx, a)
		<-r.room
		r.mu.Lock()
		for _, standIn := range a.Makes {
			if standIn != nil {
				delete(r.making, [32]byte(standIn))
			}
		}
		r.mu.Unlock()
		close(end)
		r.tell(reply)
	})
}

func (r *replay) submit(ctx context.Context, a *Action) *Reply {
	reply := &Reply{Action: a}
	r.mu.Lock()
	messages := r.names.Resolve(a.Messages)
	r.mu.Unlock()
	signers := make([]tx.Signer, len(a.Signers))
	for i, url := range a.Signers {
		s, ok := r.o.Signer(url)
		if !ok {
			s = r.p.Signer(url)
		}
		signers[i] = s
	}
	began := time.Now()
	reply.Result, reply.Err = r.c.Do(ctx, a.Author, signers, messages...)
	reply.Took = time.Since(began)
	if reply.Result != nil && reply.Result.Code == 0 {
		r.mu.Lock()
		err := r.names.Learn(a, reply.Result.Responses)
		r.mu.Unlock()
		reply.Err = errors.Join(reply.Err, err)
	}
	return reply
}

func (r *replay) tell(reply *Reply) {
	if r.o.Done == nil {
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	r.o.Done(reply)
}
