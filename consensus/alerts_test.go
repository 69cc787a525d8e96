package consensus

import (
	"context"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/consensus/alerttest"
)

// gathered is what the host measures.
func (h *host) gathered(t *testing.T) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := h.metrics.Register(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Each kind of proposal that is refused has its alert, which the first of its kind raises.
func TestAlertsOfRefusedProposals(t *testing.T) {
	for _, c := range []struct {
		alert, code string
		refused     func(h *host) [][]byte
	}{
		{"ChanceryProposalRefused", "tx/", func(h *host) [][]byte {
			bad := setParams(chaintest.Consortium, h.now.UnixMilli()+1000)
			return h.block(bad[:len(bad)-1])
		}},
		{"ChanceryDocketLied", "chain/18", func(h *host) [][]byte { return h.block()[1:] }},
		{"ChanceryOmission", "chain/20", func(h *host) [][]byte {
			x := good(h, "did:chancery:acme")
			pass(t, h.listed(3, h.idOf(t, x)), nil, h)
			for range 3 {
				pass(t, nil, nil, h)
			}
			return h.block(good(h, "did:chancery:mercy"))
		}},
	} {
		h := newHost(t)
		r, rec := h.gathered(t), alerttest.Record(t, c.alert)
		if text := rec.Gather(0, "node", r); strings.Contains(text, "chancery_proposal_refused_total{") {
			t.Errorf("%s: before anything is proposed: %s", c.alert, text)
		}
		if h.accepts(t, c.refused(h)) {
			t.Errorf("%s: accepted", c.alert)
		}
		if text := rec.Gather(5, "node", r); !strings.Contains(text, `chancery_proposal_refused_total{code="`+c.code) {
			t.Errorf("%s: %s", c.alert, text)
		}
		if !h.accepts(t, h.prepare(t)) {
			t.Errorf("%s: what is proposed by the rules is refused", c.alert)
		}
		rec.Gather(10, "node", r)
	}
}

// Commits that lack this validator's signature are counted.
func TestAlertOfMissedSignatures(t *testing.T) {
	h := newHost(t)
	h.self = func() types.Address { return voters[0].PubKey().Address() }
	r, rec := h.gathered(t), alerttest.Record(t, "ChanceryMissedSignatures")
	block := func(flag cmtproto.BlockIDFlag) {
		t.Helper()
		if _, err := h.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{
			Height: h.height() + 1, Time: h.now, Txs: h.block(),
			DecidedLastCommit: abci.CommitInfo{Votes: []abci.VoteInfo{{Validator: abci.Validator{Address: h.self(), Power: 10}, BlockIdFlag: flag}}},
		}); err != nil {
			t.Fatal(err)
		}
		h.commit(t, nil)
	}
	block(cmtproto.BlockIDFlagCommit)
	rec.Gather(0, "node", r)
	for range 25 {
		block(cmtproto.BlockIDFlagAbsent)
	}
	if text := rec.Gather(5, "node", r); !strings.Contains(text, "chancery_block_missed_signatures_total 25\n") {
		t.Error(text)
	}
	block(cmtproto.BlockIDFlagCommit)
	rec.Gather(15, "node", r)
}
