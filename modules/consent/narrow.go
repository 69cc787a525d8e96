package consent

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) narrow() chain.Route {
	return chain.Handle(chain.Handler[*consentv1.Narrow]{
		Validate: func(msg *consentv1.Narrow) error {
			for _, err := range []error{
				checkHash("id", msg.Id),
				checkIRIs("remove_purposes", msg.RemovePurposes, 0, maxPurposes),
				checkIRIs("remove_categories", msg.RemoveCategories, 0, maxCategories),
				checkDIDs("remove_recipients", msg.RemoveRecipients, maxRecipients),
				checkIRIs("remove_processing", msg.RemoveProcessing, 0, maxProcessing),
				checkExclusions(msg.AddExclusions),
			} {
				if err != nil {
					return err
				}
			}
			if msg.ValidUntil < 0 {
				return ErrInvalid.With("valid_until is not a time in Unix milliseconds")
			}
			if len(msg.RemovePurposes)+len(msg.RemoveCategories)+len(msg.RemoveRecipients)+len(msg.RemoveProcessing)+
				len(msg.AddExclusions) == 0 && msg.ValidUntil == 0 {
				return ErrNarrow.With("the message changes nothing")
			}
			return nil
		},
		Check: func(r chain.ReadCtx, msg *consentv1.Narrow) error {
			_, _, err := m.planNarrow(r, msg)
			return err
		},
		Execute: func(ctx *chain.Ctx, msg *consentv1.Narrow) (proto.Message, error) {
			rec, terms, err := m.planNarrow(ctx, msg)
			if err != nil {
				return nil, err
			}
			next := m.revise(ctx, rec)
			next.Status, next.Terms = consentv1.Status_STATUS_NARROWED, terms
			m.records.Put(ctx, next.Id, next)
			m.indexRecipients(ctx, next.Id, rec.Terms.Recipients, terms.Recipients)
			ctx.Emit(&consentv1.Narrowed{
				Id: next.Id, Version: next.Version, Subject: terms.Subject, Controller: terms.Controller,
				Recipients: rec.Terms.Recipients, By: ctx.Author(),
			})
			return &consentv1.NarrowResponse{Version: next.Version}, m.Ended.Publish(ctx, ending(next, Narrowed))
		},
	})
}

// planNarrow returns the consent and the terms that are left of it.
func (m *Module) planNarrow(r chain.ReadCtx, msg *consentv1.Narrow) (*consentv1.Record, *consentv1.Terms, error) {
	rec, d, err := m.inForce(r, msg.Id)
	if err != nil {
		return nil, nil, err
	}
	if err := m.mayEnd(r, d, rec.Terms.Subject, rec.Terms.Controller, consentv1.Scope_SCOPE_NARROW, consentv1.Scope_SCOPE_GIVE); err != nil {
		return nil, nil, err
	}
	if rec.Version >= maxVersions {
		return nil, nil, ErrTooMany.With("a record has %d versions at most; supersede it", maxVersions)
	}
	terms := rec.Terms.CloneVT()
	if err := shrink(terms, msg); err != nil {
		return nil, nil, err
	}
	if msg.ValidUntil != 0 && passed(msg.ValidUntil, r.Time()) {
		return nil, nil, ErrTime.With("valid_until has passed; withdraw instead")
	}
	return rec, terms, checkTerms(terms)
}

// inForce is a consent that is in force at the time of r, and its dossier.
func (m *Module) inForce(r chain.ReadCtx, id []byte) (*consentv1.Record, *consentv1.Dossier, error) {
	rec, ok := m.records.Lookup(r, id)
	if !ok {
		return nil, nil, ErrNotFound.With("%x", id)
	}
	if s := effective(rec, r.Time()); !inForce(s) {
		return nil, nil, ErrWrongState.With("%s is not in force", s)
	}
	return rec, m.dossier(r, rec.Terms.Subject, rec.Terms.Controller), nil
}

// shrink takes out of terms what the message names. The message only names what
// goes, so that whatever is left was there before.
func shrink(t *consentv1.Terms, msg *consentv1.Narrow) error {
	var err error
	take := func(field string, from, out []string, keepOne bool) []string {
		for _, s := range out {
			if err == nil && !contains(from, s) {
				err = ErrNarrow.With("%s is not among the %s", s, field)
			}
		}
		left := slices.DeleteFunc(from, func(s string) bool { return contains(out, s) })
		if err == nil && keepOne && len(out) > 0 && len(left) == 0 {
			err = ErrNarrow.With("no %s are left", field)
		}
		return left
	}
	t.Purposes = take("purposes", t.Purposes, msg.RemovePurposes, true)
	t.Recipients = take("recipients", t.Recipients, msg.RemoveRecipients, false)
	t.Processing = take("processing", t.Processing, msg.RemoveProcessing, true)
	left := take("categories", categoryIRIs(t), msg.RemoveCategories, true)
	t.Categories = slices.DeleteFunc(t.Categories, func(c *consentv1.Category) bool { return !contains(left, c.Iri) })
	if err != nil {
		return err
	}
	for _, e := range msg.AddExclusions {
		if slices.ContainsFunc(t.Exclusions, e.EqualVT) {
			return ErrNarrow.With("an exclusion is there already")
		}
		t.Exclusions = append(t.Exclusions, e.CloneVT())
	}
	if msg.ValidUntil != 0 {
		if t.ValidUntil != 0 && msg.ValidUntil >= t.ValidUntil {
			return ErrNarrow.With("valid_until is not earlier than it was")
		}
		t.ValidUntil = msg.ValidUntil
	}
	return nil
}
