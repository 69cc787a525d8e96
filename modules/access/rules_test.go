package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// Only the organisation itself and its policy admins write its rules; entities
// also its entity admins.
func TestWhoMayWrite(t *testing.T) {
	w := newWorld(t).furnish()
	entities := `[{"uid":{"type":"Record","id":"x"},"attrs":{},"parents":[]}]`
	for _, m := range []proto.Message{
		&accessv1.SetPolicies{Organisation: hospital, Documents: document(hospitalPolicies)},
		&accessv1.SetSchema{Organisation: hospital, Schema: &accessv1.SchemaText{}},
		&accessv1.SetSettings{Organisation: hospital, Settings: settings()},
	} {
		for _, author := range []string{doctor, clinic, outsider, gateway, chaintest.Consortium} {
			w.Fails(ErrNotPolicyAdmin, author, m)
		}
		w.Do(admin, m)
		w.Do(hospital, m)
	}
	put := &accessv1.PutEntities{Organisation: hospital, Entities: entities}
	remove := &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Record", "x")}}
	w.Fails(ErrNotEntityAdmin, doctor, put)
	w.identity[doctor].roles = []string{"doctor", "entity-admin"}
	w.Do(doctor, put)
	w.Fails(ErrNotEntityAdmin, clinic, remove)
	w.Do(doctor, remove)
	w.Fails(ErrNotFound, doctor, remove)
	w.Fails(ErrNotPolicyAdmin, doctor, &accessv1.SetSettings{Organisation: hospital, Settings: settings()})
	w.identity[admin].suspended = true
	w.Fails(ErrNotPolicyAdmin, admin, &accessv1.SetSettings{Organisation: hospital, Settings: settings()})
	w.Fails(ErrOrganisation, hospital, &accessv1.SetSettings{Organisation: "did:chancery:nowhere", Settings: settings()})
	w.Fails(ErrNotConsortium, hospital, &accessv1.SetGuardRails{})
}

// The principal asks for itself; the resource's enforcement points ask for it.
func TestWhoMayAsk(t *testing.T) {
	w := newWorld(t).furnish()
	for _, author := range []string{doctor, gateway, hospital} {
		w.Do(author, &accessv1.Decide{Request: read(doctor, "open")})
	}
	for _, author := range []string{nurse, outsider, clinic, chaintest.Consortium} {
		w.Fails(ErrNotAsker, author, &accessv1.Decide{Request: read(doctor, "open")})
	}
	q := read(doctor, "open")
	q.Organisation = "did:chancery:nowhere"
	w.Fails(ErrOrganisation, doctor, &accessv1.Decide{Request: q})
}

// A guard rail that forbids is final; guard rails never allow.
func TestGuardRails(t *testing.T) {
	w := newWorld(t).furnish()
	w.Fails(ErrPermit, chaintest.Consortium, &accessv1.SetGuardRails{Documents: document("permit (principal, action, resource);")})
	w.Fails(ErrPermit, chaintest.Consortium, &accessv1.SetGuardRails{Documents: document("forbid (principal, action, resource); permit (principal, action, resource);")})
	w.guardRails(`
		@id("b-rail") forbid (principal, action, resource) unless { context.purpose == "` + care + `" };
		@id("a-rail") forbid (principal in Chancery::Organisation::"` + clinic + `", action, resource) when { !(resource has shared) };
		@id("broken") forbid (principal, action, resource) when { resource.nothing };
	`)
	w.policies(hospitalPolicies + `@id("everyone") permit (principal, action, resource);`)
	d := w.allowed(read(doctor, "open"), "policy/permit")
	if !slices.Equal(d.Verdict.Errors, []string{"guard-rail:broken"}) || !slices.Equal(d.Verdict.Policies, []string{"doctors-read", "everyone"}) {
		t.Fatalf("verdict %v", d.Verdict)
	}
	q := read(outsider, "open")
	if d := w.denied(q, "guard-rail/forbid"); !slices.Equal(d.Verdict.GuardRails, []string{"a-rail"}) {
		t.Fatalf("verdict %v", d.Verdict)
	}
	q.Purpose = research
	if d := w.denied(q, "guard-rail/forbid"); !slices.Equal(d.Verdict.GuardRails, []string{"a-rail", "b-rail"}) || !slices.Equal(d.Verdict.Policies, []string{"everyone"}) {
		t.Fatalf("verdict %v", d.Verdict)
	}
	// No policy of the organisation allows: whatever the guard rails leave open, the
	// answer is no.
	w.policies("")
	w.denied(read(doctor, "open"), "policy/none")
}

