package consensus

import (
	"math"
	"testing"
	"time"

	"github.com/chancery/chancery/chain/chaintest"
)

func TestPace(t *testing.T) {
	var p pace
	if p.within(time.Millisecond) != math.MaxInt {
		t.Error("blocks are bounded before anything is known")
	}
	p.learn(paceFrom-1, time.Hour)
	if p.each != 0 {
		t.Error("a small block says something")
	}
	p.learn(1000, time.Second)
	if n := p.within(300 * time.Millisecond); n != 300 {
		t.Errorf("%d in 300 ms at 1 ms each", n)
	}
	p.learn(1000, 5*time.Second)
	if n := p.within(300 * time.Millisecond); n != 150 {
		t.Errorf("%d in 300 ms at 2 ms each", n)
	}
	if n := p.within(time.Microsecond); n != paceFrom {
		t.Errorf("a block may have %d, want %d", n, paceFrom)
	}
}

// A proposer's block has no more than what validators lately executed in the time that it has
// for building one.
func TestABlockIsOfWhatValidatorsExecuteInTime(t *testing.T) {
	h := newHost(t)
	until := h.now.UnixMilli() + 60_000
	for range 2 * paceFrom {
		h.pool.Offer(setParams(chaintest.Consortium, until))
	}
	h.pace.each = h.build / paceFrom
	if txs := h.prepare(t); len(txs) != 1+paceFrom {
		t.Errorf("a block has %d transactions, want %d", len(txs)-1, paceFrom)
	}
	h.pace.each /= 4
	if txs := h.prepare(t); len(txs) != 1+2*paceFrom {
		t.Errorf("a block has %d transactions, want %d", len(txs)-1, 2*paceFrom)
	}
}
