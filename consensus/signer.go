package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	sm "github.com/cometbft/cometbft/state"
	"github.com/cometbft/cometbft/types"
	cmttime "github.com/cometbft/cometbft/types/time"
)

// signer is the validator's key, or its two keys while one takes the place of the other.
// Which of the two signs at a height is said by the validators of that height alone: the
// next key where it is one of them, else the current one. So no height has signatures of
// both, whatever crashes. Once the next key has signed, the current one never does again.
//
// It signs only while it may. The engine takes a refusal as it does a key that is out of
// reach: it logs it and goes on without the vote.
type signer struct {
	may   func() error // nil: always
	state func() (sm.State, error)

	mu      sync.Mutex // guards what follows
	current held
	next    *held // nil: there is none
	turned  int64 // height from which the next key signs; 0: not known yet
	given   [remembered]given
	missed  *missed // nil: the latest vote was signed
}

// missed is a vote that the engine asked for in vain. It asks once.
type missed struct {
	height int64
	round  int32
	kind   cmtproto.SignedMsgType
}

// remembered is of how many of the latest heights the signer knows its own precommits.
const remembered = 128

// given is the latest precommit for a block that was signed at a height.
type given struct {
	height    int64
	round     int32
	signature []byte
}

// held is a key with its public half.
type held struct {
	types.PrivValidator
	public crypto.PubKey
}

func hold(pv types.PrivValidator) (held, error) {
	public, err := pv.GetPubKey()
	if err != nil {
		return held{}, fmt.Errorf("read the validator key: %w", err)
	}
	return held{PrivValidator: pv, public: public}, nil
}

func newSigner(pv types.PrivValidator, may func() error) (*signer, error) {
	current, err := hold(pv)
	if err != nil {
		return nil, err
	}
	return &signer{may: may, current: current}, nil
}

// at is the key of the height that consensus decides; mu is held.
func (s *signer) at(height int64) (held, error) {
	if s.next == nil {
		return s.current, nil
	}
	if s.turned > 0 && height >= s.turned {
		return *s.next, nil
	}
	state, err := s.state()
	if err != nil {
		return held{}, fmt.Errorf("look for the validators of height %d: %w", height, err)
	}
	if deciding := deciding(state); height != deciding {
		return held{}, fmt.Errorf("height %d is not the one that is being decided, %d; two keys are there, and which may sign is not known", height, deciding)
	}
	if !state.Validators.HasAddress(s.next.public.Address()) {
		return s.current, nil
	}
	s.turned = height
	return *s.next, nil
}

// deciding is the height that is decided after a state.
func deciding(state sm.State) int64 { return max(state.InitialHeight, state.LastBlockHeight+1) }

// GetPubKey implements types.PrivValidator: it is the key of the height that is being
// decided. The engine asks when it begins with one.
func (s *signer) GetPubKey() (crypto.PubKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil || s.turned > 0 {
		return s.now().public, nil
	}
	state, err := s.state()
	if err != nil {
		return nil, err
	}
	key, err := s.at(deciding(state))
	return key.public, err
}

// now is the key that signs as far as is known; mu is held.
func (s *signer) now() held {
	if s.next != nil && s.turned > 0 {
		return *s.next
	}
	return s.current
}

// address is of the key that signs as far as is known.
func (s *signer) address() types.Address {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().public.Address()
}

// pick is the key that may sign for a height.
func (s *signer) pick(height int64) (held, error) {
	if s.may != nil {
		if err := s.may(); err != nil {
			return held{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(height)
}

// SignVote implements types.PrivValidator.
func (s *signer) SignVote(chainID string, vote *cmtproto.Vote) error {
	err := s.signVote(chainID, vote)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.missed = nil; err != nil {
		s.missed = &missed{height: vote.Height, round: vote.Round, kind: vote.Type}
	}
	return err
}

func (s *signer) signVote(chainID string, vote *cmtproto.Vote) error {
	key, err := s.pick(vote.Height)
	if err != nil {
		return err
	}
	if own := key.public.Address(); !bytes.Equal(own, vote.ValidatorAddress) {
		return fmt.Errorf("the vote is of %X, and %s signs at height %d", vote.ValidatorAddress, own, vote.Height)
	}
	if err := key.SignVote(chainID, vote); err != nil {
		return err
	}
	if vote.Type == cmtproto.PrecommitType && !types.ProtoBlockIDIsNil(&vote.BlockID) {
		s.mu.Lock()
		s.given[vote.Height%remembered] = given{height: vote.Height, round: vote.Round, signature: vote.Signature}
		s.mu.Unlock()
	}
	return nil
}

// Copied tells whether the block after a height carries a precommit of this node's key that
// another process signed instead of this one: two of them sign in step. False where this
// process did not sign, or nothing is known.
func (n *Node) Copied(height int64) bool {
	commit := n.node.BlockStore().LoadBlockCommit(height)
	if commit == nil {
		return false
	}
	n.signer.mu.Lock()
	g := n.signer.given[height%remembered]
	self := n.signer.now().public.Address()
	n.signer.mu.Unlock()
	if g.height != height || g.round > commit.Round {
		return false
	}
	for _, s := range commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit && bytes.Equal(s.ValidatorAddress, self) {
			return !bytes.Equal(s.Signature, g.signature)
		}
	}
	return false
}

// heardBuffer is how many votes may wait to be looked at.
const heardBuffer = 4096

// Heard tells fn of every vote of the validator of an address that consensus takes, its own
// among them, until ctx ends. It begins anew where fn was too slow.
func (n *Node) Heard(ctx context.Context, of func(types.Address) bool, fn func(*types.Vote)) {
	for ctx.Err() == nil {
		sub, err := n.node.EventBus().Subscribe(ctx, "guard", types.EventQueryVote, heardBuffer)
		if err != nil {
			return // the node is being stopped
		}
		n.hear(ctx, sub, of, fn)
		_ = n.node.EventBus().UnsubscribeAll(ctx, "guard") // it may have been ended already
	}
}

func (n *Node) hear(ctx context.Context, sub types.Subscription, of func(types.Address) bool, fn func(*types.Vote)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sub.Canceled():
			return
		case m := <-sub.Out():
			if e, ok := m.Data().(types.EventDataVote); ok && of(e.Vote.ValidatorAddress) {
				fn(e.Vote)
			}
		}
	}
}