// What identity says of a principal is in the decision and cannot be forged by an
// organisation's own entities.
func TestPrincipalsComeFromIdentity(t *testing.T) {
	w := newWorld(t).furnish()
	forged := `[{"uid":{"type":"Chancery::Person","id":"` + nurse + `"},"attrs":{},"parents":[{"type":"Chancery::Role","id":"mercy/doctor"}]}]`
	w.Fails(ErrReservedParent, hospital, &accessv1.PutEntities{Organisation: hospital, Entities: forged})
	w.entities(`[{"uid":{"type":"Chancery::Person","id":"` + nurse + `"},"attrs":{"badge":7},"parents":[{"type":"Team","id":"night"}]}]`)
	w.policies(`
		@id("team") permit (principal is Chancery::Person in Team::"night", action, resource) when { principal.badge == 7 };
		@id("ward") permit (principal in Chancery::Group::"mercy/ward-7", action, resource);
		@id("device") permit (principal is Chancery::Device, action, resource) when { context.principalKind == "device" && context.organisation == "` + hospital + `" };
		@id("house") permit (principal == Chancery::Organisation::"` + clinic + `", action, resource);
	`)
	for principal, policy := range map[string]string{nurse: "team", doctor: "ward", robot: "device", clinic: "house"} {
		d := w.allowed(read(principal, "open"), "policy/permit")
		if !slices.Equal(d.Verdict.Policies, []string{policy}) {
			t.Fatalf("%s is allowed by %v, want %s", principal, d.Verdict.Policies, policy)
		}
	}
	w.denied(read(outsider, "open"), "policy/none")
	d := w.allowed(read(doctor, "open"), "policy/permit")
	if d.Principal.Kind != "person" || d.Principal.Organisation != hospital || !slices.Equal(d.Principal.Groups, []string{"mercy/ward-7"}) {
		t.Fatalf("the record's principal is %v", d.Principal)
	}
	// The record is repeated with what identity said then.
	w.identity[doctor].groups = nil
	w.denied(read(doctor, "open"), "policy/none")
	w.reproduce(d)
}

// The context holds what the module knows; a request cannot set it.
func TestContextIsTheModules(t *testing.T) {
	w := newWorld(t).furnish()
	w.risks[doctor] = 41
	w.consents.given[subject("p")] = 5
	w.policies(`@id("all") permit (principal, action, resource) when {
		context.purpose == "` + care + `" && context.risk == 41 && context.time > 0 && context.height > 0 &&
		context.now > datetime("2026-01-01") && context.now.toTime() >= duration("0s") && !context.breakGlass &&
		context.consent.status == "given" && context.consent.version == 5 && context.device == "lab-3" };`)
	q := read(doctor, "patient")
	q.Context = `{"device":"lab-3"}`
	w.allowed(q, "policy/permit")
	q.Context = `{"device":"lab-3","risk":0}`
	w.Fails(ErrReservedKey, doctor, &accessv1.Decide{Request: q})
	_, err := w.queries.Evaluate(context.Background(), &accessv1.EvaluateRequest{Request: q})
	wantErr(t, err, ErrReservedKey)
}

const strictSchema = `
namespace Chancery {
	entity Organisation, Role, Group;
	entity Person, Device, Service in [Organisation, Role, Group];
}
entity Ward;
entity Record in [Ward] { subject?: String, categories?: Set<String>, level?: Long, locked?: Bool };
action read, write in [use] appliesTo {
	principal: [Chancery::Person], resource: [Record],
	context: { purpose: String, risk: Long, note?: String }
};
action use;
`

