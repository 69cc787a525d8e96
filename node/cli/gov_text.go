package cli

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
)

// proposalView is what people ask of a proposal.
type proposalView struct {
	proposal *governancev1.Proposal
	tally    *governancev1.Tally
	ballots  []*governancev1.Ballot
	outcome  *governancev1.Outcome // nil: it was not executed
}

func statusText(s governancev1.Status) string { return choiceOf(s.Descriptor(), int32(s)) }

func kindsText(kinds []governancev1.Kind) string {
	var out []string
	for _, k := range kinds {
		out = append(out, choiceOf(k.Descriptor(), int32(k)))
	}
	return strings.Join(out, ", ")
}

func proposalTable(list []*governancev1.Proposal) string {
	if len(list) == 0 {
		return "(none)\n"
	}
	rows := [][]string{{"ID", "STATUS", "KINDS", "BY", "UNTIL", "TITLE"}}
	for _, p := range list {
		until := p.EndedAt
		switch p.Status {
		case governancev1.Status_STATUS_VOTING:
			until = p.VotingEndsAt
		case governancev1.Status_STATUS_PASSED:
			until = p.ExecutesAt
		}
		rows = append(rows, []string{fmt.Sprint(p.Id), statusText(p.Status), kindsText(p.Kinds), p.Organisation, stamp(until), p.Title})
	}
	return table(rows)
}

// typedMessages are the messages of a proposal as objects.
func typedMessages(raws [][]byte) ([]typed, error) {
	out := []typed{}
	for _, raw := range raws {
		m, err := tx.DecodeMessage(raw)
		if err != nil {
			return nil, err
		}
		value, err := protoJSON(m)
		if err != nil {
			return nil, err
		}
		out = append(out, typed{string(m.ProtoReflect().Descriptor().FullName()), value})
	}
	return out, nil
}

func (v *proposalView) json() (facts, error) {
	messages, err := typedMessages(v.proposal.Messages)
	if err != nil {
		return nil, err
	}
	p := v.proposal.CloneVT()
	p.Messages = nil
	proposal, err := protoJSON(p)
	if err != nil {
		return nil, err
	}
	tally, err := protoJSON(v.tally)
	if err != nil {
		return nil, err
	}
	votes := []json.RawMessage{}
	for _, b := range v.ballots {
		raw, err := protoJSON(b)
		if err != nil {
			return nil, err
		}
		votes = append(votes, raw)
	}
	out := facts{{"proposal", json.RawMessage(proposal)}, {"messages", messages}, {"tally", json.RawMessage(tally)}, {"votes", votes}}
	if v.outcome == nil {
		return append(out, fact{"outcome", nil}), nil
	}
	outcome, err := outcomeJSON(v.outcome)
	return append(out, fact{"outcome", outcome}), err
}

func outcomeJSON(o *governancev1.Outcome) (facts, error) {
	events, err := typedEvents(o.Events)
	return facts{
		{"height", o.Height}, {"time", o.Time}, {"code", o.Code}, {"codespace", o.Codespace}, {"log", o.Log}, {"units", o.Units},
		{"events", events}, {"events_left_out", o.EventsLeftOut}, {"events_hash", digits(o.EventsHash)}, {"tx_id", digits(o.TxId)},
	}, err
}

func typedEvents(list []*chainv1.Event) ([]typed, error) {
	out := []typed{}
	for _, e := range list {
		value, err := valueJSON(e.Type, e.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, typed{e.Type, value})
	}
	return out, nil
}

