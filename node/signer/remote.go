package signer

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/cometbft/cometbft/crypto"
	cryptoenc "github.com/cometbft/cometbft/crypto/encoding"
	"github.com/cometbft/cometbft/p2p"
	privvalproto "github.com/cometbft/cometbft/proto/tendermint/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// pingEvery is how often a node asks whether its signer is there.
const pingEvery = time.Second

// maxHandshakes is how many new connections may be under way; one more is closed at once.
const maxHandshakes = 8

// ErrAway says that no signer is connected, or that it does not answer.
var ErrAway = errors.New("the signer is away")

// RemoteOptions is what a Remote needs.
type RemoteOptions struct {
	// Address is where the signer is awaited; see SplitAddress.
	Address string
	ChainID string
	// Key is the validator's. A signer that has another is refused.
	Key crypto.PubKey
	// Own is the node's key and Signer the id of the signer's connection key, both over
	// TCP alone.
	Own    crypto.PrivKey
	Signer p2p.ID
	// Timeout is how long a signature may take.
	Timeout time.Duration
	Log     *slog.Logger
}

// Remote is a validator key in another process. It never waits for a signer to connect:
// without one it refuses at once, so that the node goes on without the vote.
type Remote struct {
	o        RemoteOptions
	listener net.Listener
	ended    chan struct{}
	group    sync.WaitGroup
	slots    chan struct{}

	mu     sync.Mutex // guards conn, and is held for a request and its answer
	conn   net.Conn   // nil: no signer is connected
	closed bool

	state sync.Mutex // guards what follows; it is never held while anything waits
	here  bool
	since time.Time // when here became what it is
}

var _ types.PrivValidator = (*Remote)(nil)

// Listen awaits a signer.
func Listen(o RemoteOptions) (*Remote, error) {
	network, where, err := SplitAddress(o.Address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		// The socket of a process that was killed stays; the home's lock says that none runs.
		if info, err := os.Lstat(where); err == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%s is no socket; name another path", where)
		}
		if err := os.Remove(where); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	l, err := net.Listen(network, where)
	if err != nil {
		return nil, fmt.Errorf("await the signer: %w", err)
	}
	if network == "unix" {
		if err := os.Chmod(where, 0o600); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	r := &Remote{o: o, listener: l, ended: make(chan struct{}), slots: make(chan struct{}, maxHandshakes), since: time.Now()}
	r.group.Go(r.accept)
	r.group.Go(r.ping)
	return r, nil
}

// Address is where the signer is awaited.
func (r *Remote) Address() net.Addr { return r.listener.Addr() }

// Connected tells whether a signer answers, and since when that is so.
func (r *Remote) Connected() (bool, time.Time) {
	r.state.Lock()
	defer r.state.Unlock()
	return r.here, r.since
}

func (r *Remote) note(here bool) {
	r.state.Lock()
	defer r.state.Unlock()
	if r.here == here {
		return
	}
	r.here, r.since = here, time.Now()
}

// Close ends the connection. Nothing is signed afterwards.
func (r *Remote) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.ended)
	err := r.listener.Close()
	r.drop()
	r.mu.Unlock()
	r.group.Wait()
	return err
}

// drop ends the connection; mu is held.
func (r *Remote) drop() {
	if r.conn != nil {
		_ = r.conn.Close() // it is of no more use
		r.conn = nil
	}
	r.note(false)
}