// With a schema, policies must validate strictly, entities must conform, and
// requests that do not are denied.
func TestSchema(t *testing.T) {
	w := newWorld(t).furnish()
	r := w.Do(admin, &accessv1.SetSchema{Organisation: hospital, Schema: cedarText(strictSchema)})
	if e := chaintest.Events[accessv1.SchemaSet](t, r); len(e) != 1 || e[0].Author != admin {
		t.Fatalf("events: %v", e)
	}
	w.allowed(read(doctor, "open"), "policy/permit")

	bad := &accessv1.SetPolicies{Organisation: hospital, Documents: document(`
		@id("one") permit (principal, action, resource) when { resource.level > 3 };
		@id("two") permit (principal, action == Action::"fly", resource);
		@id("three") permit (principal, action, resource) when { context.purpose == 3 };
	`)}
	w.Fails(ErrPolicies, admin, bad)
	s, err := w.module.caches.parseSchema(cedarText(strictSchema))
	if err != nil {
		t.Fatal(err)
	}
	set, err := w.module.caches.parseDocuments(bad.Documents)
	if err != nil {
		t.Fatal(err)
	}
	err = s.validate(set)
	for _, id := range []string{"one", "two", "three"} {
		if !strings.Contains(err.Error(), "for policy `"+id+"`") {
			t.Fatalf("%v does not name policy %s", err, id)
		}
	}

	w.Fails(ErrEntity, admin, &accessv1.PutEntities{Organisation: hospital, Entities: `[{"uid":{"type":"Record","id":"x"},"attrs":{"level":"high"},"parents":[]}]`})
	w.Fails(ErrEntity, admin, &accessv1.PutEntities{Organisation: hospital, Entities: `[{"uid":{"type":"Thing","id":"x"},"attrs":{},"parents":[]}]`})
	w.entities(`[{"uid":{"type":"Record","id":"leveled"},"attrs":{"level":4},"parents":[]}]`)
	w.policies(`@id("level") permit (principal, action in Action::"use", resource) when { context.risk < 5 && resource has level && resource.level > 3 };`)
	w.allowed(read(doctor, "leveled"), "policy/permit")

	w.denied(read(robot, "leveled"), "request/schema")
	q := read(doctor, "leveled")
	q.Action = uid("Action", "fly")
	w.denied(q, "request/schema")
	q = read(doctor, "leveled")
	q.Context = `{"note":3}`
	w.denied(q, "request/schema")
	q.Context = `{"note":"x"}`
	d := w.allowed(q, "policy/permit")
	if x := w.reproduce(d); !slices.Equal(x.Context, []string{"note", "purpose", "risk"}) {
		t.Fatalf("the context is %v, want what the schema declares", x.Context)
	}

	// A schema that the policies do not fit is refused, unless both change at once.
	other := strings.NewReplacer("level", "grade", "risk: Long,", "").Replace(strictSchema)
	w.Fails(ErrPolicies, admin, &accessv1.SetSchema{Organisation: hospital, Schema: cedarText(other)})
	w.Do(admin, &accessv1.SetPolicies{
		Organisation: hospital, Schema: cedarText(other),
		Documents: document(`permit (principal, action, resource) when { resource has grade };`),
	})
	// The stored entity no longer conforms: nothing is decided on it.
	if d := w.denied(read(doctor, "leveled"), "entity/schema"); !strings.Contains(w.reproduce(d).SchemaError, "leveled") {
		t.Fatal("Explain does not say which entity")
	}
	w.reproduce(d)
	w.Do(admin, &accessv1.SetSchema{Organisation: hospital, Schema: &accessv1.SchemaText{}})
	w.denied(read(doctor, "leveled"), "policy/none")
}

// Two editors cannot overwrite each other.
func TestReplaces(t *testing.T) {
	w := newWorld(t).furnish()
	p, err := w.queries.Policies(context.Background(), &accessv1.VersionRequest{Organisation: hospital})
	if err != nil {
		t.Fatal(err)
	}
	w.Do(admin, &accessv1.SetPolicies{Organisation: hospital, Documents: p.Documents, Replaces: &p.Version})
	w.Fails(ErrStale, admin, &accessv1.SetPolicies{Organisation: hospital, Documents: p.Documents, Replaces: &p.Version})
}

