package state

import "fmt"

// Fault is corrupt or unreachable state. It is raised by panic; see the package
// documentation for who may recover it.
type Fault struct {
	Where string // what was being done, naming the collection or the tree
	Err   error
}

func (f *Fault) Error() string { return fmt.Sprintf("state fault: %s: %v", f.Where, f.Err) }

func (f *Fault) Unwrap() error { return f.Err }

func fault(where string, err error) { panic(&Fault{Where: where, Err: err}) }
