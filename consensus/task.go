package consensus

import (
	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// task is work that goes on beside the engine's.
type task[T any] struct {
	done   chan struct{} // closed at the end
	result T
	err    error
	fault  any // what it panicked with
}

// begin starts a task.
func begin[T any](work func() (T, error)) *task[T] {
	t := &task[T]{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer func() { t.fault = recover() }()
		t.result, t.err = work()
	}()
	return t
}

// wait is what came of it. Where it panicked, so does wait: a fault halts the caller, as
// if it had done the work itself.
func (t *task[T]) wait() (T, error) {
	<-t.done
	if t.fault != nil {
		panic(t.fault)
	}
	return t.result, t.err
}

// speculation applies a block that this node accepted to the working tree while votes
// for it travel. Mostly it is the one that is decided.
type speculation struct {
	block *chain.Block
	root  *task[[]byte]
}

// speculate begins with a block, after any that it had begun with.
func (a *application) speculate(block *chain.Block) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ahead != nil {
		if a.ahead.block == block {
			return
		}
		<-a.ahead.root.done
	}
	a.ahead = &speculation{block, begin(func() ([]byte, error) { return a.app.Apply(block) })}
}

// apply is the root of a decided block, applied to the working tree.
func (a *application) apply(block *chain.Block) ([]byte, error) {
	a.mu.Lock()
	ahead := a.ahead
	a.ahead = nil
	a.mu.Unlock()
	if ahead != nil {
		if ahead.block == block {
			return ahead.root.wait()
		}
		<-ahead.root.done
	}
	return a.app.Apply(block)
}

// record begins to write the records of a decided block, after any that it had begun
// with.
func (a *application) record(r *chainv1.BlockRecord) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.appended != nil {
		<-a.appended.done
	}
	a.appended = begin(func() (struct{}, error) { return struct{}{}, a.records.Append(r) })
}

// settle waits for what goes on beside the engine, which has stopped.
func (a *application) settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ahead != nil {
		<-a.ahead.root.done
	}
	if a.appended != nil {
		<-a.appended.done
	}
	if a.taking != nil {
		a.snapshots.Abandon()
		<-a.taking.done
	}
	a.restoringMu.Lock()
	defer a.restoringMu.Unlock()
	a.restoring.abandon()
}