// Every version stays readable.
func TestHistory(t *testing.T) {
	w := newWorld(t).furnish()
	w.policies(hospitalPolicies + "permit (principal, action, resource);")
	w.entities(`[{"uid":{"type":"Record","id":"open"},"attrs":{"locked":true},"parents":[]}]`)
	w.Do(hospital, &accessv1.RemoveEntities{Organisation: hospital, Entities: []*accessv1.EntityUid{uid("Record", "open")}})
	w.guardRails("forbid (principal, action, resource);")
	w.guardRails("")
	ctx := context.Background()
	for kind, want := range map[accessv1.HistoryKind]int{
		accessv1.HistoryKind_HISTORY_KIND_POLICIES: 2, accessv1.HistoryKind_HISTORY_KIND_SETTINGS: 1,
		accessv1.HistoryKind_HISTORY_KIND_SCHEMA: 0, accessv1.HistoryKind_HISTORY_KIND_GUARD_RAILS: 2,
	} {
		h, err := w.queries.History(ctx, &accessv1.HistoryRequest{Organisation: hospital, Kind: kind})
		if err != nil || len(h.Versions) != want {
			t.Fatalf("%v: %d versions, want %d (%v)", kind, len(h.GetVersions()), want, err)
		}
		for _, v := range h.Versions {
			if v.Change.Height == 0 || len(v.Change.TxId) != 32 {
				t.Fatalf("%v: version %d does not say who changed it when", kind, v.Version)
			}
		}
	}
	h, err := w.queries.EntityHistory(ctx, &accessv1.EntityHistoryRequest{Organisation: hospital, Uid: uid("Record", "open")})
	if err != nil || len(h.Entities) != 3 || !h.Entities[0].Removed {
		t.Fatalf("history of an entity: %v (%v)", h, err)
	}
	first, err := w.queries.Policies(ctx, &accessv1.VersionRequest{Organisation: hospital, Version: 2})
	if err != nil || first.Documents[0].Text != hospitalPolicies {
		t.Fatalf("the first policy set: %v (%v)", first, err)
	}
	_, err = w.queries.Entity(ctx, &accessv1.EntityRequest{Organisation: hospital, Uid: uid("Record", "open")})
	wantErr(t, err, ErrNotFound)
	e, err := w.queries.Entity(ctx, &accessv1.EntityRequest{Organisation: hospital, Uid: uid("Record", "open"), Version: 3})
	if err != nil || e.Removed {
		t.Fatalf("the first version of an entity: %v (%v)", e, err)
	}
	page, err := w.queries.Entities(ctx, &accessv1.EntitiesRequest{Organisation: hospital, Limit: 1})
	if err != nil || len(page.Entities) != 1 || len(page.NextPageToken) == 0 {
		t.Fatalf("page of entities: %v (%v)", page, err)
	}
	page, err = w.queries.Entities(ctx, &accessv1.EntitiesRequest{Organisation: hospital, Limit: 1, PageToken: page.NextPageToken})
	if err != nil || len(page.Entities) != 1 || len(page.NextPageToken) != 0 || page.Entities[0].Uid.Type != "Ward" {
		t.Fatalf("last page of entities: %v (%v)", page, err)
	}
	page, err = w.queries.Entities(ctx, &accessv1.EntitiesRequest{Organisation: hospital, Type: "Record"})
	if err != nil || len(page.Entities) != 1 {
		t.Fatalf("entities of a type: %v (%v)", page, err)
	}
	o, err := w.queries.Organisation(ctx, &accessv1.OrganisationRequest{Organisation: hospital})
	if err != nil || o.Entities != 2 {
		t.Fatalf("%v (%v)", o, err)
	}
}

// Consent is asked only where the resource needs it, and a resource that does not
// say whose consent it needs is not stored.
func TestConsentNeeded(t *testing.T) {
	w := newWorld(t).furnish()
	for _, attrs := range []string{
		`"subject":"short"`, `"subject":7`, `"consentRequired":true`, `"consentRequired":"no"`,
		`"subject":"` + subject("p") + `","categories":[]`, `"categories":"x"`, `"categories":["no iri"]`, `"purposes":[]`,
	} {
		w.Fails(ErrField, hospital, &accessv1.PutEntities{Organisation: hospital, Entities: `[{"uid":{"type":"Record","id":"x"},"attrs":{` + attrs + `},"parents":[]}]`})
	}
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf("%q", fmt.Sprintf("x:%d", i)))
	}
	w.Fails(ErrTooLarge, hospital, &accessv1.PutEntities{Organisation: hospital, Entities: `[{"uid":{"type":"Record","id":"x"},"attrs":{"categories":[` + strings.Join(many, ",") + `]},"parents":[]}]`})
	w.entities(`[{"uid":{"type":"Record","id":"x"},"attrs":{"subject":"` + subject("q") + `","consentRequired":false},"parents":[]}]`)
	asked := len(w.consents.asked)
	if d := w.allowed(read(doctor, "x"), "policy/permit"); d.Verdict.Consent.Status != "not-required" {
		t.Fatalf("consent is %v", d.Verdict.Consent)
	}
	if len(w.consents.asked) != asked {
		t.Fatal("consent was asked for a resource that needs none")
	}
}