// SignProposal implements types.PrivValidator.
func (s *signer) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	key, err := s.pick(proposal.Height)
	if err != nil {
		return err
	}
	return key.SignProposal(chainID, proposal)
}

// Close closes keys that can be closed.
func (s *signer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if c, ok := s.current.PrivValidator.(io.Closer); ok {
		err = c.Close()
	}
	if s.next != nil {
		if c, ok := s.next.PrivValidator.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// waits tells whether a next key is there whose turn has not come.
func (s *signer) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next != nil && s.turned == 0
}

// catchUpEvery is how often a vote that was missed is tried again.
const catchUpEvery = 250 * time.Millisecond

// catchUp gives votes for no block in place of those that the engine asked for in vain. The
// engine asks for each vote once, and goes on when two thirds have voted; where the keys of
// more than a third were out of reach at once, it would wait for ever, also when they are
// back. A vote for no block is within the rules whatever the validator is locked on, and the
// key's own guard refuses it where the key has signed that step, or a later one.
func (n *Node) catchUp(ctx context.Context) {
	tick := time.NewTicker(catchUpEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n.signer.mu.Lock()
		m := n.signer.missed
		n.signer.mu.Unlock()
		if m == nil {
			continue
		}
		rs := n.state.GetRoundState()
		self := n.ValidatorAddress()
		index, validator := rs.Validators.GetByAddress(self)
		if rs.Height != m.height || rs.Round != m.round || validator == nil {
			continue // consensus went on without it, or waits for a vote of the next round
		}
		vote := &types.Vote{Type: m.kind, Height: m.height, Round: m.round, Timestamp: cmttime.Now(), ValidatorAddress: self, ValidatorIndex: index}
		signed := vote.ToProto()
		if err := n.signer.SignVote(n.o.Genesis.ChainID, signed); err != nil {
			continue // still out of reach, or signed meanwhile
		}
		vote.Timestamp, vote.Signature = signed.Timestamp, signed.Signature
		if _, err := n.state.AddVote(vote, ""); err != nil {
			n.log.Error("a vote that was missed could not be given later", "height", m.height, "round", m.round, "error", err)
			continue
		}
		n.log.Info("a vote that was missed was given later, for no block", "height", m.height, "round", m.round, "type", m.kind.String())
	}
}

// SetNext names the key that takes over at the height at which it is a validator. There may
// be one.
func (n *Node) SetNext(pv types.PrivValidator) error {
	next, err := hold(pv)
	if err != nil {
		return err
	}
	n.signer.mu.Lock()
	if n.signer.next != nil || next.public.Equals(n.signer.current.public) {
		n.signer.mu.Unlock()
		return errors.New("there is a next validator key already, or it is the current one")
	}
	n.signer.next = &next
	n.signer.mu.Unlock()
	n.state.SetPrivValidator(n.signer)
	n.group.Go(func() { n.turn(n.turning) })
	return nil
}

// turn makes the engine ask for its key until the next one has taken over: it asks by itself
// after blocks that consensus decides, and not after those that it fetches.
func (n *Node) turn(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for n.signer.waits() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			n.state.SetPrivValidator(n.signer)
		}
	}
	n.signer.mu.Lock()
	height, address := n.signer.turned, n.signer.next.public.Address()
	n.signer.mu.Unlock()
	n.log.Info("the next validator key has taken over; the old one signs nothing any more", "from", height, "validator", address.String())
}
