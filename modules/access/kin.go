package access

import (
	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Kin is the first parent of an organisation's entity, in the order of type and id, such
// as the ward of a record. There is none where the entity is not registered or has no
// parent. It takes any resource, with one entity read and charged as a decision reads it:
// an entity has at most maxParents parents.
func (m *Module) Kin(r chain.ReadCtx, organisation string, resource *accessv1.EntityUid) (*accessv1.EntityUid, bool) {
	if resource.GetType() == "" || len(resource.GetType()) > maxTypeBytes || len(resource.GetId()) > maxIDBytes || len(organisation) > maxDID {
		return nil, false
	}
	stored, ok := m.store.entityNow(r, organisation, resource.GetType(), resource.GetId())
	if !ok {
		return nil, false
	}
	r.Charge(chain.PolicyStep, parsing(stored.Json))
	parents := m.caches.entity(stored.Json).parents
	if len(parents) == 0 {
		return nil, false
	}
	return fromCedar(parents[0]), true
}
