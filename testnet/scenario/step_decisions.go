package scenario

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/chancery/chancery/modules/consent"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

const (
	allow = accessv1.Outcome_OUTCOME_ALLOW
	deny  = accessv1.Outcome_OUTCOME_DENY
)

var read = &accessv1.EntityUid{Type: "Action", Id: "read"}

// decide has the hospital's enforcement point ask for a recorded decision and
// checks what comes of it.
func (r *run) decide(ctx context.Context, principal actor, kind, id, purpose string, outcome accessv1.Outcome, reason string) (*accessv1.DecideResponse, int64, error) {
	response := new(accessv1.DecideResponse)
	result, err := r.ask(ctx, r.cast.pep, &accessv1.Decide{Request: &accessv1.Request{
		Principal: principal.did, Action: read, Organisation: r.cast.hospital.Organisation,
		Resource: &accessv1.EntityUid{Type: kind, Id: id}, Purpose: purpose,
	}}, response)
	if err != nil {
		return nil, 0, err
	}
	if response.Outcome != outcome || response.Reason != reason {
		return nil, 0, fmt.Errorf("the decision is %s for %q; it should be %s for %q", word(response.Outcome), response.Reason, word(outcome), reason)
	}
	return response, result.Height, nil
}

func word(o accessv1.Outcome) string {
	if o == allow {
		return "allow"
	}
	return "deny"
}

// reasonOf is the reason of a verdict that consent makes.
func reasonOf(module string, code uint32) string { return fmt.Sprintf("%s/%d", module, code) }

// allowed: the patient consents, and the clinician may read.
func (r *run) allowed(ctx context.Context) error {
	status, err := r.c.Status(ctx)
	if err != nil {
		return err
	}
	r.facts.start = status.Height + 1
	none := reasonOf(consent.ErrNone.Module, consent.ErrNone.Code)
	if _, _, err := r.decide(ctx, r.cast.clinician, "Record", r.facts.record, care, deny, none); err != nil {
		return fmt.Errorf("before any consent: %w", err)
	}
	r.facts.unchanged++
	notice := sha256.Sum256([]byte("What we do with your record: we treat you."))
	given := new(consentv1.GiveResponse)
	if _, err := r.ask(ctx, r.cast.patient, &consentv1.Give{Terms: &consentv1.Terms{
		Subject: r.facts.subject, Controller: r.cast.hospital.Organisation,
		Purposes: []string{care}, Categories: []*consentv1.Category{{Iri: health, Special: true}},
		LegalBasis:       consentv1.LegalBasis_LEGAL_BASIS_CONSENT,
		SpecialCondition: consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT,
		Jurisdiction:     "NL", Notice: &consentv1.Notice{Version: "1", Hash: notice[:], Language: "en"},
	}}, given); err != nil {
		return fmt.Errorf("the patient gives consent: %w", err)
	}
	r.facts.consent = given.Id
	decision, height, err := r.decide(ctx, r.cast.clinician, "Record", r.facts.record, care, allow, "policy/permit")
	if err != nil {
		return fmt.Errorf("with the patient's consent: %w", err)
	}
	r.facts.allowed = decision.Id
	r.facts.unchanged++
	r.note("without consent: deny, %s", none)
	r.note("consent %.8x… given by the patient's own key; the clinician may read: allow at height %d, decision %.8x…", given.Id, height, decision.Id)

	for range 2 {
		decision, _, err := r.decide(ctx, r.cast.researcher, "Dataset", r.facts.dataset, research, allow, "policy/permit")
		if err != nil {
			return fmt.Errorf("research on a data set: %w", err)
		}
		r.facts.research = append(r.facts.research, decision.Id)
	}
	r.note("a researcher of %s reads a data set without subjects: allow, twice", slug(r.cast.lab.Organisation))
	return nil
}

// denied: the guard rails stop the insurer, and consent for care is none for
// research.
func (r *run) denied(ctx context.Context) error {
	decision, _, err := r.decide(ctx, r.cast.adjuster, "Record", r.facts.record, marketing, deny, "guard-rail/forbid")
	if err != nil {
		return fmt.Errorf("marketing: %w", err)
	}
	r.facts.denied = decision.Id
	r.note("%s asks for marketing: deny, guard-rail/forbid, although the hospital's own policy would permit", slug(r.cast.insurer.Organisation))
	other := reasonOf(consent.ErrPurpose.Module, consent.ErrPurpose.Code)
	if _, _, err := r.decide(ctx, r.cast.researcher, "Record", r.facts.record, research, deny, other); err != nil {
		return fmt.Errorf("research without consent for it: %w", err)
	}
	r.note("the researcher asks for the record: deny, %s, for the consent names another purpose", other)
	if _, _, err := r.decide(ctx, r.cast.clinician, "Record", r.facts.record, "https://w3id.org/dpv#Marketing", deny, "purpose/unlisted"); err != nil {
		return fmt.Errorf("an unlisted purpose: %w", err)
	}
	r.note("a purpose that the hospital does not list: deny, purpose/unlisted")
	r.facts.unchanged += 3
	return nil
}

