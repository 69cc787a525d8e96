//go:build byzantine

package consensus

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	cs "github.com/cometbft/cometbft/consensus"
	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	cmtcons "github.com/cometbft/cometbft/proto/tendermint/consensus"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// This file makes a validator that lies when it is told to, for tests of networks. The tag
// byzantine builds it, and no release has the tag.
//
// The environment variable liesVariable names a file. While the file is there, it holds the
// name of a lie, which the validator tells whenever it can. Each that it told becomes a
// line of the file with the same name and ".told": the lie, the height.
const liesVariable = "CHANCERY_BYZANTINE"

// proposals are what a lying proposer makes of its block, docket first; nil: there is
// nothing to lie about in this one.
var proposals = map[string]func(txs [][]byte) [][]byte{
	"verdict": docketed(func(d *chainv1.Docket) {
		for _, v := range d.Verdicts {
			v.Score++
		}
	}),
	"verdict-missing": docketed(func(d *chainv1.Docket) { d.Verdicts = d.Verdicts[:len(d.Verdicts)/2] }),
	"model":           docketed(func(d *chainv1.Docket) { d.Model = bytes.Repeat([]byte{1}, 32) }),
	"forged-vote": docketed(func(d *chainv1.Docket) {
		for _, v := range d.Votes {
			v.Signature[0] ^= 1
		}
	}),
	"no-docket": func(txs [][]byte) [][]byte { return txs[1:] },
	"twice": func(txs [][]byte) [][]byte {
		if len(txs) < 2 {
			return nil
		}
		return append(txs, txs[1])
	},
	"order": func(txs [][]byte) [][]byte {
		if len(txs) < 2 {
			return nil
		}
		return slices.Concat(txs[1:], txs[:1])
	},
	"wrong-tx": func(txs [][]byte) [][]byte { return append(txs, noise(300)) },
}

// extensions are what a lying voter says.
var extensions = map[string]func(l *liar, req *abci.RequestExtendVote) []byte{
	"malformed": func(*liar, *abci.RequestExtendVote) []byte { return noise(64) },
	"too-long":  func(*liar, *abci.RequestExtendVote) []byte { return noise(chain.MaxExtension + 1) },
	// It lists transactions that nobody has.
	"phantoms": func(_ *liar, _ *abci.RequestExtendVote) []byte {
		listed := make([][]byte, chain.MaxListed)
		for i := range listed {
			listed[i] = noise(32)
		}
		slices.SortFunc(listed, bytes.Compare)
		return marshalled(&chainv1.Extension{Listed: bytes.Join(listed, nil)})
	},
	// It says that all others' proposers lied.
	"slander": func(l *liar, req *abci.RequestExtendVote) []byte {
		said := new(threatv1.Assessments)
		for _, v := range l.n.app.membership.Validators(l.n.app.app.Latest()) {
			if bytes.Equal(addressOf(v.PublicKey), l.n.app.self()) {
				continue
			}
			said.Assessments = append(said.Assessments, &threatv1.Assessment{
				Subject: v.Organisation, Risk: threatv1.Risk_RISK_SEVERE, Cause: threatv1.Cause_CAUSE_PROPOSER_LIED,
				Source: noise(32), Until: req.Time.UnixMilli() + 600_000,
			})
		}
		slices.SortFunc(said.Assessments, func(a, b *threatv1.Assessment) int { return strings.Compare(a.Subject, b.Subject) })
		return marshalled(&chainv1.Extension{Voice: marshalled(said)})
	},
}

// twins are the votes beside which it signs another, for another block or for none.
var twins = map[string]cmtproto.SignedMsgType{
	"double-prevote": cmtproto.PrevoteType, "double-precommit": cmtproto.PrecommitType,
}

// docketed is a lie in the docket.
func docketed(lie func(*chainv1.Docket)) func(txs [][]byte) [][]byte {
	return func(txs [][]byte) [][]byte {
		d, err := chain.DecodeDocket(txs[0])
		if err != nil {
			panic(err)
		}
		honest := d.CloneVT()
		if lie(d); d.EqualVT(honest) {
			return nil
		}
		tag := txs[0][:len(txs[0])-honest.SizeVT()]
		return append([][]byte{slices.Concat(tag, marshalled(d))}, txs[1:]...)
	}
}

func marshalled(m interface{ MarshalVT() ([]byte, error) }) []byte {
	raw, err := m.MarshalVT()
	if err != nil {
		panic(err)
	}
	return raw
}

