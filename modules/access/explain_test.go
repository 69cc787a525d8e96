package access

import (
	"context"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func TestExplain(t *testing.T) {
	w := newWorld(t).furnish()
	w.guardRails(`@id("rail") forbid (principal, action, resource) when { context.risk > 9999 };`)
	w.policies(hospitalPolicies + `
		@id("broken") permit (principal, action, resource) when { true } unless { resource.nothing == 1 };
		@id("not-now") permit (principal, action, resource) when { context.time < 5 } unless { false };
	`)
	hypothetical, err := w.queries.Explain(context.Background(), &accessv1.ExplainRequest{What: &accessv1.ExplainRequest_Request{Request: read(doctor, "patient")}})
	if err != nil {
		t.Fatal(err)
	}
	d := w.denied(read(doctor, "patient"), "consent/9")
	x := w.reproduce(d)
	if len(hypothetical.Policies) != len(x.Policies) || hypothetical.Verdict.Reason != x.Verdict.Reason {
		t.Fatalf("a hypothetical request is explained otherwise than a recorded one: %v", hypothetical)
	}
	want := map[string]accessv1.PolicyStatus{
		"rail":             accessv1.PolicyStatus_POLICY_STATUS_NOT_SATISFIED,
		"doctors-read":     accessv1.PolicyStatus_POLICY_STATUS_SATISFIED,
		"never-when-risky": accessv1.PolicyStatus_POLICY_STATUS_NOT_SATISFIED,
		"locked":           accessv1.PolicyStatus_POLICY_STATUS_NOT_SATISFIED,
		"broken":           accessv1.PolicyStatus_POLICY_STATUS_ERROR,
		"not-now":          accessv1.PolicyStatus_POLICY_STATUS_NOT_SATISFIED,
	}
	if len(x.Policies) != len(want) {
		t.Fatalf("%d policies are explained, want %d", len(x.Policies), len(want))
	}
	for _, p := range x.Policies {
		if p.Status != want[p.Id] || p.Determining != (p.Id == "doctors-read") || p.GuardRail != (p.Id == "rail") {
			t.Errorf("policy %v", p)
		}
	}
	broken := x.Policies[1]
	if broken.Id != "broken" || len(broken.Conditions) != 2 || broken.Conditions[0].Result != "true" || broken.Conditions[1].Kind != "unless" ||
		broken.Conditions[1].Result != "error" || broken.Error == "" || len(broken.Reads) != 1 || broken.Reads[0] != "resource.nothing" {
		t.Errorf("policy %v", broken)
	}
	q := read(nurse, "patient")
	q.Action = uid("Action", "write")
	for _, p := range w.reproduce(w.denied(q, "policy/none")).Policies {
		if p.Id == "doctors-read" && p.Status != accessv1.PolicyStatus_POLICY_STATUS_NOT_APPLICABLE {
			t.Errorf("policy %v", p)
		}
	}
	var ward, person bool
	for _, e := range x.Entities {
		ward = ward || e.Uid.Type == "Ward" && e.Version > 0
		person = person || e.Uid.Type == typePerson && len(e.Parents) == 3
	}
	if !ward || !person {
		t.Fatalf("entities %v lack the ward or the principal's memberships", x.Entities)
	}
	if raw, err := protojson.Marshal(x); err != nil || len(raw) == 0 {
		t.Fatal(err)
	}
	_, err = w.queries.Explain(context.Background(), &accessv1.ExplainRequest{})
	wantErr(t, err, ErrField)
	_, err = w.queries.Explain(context.Background(), &accessv1.ExplainRequest{What: &accessv1.ExplainRequest_DecisionId{DecisionId: []byte{1}}})
	wantErr(t, err, ErrNotFound)
}

// A recorded decision is repeated from state long after everything has changed.
func TestDecisionsCanBeRepeated(t *testing.T) {
	w := newWorld(t).furnish()
	w.consents.given[subject("p")] = 1
	w.guardRails(`@id("rail") forbid (principal, action, resource) when { context.risk > 9999 };`)
	var all []*accessv1.Decision
	for _, who := range []string{doctor, nurse, outsider} {
		for _, what := range []string{"open", "patient", "unheard-of"} {
			all = append(all, w.ask(read(who, what)))
		}
	}
	w.Do(doctor, emergency())
	all = append(all, w.ask(read(doctor, "patient")))
	w.guardRails("")
	w.policies("")
	w.entities(`[{"uid":{"type":"Record","id":"open"},"attrs":{"locked":true},"parents":[]}]`)
	w.Do(hospital, &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Record", "patient"), uid("Ward", "7")}})
	s := settings()
	s.Purposes = nil
	w.Do(hospital, &accessv1.SetSettings{Organisation: hospital, Settings: s})
	w.Do(hospital, &accessv1.SetSchema{Organisation: hospital, Schema: cedarText(strictSchema)})
	delete(w.consents.given, subject("p"))
	w.identity[doctor].roles = nil
	w.risks[doctor] = 10_000
	for _, d := range all {
		w.reproduce(d)
	}
	w.denied(read(doctor, "open"), "purpose/unlisted")
}