// withdrawn: the same request is denied from the next block on.
func (r *run) withdrawn(ctx context.Context) error {
	result, err := r.do(ctx, r.cast.patient, &consentv1.Withdraw{Id: r.facts.consent})
	if err != nil {
		return fmt.Errorf("the patient withdraws: %w", err)
	}
	reason := reasonOf(consent.ErrWithdrawn.Module, consent.ErrWithdrawn.Code)
	decision, height, err := r.decide(ctx, r.cast.clinician, "Record", r.facts.record, care, deny, reason)
	if err != nil {
		return fmt.Errorf("the same request after the withdrawal: %w", err)
	}
	if height <= result.Height {
		return fmt.Errorf("the decision is in block %d, the withdrawal in block %d; it should be in a later one", height, result.Height)
	}
	r.facts.flipped = decision.Id
	r.facts.unchanged++
	grant, err := accessv1.NewQueryClient(r.c.Conn()).GrantStatus(ctx, &accessv1.DecisionRequest{Id: r.facts.allowed})
	if err != nil {
		return fmt.Errorf("the grant that rested on the consent: %w", err)
	}
	if grant.State != accessv1.GrantState_GRANT_STATE_CONSENT_ENDED {
		return fmt.Errorf("the grant that rested on the consent is in state %s; it should have ended with it", grant.State)
	}
	r.note("withdrawn at height %d; the same request at height %d: deny, %s; the earlier grant has ended too", result.Height, height, reason)
	return nil
}

// glass: a named human breaks the glass, and another one reviews it.
func (r *run) glass(ctx context.Context) error {
	hospital := r.cast.hospital.Organisation
	opened := new(accessv1.BreakGlassResponse)
	if _, err := r.ask(ctx, r.cast.clinician, &accessv1.BreakGlass{
		Reason: accessv1.BreakGlassReason_BREAK_GLASS_REASON_LIFE_THREATENING, Text: "unconscious on arrival, allergies unknown",
		Scope: &accessv1.Scope{
			Organisation: hospital, ResourceType: "Record", ResourceId: r.facts.record,
			Actions: []*accessv1.EntityUid{read}, Purposes: []string{care},
		},
		DurationMs: 10 * 60 * 1000,
	}, opened); err != nil {
		return fmt.Errorf("break the glass: %w", err)
	}
	if _, _, err := r.decide(ctx, r.cast.clinician, "Record", r.facts.record, care, allow, "break-glass"); err != nil {
		return fmt.Errorf("with the glass broken: %w", err)
	}
	r.facts.unchanged++
	if err := r.reviewIs(ctx, opened.Id, true); err != nil {
		return err
	}
	if _, err := r.do(ctx, r.cast.clinician, &accessv1.EndBreakGlass{Id: opened.Id}); err != nil {
		return fmt.Errorf("end the break-glass: %w", err)
	}
	if _, err := r.do(ctx, r.cast.reviewer, &accessv1.Review{Id: opened.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED}); err != nil {
		return fmt.Errorf("review the break-glass: %w", err)
	}
	if err := r.reviewIs(ctx, opened.Id, false); err != nil {
		return err
	}
	r.note("break-glass %.8x…: allow although consent was withdrawn; ended, reviewed by another person: justified", opened.Id)
	return nil
}

// reviewIs checks whether the review of a break-glass is due.
func (r *run) reviewIs(ctx context.Context, id []byte, want bool) error {
	due, err := r.reviewDue(ctx, id)
	if err == nil && due != want {
		err = fmt.Errorf("the review of %x is due: %v; that should be %v", id, due, want)
	}
	return err
}

// reviewDue tells whether the hospital has the review of a break-glass to make.
func (r *run) reviewDue(ctx context.Context, id []byte) (bool, error) {
	q := accessv1.NewQueryClient(r.c.Conn())
	for token := []byte(nil); ; {
		page, err := q.Reviews(ctx, &accessv1.ReviewsRequest{Organisation: r.cast.hospital.Organisation, Limit: 500, PageToken: token})
		if err != nil {
			return false, err
		}
		for _, g := range page.Glasses {
			if string(g.Id) == string(id) {
				return true, nil
			}
		}
		if token = page.NextPageToken; len(token) == 0 {
			return false, nil
		}
	}
}
