package chain

import (
	"bytes"
	"fmt"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// docketTag begins every docket, so that one is never read as a transaction.
const docketTag = "chancery docket 1\n"

// Bounds of a docket.
const (
	// MaxExtension is the most bytes of a vote extension: a voice and a list with what
	// holds them together.
	MaxExtension = MaxVoice + MaxListed*32 + 16
	// MaxVotes is the most votes of a docket: the most validators that a chain has.
	MaxVotes = 200
	// MaxVerdict is the most bytes that one verdict takes in a docket, with the most
	// drivers, four.
	MaxVerdict = 112
)

// Docket is the block's docket so far: the verdicts on the transactions that were
// delivered, and the given votes for the block before, which was decided in a round.
func (x *Execution) Docket(round int32, votes []*chainv1.Vote) []byte {
	d := &chainv1.Docket{Model: x.model(), Verdicts: x.judged(), Round: round, Votes: votes}
	raw, err := d.MarshalVT()
	if err != nil {
		panic(fmt.Sprintf("chain: a docket does not marshal: %v", err))
	}
	return append([]byte(docketTag), raw...)
}

// model is the hash of the model that judges, empty when there is none.
func (x *Execution) model() []byte {
	if x.screening == nil {
		return nil
	}
	return x.screening.Model()
}

// judged is one verdict per delivered transaction, or none when none was judged.
func (x *Execution) judged() []*chainv1.Verdict {
	var out []*chainv1.Verdict
	for i, v := range x.verdicts {
		if v != nil && out == nil {
			out = make([]*chainv1.Verdict, len(x.verdicts))
			for j := range out {
				out[j] = new(chainv1.Verdict)
			}
		}
		if v != nil {
			out[i] = v
		}
	}
	return out
}

// DocketSize bounds the bytes of a docket without verdicts.
func DocketSize(votes []*chainv1.Vote) int {
	n := len(docketTag) + 64
	for _, v := range votes {
		n += v.SizeVT() + 8
	}
	return n
}

// DecodeDocket reads a docket and refuses one that is not in canonical form or
// beyond its bounds, SPEC D1 and D2.
func DecodeDocket(raw []byte) (*chainv1.Docket, error) {
	body, ok := bytes.CutPrefix(raw, []byte(docketTag))
	if !ok {
		return nil, ErrDocket.With("the first transaction is no docket")
	}
	d := new(chainv1.Docket)
	if err := d.UnmarshalVT(body); err != nil {
		return nil, ErrDocket.Wrap(err)
	}
	if again, err := d.MarshalVT(); err != nil || !bytes.Equal(again, body) || len(d.ProtoReflect().GetUnknown()) > 0 {
		return nil, ErrDocket.With("not in canonical form")
	}
	switch {
	case len(d.Model) != 0 && len(d.Model) != 32:
		return nil, ErrDocket.With("the model's hash has %d bytes", len(d.Model))
	case d.Round < 0:
		return nil, ErrDocket.With("round %d", d.Round)
	case len(d.Votes) > MaxVotes:
		return nil, ErrDocket.With("%d votes, at most %d", len(d.Votes), MaxVotes)
	}
	for i, v := range d.Votes {
		switch {
		case len(v.ProtoReflect().GetUnknown()) > 0:
			return nil, ErrDocket.With("vote %d: not in canonical form", i)
		case len(v.Validator) != 20:
			return nil, ErrDocket.With("vote %d: the validator's address has %d bytes", i, len(v.Validator))
		case len(v.Extension) == 0 || len(v.Extension) > MaxExtension:
			return nil, ErrDocket.With("vote %d: an extension of %d bytes, want 1 to %d", i, len(v.Extension), MaxExtension)
		case len(v.Signature) != 64:
			return nil, ErrDocket.With("vote %d: a signature of %d bytes", i, len(v.Signature))
		case i > 0 && bytes.Compare(d.Votes[i-1].Validator, v.Validator) >= 0:
			return nil, ErrDocket.With("vote %d is out of order or there twice", i)
		}
	}
	return d, nil
}

// CheckDocket refuses a docket that says other than what this node found of the
// transactions that were delivered, SPEC D3.
func (x *Execution) CheckDocket(d *chainv1.Docket) error {
	if model := x.model(); !bytes.Equal(d.Model, model) {
		return ErrDocket.With("model %x, this node judges by %x", d.Model, model)
	}
	want := x.judged()
	if len(d.Verdicts) != len(want) {
		return ErrDocket.With("%d verdicts, this node has %d", len(d.Verdicts), len(want))
	}
	for i, v := range d.Verdicts {
		if !v.EqualVT(want[i]) {
			return ErrDocket.With("transaction %d: %s with score %d, this node finds %s with %d, or other drivers", i, v.Ruling, v.Score, want[i].Ruling, want[i].Score)
		}
	}
	return nil
}
