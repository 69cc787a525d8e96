package consent

import (
	"bytes"
	"slices"

	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// checkTerms is what must hold of terms whatever the state.
func checkTerms(t *consentv1.Terms) error {
	switch {
	case t == nil:
		return ErrInvalid.With("terms are missing")
	case t.SizeVT() > maxTermsBytes:
		return ErrInvalid.With("terms have %d bytes, at most %d", t.SizeVT(), maxTermsBytes)
	case !isJurisdiction(t.Jurisdiction):
		return ErrInvalid.With("jurisdiction is not an ISO 3166 code such as NL or US-CA")
	case t.LegalBasis < consentv1.LegalBasis_LEGAL_BASIS_CONSENT || t.LegalBasis > consentv1.LegalBasis_LEGAL_BASIS_LEGITIMATE_INTERESTS:
		return ErrInvalid.With("legal_basis is none of GDPR Art. 6(1)(a) to (f)")
	case t.SpecialCondition < 0 || t.SpecialCondition > consentv1.SpecialCondition_SPECIAL_CONDITION_RESEARCH:
		return ErrInvalid.With("special_condition is none of GDPR Art. 9(2)(a) to (j)")
	}
	for _, err := range []error{
		checkHash("subject", t.Subject),
		checkOrganisation("controller", t.Controller),
		checkIRIs("purposes", t.Purposes, 1, maxPurposes),
		checkCategories(t),
		checkDIDs("recipients", t.Recipients, maxRecipients),
		checkIRIs("processing", t.Processing, 0, maxProcessing),
		checkNotice(t.Notice),
		checkPeriod("valid_from", t.ValidFrom, "valid_until", t.ValidUntil),
		checkExclusions(t.Exclusions),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCategories is law 8 beside the form: a special category needs a condition
// of Art. 9(2), and what is special by its meaning must be marked so.
func checkCategories(t *consentv1.Terms) error {
	if err := checkCount("categories", len(t.Categories), 1, maxCategories); err != nil {
		return err
	}
	for i, c := range t.Categories {
		if c == nil {
			return ErrInvalid.With("category %d is missing", i)
		}
		if err := checkIRI("categories", c.Iri); err != nil {
			return err
		}
		if slices.ContainsFunc(t.Categories[:i], func(o *consentv1.Category) bool { return o.Iri == c.Iri }) {
			return ErrInvalid.With("categories name %s twice", c.Iri)
		}
		if isSpecial(c.Iri) && !c.Special {
			return ErrSpecial.With("%s is not marked special", c.Iri)
		}
		if c.Special && t.SpecialCondition == consentv1.SpecialCondition_SPECIAL_CONDITION_UNSPECIFIED {
			return ErrSpecial.With("%s is special and special_condition is not set", c.Iri)
		}
	}
	return nil
}

func checkExclusions(list []*consentv1.Exclusion) error {
	if err := checkCount("exclusions", len(list), 0, maxExclusions); err != nil {
		return err
	}
	for i, e := range list {
		if e == nil || len(e.Categories)+len(e.Recipients)+len(e.Purposes)+len(e.Processing) == 0 {
			return ErrInvalid.With("exclusion %d is limited to nothing; name categories, recipients, purposes or processing", i)
		}
		for _, err := range []error{
			checkIRIs("exclusion.categories", e.Categories, 0, maxCategories),
			checkDIDs("exclusion.recipients", e.Recipients, maxRecipients),
			checkIRIs("exclusion.purposes", e.Purposes, 0, maxPurposes),
			checkIRIs("exclusion.processing", e.Processing, 0, maxProcessing),
			checkPeriod("exclusion.from", e.From, "exclusion.until", e.Until),
		} {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func categoryIRIs(t *consentv1.Terms) []string {
	out := make([]string, len(t.Categories))
	for i, c := range t.Categories {
		out[i] = c.Iri
	}
	return out
}

// within says why inner covers more than outer, or is another agreement
// altogether; nil when it is the same or smaller.
func within(outer, inner *consentv1.Terms) error {
	outerCategories, innerCategories := categoryIRIs(outer), categoryIRIs(inner)
	switch {
	case !bytes.Equal(inner.Subject, outer.Subject) || inner.Controller != outer.Controller:
		return ErrMismatch
	case inner.LegalBasis != outer.LegalBasis || inner.SpecialCondition != outer.SpecialCondition ||
		inner.Jurisdiction != outer.Jurisdiction || !inner.Notice.EqualVT(outer.Notice):
		return ErrWider.With("legal basis, condition, jurisdiction and notice must be those asked for")
	case !subset(inner.Purposes, outer.Purposes):
		return ErrWider.With("purposes")
	case !contains(outerCategories, AnyData) && !subset(innerCategories, outerCategories):
		return ErrWider.With("categories")
	case !subset(inner.Recipients, outer.Recipients):
		return ErrWider.With("recipients")
	case len(outer.Processing) > 0 && (len(inner.Processing) == 0 || !subset(inner.Processing, outer.Processing)):
		return ErrWider.With("processing")
	case inner.ValidFrom < outer.ValidFrom:
		return ErrWider.With("valid_from")
	case outer.ValidUntil != 0 && (inner.ValidUntil == 0 || inner.ValidUntil > outer.ValidUntil):
		return ErrWider.With("valid_until")
	}
	for _, e := range outer.Exclusions {
		if !slices.ContainsFunc(inner.Exclusions, e.EqualVT) {
			return ErrWider.With("an exclusion is missing")
		}
	}
	return nil
}

func subset(inner, outer []string) bool {
	return !slices.ContainsFunc(inner, func(s string) bool { return !contains(outer, s) })
}
