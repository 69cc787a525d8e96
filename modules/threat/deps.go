package threat

import (
	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Power is a validator with its voting power.
type Power struct {
	Address      [20]byte // of the consensus key
	Organisation string   // DID
	Power        int64
}

// Identity is what the module needs to know of who is who, and what it may do about it.
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
	// Consortium is the DID that stands for all members together.
	Consortium() string
	// Powers are the validators, sorted by address, and the sum of their powers.
	Powers(r chain.ReadCtx) ([]Power, int64)
	// Ages are, in milliseconds before r.Time(), when a DID was registered and when
	// the newest of its own keys that may sign was added; key is -1 where it has none.
	// What the genesis holds is as old as it says.
	Ages(r chain.ReadCtx, did string) (identity, key int64, ok bool)
	// SuspendFor suspends a DID on the module's account; ReinstateFrom ends that
	// suspension. They tell whether they changed anything.
	SuspendFor(ctx *chain.Ctx, did string) bool
	ReinstateFrom(ctx *chain.Ctx, did string) bool
}

// Access is what the module needs to know of access, and what it may do about grants.
type Access interface {
	// GlassOpen tells whether the principal of a request that is in form has a
	// break-glass open at r.Time() in whose scope the request is.
	GlassOpen(r chain.ReadCtx, request *accessv1.Request) bool
	// Kin is the kin of a resource: the first parent of an organisation's entity, in the
	// order of type and id. There is none where the entity is not registered or has no
	// parent. It takes any request, and charges for what it reads.
	Kin(r chain.ReadCtx, organisation string, resource *accessv1.EntityUid) (*accessv1.EntityUid, bool)
	// RevokeGrants revokes the open grants of a principal, at most limit, and tells how
	// many.
	RevokeGrants(ctx *chain.Ctx, principal string, limit int) int
}

// Deps is what the module is built on.
type Deps struct {
	Identity Identity
	Access   Access
}
