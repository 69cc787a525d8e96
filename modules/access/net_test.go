package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const (
	hospital = "did:chancery:mercy"
	clinic   = "did:chancery:clinic"
	doctor   = "did:chancery:mercy:aaaaaaaaaaaaaaaaaaaaaaaaaa"
	nurse    = "did:chancery:mercy:bbbbbbbbbbbbbbbbbbbbbbbbbb"
	reviewer = "did:chancery:mercy:cccccccccccccccccccccccccc"
	admin    = "did:chancery:mercy:dddddddddddddddddddddddddd"
	outsider = "did:chancery:clinic:eeeeeeeeeeeeeeeeeeeeeeeeee"
	gateway  = "did:chancery:mercy:gateway"
	robot    = "did:chancery:mercy:robot"

	care     = "https://w3id.org/dpv#MedicalCare"
	research = "https://w3id.org/dpv#ResearchAndDevelopment"
	basis    = "https://w3id.org/dpv/legal/eu/gdpr#A6-1-e"
	health   = "https://w3id.org/dpv/pd#HealthRecord"
)

type fakeMember struct {
	kind      string
	roles     []string
	groups    []string
	admin     bool
	suspended bool
}

// fakeIdentity knows the members that a test gives it.
type fakeIdentity map[string]*fakeMember

func (f fakeIdentity) Active(_ chain.ReadCtx, did string) bool {
	return f[did] != nil && !f[did].suspended
}

func (f fakeIdentity) Organisation(_ chain.ReadCtx, did string) (string, bool) {
	return chaintest.OrganisationOf(did), f[did] != nil
}

func (f fakeIdentity) Kind(_ chain.ReadCtx, did string) (string, bool) {
	if f[did] == nil {
		return "", false
	}
	return f[did].kind, true
}

func (f fakeIdentity) Roles(_ chain.ReadCtx, did string) []string {
	if f[did] == nil {
		return nil
	}
	return f[did].roles
}

func (f fakeIdentity) Groups(_ chain.ReadCtx, did string) []string {
	if f[did] == nil {
		return nil
	}
	return f[did].groups
}

func (f fakeIdentity) IsAdministrator(_ chain.ReadCtx, organisation, did string) bool {
	return f[did] != nil && f[did].admin && chaintest.OrganisationOf(did) == organisation
}

func (f fakeIdentity) Consortium() string { return chaintest.Consortium }

var errNoConsent = errs.Module("consent").New(9, "no consent covers this")

// fakeConsents gives a consent to whoever is in given, by subject.
type fakeConsents struct {
	given map[string]uint64 // hex of subject -> version
	asked []string
}

func (f *fakeConsents) Permits(_ chain.ReadCtx, subject []byte, controller, recipient, purpose string, categories []string) ([]byte, uint64, error) {
	f.asked = append(f.asked, strings.Join([]string{hex.EncodeToString(subject), controller, recipient, purpose, strings.Join(categories, ",")}, " "))
	version, ok := f.given[hex.EncodeToString(subject)]
	if !ok {
		return nil, 0, errNoConsent
	}
	return consentOf(hex.EncodeToString(subject)), version, nil
}

func consentOf(subject string) []byte {
	sum := sha256.Sum256([]byte("consent/" + subject))
	return sum[:]
}

type fakeRisks map[string]uint32

func (f fakeRisks) Risk(_ chain.ReadCtx, did string) uint32 { return f[did] }

// endings is a module that at the end of a block ends consents, as the module consent
// would through its topic, and does what the sentinel would.
type endings struct {
	access *Module
	at     map[int64][][]byte
	does   map[int64]func(*Module, *chain.Ctx)
}

func (*endings) Name() string                                           { return "endings" }
func (*endings) Schema() *state.Schema                                  { return state.NewSchema("endings", 0x7F) }
func (*endings) Routes() []chain.Route                                  { return nil }
func (*endings) InitGenesis(*chain.Ctx, json.RawMessage) error          { return nil }
func (*endings) RegisterQueries(grpc.ServiceRegistrar, chain.Snapshots) {}
func (*endings) ExportGenesis(state.Reader) (proto.Message, error)      { return &accessv1.Genesis{}, nil }

