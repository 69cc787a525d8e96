package explain

import (
	"fmt"
	"strings"
	"time"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	nodev1 "github.com/chancery/chancery/proto/chancery/node/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Prose is an explanation in plain words, a paragraph each. It says what was asked for,
// what was found, why, what became of it, what would have to be different, and who may do
// what now; and what it could not look up.
func Prose(r *nodev1.ExplainResponse) []string {
	out := []string{asked(r), found(r)}
	if why := why(r); why != "" {
		out = append(out, why)
	}
	out = append(out, became(r))
	if len(r.Otherwise) > 0 {
		out = append(out, "What would have to be different. "+strings.Join(r.Otherwise, " "))
	}
	if now := now(r); now != "" {
		out = append(out, now)
	}
	if len(r.Gaps) > 0 {
		out = append(out, "What is not known here. "+strings.Join(r.Gaps, " "))
	}
	return out
}

func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05") + " UTC" }

// short is the full name of a message without the parts that all share.
func short(name string) string {
	p := strings.Split(name, ".")
	if len(p) == 4 && p[0] == "chancery" {
		return p[1] + "." + p[3]
	}
	return name
}

func listed(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = short(n)
	}
	return strings.Join(out, ", ")
}

func asked(r *nodev1.ExplainResponse) string {
	who := r.Author
	switch {
	case who == "":
		who = "somebody whom this node no longer has on record"
	case r.Organisation != "" && r.Organisation != r.Author:
		who += ", of " + r.Organisation + ","
	}
	what := "to carry out a transaction"
	if len(r.Kinds) > 0 {
		what = "to carry out: " + listed(r.Kinds)
	}
	return fmt.Sprintf("What was asked for. On %s, in block %d, %s asked the chain %s.", clock(r.Time), r.Height, who, what)
}

func found(r *nodev1.ExplainResponse) string {
	v := r.Verdict
	if v == nil {
		return "What was found. It was not scored: scoring was off, or it ran out of units before it was scored."
	}
	if len(r.Model) == 0 {
		return "What was found. No model could score it. Of such transactions, those of kinds that the consortium named are held, and all others are executed."
	}
	name := fmt.Sprintf("the model %.8x…", r.Model)
	if r.ModelName != "" {
		name = fmt.Sprintf("the model %s (%.8x…)", r.ModelName, r.Model)
	}
	text := fmt.Sprintf("What was found. Every validator computed the same score for it with %s: %d of 10000, where 0 is ordinary.", name, v.Score)
	switch {
	case r.ModelName == "":
	case r.HoldScore == 0:
		text += " This model holds nothing."
	case r.DenyScore == 0:
		text += fmt.Sprintf(" From %d on a transaction is held until people decide; this model denies nothing.", r.HoldScore)
	default:
		text += fmt.Sprintf(" From %d on a transaction is held until people decide, from %d on it is denied.", r.HoldScore, r.DenyScore)
	}
	return text + " The score says how unusual it is or how much it resembles misuse. It is no finding that anybody did wrong."
}

func why(r *nodev1.ExplainResponse) string {
	var out []string
	if p := r.Hold.GetPlaybook(); p != "" {
		out = append(out, fmt.Sprintf("The score alone did not decide: the consortium's playbook %q asked for it to be held.", p))
	}
	for i, x := range r.Reasons {
		lead := "It also counted that"
		if i == 0 {
			lead = "What counted most is that"
		}
		text := fmt.Sprintf("%s %s.", lead, x.Sentence)
		if x.Value != "" {
			text = strings.TrimSuffix(text, ".") + "; here: " + x.Value + "."
		}
		out = append(out, text)
	}
	for _, x := range r.Rules {
		out = append(out, fmt.Sprintf("The rule %s held: %s. It looked at: %s.", x.Name, x.Reason, strings.Join(x.Conditions, "; ")))
	}
	if len(out) == 0 {
		return ""
	}
	return "Why. " + strings.Join(out, " ")
}

