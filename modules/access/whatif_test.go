package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// whatIf collects the pages of a what-if.
func (w *world) whatIf(t testing.TB, q *accessv1.WhatIfRequest) (flips []*accessv1.Flip, examined int, undetermined [][]byte) {
	t.Helper()
	q = q.CloneVT()
	for {
		page, err := w.queries.WhatIf(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		flips, undetermined = append(flips, page.Flips...), append(undetermined, page.Undetermined...)
		examined += int(page.Examined)
		if len(page.NextPageToken) == 0 {
			return flips, examined, undetermined
		}
		q.PageToken = page.NextPageToken
	}
}

// flipTable is the pairs of a principal and a record that the property test asks
// about, with what a policy set of its own form says of each.
type rule struct {
	forbid            bool
	role, record, max int // -1: any
}

var (
	flipRoles   = []string{"doctor", "nurse", "reviewer"}
	flipPeople  = []string{doctor, nurse, reviewer}
	flipRecords = []string{"r0", "r1", "r2", "r3"}
)

func (r rule) text() string {
	effect, principal, resource, condition := "permit", "principal", "resource", ""
	if r.forbid {
		effect = "forbid"
	}
	if r.role >= 0 {
		principal = fmt.Sprintf("principal in Chancery::Role::\"mercy/%s\"", flipRoles[r.role])
	}
	if r.record >= 0 {
		resource = fmt.Sprintf("resource == Record::%q", flipRecords[r.record])
	}
	if r.max >= 0 {
		condition = fmt.Sprintf(" when { context.n <= %d }", r.max)
	}
	return fmt.Sprintf("%s (%s, action, %s)%s;", effect, principal, resource, condition)
}

func (r rule) holds(role, record, n int) bool {
	return (r.role < 0 || r.role == role) && (r.record < 0 || r.record == record) && (r.max < 0 || n <= r.max)
}

// says is what a set of rules says, worked out without Cedar.
func says(rules []rule, role, record, n int) accessv1.Outcome {
	out := accessv1.Outcome_OUTCOME_DENY
	for _, r := range rules {
		if r.holds(role, record, n) {
			if r.forbid {
				return accessv1.Outcome_OUTCOME_DENY
			}
			out = accessv1.Outcome_OUTCOME_ALLOW
		}
	}
	return out
}

func texts(rules []rule) []*accessv1.Document {
	var out []string
	for _, r := range rules {
		out = append(out, r.text())
	}
	return document(strings.Join(out, "\n"))
}

func drawRules(t *rapid.T, label string) []rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rule {
		return rule{
			forbid: rapid.IntRange(0, 3).Draw(t, "forbid") == 0,
			role:   rapid.IntRange(-1, 2).Draw(t, "role"),
			record: rapid.IntRange(-1, 3).Draw(t, "record"),
			max:    rapid.IntRange(-1, 3).Draw(t, "max"),
		}
	}), 0, 6).Draw(t, label)
}

// What-if lists exactly the decisions that flip: for random policy sets, those of
// which an independent reading of both sets gives different outcomes.
func TestWhatIfListsExactlyTheFlips(t *testing.T) {
	w := newWorld(t).furnish()
	w.entities(`[
		{"uid":{"type":"Record","id":"r0"},"attrs":{},"parents":[]},{"uid":{"type":"Record","id":"r1"},"attrs":{},"parents":[]},
		{"uid":{"type":"Record","id":"r2"},"attrs":{},"parents":[]},{"uid":{"type":"Record","id":"r3"},"attrs":{},"parents":[]}]`)
	type asked struct{ role, record, n int }
	what := map[string]asked{}
	var base []rule
	rapid.Check(t, func(rt *rapid.T) {
		base = drawRules(rt, "base")
		from := w.Height() + 1
		w.Do(hospital, &accessv1.SetPolicies{Organisation: hospital, Documents: texts(base)})
		var order [][]byte
		for range rapid.IntRange(1, 6).Draw(rt, "decisions") {
			a := asked{rapid.IntRange(0, 2).Draw(rt, "who"), rapid.IntRange(0, 3).Draw(rt, "what"), rapid.IntRange(0, 4).Draw(rt, "n")}
			q := read(flipPeople[a.role], flipRecords[a.record])
			q.Context = fmt.Sprintf(`{"n":%d}`, a.n)
			d := w.ask(q)
			if d.Verdict.Outcome != says(base, a.role, a.record, a.n) {
				rt.Fatalf("%v of %v is %v", a, texts(base), d.Verdict)
			}
			what[string(d.Id)] = a
			order = append(order, d.Id)
		}
		changed := drawRules(rt, "changed")
		flips, examined, undetermined := w.whatIf(t, &accessv1.WhatIfRequest{
			Organisation: hospital, FromHeight: from, Limit: uint32(rapid.IntRange(1, 4).Draw(rt, "limit")),
			Change: &accessv1.WhatIfChange{Documents: texts(changed), ReplacePolicies: true},
		})
		if examined != len(order) || len(undetermined) != 0 {
			rt.Fatalf("%d examined and %d undetermined of %d", examined, len(undetermined), len(order))
		}
		for _, id := range order {
			a := what[string(id)]
			before, after := says(base, a.role, a.record, a.n), says(changed, a.role, a.record, a.n)
			if before == after {
				continue
			}
			if len(flips) == 0 || !bytes.Equal(flips[0].DecisionId, id) || flips[0].Recorded != before || flips[0].Changed != after {
				rt.Fatalf("decision %x flips from %v to %v and is not next among %v", id, before, after, flips)
			}
			flips = flips[1:]
		}
		if len(flips) != 0 {
			rt.Fatalf("these do not flip: %v", flips)
		}
	})
	// Nothing changed, nothing flips, over the whole history.
	flips, examined, undetermined := w.whatIf(t, &accessv1.WhatIfRequest{Organisation: hospital, Change: &accessv1.WhatIfChange{}, Limit: 500})
	if len(flips) != 0 || len(undetermined) != 0 || examined != len(what) {
		t.Fatalf("%d flips and %d undetermined of %d without a change, want none of %d", len(flips), len(undetermined), examined, len(what))
	}
}

