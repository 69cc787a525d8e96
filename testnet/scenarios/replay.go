package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
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
	// From is when the plan is gone on with, Unix milliseconds: what is before it happened
	// already, and is Past. 0: the whole plan is submitted, its founding first.
	From int64
	// Past is what came of the plan before From.
	Past *Known
	// Until is when the plan is left, Unix milliseconds. 0: at its end.
	Until int64
	// Workers is how many transactions are under way at a time. 0: 64.
	Workers int
	// Done is called after every action, one at a time. May be nil.
	Done func(*Reply)
}

// Reply is what a network made of one action.
type Reply struct {
	*Action
	// Number is the action's place in the plan, from 0 on.
	Number int
	// Void tells that it was not submitted: what it refers to did not come to be.
	Void bool
	// Result is nil when the transaction was refused before it came into a block.
	Result *chainv1.TxResult
	// Err is why it was refused or failed, or is not executed yet.
	Err error
	// Began is when it was submitted.
	Began time.Time
	// Took is from submission to the result.
	Took time.Duration
}

// Replay submits a plan with Sites: its founding one after the other, then life and
// attacks at the plan's rhythm, compressed. What the network's own clock says is not
// compressed: its hours of the day are those of the replay. An action that refers to an
// earlier one waits for its end, and is left out where that did not make what it refers
// to. It ends early with an error when nothing can be submitted.
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
	if o.Until == 0 {
		o.Until = math.MaxInt64
	}
	r := &replay{c: c, p: p, o: o, names: Names{}, meant: map[[32]byte]bool{}, making: map[[32]byte]chan struct{}{}, room: make(chan struct{}, o.Workers)}
	from := p.o.Start + foundingLasts
	if o.From != 0 {
		from = o.From
	}
	if o.Past != nil {
		r.names, r.meant = maps.Clone(o.Past.Names), maps.Clone(o.Past.meant)
	}
	defer r.under.Wait()
	began := time.Now()
	number := -1
	for a := range p.Actions() {
		number++
		switch {
		case a.At >= o.Until:
			return nil
		case a.At < from && o.From != 0:
			continue
		case a.At < from:
			reply := r.submit(ctx, a, number)
			r.tell(reply)
			if reply.Result == nil || reply.Result.Code != 0 {
				return fmt.Errorf("scenarios: the consortium of the plan is not founded: %w", reply.Err)
			}
			began = time.Now()
			continue
		}
		due := began.Add(time.Duration(float64(a.At-from) / o.Speed * float64(time.Millisecond)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(due)):
		}
		r.start(ctx, a, number)
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

	mu     sync.Mutex // guards names, meant and making
	names  Names
	meant  map[[32]byte]bool          // what actions so far were to make
	making map[[32]byte]chan struct{} // stand-ins that are under way; closed at the end

	telling sync.Mutex // keeps calls of Done apart
}

// start submits an action in the background, after those that it refers to.
func (r *replay) start(ctx context.Context, a *Action, number int) {
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
			r.meant[[32]byte(standIn)] = true
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
		reply := r.submit(ctx, a, number)
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

func (r *replay) submit(ctx context.Context, a *Action, number int) *Reply {
	reply := &Reply{Action: a, Number: number, Began: time.Now()}
	r.mu.Lock()
	messages := r.names.Resolve(a.Messages)
	reply.Void = lacks(a, r.names, r.meant)
	r.mu.Unlock()
	if reply.Void {
		return reply
	}
	signers := make([]tx.Signer, len(a.Signers))
	for i, url := range a.Signers {
		s, ok := r.o.Signer(url)
		if !ok {
			s = r.p.Signer(url)
		}
		signers[i] = s
	}
	reply.Result, reply.Err = r.c.Do(ctx, a.Author, signers, messages...)
	reply.Took = time.Since(reply.Began)
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
