package scenarios

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Purposes and categories in terms of the W3C Data Privacy Vocabulary.
const (
	care      = "https://w3id.org/dpv#MedicalCare"
	billing   = "https://w3id.org/dpv#PaymentManagement"
	research  = "https://w3id.org/dpv#ScientificResearch"
	reporting = "https://w3id.org/dpv#PublicBenefit"
	marketing = "https://w3id.org/dpv#DirectMarketing"
	health    = "https://w3id.org/dpv/pd#HealthRecord"
	basis     = "https://w3id.org/dpv/legal/eu/gdpr#A6-1-e"
)

// guardRails of the consortium.
func guardRails(edition int) string {
	return fmt.Sprintf(`// Edition %d.
@id("no-marketing")
forbid (principal, action, resource) when { context.purpose == "%s" };
`, edition, marketing)
}

// policyText is an organisation's rules. A hospital's let every clinician read every
// record for care, as most hospitals' do, so that looking at the wrong one is within
// anybody's rights.
func (w *world) policyText(org *organisation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// Edition %d.\n", org.policies)
	permit := func(id, principal, actions, resource, purpose string) {
		fmt.Fprintf(&b, "@id(%q)\npermit (%s, action in [%s], resource is %s) when { context.purpose == %q };\n", id, principal, actions, resource, purpose)
	}
	const read, write, export = `Action::"read"`, `Action::"write"`, `Action::"export"`
	role := func(org *organisation, r string) string {
		return fmt.Sprintf("principal in Chancery::Role::%q", org.slug+"/"+r)
	}
	all := func(org *organisation) string {
		return fmt.Sprintf("principal in Chancery::Organisation::%q", org.did)
	}
	if org.trade == hospital {
		permit("care", role(org, "clinician"), read+", "+write, "Record", care)
		permit("ward-tablets", role(org, "pep"), read, "Record", care)
		permit("front-desk", role(org, "clerk"), read+", "+export, "Record", billing)
		for _, o := range w.organisations {
			switch o.trade {
			case laboratory:
				permit("laboratory", role(o, "analyst"), read, "Record", care)
			case insurer:
				permit("claims", all(o), read, "Record", billing)
			case institute:
				permit("studies", role(o, "researcher"), read, "Record", research)
			}
		}
	}
	for _, o := range w.organisations {
		switch o.trade {
		case institute, hospital, laboratory:
			permit("datasets-"+o.slug, all(o), read+", "+export, "Dataset", research)
		case registry:
			permit("registry", all(o), read+", "+export, "Dataset", reporting)
		}
	}
	// Exceptions for one person come and go with editions, so that a rule more is
	// nothing that a text's length tells.
	r := stream(w.o.Seed, "exceptions "+org.slug+" "+strconv.Itoa(org.policies))
	for range r.IntN(4) {
		who := pick(r, org.those(steward, nurse, doctor, clerk, analyst, quality, adjuster, researcher, dispatcher))
		fmt.Fprintf(&b, "permit (principal == Chancery::Person::%q, action, resource is Dataset);\n", who.did)
	}
	return b.String()
}

func (w *world) setPolicies(org *organisation) *accessv1.SetPolicies {
	return &accessv1.SetPolicies{Organisation: org.did, Documents: []*accessv1.Document{{Name: "rules", Text: w.policyText(org)}}}
}

func settings(rule accessv1.BreakGlassRule, purposes ...string) *accessv1.Settings {
	s := &accessv1.Settings{BreakGlass: rule, ReviewMs: 5 * day, GrantMs: 8 * hour}
	for _, p := range purposes {
		s.Purposes = append(s.Purposes, &accessv1.Purpose{Iri: p, LegalBasis: basis})
	}
	return s
}

func (org *organisation) settings() *accessv1.SetSettings {
	return &accessv1.SetSettings{Organisation: org.did, Settings: settings(accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS, care, billing, research, reporting)}
}

type cedarUID struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

type cedarEntity struct {
	UID     cedarUID       `json:"uid"`
	Attrs   map[string]any `json:"attrs"`
	Parents []cedarUID     `json:"parents"`
}

func ward(n int) cedarUID { return cedarUID{"Ward", fmt.Sprintf("ward-%d", n+1)} }

// recordEntity is a record as it should be: reading it needs its subject's consent.
func recordEntity(s *subject) cedarEntity {
	return cedarEntity{
		cedarUID{"Record", s.record},
		map[string]any{"subject": hex.EncodeToString(s.commitment), "categories": []string{health}},
		[]cedarUID{ward(s.ward)},
	}
}

func datasetEntity(id string) cedarEntity {
	return cedarEntity{cedarUID{"Dataset", id}, map[string]any{"deidentified": true}, []cedarUID{}}
}

func putEntities(org *organisation, list ...cedarEntity) *accessv1.PutEntities {
	raw, err := json.Marshal(list) // maps are written with sorted keys
	if err != nil {
		panic("scenarios: entities: " + err.Error())
	}
	return &accessv1.PutEntities{Organisation: org.did, Entities: string(raw)}
}

func decide(principal string, org *organisation, action, kind, id, purpose string) *accessv1.Decide {
	return &accessv1.Decide{Request: &accessv1.Request{
		Principal: principal, Action: &accessv1.EntityUid{Type: "Action", Id: action},
		Organisation: org.did, Resource: &accessv1.EntityUid{Type: kind, Id: id}, Purpose: purpose,
	}}
}

func readRecord(principal string, org *organisation, s *subject, purpose string) *accessv1.Decide {
	return decide(principal, org, "read", "Record", s.record, purpose)
}
