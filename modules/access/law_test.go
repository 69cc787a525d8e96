package access

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/chancery/chancery/chain/chaintest"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

// law 5: every decision names purpose, legal basis and consent version; an
// unlisted purpose is denied.
func TestLaw5PurposesAreListed(t *testing.T) {
	w := newWorld(t).furnish()
	w.consents.given[subject("p")] = 3
	d := w.allowed(read(doctor, "patient"), "policy/permit")
	if d.Request.Purpose != care || d.Verdict.LegalBasis != basis || d.Verdict.Consent.Version != 3 ||
		!bytes.Equal(d.Verdict.Consent.Id, consentOf(subject("p"))) {
		t.Fatalf("the record lacks purpose, legal basis or consent: %v", d)
	}
	q := read(doctor, "open")
	q.Purpose = "https://w3id.org/dpv#Marketing"
	if d := w.denied(q, "purpose/unlisted"); d.Verdict.LegalBasis != "" {
		t.Fatal("an unlisted purpose has a legal basis")
	}

	// A resource may allow fewer purposes than its organisation, never more.
	w.entities(`[{"uid":{"type":"Record","id":"open"},"attrs":{"purposes":["` + research + `","https://w3id.org/dpv#Marketing"]},"parents":[]}]`)
	w.denied(read(doctor, "open"), "purpose/resource")
	w.denied(q, "purpose/unlisted")
	q.Purpose = research
	w.allowed(q, "policy/permit")

	// Without settings nothing is listed.
	q.Organisation, q.Principal = clinic, outsider
	w.denied(q, "purpose/unlisted")
}

// law 6: withdrawal denies from the next block, and ends what was granted.
func TestLaw6WithdrawalDenies(t *testing.T) {
	w := newWorld(t).furnish()
	w.denied(read(doctor, "patient"), "consent/9")
	w.consents.given[subject("p")] = 1
	first := w.allowed(read(doctor, "patient"), "policy/permit")
	second := w.allowed(read(doctor, "patient"), "policy/permit")
	free := w.allowed(read(doctor, "open"), "policy/permit")
	want := strings.Join([]string{subject("p"), hospital, doctor, care, health}, " ")
	if !slices.Contains(w.consents.asked, want) {
		t.Fatalf("consent was asked %q, want %q", w.consents.asked, want)
	}

	// The consent ends at the end of the next block; in the one after it grants end
	// and decisions flip.
	w.endings[w.Height()+1] = [][]byte{consentOf(subject("p"))}
	w.Block()
	delete(w.consents.given, subject("p"))
	w.denied(read(doctor, "patient"), "consent/9")
	for _, d := range []*accessv1.Decision{first, second} {
		if s := w.state(d); s != accessv1.GrantState_GRANT_STATE_CONSENT_ENDED {
			t.Fatalf("the grant is %v after withdrawal", s)
		}
	}
	if s := w.state(free); s != accessv1.GrantState_GRANT_STATE_ACTIVE {
		t.Fatalf("a grant without consent is %v", s)
	}

	// Given again, new decisions grant and old ones stay ended.
	w.consents.given[subject("p")] = 2
	third := w.allowed(read(doctor, "patient"), "policy/permit")
	if s := w.state(first); s != accessv1.GrantState_GRANT_STATE_CONSENT_ENDED {
		t.Fatalf("an ended grant came back: %v", s)
	}
	if s := w.state(third); s != accessv1.GrantState_GRANT_STATE_ACTIVE {
		t.Fatalf("a new grant is %v", s)
	}
	// A consent that expires without a message ends grants as well.
	delete(w.consents.given, subject("p"))
	if s := w.state(third); s != accessv1.GrantState_GRANT_STATE_CONSENT_ENDED {
		t.Fatalf("a grant on an expired consent is %v", s)
	}
	if got := w.list(&accessv1.DecisionsRequest{By: &accessv1.DecisionsRequest_ConsentId{ConsentId: consentOf(subject("p"))}}); len(got) != 3 {
		t.Fatalf("%d decisions rest on the consent, want 3", len(got))
	}
}

