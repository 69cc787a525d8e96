package signer

import (
	"fmt"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/chancery/chancery/node/internal/durable"
)

// The steps of a round in which a validator signs, as the engine numbers them.
const (
	stepPropose   int8 = 1
	stepPrevote   int8 = 2
	stepPrecommit int8 = 3
)

// stateLimit bounds the file of what was signed last.
const stateLimit = 64 << 10

func stepOf(vote *cmtproto.Vote) (int8, error) {
	switch vote.Type {
	case cmtproto.PrevoteType:
		return stepPrevote, nil
	case cmtproto.PrecommitType:
		return stepPrecommit, nil
	}
	return 0, fmt.Errorf("a vote of type %d is none", vote.Type)
}

// State is what a validator key signed last: the engine's form, in the engine's file.
type State = privval.FilePVLastSignState

// ReadState reads what a key signed last.
func ReadState(path string) (State, error) {
	var s State
	raw, err := durable.Read(path, stateLimit)
	if err != nil {
		return s, err
	}
	if err := cmtjson.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if s.Height < 0 || s.Round < 0 || s.Step < 0 || s.Step > stepPrecommit || (s.SignBytes == nil) != (s.Signature == nil) {
		return s, fmt.Errorf("%s says height %d, round %d, step %d in no form that is known", path, s.Height, s.Round, s.Step)
	}
	return s, nil
}

// WriteState replaces the file of what a key signed last. It is on disk when it returns.
func WriteState(path string, s State) error {
	raw, err := cmtjson.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(path, raw)
}
