package consent

import (
	"google.golang.org/grpc"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// Role is the role, within the controller, of who may request consent, record it
// on a subject's behalf and act on records for the controller. The organisation
// itself and its administrators need no role.
const Role = "consent-officer"

// Reason is why what a consent permitted is not permitted as before.
type Reason string

// The reasons of an Ending.
const (
	Withdrawn  Reason = "withdrawn"
	Expired    Reason = "expired"
	Narrowed   Reason = "narrowed"
	Superseded Reason = "superseded"
	Rectified  Reason = "rectified"
	Restricted Reason = "restricted"
)

// Ending is published when a consent ends or permits less than it did, in the
// transaction in which it happens.
type Ending struct {
	ID         []byte // the record, 32 bytes
	Version    uint64 // the record's latest version
	Subject    []byte // the commitment, 32 bytes
	Controller string // DID
	Reason     Reason
}

// Module is the module consent.
type Module struct {
	collections
	identity Identity
	// Ended tells who relied on a consent that it ended or became smaller. A
	// subscriber that returns an error makes the withdrawal fail, so it must
	// return none that a withdrawing subject could do nothing about.
	Ended *chain.Topic[Ending]
}

var _ chain.Module = (*Module)(nil)

// New builds the module.
func New(d Deps) *Module {
	return &Module{
		collections: newCollections(),
		identity:    d.Identity,
		Ended:       chain.NewTopic[Ending]("consent/ended"),
	}
}

// Name implements chain.Module.
func (m *Module) Name() string { return "consent" }

// Schema implements chain.Module.
func (m *Module) Schema() *state.Schema { return m.schema }

// Routes implements chain.Module.
func (m *Module) Routes() []chain.Route {
	return []chain.Route{
		m.request(), m.give(), m.refuse(), m.narrow(), m.withdraw(), m.expire(),
		m.supersede(), m.rectify(), m.delegate(), m.revokeDelegation(),
		m.restrict(), m.liftRestriction(),
	}
}

// RegisterQueries implements chain.Module.
func (m *Module) RegisterQueries(s grpc.ServiceRegistrar, q chain.Snapshots) {
	consentv1.RegisterQueryServer(s, &queries{m: m, at: q})
}

// RecordKey is the tree key of a record, which proofs are about.
func (m *Module) RecordKey(id []byte) []byte { return m.records.Key(id) }

// DossierKey is the tree key of a dossier. A proof that it is absent proves that
// the controller never held anything of the subject.
func (m *Module) DossierKey(subject []byte, controller string) []byte {
	return m.dossiers.Key(state.Join(subject, controller))
}

// Record is the latest version of a record and whether there is one.
func (m *Module) Record(r state.Reader, id []byte) (*consentv1.Record, bool) {
	return m.records.Lookup(r, id)
}
