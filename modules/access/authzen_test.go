package access

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
)

type authzenEntity struct {
	Type       string          `json:"type"`
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Properties json.RawMessage `json:"properties"`
}

type authzenRequest struct {
	Subject  authzenEntity `json:"subject"`
	Action   authzenEntity `json:"action"`
	Resource authzenEntity `json:"resource"`
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// asks evaluates policies over entities on the module's path.
func asks(t *testing.T, policies, entities string) func(subject, action, resource types.EntityUID, context string) bool {
	t.Helper()
	set, err := newCaches().parseDocuments(document(policies))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseEntities(entities, maxEntitiesPerMessage, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(subject, action, resource types.EntityUID, context string) bool {
		t.Helper()
		given, err := parseContext(context)
		if err != nil {
			t.Fatal(err)
		}
		a, err := judge(&question{
			request:  types.Request{Principal: subject, Action: action, Resource: resource, Context: given},
			policies: set, guardRails: emptySet, charge: func(uint64) {},
			source: func(uid types.EntityUID) (*entity, uint64, bool) {
				i := slices.IndexFunc(list, func(e *entity) bool { return e.cedar.UID == uid })
				if i < 0 {
					return nil, 0, false
				}
				return list[i], 1, true
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return a.allowed
	}
}

// The AuthZEN search scenario: its facts as Cedar entities and its rules as Cedar
// policies give all 198 expected results.
func TestAuthZENSearch(t *testing.T) {
	dir := shared(t, "vectors/authzen/search")
	var fixture struct {
		Users   map[string]struct{ Role, Department string }
		Records map[string]struct{ Department, Owner string }
	}
	readJSON(t, filepath.Join(dir, "fixture.json"), &fixture)
	var entities []map[string]any
	users, records, actions := []string{}, []string{}, []string{"delete", "edit", "view"}
	for id, u := range fixture.Users {
		users = append(users, id)
		entities = append(entities, map[string]any{"uid": map[string]string{"type": "user", "id": id}, "parents": []string{},
			"attrs": map[string]string{"role": u.Role, "department": u.Department}})
	}
	for id, r := range fixture.Records {
		records = append(records, id)
		entities = append(entities, map[string]any{"uid": map[string]string{"type": "record", "id": id}, "parents": []string{},
			"attrs": map[string]any{"department": r.Department, "owner": map[string]any{"__entity": map[string]string{"type": "user", "id": r.Owner}}}})
	}
	raw, err := json.Marshal(entities)
	if err != nil {
		t.Fatal(err)
	}
	ask := asks(t, `
		permit (principal is user, action, resource is record) when { resource.owner == principal };
		permit (principal is user, action == Action::"view", resource is record) when { principal.role == "manager" || principal.department == resource.department };
		permit (principal is user, action == Action::"edit", resource is record) when { principal.role == "manager" && principal.department == resource.department };
	`, string(raw))
	cases := 0
	for _, kind := range []string{"subject", "resource", "action"} {
		var file struct {
			Evaluation []struct {
				Request  authzenRequest
				Expected struct{ Results []authzenEntity }
			}
		}
		readJSON(t, filepath.Join(dir, kind+".json"), &file)
		for _, e := range file.Evaluation {
			cases++
			var got, want []string
			list := map[string][]string{"subject": users, "resource": records, "action": actions}[kind]
			for _, id := range list {
				q := e.Request
				switch kind {
				case "subject":
					q.Subject.ID = id
				case "resource":
					q.Resource.ID = id
				default:
					q.Action.Name = id
				}
				if ask(types.NewEntityUID("user", types.String(q.Subject.ID)), types.NewEntityUID("Action", types.String(q.Action.Name)), types.NewEntityUID("record", types.String(q.Resource.ID)), "") {
					got = append(got, id)
				}
			}
			for _, r := range e.Expected.Results {
				want = append(want, r.ID+r.Name)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s search %+v: %v, want %v", kind, e.Request, got, want)
			}
		}
	}
	if cases != 198 {
		t.Fatalf("%d cases, want 198", cases)
	}
}

// The AuthZEN certification scenario, as far as it is about single decisions: its
// rules in Cedar, with the properties that a request carries as context.
func TestAuthZENCertification(t *testing.T) {
	var all []json.RawMessage
	readJSON(t, filepath.Join(shared(t, "vectors/authzen"), "certification/cases.json"), &all)
	ask := asks(t, `
		permit (principal == user::"alice", action in [Action::"read", Action::"write"], resource == record::"record-1");
		permit (principal == user::"alice", action == Action::"delete", resource == record::"record-1") when { context.action has soft && context.action.soft };
		permit (principal == user::"bob", action == Action::"read", resource == record::"record-1");
		permit (principal, action == Action::"write", resource) when { context.subject has role && context.subject.role == "admin" };
		forbid (principal, action == Action::"write", resource) when { context.resource has status && context.resource.status == "archived" }
			unless { context.subject has role && context.subject.role == "admin" };
	`, `[]`)
	ran := 0
	for _, raw := range all {
		var head struct {
			Endpoint, Match string
			Status          int
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		if head.Endpoint != "/access/v1/evaluation" || head.Match != "exact-decisions" || head.Status != 200 {
			continue
		}
		var c struct {
			ID       string
			Request  authzenRequest
			Expected struct{ Decision bool }
		}
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		ran++
		context := `{"subject":` + properties(c.Request.Subject) + `,"action":` + properties(c.Request.Action) + `,"resource":` + properties(c.Request.Resource) + `}`
		got := ask(types.NewEntityUID("user", types.String(c.Request.Subject.ID)), types.NewEntityUID("Action", types.String(c.Request.Action.Name)), types.NewEntityUID("record", types.String(c.Request.Resource.ID)), context)
		if got != c.Expected.Decision {
			t.Errorf("%s: %v, want %v", c.ID, got, c.Expected.Decision)
		}
	}
	if ran < 8 {
		t.Fatalf("only %d cases ran", ran)
	}
}

func properties(e authzenEntity) string {
	if len(e.Properties) == 0 {
		return "{}"
	}
	return string(e.Properties)
}

// The people of the AuthZEN todo scenario: roles, and both ids that the cases use.
const authzenPeople = `[
	{"uid":{"type":"person","id":"rick"},"attrs":{"mail":"rick@the-citadel.com","roles":["admin","evil_genius"]},"parents":[]},
	{"uid":{"type":"person","id":"morty"},"attrs":{"mail":"morty@the-citadel.com","roles":["editor"]},"parents":[]},
	{"uid":{"type":"person","id":"summer"},"attrs":{"mail":"summer@the-smiths.com","roles":["editor"]},"parents":[]},
	{"uid":{"type":"person","id":"beth"},"attrs":{"mail":"beth@the-smiths.com","roles":["viewer"]},"parents":[]},
	{"uid":{"type":"person","id":"jerry"},"attrs":{"mail":"jerry@the-smiths.com","roles":["viewer"]},"parents":[]}
]`

// authzenPerson finds a person by either id: a mail address, or base64 of a text
// that holds the person's number as its fifth character.
func authzenPerson(t *testing.T, id string) types.EntityUID {
	t.Helper()
	names := []string{"rick", "morty", "summer", "beth", "jerry"}
	for i, name := range names {
		raw, err := base64.StdEncoding.DecodeString(id)
		if err == nil && len(raw) > 4 && raw[4] == byte('0'+i) || strings.HasPrefix(id, name+"@") {
			return types.NewEntityUID("person", types.String(name))
		}
	}
	t.Fatalf("nobody has the id %s", id)
	return types.EntityUID{}
}

// The AuthZEN todo and gateway scenarios: all their decisions by Cedar policies.
func TestAuthZENTodo(t *testing.T) {
	dir := shared(t, "vectors/authzen")
	ask := asks(t, `
		permit (principal, action in [Action::"can_read_user", Action::"can_read_todos"], resource);
		permit (principal, action == Action::"can_create_todo", resource) when { principal.roles.containsAny(["admin", "editor"]) };
		permit (principal, action == Action::"can_update_todo", resource)
			when { principal.roles.contains("evil_genius") || principal.roles.contains("editor") && context.ownerID == principal.mail };
		permit (principal, action == Action::"can_delete_todo", resource)
			when { principal.roles.contains("admin") || principal.roles.contains("editor") && context.ownerID == principal.mail };
		permit (principal, action == Action::"GET", resource is route);
		permit (principal, action == Action::"POST", resource == route::"/todos") when { principal.roles.containsAny(["admin", "editor"]) };
		permit (principal, action == Action::"PUT", resource == route::"/todos/{todoId}") when { principal.roles.containsAny(["evil_genius", "editor"]) };
		permit (principal, action == Action::"DELETE", resource == route::"/todos/{todoId}") when { principal.roles.containsAny(["admin", "editor"]) };
	`, authzenPeople)
	type resource struct {
		Type, ID, OwnerID string
		Properties        struct{ OwnerID string }
	}
	decide := func(subject, action string, r resource) bool {
		return ask(authzenPerson(t, subject), types.NewEntityUID("Action", types.String(action)), types.NewEntityUID(types.EntityType(r.Type), types.String(r.ID)),
			`{"ownerID":"`+r.OwnerID+r.Properties.OwnerID+`"}`)
	}
	for name, want := range map[string]int{
		"todo/decisions-authorization-api-1_0-00.json": 40, "todo/decisions-authorization-api-1_0-01.json": 40,
		"todo/decisions-authorization-api-1_0-02.json": 46, "gateway/decisions.json": 25,
	} {
		var file struct {
			Evaluation []struct {
				Request struct {
					Subject, Action authzenEntity
					Resource        resource
				}
				Expected bool
			}
			Evaluations []struct {
				Request struct {
					Subject, Action authzenEntity
					Evaluations     []struct {
						Action   *authzenEntity
						Resource resource
					}
				}
				Expected []struct{ Decision bool }
			}
		}
		readJSON(t, filepath.Join(dir, name), &file)
		ran := 0
		for i, e := range file.Evaluation {
			ran++
			if got := decide(e.Request.Subject.ID, e.Request.Action.Name, e.Request.Resource); got != e.Expected {
				t.Errorf("%s: %d: %+v is %v", name, i, e.Request, got)
			}
		}
		for i, e := range file.Evaluations {
			for j, one := range e.Request.Evaluations {
				ran++
				action := e.Request.Action.Name
				if one.Action != nil {
					action = one.Action.Name
				}
				if got := decide(e.Request.Subject.ID, action, one.Resource); got != e.Expected[j].Decision {
					t.Errorf("%s: batch %d: %d: %+v is %v", name, i, j, one, got)
				}
			}
		}
		if ran != want {
			t.Errorf("%s: %d cases ran, want %d", name, ran, want)
		}
	}
}
