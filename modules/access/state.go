package access

import (
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const prefix = 0x11

type (
	entityKey  = state.Triple[string, string, string]
	versionKey = state.Triple[string, string, state.Pair[string, uint64]]
	seqKey     = state.Pair[string, uint64]
)

// store is the module's collections; doc.go has the table.
type store struct {
	schema *state.Schema

	organisations state.Map[string, *accessv1.Organisation]
	policies      state.Map[seqKey, *accessv1.PolicySet]
	schemas       state.Map[seqKey, *accessv1.Schema]
	settings      state.Map[seqKey, *accessv1.SettingsVersion]
	guardRails    state.Map[uint64, *accessv1.PolicySet]
	entityHeads   state.Map[entityKey, uint64]
	entities      state.Map[versionKey, *accessv1.Entity]

	decisions      state.Map[[]byte, *accessv1.Decision]
	byOrganisation state.Map[state.Triple[string, uint64, uint64], string]
	byPrincipal    state.Map[seqKey, string]
	byResource     state.Map[versionKey, string]
	byConsent      state.Map[state.Pair[[]byte, uint64], string]
	byGlass        state.Map[state.Pair[[]byte, uint64], string]
	sequence       state.Item[uint64]
	endedConsents  state.Map[[]byte, *accessv1.EndedConsent]

	glasses               state.Map[[]byte, *accessv1.Glass]
	openGlasses           state.Map[state.Pair[string, string], string]
	glassesByOrganisation state.Map[seqKey, string]
	glassesByPerson       state.Map[seqKey, string]
	reviewsByOrganisation state.Index[state.Triple[string, int64, []byte]]
	reviewsByPerson       state.Index[state.Triple[string, int64, []byte]]
	glassSequence         state.Item[uint64]

	endedPrincipals state.Map[string, *accessv1.EndedPrincipal]
}

func newStore() store {
	s := state.NewSchema("access", prefix)
	str, u64, raw := state.String, state.Uint64, state.Bytes
	seq := state.PairOf(str, u64)
	entity := state.TripleOf(str, str, str)
	version := state.TripleOf(str, str, state.PairOf(str, u64))
	due := state.TripleOf(str, state.Int64, raw)
	return store{
		schema: s,

		organisations: state.NewMap(s, 0x01, "organisations", str, state.Proto[accessv1.Organisation]()),
		policies:      state.NewMap(s, 0x02, "policies", seq, state.Proto[accessv1.PolicySet]()),
		schemas:       state.NewMap(s, 0x03, "schemas", seq, state.Proto[accessv1.Schema]()),
		settings:      state.NewMap(s, 0x04, "settings", seq, state.Proto[accessv1.SettingsVersion]()),
		guardRails:    state.NewMap(s, 0x05, "guard_rails", u64, state.Proto[accessv1.PolicySet]()),
		entityHeads:   state.NewMap(s, 0x06, "entity_heads", entity, state.Uint64Value),
		entities:      state.NewMap(s, 0x07, "entities", version, state.Proto[accessv1.Entity]()),

		decisions:      state.NewMap(s, 0x08, "decisions", raw, state.Proto[accessv1.Decision]()),
		byOrganisation: state.NewMap(s, 0x09, "decisions_by_organisation", state.TripleOf(str, u64, u64), state.StringValue),
		byPrincipal:    state.NewMap(s, 0x0A, "decisions_by_principal", seq, state.StringValue),
		byResource:     state.NewMap(s, 0x0B, "decisions_by_resource", version, state.StringValue),
		byConsent:      state.NewMap(s, 0x0C, "decisions_by_consent", state.PairOf(raw, u64), state.StringValue),
		byGlass:        state.NewMap(s, 0x0D, "decisions_by_glass", state.PairOf(raw, u64), state.StringValue),
		sequence:       state.NewItem(s, 0x0E, "sequence", state.Uint64Value),
		endedConsents:  state.NewMap(s, 0x0F, "ended_consents", raw, state.Proto[accessv1.EndedConsent]()),

		glasses:               state.NewMap(s, 0x10, "glasses", raw, state.Proto[accessv1.Glass]()),
		openGlasses:           state.NewMap(s, 0x11, "open_glasses", state.PairOf(str, str), state.StringValue),
		glassesByOrganisation: state.NewMap(s, 0x12, "glasses_by_organisation", seq, state.StringValue),
		glassesByPerson:       state.NewMap(s, 0x13, "glasses_by_person", seq, state.StringValue),
		reviewsByOrganisation: state.NewIndex(s, 0x14, "reviews_by_organisation", due),
		reviewsByPerson:       state.NewIndex(s, 0x15, "reviews_by_person", due),
		glassSequence:         state.NewItem(s, 0x16, "glass_sequence", state.Uint64Value),

		endedPrincipals: state.NewMap(s, 0x17, "ended_principals", str, state.Proto[accessv1.EndedPrincipal]()),
	}
}

// organisation returns where an organisation stands; a new one at version 0.
func (s *store) organisation(r state.Reader, did string) *accessv1.Organisation {
	if o, ok := s.organisations.Lookup(r, did); ok {
		return o
	}
	return &accessv1.Organisation{Organisation: did}
}

// standing is organisation for callers that only look: it must not be changed.
func (s *store) standing(r state.Reader, did string) *accessv1.Organisation {
	if o, ok := s.organisations.Peek(r, did); ok {
		return o
	}
	return &accessv1.Organisation{Organisation: did}
}

// entityNow returns an organisation's entity, to look at only, by point lookups
// alone.
func (s *store) entityNow(r state.Reader, organisation, typ, id string) (*accessv1.Entity, bool) {
	version, ok := s.entityHeads.Lookup(r, state.Join3(organisation, typ, id))
	if !ok {
		return nil, false
	}
	return s.entities.Peek(r, state.Join3(organisation, typ, state.Join(id, version)))
}

// entityAt returns an organisation's entity as it was at a version of the
// organisation.
func (s *store) entityAt(r state.Reader, organisation, typ, id string, version uint64) (*accessv1.Entity, bool) {
	span := state.Under2(state.String, state.PairOf(state.String, state.String), organisation, state.Join(typ, id)).Down()
	if version+1 != 0 {
		key := state.TripleOf(state.String, state.String, state.PairOf(state.String, state.Uint64)).
			Encode(nil, state.Join3(organisation, typ, state.Join(id, version+1)))
		span = span.After(key)
	}
	for _, e := range s.entities.Walk(r, span) {
		return e, !e.Removed
	}
	return nil, false
}
