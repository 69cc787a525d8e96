package threat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Stand-ins for the parts S and H.

const hashSize = 32

type Module struct {
	collections
	deps Deps
}

func New(d Deps) *Module { return &Module{collections: newCollections(), deps: d} }

type queries struct {
	threatv1.UnimplementedQueryServer
	m  *Module
	at chain.Snapshots
}

func (m *Module) paramsIn(r state.Reader) *threatv1.Params {
	p, _ := m.params.Peek(r)
	return p
}

func (m *Module) mode(r chain.ReadCtx) threatv1.Mode { return m.paramsIn(r).Mode }

func (m *Module) governed(r chain.ReadCtx) error {
	if r.Author() != m.deps.Identity.Consortium() {
		return ErrNotConsortium.With("the author is %s", r.Author())
	}
	return nil
}

func (m *Module) exempt(c *chain.Candidate) bool {
	return c.Body.Author == m.deps.Identity.Consortium() || neverHeld(c.Messages)
}

func neverHeld(messages []proto.Message) bool {
	for _, m := range messages {
		if _, ok := m.(*identityv1.RotateKey); !ok {
			return false
		}
	}
	return len(messages) > 0
}

func (m *Module) mayReview(r chain.ReadCtx, reviewer string) (organisation string, ok bool) {
	organisation, ok = m.deps.Identity.Organisation(r, reviewer)
	return organisation, ok && m.deps.Identity.Active(r, reviewer) &&
		(reviewer == organisation || m.deps.Identity.IsAdministrator(r, organisation, reviewer))
}

func (m *Module) quorum(r chain.ReadCtx, organisation string) (want uint32, others bool) {
	powers, _ := m.deps.Identity.Powers(r)
	var active []string
	for _, p := range powers {
		if !slices.Contains(active, p.Organisation) && m.deps.Identity.Active(r, p.Organisation) {
			active = append(active, p.Organisation)
			others = others || p.Organisation != organisation
		}
	}
	return max(1, min(m.paramsIn(r).Reviewers, uint32(len(active)))), others
}

func checkHash(field string, h []byte) error {
	if len(h) != hashSize {
		return ErrInvalid.With("%s must be %d bytes", field, hashSize)
	}
	return nil
}
