package consensus

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cometbft/cometbft/p2p"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	"github.com/chancery/chancery/consensus/divergence"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
)

const (
	// suspectAfter is how long the height stands still before peers are asked for their
	// root of it.
	suspectAfter = 5 * time.Second
	// suspectPause is between two such questions.
	suspectPause = 5 * time.Second
	// rootPatience bounds a question for roots alone.
	rootPatience = 3 * time.Second

	// investigationTime is what an investigation may take in all, and gatherTime how long it
	// waits for peers of the other side: those that were dropped are dialled again.
	investigationTime = 90 * time.Second
	gatherTime        = 10 * time.Second
	gatherPause       = 500 * time.Millisecond

	maxAsked    = 32 // peers
	maxCompared = 3  // peers, of which the first that answers to the end is enough
)

// parting finds out whether the node's state has parted from what more than two thirds of
// the voting power signed, or from its peers', and writes down in what. It knows the first by
// the votes with which consensus halted, or by a signed header of a peer: the engine drops
// peers whose blocks it finds wrong, and tells nobody. It looks at peers' roots while the
// height stands still alone.
type parting struct {
	n       *Node
	reactor *divergence.Reactor
	joined  chan struct{} // holds one: a peer connected
	asked   time.Time     // of run alone

	mu     sync.Mutex // guards what follows
	height int64      // of the latest split that was reported
	split  string     // what is to be said of it
}

func newParting(n *Node) *parting {
	p := &parting{n: n, joined: make(chan struct{}, 1)}
	p.reactor = divergence.NewReactor(divergence.Host{
		State: func(height int64) (state.Snapshot, error) {
			tree := n.o.App.Tree()
			if height == 0 {
				return tree.Latest(), nil
			}
			s, err := tree.At(height)
			if err != nil {
				return nil, chain.ErrBadHeight.Wrap(err)
			}
			return s, nil
		},
		Header: n.LightBlock, Version: n.o.Version, Tree: n.o.Tree, Log: n.o.Log.With("part", "divergence"),
		Joined: func() {
			select {
			case p.joined <- struct{}{}:
			default:
			}
		},
	})
	return p
}

// note is what health should say of a split at a height, empty for nothing.
func (p *parting) note(height int64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.height != height {
		return ""
	}
	return p.split
}

// run looks until ctx ends, the state has parted, or consensus has halted.
func (p *parting) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		joined := false
		select {
		case <-ctx.Done():
			return
		case <-p.n.ended:
			p.halted(ctx)
			return
		case <-p.joined:
			joined = true
		case <-tick.C:
		}
		if p.look(ctx, joined) {
			return
		}
	}
}

// halted tells why consensus has halted.
func (p *parting) halted(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	if a := p.voted(); a != nil {
		p.conclude(ctx, a)
		return
	}
	p.n.halt(errors.New("consensus has halted; the log says why. The node must be looked at before it is started again"))
}

// voted is the root of this node's height that the votes say with which consensus halted,
// nil where they say no other than its own.
func (p *parting) voted() *divergence.Agreed {
	rs, tree := p.n.state.GetRoundState(), p.n.o.App.Tree()
	if rs.Height != tree.Version()+1 || rs.Votes == nil || rs.ProposalBlock == nil || bytes.Equal(rs.ProposalBlock.AppHash, tree.Root()) {
		return nil
	}
	for _, x := range []struct {
		by    string
		votes *types.VoteSet
	}{{"precommits", rs.Votes.Precommits(rs.CommitRound)}, {"prevotes", rs.Votes.Prevotes(rs.Round)}} {
		id, ok := x.votes.TwoThirdsMajority()
		if !ok || !rs.ProposalBlock.HashesTo(id.Hash) {
			continue
		}
		a := &divergence.Agreed{AppHash: hex.EncodeToString(rs.ProposalBlock.AppHash), Of: rs.Validators.TotalVotingPower(), By: x.by}
		signed := x.votes.BitArrayByBlockID(id)
		for i, v := range rs.Validators.Validators {
			if signed.GetIndex(i) {
				a.Power += v.VotingPower
			}
		}
		return a
	}
	return nil
}

