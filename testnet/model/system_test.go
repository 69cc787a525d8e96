package model

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

	"github.com/cometbft/cometbft/crypto/ed25519"
	engine "github.com/cometbft/cometbft/types"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/keys"
	"github.com/chancery/chancery/chain/tx"
	"github.com/chancery/chancery/modules/consent"
	"github.com/chancery/chancery/modules/identity"
	"github.com/chancery/chancery/modules/identity/did"
	"github.com/chancery/chancery/modules/threat"
	"github.com/chancery/chancery/node"
	"github.com/chancery/chancery/node/nodetest"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// tick is how far apart the model's blocks are, in milliseconds.
	tick = int64(30_000)

	contact = "https://w3id.org/dpv/pd#Contact"
)

var (
	purposeIRIs = map[Purposes]string{Care: "https://w3id.org/dpv#MedicalCare", Research: "https://w3id.org/dpv#ResearchAndDevelopment"}
	scopeOf     = map[Scopes]consentv1.Scope{
		MayGive: consentv1.Scope_SCOPE_GIVE, MayWithdraw: consentv1.Scope_SCOPE_WITHDRAW, MayNarrow: consentv1.Scope_SCOPE_NARROW,
	}
	statusOf = map[consentv1.Status]Status{
		consentv1.Status_STATUS_GIVEN: Given, consentv1.Status_STATUS_NARROWED: Narrowed,
		consentv1.Status_STATUS_WITHDRAWN: Withdrawn, consentv1.Status_STATUS_EXPIRED: Expired,
	}
	holdStatusOf = map[threatv1.HoldStatus]HoldStatus{
		threatv1.HoldStatus_HOLD_STATUS_HELD: Held, threatv1.HoldStatus_HOLD_STATUS_DENIED: Denied,
		threatv1.HoldStatus_HOLD_STATUS_RELEASED: Released, threatv1.HoldStatus_HOLD_STATUS_FAILED: Failed,
		threatv1.HoldStatus_HOLD_STATUS_REJECTED: Rejected, threatv1.HoldStatus_HOLD_STATUS_EXPIRED: HoldExpired,
	}
	grantStatusOf = map[accessv1.GrantState]GrantStatus{
		accessv1.GrantState_GRANT_STATE_ACTIVE: GrantActive, accessv1.GrantState_GRANT_STATE_EXPIRED: GrantExpired,
		accessv1.GrantState_GRANT_STATE_CONSENT_ENDED: GrantConsentEnded,
	}
)

func organisation(o int8) string { return fmt.Sprintf("did:chancery:organisation-%d", o) }

func member(o int8, name string) string {
	return organisation(o) + ":" + name + strings.Repeat("a", 26-len(name))
}

// didOf is an actor's DID.
func didOf(a Actor) string {
	switch {
	case a == Consortium:
		return did.Consortium
	case a < MaxSubjects:
		return member(0, [MaxSubjects]string{"anna", "bert"}[a])
	}
	return member(a.organisation(), [2]string{"admin", "deputy"}[(int8(a)-MaxSubjects)%2])
}

// actorOf is whose DID it is.
func actorOf(name string) Actor {
	for a := Actor(0); a <= Consortium; a++ {
		if didOf(a) == name {
			return a
		}
	}
	return -1
}

func commitmentOf(subject int8) []byte {
	sum := sha256.Sum256([]byte{'s', byte(subject)})
	return sum[:]
}

func validatorKey(key int8) []byte {
	return chaintest.Actor(fmt.Sprintf("validator %d", key)).Public().Bytes
}

func iris(p Purposes) (out []string) {
	for _, one := range []Purposes{Care, Research} {
		if p&one != 0 {
			out = append(out, purposeIRIs[one])
		}
	}
	return out
}

// system is the real application beside the model, both of which are told the same.
type system struct {
	*chaintest.Net
	t     testing.TB
	model Model
	state State
	fail  func(format string, args ...any)

	execution *chain.Execution // of the block at hand
	raws      [][]byte
	results   []*chainv1.TxResult
	trace     []recorded
	zero      int64 // the time of the model's height 0
	fillers   int

	consents, restrictions, grants, holds [][]byte
	bodies                                []Kind // of the holds

	acting, next *engine.ValidatorSet
	access       accessv1.QueryServer
}

