package governance

import (
	"github.com/chancery/chancery/chain"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
)

// Identity is what the module needs to know of who is who.
type Identity interface {
	// Consortium is the DID that stands for all members together.
	Consortium() string
	// Controllers are the DIDs that act for an organisation or for the consortium, sorted,
	// active or not, and how many of them it takes.
	Controllers(r chain.ReadCtx, did string) (dids []string, threshold uint32)
	// Active tells whether a DID exists and may act.
	Active(r chain.ReadCtx, did string) bool
	// Validators are the validators.
	Validators(r chain.ReadCtx) []*identityv1.Validator
}

// Deps is what the module is built on.
type Deps struct {
	Identity Identity
}