// look asks peers for their root of a height that stands still. It tells whether the state
// has parted from what was signed.
func (p *parting) look(ctx context.Context, joined bool) bool {
	own := p.n.o.App.Tree().Latest()
	age, _, _ := p.n.watch.health()
	still := time.Duration(age) * time.Millisecond
	if own.Version() == 0 || p.n.app.beginning() || still < suspectAfter || !joined && now().Sub(p.asked) < suspectPause {
		return false
	}
	p.asked = now()
	other := false
	for _, a := range p.ask(ctx, &nodev1.HashesRequest{Height: own.Version(), Header: true}) {
		if a.err != nil {
			continue
		}
		if signed := p.signed(own.Version()+1, a.answer.Next); signed != nil && signed.AppHash != hex.EncodeToString(own.Root()) {
			p.conclude(ctx, signed)
			return true
		}
		other = other || a.answer.Height == own.Version() && !bytes.Equal(a.answer.AppHash, own.Root())
	}
	if other && still > p.n.watch.o.Unhealthy && p.note(own.Version()) == "" {
		p.divide(ctx, own)
	}
	return false
}

// signed is the root that a header of a height announces which more than two thirds of its
// validators signed, nil where a peer shows none.
func (p *parting) signed(height int64, raw []byte) *divergence.Agreed {
	pb := new(cmtproto.LightBlock)
	if len(raw) == 0 || pb.Unmarshal(raw) != nil || pb.SignedHeader == nil {
		return nil
	}
	h, err := types.SignedHeaderFromProto(pb.SignedHeader)
	chainID := p.n.o.App.ChainID()
	if err != nil || h.ValidateBasic(chainID) != nil || h.Height != height {
		return nil
	}
	validators, err := p.n.store.LoadValidators(height)
	if err != nil || validators.VerifyCommitLight(chainID, h.Commit.BlockID, height, h.Commit) != nil {
		return nil
	}
	a := &divergence.Agreed{AppHash: hex.EncodeToString(h.AppHash), Of: validators.TotalVotingPower(), By: "commit"}
	for i, s := range h.Commit.Signatures {
		if s.BlockIDFlag == types.BlockIDFlagCommit {
			a.Power += validators.Validators[i].VotingPower
		}
	}
	return a
}

// conclude writes the report of a state that is not what was signed, and ends the node.
func (p *parting) conclude(ctx context.Context, agreed *divergence.Agreed) {
	own := p.n.o.App.Tree().Latest()
	p.n.log.Error("the node's state has parted from what more than two thirds of the voting power signed; asking its peers in what",
		"height", own.Version(), "own", hex.EncodeToString(own.Root()), "signed", agreed.AppHash, "power", agreed.Power, "of", agreed.Of, "by", agreed.By)
	// It would drop each peer whose block it refuses.
	p.n.stopBlockSync()
	r := p.investigate(ctx, own, agreed)
	where := p.write(r)
	if ctx.Err() != nil {
		return
	}
	p.n.halt(divergence.ErrParted.With("height %d, own root %s, signed %s; %s; %s", r.Height, r.Own.AppHash, agreed.AppHash, r.Summary(), where))
}

