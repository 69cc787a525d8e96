package access

import "github.com/chancery/chancery/chain"

// Identity is what the module needs to know of DIDs.
type Identity interface {
	// Active tells whether a DID exists and is neither suspended nor deactivated.
	Active(r chain.ReadCtx, did string) bool
	// Organisation is the DID of the organisation that a DID belongs to; of an
	// organisation, itself.
	Organisation(r chain.ReadCtx, did string) (string, bool)
	// Kind is organisation, person, device, service or consortium.
	Kind(r chain.ReadCtx, did string) (string, bool)
	// Roles are role names within the DID's organisation, sorted.
	Roles(r chain.ReadCtx, did string) []string
	// Groups are <organisation slug>/<group>, sorted.
	Groups(r chain.ReadCtx, did string) []string
	// IsAdministrator tells whether a DID administers an organisation.
	IsAdministrator(r chain.ReadCtx, organisation, did string) bool
	// Consortium is the DID that stands for all members together.
	Consortium() string
}

// Consents is what the module needs to know of consent.
type Consents interface {
	// Permits returns the consent that covers the use at r.Time(), or an
	// *errs.Error that says why none does.
	Permits(r chain.ReadCtx, subject []byte, controller, recipient, purpose string, categories []string) (id []byte, version uint64, err error)
}

// Risks is what the module needs to know of threat.
type Risks interface {
	// Risk of a DID, 0 to 10000.
	Risk(r chain.ReadCtx, did string) uint32
}

// Deps are the modules that this one stands on.
type Deps struct {
	Identity Identity
	Consents Consents
	// Risks is optional; without it every risk is 0.
	Risks Risks
}
