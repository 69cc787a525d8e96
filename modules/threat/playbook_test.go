package threat

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/modules/threat/features"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	notify  = threatv1.Action_ACTION_NOTIFY
	stepUp  = threatv1.Action_ACTION_STEP_UP
	holds   = threatv1.Action_ACTION_HOLD
	bars    = threatv1.Action_ACTION_SUSPEND
	revokes = threatv1.Action_ACTION_REVOKE_GRANTS
	rotates = threatv1.Action_ACTION_ROTATE_KEYS

	always = `permit (principal, action, resource);`
)

// book is a playbook that lasts a minute.
func book(name, when string, actions ...threatv1.Action) *threatv1.Playbook {
	p := &threatv1.Playbook{Name: name, Text: "for a test", When: when, Actions: actions, LastsMs: minResponseMs}
	for _, a := range actions {
		if a == stepUp {
			p.StepUpApprovals = 2
		}
	}
	return p
}

func (w *town) sets(p *threatv1.Playbook) {
	w.t.Helper()
	w.Do(chaintest.Consortium, &threatv1.SetPlaybook{Playbook: p})
}

func TestSetAndRemovePlaybook(t *testing.T) {
	w := newTown(t)
	w.Fails(ErrNotConsortium, birch, &threatv1.SetPlaybook{Playbook: book("night", always, holds)})
	r := w.Do(chaintest.Consortium, &threatv1.SetPlaybook{Playbook: book("night", always, holds)})
	first := chaintest.Response[threatv1.SetPlaybookResponse](t, r).Version
	if e := chaintest.Events[threatv1.PlaybookChanged](t, r); len(e) != 1 || e[0].Name != "night" || e[0].Playbook.Version != first || first == 0 {
		t.Errorf("events: %v", e)
	}
	w.sets(book("day", always, notify))
	second := chaintest.Response[threatv1.SetPlaybookResponse](t, w.Do(chaintest.Consortium, &threatv1.SetPlaybook{Playbook: book("night", always, notify)})).Version
	if second <= first {
		t.Errorf("versions %d and %d", first, second)
	}
	list, err := w.queries().Playbooks(context.Background(), &threatv1.PlaybooksRequest{})
	if err != nil || len(list.Playbooks) != 2 || list.Playbooks[0].Name != "day" || list.Playbooks[1].Version != second {
		t.Errorf("%v, %v", list, err)
	}
	w.CheckGenesis()
	w.Fails(ErrNotConsortium, birch, &threatv1.RemovePlaybook{Name: "night"})
	w.Fails(ErrNotFound, chaintest.Consortium, &threatv1.RemovePlaybook{Name: "none"})
	w.Fails(ErrInvalid, chaintest.Consortium, &threatv1.RemovePlaybook{})
	if e := chaintest.Events[threatv1.PlaybookChanged](t, w.Do(chaintest.Consortium, &threatv1.RemovePlaybook{Name: "night"})); len(e) != 1 || e[0].Playbook != nil {
		t.Errorf("events: %v", e)
	}
	// A name that comes back has no version that it had.
	if again := chaintest.Response[threatv1.SetPlaybookResponse](t, w.Do(chaintest.Consortium, &threatv1.SetPlaybook{Playbook: book("night", always, holds)})).Version; again <= second {
		t.Errorf("version %d again", again)
	}
	for i := range maxPlaybooks - 2 {
		w.sets(book(fmt.Sprintf("more-%d", i), always, holds))
	}
	w.Fails(ErrTooMany, chaintest.Consortium, &threatv1.SetPlaybook{Playbook: book("one-more", always, holds)})
	w.sets(book("night", always, notify)) // a change is no more
}

func TestPlaybooksThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(*threatv1.Playbook){
		"no name":                func(p *threatv1.Playbook) { p.Name = "" },
		"a long name":            func(p *threatv1.Playbook) { p.Name = strings.Repeat("a", 41) },
		"a name with spaces":     func(p *threatv1.Playbook) { p.Name = "a b" },
		"a long text":            func(p *threatv1.Playbook) { p.Text = strings.Repeat("a", maxPlaybookText+1) },
		"no action":              func(p *threatv1.Playbook) { p.Actions = nil },
		"an unknown action":      func(p *threatv1.Playbook) { p.Actions = []threatv1.Action{99} },
		"an unspecified action":  func(p *threatv1.Playbook) { p.Actions = []threatv1.Action{0} },
		"actions out of order":   func(p *threatv1.Playbook) { p.Actions = []threatv1.Action{holds, notify} },
		"an action twice":        func(p *threatv1.Playbook) { p.Actions = []threatv1.Action{notify, notify} },
		"step-up without number": func(p *threatv1.Playbook) { p.Actions = []threatv1.Action{stepUp} },
		"a number without it":    func(p *threatv1.Playbook) { p.StepUpApprovals = 1 },
		"too many approvals":     func(p *threatv1.Playbook) { p.Actions, p.StepUpApprovals = []threatv1.Action{stepUp}, maxStepUp+1 },
		"both holds":             func(p *threatv1.Playbook) { p.Actions, p.StepUpApprovals = []threatv1.Action{stepUp, holds}, 1 },
		"too short":              func(p *threatv1.Playbook) { p.LastsMs = minResponseMs - 1 },
		"too long":               func(p *threatv1.Playbook) { p.LastsMs = maxResponseMs + 1 },
		"a negative time":        func(p *threatv1.Playbook) { p.Actions, p.LastsMs = []threatv1.Action{holds}, -1 },
		"no condition":           func(p *threatv1.Playbook) { p.When = "" },
		"a comment alone":        func(p *threatv1.Playbook) { p.When = "// nothing" },
	} {
		p := book("night", always, notify)
		change(p)
		if err := checkPlaybook(p); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	p := book("night", always, holds)
	p.LastsMs = 0
	if err := checkPlaybook(p); err != nil {
		t.Errorf("holding needs no time: %v", err)
	}
	if err := checkPlaybook(nil); err == nil {
		t.Error("nothing is accepted")
	}
	w := newTown(t)
	p.Version = 7
	w.Fails(ErrBadPlaybook, chaintest.Consortium, &threatv1.SetPlaybook{Playbook: p})
	w.Fails(ErrBadPlaybook, chaintest.Consortium, &threatv1.SetPlaybook{})
}

func when(expression string) string {
	return "permit (principal, action, resource) when { " + expression + " };"
}

func TestConditionsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no Cedar":                  "hello",
		"no UTF-8":                  when("context.kinds.contains(\"\xff\")"),
		"too long":                  when(`context.score > 1 // ` + strings.Repeat("a", maxConditionBytes)),
		"deep brackets":             when(strings.Repeat("(", 40) + "true" + strings.Repeat(")", 40)),
		"brackets after a string":   when(`"\"" == "" && ` + strings.Repeat("(", 40) + "true" + strings.Repeat(")", 40)),
		"another kind of comment":   when(`true /* " */ && ` + strings.Repeat("(", 40) + "true" + strings.Repeat(")", 40)),
		"many signs":                when(strings.Repeat("!", 65) + "true"),
		"many members":              when("context has " + strings.Repeat("a.", 257) + "a"),
		"many ifs":                  when(strings.Repeat("if true then true else ", 40) + "true"),
		"many nodes":                when("true" + strings.Repeat(" && true", 600)),
		"many policies":             strings.Repeat(always, maxConditionPolicies+1),
		"an unknown attribute":      when("context.scroe > 1"),
		"a question for an unknown": when("context has scroe"),
		"an unknown of the author":  when(`principal.name == "a"`),
		"an attribute of a kind":    when(`action.class == "policy"`),
		"an attribute of a thing":   when(`resource.owner == "a"`),
		"what cannot be compared":   when(`context.score > "high"`),
		"a number with a point":     when(`context.score > 0.5`),
		"a slot":                    `permit (principal == ?principal, action, resource);`,
	} {
		if _, err := parseCondition(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestConditionsSeeWhatIsKnown(t *testing.T) {
	w := newTown(t)
	s := suspected(amy, 7000, few(decide("r1"), decide("r2")))
	s.context = &features.Context{Author: amy, AuthorOrganisation: alder}
	s.context.Edge = features.Use{Known: true}
	s.verdict.Ruling = chainv1.Ruling_RULING_HOLD
	facts := s.facts[0]
	for _, c := range []struct {
		when string
		met  bool
	}{
		{always, true},
		{`forbid (principal, action, resource);`, false},
		{always + `forbid (principal, action, resource);`, false},
		{`permit (principal == Chancery::Person::"` + amy + `", action, resource);`, true},
		{`permit (principal is Chancery::Organisation, action, resource);`, false},
		{`permit (principal in Chancery::Organisation::"` + alder + `", action, resource);`, true},
		{`permit (principal in Chancery::Role::"alder/nurse", action, resource);`, true},
		{`permit (principal in Chancery::Role::"alder/doctor", action, resource);`, false},
		{`permit (principal, action == Action::"chancery.access.v1.Decide", resource);`, true},
		{`permit (principal, action == Action::"chancery.access.v1.Revoke", resource);`, false},
		{`permit (principal, action, resource == Chancery::Resource::"` + facts.Resource + `");`, true},
		{when(`resource == Chancery::Resource::"` + s.facts[1].Resource + `"`), true}, // the second message
		{when(`principal.kind == "person" && principal.organisation == "` + alder + `" && principal.roles.contains("nurse")`), true},
		{when(`principal.identityAge == 5000 && principal.keyAge > 0`), true},
		{when(`context.score == 7000 && context.ruling == "hold"`), true},
		{when(`context.commonRisk == 0 && context.organisationRisk == 0`), true},
		{when(`context.kinds == ["chancery.access.v1.Decide"] && context.messages == 2 && context.signers == 1 && context.size == 300`), true},
		{when(`context.class == "decision" && context.owner == "` + birch + `" && context.crossOrganisation`), true},
		{when(fmt.Sprintf("context.sensitivity == %d && context.items == %d", facts.Sensitivity, facts.Items)), true},
		{when(`context.fresh && !context.emergency && !context.privilege && !context.destructive && !context.onBehalf`), true},
		{when(`context.hour == 8 && context.weekday == 1`), true}, // the tests' genesis is on a Monday, 08:00 UTC
		{when(`context.hour > 100`), false},
	} {
		if err := checkPlaybook(book("a", c.when, holds)); err != nil {
			t.Errorf("%s: %v", c.when, err)
			continue
		}
		if got := w.meets(c.when, s); got != c.met {
			t.Errorf("%s: %v", c.when, got)
		}
	}
}

// meets tells whether a situation meets a condition in the latest state.
func (w *town) meets(text string, s *situation) bool {
	w.t.Helper()
	c, err := parseCondition(text)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, q := range w.m.ask(w.View(), s).messages {
		if met, _ := c.ask(&q); met {
			return true
		}
	}
	return false
}

// The questions have the attributes that conditions may ask for, each with its type, and
// no others.
func TestTheAttributesAreThoseThatAreNamed(t *testing.T) {
	w := newTown(t)
	q := w.m.ask(w.View(), suspected(amy, 7000, few(decide("r1")))).messages[0]
	if len(q.context) != len(contextAttributes) || q.entity.Len() != len(principalAttributes) {
		t.Fatalf("%d and %d attributes", len(q.context), q.entity.Len())
	}
	for name, value := range contextAttributes {
		if got, ok := q.context[name]; !ok || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", value) {
			t.Errorf("context.%s is %T, want %T", name, got, value)
		}
	}
	for name, value := range principalAttributes {
		if got, ok := q.entity.Get(name); !ok || fmt.Sprintf("%T", got) != fmt.Sprintf("%T", value) {
			t.Errorf("principal.%s is %T, want %T", name, got, value)
		}
	}
}

// The work of a condition grows with what it does.
func TestStepsOfAConditionAreBounded(t *testing.T) {
	steps := func(text string, longest, widest uint64) uint64 {
		c, err := parseCondition(text)
		if err != nil {
			t.Fatal(err)
		}
		return c.steps(longest, widest, 3)
	}
	small := steps(always, 10, 1)
	for name, more := range map[string]uint64{
		"nodes":    steps(when("context.score > 1 || context.items > 1"), 10, 1),
		"compares": steps(when(`context.kinds.containsAll(["a", "b"])`), 10, 1000),
		"patterns": steps(when(`context.owner like "*a*b*"`), 100_000, 1),
		"searches": steps(when(`principal in Chancery::Role::"a/b"`), 10, 1),
	} {
		if more <= small {
			t.Errorf("%s: %d steps, where nothing takes %d", name, more, small)
		}
	}
	if wide, narrow := steps(when(`context.kinds.containsAll(["a"])`), 10, 1000), steps(when(`context.kinds.containsAll(["a"])`), 10, 10); wide < 1000*1000/64 || narrow > 1000 {
		t.Errorf("%d and %d steps", wide, narrow)
	}
}

// Whatever enters as a condition is refused, or evaluates, twice with the same answer.
func FuzzCondition(f *testing.F) {
	f.Add(always)
	f.Add(when(`context.kinds.contains("a") && principal.roles.containsAny(["x", "y"]) && context.owner like "did:*"`))
	f.Add(when(`if context has owner then ip("10.0.0.1").isInRange(ip("10.0.0.0/8")) else [1, -2].isEmpty()`))
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCondition(text)
		if err != nil {
			return
		}
		q := question{principal: types.NewEntityUID("Chancery::Person", amy), entity: types.NewRecord(principalAttributes), kind: "a", resource: "b", context: contextAttributes}
		first, _ := c.ask(&q)
		second, _ := c.ask(&q)
		if first != second {
			t.Fatalf("%q is %v and %v", text, first, second)
		}
	})
}
