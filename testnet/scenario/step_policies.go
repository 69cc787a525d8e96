package scenario

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chancery/chancery/modules/consent/commitment"
	"github.com/chancery/chancery/modules/identity"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// The purposes that the demonstration speaks of, in terms of the W3C Data Privacy
// Vocabulary.
const (
	care      = "https://w3id.org/dpv#MedicalCare"
	research  = "https://w3id.org/dpv#ScientificResearch"
	marketing = "https://w3id.org/dpv#DirectMarketing"
	health    = "https://w3id.org/dpv/pd#HealthRecord"
)

var (
	//go:embed cedar/guardrails.cedar
	guardRails string
	//go:embed cedar/hospital.cedar
	hospitalPolicies string
	//go:embed cedar/research.cedar
	researchPolicies string
	//go:embed cedar/hospital.cedarschema
	hospitalSchema string
)

// documentsOf are the hospital's policies, with or without those on data sets.
func (r *run) documentsOf(withResearch bool) []*accessv1.Document {
	text := strings.ReplaceAll(hospitalPolicies, "SLUG", slug(r.cast.hospital.Organisation))
	out := []*accessv1.Document{{Name: "hospital", Text: text}}
	if withResearch {
		out = append(out, &accessv1.Document{Name: "research", Text: researchPolicies})
	}
	return out
}

// policies sets the consortium's guard rails, which takes more than two thirds of
// the members, and the hospital's rules.
func (r *run) policies(ctx context.Context) error {
	rails := &accessv1.SetGuardRails{Documents: []*accessv1.Document{{Name: "consortium", Text: guardRails}}}
	if r.o.Needed > 1 {
		alone := actor{did: r.cast.consortium.did, signers: r.cast.hospital.self.signers}
		_, err := r.do(ctx, alone, rails)
		code, err := refusal(err, identity.ErrNotAuthorised)
		if err != nil {
			return fmt.Errorf("guard rails signed by one member alone: %w", err)
		}
		r.note("guard rails signed by one member alone: refused, %s", code)
	}
	set := new(accessv1.SetGuardRailsResponse)
	if _, err := r.ask(ctx, r.cast.consortium, rails, set); err != nil {
		return fmt.Errorf("guard rails: %w", err)
	}
	r.note("guard rails version %d, %d signatures of %d members", set.Version, len(r.cast.consortium.signers), r.o.Needed)

	hospital := r.cast.hospital
	if err := r.people(); err != nil {
		return err
	}
	entities, err := r.entities()
	if err != nil {
		return err
	}
	policies := new(accessv1.SetPoliciesResponse)
	if _, err := r.ask(ctx, hospital.self, &accessv1.SetPolicies{
		Organisation: hospital.Organisation, Documents: r.documentsOf(true),
		Schema: &accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR, Text: hospitalSchema},
	}, policies); err != nil {
		return fmt.Errorf("the hospital's policies: %w", err)
	}
	if _, err := r.do(ctx, hospital.self,
		&accessv1.SetSettings{Organisation: hospital.Organisation, Settings: &accessv1.Settings{
			Purposes: []*accessv1.Purpose{
				{Iri: care, LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"},
				{Iri: research, LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"},
				{Iri: marketing, LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"},
			},
			BreakGlass: accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS,
			ReviewMs:   3 * 24 * 3600 * 1000, GrantMs: 8 * 3600 * 1000,
		}},
		&accessv1.PutEntities{Organisation: hospital.Organisation, Entities: entities},
	); err != nil {
		return fmt.Errorf("the hospital's settings and entities: %w", err)
	}
	r.note("%s: %d policies under a schema, a record that needs its patient's consent, a data set that does not",
		slug(hospital.Organisation), len(policies.Policies))
	return nil
}

// people draws what stands for the patient on the chain. The salt would be kept in
// the hospital's own system; here nobody needs it again.
func (r *run) people() error {
	salt := make([]byte, 2*commitment.MinSalt)
	rand.Read(salt) // never fails: it ends the process instead
	var err error
	r.facts.subject, err = commitment.New(salt, []byte(r.cast.patient.did))
	r.facts.record, r.facts.dataset = "record-"+randomID(), "dataset-"+randomID()
	return err
}

type uid struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type entity struct {
	UID     uid            `json:"uid"`
	Attrs   map[string]any `json:"attrs"`
	Parents []uid          `json:"parents"`
}

// entities is Cedar's JSON form of what the hospital has.
func (r *run) entities() (string, error) {
	ward := uid{"Ward", "ward-1"}
	raw, err := json.Marshal([]entity{
		{ward, map[string]any{}, []uid{}},
		{uid{"Record", r.facts.record}, map[string]any{
			"subject": hex.EncodeToString(r.facts.subject), "categories": []string{health},
		}, []uid{ward}},
		{uid{"Dataset", r.facts.dataset}, map[string]any{"deidentified": true}, []uid{}},
	})
	if err != nil {
		return "", fmt.Errorf("write the hospital's entities: %w", err)
	}
	return string(raw), nil
}