func (v *proposalView) text() (string, error) {
	p, t := v.proposal, v.tally
	head := facts{
		{"proposal", p.Id}, {"title", p.Title}, {"status", statusText(p.Status)}, {"by", p.Organisation}, {"kinds", kindsText(p.Kinds)},
		{"emergency", p.Emergency}, {"rationale", p.RationaleLink}, {"rationale hash", digits(p.RationaleHash)},
		{"made", moment(p.MadeAt)}, {"voting ends", moment(p.VotingEndsAt)},
	}
	if p.ExecutesAt != 0 {
		head = append(head, fact{"executes", moment(p.ExecutesAt)})
	}
	if p.EndedAt != 0 {
		head = append(head, fact{"ended", moment(p.EndedAt)})
	}
	var b strings.Builder
	b.WriteString(head.text())
	b.WriteString("\nneeds " + ruleText(p.Rule) + "\n")
	for i, raw := range p.Messages {
		m, err := tx.DecodeMessage(raw)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\nmessage %d %s\n%s", i, shortType(string(m.ProtoReflect().Descriptor().FullName())), indented(render(m.ProtoReflect())))
	}
	b.WriteString("\n" + tallyText(t))
	if len(v.ballots) > 0 {
		rows := [][]string{{"ORGANISATION", "VOTE", "WHEN", "CHANGED"}}
		for _, x := range v.ballots {
			rows = append(rows, []string{x.Organisation, choiceOf(x.Choice.Descriptor(), int32(x.Choice)), stamp(x.Time), fmt.Sprint(x.Changes)})
		}
		b.WriteString("\n" + table(rows))
	}
	if v.outcome != nil {
		b.WriteString("\n" + outcomeText(v.outcome))
	}
	return b.String(), nil
}

// share is millionths as a percentage.
func share(ppm uint32) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%04d", ppm/10_000, ppm%10_000), "0"), ".") + " %"
}

func ruleText(r *governancev1.Rule) string {
	return fmt.Sprintf("%s of all to vote, %s yes of all but those who abstain; %s veto end it; time-lock %s",
		share(r.Quorum), share(r.Threshold), share(r.Veto), spanText(r.TimeLockMs))
}

// spanText is milliseconds in words.
func spanText(ms int64) string {
	switch {
	case ms == 0:
		return "none"
	case ms%86_400_000 == 0:
		return fmt.Sprintf("%dd", ms/86_400_000)
	case ms%3_600_000 == 0:
		return fmt.Sprintf("%dh", ms/3_600_000)
	case ms%60_000 == 0:
		return fmt.Sprintf("%dm", ms/60_000)
	}
	return fmt.Sprintf("%dms", ms)
}

func tallyText(t *governancev1.Tally) string {
	f := facts{
		{"yes", fmt.Sprintf("%d of %d, by %d organisations of at least %d", t.Yes, t.Total, t.YesOrganisations, t.LeastOrganisations)},
		{"no", t.No}, {"abstain", t.Abstain}, {"veto", t.Veto},
		{"missing", fmt.Sprintf("%d to vote for the quorum, %d yes", t.QuorumMissing, t.YesMissing)},
		{"to veto it", t.VetoMissing},
	}
	if len(t.Waiting) > 0 {
		f = append(f, fact{"have not voted", t.Waiting})
	}
	return f.text()
}

func outcomeText(o *governancev1.Outcome) string {
	var b strings.Builder
	if o.Code == 0 {
		fmt.Fprintf(&b, "executed at height %d with %d units\n", o.Height, o.Units)
	} else {
		fmt.Fprintf(&b, "failed at height %d without effect: %s\n", o.Height, clean(o.Log))
	}
	for _, e := range o.Events {
		fmt.Fprintf(&b, "event %s\n", shortType(e.Type))
		if m := decode(e.Type, e.Value); m != nil {
			b.WriteString(indented(render(m.ProtoReflect())))
		}
	}
	if o.EventsLeftOut > 0 {
		fmt.Fprintf(&b, "and %d events more\n", o.EventsLeftOut)
	}
	return b.String()
}