func noise(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.Read(out)
	return out
}

func addressOf(key []byte) []byte { return crypto.AddressHash(key) }

// liar is the application of a validator that lies, and its key.
type liar struct {
	*application
	types.PrivValidator
	n    *Node
	file string

	mu  sync.Mutex // guards own
	own []byte     // the latest extension that it made, which it does not refuse itself
}

func served(n *Node) abci.Application {
	file := os.Getenv(liesVariable)
	if file == "" {
		return n.app
	}
	l := &liar{application: n.app, PrivValidator: n.signer.current.PrivValidator, n: n, file: file}
	n.signer.current.PrivValidator = l
	n.app.omit = func(d *tx.Decoded, _ bool) bool {
		// It censors half of all transactions, due or not.
		censored := l.lie() == "censor" && d.ID[0] < 128
		if censored {
			l.told("censor", n.app.app.Head().Height+1)
		}
		return censored
	}
	return l
}

// Close closes the key where it can be.
func (l *liar) Close() error {
	if c, ok := l.PrivValidator.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// lie is the one to tell now; empty: none.
func (l *liar) lie() string {
	raw, err := os.ReadFile(l.file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	name := strings.TrimSpace(string(raw))
	l.n.app.deaf = name == "censor"
	return name
}

func (l *liar) told(lie string, height int64) {
	f, err := os.OpenFile(l.file+".told", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, lie, height)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

// PrepareProposal lies in a block that an honest validator would have made.
func (l *liar) PrepareProposal(ctx context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	lie := l.lie()
	res, err := l.application.PrepareProposal(ctx, req)
	bend := proposals[lie]
	if err != nil || bend == nil {
		return res, err
	}
	if bent := bend(slices.Clone(res.Txs)); bent != nil {
		l.told(lie, req.Height)
		res.Txs = bent
	}
	return res, nil
}

// ProcessProposal accepts every block while it lies, its own among them.
func (l *liar) ProcessProposal(ctx context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	res, err := l.application.ProcessProposal(ctx, req)
	if err == nil && proposals[l.lie()] != nil {
		res.Status = abci.ResponseProcessProposal_ACCEPT
	}
	return res, err
}

// ExtendVote lies with a vote.
func (l *liar) ExtendVote(ctx context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	lie := l.lie()
	say := extensions[lie]
	if say == nil {
		return l.application.ExtendVote(ctx, req)
	}
	l.told(lie, req.Height)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own = say(l, req)
	return &abci.ResponseExtendVote{VoteExtension: l.own}, nil
}

// VerifyVoteExtension takes its own, on which the engine insists.
func (l *liar) VerifyVoteExtension(ctx context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	l.mu.Lock()
	own := len(l.own) > 0 && bytes.Equal(req.VoteExtension, l.own)
	l.mu.Unlock()
	if own {
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
	}
	return l.application.VerifyVoteExtension(ctx, req)
}

// SignVote signs another vote beside, behind the back of the key's guard, and sends it to
// every peer.
func (l *liar) SignVote(chainID string, vote *cmtproto.Vote) error {
	if err := l.PrivValidator.SignVote(chainID, vote); err != nil {
		return err
	}
	lie := l.lie()
	if kind, is := twins[lie]; !is || kind != vote.Type || types.ProtoBlockIDIsNil(&vote.BlockID) {
		return nil
	}
	twin := *vote
	twin.BlockID, twin.Extension, twin.ExtensionSignature = cmtproto.BlockID{}, nil, nil
	if twin.Type == cmtproto.PrevoteType {
		twin.BlockID = cmtproto.BlockID{Hash: noise(32), PartSetHeader: cmtproto.PartSetHeader{Total: 1, Hash: noise(32)}}
	}
	c := l.n.o.Config
	signature, err := privval.LoadFilePVEmptyState(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile()).Key.PrivKey.Sign(types.VoteSignBytes(chainID, &twin))
	if err != nil {
		return err
	}
	twin.Signature = signature
	sent := false
	l.n.node.Switch().Peers().ForEach(func(p p2p.Peer) {
		sent = p.TrySend(p2p.Envelope{ChannelID: cs.VoteChannel, Message: &cmtcons.Vote{Vote: &twin}}) || sent
	})
	if sent {
		l.told(lie, vote.Height)
	}
	return nil
}
