package access

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"pgregory.net/rapid"
)

// everything is what Cedar itself says of whole sets over all entities.
func everything(t interface{ Fatal(...any) }, q *question, entities types.EntityMap) (reasons, errors []string, allowed bool) {
	all := cedar.PolicyMap{}
	for _, p := range q.policies.policies {
		all[cedar.PolicyID(p.id)] = p.compiled
	}
	if len(all) != len(q.policies.policies) {
		t.Fatal("two policies have one id")
	}
	decision, d := cedar.Authorize(all, entities, q.request)
	for _, e := range d.Errors {
		errors = append(errors, string(e.PolicyID))
	}
	for _, r := range d.Reasons {
		reasons = append(reasons, string(r.PolicyID))
	}
	slices.Sort(errors)
	slices.Sort(reasons)
	return reasons, errors, decision == types.Allow
}

// sameAsCedar fails unless the module, with its index and its slice, answers a
// question as Cedar does that evaluates every policy over every entity.
func sameAsCedar(t interface {
	Fatal(...any)
	Fatalf(string, ...any)
}, q *question, list []*entity) {
	entities := types.EntityMap{}
	byUID := map[types.EntityUID]*entity{}
	for _, e := range list {
		byUID[e.cedar.UID] = e
		entities[e.cedar.UID] = e.cedar
	}
	q.guardRails = emptySet
	q.charge = func(uint64) {}
	q.source = func(uid types.EntityUID) (*entity, uint64, bool) {
		e, ok := byUID[uid]
		return e, 1, ok
	}
	if len(q.memberships) > 0 {
		e, ok := byUID[q.request.Principal]
		if !ok {
			e = &entity{cedar: types.Entity{UID: q.request.Principal}}
		}
		entities[q.request.Principal] = q.withMemberships(e).cedar
	}
	a, err := judge(q)
	if err != nil {
		t.Fatal(err)
	}
	reasons, errors, allowed := everything(t, q, entities)
	if a.allowed != allowed || !slices.Equal(a.policies, reasons) || !slices.Equal(a.errors, errors) {
		t.Fatalf("allowed %v by %v with errors %v; Cedar says %v by %v with errors %v", a.allowed, a.policies, a.errors, allowed, reasons, errors)
	}
	// Exactly the policies whose scopes hold are selected.
	request := [parts]lineage{{uid: q.request.Principal}, {uid: q.request.Action}, {uid: q.request.Resource}}
	g := &gathering{question: q, before: new(gathered), to: new(gathered)}
	for i := range request {
		if request[i].ancestors, err = g.ancestors(request[i].uid); err != nil {
			t.Fatal(err)
		}
	}
	var scoped []int32
	for i, p := range q.policies.policies {
		s := p.scopes()
		if request[0].inScope(s[0]) && request[1].inScope(s[1]) && request[2].inScope(s[2]) {
			scoped = append(scoped, int32(i))
		}
	}
	if got := q.policies.choose(&request, nil).chosen; !slices.Equal(got, scoped) {
		t.Fatalf("policies %v are selected; the scopes of %v hold", got, scoped)
	}
}