// law 6: ending a consent is one event, however many grants rest on it, and none
// where none do.
func TestLaw6EndingIsAnnounced(t *testing.T) {
	w := newWorld(t).furnish()
	w.consents.given[subject("p")] = 1
	w.allowed(read(doctor, "patient"), "policy/permit")
	for _, name := range []string{"p", "somebody else"} {
		w.endings[w.Height()+1] = append(w.endings[w.Height()+1], consentOf(subject(name)))
	}
	w.Block()
	g := w.module.exportGenesis(w.View())
	if len(g.EndedConsents) != 1 || g.EndedConsents[0].Sequence != 1 {
		t.Fatalf("ended consents: %v", g.EndedConsents)
	}
}

func emergency() *accessv1.BreakGlass {
	return &accessv1.BreakGlass{
		Reason: accessv1.BreakGlassReason_BREAK_GLASS_REASON_LIFE_THREATENING, Text: "unconscious on arrival",
		Scope: &accessv1.Scope{
			Organisation: hospital, ResourceType: "Record",
			Actions: []*accessv1.EntityUid{uid("Action", "read")}, Purposes: []string{care},
		},
		DurationMs: 3600 * 1000,
	}
}

// law 20: break-glass needs reason, named human, scope and expiry, and always
// emits an event, an alert and a review task.
func TestLaw20BreakGlass(t *testing.T) {
	w := newWorld(t).furnish()
	w.denied(read(nurse, "patient"), "policy/none")
	r := w.Do(nurse, emergency())
	glass := chaintest.Response[accessv1.BreakGlassResponse](t, r)
	if n := len(chaintest.Events[accessv1.GlassBroken](t, r)); n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
	if a := chaintest.Events[accessv1.Alert](t, r); len(a) != 1 || a[0].Kind != accessv1.AlertKind_ALERT_KIND_GLASS_BROKEN || a[0].Organisation != hospital {
		t.Fatalf("alerts: %v", a)
	}
	if d := chaintest.Events[accessv1.ReviewDue](t, r); len(d) != 1 || d[0].DueAt != w.Now+settings().ReviewMs {
		t.Fatalf("review tasks: %v", d)
	}

	// While it is open it overrides policy and consent, in its scope alone.
	d := w.allowed(read(nurse, "patient"), "break-glass")
	if !bytes.Equal(d.Verdict.BreakGlassId, glass.Id) || d.ValidUntil > glass.ExpiresAt {
		t.Fatalf("the record does not say that the glass was broken: %v", d)
	}
	open := func(q *accessv1.Request, want bool) {
		t.Helper()
		if got := w.module.GlassOpen(w.View(), q); got != want {
			t.Fatalf("a break-glass is open for %v: %v", q, got)
		}
	}
	open(read(nurse, "patient"), true)
	q := read(nurse, "patient")
	q.Action = uid("Action", "write")
	open(q, false)
	w.denied(q, "policy/none")
	q = read(nurse, "patient")
	q.Purpose = research
	open(q, false)
	w.denied(q, "policy/none")
	open(read(robot, "patient"), false)
	w.denied(read(robot, "patient"), "policy/none")
	w.policies(hospitalPolicies + `@id("no-nurses") forbid (principal in Chancery::Role::"mercy/nurse", action, resource);`)
	w.allowed(read(nurse, "open"), "break-glass")
	if got := w.list(&accessv1.DecisionsRequest{By: &accessv1.DecisionsRequest_BreakGlassId{BreakGlassId: glass.Id}}); len(got) != 2 {
		t.Fatalf("%d uses are listed, want 2", len(got))
	}
	// A decision that needs no break-glass does not use it.
	w.Do(doctor, emergency())
	if d := w.allowed(read(doctor, "open"), "policy/permit"); len(d.Verdict.BreakGlassId) != 0 || len(d.BreakGlassId) == 0 {
		t.Fatalf("an unneeded break-glass was used: %v", d)
	}

	// Never against a guard rail.
	w.guardRails(`@id("rail") forbid (principal, action, resource == Record::"open");`)
	w.denied(read(nurse, "open"), "guard-rail/forbid")

	// It is reviewed by somebody else, after it has ended.
	w.Fails(ErrGlassOpen, nurse, emergency())
	w.Fails(ErrGlassStillOpen, reviewer, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	w.Do(nurse, &accessv1.EndBreakGlass{Id: glass.Id})
	open(read(nurse, "patient"), false)
	w.Fails(ErrGlassEnded, nurse, &accessv1.EndBreakGlass{Id: glass.Id})
	w.denied(read(nurse, "patient"), "policy/forbid")
	if s := w.state(d); s != accessv1.GrantState_GRANT_STATE_BREAK_GLASS_ENDED {
		t.Fatalf("the grant is %v after the end", s)
	}
	w.identity[nurse].roles = []string{"nurse", "reviewer"}
	w.Fails(ErrNotReviewer, nurse, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	w.Fails(ErrNotReviewer, outsider, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	w.Fails(ErrNotReviewer, doctor, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	r = w.Do(reviewer, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_UNJUSTIFIED, NoteHash: bytes.Repeat([]byte{1}, 32)})
	if a := chaintest.Events[accessv1.Alert](t, r); len(a) != 1 || a[0].Kind != accessv1.AlertKind_ALERT_KIND_GLASS_UNJUSTIFIED {
		t.Fatalf("alerts: %v", a)
	}
	w.Fails(ErrReviewed, admin, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
}

// law 20: reason, human, scope and expiry are all required.
func TestLaw20BreakGlassIsRefused(t *testing.T) {
	w := newWorld(t).furnish()
	for name, spoil := range map[string]func(*accessv1.BreakGlass){
		"no reason":     func(b *accessv1.BreakGlass) { b.Reason = 0 },
		"other reason":  func(b *accessv1.BreakGlass) { b.Reason = 99 },
		"no text":       func(b *accessv1.BreakGlass) { b.Text = "" },
		"control":       func(b *accessv1.BreakGlass) { b.Text = "a\nb" },
		"no scope":      func(b *accessv1.BreakGlass) { b.Scope = nil },
		"no action":     func(b *accessv1.BreakGlass) { b.Scope.Actions = nil },
		"no purpose":    func(b *accessv1.BreakGlass) { b.Scope.Purposes = nil },
		"id alone":      func(b *accessv1.BreakGlass) { b.Scope.ResourceType, b.Scope.ResourceId = "", "x" },
		"no expiry":     func(b *accessv1.BreakGlass) { b.DurationMs = 0 },
		"over 24 hours": func(b *accessv1.BreakGlass) { b.DurationMs = maxGlassMs + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			b := emergency()
			spoil(b)
			wantErr(t, checkBreakGlass(b), ErrField)
		})
	}
	w.Fails(ErrNotAPerson, robot, emergency())
	w.Fails(ErrNotAPerson, hospital, emergency())
	w.Fails(ErrGlassDisabled, outsider, emergency())
	b := emergency()
	b.Scope.Purposes = []string{"https://w3id.org/dpv#Marketing"}
	w.Fails(ErrPurpose, nurse, b)
	w.identity[nurse].suspended = true
	w.Fails(ErrGlassDisabled, nurse, emergency())
	w.identity[nurse].suspended = false

	s := settings()
	s.BreakGlass = accessv1.BreakGlassRule_BREAK_GLASS_RULE_ANYONE
	w.Do(hospital, &accessv1.SetSettings{Organisation: hospital, Settings: s})
	w.Do(outsider, emergency())
	w.allowed(read(outsider, "patient"), "break-glass")
	s.BreakGlass = accessv1.BreakGlassRule_BREAK_GLASS_RULE_DISABLED
	w.Do(hospital, &accessv1.SetSettings{Organisation: hospital, Settings: s})
	w.Fails(ErrGlassDisabled, nurse, emergency())
}

// law 20: a review that is overdue is listed and keeps the person from breaking
// the glass again.
func TestLaw20OverdueReview(t *testing.T) {
	w := newWorld(t).furnish()
	glass := chaintest.Response[accessv1.BreakGlassResponse](t, w.Do(nurse, emergency()))
	reviews := func(overdue bool) int {
		t.Helper()
		page, err := w.queries.Reviews(context.Background(), &accessv1.ReviewsRequest{Organisation: hospital, Overdue: overdue})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Glasses)
	}
	if reviews(false) != 1 || reviews(true) != 0 {
		t.Fatal("the review is not listed as due")
	}
	w.Now += 2 * 3600 * 1000
	w.Block()
	w.denied(read(nurse, "patient"), "policy/none") // expired by itself
	w.Do(nurse, emergency())                        // the first review is not overdue yet
	w.Now += settings().ReviewMs - 3600*1000
	w.Block()
	if reviews(true) != 1 {
		t.Fatal("the overdue review is not listed")
	}
	w.Fails(ErrReviewOverdue, nurse, emergency())
	w.Do(admin, &accessv1.Review{Id: glass.Id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED})
	if reviews(true) != 0 || reviews(false) != 1 {
		t.Fatal("the review stays listed")
	}
	w.Do(nurse, emergency())
	page, err := w.queries.BreakGlasses(context.Background(), &accessv1.BreakGlassesRequest{By: &accessv1.BreakGlassesRequest_Person{Person: nurse}})
	if err != nil || len(page.Glasses) != 3 {
		t.Fatalf("%d break-glasses, want 3 (%v)", len(page.Glasses), err)
	}
}

// law 21: denied accesses are recorded as granted ones are, whatever denied them.
func TestLaw21DenialsAreRecorded(t *testing.T) {
	w := newWorld(t).furnish()
	w.guardRails(`@id("rail") forbid (principal, action == Action::"export", resource);`)
	var want [][]byte
	want = append(want, w.allowed(read(doctor, "open"), "policy/permit").Id)
	want = append(want, w.denied(read(nurse, "open"), "policy/none").Id)
	want = append(want, w.denied(read(doctor, "unheard-of"), "resource/unknown").Id)
	q := read(doctor, "open")
	q.Action = uid("Action", "export")
	want = append(want, w.denied(q, "guard-rail/forbid").Id)
	w.risks[doctor] = 9001
	d := w.denied(read(doctor, "open"), "policy/forbid")
	if d.Risk != 9001 || !slices.Equal(d.Verdict.Policies, []string{"never-when-risky"}) {
		t.Fatalf("the record lacks what determined it: %v", d)
	}
	want = append(want, d.Id)
	w.risks[doctor] = 0
	w.identity[doctor].suspended = true
	want = append(want, w.denied(read(doctor, "open"), "principal/inactive").Id)
	ghost := "did:chancery:mercy:nobody"
	r := w.Do(gateway, &accessv1.Decide{Request: read(ghost, "open")})
	response := chaintest.Response[accessv1.DecideResponse](t, r)
	if response.Reason != "principal/unknown" || response.Outcome != accessv1.Outcome_OUTCOME_DENY {
		t.Fatalf("an unknown principal: %v", response)
	}
	want = append(want, response.Id)
	got := w.list(&accessv1.DecisionsRequest{By: &accessv1.DecisionsRequest_Organisation{Organisation: hospital}})
	slices.Reverse(got)
	if !slices.EqualFunc(ids(got), want, bytes.Equal) {
		t.Fatalf("%d decisions are listed, want %d in order", len(got), len(want))
	}
	if e := chaintest.Events[accessv1.Decided](t, r); len(e) != 1 || e[0].Outcome != accessv1.Outcome_OUTCOME_DENY {
		t.Fatalf("events of a denial: %v", e)
	}
}

// law 23: answers hold what the purpose needs and no more; lists and page tokens
// leak nothing of others.
func TestLaw23AnswersAreMinimal(t *testing.T) {
	w := newWorld(t).furnish()
	w.entities(`[{"uid":{"type":"Record","id":"open"},"attrs":{"diagnosis":"secret-value"},"parents":[]}]`)
	mine := w.allowed(read(doctor, "open"), "policy/permit")
	theirs := w.denied(read(nurse, "patient"), "policy/none")
	if theirs.Verdict.Reason != "policy/none" {
		t.Fatal("a principal without permission learns whether there is consent")
	}
	if fields := (&accessv1.DecideResponse{}).ProtoReflect().Descriptor().Fields(); fields.Len() != 4 {
		t.Fatalf("the answer to Decide has %d fields; look whether the new one is needed", fields.Len())
	}
	if fields := (&accessv1.EvaluateResponse{}).ProtoReflect().Descriptor().Fields(); fields.Len() != 4 {
		t.Fatalf("the answer to Evaluate has %d fields; look whether the new one is needed", fields.Len())
	}
	x := w.reproduce(mine)
	if strings.Contains(x.String(), "secret-value") {
		t.Fatal("Explain shows the value of an attribute")
	}
	if !strings.Contains(x.String(), "diagnosis") {
		t.Fatal("Explain does not name the attributes that it saw")
	}
	by := &accessv1.DecisionsRequest_Principal{Principal: nurse}
	if got := ids(w.list(&accessv1.DecisionsRequest{By: by})); len(got) != 1 || !contains(got, theirs.Id) {
		t.Fatalf("the nurse's decisions: %x", got)
	}
	// The token of another list opens no other list.
	for _, token := range [][]byte{{}, {0}, {0xFF}, bytes.Repeat([]byte{0xFF}, 100), []byte(doctor)} {
		page, err := w.queries.Decisions(context.Background(), &accessv1.DecisionsRequest{By: by, PageToken: token, Limit: 500})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Decisions {
			if d.Request.Principal != nurse {
				t.Fatalf("a page token lists decisions of %s", d.Request.Principal)
			}
		}
	}
}

// law 24: a grant has an end and can be revoked; after either it is none.
func TestLaw24GrantsEnd(t *testing.T) {
	w := newWorld(t).furnish()
	q := read(doctor, "open")
	q.GrantMs = 5000
	short := w.allowed(q, "policy/permit")
	long := w.allowed(read(doctor, "open"), "policy/permit")
	if short.ValidUntil != short.Time+5000 || long.ValidUntil != long.Time+settings().GrantMs {
		t.Fatalf("grants end at %d and %d", short.ValidUntil, long.ValidUntil)
	}
	if s := w.state(short); s != accessv1.GrantState_GRANT_STATE_ACTIVE {
		t.Fatalf("a fresh grant is %v", s)
	}
	w.Now += 5000
	w.Block()
	if s := w.state(short); s != accessv1.GrantState_GRANT_STATE_EXPIRED {
		t.Fatalf("an expired grant is %v", s)
	}
	revoke := &accessv1.Revoke{DecisionId: long.Id, Reason: accessv1.RevocationReason_REVOCATION_REASON_MISUSE}
	w.Fails(ErrNotPolicyAdmin, doctor, revoke)
	w.Fails(ErrNotPolicyAdmin, clinic, revoke)
	w.identity[doctor].suspended = true
	if s := w.state(long); s != accessv1.GrantState_GRANT_STATE_PRINCIPAL_INACTIVE {
		t.Fatalf("the grant of a suspended principal is %v", s)
	}
	w.identity[doctor].suspended = false
	r := w.Do(admin, revoke)
	if e := chaintest.Events[accessv1.Revoked](t, r); len(e) != 1 || e[0].By != admin || e[0].Principal != doctor {
		t.Fatalf("events: %v", e)
	}
	if s := w.state(long); s != accessv1.GrantState_GRANT_STATE_REVOKED {
		t.Fatalf("a revoked grant is %v", s)
	}
	w.Fails(ErrRevoked, hospital, revoke)
	w.reproduce(w.decision(long.Id))
	denial := w.denied(read(nurse, "open"), "policy/none")
	w.Fails(ErrNotAGrant, hospital, &accessv1.Revoke{DecisionId: denial.Id, Reason: accessv1.RevocationReason_REVOCATION_REASON_LEGAL})
	if s := w.state(denial); s != accessv1.GrantState_GRANT_STATE_DENIED {
		t.Fatalf("a denial is %v", s)
	}
	w.Fails(ErrNotFound, hospital, &accessv1.Revoke{DecisionId: make([]byte, 32), Reason: accessv1.RevocationReason_REVOCATION_REASON_LEGAL})
}
