package client

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const author = "did:chancery:mercy"

func do(ctx context.Context, t testing.TB, c *Client) (*chainv1.TxResult, error) {
	t.Helper()
	return c.Do(ctx, author, []tx.Signer{signer(t, author+"#key-1")}, setParams())
}

func TestDoSignsForTheChainThatTheNodeNames(t *testing.T) {
	f := serve(t, &fake{})
	c := dialFake(t, f.address, Validity(30*time.Second))
	before := time.Now()
	r, err := do(t.Context(), t, c)
	if err != nil || r.Height != 8 {
		t.Fatalf("%v, %v", r, err)
	}
	d, err := tx.Decode(f.got()[0])
	if err != nil {
		t.Fatal(err)
	}
	if d.Body.ChainId != testChain || d.Body.Author != author || d.Tx.Signatures[0].Key != author+"#key-1" {
		t.Errorf("body %v", d.Body)
	}
	left := time.UnixMilli(d.Body.ValidUntil).Sub(before)
	if left < 29*time.Second || left > 40*time.Second {
		t.Errorf("valid for %v", left)
	}
	if _, err := do(t.Context(), t, c); err != nil {
		t.Fatal(err)
	}
	if again, _ := tx.Decode(f.got()[1]); bytes.Equal(again.Body.Salt, d.Body.Salt) {
		t.Error("two transactions have one salt")
	}
}

func TestTheSameBytesAreSubmittedUntilTheyAreTaken(t *testing.T) {
	f := serve(t, &fake{submit: func(n int, _ []byte) (*nodev1.SubmitResponse, error) {
		switch n {
		case 1:
			return nil, refuse(chain.ErrOverQuota, codes.ResourceExhausted)
		case 2:
			return nil, status.Error(codes.Unavailable, "restarting")
		default:
			return &nodev1.SubmitResponse{}, nil
		}
	}})
	if _, err := do(t.Context(), t, dialFake(t, f.address)); err != nil {
		t.Fatal(err)
	}
	if len(f.got()) != 3 || !bytes.Equal(f.got()[0], f.got()[1]) || !bytes.Equal(f.got()[0], f.got()[2]) {
		t.Errorf("submitted %x", f.got())
	}
}

func TestATransactionThatTheNodeLostIsSubmittedAgain(t *testing.T) {
	f := serve(t, &fake{wait: func(n int, id []byte) (*chainv1.TxResult, error) {
		if n < 3 {
			return nil, refuse(&errs.Error{Module: "node", Code: 9, Text: "the time for this call ran out"}, codes.DeadlineExceeded)
		}
		return &chainv1.TxResult{TxId: id}, nil
	}})
	if _, err := do(t.Context(), t, dialFake(t, f.address)); err != nil {
		t.Fatal(err)
	}
	if len(f.got()) != 3 {
		t.Errorf("submitted %d times", len(f.got()))
	}
}

func TestACommittedTransactionGivesItsFirstResult(t *testing.T) {
	first := &chainv1.TxResult{Height: 3, Units: 9}
	for name, f := range map[string]*fake{
		"in the answer": {submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
			return &nodev1.SubmitResponse{Result: first}, nil
		}},
		"seen": {
			submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
				return nil, refuse(chain.ErrSeen, codes.AlreadyExists)
			},
			result: func([]byte) (*chainv1.TxResult, error) { return first, nil },
		},
		"void since": {
			submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
				return nil, refuse(chain.ErrVoid, codes.FailedPrecondition)
			},
			result: func([]byte) (*chainv1.TxResult, error) { return first, nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialFake(t, serve(t, f).address)
			r, err := do(t.Context(), t, c)
			if err != nil || r.Height != 3 {
				t.Errorf("%v, %v", r, err)
			}
			if f.waits != 0 {
				t.Error("it was waited for")
			}
		})
	}
}