// Entities, scopes and conditions of a small world, so that they meet often.
var (
	someUID = rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf(`%s::"%d"`, rapid.SampledFrom([]string{"U", "G", "R"}).Draw(t, "type"), rapid.IntRange(0, 4).Draw(t, "id"))
	})
	someAction = rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf(`Action::"%d"`, rapid.IntRange(0, 3).Draw(t, "id")) })
	someScope  = func(of string, uid *rapid.Generator[string], sets bool) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kinds := []string{"", "==", "in", "is", "is in"}
			if sets {
				kinds = []string{"", "==", "in", "in []"}
			}
			switch rapid.SampledFrom(kinds).Draw(t, "kind") {
			case "==":
				return of + " == " + uid.Draw(t, "uid")
			case "in":
				return of + " in " + uid.Draw(t, "uid")
			case "is":
				return of + " is " + rapid.SampledFrom([]string{"U", "G", "R"}).Draw(t, "type")
			case "is in":
				return of + " is " + rapid.SampledFrom([]string{"U", "G", "R"}).Draw(t, "type") + " in " + uid.Draw(t, "uid")
			case "in []":
				return of + " in [" + strings.Join(rapid.SliceOfN(uid, 0, 3).Draw(t, "uids"), ", ") + "]"
			}
			return of
		})
	}
	someCondition = rapid.Custom(func(t *rapid.T) string {
		uid := someUID.Draw(t, "uid")
		return rapid.SampledFrom([]string{
			"", "when { true }", "when { false }", "unless { context.n < 3 }",
			"when { principal in " + uid + " }", "when { " + uid + " in " + someUID.Draw(t, "above") + " }",
			"when { resource.owner == principal }", "when { resource.owner.owner in " + uid + " }",
			"when { resource has owner && resource.owner has n && resource.owner.n > 1 }",
			"when { " + uid + ".n == 2 }", "when { " + uid + ".owner.n == 2 }", "when { context.who.n > 2 }",
			"when { 9223372036854775807 + context.n > 0 }", "when { resource.nothing }", "when { principal.n }",
			"when { [principal, resource].contains(" + uid + ") }", "unless { action in " + someAction.Draw(t, "action") + " }",
		}).Draw(t, "condition")
	})
	somePolicy = rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("%s (%s, %s, %s) %s;", rapid.SampledFrom([]string{"permit", "forbid"}).Draw(t, "effect"),
			someScope("principal", someUID, false).Draw(t, "principal"), someScope("action", someAction, true).Draw(t, "action"),
			someScope("resource", someUID, false).Draw(t, "resource"), someCondition.Draw(t, "condition"))
	})
	someEntities = rapid.Custom(func(t *rapid.T) string {
		ref := func(uid string) string {
			typ, id, _ := strings.Cut(uid, "::")
			return `{"type":"` + typ + `","id":` + id + `}`
		}
		var list []string
		for _, uid := range append(rapid.SliceOfNDistinct(someUID, 0, 12, rapid.ID).Draw(t, "entities"), rapid.SliceOfNDistinct(someAction, 0, 3, rapid.ID).Draw(t, "actions")...) {
			above := someUID
			if strings.HasPrefix(uid, "Action") {
				above = someAction
			}
			var parents, attrs []string
			for _, p := range rapid.SliceOfNDistinct(above, 0, 3, rapid.ID).Draw(t, "parents") {
				parents = append(parents, ref(p))
			}
			if rapid.Bool().Draw(t, "n") {
				attrs = append(attrs, fmt.Sprintf(`"n":%d`, rapid.IntRange(0, 4).Draw(t, "value")))
			}
			if rapid.Bool().Draw(t, "owner") {
				attrs = append(attrs, `"owner":{"__entity":`+ref(someUID.Draw(t, "who"))+`}`)
			}
			list = append(list, fmt.Sprintf(`{"uid":%s,"attrs":{%s},"parents":[%s]}`, ref(uid), strings.Join(attrs, ","), strings.Join(parents, ",")))
		}
		return "[" + strings.Join(list, ",") + "]"
	})
)

func parseUID(text string) types.EntityUID {
	typ, id, _ := strings.Cut(text, "::")
	return types.NewEntityUID(types.EntityType(typ), types.String(strings.Trim(id, `"`)))
}

