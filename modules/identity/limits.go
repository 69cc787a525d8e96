package identity

import "time"

// What one DID, organisation or chain may hold.
const (
	MaxKeys            = 16
	MaxServices        = 8
	MaxControllers     = 32
	MaxFoundingMembers = 16 // administrators of RegisterOrganisation
	MaxGuardians       = 16
	MaxRoles           = 32
	MaxMemberships     = 64
	MaxGroupMembers    = 10_000
	MaxGroupChange     = 100 // each of the added and the removed
	MaxGroupDelete     = 500
	MaxNodes           = 64 // of an organisation
	MaxValidators      = 200
	MaxAuthorities     = 4    // certificate authorities of an organisation
	MaxRevoked         = 256  // certificates revoked of an authority
	MaxCertificate     = 2048 // bytes of an authority's certificate
	MaxPower           = 1_000_000

	MaxOverlap = int64(30 * 24 * time.Hour / time.Millisecond)
	MaxDelay   = int64(90 * 24 * time.Hour / time.Millisecond)

	// maxRecoveriesPerBlock bounds the work of EndBlock.
	maxRecoveriesPerBlock = 100

	maxName     = 40
	maxEndpoint = 256
	maxTime     = int64(253402300799000) // 9999-12-31T23:59:59Z, the last that XML datetimes of four digits hold

	defaultPage = 50
	maxPage     = 500
)

// RoleRegistrar is the role that may register members of its organisation.
const RoleRegistrar = "registrar"