func TestAVoidTransactionThatIsNotCommittedIsRefused(t *testing.T) {
	f := serve(t, &fake{submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		return nil, refuse(chain.ErrVoid, codes.FailedPrecondition)
	}})
	if _, err := do(t.Context(), t, dialFake(t, f.address)); !errors.Is(err, chain.ErrVoid) {
		t.Errorf("%v", err)
	}
}

func TestAFailureInTheBlockIsTheModulesError(t *testing.T) {
	want := errs.Module("consent").New(4, "the consent has ended")
	f := serve(t, &fake{wait: func(_ int, id []byte) (*chainv1.TxResult, error) {
		return &chainv1.TxResult{TxId: id, Code: 4, Codespace: "consent", Log: want.With("id 7").Error()}, nil
	}})
	r, err := do(t.Context(), t, dialFake(t, f.address))
	if !errors.Is(err, want) || r == nil {
		t.Fatalf("%v, %v", r, err)
	}
	if err.Error() != "consent/4: the consent has ended (id 7)" {
		t.Errorf("%v", err)
	}
}

func TestARefusalAtTheDoorIsNotRetried(t *testing.T) {
	f := serve(t, &fake{submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		return nil, refuse(chain.ErrBadSignature.With("key-1"), codes.PermissionDenied)
	}})
	_, err := do(t.Context(), t, dialFake(t, f.address))
	if !errors.Is(err, chain.ErrBadSignature) || errs.As(err).Detail != "key-1" || errs.As(err).Text != chain.ErrBadSignature.Text {
		t.Errorf("%v", err)
	}
	if s, _ := status.FromError(err); s.Code() != codes.PermissionDenied {
		t.Errorf("gRPC's code is %v", s.Code())
	}
	if len(f.got()) != 1 {
		t.Errorf("submitted %d times", len(f.got()))
	}
}