// recorded is a block as it is kept: its transactions, their results and its events.
type recorded struct {
	raws    [][]byte
	results []*chainv1.TxResult
	events  []*chainv1.Event
}

// newSystem starts a chain of all modules as node.Wire has them, on both kinds of trees, by
// the model's parameters.
func newSystem(t testing.TB, m Model) *system {
	t.Helper()
	s := &system{t: t, model: m, state: m.First()}
	s.fail = func(format string, args ...any) { t.Helper(); t.Fatalf(format, args...) }
	sections := map[string]json.RawMessage{}
	write := func(name string, g proto.Message, err error) {
		t.Helper()
		if err == nil {
			sections[name], err = chain.WriteGenesis(g)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := identity.NewGenesis(founding(m))
	write("identity", g, err)
	watch := threat.NewGenesis(nodetest.Bulk(t, "by-weight", nil, 3, 5), 0)
	watch.Params = threat.DefaultParams()
	watch.Params.Mode, watch.Params.Reviewers, watch.Params.MaxHeldOrganisation = threatv1.Mode_MODE_ENFORCE, uint32(m.Reviewers), uint32(m.Room)
	watch.Params.HoldMs, watch.Params.AppealMs = int64(m.HoldBlocks)*tick, int64(m.AppealBlocks)*tick
	watch.Params.Breaker = &threatv1.Breaker{Window: 10_000, Rate: 10_000, Actor: 10_000, RestMs: 60_000}
	write("threat", watch, nil)
	raw, err := json.Marshal(sections)
	if err != nil {
		t.Fatal(err)
	}
	named := func(modules []chain.Module, name string) chain.Module {
		return modules[slices.IndexFunc(modules, func(m chain.Module) bool { return m.Name() == name })]
	}
	s.Net = chaintest.New(t, chaintest.Config{
		Genesis: string(raw),
		Modules: func() []chain.Module { return node.Wire().List() },
		Authenticator: func(modules []chain.Module) chain.Authenticator {
			return named(modules, "identity").(*identity.Module)
		},
		Screen: func(modules []chain.Module) chain.Screen { return named(modules, "threat").(*threat.Module) },
	})
	named(s.App().Modules(), "access").RegisterQueries(capture{&s.access}, s.Net)
	s.furnish()
	var first []*engine.Validator
	for key, power := range m.Genesis {
		if power > 0 {
			first = append(first, engine.NewValidator(ed25519.PubKey(validatorKey(int8(key))), int64(power)))
		}
	}
	s.acting = engine.NewValidatorSet(first)
	s.next = s.acting.Copy()
	s.zero = s.Now
	s.begin()
	return s
}

// capture takes hold of a module's query service.
type capture struct{ access *accessv1.QueryServer }

// RegisterService implements grpc.ServiceRegistrar.
func (c capture) RegisterService(_ *grpc.ServiceDesc, service any) {
	if q, ok := service.(accessv1.QueryServer); ok {
		*c.access = q
	}
}

func founding(m Model) identity.Founding {
	f := identity.Founding{At: chaintest.GenesisTime, Threshold: uint32(m.Organisations)}
	for o := range m.Organisations {
		founder := identity.Founder{DID: organisation(o), Threshold: 1}
		for key := 2 * o; key < 2*o+2; key++ {
			if m.Genesis[key] > 0 {
				founder.Validators = append(founder.Validators, identity.FoundingValidator{
					PublicKey: validatorKey(key), Power: int64(m.Genesis[key]), Moniker: fmt.Sprintf("validator-%d", key),
				})
			}
		}
		actors := []Actor{Administrator(o, 0), Administrator(o, 1)}
		if o == 0 {
			actors = append(actors, 0, 1)
		}
		for _, a := range actors {
			founder.Members = append(founder.Members, identity.FoundingMember{
				DID: didOf(a), Kind: identityv1.Kind_KIND_PERSON, Administrator: a.administers(o),
				Keys: []identity.FoundingKey{{ID: "key-1", Public: chaintest.Actor(didOf(a)).Public()}},
			})
		}
		f.Organisations = append(f.Organisations, founder)
	}
	return f
}

// furnish lets organisation 0 decide over a record of each subject by consent alone.
func (s *system) furnish() {
	s.t.Helper()
	home := organisation(0)
	var records []string
	for subject := range int8(MaxSubjects) {
		records = append(records, fmt.Sprintf(`{"uid":{"type":"Record","id":"%d"},"attrs":{"subject":%q,"categories":[%q]},"parents":[]}`,
			subject, hex.EncodeToString(commitmentOf(subject)), contact))
	}
	for _, message := range []proto.Message{
		&accessv1.SetSettings{Organisation: home, Settings: &accessv1.Settings{
			Purposes: []*accessv1.Purpose{
				{Iri: purposeIRIs[Care], LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"},
				{Iri: purposeIRIs[Research], LegalBasis: "https://w3id.org/dpv/legal/eu/gdpr#A6-1-a"},
			},
			BreakGlass: accessv1.BreakGlassRule_BREAK_GLASS_RULE_MEMBERS, ReviewMs: 24 * 3600 * 1000, GrantMs: int64(s.model.GrantBlocks) * tick,
		}},
		&accessv1.SetPolicies{Organisation: home, Documents: []*accessv1.Document{{Name: "main", Text: `@id("all") permit (principal, action, resource);`}}},
		&accessv1.PutEntities{Organisation: home, Entities: "[" + strings.Join(records, ",") + "]"},
	} {
		if r := s.Block(s.Tx(home, []proto.Message{message}, chaintest.Actor(didOf(Administrator(0, 0)))))[0]; r.Code != 0 {
			s.t.Fatalf("%T: %s", message, r.Log)
		}
	}
}

// time is the time of a height of the model, 0 for 0.
func (s *system) time(height int8) int64 {
	if height == 0 {
		return 0
	}
	return s.zero + int64(height)*tick
}

// begin begins the block of the model's height.
func (s *system) begin() {
	s.Now = s.time(s.state.Height) - chaintest.BlockTime
	s.execution = s.App().Begin(chain.Header{Height: s.Height() + 1, Time: s.time(s.state.Height)})
	s.raws, s.results = nil, nil
}

// does has both do an action and compares what came of it.
func (s *system) does(a Action) {
	s.t.Helper()
	if a.Kind == End {
		s.ends()
		return
	}
	after, out := s.model.Step(s.state, a)
	raw := s.transaction(a)
	d, err := s.App().Decode(raw)
	if err != nil {
		s.fail("%s: %v", a, err)
	}
	r, err := s.execution.Deliver(d)
	code := ""
	if err != nil {
		e := errs.As(err)
		code = fmt.Sprintf("%s/%d", e.Module, e.Code)
	} else if r.Code != 0 {
		code = fmt.Sprintf("%s/%d", r.Codespace, r.Code)
	}
	if code != out.Code || (err != nil) != out.Door {
		s.fail("%s: the system says %q (%v, %s), the model %q (at the door: %v)", a, code, err, r.GetLog(), out.Code, out.Door)
	}
	if err != nil {
		return
	}
	s.raws, s.results = append(s.raws, raw), append(s.results, r)
	s.state = after
	switch {
	case code == "chain/16" || code == "chain/17":
		s.holds, s.bodies = append(s.holds, r.TxId), append(s.bodies, a.Kind)
	case code == "":
		s.came(a, out, r)
	}
}

// came compares what came of a transaction that was executed and notes the ids of what it made.
func (s *system) came(a Action, out Outcome, r *chainv1.TxResult) {
	s.t.Helper()
	respond := func(into proto.Message, raw []byte) {
		s.t.Helper()
		if err := proto.Unmarshal(raw, into); err != nil {
			s.fail("%s: %v", a, err)
		}
	}
	made := func(kind Kind, raw []byte) {
		switch kind {
		case Give:
			m := new(consentv1.GiveResponse)
			respond(m, raw)
			s.consents = append(s.consents, m.Id)
		case Restrict:
			m := new(consentv1.RestrictResponse)
			respond(m, raw)
			s.restrictions = append(s.restrictions, m.Id)
		}
	}
	switch a.Kind {
	case Decide:
		m := new(accessv1.DecideResponse)
		respond(m, r.Responses[0])
		if allowed := m.Outcome == accessv1.Outcome_OUTCOME_ALLOW; allowed != out.Allowed || !allowed && m.Reason != out.Why {
			s.fail("%s: the system says %v, %s; the model %v, %s", a, m.Outcome, m.Reason, out.Allowed, out.Why)
		}
		if out.Allowed {
			told := chaintest.Events[accessv1.Decided](s.t, r)
			if len(told) != 1 || !bytes.Equal(told[0].ConsentId, s.consents[out.On]) {
				s.fail("%s: it rests on %v, by the model on consent %d", a, told, out.On)
			}
			s.grants = append(s.grants, m.Id)
		}
	case Release:
		m := new(threatv1.ReleaseResponse)
		respond(m, r.Responses[0])
		code := ""
		if m.Code != 0 {
			code = fmt.Sprintf("%s/%d", m.Codespace, m.Code)
		}
		ran := m.Status == threatv1.HoldStatus_HOLD_STATUS_RELEASED || m.Status == threatv1.HoldStatus_HOLD_STATUS_FAILED
		if ran != out.Ran || code != out.RanCode {
			s.fail("%s: the system says %v, the model that it ran: %v, with %q", a, m, out.Ran, out.RanCode)
		}
		if ran && code == "" {
			made(s.bodies[a.Record], m.Responses[0])
		}
	default:
		made(a.Kind, r.Responses[0])
	}
}

// ends ends the block in both: on two trees, with a restart, and in the engine's list of
// validators. Then it compares all that the model knows.
func (s *system) ends() {
	s.t.Helper()
	block := s.execution.End()
	for i, r := range s.Block(s.raws...) {
		if !r.EqualVT(s.results[i]) {
			s.fail("transaction %d of block %d has two results:\n%v\n%v", i, s.state.Height, s.results[i], r)
		}
	}
	s.trace = append(s.trace, recorded{raws: s.raws, results: s.results, events: block.Record.Events})
	var updates []*engine.Validator
	for _, u := range block.Updates {
		updates = append(updates, engine.NewValidator(ed25519.PubKey(u.Key.Bytes), u.Power))
	}
	after := s.next.Copy()
	if err := after.UpdateWithChangeSet(updates); err != nil {
		s.fail("block %d: the engine refuses %v: %v", s.state.Height, updates, err)
	}
	s.acting, s.next = s.next, after
	height := s.state.Height
	s.state = s.model.end(s.state)
	s.state.Height = height // what is compared is asked at the block's time
	s.compare()
	s.state.Height++
	if got := setOf(s.acting); got != s.state.Acting {
		s.fail("block %d: %v act, by the model %v", s.state.Height, got, s.state.Acting)
	}
	if got := setOf(s.next); got != s.state.Next {
		s.fail("block %d: %v act next, by the model %v", s.state.Height, got, s.state.Next)
	}
	s.begin()
}

func setOf(v *engine.ValidatorSet) (out Set) {
	for key := range int8(MaxKeys) {
		if _, one := v.GetByAddress(ed25519.PubKey(validatorKey(key)).Address()); one != nil {
			out[key] = int8(one.VotingPower)
		}
	}
	return out
}

// compare projects the system's state onto the model's.
func (s *system) compare() {
	s.t.Helper()
	want := s.state
	got := want
	r := s.View()
	export := func(name string, into proto.Message) {
		for _, m := range s.App().Modules() {
			if m.Name() != name {
				continue
			}
			g, err := m.ExportGenesis(r)
			if err != nil {
				s.fail("%s: %v", name, err)
			}
			proto.Merge(into, g)
		}
	}
	c := new(consentv1.Genesis)
	export("consent", c)
	s.projectConsent(c, &got)
	w := new(threatv1.Genesis)
	export("threat", w)
	s.projectHolds(w, &got)
	who := s.App().Modules()[0].(*identity.Module)
	got.Power = Set{}
	for _, v := range who.Validators(r) {
		for key := range int8(MaxKeys) {
			if bytes.Equal(v.PublicKey, validatorKey(key)) {
				got.Power[key] = int8(v.Power)
			}
		}
	}
	if got != want {
		s.fail("after block %d the system has\n%+v\nand the model\n%+v", want.Height, got, want)
	}
	for i, id := range s.grants {
		a, err := s.access.GrantStatus(context.Background(), &accessv1.DecisionRequest{Id: id})
		if err != nil {
			s.fail("%v", err)
		}
		if is := grantStatusOf[a.State]; is != want.Grant(int8(i)) {
			s.fail("after block %d grant %d is %v, by the model %d", want.Height, i, a.State, want.Grant(int8(i)))
		}
	}
	s.compareAnswers(r, &want)
}

// compareAnswers asks for every use.
func (s *system) compareAnswers(r chain.ReadCtx, want *State) {
	s.t.Helper()
	m := s.App().Modules()[1].(*consent.Module)
	for subject := range int8(MaxSubjects) {
		for purpose, iri := range purposeIRIs {
			on, why := want.Permits(subject, purpose)
			id, _, err := m.Permits(r, commitmentOf(subject), organisation(0), didOf(Administrator(0, 1)), iri, []string{contact})
			got := ""
			if err != nil {
				e := errs.As(err)
				got = fmt.Sprintf("%s/%d", e.Module, e.Code)
			}
			if got != why || why == "" && !bytes.Equal(id, s.consents[on]) {
				s.fail("after block %d, purpose %d of subject %d: the system says %x, %q, the model %d, %q", want.Height, purpose, subject, id, got, on, why)
			}
		}
	}
}

func (s *system) projectConsent(c *consentv1.Genesis, got *State) {
	s.t.Helper()
	subjectOf := func(commitment []byte) int8 {
		for subject := range int8(MaxSubjects) {
			if bytes.Equal(commitment, commitmentOf(subject)) {
				return subject
			}
		}
		return -1 // of a message that only adds weight
	}
	until := func(time int64) int8 {
		if time == 0 {
			return 0
		}
		return int8((time - s.zero) / tick)
	}
	purposes := func(list []string) (out Purposes) {
		for p, iri := range purposeIRIs {
			if slices.Contains(list, iri) {
				out |= p
			}
		}
		return out
	}
	known := 0
	for _, x := range c.Records {
		if subject := subjectOf(x.Terms.Subject); subject >= 0 {
			known++
			i := slices.IndexFunc(s.consents, func(id []byte) bool { return bytes.Equal(id, x.Id) })
			if i < 0 {
				s.fail("nobody gave consent %x", x.Id)
			}
			got.Consents[i] = Consent{
				Subject: subject, Status: statusOf[x.Status], Purposes: purposes(x.Terms.Purposes), Until: until(x.Terms.ValidUntil), Version: int8(x.Version),
			}
		}
	}
	if known != len(s.consents) {
		s.fail("%d consents are there, want %d", known, len(s.consents))
	}
	got.Dossiers = [MaxSubjects]Dossier{}
	for i := range got.Restrictions[:got.Restricted] {
		got.Restrictions[i].Lifted = true
	}
	for _, x := range c.Dossiers {
		subject := subjectOf(x.Subject)
		if subject < 0 {
			continue
		}
		d := Dossier{Known: true, Last: statusOf[x.Dossier.LastEnded.GetStatus()]}
		if x.Dossier.SubjectDid != "" {
			d.Bound, d.Owner = true, actorOf(x.Dossier.SubjectDid)
		}
		got.Dossiers[subject] = d
		for _, y := range x.Dossier.Restrictions {
			i := slices.IndexFunc(s.restrictions, func(id []byte) bool { return bytes.Equal(id, y.Id) })
			if i < 0 {
				s.fail("nobody made restriction %x", y.Id)
			}
			got.Restrictions[i] = Restriction{Subject: subject, Purposes: purposes(y.Purposes)}
		}
	}
	got.Delegations = [MaxSubjects][maxActors]Delegation{}
	for _, x := range c.Delegations {
		d := Delegation{Until: until(x.Until)}
		for of, scope := range scopeOf {
			if slices.Contains(x.Scopes, scope) {
				d.Scopes |= of
			}
		}
		got.Delegations[subjectOf(x.Subject)][actorOf(x.Delegate)] = d
	}
}

func (s *system) projectHolds(w *threatv1.Genesis, got *State) {
	s.t.Helper()
	if len(w.Holds) != len(s.holds) {
		s.fail("%d transactions are on record, want %d", len(w.Holds), len(s.holds))
	}
	for _, x := range w.Holds {
		i := slices.IndexFunc(s.holds, func(id []byte) bool { return bytes.Equal(id, x.Hold.TxId) })
		if i < 0 {
			s.fail("nobody sent %x", x.Hold.TxId)
		}
		h := Hold{Body: got.Holds[i].Body, Key: got.Holds[i].Key, Status: holdStatusOf[x.Hold.Status], Kept: len(x.Raw) > 0, Reopened: int8(x.Hold.Reopened)}
		if x.Hold.ExpiresAt != 0 {
			h.Until = int8((x.Hold.ExpiresAt - s.zero) / tick)
		}
		for _, o := range x.Hold.Reviews {
			h.Words[h.Spoke] = Word{By: actorOf(o.Reviewer), Release: o.Release}
			h.Spoke++
		}
		for _, a := range x.Hold.Appeals {
			h.Appeals[h.Appealed] = holdStatusOf[a.Status]
			h.Appealed++
		}
		if h.Status == Released || h.Status == Failed {
			h.Ran = 1
		}
		got.Holds[i] = h
	}
}

// signer is the key that an actor signs with after so many rotations.
func signer(a Actor, rotated int8) chaintest.Key {
	if rotated == 0 {
		return chaintest.Actor(didOf(a))
	}
	return chaintest.Named(fmt.Sprintf("%s#key-%d", didOf(a), rotated+1), keys.Ed25519, fmt.Sprintf("%s after %d", didOf(a), rotated))
}

// transaction is an action as a signed transaction of as many messages as its weight says.
func (s *system) transaction(a Action) []byte {
	s.t.Helper()
	messages := []proto.Message{s.message(a)}
	for len(messages) < [...]int{Light: 1, Heavy: 3, Monstrous: 5}[a.Weight] {
		messages = append(messages, s.filler(a))
	}
	var by []tx.Signer
	if a.Actor == Consortium {
		for o := range s.model.Organisations {
			by = append(by, signer(Administrator(o, 0), 0))
		}
	} else {
		by = append(by, signer(a.Actor, s.state.Keys[a.Actor]))
	}
	return s.Tx(didOf(a.Actor), messages, by...)
}

// filler is a message that adds weight and is nothing to the model. It is of a kind that is
// never held where the action's is.
func (s *system) filler(a Action) proto.Message {
	s.fillers++
	switch {
	case a.Actor == Consortium:
		return &chainv1.SetParams{Params: chain.DefaultParams()}
	case NeverHeld(a):
		sum := sha256.Sum256(fmt.Appendf(nil, "filler %d", s.fillers))
		return &consentv1.Refuse{Terms: termsOf(sum[:], Care, 0)}
	}
	return &provenancev1.RegisterEntity{Id: fmt.Sprintf("filler-%d", s.fillers), Entity: &provenancev1.Entity{MediaType: "text/plain"}}
}

func termsOf(commitment []byte, p Purposes, until int64) *consentv1.Terms {
	return &consentv1.Terms{
		Subject: commitment, Controller: organisation(0), Purposes: iris(p), Categories: []*consentv1.Category{{Iri: contact}},
		LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, Jurisdiction: "NL", ValidUntil: until,
		Notice: &consentv1.Notice{Version: "1", Hash: commitment, Language: "nl"},
	}
}

// message is what an action says.
func (s *system) message(a Action) proto.Message {
	s.t.Helper()
	hash := make([]byte, 32)
	subject := commitmentOf(a.Subject)
	switch a.Kind {
	case Give:
		m := &consentv1.Give{Terms: termsOf(subject, a.Purposes, s.time(a.Until))}
		if a.Paper {
			m.Method, m.EvidenceHash = consentv1.Method_METHOD_WRITTEN, hash
		}
		return m
	case Narrow:
		return &consentv1.Narrow{Id: s.consents[a.Record], RemovePurposes: iris(a.Purposes), ValidUntil: s.time(a.Until)}
	case Withdraw:
		return &consentv1.Withdraw{Id: s.consents[a.Record]}
	case Expire:
		return &consentv1.Expire{Id: s.consents[a.Record]}
	case Delegate:
		m := &consentv1.Delegate{
			Subject: subject, Controller: organisation(0), Delegate: didOf(a.Delegate),
			Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE, Until: s.time(a.Until),
		}
		for _, of := range []Scopes{MayGive, MayWithdraw, MayNarrow} {
			if a.Scopes&of != 0 {
				m.Scopes = append(m.Scopes, scopeOf[of])
			}
		}
		return m
	case Revoke:
		return &consentv1.RevokeDelegation{Subject: subject, Controller: organisation(0), Delegate: didOf(a.Delegate)}
	case Restrict:
		return &consentv1.Restrict{Subject: subject, Controller: organisation(0), Purposes: iris(a.Purposes), Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION}
	case Lift:
		m := &consentv1.LiftRestriction{Subject: subject, Controller: organisation(0), Id: s.restrictions[a.Record]}
		if a.Paper {
			m.EvidenceHash = hash
		}
		return m
	case Decide:
		return &accessv1.Decide{Request: &accessv1.Request{
			Principal: didOf(a.Actor), Organisation: organisation(0), Purpose: purposeIRIs[a.Purposes],
			Action: &accessv1.EntityUid{Type: "Action", Id: "read"}, Resource: &accessv1.EntityUid{Type: "Record", Id: fmt.Sprint(a.Subject)},
		}}
	case Rotate:
		fresh := signer(a.Actor, s.state.Keys[a.Actor]+1)
		_, name, _ := strings.Cut(fresh.KeyURL(), "#")
		_, old, _ := strings.Cut(signer(a.Actor, s.state.Keys[a.Actor]).KeyURL(), "#")
		k, err := identity.Possess(chaintest.ChainID, didOf(a.Actor), name, fresh)
		if err != nil {
			s.t.Fatal(err)
		}
		return &identityv1.RotateKey{Did: didOf(a.Actor), KeyId: old, NewKey: k}
	case Vote:
		return &governancev1.Vote{ProposalId: 1 << 40, Choice: governancev1.Choice_CHOICE_YES}
	case Release:
		return &threatv1.Release{TxId: s.holds[a.Record]}
	case Reject:
		return &threatv1.Reject{TxId: s.holds[a.Record]}
	case Appeal:
		return &threatv1.Appeal{Against: &threatv1.Appeal_TxId{TxId: s.holds[a.Record]}, TextHash: hash}
	case Bind:
		m := &identityv1.BindValidator{Organisation: organisation(a.Key / 2), PublicKey: validatorKey(a.Key), Power: int64(a.Power)}
		if a.Power > 0 {
			m.Moniker = fmt.Sprintf("validator-%d", a.Key)
		}
		return m
	case Replace:
		m := &identityv1.BindValidator{
			Organisation: organisation(a.Key / 2), PublicKey: validatorKey(a.New), Replaces: validatorKey(a.Key), Power: int64(a.Power),
		}
		if a.Power > 0 {
			m.Moniker = fmt.Sprintf("validator-%d", a.New)
		}
		return m
	}
	return s.filler(a)
}