// With the index and the slice every question has the decision, the reasons and the
// errors that Cedar finds by evaluating the whole set over all entities.
func TestIndexAnswersAsCedarDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, err := newCaches().parseDocuments(document(strings.Join(rapid.SliceOfN(somePolicy, 1, 25).Draw(t, "policies"), "\n")))
		if err != nil {
			t.Fatal(err)
		}
		list, err := parseEntities(someEntities.Draw(t, "entities"), maxEntitiesPerMessage, nil)
		if err != nil {
			t.Fatal(err)
		}
		var memberships []types.EntityUID
		for _, uid := range rapid.SliceOfN(someUID, 0, 2).Draw(t, "memberships") {
			memberships = append(memberships, parseUID(uid))
		}
		for range 4 {
			sameAsCedar(t, &question{
				request: types.Request{
					Principal: parseUID(someUID.Draw(t, "principal")), Action: parseUID(someAction.Draw(t, "action")), Resource: parseUID(someUID.Draw(t, "resource")),
					Context: types.NewRecord(types.RecordMap{"n": types.Long(rapid.IntRange(0, 4).Draw(t, "n")), "who": parseUID(someUID.Draw(t, "who"))}),
				},
				policies: set, memberships: memberships,
			}, list)
		}
	})
}

// FuzzIndex is the property for policies and entities of any form.
func FuzzIndex(f *testing.F) {
	f.Add(hospitalPolicies, `[{"uid":{"type":"U","id":"u"},"attrs":{},"parents":[{"type":"G","id":"g"}]}]`)
	f.Add(`permit (principal in G::"g", action in [Action::"a", Action::"b"], resource is R in R::"0") when { resource.a.b };`, `[{"uid":{"type":"R","id":"1"},"attrs":{"a":{"__entity":{"type":"U","id":"u"}}},"parents":[{"type":"R","id":"0"}]}]`)
	f.Add(`forbid (principal is U, action == Action::"a", resource); permit (principal, action in [], resource == R::"1") unless { R::"2".c has d };`, `[]`)
	f.Fuzz(func(t *testing.T, policies, entities string) {
		set, err := newCaches().parseDocuments(document(policies))
		if err != nil {
			return
		}
		list, err := parseEntities(entities, maxEntitiesPerMessage, nil)
		if err != nil {
			return
		}
		q := &question{
			request:  types.Request{Principal: types.NewEntityUID("U", "u"), Action: types.NewEntityUID("Action", "a"), Resource: types.NewEntityUID("R", "1")},
			policies: set, guardRails: emptySet, charge: func(uint64) {},
			source: func(uid types.EntityUID) (*entity, uint64, bool) {
				i := slices.IndexFunc(list, func(e *entity) bool { return e.cedar.UID == uid })
				if i < 0 {
					return nil, 0, false
				}
				return list[i], 1, true
			},
		}
		if _, err := judge(q); err != nil {
			own(t, err)
			return
		}
		sameAsCedar(t, q, list)
	})
}

// A decision looks at the policies and entities that it can meet, not at those of
// the whole set: more of the others cost nothing.
func TestOtherPoliciesCostNothing(t *testing.T) {
	ask := func(others int) *answer {
		var text bytes.Buffer
		text.WriteString(`permit (principal, action, resource in R::"ward") when { R::"limit".n > context.n };`)
		for i := range others {
			fmt.Fprintf(&text, "permit (principal in G::\"%d\", action == Action::\"a\", resource) when { R::\"%d\".n == 1 };\n", i, i)
		}
		set, err := newCaches().parseDocuments(document(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		list, err := parseEntities(`[{"uid":{"type":"R","id":"limit"},"attrs":{"n":4},"parents":[]},{"uid":{"type":"R","id":"1"},"attrs":{},"parents":[{"type":"R","id":"ward"}]}]`, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := &question{
			request: types.Request{
				Principal: parseUID(`U::"u"`), Action: parseUID(`Action::"a"`), Resource: parseUID(`R::"1"`),
				Context: types.NewRecord(types.RecordMap{"n": types.Long(3)}),
			},
			policies: set,
		}
		sameAsCedar(t, q, list)
		a, err := judge(q)
		if err != nil || !a.allowed || len(a.slice.asked()) != 5 {
			t.Fatal(a, err)
		}
		return a
	}
	few, many := ask(1), ask(600)
	if few.steps != many.steps {
		t.Fatalf("%d steps beside one other policy, %d beside 600", few.steps, many.steps)
	}
}
