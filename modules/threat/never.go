package threat

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// never is the kinds of messages that are executed whatever their score, with the
// reason. A score still raises an alarm. The others can be held; of these that is
// meant for:
//
//   - AddKey and SetRecovery: whoever stole a key adds one of their own, or their own
//     guardians, to keep what they have. The rightful owner does not need them to
//     defend: rotation, revocation and recovery are here.
//   - Suspend, Deactivate, RevokeRole, Revoke: whoever stole an administrator's key
//     locks others out with them.
//   - LiftRestriction, Give, Rectify, Delegate, Supersede: they permit more than
//     before.
var never = map[protoreflect.FullName]string{
	// A subject's no takes effect at once, law 6 and 11.
	nameOf(&consentv1.Withdraw{}):         "law 6: withdrawing takes no more steps than giving, and denies from the next block",
	nameOf(&consentv1.Refuse{}):           "law 6: no is said as easily as yes",
	nameOf(&consentv1.Narrow{}):           "law 6: it withdraws a part",
	nameOf(&consentv1.RevokeDelegation{}): "law 6: it withdraws what a delegate could give",
	nameOf(&consentv1.Restrict{}):         "law 11: restriction and objection block processing",

	// Emergencies are reviewed afterwards, law 20.
	nameOf(&accessv1.BreakGlass{}):    "law 20: emergency access waits for nobody; it has an alert and a review of its own",
	nameOf(&accessv1.EndBreakGlass{}): "law 20: it ends emergency access",
	nameOf(&accessv1.Review{}):        "law 20: an overdue review would keep a person from emergency access",

	// Whoever lost a key, or has one stolen, must not wait.
	nameOf(&identityv1.RotateKey{}):         "a key that is known to others is replaced at once; the old one's owner sees it, and can recover",
	nameOf(&identityv1.RevokeCertificate{}): "a certificate that is known to others is ended at once",
	nameOf(&identityv1.RevokeKey{}):         "a key that is known to others is ended at once",
	nameOf(&identityv1.RequestRecovery{}):   "guardians sign it, and its own delay protects the owner",
	nameOf(&identityv1.CancelRecovery{}):    "the owner stops guardians before the delay ends",

	// People decide over scores, law 15.
	nameOf(&threatv1.Appeal{}):  "law 15: the way to human review is open",
	nameOf(&threatv1.Release{}): "law 15: it is the human review",
	nameOf(&threatv1.Reject{}):  "law 15: it is the human review",
	nameOf(&threatv1.Lift{}):    "law 15: it is the human review",

	// The consortium's votes: more organisations signed them than reviewers are asked,
	// and a bad model must not keep itself from being replaced.
	nameOf(&chainv1.SetParams{}):       "a vote of the consortium",
	nameOf(&chainv1.ScheduleUpgrade{}): "a vote of the consortium",
	nameOf(&chainv1.CancelUpgrade{}):   "a vote of the consortium",
	nameOf(&chainv1.ReportReadiness{}): "it warns the others of an upgrade that goes wrong, and changes nothing else",
	nameOf(&accessv1.SetGuardRails{}):  "a vote of the consortium",
	nameOf(&threatv1.SetParams{}):      "a vote of the consortium",
	nameOf(&threatv1.RegisterModel{}):  "a vote of the consortium",
	nameOf(&threatv1.AddModelChunk{}):  "its bytes are those that the consortium named by their hash",
	nameOf(&threatv1.SetModelStage{}):  "a vote of the consortium",
	nameOf(&threatv1.RollBack{}):       "a vote of the consortium",
	nameOf(&threatv1.SetPlaybook{}):    "a vote of the consortium",
	nameOf(&threatv1.RemovePlaybook{}): "a vote of the consortium",
	nameOf(&threatv1.ResetBreaker{}):   "a vote of the consortium",

	// The way to such a vote. None of these has an effect before enough organisations agree.
	nameOf(&governancev1.SetParams{}): "a vote of the consortium",
	nameOf(&governancev1.Propose{}):   "organisations vote on it, and a bad model must not keep them from it",
	nameOf(&governancev1.Vote{}):      "a score must not decide who is heard in a vote",
	nameOf(&governancev1.Cancel{}):    "it takes back what was proposed",
}

func nameOf(m proto.Message) protoreflect.FullName { return m.ProtoReflect().Descriptor().FullName() }

// NeverHeld tells whether every one of the messages is of a kind that is never held
// or denied. One other is enough for the whole transaction to be judged, or a
// withdrawal would carry anything past the score.
func NeverHeld(messages []proto.Message) bool {
	for _, m := range messages {
		if _, ok := never[nameOf(m)]; !ok {
			return false
		}
	}
	return len(messages) > 0
}

// exempt tells whether a transaction is executed whatever its score: by its messages,
// or because the consortium is its author, for which more organisations signed than
// reviewers would be asked. A request for access under an open break-glass is never held
// either: law 20 lets emergency access wait for nobody, and all of it is reviewed.
func (m *Module) exempt(r chain.ReadCtx, c *chain.Candidate) bool {
	if c.Body.Author == m.deps.Identity.Consortium() || NeverHeld(c.Messages) {
		return true
	}
	for _, message := range c.Messages {
		ask, is := message.(*accessv1.Decide)
		if _, ok := never[nameOf(message)]; !ok && !(is && m.deps.Access.GlassOpen(r, ask.Request)) {
			return false
		}
	}
	return len(c.Messages) > 0
}
