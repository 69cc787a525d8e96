package consensus

import (
	abci "github.com/cometbft/cometbft/abci/types"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// misbehaviour is what a block carries evidence of, as the chain has it, in the block's
// order. The engine has verified the evidence, and it is the same on every node.
func misbehaviour(of []abci.Misbehavior) []*chainv1.Misbehaviour {
	var out []*chainv1.Misbehaviour
	for _, m := range of {
		kind := chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_UNSPECIFIED
		switch m.Type {
		case abci.MisbehaviorType_DUPLICATE_VOTE:
			kind = chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_DUPLICATE_VOTE
		case abci.MisbehaviorType_LIGHT_CLIENT_ATTACK:
			kind = chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_LIGHT_CLIENT_ATTACK
		}
		out = append(out, &chainv1.Misbehaviour{
			Kind: kind, Validator: m.Validator.Address, Height: m.Height, Time: m.Time.UnixMilli(),
			Power: m.Validator.Power, Total: m.TotalVotingPower,
		})
	}
	return out
}
