package consensus

import (
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
)

// heldSigner is a validator key that signs only while it may. The engine takes a refusal
// as it does a key that is out of reach: it logs it and goes on without the vote.
type heldSigner struct {
	types.PrivValidator
	may func() error
}

// SignVote implements types.PrivValidator.
func (s heldSigner) SignVote(chainID string, vote *cmtproto.Vote) error {
	if err := s.may(); err != nil {
		return err
	}
	return s.PrivValidator.SignVote(chainID, vote)
}

// SignProposal implements types.PrivValidator.
func (s heldSigner) SignProposal(chainID string, proposal *cmtproto.Proposal) error {
	if err := s.may(); err != nil {
		return err
	}
	return s.PrivValidator.SignProposal(chainID, proposal)
}
