package threat

import (
	"encoding/hex"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// BenchmarkJudge is Judge and Note of a transaction of an actor with profiles, with the
// default detector of streaming parts and rules.
func BenchmarkJudge(b *testing.B) {
	w := newWard(b, genesisOf(testDetector(b), testParams()))
	a := house + ":a"
	trained(w, a)
	d, err := w.App().Decode(w.Tx(a, []proto.Message{good("x0")}))
	if err != nil {
		b.Fatal(err)
	}
	c := &chain.Candidate{Decoded: d, Authority: chain.Authority{Organisation: house, Signers: []string{a}}}
	w.inBlock(func(ctx *chain.Ctx) {
		s := w.m.Open(ctx, nil).(*screening)
		b.Run("judge", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Judge(ctx, c, func() any { return s.Gather(ctx, c) })
			}
		})
		b.Run("score", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.score(ctx, s.models.active, &s.scratch); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("judge and note", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v, _ := s.Judge(ctx, c, func() any { return s.Gather(ctx, c) })
				s.Note(c, v, &chainv1.TxResult{})
			}
		})
	})
}

// TestWritesOfABlock says how many records a block of 1000 transactions writes for the
// screen, and one in which it settles.
func TestWritesOfABlock(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: it runs blocks of a thousand transactions")
	}
	for _, actors := range []int{1, 10, 1000} {
		w := newWard(t, genesisOf(testDetector(t), testParams()))
		var raws [][]byte
		for i := range 1000 {
			raws = append(raws, w.Tx(fmt.Sprint(house, ":a", i%actors), []proto.Message{good(hex.EncodeToString([]byte{byte(i)}))}))
		}
		count := func(now int64, raws [][]byte) (writes, size int) {
			x := w.App().Begin(chain.Header{Height: w.Height() + 1, Time: now})
			for _, raw := range raws {
				deliver(t, w.App(), x, raw)
			}
			for _, c := range x.End().Changes {
				if c.Key[0] == prefix {
					writes++
					size += len(c.Value)
				}
			}
			return writes, size
		}
		writes, size := count(w.Now+chaintest.BlockTime, raws)
		w.Block(raws...)
		settles, settled := count(w.Now+2*minute, nil)
		t.Logf("1000 transactions of %d actors: %d records, %d bytes; when they settle %d records, %d bytes", actors, writes, size, settles, settled)
		if writes > 6 {
			t.Errorf("%d records for one block of %d actors", writes, actors)
		}
		if settles > actors+5 {
			t.Errorf("%d records to settle a block of %d actors", settles, actors)
		}
	}
}
