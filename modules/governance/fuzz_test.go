package governance

import (
	"bytes"
	"context"
	"testing"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/tx"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// Bytes that are taken as a proposal's message are what it is written as; others are
// refused with this module's error.
func FuzzMessages(f *testing.F) {
	for _, raw := range raws(f, limit(9), group("ward"), &governancev1.Vote{ProposalId: 1, Choice: yes}, &governancev1.Propose{Title: "x", Messages: raws(f, limit(1))}) {
		f.Add(raw)
	}
	f.Add([]byte{0x0b, 0x0b, 0x0b})
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := decodeMessages([][]byte{raw})
		if err != nil {
			if errs.As(err).Module != "governance" {
				t.Fatalf("%x: %v", raw, err)
			}
			return
		}
		if again, err := tx.EncodeMessage(list[0]); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x is written as %x, %v", raw, again, err)
		}
	})
}

// fixed is Snapshots of one state.
type fixed struct{ chain.ReadCtx }

func (f fixed) At(context.Context) (chain.ReadCtx, error) { return f.ReadCtx, nil }

// A page token of any bytes is refused or answered.
func FuzzPageToken(f *testing.F) {
	h := newHall(f)
	for range 3 {
		h.made(north, limit(9))
	}
	q := &queries{m: h.m, at: fixed{h.View()}}
	first, err := q.Proposals(f.Context(), &governancev1.ProposalsRequest{Limit: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(first.NextPageToken)
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, token []byte) {
		for _, status := range []governancev1.Status{0, voting} {
			r, err := q.Proposals(t.Context(), &governancev1.ProposalsRequest{Status: status, Limit: 1, PageToken: token})
			if err != nil && errs.As(err).Module != "governance" || len(r.GetProposals()) > 1 {
				t.Fatalf("%x: %v, %v", token, r, err)
			}
		}
	})
}