// divide writes the report of a state of which peers have another root, while nobody knows
// whose is right.
func (p *parting) divide(ctx context.Context, own state.Snapshot) {
	r := p.investigate(ctx, own, nil)
	if ctx.Err() != nil || len(r.Sides) < 2 {
		return
	}
	where := p.write(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.height, p.split = r.Height, fmt.Sprintf("peers have another root of the state of height %d; %s; %s", r.Height, r.Summary(), where)
}

// write keeps a report, and says where it is.
func (p *parting) write(r *divergence.Report) string {
	path, err := "", errors.New("nothing keeps it")
	if p.n.o.Parted != nil {
		path, err = p.n.o.Parted(r)
	}
	if err != nil {
		p.n.log.Error("the report of the divergence is not written", "error", err, "report", r)
		return "the report is in the log"
	}
	p.n.log.Error("states have parted", "verdict", r.Verdict, "height", r.Height, "found", r.Summary(), "report", path)
	return "the report is " + path
}

// answered is what a peer says.
type answered struct {
	id     p2p.ID
	answer *nodev1.HashesResponse
	err    error
}

// ask puts a question for roots to all connected peers at once, in order of their ids.
func (p *parting) ask(ctx context.Context, q *nodev1.HashesRequest) []answered {
	ctx, cancel := context.WithTimeout(ctx, rootPatience)
	defer cancel()
	ids := p.n.peers()
	out := make([]answered, min(len(ids), maxAsked))
	var all sync.WaitGroup
	for i := range out {
		all.Go(func() {
			id := p2p.ID(ids[i])
			a, err := p.reactor.Ask(ctx, id, q)
			out[i] = answered{id: id, answer: a, err: err}
		})
	}
	all.Wait()
	return out
}

// investigate asks the peers in what the own state differs from theirs, or from those that
// have the root that was agreed on.
func (p *parting) investigate(ctx context.Context, own state.Snapshot, agreed *divergence.Agreed) *divergence.Report {
	ctx, cancel := context.WithTimeout(ctx, investigationTime)
	defer cancel()
	r := divergence.NewReport(agreed)
	r.ChainID, r.Time, r.Height = p.n.o.App.ChainID(), now().UTC().Format(time.RFC3339), own.Version()
	r.Own = divergence.Own{
		NodeID: string(p.n.node.NodeInfo().ID()), AppHash: hex.EncodeToString(own.Root()), Version: p.n.o.Version,
		StateVersion: p.n.o.App.VersionIn(own), Tree: p.n.o.Tree,
	}
	r.Own.Organisation, r.Own.Power = p.weight(r.Own.NodeID)
	// Who has the root that was agreed on, or any other than this node's.
	opposite := func(x divergence.Peer) bool {
		if agreed != nil {
			return x.AppHash == agreed.AppHash
		}
		return x.AppHash != "" && x.AppHash != r.Own.AppHash
	}
	r.Peers = p.gather(ctx, own.Version(), opposite)
	r.Tally()
	peers := slices.DeleteFunc(slices.Clone(r.Peers), func(x divergence.Peer) bool { return !opposite(x) })
	slices.SortStableFunc(peers, func(a, b divergence.Peer) int { return cmp.Compare(b.Power, a.Power) })
	p.compare(ctx, r, own, peers[:min(len(peers), maxCompared)])
	return r
}

// gather asks for peers' roots of a height until all that are listed are connected and one is
// of the other side, or it has taken too long.
func (p *parting) gather(ctx context.Context, height int64, opposite func(divergence.Peer) bool) []divergence.Peer {
	for end := now().Add(gatherTime); ; {
		var out []divergence.Peer
		for _, a := range p.ask(ctx, &nodev1.HashesRequest{Height: height}) {
			x := divergence.Peer{NodeID: string(a.id)}
			x.Organisation, x.Power = p.weight(x.NodeID)
			if a.err != nil {
				x.Silent = a.err.Error()
			} else {
				x.AppHash, x.Version, x.Tree = hex.EncodeToString(a.answer.AppHash), a.answer.Version, a.answer.Tree
			}
			out = append(out, x)
		}
		if slices.ContainsFunc(out, opposite) && len(out) >= p.n.Listed() || now().After(end) {
			return out
		}
		select {
		case <-ctx.Done():
			return out
		case <-time.After(gatherPause):
		}
	}
}

// weight is the organisation of a node, and the power of its validators.
func (p *parting) weight(nodeID string) (organisation string, power int64) {
	r := p.n.o.App.Latest()
	organisation, ok := p.n.o.Membership.NodeOrganisation(r, nodeID)
	if !ok {
		return "", 0
	}
	for _, v := range p.n.o.Membership.Validators(r) {
		if v.Organisation == organisation {
			power += v.Power
		}
	}
	return organisation, power
}

// compare compares the own state with those of peers, until one answered to the end.
func (p *parting) compare(ctx context.Context, r *divergence.Report, own state.Snapshot, peers []divergence.Peer) {
	r.Problem = "no peer of the other side answered"
	for _, x := range peers {
		c, err := divergence.Compare(ctx, p.n.o.App.Registry(), own.Version(), divergence.Local(own), p.reactor.From(p2p.ID(x.NodeID)))
		if c != nil {
			r.Compared, r.Comparison = x.NodeID, c
		}
		switch {
		case err != nil:
			r.Problem = fmt.Sprintf("comparing with %s: %v", x.NodeID, err)
		case c.First == nil:
			r.Problem = fmt.Sprintf("%s has another root, and no other record: the trees differ in their shape", x.NodeID)
		default:
			r.Problem = ""
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}
