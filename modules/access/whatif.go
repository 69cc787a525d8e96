package access

import (
	"bytes"
	"context"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// change is a WhatIfChange, parsed.
type change struct {
	policies   *accessv1.PolicySet // nil: as recorded
	guardRails *accessv1.PolicySet
	schema     *accessv1.Schema
	entities   map[types.EntityUID]*entity // nil entity: taken away
}

// changed is what a version that does not exist is called in a verdict.
const changed = ^uint64(0)

// parseChange refuses what could not be entered.
func (m *Module) parseChange(r state.Reader, organisation string, c *accessv1.WhatIfChange) (*change, error) {
	out := &change{entities: map[types.EntityUID]*entity{}}
	if c == nil {
		return nil, ErrField.With("change is missing")
	}
	o := m.store.organisation(r, organisation)
	schema, err := m.currentSchema(r, o)
	if err != nil {
		return nil, err
	}
	if c.Schema != nil {
		if schema, err = m.caches.parseSchema(c.Schema); err != nil {
			return nil, err
		}
		out.schema = &accessv1.Schema{Organisation: organisation, Version: changed, Schema: c.Schema, Hash: schemaHash(c.Schema)}
	}
	if c.ReplacePolicies {
		set, err := m.caches.parseDocuments(c.Documents)
		if err != nil {
			return nil, err
		}
		if schema != nil {
			if err := schema.validate(set); err != nil {
				return nil, err
			}
		}
		out.policies = hypothetical(organisation, c.Documents)
	} else if len(c.Documents) > 0 {
		return nil, ErrField.With("change.documents needs change.replace_policies")
	}
	if c.ReplaceGuardRails {
		set, err := m.caches.parseDocuments(c.GuardRails)
		if err != nil {
			return nil, err
		}
		if err := refusePermits(set); err != nil {
			return nil, err
		}
		out.guardRails = hypothetical(m.deps.Identity.Consortium(), c.GuardRails)
	} else if len(c.GuardRails) > 0 {
		return nil, ErrField.With("change.guard_rails needs change.replace_guard_rails")
	}
	if err := checkUIDs("change.removed_entities", c.RemovedEntities); err != nil {
		return nil, err
	}
	for _, uid := range c.RemovedEntities {
		out.entities[toCedar(uid)] = nil
	}
	if c.Entities != "" {
		list, err := parseEntities(c.Entities, maxEntitiesPerMessage, schema)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if err := checkEntity(e); err != nil {
				return nil, err
			}
			out.entities[e.cedar.UID] = e
		}
	}
	return out, nil
}

func hypothetical(organisation string, documents []*accessv1.Document) *accessv1.PolicySet {
	documents = sortedDocuments(documents)
	return &accessv1.PolicySet{Organisation: organisation, Version: changed, Documents: documents, Hash: documentsHash(documents)}
}

// apply puts the change over the inputs of a recorded decision.
func (c *change) apply(in *inputs) {
	if c.policies != nil {
		in.policies = c.policies
	}
	if c.guardRails != nil {
		in.guardRails = c.guardRails
	}
	if c.schema != nil {
		in.schema = c.schema
	}
	recorded := in.source
	in.source = func(uid types.EntityUID) (*entity, uint64, bool) {
		if e, ok := c.entities[uid]; ok {
			return e, changed, e != nil
		}
		return recorded(uid)
	}
}

// whatIf repeats a page of recorded decisions with a change, until the call ends.
func (m *Module) whatIf(call context.Context, r chain.ReadCtx, q *accessv1.WhatIfRequest) (*accessv1.WhatIfResponse, error) {
	if err := checkDID("organisation", q.Organisation); err != nil {
		return nil, err
	}
	limit, err := pageLimit(q.Limit)
	if err != nil {
		return nil, err
	}
	if q.FromHeight < 0 || q.ToHeight < 0 || q.FromTime < 0 || q.ToTime < 0 {
		return nil, ErrField.With("heights and times must not be negative")
	}
	c, err := m.parseChange(r, q.Organisation, q.Change)
	if err != nil {
		return nil, err
	}
	ids, last, next := m.decisionsInRange(r, q, limit)
	out := &accessv1.WhatIfResponse{NextPageToken: next, Height: last}
	for _, id := range ids {
		if err := call.Err(); err != nil {
			return nil, err
		}
		d, ok := m.store.decisions.Lookup(r, []byte(id))
		if !ok {
			panic("access: an index names a decision that is not there")
		}
		if d.Time < q.FromTime || q.ToTime > 0 && d.Time > q.ToTime {
			continue
		}
		out.Examined++
		asked := false
		in := m.recorded(r, d, &asked)
		c.apply(in)
		e, err := m.caches.evaluate(in)
		if err != nil {
			return nil, err
		}
		switch {
		case asked:
			out.Undetermined = append(out.Undetermined, d.Id)
		case e.verdict.Outcome != d.Verdict.Outcome:
			out.Flips = append(out.Flips, &accessv1.Flip{
				DecisionId: d.Id, Request: d.Request, Height: d.Height,
				Recorded: d.Verdict.Outcome, RecordedReason: d.Verdict.Reason,
				Changed: e.verdict.Outcome, ChangedReason: e.verdict.Reason,
				ChangedPolicies: slices.Concat(e.verdict.Policies, prefixed(e.verdict.GuardRails)),
			})
		}
	}
	return out, nil
}

func prefixed(guardRails []string) []string {
	out := make([]string, len(guardRails))
	for i, id := range guardRails {
		out[i] = guardRailPrefix + id
	}
	return out
}

// decisionsInRange lists at most limit decisions of an organisation between two
// heights, in order, with the height of the last and the token of the next page.
func (m *Module) decisionsInRange(r state.Reader, q *accessv1.WhatIfRequest, limit int) (ids []string, last int64, next []byte) {
	keys := state.TripleOf(state.String, state.Uint64, state.Uint64)
	span := state.Under(state.String, q.Organisation)
	if q.FromHeight > 0 {
		span = span.After(keys.Encode(nil, state.Join3(q.Organisation, uint64(q.FromHeight)-1, changed)))
	}
	if len(q.PageToken) > 0 && bytes.HasPrefix(q.PageToken, state.String.Encode(nil, q.Organisation)) {
		span = span.After(q.PageToken)
	}
	for k, id := range m.store.byOrganisation.Walk(r, span) {
		if q.ToHeight > 0 && k.B > uint64(q.ToHeight) {
			return ids, last, nil
		}
		if len(ids) == limit {
			return ids, last, next
		}
		ids, last, next = append(ids, id), int64(k.B), keys.Encode(nil, k)
	}
	return ids, last, nil
}
