package threat

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Pages are written while scoring is off too, and what is known for it is known as of the
// block before: what trains in the very block is counted once when scoring is on again.
func TestHistoryWhereScoringWasOff(t *testing.T) {
	w := newWard(t, genesisOf(testDetector(t), testParams()))
	mode := func(m threatv1.Mode) proto.Message {
		p := testParams()
		p.Mode = m
		return &threatv1.SetParams{Params: p}
	}
	a := house + ":a"
	for w.Height() < pageEvery-5 {
		w.Block()
	}
	w.does(a, good("x"))
	first := w.Now
	w.does(a, good("x"))
	w.does(chaintest.Consortium, mode(threatv1.Mode_MODE_OFF))
	w.Block()
	w.Now = first + minute - chaintest.BlockTime // a's first transaction trains in the next block, its second does not
	w.does(chaintest.Consortium, mode(threatv1.Mode_MODE_ENFORCE))
	if w.Height() != pageEvery || w.trace(a).GetCount() != 1 {
		t.Fatalf("at height %d, %d transactions trained", w.Height(), w.trace(a).GetCount())
	}
	w.does(a, good("x"))
	w.wantSame()
}
