package consensus

import "time"

// pace is how long this node takes for each transaction of a block that another one proposes.
// A proposer executes its block while the others wait, and they theirs at the same time: where
// validators share processors, or one is slow, a block that took a moment to build takes them
// long, and who submits next waits for that. It is of the consensus connection alone.
type pace struct {
	each time.Duration // 0: not known
}

const (
	// paceFrom is from how many transactions on a block says something of its pace, and also
	// what a block may have in any case.
	paceFrom = 128
	// paceShare is which part of a new pace counts: one of so many.
	paceShare = 4
)

// learn takes notice of a block of so many transactions.
func (p *pace) learn(txs int, took time.Duration) {
	if txs < paceFrom {
		return
	}
	each := took / time.Duration(txs)
	if p.each == 0 {
		p.each = each
	}
	p.each += (each - p.each) / paceShare
}

// within is how many transactions are executed in a time.
func (p *pace) within(d time.Duration) int {
	if p.each <= 0 {
		return int(^uint(0) >> 1)
	}
	return max(int(d/p.each), paceFrom)
}
