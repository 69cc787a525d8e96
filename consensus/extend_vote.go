package consensus

import (
	"context"

	abci "github.com/cometbft/cometbft/abci/types"
)

// ExtendVote returns the empty extension. Extensions are enabled from height 1, so
// that content can be given to them by a later version of the rules.
func (a *application) ExtendVote(context.Context, *abci.RequestExtendVote) (*abci.ResponseExtendVote, error) {
	return &abci.ResponseExtendVote{}, nil
}

// VerifyVoteExtension accepts the empty extension alone. It looks at the bytes
// only, so that it can't cost liveness.
func (a *application) VerifyVoteExtension(_ context.Context, req *abci.RequestVerifyVoteExtension) (*abci.ResponseVerifyVoteExtension, error) {
	if len(req.VoteExtension) != 0 {
		return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_REJECT}, nil
	}
	return &abci.ResponseVerifyVoteExtension{Status: abci.ResponseVerifyVoteExtension_ACCEPT}, nil
}
