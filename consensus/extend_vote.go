package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// ExtendVote returns what this validator has to say, SPEC V1.
func (a *application) ExtendVote(_ context.Context, req *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	if a.voice == nil {
		return &abci.ResponseExtendVote{}, nil
	}
	extension := a.voice.Extension(req.Height, req.Time.UnixMilli())
	if len(extension) == 0 {
		return &abci.ResponseExtendVote{}, nil
	}
	if err := a.checkExtension(extension); err != nil {
		// The engine halts a validator whose own extension is refused.
		a.log.Error("what this validator has to say is not in form and is left out", "height", req.Height, "reason", err)
		return &abci.ResponseExtendVote{}, nil
	}
	return &abci.ResponseExtendVote{VoteExtension: extension}, nil
}

// VerifyVoteExtension accepts what has the form of an extension, SPEC V2. It looks at
// the bytes only, so that it can't cost liveness.
func (a *application) VerifyVoteExtension(_ context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	if a.checkExtension(req.VoteExtension) != nil {
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_REJECT}, nil
	}
	return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
}