// fieldChange is a field that would be another.
type fieldChange struct {
	Field  string `json:"field"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// differences are the fields in which two records differ, sorted; none where one of them
// is not there or is not told.
func differences(before, after string) []fieldChange {
	var was, is any
	if json.Unmarshal([]byte(before), &was) != nil || json.Unmarshal([]byte(after), &is) != nil {
		return nil
	}
	old, now := map[string]string{}, map[string]string{}
	flatten("", was, old)
	flatten("", is, now)
	var out []fieldChange
	for name, v := range old {
		if now[name] != v {
			out = append(out, fieldChange{name, v, now[name]})
		}
	}
	for name, v := range now {
		if _, ok := old[name]; !ok {
			out = append(out, fieldChange{name, "", v})
		}
	}
	slices.SortFunc(out, func(a, b fieldChange) int { return strings.Compare(a.Field, b.Field) })
	return out
}

// flatten names every value of a JSON document by its way.
func flatten(way string, v any, into map[string]string) {
	switch t := v.(type) {
	case map[string]any:
		for name, x := range t {
			flatten(strings.TrimPrefix(way+"."+name, "."), x, into)
		}
	case []any:
		for i, x := range t {
			flatten(fmt.Sprintf("%s[%d]", way, i), x, into)
		}
	case string:
		into[way] = t
	default:
		raw, _ := json.Marshal(t)
		into[way] = string(raw)
	}
}

func changeKind(c *governancev1.Change) string {
	switch {
	case c.BeforeBytes == 0:
		return "made"
	case c.AfterBytes == 0:
		return "removed"
	}
	return "changed"
}

func previewJSON(r *governancev1.PreviewResponse) (facts, error) {
	outcome, err := outcomeJSON(r.Outcome)
	if err != nil {
		return nil, err
	}
	rule, err := protoJSON(r.Rule)
	if err != nil {
		return nil, err
	}
	type changeForm struct {
		Collection string        `json:"collection"`
		Key        string        `json:"key"`
		Change     string        `json:"change"`
		Fields     []fieldChange `json:"fields"`
	}
	changes := []changeForm{}
	for _, c := range r.Changes {
		changes = append(changes, changeForm{c.Collection, c.Key, changeKind(c), append([]fieldChange{}, differences(c.Before, c.After)...)})
	}
	kinds := []string{}
	for _, k := range r.Kinds {
		kinds = append(kinds, choiceOf(k.Descriptor(), int32(k)))
	}
	return facts{
		{"height", r.Height}, {"outcome", outcome}, {"kinds", kinds}, {"rule", json.RawMessage(rule)},
		{"changes", changes}, {"changes_left_out", r.ChangesLeftOut},
	}, nil
}

func previewText(r *governancev1.PreviewResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "on the state of height %d\n", r.Height)
	if r.Outcome.Code == 0 {
		fmt.Fprintf(&b, "it would be executed, with %d units\n", r.Outcome.Units)
	} else {
		fmt.Fprintf(&b, "it would be refused: %s\n", clean(r.Outcome.Log))
	}
	fmt.Fprintf(&b, "kinds %s\nneeds %s\n", kindsText(r.Kinds), ruleText(r.Rule))
	for _, e := range r.Outcome.Events {
		fmt.Fprintf(&b, "\nevent %s\n", shortType(e.Type))
		if m := decode(e.Type, e.Value); m != nil {
			b.WriteString(indented(render(m.ProtoReflect())))
		}
	}
	module := ""
	for _, c := range r.Changes {
		of, name, _ := strings.Cut(c.Collection, "/")
		if of != module {
			module = of
			fmt.Fprintf(&b, "\nmodule %s\n", clean(module))
		}
		fmt.Fprintf(&b, "  %s %s %s\n", changeKind(c), clean(name), clean(readable(c.Key)))
		for _, d := range differences(c.Before, c.After) {
			fmt.Fprintf(&b, "    %s: %s -> %s\n", clean(d.Field), dash(clean(d.Before)), dash(clean(d.After)))
		}
	}
	if r.ChangesLeftOut > 0 {
		fmt.Fprintf(&b, "and %d records more\n", r.ChangesLeftOut)
	}
	return b.String()
}

// readable is a key in words, or in hexadecimal where it holds what is not printed.
func readable(key string) string {
	if printable(key) {
		return key
	}
	return hex.EncodeToString([]byte(key))
}
