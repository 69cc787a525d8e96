package access

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) initGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := &accessv1.Genesis{}
	if err := chain.ReadGenesis(raw, g); err != nil {
		return err
	}
	for _, o := range g.Organisations {
		m.store.organisations.Put(ctx, o.Organisation, o)
	}
	for _, p := range g.Policies {
		if _, err := m.caches.parseDocuments(p.Documents); err != nil {
			return fmt.Errorf("policies of %s, version %d: %w", p.Organisation, p.Version, err)
		}
		m.store.policies.Put(ctx, state.Join(p.Organisation, p.Version), p)
	}
	for _, s := range g.Schemas {
		if _, err := m.caches.parseSchema(s.Schema); err != nil {
			return fmt.Errorf("schema of %s, version %d: %w", s.Organisation, s.Version, err)
		}
		m.store.schemas.Put(ctx, state.Join(s.Organisation, s.Version), s)
	}
	for _, s := range g.Settings {
		if err := checkSettings(s.Settings); err != nil {
			return fmt.Errorf("settings of %s, version %d: %w", s.Organisation, s.Version, err)
		}
		m.store.settings.Put(ctx, state.Join(s.Organisation, s.Version), s)
	}
	for _, p := range g.GuardRails {
		set, err := m.caches.parseDocuments(p.Documents)
		if err == nil {
			err = refusePermits(set)
		}
		if err != nil {
			return fmt.Errorf("guard rails, version %d: %w", p.Version, err)
		}
		m.store.guardRails.Put(ctx, p.Version, p)
	}
	if err := m.initEntities(ctx, g.Entities); err != nil {
		return err
	}
	m.initRecords(ctx, g)
	return m.checkVersions(ctx, g.Organisations)
}

// initEntities writes every version; the latest of an entity is its head.
func (m *Module) initEntities(ctx *chain.Ctx, entities []*accessv1.Entity) error {
	slices.SortFunc(entities, func(a, b *accessv1.Entity) int { return cmp.Compare(a.Version, b.Version) })
	for _, e := range entities {
		if err := checkUIDField("uid", e.Uid); err != nil {
			return fmt.Errorf("an entity of %s: %w", e.Organisation, err)
		}
		if !e.Removed {
			parsed, err := parseEntity(e.Json, nil)
			if err == nil {
				err = checkEntity(parsed)
			}
			if err == nil && (parsed.cedar.UID != toCedar(e.Uid) || parsed.json != e.Json) {
				err = ErrEntities.With("json is not the canonical form of the entity")
			}
			if err != nil {
				return fmt.Errorf("entity %s of %s: %w", toCedar(e.Uid), e.Organisation, err)
			}
		}
		m.putEntity(ctx, e)
	}
	return nil
}

func (m *Module) initRecords(ctx *chain.Ctx, g *accessv1.Genesis) {
	sequence := uint64(0)
	for _, d := range g.Decisions {
		m.store.decisions.Put(ctx, d.Id, d)
		m.indexDecision(ctx, d)
		sequence = max(sequence, d.Sequence)
	}
	if sequence > 0 {
		m.store.sequence.Put(ctx, sequence)
	}
	for _, e := range g.EndedConsents {
		m.store.endedConsents.Put(ctx, e.ConsentId, e)
	}
	for _, e := range g.EndedPrincipals {
		m.store.endedPrincipals.Put(ctx, e.Principal, e)
	}
	slices.SortFunc(g.Glasses, func(a, b *accessv1.Glass) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, glass := range g.Glasses {
		m.store.glasses.Put(ctx, glass.Id, glass)
		m.indexGlass(ctx, glass)
		m.store.glassSequence.Put(ctx, glass.Sequence)
	}
}

// checkVersions refuses an organisation that names versions that are not there.
func (m *Module) checkVersions(r state.Reader, organisations []*accessv1.Organisation) error {
	for _, o := range organisations {
		for _, v := range []struct {
			what    string
			version uint64
			there   bool
		}{
			{"policies", o.Policies, m.store.policies.Has(r, state.Join(o.Organisation, o.Policies))},
			{"schema", o.Schema, m.store.schemas.Has(r, state.Join(o.Organisation, o.Schema))},
			{"settings", o.Settings, m.store.settings.Has(r, state.Join(o.Organisation, o.Settings))},
			{"guard rails", o.GuardRails, m.store.guardRails.Has(r, o.GuardRails)},
		} {
			if v.version > 0 && !v.there {
				return fmt.Errorf("%s names version %d of its %s, which is not there", o.Organisation, v.version, v.what)
			}
		}
	}
	return nil
}

func (m *Module) exportGenesis(r state.Reader) *accessv1.Genesis {
	return &accessv1.Genesis{
		Organisations: values(r, m.store.organisations),
		Policies:      values(r, m.store.policies),
		Schemas:       values(r, m.store.schemas),
		Settings:      values(r, m.store.settings),
		GuardRails:    values(r, m.store.guardRails),
		Entities:      values(r, m.store.entities),
		Decisions:     values(r, m.store.decisions),
		EndedConsents: values(r, m.store.endedConsents),
		Glasses:       values(r, m.store.glasses),

		EndedPrincipals: values(r, m.store.endedPrincipals),
	}
}

func values[K, V any](r state.Reader, m state.Map[K, V]) []V {
	var out []V
	for _, v := range m.Walk(r, state.All()) {
		out = append(out, v)
	}
	return out
}
