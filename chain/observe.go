package chain

import "github.com/chancery/chancery/chain/tx"

// Stage is a part of the work on transactions.
type Stage uint8

// The stages. Those up to StageHint belong to admission, the others to a block, which may
// be a proposal, a candidate or a simulation.
const (
	StageVerify  Stage = iota // signatures, of a batch together
	StageCheck                // what the modules say before a block
	StageHint                 // what the screen would say
	StageJudge                // the screen's verdict
	StageExecute              // execution, with what the screen does after it
)

// Observer is told where time goes. The chain has no clock: what Mark returns is the
// observer's own, is only ever given back to it, and no result depends on it. Any
// goroutine may call it.
type Observer interface {
	Mark() int64
	// Spent tells that a stage of these transactions began at a mark and ends now.
	Spent(s Stage, mark int64, ds ...*tx.Decoded)
}

// mark is where a stage begins, 0 where nobody observes.
func (a *App) mark() int64 {
	if a.observer == nil {
		return 0
	}
	return a.observer.Mark()
}

// spent is where a stage ends.
func (a *App) spent(s Stage, mark int64, ds ...*tx.Decoded) {
	if a.observer != nil && len(ds) > 0 {
		a.observer.Spent(s, mark, ds...)
	}
}
