package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// A request of a small world, some of which are refused.
var someRequest = rapid.Custom(func(t *rapid.T) *accessv1.Request {
	asUID := func(text string) *accessv1.EntityUid { return fromCedar(parseUID(text)) }
	return &accessv1.Request{
		Principal:    rapid.SampledFrom([]string{doctor, doctor, nurse, robot, hospital, "did:chancery:mercy:nobody", "nobody"}).Draw(t, "principal"),
		Organisation: rapid.SampledFrom([]string{hospital, hospital, hospital, clinic, doctor}).Draw(t, "organisation"),
		Action:       asUID(someAction.Draw(t, "action")),
		// Some are the principal, or belong to it, and so to all that it is a member of.
		Resource: asUID(rapid.OneOf(someUID, someUID, rapid.SampledFrom([]string{`R::"of the doctor"`, fmt.Sprintf(`Chancery::Person::%q`, doctor)})).Draw(t, "resource")),
		Purpose:  rapid.SampledFrom([]string{care, care, research, "urn:other"}).Draw(t, "purpose"),
		Context:  rapid.SampledFrom([]string{"", "", `{"n":4}`, `{"who":{"__entity":{"type":"U","id":"1"}}}`, `{"risk":1}`}).Draw(t, "context"),
	}
})

// What a sitting shares changes nothing: each verdict is the one, with all that a record
// would have of it, that a module comes to which reads everything anew.
func TestASittingChangesNoVerdict(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		check := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		deps := Deps{
			Identity: fakeIdentity{
				hospital: {kind: "organisation"}, clinic: {kind: "organisation"}, robot: {kind: "device"},
				doctor: {kind: "person", roles: []string{"doctor", "head"}, groups: []string{"mercy/ward-7"}},
				nurse:  {kind: "person", suspended: rapid.Bool().Draw(t, "suspended")},
			},
			Consents: &fakeConsents{given: map[string]uint64{subject("given"): 2}},
			Risks:    fakeRisks{doctor: 9001},
		}
		g, err := openRegistry(New(deps))
		check(err)
		defer func() { _ = g.tree.Close() }()
		s := &g.module.store
		rewrite := func(version uint64) {
			documents := document(strings.Join(rapid.SliceOfN(somePolicy, 1, 12).Draw(t, "policies"), "\n"))
			rails := document(strings.ReplaceAll(strings.Join(rapid.SliceOfN(somePolicy, 1, 2).Draw(t, "rails"), "\n"), "permit", "forbid"))
			list, err := parseEntities(someEntities.Draw(t, "entities"), maxEntitiesPerMessage, nil)
			check(err)
			for _, e := range []string{
				fmt.Sprintf(`{"uid":{"type":"Chancery::Person","id":%q},"attrs":{"n":1,"owner":{"__entity":{"type":"U","id":"0"}}},"parents":[{"type":"G","id":"0"},{"type":"U","id":"1"}]}`, doctor),
				fmt.Sprintf(`{"uid":{"type":"R","id":"of the doctor"},"attrs":{"n":2},"parents":[{"type":"Chancery::Person","id":%q}]}`, doctor),
				`{"uid":{"type":"Chancery::Role","id":"mercy/head"},"attrs":{},"parents":[{"type":"G","id":"2"}]}`,
				fmt.Sprintf(`{"uid":{"type":"R","id":"0"},"attrs":{"subject":%q,"owner":{"__entity":{"type":"G","id":"2"}}},"parents":[{"type":"R","id":"1"}]}`, subject(rapid.SampledFrom([]string{"given", "refused"}).Draw(t, "subject"))),
			} {
				parsed, err := parseEntity(e, nil)
				check(err)
				list = append(list, parsed)
			}
			check(g.write(func(w state.Writer) {
				o := &accessv1.Organisation{Organisation: hospital, Version: version, Policies: version, Settings: version}
				policies := hypothetical(hospital, documents)
				policies.Version = version
				s.policies.Put(w, state.Join(hospital, version), policies)
				rule := settings()
				rule.UnregisteredResources = rapid.Bool().Draw(t, "unregistered")
				s.settings.Put(w, state.Join(hospital, version), &accessv1.SettingsVersion{Organisation: hospital, Version: version, Settings: rule})
				if rapid.IntRange(0, 3).Draw(t, "schema") == 0 {
					text := &accessv1.SchemaText{Format: accessv1.SchemaFormat_SCHEMA_FORMAT_CEDAR, Text: `
						entity G; entity U in [G, U]; entity R in [R] { n?: Long, owner?: G, subject?: String };
						namespace Chancery { entity Person in [G, U, Role, Group, Organisation] { n?: Long, owner?: U }; entity Role in [G]; entity Group, Organisation; }
						action "0"; action "1" in ["0"] appliesTo { principal: [Chancery::Person], resource: [R], context: { risk: Long, n?: Long } };`}
					_, err := g.module.caches.parseSchema(text)
					check(err)
					o.Schema = version
					s.schemas.Put(w, state.Join(hospital, version), &accessv1.Schema{Organisation: hospital, Version: version, Schema: text, Hash: schemaHash(text)})
				}
				if rapid.Bool().Draw(t, "guarded") {
					guard := hypothetical(chaintest.Consortium, rails)
					guard.Version = version
					s.guardRails.Put(w, version, guard)
					s.organisations.Put(w, chaintest.Consortium, &accessv1.Organisation{Organisation: chaintest.Consortium, Version: version, GuardRails: version})
				}
				if rapid.Bool().Draw(t, "glass") {
					s.glasses.Put(w, []byte("glass"), &accessv1.Glass{Id: []byte("glass"), Person: doctor, ExpiresAt: rapid.Int64Range(0, 1).Draw(t, "until"), Scope: &accessv1.Scope{
						Organisation: hospital, Purposes: []string{care}, Actions: []*accessv1.EntityUid{uid("Action", "1")},
					}})
					s.openGlasses.Put(w, state.Join(hospital, doctor), "glass")
				}
				s.organisations.Put(w, hospital, o)
				for _, e := range list {
					at := e.cedar.UID
					s.entityHeads.Put(w, state.Join3(hospital, string(at.Type), string(at.ID)), version)
					s.entities.Put(w, state.Join3(hospital, string(at.Type), state.Join(string(at.ID), version)), &accessv1.Entity{Organisation: hospital, Uid: fromCedar(at), Version: version, Json: e.json})
				}
			}))
		}
		for version := uint64(1); version <= 2; version++ {
			rewrite(version)
			var requests []*accessv1.Request
			for range 6 {
				requests = append(requests, someRequest.Draw(t, "request"))
			}
			r, snapshot, err := g.app.View(0)
			check(err)
			many, err := (&queries{module: g.module, snapshots: g}).Evaluations(context.Background(), &accessv1.EvaluationsRequest{Requests: requests})
			check(err)
			for i, q := range requests {
				// Without a sitting, and by a module that remembers nothing.
				want, wantErr := verdict(New(deps), g.app.ViewOf(snapshot, snapshot.Version()), q)
				got, err := verdict(g.module, r, q)
				if fmt.Sprint(err) != fmt.Sprint(wantErr) || !got.EqualVT(want) {
					t.Fatalf("%v: %v, %v; reading anew says %v, %v", q, got, err, want, wantErr)
				}
				one := many.Evaluations[i]
				if wantErr != nil {
					if one.Code == 0 || one.Message != wantErr.Error() || one.Outcome != 0 {
						t.Fatalf("%v: among many %v, alone %v", q, one, wantErr)
					}
				} else if one.Code != 0 || one.Outcome != want.Outcome || one.Reason != want.Reason {
					t.Fatalf("%v: among many %v, alone %v", q, one, want)
				}
			}
		}
	})
}