func (r *Remote) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			select {
			case <-r.ended:
				return
			case <-time.After(100 * time.Millisecond):
			}
			r.o.Log.Error("await the signer", "error", err)
			continue
		}
		select {
		case r.slots <- struct{}{}:
		default:
			_ = c.Close() // too many at once
			continue
		}
		r.group.Go(func() {
			defer func() { <-r.slots }()
			if err := r.admit(c); err != nil {
				_ = c.Close() // it is refused
				r.o.Log.Error("a signer was refused", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// admit makes a connection the signer's.
func (r *Remote) admit(c net.Conn) error {
	if r.o.Own != nil {
		secret, err := authenticate(c, r.o.Own, r.o.Signer)
		if err != nil {
			return err
		}
		c = secret
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return net.ErrClosed
	}
	if r.conn != nil {
		if _, err := r.exchange(&privvalproto.Message{Sum: &privvalproto.Message_PingRequest{PingRequest: &privvalproto.PingRequest{}}}); err == nil {
			return errors.New("another signer is connected and answers; two processes with one key sign twice sooner or later, so stop one")
		}
	}
	r.conn = c
	answer, err := r.exchange(&privvalproto.Message{Sum: &privvalproto.Message_PubKeyRequest{PubKeyRequest: &privvalproto.PubKeyRequest{ChainId: r.o.ChainID}}})
	if err == nil {
		err = r.rightKey(answer.GetPubKeyResponse())
	}
	if err != nil {
		r.drop()
		return err
	}
	r.note(true)
	r.o.Log.Info("the signer is connected", "from", c.RemoteAddr().String())
	return nil
}

// rightKey refuses a signer of another validator or chain.
func (r *Remote) rightKey(p *privvalproto.PubKeyResponse) error {
	switch {
	case p == nil:
		return errors.New("it answers in no form that is known")
	case p.Error != nil:
		return fmt.Errorf("it refuses to tell its key (is it of another chain than %s?): %s", r.o.ChainID, p.Error.Description)
	}
	key, err := cryptoenc.PubKeyFromProto(p.PubKey)
	if err != nil {
		return err
	}
	if !key.Equals(r.o.Key) {
		return fmt.Errorf("it has the validator key %x, and signer.public_key is %x", key.Bytes(), r.o.Key.Bytes())
	}
	return nil
}

// ping keeps what Connected says true.
func (r *Remote) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	told := time.Time{}
	for {
		select {
		case <-r.ended:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		if r.conn != nil {
			_, err := r.exchange(&privvalproto.Message{Sum: &privvalproto.Message_PingRequest{PingRequest: &privvalproto.PingRequest{}}})
			if err != nil && !r.closed {
				r.o.Log.Error("the signer went away; the validator signs nothing until it is back", "error", err)
			}
		}
		r.mu.Unlock()
		if here, since := r.Connected(); here {
			told = time.Time{}
		} else if now := time.Now(); now.Sub(since) > sayEvery && now.Sub(told) > sayEvery {
			told = now
			r.o.Log.Error("the signer is away; the validator signs nothing", "for", now.Sub(since).Round(time.Second).String(), "awaited", r.Address().String())
		}
	}
}

// sayEvery is how often the log says that the signer is away.
const sayEvery = 10 * time.Second

// exchange asks and awaits the answer; mu is held. A connection that failed once is ended:
// whatever came next might be the answer to another question.
func (r *Remote) exchange(m *privvalproto.Message) (*privvalproto.Message, error) {
	if r.conn == nil {
		return nil, ErrAway
	}
	deadline := time.Now().Add(r.o.Timeout)
	err := send(r.conn, m, deadline)
	if err == nil {
		var answer *privvalproto.Message
		if answer, err = receive(r.conn, deadline); err == nil {
			return answer, nil
		}
	}
	r.drop()
	return nil, fmt.Errorf("%w: %w", ErrAway, err)
}

func (r *Remote) ask(m *privvalproto.Message) (*privvalproto.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exchange(m)
}

// GetPubKey implements types.PrivValidator. It asks nobody.
func (r *Remote) GetPubKey() (crypto.PubKey, error) { return r.o.Key, nil }

// refused is the error of an answer, nil where it is none.
func refused(e *privvalproto.RemoteSignerError) error {
	if e == nil {
		return nil
	}
	return fmt.Errorf("the signer refuses: %s", e.Description)
}

// SignVote implements types.PrivValidator. What comes back is taken only where it is the
// vote that was asked for, but for its time, with signatures that verify.
func (r *Remote) SignVote(chainID string, vote *cmtproto.Vote) error {
	answer, err := r.ask(&privvalproto.Message{Sum: &privvalproto.Message_SignVoteRequest{SignVoteRequest: &privvalproto.SignVoteRequest{Vote: vote, ChainId: chainID}}})
	if err != nil {
		return err
	}
	s := answer.GetSignedVoteResponse()
	if s == nil {
		return errors.New("the signer answers a vote with something else")
	}
	if err := refused(s.Error); err != nil {
		return err
	}
	signed := *vote
	signed.Timestamp, signed.Signature = s.Vote.Timestamp, s.Vote.Signature
	if !r.o.Key.VerifySignature(types.VoteSignBytes(chainID, &signed), signed.Signature) {
		return errors.New("the signer's signature of a vote does not verify")
	}
	extended := vote.Type == cmtproto.PrecommitType && !types.ProtoBlockIDIsNil(&vote.BlockID)
	if extended {
		signed.ExtensionSignature = s.Vote.ExtensionSignature
		if !r.o.Key.VerifySignature(types.VoteExtensionSignBytes(chainID, &signed), signed.ExtensionSignature) {
			return errors.New("the signer's signature of a vote's extension does not verify")
		}
	}
	*vote = signed
	return nil
}

// SignProposal implements types.PrivValidator; see SignVote.
func (r *Remote) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	answer, err := r.ask(&privvalproto.Message{Sum: &privvalproto.Message_SignProposalRequest{SignProposalRequest: &privvalproto.SignProposalRequest{Proposal: proposal, ChainId: chainID}}})
	if err != nil {
		return err
	}
	s := answer.GetSignedProposalResponse()
	if s == nil {
		return errors.New("the signer answers a proposal with something else")
	}
	if err := refused(s.Error); err != nil {
		return err
	}
	signed := *proposal
	signed.Timestamp, signed.Signature = s.Proposal.Timestamp, s.Proposal.Signature
	if !r.o.Key.VerifySignature(types.ProposalSignBytes(chainID, &signed), signed.Signature) {
		return errors.New("the signer's signature of a proposal does not verify")
	}
	*proposal = signed
	return nil
}

// Recorded signs by another, and keeps on disk what it had signed last, so that this
// process asks for nothing twice and knows its own signatures after a restart. The file is
// the one that the engine keeps of a key in a file.
type Recorded struct {
	types.PrivValidator
	path string

	mu   sync.Mutex // guards last
	last State
}

// Record reads what was signed last, nothing where there is no file yet.
func Record(by types.PrivValidator, path string) (*Recorded, error) {
	last, err := ReadState(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = WriteState(path, last)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the validator key signed last: %w", err)
	}
	return &Recorded{PrivValidator: by, path: path, last: last}, nil
}

// end writes down what was signed; mu is held. Where it is the same step again, the signer
// decided, which gives the first signature or none.
func (r *Recorded) end(height int64, round int32, step int8, signBytes, signature []byte) error {
	next := State{Height: height, Round: round, Step: step, SignBytes: signBytes, Signature: bytes.Clone(signature)}
	if err := WriteState(r.path, next); err != nil {
		return fmt.Errorf("write what the validator key signed: %w", err)
	}
	r.last = next
	return nil
}

// SignVote implements types.PrivValidator.
func (r *Recorded) SignVote(chainID string, vote *cmtproto.Vote) error {
	step, err := stepOf(vote)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.last.CheckHRS(vote.Height, vote.Round, step); err != nil {
		return err
	}
	signed := *vote
	if err := r.PrivValidator.SignVote(chainID, &signed); err != nil {
		return err
	}
	if err := r.end(vote.Height, vote.Round, step, types.VoteSignBytes(chainID, &signed), signed.Signature); err != nil {
		return err
	}
	*vote = signed
	return nil
}

// SignProposal implements types.PrivValidator.
func (r *Recorded) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, err := r.last.CheckHRS(proposal.Height, proposal.Round, stepPropose); err != nil {
		return err
	}
	signed := *proposal
	if err := r.PrivValidator.SignProposal(chainID, &signed); err != nil {
		return err
	}
	if err := r.end(proposal.Height, proposal.Round, stepPropose, types.ProposalSignBytes(chainID, &signed), signed.Signature); err != nil {
		return err
	}
	*proposal = signed
	return nil
}