func TestWhatIfChanges(t *testing.T) {
	w := newWorld(t).furnish()
	w.consents.given[subject("p")] = 1
	open := w.allowed(read(doctor, "open"), "policy/permit")
	patient := w.allowed(read(doctor, "patient"), "policy/permit")
	nobody := w.denied(read(nurse, "patient"), "policy/none")
	other := read(outsider, "x")
	other.Organisation = clinic
	w.ask(other)
	all := &accessv1.WhatIfRequest{Organisation: hospital}
	ask := func(c *accessv1.WhatIfChange) ([][]byte, [][]byte) {
		t.Helper()
		q := all.CloneVT()
		q.Change = c
		flips, examined, undetermined := w.whatIf(t, q)
		if examined != 3 {
			t.Fatalf("%d examined, want 3", examined)
		}
		var out [][]byte
		for _, f := range flips {
			out = append(out, f.DecisionId)
		}
		return out, undetermined
	}
	want := func(name string, got [][]byte, ds ...*accessv1.Decision) {
		t.Helper()
		if len(got) != len(ds) {
			t.Fatalf("%s: %d, want %d", name, len(got), len(ds))
		}
		for _, d := range ds {
			if !contains(got, d.Id) {
				t.Fatalf("%s: %x is not among them", name, d.Id)
			}
		}
	}
	flips, _ := ask(&accessv1.WhatIfChange{ReplacePolicies: true})
	want("no policies", flips, open, patient)
	flips, _ = ask(&accessv1.WhatIfChange{ReplacePolicies: true, Documents: document("permit (principal, action, resource);")})
	// The nurse's request needs consent as well, which was asked and given then.
	want("everybody", flips, nobody)
	flips, _ = ask(&accessv1.WhatIfChange{ReplaceGuardRails: true, GuardRails: document(`forbid (principal, action, resource == Record::"open");`)})
	want("a guard rail", flips, open)
	flips, _ = ask(&accessv1.WhatIfChange{Entities: `[{"uid":{"type":"Record","id":"open"},"attrs":{"locked":true},"parents":[]}]`})
	want("an entity", flips, open)
	flips, _ = ask(&accessv1.WhatIfChange{RemovedEntities: []*accessv1.EntityUid{uid("Record", "patient")}})
	want("a removed entity", flips, patient)
	flips, _ = ask(&accessv1.WhatIfChange{Schema: cedarText(strictSchema)})
	want("a schema", flips)
	// Whose consent would have been asked is another: nobody can know.
	flips, undetermined := ask(&accessv1.WhatIfChange{Entities: `[{"uid":{"type":"Record","id":"open"},"attrs":{"subject":"` + subject("q") + `"},"parents":[]}]`})
	want("another subject", flips)
	want("another subject, undetermined", undetermined, open)

	// Heights and times bound the range.
	for name, q := range map[string]*accessv1.WhatIfRequest{
		"from height": {Organisation: hospital, FromHeight: nobody.Height},
		"to height":   {Organisation: hospital, ToHeight: open.Height},
		"from time":   {Organisation: hospital, FromTime: nobody.Time},
		"to time":     {Organisation: hospital, ToTime: open.Time},
		"both":        {Organisation: hospital, FromHeight: patient.Height, ToHeight: patient.Height},
	} {
		q.Change = &accessv1.WhatIfChange{}
		if _, examined, _ := w.whatIf(t, q); examined != 1 {
			t.Errorf("%s: %d examined, want 1", name, examined)
		}
	}

	// What could not be entered cannot be tried.
	w.Do(hospital, &accessv1.SetSchema{Organisation: hospital, Schema: cedarText(strictSchema)})
	for name, c := range map[string]*accessv1.WhatIfChange{
		"syntax":         {ReplacePolicies: true, Documents: document("hello")},
		"validation":     {ReplacePolicies: true, Documents: document("permit (principal, action, resource) when { resource.nothing };")},
		"permit":         {ReplaceGuardRails: true, GuardRails: document("permit (principal, action, resource);")},
		"entities":       {Entities: "hello"},
		"schema":         {Schema: cedarText("hello")},
		"without a flag": {Documents: document("permit (principal, action, resource);")},
	} {
		if _, err := w.queries.WhatIf(context.Background(), &accessv1.WhatIfRequest{Organisation: hospital, Change: c}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := w.queries.WhatIf(context.Background(), &accessv1.WhatIfRequest{Organisation: hospital})
	wantErr(t, err, ErrField)
	_, err = w.queries.WhatIf(context.Background(), &accessv1.WhatIfRequest{Organisation: hospital, Change: &accessv1.WhatIfChange{}, Limit: 501})
	wantErr(t, err, ErrField)
}

// A page of 500 dear decisions takes seconds: nobody pays for it after its caller left.
func TestWhatIfEndsWithItsCall(t *testing.T) {
	w := newWorld(t).furnish()
	w.ask(read(doctor, "open"))
	call, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := w.queries.WhatIf(call, &accessv1.WhatIfRequest{Organisation: hospital, Change: &accessv1.WhatIfChange{}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the call was cancelled: %v", err)
	}
}