// verdict is what a record would have of a decision at a state that queries read.
func verdict(m *Module, r chain.ReadCtx, q *accessv1.Request) (*accessv1.Verdict, error) {
	if err := checkRequest(q); err != nil {
		return nil, err
	}
	in, err := m.seated(r, q)
	if err != nil {
		return nil, err
	}
	e, err := m.caches.evaluate(in)
	if err != nil {
		return nil, err
	}
	return e.verdict, nil
}

func TestEvaluationsAreBoundedAndCompleted(t *testing.T) {
	w := newWorld(t).furnish()
	ask := func(q *accessv1.EvaluationsRequest) (*accessv1.EvaluationsResponse, error) {
		return w.queries.Evaluations(context.Background(), q)
	}
	for name, q := range map[string]*accessv1.EvaluationsRequest{
		"none":     {},
		"too many": {Requests: make([]*accessv1.Request, maxEvaluations+1)},
	} {
		if _, err := ask(q); !errors.Is(err, ErrField) {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := read(doctor, "open")
	long.Context = `{"a":"` + strings.Repeat("a", 4000) + `"}`
	var large []*accessv1.Request
	for range maxEvaluations {
		large = append(large, long)
	}
	if _, err := ask(&accessv1.EvaluationsRequest{Requests: large}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	out, err := ask(&accessv1.EvaluationsRequest{
		Defaults: read(doctor, "open"),
		Requests: []*accessv1.Request{{}, {Principal: nurse}, {Action: uid("Action", "burn")}, {Purpose: "nothing"}, nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range out.Evaluations {
		got = append(got, fmt.Sprintf("%v %s %s/%d", e.Outcome, e.Reason, e.Codespace, e.Code))
	}
	want := []string{
		"OUTCOME_ALLOW policy/permit /0", "OUTCOME_DENY policy/none /0", "OUTCOME_DENY policy/none /0",
		"OUTCOME_UNSPECIFIED  access/2", "OUTCOME_UNSPECIFIED  access/2",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || out.Height != w.View().Height() || out.Time != w.View().Time() {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.queries.Evaluations(ended, &accessv1.EvaluationsRequest{Requests: []*accessv1.Request{read(doctor, "open")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("of an ended call: %v", err)
	}
}

// States with the same entities share what was found of them, and no others do.
func TestADrawerIsOfStatesWithTheSameEntities(t *testing.T) {
	w := newWorld(t).furnish()
	put := func(level int) int64 {
		w.entities(fmt.Sprintf(`[{"uid":{"type":"Record","id":"drawn"},"attrs":{"level":%d},"parents":[]}]`, level))
		return w.Height()
	}
	look := func(height int64) (*drawer, string) {
		t.Helper()
		r := w.ViewAt(height)
		in, err := w.module.seated(r, read(doctor, "drawn"))
		if err != nil {
			t.Fatal(err)
		}
		e, _, ok := in.source(parseUID(`Record::"drawn"`))
		if !ok {
			return in.sitting.entities, ""
		}
		return in.sitting.entities, e.json
	}
	first := put(1)
	before, one := look(first)
	if again, _ := look(first); again != before {
		t.Error("a state has two drawers")
	}
	w.Block()
	if again, json := look(w.Height()); again != before || json != one {
		t.Errorf("%s: a block that writes no entity has another drawer", json)
	}
	second := put(2)
	after, two := look(second)
	if after == before || two == one {
		t.Errorf("%s: the drawer of before the entity was written anew", two)
	}
	if _, json := look(first); json != one {
		t.Errorf("of the old state: %s, want %s", json, one)
	}
	if again, json := look(second); again != after || json != two {
		t.Errorf("%s: looking at an old state took the new one's drawer away", json)
	}
	w.Do(hospital, &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Record", "drawn")}})
	if _, json := look(w.Height()); json != "" {
		t.Errorf("%s: it was removed", json)
	}
}
