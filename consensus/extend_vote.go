package consensus

import (
	"context"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

const (
	// listBudget is how long a validator tries, before it votes, what it would list.
	listBudget = 50 * time.Millisecond
	// listMargin is how long what a validator lists must still be valid, in milliseconds of
	// block time: it stops listing a transaction before that is void, so that no demand
	// outlives its transaction.
	listMargin = 10_000
)

// ExtendVote returns what this validator has to say, SPEC V1.
func (a *application) ExtendVote(_ context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	e := &chainv1.Extension{Voice: a.speak(req.Height, req.Time.UnixMilli())}
	for _, id := range a.list(req.Time.UnixMilli()) {
		e.Listed = append(e.Listed, id[:]...)
	}
	e.Unlisted = len(e.Listed) == 0 && a.app.Lists(a.self())
	extension, err := e.MarshalVT()
	if err == nil {
		err = a.checkExtension(extension)
	}
	if err != nil {
		// The engine halts a validator whose own extension is refused.
		a.log.Error("what this validator has to say is not in form and is left out", "height", req.Height, "reason", err)
		return &abci.ResponseExtendVote{}, nil
	}
	return &abci.ResponseExtendVote{VoteExtension: extension}, nil
}

// speak is the voice's part of an extension, empty where it is not in form.
func (a *application) speak(height, time int64) []byte {
	if a.voice == nil {
		return nil
	}
	said := a.voice.Extension(height, time)
	switch {
	case len(said) == 0:
		return nil
	case len(said) > chain.MaxVoice:
		a.log.Error("what this validator believes is too long and is left out", "height", height, "bytes", len(said))
		return nil
	}
	if err := a.voice.Check(said); err != nil {
		a.log.Error("what this validator believes is not in form and is left out", "height", height, "reason", err)
		return nil
	}
	return said
}

// list is the transactions that this validator holds for long and would take into the
// next block, sorted by id: of each organisation the one that waits the longest, so that
// nobody's flood keeps another's off the list. Each is tried on the latest state. What is
// refused there leaves the pool, or waits for a while.
func (a *application) list(now int64) []tx.ID {
	deadline := time.Now().Add(listBudget)
	var out, evict, later []tx.ID
	good := func(d *tx.Decoded) bool { return int64(len(d.Raw)) <= a.most && d.Body.ValidUntil-now >= listMargin }
	for _, d := range a.pool.Overdue(chain.MaxListed, good) {
		switch _, err := a.app.Next().Deliver(d); {
		case err == nil:
			out = append(out, d.ID)
		case retryable(err):
			later = append(later, d.ID)
		default:
			evict = append(evict, d.ID)
		}
		if time.Now().After(deadline) {
			break
		}
	}
	a.pool.Evict(evict...)
	a.pool.Postpone(later...)
	slices.SortFunc(out, func(x, y tx.ID) int { return slices.Compare(x[:], y[:]) })
	return out
}

// mostListed is how large a transaction may be that a validator lists: it must fit into a
// block whatever else the engine has to put there, or it could never be included.
// maxBytes is the engine's bound of a block, -1 for its own largest.
func mostListed(maxBytes int64) int64 {
	if maxBytes < 0 {
		maxBytes = types.MaxBlockSizeBytes
	}
	return maxBytes / 2
}

// VerifyVoteExtension accepts what has the form of an extension, SPEC V2. It looks at
// the bytes only, so that it can't cost liveness.
func (a *application) VerifyVoteExtension(_ context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	if a.checkExtension(req.VoteExtension) != nil {
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_REJECT}, nil
	}
	return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
}
