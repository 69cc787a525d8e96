package consent

import "github.com/chancery/chancery/chain"

// Identity is what the module needs to know of who is who.
type Identity interface {
	// Active tells whether a DID exists and may act.
	Active(r chain.ReadCtx, did string) bool
	// Organisation is the DID of the organisation that a DID belongs to; of an
	// organisation, itself.
	Organisation(r chain.ReadCtx, did string) (string, bool)
	// Kind is "organisation", "person", "device", "service" or "consortium".
	Kind(r chain.ReadCtx, did string) (string, bool)
	// Roles are a DID's roles within its organisation, sorted.
	Roles(r chain.ReadCtx, did string) []string
	// IsAdministrator tells whether a DID administers an organisation.
	IsAdministrator(r chain.ReadCtx, organisation, did string) bool
}

// Deps is what the module is built on.
type Deps struct {
	Identity Identity
}