// A resource that nobody registered is denied, unless the organisation says that
// policy alone decides.
func TestUnregisteredResources(t *testing.T) {
	w := newWorld(t).furnish()
	w.denied(read(doctor, "unheard-of"), "resource/unknown")
	s := settings()
	s.UnregisteredResources = true
	w.Do(hospital, &accessv1.SetSettings{Organisation: hospital, Settings: s})
	w.allowed(read(doctor, "unheard-of"), "policy/permit")
}

// Reasons and errors are sorted whatever order Cedar finds them in.
func TestReasonsHaveOneOrder(t *testing.T) {
	var text strings.Builder
	for _, id := range []string{"z", "m", "a", "q", "b", "y", "k", "c"} {
		text.WriteString(`@id("` + id + `") permit (principal, action, resource);` + "\n")
		text.WriteString(`@id("e` + id + `") permit (principal, action, resource) when { context.nothing };` + "\n")
	}
	for range 50 {
		c := newCaches()
		set, err := c.parseDocuments(document(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		a, err := judge(&question{
			request:  types.Request{Principal: types.NewEntityUID("U", "u"), Action: types.NewEntityUID("Action", "a"), Resource: types.NewEntityUID("R", "1")},
			policies: set, guardRails: set, source: func(types.EntityUID) (*entity, uint64, bool) { return nil, 0, false },
			charge: func(uint64) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.policies, []string{"a", "b", "c", "k", "m", "q", "y", "z"}) || !slices.IsSorted(a.errors) || len(a.errors) != 16 {
			t.Fatalf("policies %v, errors %v", a.policies, a.errors)
		}
	}
}

// Work is charged: a decision over many policies costs more units than over few.
func TestDecisionsAreMetered(t *testing.T) {
	w := newWorld(t).furnish()
	few := w.Do(doctor, &accessv1.Decide{Request: read(doctor, "open")}).Units
	w.policies(hospitalPolicies + strings.Repeat("permit (principal, action, resource) when { context.a == 1 || context.b == 2 };\n", 500))
	many := w.Do(doctor, &accessv1.Decide{Request: read(doctor, "open")}).Units
	if many < few+100*3000 {
		t.Fatalf("%d units over few policies, %d over many", few, many)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*accessv1.Request){
		"principal":    func(q *accessv1.Request) { q.Principal = "doctor" },
		"organisation": func(q *accessv1.Request) { q.Organisation = "" },
		"capital":      func(q *accessv1.Request) { q.Organisation = "did:chancery:Mercy" },
		"action":       func(q *accessv1.Request) { q.Action = nil },
		"resource":     func(q *accessv1.Request) { q.Resource.Type = "" },
		"purpose":      func(q *accessv1.Request) { q.Purpose = "" },
		"no IRI":       func(q *accessv1.Request) { q.Purpose = "medical care" },
		"long IRI":     func(q *accessv1.Request) { q.Purpose = "x:" + strings.Repeat("a", 300) },
		"grant":        func(q *accessv1.Request) { q.GrantMs = -1 },
		"long grant":   func(q *accessv1.Request) { q.GrantMs = maxGrantMs + 1 },
	} {
		q := read(doctor, "open")
		spoil(q)
		if err := checkRequest(q); err == nil || !errs.As(err).Is(ErrField) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantErr(t, checkRequest(nil), ErrField)
}

func TestSettingsAreChecked(t *testing.T) {
	for name, spoil := range map[string]func(*accessv1.Settings){
		"purpose":        func(s *accessv1.Settings) { s.Purposes[0].Iri = "x" },
		"no basis":       func(s *accessv1.Settings) { s.Purposes[0].LegalBasis = "" },
		"twice":          func(s *accessv1.Settings) { s.Purposes[0] = s.Purposes[1] },
		"empty":          func(s *accessv1.Settings) { s.Purposes[0] = nil },
		"no break-glass": func(s *accessv1.Settings) { s.BreakGlass = 0 },
		"no review":      func(s *accessv1.Settings) { s.ReviewMs = 0 },
		"long review":    func(s *accessv1.Settings) { s.ReviewMs = maxReviewMs + 1 },
		"no grant":       func(s *accessv1.Settings) { s.GrantMs = 0 },
	} {
		s := settings()
		spoil(s)
		if err := checkSettings(s); err == nil || !errs.As(err).Is(ErrField) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkSettings(settings()); err != nil {
		t.Fatal(err)
	}
}