func became(r *nodev1.ExplainResponse) string {
	const head = "What became of it. "
	switch r.Outcome {
	case nodev1.Outcome_OUTCOME_EXECUTED:
		text := "It was executed."
		if r.HoldScore > 0 && r.Verdict.GetScore() >= r.HoldScore {
			text += " Its score alone would have had it held; it was not, because of who or what it is (see docs/threat.md, What is never held), or because verdicts were not carried out at that time."
		}
		return head + text
	case nodev1.Outcome_OUTCOME_FAILED:
		return head + fmt.Sprintf("It was executed and failed for a reason of its own (%s/%d): %s.", r.Codespace, r.Code, strings.TrimSuffix(r.Log, "."))
	}
	h := r.Hold
	text := "It was held: kept, and not executed."
	if r.Outcome == nodev1.Outcome_OUTCOME_DENIED {
		text = "It was denied: kept, and not executed."
	}
	for _, o := range h.GetReviews() {
		word := "for rejecting it"
		if o.Release {
			word = "for releasing it"
		}
		text += fmt.Sprintf(" On %s %s, for %s, spoke %s.", clock(o.Time), o.Reviewer, o.Organisation, word)
	}
	for _, a := range h.GetAppeals() {
		text += fmt.Sprintf(" On %s %s appealed.", clock(a.Time), a.Author)
	}
	switch h.GetStatus() {
	case threatv1.HoldStatus_HOLD_STATUS_HELD:
		text += fmt.Sprintf(" It waits for reviewers until %s.", clock(h.ExpiresAt))
	case threatv1.HoldStatus_HOLD_STATUS_RELEASED:
		text += fmt.Sprintf(" Reviewers released it on %s, and it was executed.", clock(h.EndedTime))
	case threatv1.HoldStatus_HOLD_STATUS_FAILED:
		text += fmt.Sprintf(" Reviewers released it on %s, and its execution failed (%s/%d).", clock(h.EndedTime), h.Codespace, h.Code)
	case threatv1.HoldStatus_HOLD_STATUS_REJECTED:
		text += fmt.Sprintf(" Reviewers rejected it on %s.", clock(h.EndedTime))
	case threatv1.HoldStatus_HOLD_STATUS_EXPIRED:
		text += fmt.Sprintf(" Nobody decided in time: it expired on %s and will not be executed.", clock(h.EndedTime))
	}
	return head + text
}

func now(r *nodev1.ExplainResponse) string {
	h := r.Hold
	if h == nil {
		return ""
	}
	const who = "its author, the author's organisation, or an administrator of it"
	switch h.Status {
	case threatv1.HoldStatus_HOLD_STATUS_HELD:
		by := "reviewers of several member organisations, one of them not the author's"
		if h.Approvals > 0 {
			by = fmt.Sprintf("%d administrators of %s who did not sign it", h.Approvals, h.Organisation)
		}
		return fmt.Sprintf("Who may do what now. A person decides, not the program: %s release or reject it. An appeal by %s brings reasons before them and gives them more time.", by, who)
	case threatv1.HoldStatus_HOLD_STATUS_DENIED, threatv1.HoldStatus_HOLD_STATUS_REJECTED:
		if h.ExpiresAt > 0 {
			return fmt.Sprintf("Who may do what now. Until %s an appeal by %s puts it before human reviewers.", clock(h.ExpiresAt), who)
		}
		return "Who may do what now. It can be appealed no more. The author may submit a new transaction, which is judged anew."
	case threatv1.HoldStatus_HOLD_STATUS_EXPIRED:
		return "Who may do what now. The author may submit a new transaction, which is judged anew."
	}
	return ""
}

// Outcome is what a result says became of a transaction.
func Outcome(r *chainv1.TxResult) nodev1.Outcome {
	switch r.GetVerdict().GetRuling() {
	case chainv1.Ruling_RULING_HOLD:
		return nodev1.Outcome_OUTCOME_HELD
	case chainv1.Ruling_RULING_DENY:
		return nodev1.Outcome_OUTCOME_DENIED
	}
	if r.GetCode() != 0 {
		return nodev1.Outcome_OUTCOME_FAILED
	}
	return nodev1.Outcome_OUTCOME_EXECUTED
}
