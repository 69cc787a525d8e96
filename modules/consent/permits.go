package consent

import (
	"slices"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// Question is a use of data.
type Question struct {
	Subject    []byte   // the commitment, 32 bytes
	Controller string   // DID
	Recipient  string   // DID of who would receive the data
	Purpose    string   // IRI
	Categories []string // IRIs, at most 32; none: any data at all
	Processing string   // IRI
}

// Permits is Covers for access to data.
func (m *Module) Permits(r chain.ReadCtx, subject []byte, controller, recipient, purpose string, categories []string) (id []byte, version uint64, err error) {
	return m.Covers(r, Question{
		Subject: subject, Controller: controller, Recipient: recipient, Purpose: purpose,
		Categories: categories, Processing: Access,
	})
}

// Covers finds a consent that covers the use at r.Time() and returns its id and
// version. Otherwise the error, always one of this module's, says why not. It does
// point lookups only: the dossier, and each consent in force, at most 64. What a
// question and terms mean to one another is in doc.go.
func (m *Module) Covers(r chain.ReadCtx, q Question) (id []byte, version uint64, err error) {
	if err := q.check(); err != nil {
		return nil, 0, err
	}
	d := m.dossier(r, q.Subject, q.Controller)
	if d == nil {
		return nil, 0, ErrNone
	}
	for _, x := range d.Restrictions {
		if blocks(x, q.Purpose) {
			return nil, 0, ErrRestricted.With("restriction %x", x.Id)
		}
	}
	organisation, _ := m.identity.Organisation(r, q.Recipient)
	closest, reason := -1, error(nil)
	for _, id := range d.Consents {
		rec := m.mustRecord(r, id)
		step, why := covers(rec, q, organisation, r.Time())
		if why == nil {
			return rec.Id, rec.Version, nil
		}
		if step > closest {
			closest, reason = step, why.With("consent %x", rec.Id)
		}
	}
	if reason != nil {
		return nil, 0, reason
	}
	return nil, 0, nothingLeft(d)
}

func (q Question) check() error {
	for _, err := range []error{
		checkHash("subject", q.Subject),
		checkOrganisation("controller", q.Controller),
		checkDID("recipient", q.Recipient),
		checkIRI("purpose", q.Purpose),
		checkIRIs("categories", q.Categories, 0, maxCategories),
		checkIRI("processing", q.Processing),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// nothingLeft says why a dossier holds no consent in force.
func nothingLeft(d *consentv1.Dossier) *errs.Error {
	if len(d.Requests) > 0 {
		return ErrRequested
	}
	switch d.GetLastEnded().GetStatus() {
	case consentv1.Status_STATUS_WITHDRAWN:
		return ErrWithdrawn.With("consent %x", d.LastEnded.Id)
	case consentv1.Status_STATUS_EXPIRED:
		return ErrExpired.With("consent %x", d.LastEnded.Id)
	case consentv1.Status_STATUS_REFUSED:
		return ErrRefused.With("record %x", d.LastEnded.Id)
	}
	return ErrNone
}

// covers says why a consent in force does not cover the question, and how many
// tests it passed before: the reason of the consent that came furthest is the one
// to tell.
func covers(rec *consentv1.Record, q Question, organisation string, now int64) (step int, why *errs.Error) {
	t := rec.Terms
	start := t.ValidFrom
	if start == 0 {
		start = rec.GivenAt
	}
	tests := []struct {
		ok   bool
		fail *errs.Error
	}{
		{contains(t.Purposes, q.Purpose), ErrPurpose},
		{coversCategories(t, q.Categories), ErrCategory},
		{len(t.Processing) == 0 || contains(t.Processing, q.Processing), ErrProcessing},
		{names(append([]string{t.Controller}, t.Recipients...), q.Recipient, organisation), ErrRecipient},
		{now >= start, ErrNotYetValid},
		{!passed(t.ValidUntil, now), ErrExpired},
		{!slices.ContainsFunc(t.Exclusions, func(e *consentv1.Exclusion) bool { return excludes(e, q, organisation, now) }), ErrExcluded},
	}
	for i, x := range tests {
		if !x.ok {
			return i, x.fail
		}
	}
	return len(tests), nil
}

func coversCategories(t *consentv1.Terms, asked []string) bool {
	given := categoryIRIs(t)
	return contains(given, AnyData) || !asksAny(asked) && subset(asked, given)
}

// asksAny tells whether a question is about any data at all.
func asksAny(categories []string) bool { return len(categories) == 0 || contains(categories, AnyData) }

// names tells whether a list of DIDs names a recipient or its organisation.
func names(dids []string, recipient, organisation string) bool {
	return contains(dids, recipient) || organisation != "" && contains(dids, organisation)
}

// excludes tells whether an exclusion matches a question: whether something that
// the question asks for falls into all of its lists and its period.
func excludes(e *consentv1.Exclusion, q Question, organisation string, now int64) bool {
	return now >= e.From && !passed(e.Until, now) &&
		(len(e.Recipients) == 0 || names(e.Recipients, q.Recipient, organisation)) &&
		(len(e.Purposes) == 0 || contains(e.Purposes, q.Purpose)) &&
		(len(e.Processing) == 0 || contains(e.Processing, q.Processing)) &&
		(len(e.Categories) == 0 || asksAny(q.Categories) || contains(e.Categories, AnyData) ||
			slices.ContainsFunc(q.Categories, func(c string) bool { return contains(e.Categories, c) }))
}
