package directives

import "sync"

type cache struct {
	mu sync.Mutex //determinism:allow guards a cache whose content never changes a verdict
	//determinism:allow where a directive stands alone it covers the next line
	rw sync.RWMutex
	/* want `suppresses nothing` */ //determinism:allow covers this line alone

	late sync.Mutex // want `sync.Mutex is refused`
}

/* want `needs a reason` */ //determinism:allow
type bare struct {
	mu sync.Mutex /* want `needs a reason` `sync.Mutex is refused` */ //determinism:allow
}

type behind struct {
	a sync.Mutex //determinism:allow a directive behind code covers that line alone
	b sync.Mutex // want `sync.Mutex is refused`
}

/* want `unknown directive //determinism:ignore` */ //determinism:ignore a typing error
var n int

var m = map[string]bool{} /* want `suppresses nothing` */ //determinism:allow nothing is wrong here

// One directive covers all that its line holds.
func both() {
	//determinism:allow warms a cache before the node serves
	go func() { _ = make(chan int) }()
}
