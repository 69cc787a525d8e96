package signer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// silence is how long a connection may be silent before the signer dials anew. The node
// asks every second whether the signer is there.
const silence = 10 * time.Second

// The pauses between attempts to reach the node.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 3 * time.Second
)

// errBroken says that a record of what was signed could not be written. What the process
// holds in memory is then no longer what is on disk, so it must end.
var errBroken = errors.New("what the key signed could not be written down; nothing is signed any more")

// Guarded is a validator key and its record of what it signed last. Its methods may be
// called at once.
type Guarded struct {
	chainID string

	mu     sync.Mutex // guards what follows
	pv     *privval.FilePV
	broken error
	lost   chan struct{} // closed when broken is set
}

// Guard makes the key sign for one chain only what is beyond the record at path, which must
// be there.
func Guard(key crypto.PrivKey, path, chainID string) (*Guarded, error) {
	last, err := ReadState(path)
	if err != nil {
		return nil, fmt.Errorf("read what the validator key signed last: %w", err)
	}
	pv := privval.NewFilePV(key, "", path)
	s := &pv.LastSignState
	s.Height, s.Round, s.Step, s.Signature, s.SignBytes = last.Height, last.Round, last.Step, last.Signature, last.SignBytes
	return &Guarded{chainID: chainID, pv: pv, lost: make(chan struct{})}, nil
}

var _ types.PrivValidator = (*Guarded)(nil)

// GetPubKey implements types.PrivValidator.
func (g *Guarded) GetPubKey() (crypto.PubKey, error) { return g.pv.Key.PubKey, nil }

// Last is the height that the key signed last.
func (g *Guarded) Last() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pv.LastSignState.Height
}

// sign calls the engine's guard, which panics where it cannot write its record.
func (g *Guarded) sign(chainID string, fn func() error) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return g.broken
	}
	if chainID != g.chainID {
		return fmt.Errorf("this key signs for the chain %s, and not for %s", g.chainID, chainID)
	}
	defer func() {
		if p := recover(); p != nil {
			g.broken = fmt.Errorf("%w: %v", errBroken, p)
			close(g.lost)
			err = g.broken
		}
	}()
	return fn()
}

// SignVote implements types.PrivValidator.
func (g *Guarded) SignVote(chainID string, vote *cmtproto.Vote) error {
	if _, err := stepOf(vote); err != nil {
		return err
	}
	if vote.Height < 1 || vote.Round < 0 {
		return fmt.Errorf("there is no height %d, round %d", vote.Height, vote.Round)
	}
	return g.sign(chainID, func() error { return g.pv.SignVote(chainID, vote) })
}

// SignProposal implements types.PrivValidator.
func (g *Guarded) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	if proposal.Type != cmtproto.ProposalType || proposal.Height < 1 || proposal.Round < 0 {
		return fmt.Errorf("there is no proposal of type %d, height %d, round %d", proposal.Type, proposal.Height, proposal.Round)
	}
	return g.sign(chainID, func() error { return g.pv.SignProposal(chainID, proposal) })
}

// ServeOptions is what Serve needs.
type ServeOptions struct {
	// Address is where the node awaits its signer; see SplitAddress.
	Address string
	// Own is the connection key and Node the node's id, both over TCP alone.
	Own  crypto.PrivKey
	Node p2p.ID
	Key  *Guarded
	Log  *slog.Logger
}

// Serve signs for one node until ctx ends, which is no error, or until the key's record
// cannot be written.
func Serve(ctx context.Context, o ServeOptions) error {
	network, where, err := SplitAddress(o.Address)
	if err != nil {
		return err
	}
	pause, told := leastPause, ""
	for {
		served, err := serveOnce(ctx, o, network, where)
		select {
		case <-o.Key.lost:
			return o.Key.broken
		default:
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the process is being stopped
		}
		if served {
			pause, told = leastPause, ""
		}
		if text := err.Error(); text != told {
			told = text
			o.Log.Error("the node cannot be reached, or ended the connection; trying again", "node", o.Address, "error", err)
		}
		// A little chance keeps signers of one node apart.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause + rand.N(pause)): //nolint:gosec // no secret
		}
		pause = min(2*pause, mostPause)
	}
}

// serveOnce answers on one connection, and tells whether anything but the first question
// was asked: a node that refuses this signer asks no more.
func serveOnce(ctx context.Context, o ServeOptions, network, where string) (served bool, err error) {
	d := net.Dialer{Timeout: handshakeTime}
	raw, err := d.DialContext(ctx, network, where)
	if err != nil {
		return false, err
	}
	defer func() { _ = raw.Close() }() // it ended already, or is of no more use
	// A signature under way is finished and written down; its answer is lost.
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	c := raw
	if o.Own != nil {
		if c, err = authenticate(c, o.Own, o.Node); err != nil {
			return false, err
		}
	}
	for asked := 0; ; asked++ {
		m, err := receive(c, time.Now().Add(silence))
		if err != nil {
			return asked > 1, fmt.Errorf("await a question: %w", err)
		}
		if asked == 1 {
			o.Log.Info("the node has taken this signer", "node", o.Address, "last signed", o.Key.Last())
		}
		answer, err := o.answer(m)
		if err != nil {
			return asked > 1, err
		}
		if err := send(c, answer, time.Now().Add(silence)); err != nil {
			return asked > 1, fmt.Errorf("answer: %w", err)
		}
		select {
		case <-o.Key.lost:
			return true, errBroken
		default:
		}
	}
}

// answer has the engine's handler answer what is a question at all.
func (o ServeOptions) answer(m *privvalproto.Message) (*privvalproto.Message, error) {
	var vote *cmtproto.Vote
	var proposal *cmtproto.Proposal
	switch q := m.Sum.(type) {
	case *privvalproto.Message_PingRequest, *privvalproto.Message_PubKeyRequest:
	case *privvalproto.Message_SignVoteRequest:
		if vote = q.SignVoteRequest.GetVote(); vote == nil {
			return nil, errors.New("the node asks to sign no vote")
		}
	case *privvalproto.Message_SignProposalRequest:
		if proposal = q.SignProposalRequest.GetProposal(); proposal == nil {
			return nil, errors.New("the node asks to sign no proposal")
		}
	default:
		return nil, fmt.Errorf("the node asks %T", q)
	}
	answer, err := privval.DefaultValidationRequestHandler(o.Key, *m, o.Key.chainID)
	fault := ""
	switch {
	case err != nil:
		fault = err.Error()
	case answer.GetSignedVoteResponse().GetError() != nil:
		fault = answer.GetSignedVoteResponse().GetError().Description
	case answer.GetSignedProposalResponse().GetError() != nil:
		fault = answer.GetSignedProposalResponse().GetError().Description
	}
	if vote != nil {
		o.told(fault, "vote", vote.Height, vote.Round, "type", vote.Type.String())
	}
	if proposal != nil {
		o.told(fault, "proposal", proposal.Height, proposal.Round)
	}
	return &answer, nil
}

func (o ServeOptions) told(fault, what string, height int64, round int32, more ...any) {
	more = append([]any{"what", what, "height", height, "round", round}, more...)
	if fault == "" {
		o.Log.Debug("signed", more...)
		return
	}
	o.Log.Error("not signed", append(more, "reason", fault)...)
}