func TestWhenTimeRunsOutTheTransactionIsNamed(t *testing.T) {
	f := serve(t, &fake{wait: func(int, []byte) (*chainv1.TxResult, error) {
		return nil, refuse(&errs.Error{Module: "node", Code: 9, Text: "the time for this call ran out"}, codes.DeadlineExceeded)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := do(ctx, t, dialFake(t, f.address))
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	d, _ := tx.Decode(f.got()[0])
	if !strings.Contains(err.Error(), d.ID.String()) {
		t.Errorf("%v does not name %s", err, d.ID)
	}
}

func TestWaitingEndsSomeTimeAfterATransactionIsVoid(t *testing.T) {
	f := serve(t, &fake{wait: func(int, []byte) (*chainv1.TxResult, error) {
		return nil, refuse(&errs.Error{Module: "node", Code: 9, Text: "the time for this call ran out"}, codes.DeadlineExceeded)
	}})
	c := dialFake(t, f.address, Validity(-time.Hour), func(o *options) { o.grace = 100 * time.Millisecond })
	if _, err := do(t.Context(), t, c); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v", err)
	}
	if len(f.got()) == 0 {
		t.Error("it was never offered")
	}
}

func TestWhenEveryAnswerWasARefusalTheOutcomeIsKnown(t *testing.T) {
	taken := false
	f := serve(t, &fake{
		submit: func(n int, _ []byte) (*nodev1.SubmitResponse, error) {
			if taken && n == 1 {
				return &nodev1.SubmitResponse{}, nil
			}
			return nil, refuse(chain.ErrBusy, codes.ResourceExhausted)
		},
		wait: func(int, []byte) (*chainv1.TxResult, error) {
			return nil, refuse(&errs.Error{Module: "node", Code: 9, Text: "the time for this call ran out"}, codes.DeadlineExceeded)
		},
	})
	// The time runs out in the pause after the first answer.
	short := func(o *options) { o.grace, o.first, o.limit = 300*time.Millisecond, time.Hour, time.Hour }
	c := dialFake(t, f.address, Validity(time.Millisecond), short)
	if _, err := do(t.Context(), t, c); !errors.Is(err, chain.ErrBusy) {
		t.Errorf("it was refused all along, and the error is %v", err)
	}
	raw, _, err := c.Draft(author, setParams()).Sign(signer(t, author+"#key-1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Submit(t.Context(), raw); !errors.Is(err, chain.ErrBusy) {
		t.Errorf("Submit: %v", err)
	}
	// A node that took it may have passed it on, whatever the later answers.
	taken = true
	f.forget()
	c = dialFake(t, f.address, Validity(time.Millisecond), short)
	if _, err := do(t.Context(), t, c); !errors.Is(err, ErrTimeout) {
		t.Errorf("it was taken once, and the error is %v", err)
	}
	// The node that would know is gone: what it said before is told.
	var r refusals
	r.note(chain.ErrBusy)
	r.note(ErrUnreachable)
	if err := r.or(ErrTimeout.With("transaction 00")); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) ||
		!strings.Contains(err.Error(), "transaction 00") || !strings.Contains(err.Error(), "chain/32001") {
		t.Errorf("%v", err)
	}
}

func TestATransactionTooFarAheadIsRefusedAtOnce(t *testing.T) {
	f := serve(t, &fake{submit: func(n int, _ []byte) (*nodev1.SubmitResponse, error) {
		if n < 3 {
			return nil, refuse(chain.ErrTooFarAhead, codes.ResourceExhausted)
		}
		return &nodev1.SubmitResponse{}, nil
	}})
	// By the clock it is in bounds: the chain is behind and will catch up.
	if _, err := do(t.Context(), t, dialFake(t, f.address)); err != nil || len(f.got()) != 3 {
		t.Errorf("%v, submitted %d times", err, len(f.got()))
	}
	f.forget()
	if _, err := do(t.Context(), t, dialFake(t, f.address, Validity(time.Hour))); !errors.Is(err, chain.ErrTooFarAhead) || len(f.got()) != 1 {
		t.Errorf("%v, submitted %d times", err, len(f.got()))
	}
}

func TestASimulationWaitsForTheFirstBlock(t *testing.T) {
	f := serve(t, &fake{simulate: func(n int) (*chainv1.TxResult, error) {
		if n < 3 {
			return nil, refuse(chain.ErrTooFarAhead, codes.ResourceExhausted)
		}
		return &chainv1.TxResult{Units: 5}, nil
	}})
	simulate := func(ctx context.Context, validity time.Duration) (*chainv1.TxResult, error) {
		t.Helper()
		c := dialFake(t, f.address, Validity(validity))
		raw, _, err := c.Draft(author, setParams()).Sign(signer(t, author+"#key-1"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Simulate(ctx, raw)
	}
	if r, err := simulate(t.Context(), time.Minute); err != nil || r.Units != 5 || f.simulations != 3 {
		t.Errorf("%v, %v after %d tries", r, err, f.simulations)
	}
	f.simulations = 0
	if _, err := simulate(t.Context(), time.Hour); !errors.Is(err, chain.ErrTooFarAhead) || f.simulations != 1 {
		t.Errorf("%v after %d tries", err, f.simulations)
	}
	f.simulations = -1 << 20
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := simulate(ctx, time.Minute); !errors.Is(err, chain.ErrTooFarAhead) && !errors.Is(err, ErrTimeout) {
		t.Errorf("when the time is over: %v", err)
	}
}

func TestSubmitAndWaitAreDoInTwoSteps(t *testing.T) {
	f := serve(t, &fake{})
	c := dialFake(t, f.address)
	raw, id, err := c.Draft(author, setParams()).Sign(signer(t, author+"#key-1"))
	if err != nil {
		t.Fatal(err)
	}
	got, r, err := c.Submit(t.Context(), raw)
	if err != nil || r != nil || got != id {
		t.Fatalf("%v, %v, %v", got, r, err)
	}
	if r, err = c.Wait(t.Context(), id); err != nil || !bytes.Equal(r.TxId, id[:]) {
		t.Errorf("%v, %v", r, err)
	}
	if _, _, err := c.Submit(t.Context(), raw[1:]); !errors.Is(err, tx.ErrMalformed) {
		t.Errorf("broken bytes: %v", err)
	}
	if _, err := c.Result(t.Context(), id); err == nil {
		t.Error("there is a result")
	}
}

// A transaction that a node took along when it ended is known to no other node, so
// it is submitted to the next one at once, long before a wait would be over.
func TestATransactionThatDiedWithItsNodeIsSubmittedToTheNextAtOnce(t *testing.T) {
	first, second := serve(t, new(fake)), serve(t, new(fake))
	first.wait = func(int, []byte) (*chainv1.TxResult, error) {
		go first.server.Stop()
		time.Sleep(time.Second)
		return nil, errors.New("nobody hears this")
	}
	second.wait = func(_ int, id []byte) (*chainv1.TxResult, error) {
		second.mu.Lock()
		n := len(second.submitted)
		second.mu.Unlock()
		if n == 0 {
			time.Sleep(time.Minute) // a node waits for what it does not know
		}
		return &chainv1.TxResult{TxId: id, Height: 9}, nil
	}
	c := dialFake(t, first.address+","+second.address, func(o *options) { o.waitSpan = 10 * time.Second })
	began := time.Now()
	r, err := do(t.Context(), t, c)
	if err != nil || r.Height != 9 {
		t.Fatalf("%v, %v", r, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if len(first.submitted) != 1 || len(second.submitted) != 1 || !bytes.Equal(first.submitted[0], second.submitted[0]) {
		t.Errorf("submitted %x, then %x", first.submitted, second.submitted)
	}
}

// A node that is halted keeps its connections and answers nothing.
func TestAHaltedNodeIsLeftForTheNext(t *testing.T) {
	release := make(chan struct{})
	first := serve(t, &fake{submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		<-release
		return &nodev1.SubmitResponse{}, nil
	}})
	second := serve(t, new(fake))
	defer close(release)
	c := dialFake(t, first.address+","+second.address, func(o *options) { o.offerSpan = 100 * time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := do(ctx, t, c); err != nil {
		t.Fatal(err)
	}
	if len(second.submitted) != 1 || c.Address() != second.address {
		t.Errorf("submitted %d times to the second node; %s is asked next", len(second.submitted), c.Address())
	}
}

// A node that is behind knows nothing yet of what the client was told by another: its
// refusal is not the last word, and the transaction is offered to the next.
func TestTheRefusalOfANodeThatIsBehindIsNotTheLastWord(t *testing.T) {
	unknown := &errs.Error{Module: "consent", Code: 3, Text: "there is no such record"}
	down := false
	ahead := serve(t, &fake{submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		if down {
			return nil, status.Error(codes.Unavailable, "restarting")
		}
		return &nodev1.SubmitResponse{}, nil
	}})
	behind := serve(t, &fake{height: 5, submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		return nil, refuse(unknown, codes.NotFound)
	}})
	third := serve(t, &fake{})
	c := dialFake(t, ahead.address+","+behind.address+","+third.address)
	if r, err := do(t.Context(), t, c); err != nil || r.Height != 8 {
		t.Fatalf("%v, %v", r, err)
	}
	down = true
	if _, err := do(t.Context(), t, c); err != nil {
		t.Fatalf("with a node that is behind: %v", err)
	}
	if len(behind.got()) != 1 || len(third.got()) != 1 {
		t.Errorf("submitted %d times to the node that is behind and %d times to the third", len(behind.got()), len(third.got()))
	}

	// The refusal of one that is not behind is final, given on its state of now.
	level := serve(t, &fake{height: 8, submit: func(int, []byte) (*nodev1.SubmitResponse, error) {
		return nil, refuse(unknown, codes.NotFound)
	}})
	down = false
	c = dialFake(t, ahead.address+","+level.address)
	if _, err := do(t.Context(), t, c); err != nil {
		t.Fatal(err)
	}
	down = true
	if _, err := do(t.Context(), t, c); !errors.Is(err, unknown) {
		t.Errorf("%v", err)
	}
	if len(level.got()) != 2 {
		t.Errorf("asked %d times, want once more than the refusal", len(level.got()))
	}
}
