package consensus

import (
	"bytes"
	"crypto/sha256"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// docket reads the docket of a block and checks the votes in it, SPEC D1, D2 and D4.
func (a *application) docket(height int64, txs [][]byte) (*chainv1.Docket, error) {
	if len(txs) == 0 {
		return nil, chain.ErrDocket.With("the block has none")
	}
	d, err := chain.DecodeDocket(txs[0])
	if err != nil {
		return nil, err
	}
	if len(d.Votes) == 0 {
		return d, nil
	}
	validators := a.keys()
	for _, v := range d.Votes {
		if err := a.checkVote(validators, height-1, d.Round, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// validatorKeys are the consensus keys of the latest state, sorted by address.
type validatorKeys []validatorKey

type validatorKey struct {
	address [20]byte
	key     ed25519.PubKey
}

func (a *application) keys() validatorKeys {
	var out validatorKeys
	for _, v := range a.membership.Validators(a.app.Latest()) {
		sum := sha256.Sum256(v.PublicKey)
		out = append(out, validatorKey{address: [20]byte(sum[:20]), key: v.PublicKey})
	}
	slices.SortFunc(out, func(a, b validatorKey) int { return bytes.Compare(a.address[:], b.address[:]) })
	return out
}

func (k validatorKeys) lookup(address []byte) (ed25519.PubKey, bool) {
	i, ok := slices.BinarySearchFunc(k, address, func(v validatorKey, a []byte) int { return bytes.Compare(v.address[:], a) })
	if !ok {
		return nil, false
	}
	return k[i].key, true
}

// checkExtension refuses what is no extension: nothing to say is always one.
func (a *application) checkExtension(extension []byte) error {
	if len(extension) == 0 {
		return nil
	}
	e, err := chain.ParseExtension(extension)
	switch {
	case err != nil:
		return err
	case len(e.Voice) == 0:
		return nil
	case a.voice == nil:
		return chain.ErrDocket.With("validators believe nothing of others on this chain")
	}
	return a.voice.Check(e.Voice)
}

// checkVote refuses an extension that its validator did not sign, or that has not the
// form of one. The rule depends on the block and the previous state alone.
func (a *application) checkVote(validators validatorKeys, height int64, round int32, v *chainv1.Vote) error {
	if height < 1 {
		return chain.ErrDocket.With("a vote of %X for block %d", v.Validator, height)
	}
	key, ok := validators.lookup(v.Validator)
	if !ok {
		return chain.ErrDocket.With("%X is no validator", v.Validator)
	}
	if err := a.checkExtension(v.Extension); err != nil {
		return chain.ErrDocket.With("the extension of %X: %v", v.Validator, err)
	}
	signed := types.VoteExtensionSignBytes(a.app.ChainID(), &cmtproto.Vote{Height: height, Round: round, Extension: v.Extension})
	if !key.VerifySignature(signed, v.Signature) {
		return chain.ErrDocket.With("the signature of %X on its extension for block %d, round %d does not verify", v.Validator, height, round)
	}
	return nil
}

// maxVotesShare is of a block's bytes how many extensions may take: a quarter.
const maxVotesShare = 4

// votes are the extensions of the latest commit that pass the rules, sorted by
// validator. Where not all have room, another one begins at each height, so that
// none is left out for long.
func (a *application) votes(height int64, commit abci.ExtendedCommitInfo, most int64) []*chainv1.Vote {
	if len(commit.Votes) == 0 {
		return nil
	}
	validators := a.keys()
	var out []*chainv1.Vote
	var size int64
	for i := range commit.Votes {
		w := &commit.Votes[(i+int(height%int64(len(commit.Votes))))%len(commit.Votes)]
		v := &chainv1.Vote{Validator: w.Validator.Address, Extension: w.VoteExtension, Signature: w.ExtensionSignature}
		if len(v.Extension) == 0 || len(v.Extension) > chain.MaxExtension || len(out) == chain.MaxVotes {
			continue
		}
		if size += int64(v.SizeVT()) + 8; size > most/maxVotesShare {
			break
		}
		// The engine has verified it; a validator that was removed since is not known.
		if a.checkVote(validators, height-1, commit.Round, v) == nil {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *chainv1.Vote) int { return bytes.Compare(a.Validator, b.Validator) })
	return out
}