func (e *endings) EndBlock(ctx *chain.Ctx) {
	for _, id := range e.at[ctx.Height()] {
		if err := e.access.OnConsentEnded(ctx, id); err != nil {
			panic(err)
		}
	}
	if do := e.does[ctx.Height()]; do != nil {
		do(e.access, ctx)
	}
}

// world is a chain with the module and the people of a hospital.
type world struct {
	*chaintest.Net
	t        testing.TB
	identity fakeIdentity
	consents *fakeConsents
	risks    fakeRisks
	endings  map[int64][][]byte
	// sentinel is what the sentinel does at the end of the block of a height.
	sentinel map[int64]func(*Module, *chain.Ctx)
	module   *Module
	queries  *queries
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t,
		identity: fakeIdentity{
			chaintest.Consortium: {kind: "consortium"},
			hospital:             {kind: "organisation"},
			clinic:               {kind: "organisation"},
			doctor:               {kind: "person", roles: []string{"doctor"}, groups: []string{"mercy/ward-7"}},
			nurse:                {kind: "person", roles: []string{"nurse"}},
			reviewer:             {kind: "person", roles: []string{"reviewer"}},
			admin:                {kind: "person", roles: []string{"policy-admin"}, admin: true},
			outsider:             {kind: "person", roles: []string{"doctor"}},
			gateway:              {kind: "service", roles: []string{"pep"}},
			robot:                {kind: "device"},
		},
		consents: &fakeConsents{given: map[string]uint64{}},
		risks:    fakeRisks{},
		endings:  map[int64][][]byte{},

		sentinel: map[int64]func(*Module, *chain.Ctx){},
	}
	deps := Deps{Identity: w.identity, Consents: w.consents, Risks: w.risks}
	w.Net = chaintest.New(t, chaintest.Config{
		Partial: true,
		Modules: func() []chain.Module {
			m := New(deps)
			return []chain.Module{m, &endings{access: m, at: w.endings, does: w.sentinel}}
		},
	})
	w.module = New(deps)
	w.queries = &queries{module: w.module, snapshots: w.Net}
	return w
}

func settings() *accessv1.Settings {
	return &accessv1.Settings{
		Purposes:   []*accessv1.Purpose{{Iri: research, LegalBasis: basis}, {Iri: care, LegalBasis: basis}},
		BreakGlass: accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS,
		ReviewMs:   24 * 3600 * 1000, GrantMs: 3600 * 1000,
	}
}

const hospitalPolicies = `
@id("doctors-read")
permit (principal in Chancery::Role::"mercy/doctor", action == Action::"read", resource is Record);

@id("never-when-risky")
forbid (principal, action, resource) when { context.risk > 9000 };

@id("locked")
forbid (principal, action, resource) when { resource has locked && resource.locked };
`

// subject is a commitment of a test.
func subject(name string) string {
	sum := sha256.Sum256([]byte("subject/" + name))
	return hex.EncodeToString(sum[:])
}

// furnish gives the hospital settings, policies and two records.
func (w *world) furnish() *world {
	w.t.Helper()
	w.Do(hospital, &accessv1.SetSettings{Organisation: hospital, Settings: settings()})
	w.policies(hospitalPolicies)
	w.entities(fmt.Sprintf(`[
		{"uid":{"type":"Record","id":"open"},"attrs":{},"parents":[]},
		{"uid":{"type":"Record","id":"patient"},"attrs":{"subject":%q,"categories":[%q]},"parents":[{"type":"Ward","id":"7"}]},
		{"uid":{"type":"Ward","id":"7"},"attrs":{},"parents":[]}
	]`, subject("p"), health))
	return w
}

func (w *world) policies(text string) {
	w.t.Helper()
	w.Do(hospital, &accessv1.SetPolicies{Organisation: hospital, Documents: []*accessv1.Document{{Name: "main", Text: text}}})
}

func (w *world) entities(text string) {
	w.t.Helper()
	w.Do(hospital, &accessv1.PutEntities{Organisation: hospital, Entities: text})
}

func uid(typ, id string) *accessv1.EntityUid { return &accessv1.EntityUid{Type: typ, Id: id} }

