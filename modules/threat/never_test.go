package threat

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

// What the law asks for at once is never held.
func TestWhatTheLawAsksIsNeverHeld(t *testing.T) {
	law := map[string]string{}
	if dir := os.Getenv("CHANCERY_SHARED"); dir != "" {
		raw, err := os.ReadFile(filepath.Join(dir, "law.md"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if number, sentence, ok := strings.Cut(strings.TrimSpace(line), ". "); ok {
				law[number] = sentence
			}
		}
	}
	for _, c := range []struct {
		law, sentence string
		messages      []proto.Message
	}{
		{"6", "Withdrawal takes no more steps than giving and denies from the next block (Art. 7).",
			[]proto.Message{&consentv1.Withdraw{}, &consentv1.Narrow{}, &consentv1.Refuse{}, &consentv1.RevokeDelegation{}}},
		{"11", "Restriction and objection block processing without deleting (Art. 18, 21).",
			[]proto.Message{&consentv1.Restrict{}}},
		{"15", "A threat score never alone produces a decision with legal effect; a human-review path is logged (Art. 22).",
			[]proto.Message{&threatv1.Appeal{}, &threatv1.Release{}, &threatv1.Reject{}, &threatv1.Lift{}}},
		{"20", "Break-glass grants only with reason, named human, scope and expiry, and always emits an audit event, an alert and a review task (§164.312(a)(2)(ii)).",
			[]proto.Message{&accessv1.BreakGlass{}, &accessv1.EndBreakGlass{}, &accessv1.Review{}}},
	} {
		if got, ok := law[c.law]; len(law) > 0 && (!ok || got != c.sentence) {
			t.Errorf("law %s is %q, and this test says %q", c.law, got, c.sentence)
		}
		for _, m := range c.messages {
			if !NeverHeld([]proto.Message{m}) {
				t.Errorf("law %s: %T can be held", c.law, m)
			}
			if why := never[nameOf(m)]; !strings.HasPrefix(why, "law ") {
				t.Errorf("%T is never held because %q, which names no law", m, why)
			}
		}
	}
}

// Every kind of message is on one of these lists, so that a new one makes somebody
// decide.
func TestWhatCanBeHeld(t *testing.T) {
	const never = "chain.SetParams chain.ScheduleUpgrade chain.CancelUpgrade chain.ReportReadiness identity.RotateKey identity.RevokeKey identity.RequestRecovery identity.CancelRecovery identity.RevokeCertificate " +
		"access.SetGuardRails access.BreakGlass access.EndBreakGlass access.Review " +
		"consent.Refuse consent.Narrow consent.Withdraw consent.RevokeDelegation consent.Restrict " +
		"threat.SetParams threat.Release threat.Reject threat.Appeal threat.Lift threat.RegisterModel threat.AddModelChunk " +
		"threat.SetModelStage threat.RollBack threat.SetPlaybook threat.RemovePlaybook threat.ResetBreaker " +
		"governance.SetParams governance.Propose governance.Vote governance.Cancel"
	const can = "identity.RegisterOrganisation identity.RegisterIdentity identity.AddKey identity.SetRecovery identity.SetAdministrators " +
		"identity.SetServices identity.Suspend identity.Reinstate identity.Deactivate identity.AssignRole identity.RevokeRole " +
		"identity.CreateGroup identity.ChangeGroupMembers identity.DeleteGroup identity.BindValidator identity.BindNode identity.UnbindNode identity.SetAuthorities " +
		"access.SetPolicies access.SetSchema access.PutEntities access.RemoveEntities access.SetSettings access.Decide access.Revoke " +
		"consent.Request consent.Give consent.Expire consent.Supersede consent.Rectify consent.Delegate consent.LiftRestriction " +
		"provenance.RegisterEntity provenance.RegisterActivity provenance.RegisterAgent provenance.ReviseEntity provenance.EndActivity " +
		"provenance.InvalidateEntity provenance.Relate provenance.Record provenance.AnchorBatch threat.RebaseAnchors"
	short := func(n protoreflect.FullName) string {
		return strings.Replace(strings.TrimPrefix(string(n), "chancery."), ".v1.", ".", 1)
	}
	var nevers, cans []string
	for _, fd := range tx.Arms() {
		m := (&txv1.Message{}).ProtoReflect().NewField(fd).Message().Interface()
		if name := short(nameOf(m)); NeverHeld([]proto.Message{m}) {
			nevers = append(nevers, name)
		} else {
			cans = append(cans, name)
		}
	}
	if got := strings.Join(nevers, " "); got != never {
		t.Errorf("never held:\n%s\nwant\n%s", got, never)
	}
	if got := strings.Join(cans, " "); got != can {
		t.Errorf("can be held:\n%s\nwant\n%s", got, can)
	}
}

// A withdrawal carries nothing past the score that is not exempt itself.
func TestOneOtherMessageIsEnoughToBeJudged(t *testing.T) {
	exempt := []proto.Message{&consentv1.Withdraw{}, &identityv1.RotateKey{}, &threatv1.Appeal{}}
	if !NeverHeld(exempt) {
		t.Fatal("several exempt messages can be held")
	}
	for i := range len(exempt) + 1 {
		if NeverHeld(slices.Insert(slices.Clone(exempt), i, proto.Message(&identityv1.AddKey{}))) {
			t.Fatalf("an AddKey at place %d is exempt", i)
		}
	}
	if NeverHeld(nil) {
		t.Fatal("nothing is exempt")
	}
}

func TestTheConsortiumIsExempt(t *testing.T) {
	d := newDesk(t)
	suspend := &identityv1.Suspend{Did: suspect}
	for author, want := range map[string]bool{chaintest.Consortium: true, house: false, suspect: false} {
		if got := d.m.exempt(d.View(), d.candidate(author, keeping{}, suspend)); got != want {
			t.Errorf("%s is exempt: %v", author, got)
		}
		if !d.m.exempt(d.View(), d.candidate(author, keeping{}, &consentv1.Withdraw{})) {
			t.Errorf("a withdrawal of %s is not exempt", author)
		}
	}
}

// Law 20: a request under an open break-glass is executed whatever its score; one that is
// beyond its scope, of somebody else, or beside a message that can be held, is judged.
func TestEmergencyAccessIsNeverHeld(t *testing.T) {
	p := testParams()
	p.FailClosed = []string{"chancery.access.v1.Decide", "chancery.provenance.v1.InvalidateEntity"}
	w := newWard(t, genesisOf(nil, p))
	medic, clerk := house+":medic", house+":clerk"
	ask := func(principal, kind string) proto.Message {
		return &accessv1.Decide{Request: &accessv1.Request{Principal: principal, Organisation: house, Resource: &accessv1.EntityUid{Type: kind, Id: "x"}}}
	}
	for i, c := range []struct {
		author   string
		messages []proto.Message
		held     bool
	}{
		{medic, []proto.Message{ask(medic, "Emergency")}, false},
		{house + ":robot-door", []proto.Message{ask(medic, "Emergency")}, false},
		{medic, []proto.Message{ask(medic, "Emergency"), never1("x")}, false},
		{medic, []proto.Message{ask(medic, "Other")}, true},
		{clerk, []proto.Message{ask(clerk, "Emergency")}, true},
		{medic, []proto.Message{ask(medic, "Emergency"), ask(clerk, "Emergency")}, true},
		{medic, []proto.Message{ask(medic, "Emergency"), held1("x")}, true},
	} {
		if r := w.does(c.author, c.messages...); (r.Code == chain.ErrHeld.Code) != c.held {
			t.Errorf("case %d: %v", i, r)
		}
	}
}
