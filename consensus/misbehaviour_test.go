package consensus

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/consensus/alerttest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// SPEC E1: evidence in a block is part of what the block's execution depends on: as a
// proposer, a validator and a node that replays have it, and a block of the same
// transactions without it is another.
func TestMisbehaviourIsExecutedAlike(t *testing.T) {
	ctx := context.Background()
	evidence := []abci.Misbehavior{{
		Type: abci.MisbehaviorType_DUPLICATE_VOTE, Validator: abci.Validator{Address: voters[1].PubKey().Address(), Power: 10},
		Height: 1, Time: time.UnixMilli(5), TotalVotingPower: 30,
	}}
	proposer, validator, late, innocent := newHost(t), newHost(t), newHost(t), newHost(t)
	height := proposer.height() + 1
	prepared, err := proposer.PrepareProposal(ctx, &abci.RequestPrepareProposal{Height: height, Time: proposer.now, MaxTxBytes: 1 << 20, Misbehavior: evidence})
	if err != nil {
		t.Fatal(err)
	}
	var roots [][]byte
	for i, h := range []*host{proposer, validator, late, innocent} {
		of := evidence
		if h == innocent {
			of = nil
		}
		if h != late {
			// One without the evidence is judged first, and must not be taken for this one.
			for _, m := range [][]abci.Misbehavior{nil, of} {
				res, err := h.ProcessProposal(ctx, &abci.RequestProcessProposal{Height: height, Time: h.now, Txs: prepared.Txs, Misbehavior: m})
				if err != nil || res.Status != abci.ResponseProcessProposal_ACCEPT {
					t.Fatal(i, res, err)
				}
			}
		}
		res, err := h.FinalizeBlock(ctx, &abci.RequestFinalizeBlock{Height: height, Time: h.now, Txs: prepared.Txs, Misbehavior: of})
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, res.AppHash)
		h.commit(t, res)
	}
	if !bytes.Equal(roots[0], roots[1]) || !bytes.Equal(roots[0], roots[2]) || bytes.Equal(roots[0], roots[3]) {
		t.Fatalf("app hashes %x", roots)
	}
	got := new(chainv1.Misbehaviour)
	if err := got.UnmarshalVT(proposer.app.Latest().Lookup(misbehavedKey)); err != nil {
		t.Fatal(err)
	}
	if want := misbehaviour(evidence)[0]; !got.EqualVT(want) || want.Kind != chainv1.MisbehaviourKind_MISBEHAVIOUR_KIND_DUPLICATE_VOTE || want.Time != 5 || want.Total != 30 {
		t.Fatalf("recorded %v", got)
	}
}

// SPEC E1: a validator that signs two votes of one height and round is told of in a block of
// a real network, with the height and the time.
func TestNetworkRecordsAnEquivocation(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: runs four validators")
	}
	nodes := network(t, 4, nil)
	for _, n := range nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	ctx := within(t, 100*time.Second)
	honest, culprit := nodes[0], nodes[3]
	if err := honest.Records().Wait(ctx, 3); err != nil {
		t.Fatal(err)
	}
	block, err := honest.LightBlock(2)
	if err != nil {
		t.Fatal(err)
	}
	config := culprit.o.Config
	key := privval.LoadFilePV(config.PrivValidatorKeyFile(), config.PrivValidatorStateFile()).Key.PrivKey
	index, _ := block.ValidatorSet.GetByAddress(culprit.ValidatorAddress())
	vote := func(of string) *types.Vote {
		hash := bytes.Repeat([]byte(of), 32)
		v := &types.Vote{
			Type: cmtproto.PrevoteType, Height: 2, Timestamp: block.Time, ValidatorAddress: culprit.ValidatorAddress(), ValidatorIndex: index,
			BlockID: types.BlockID{Hash: hash, PartSetHeader: types.PartSetHeader{Total: 1, Hash: hash}},
		}
		if v.Signature, err = key.Sign(types.VoteSignBytes(chaintest.ChainID, v.ToProto())); err != nil {
			t.Fatal(err)
		}
		return v
	}
	evidence, err := types.NewDuplicateVoteEvidence(vote("a"), vote("b"), block.Time, block.ValidatorSet)
	if err != nil {
		t.Fatal(err)
	}
	r, rec := prometheus.NewRegistry(), alerttest.Record(t, "ChanceryMisbehaviour")
	if err := honest.o.Metrics.Register(r); err != nil {
		t.Fatal(err)
	}
	rec.Gather(0, "node", r)
	if err := honest.node.EvidencePool().AddEvidence(evidence); err != nil {
		t.Fatal(err)
	}
	for height := int64(3); ; height++ {
		if err := honest.Records().Wait(ctx, height); err != nil {
			t.Fatal(err)
		}
		record, err := honest.Records().Block(height)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range record.Events {
			if e.Type != "chancery.chain.v1.Misbehaviour" {
				continue
			}
			m := new(chainv1.Misbehaviour)
			if err := m.UnmarshalVT(e.Value); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.Validator, culprit.ValidatorAddress()) || m.Height != 2 || m.Time != block.Time.UnixMilli() || m.Power != 10 || m.Total != 40 {
				t.Fatalf("recorded %v", m)
			}
			if text := rec.Gather(5, "node", r); !strings.Contains(text, "chancery_block_misbehaviour_total 1\n") {
				t.Error(text)
			}
			return
		}
	}
}