// read is a request to read a record for care.
func read(principal, record string) *accessv1.Request {
	return &accessv1.Request{
		Principal: principal, Action: uid("Action", "read"), Organisation: hospital,
		Resource: uid("Record", record), Purpose: care,
	}
}

// ask records a decision and checks that the query without a record agrees.
func (w *world) ask(q *accessv1.Request) *accessv1.Decision {
	w.t.Helper()
	r := w.Do(q.Principal, &accessv1.Decide{Request: q})
	response := chaintest.Response[accessv1.DecideResponse](w.t, r)
	d := w.decision(response.Id)
	if d.Verdict.Outcome != response.Outcome || d.Verdict.Reason != response.Reason || d.ValidUntil != response.ValidUntil {
		w.t.Fatalf("the response %v is not the record %v", response, d)
	}
	e, err := w.queries.Evaluate(context.Background(), &accessv1.EvaluateRequest{Request: q})
	if err != nil {
		w.t.Fatal(err)
	}
	if e.Outcome != response.Outcome || e.Reason != response.Reason {
		w.t.Fatalf("the query says %v, the transaction %v", e, response)
	}
	w.reproduce(d)
	return d
}

// reproduce repeats a recorded decision from state.
func (w *world) reproduce(d *accessv1.Decision) *accessv1.ExplainResponse {
	w.t.Helper()
	x, err := w.queries.Explain(context.Background(), &accessv1.ExplainRequest{What: &accessv1.ExplainRequest_DecisionId{DecisionId: d.Id}})
	if err != nil {
		w.t.Fatal(err)
	}
	if !x.Reproduced {
		w.t.Fatalf("the decision could not be repeated: %v", d)
	}
	return x
}

func (w *world) decision(id []byte) *accessv1.Decision {
	w.t.Helper()
	d, err := w.queries.Decision(context.Background(), &accessv1.DecisionRequest{Id: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) allowed(q *accessv1.Request, reason string) *accessv1.Decision {
	w.t.Helper()
	d := w.ask(q)
	if d.Verdict.Outcome != accessv1.Outcome_OUTCOME_ALLOW || d.Verdict.Reason != reason {
		w.t.Fatalf("%s: %v, want allow by %s", q.Principal, d.Verdict, reason)
	}
	return d
}

func (w *world) denied(q *accessv1.Request, reason string) *accessv1.Decision {
	w.t.Helper()
	d := w.ask(q)
	if d.Verdict.Outcome != accessv1.Outcome_OUTCOME_DENY || d.Verdict.Reason != reason {
		w.t.Fatalf("%s: %v, want deny by %s", q.Principal, d.Verdict, reason)
	}
	if d.ValidUntil != 0 {
		w.t.Fatal("a denial has an end")
	}
	return d
}

func (w *world) state(d *accessv1.Decision) accessv1.GrantState {
	w.t.Helper()
	s, err := w.queries.GrantStatus(context.Background(), &accessv1.DecisionRequest{Id: d.Id})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.State
}

func (w *world) guardRails(text string) {
	w.t.Helper()
	w.Do(chaintest.Consortium, &accessv1.SetGuardRails{Documents: []*accessv1.Document{{Name: "rails", Text: text}}})
}

// count is how many decisions a query lists, over all pages of one.
func (w *world) list(q *accessv1.DecisionsRequest) []*accessv1.Decision {
	w.t.Helper()
	q.Limit = 1
	var out []*accessv1.Decision
	for {
		page, err := w.queries.Decisions(context.Background(), q)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, page.Decisions...)
		if len(page.NextPageToken) == 0 {
			return out
		}
		q.PageToken = page.NextPageToken
	}
}

func ids(decisions []*accessv1.Decision) [][]byte {
	var out [][]byte
	for _, d := range decisions {
		out = append(out, d.Id)
	}
	return out
}

func contains(list [][]byte, id []byte) bool {
	return slices.ContainsFunc(list, func(o []byte) bool { return bytes.Equal(o, id) })
}

func wantErr(t testing.TB, err error, want *errs.Error) {
	t.Helper()
	if err == nil || !errs.As(err).Is(want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}
