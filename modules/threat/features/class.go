package features

// Class is what kind of thing a message does. The numbers are permanent: profiles are kept by them.
type Class uint8

// The classes.
const (
	ClassUnknown     Class = iota
	ClassIdentity          // organisations, members, their administrators, suspensions
	ClassKeys              // keys and recoveries
	ClassRoles             // roles and groups
	ClassValidator         // validators and nodes
	ClassPolicy            // policies, schemas, settings
	ClassEntities          // entities that policies speak of
	ClassGuardRail         // guard rails of the consortium
	ClassDecision          // recorded decisions
	ClassBreakGlass        // emergency access
	ClassReview            // reviews of emergency access, revocations of grants
	ClassGive              // consent asked for, given, refused, corrected by or for nobody but the author
	ClassOnBehalf          // consent that an organisation records for a subject
	ClassWithdraw          // consent taken back, narrowed, expired
	ClassRestriction       // restrictions of processing
	ClassDelegation        // who may act for a subject
	ClassRegister          // nodes and bundles of provenance
	ClassRelate            // relations of provenance
	ClassInvalidate        // entities that must not be used any more
	ClassAnchor            // Merkle roots over many records
	ClassParameters        // parameters, playbooks, anchors of profiles, proposals and votes
	ClassModel             // models of the sentinel
	ClassHoldReview        // held transactions and responses that are decided
	ClassAppeal            // appeals
	Classes          = int(iota)
)

var classNames = [Classes]string{
	"unknown", "identity", "keys", "roles", "validator", "policy", "entities", "guard-rail", "decision", "break-glass",
	"review", "consent", "consent-on-behalf", "consent-withdraw", "restriction", "delegation", "provenance-register",
	"provenance-relate", "provenance-invalidate", "anchor", "parameters", "model", "hold-review", "appeal",
}

// String is the class's name.
func (c Class) String() string {
	if int(c) < Classes {
		return classNames[c]
	}
	return classNames[ClassUnknown]
}
