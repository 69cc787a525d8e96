package model

import "runtime"

// setCores lets training use some cores, until the returned function is called.
func setCores(n int) func() {
	before := runtime.GOMAXPROCS(n)
	return func() { runtime.GOMAXPROCS(before) }
}
