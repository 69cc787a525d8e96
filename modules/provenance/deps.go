package provenance

import "github.com/chancery/chancery/chain"

// Identity is what this module asks about DIDs.
type Identity interface {
	// Active tells whether the DID exists and may act.
	Active(r chain.ReadCtx, did string) bool
	// Kind is what the DID stands for: "organisation", "person", "device", "service"
	// or "consortium".
	Kind(r chain.ReadCtx, did string) (string, bool)
}

// Deps is what the module is made of.
type Deps struct {
	Identity Identity
}
