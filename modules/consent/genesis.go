package consent

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// InitGenesis implements chain.Module. It builds the indexes and refuses a section
// whose parts do not belong together.
func (m *Module) InitGenesis(ctx *chain.Ctx, raw json.RawMessage) error {
	g := new(consentv1.Genesis)
	if err := chain.ReadGenesis(raw, g); err != nil {
		return err
	}
	// Later parts look earlier ones up, and lists may come in any order.
	for _, e := range g.Dossiers {
		if err := m.initDossier(ctx, e); err != nil {
			return fmt.Errorf("dossier of %x and %s: %w", e.GetSubject(), e.GetController(), err)
		}
	}
	for _, rec := range g.Records {
		if err := m.initRecord(ctx, rec); err != nil {
			return fmt.Errorf("record %x: %w", rec.GetId(), err)
		}
	}
	versions := uint64(0)
	for _, rec := range g.History {
		if err := m.initVersion(ctx, rec); err != nil {
			return fmt.Errorf("version %d of record %x: %w", rec.GetVersion(), rec.GetId(), err)
		}
		versions++
	}
	for _, rec := range g.Records {
		versions -= rec.Version - 1
	}
	if versions != 0 {
		return fmt.Errorf("the history does not hold exactly the earlier versions of each record")
	}
	for _, d := range g.Delegations {
		if err := m.initDelegation(ctx, d); err != nil {
			return fmt.Errorf("delegation of %x: %w", d.GetSubject(), err)
		}
	}
	return m.checkDossiers(ctx, g.Dossiers)
}

func (m *Module) initDossier(ctx *chain.Ctx, e *consentv1.DossierEntry) error {
	if e.GetDossier() == nil {
		return ErrInvalid.With("dossier is missing")
	}
	for _, err := range []error{
		checkHash("subject", e.Subject),
		checkOrganisation("controller", e.Controller),
		checkPerson("subject_did", e.Dossier.SubjectDid),
		checkCount("consents", len(e.Dossier.Consents), 0, maxConsents),
		checkCount("requests", len(e.Dossier.Requests), 0, maxRequests),
		checkCount("restrictions", len(e.Dossier.Restrictions), 0, maxRestrictions),
	} {
		if err != nil {
			return err
		}
	}
	for _, r := range e.Dossier.Restrictions {
		if err := checkHash("restriction", r.GetId()); err != nil {
			return err
		}
	}
	k := state.Join(e.Subject, e.Controller)
	if m.dossiers.Has(ctx, k) {
		return ErrInvalid.With("it is there twice")
	}
	m.dossiers.Put(ctx, k, e.Dossier)
	return nil
}

func (m *Module) initRecord(ctx *chain.Ctx, rec *consentv1.Record) error {
	if err := checkRecord(rec); err != nil {
		return err
	}
	d := m.dossier(ctx, rec.Terms.Subject, rec.Terms.Controller)
	switch {
	case m.records.Has(ctx, rec.Id):
		return ErrInvalid.With("it is there twice")
	case d == nil:
		return ErrInvalid.With("it has no dossier")
	case listed(d.Consents, rec.Id) != inForce(rec.Status), listed(d.Requests, rec.Id) != (rec.Status == consentv1.Status_STATUS_REQUESTED):
		return ErrInvalid.With("its dossier does not list it as its status asks")
	}
	m.records.Put(ctx, rec.Id, rec)
	m.holdings.Add(ctx, state.Join3(rec.Terms.Controller, rec.Terms.Subject, rec.Id))
	if rec.Status == consentv1.Status_STATUS_REQUESTED {
		m.requests.Add(ctx, state.Join(rec.Terms.Controller, rec.Id))
	}
	if wasGiven(rec.Status) {
		m.indexRecipients(ctx, rec.Id, nil, rec.Terms.Recipients)
	}
	return nil
}

func checkRecord(rec *consentv1.Record) error {
	if err := checkHash("id", rec.GetId()); err != nil {
		return err
	}
	if rec.Version == 0 || rec.Status < consentv1.Status_STATUS_REQUESTED || rec.Status > consentv1.Status_STATUS_SUPERSEDED {
		return ErrInvalid.With("version or status is missing")
	}
	return checkTerms(rec.Terms)
}

func (m *Module) initVersion(ctx *chain.Ctx, rec *consentv1.Record) error {
	if err := checkRecord(rec); err != nil {
		return err
	}
	latest, ok := m.records.Lookup(ctx, rec.Id)
	k := state.Join(rec.Id, rec.Version)
	if !ok || rec.Version >= latest.Version || m.history.Has(ctx, k) {
		return ErrInvalid.With("it is there twice or does not precede a record")
	}
	m.history.Put(ctx, k, rec)
	return nil
}

func (m *Module) initDelegation(ctx *chain.Ctx, d *consentv1.Delegation) error {
	if err := validateDelegate(&consentv1.Delegate{
		Subject: d.GetSubject(), Controller: d.GetController(), Delegate: d.GetDelegate(), Kind: d.GetKind(),
		Scopes: d.GetScopes(), Until: d.GetUntil(), EvidenceHash: d.GetEvidenceHash(),
	}); err != nil {
		return err
	}
	k := state.Join3(d.Subject, d.Controller, d.Delegate)
	if m.delegations.Has(ctx, k) || !m.dossiers.Has(ctx, state.Join(d.Subject, d.Controller)) || !slices.IsSorted(d.Scopes) {
		return ErrInvalid.With("it is there twice, has no dossier, or its scopes are not sorted")
	}
	m.delegations.Put(ctx, k, d)
	return nil
}

// checkDossiers refuses dossiers that list what is not there or not theirs.
func (m *Module) checkDossiers(ctx *chain.Ctx, entries []*consentv1.DossierEntry) error {
	for _, e := range entries {
		ids := slices.Concat(e.Dossier.Consents, e.Dossier.Requests)
		if e.Dossier.LastEnded != nil {
			ids = append(ids, e.Dossier.LastEnded.Id)
		}
		for _, id := range ids {
			rec, ok := m.records.Lookup(ctx, id)
			if !ok || !bytes.Equal(rec.Terms.Subject, e.Subject) || rec.Terms.Controller != e.Controller {
				return fmt.Errorf("dossier of %x and %s: it names record %x, which is not its own", e.Subject, e.Controller, id)
			}
		}
	}
	return nil
}

func listed(ids [][]byte, id []byte) bool {
	return slices.ContainsFunc(ids, func(o []byte) bool { return bytes.Equal(o, id) })
}

// ExportGenesis implements chain.Module.
func (m *Module) ExportGenesis(r state.Reader) (proto.Message, error) {
	g := new(consentv1.Genesis)
	for _, rec := range m.records.Walk(r, state.All()) {
		g.Records = append(g.Records, rec)
	}
	for _, rec := range m.history.Walk(r, state.All()) {
		g.History = append(g.History, rec)
	}
	for k, d := range m.dossiers.Walk(r, state.All()) {
		g.Dossiers = append(g.Dossiers, &consentv1.DossierEntry{Subject: k.A, Controller: k.B, Dossier: d})
	}
	for _, d := range m.delegations.Walk(r, state.All()) {
		g.Delegations = append(g.Delegations, d)
	}
	slices.SortFunc(g.Records, func(a, b *consentv1.Record) int { return bytes.Compare(a.Id, b.Id) })
	slices.SortFunc(g.History, func(a, b *consentv1.Record) int {
		return cmp.Or(bytes.Compare(a.Id, b.Id), cmp.Compare(a.Version, b.Version))
	})
	return g, nil
}
