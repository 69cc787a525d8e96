package consent

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/chancery/chancery/chain/chaintest"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// Small pools, so that what is drawn meets.
var (
	somePurposes   = []string{treatment, research, marketing}
	someCategories = []string{record, mental, contact, AnyData}
	somePeople     = []string{doctor, visitor, lakeside, clerk, mercy}
	someProcessing = []string{Access, "https://w3id.org/dpv#Disclose"}
	someTimes      = []int64{0, 10, 20, 30, 40}
)

func some(from []string, least int) *rapid.Generator[[]string] {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), least, len(from), rapid.ID[string])
}

func drawExclusion(t *rapid.T) *consentv1.Exclusion {
	e := &consentv1.Exclusion{
		Categories: some(someCategories, 0).Draw(t, "excluded categories"), Recipients: some(somePeople, 0).Draw(t, "excluded recipients"),
		Purposes: some(somePurposes, 0).Draw(t, "excluded purposes"), Processing: some(someProcessing, 0).Draw(t, "excluded processing"),
	}
	e.From, e.Until = drawPeriod(t)
	if checkExclusions([]*consentv1.Exclusion{e}) != nil {
		e.Purposes = []string{treatment}
	}
	return e
}

func drawPeriod(t *rapid.T) (from, until int64) {
	from, until = rapid.SampledFrom(someTimes).Draw(t, "from"), rapid.SampledFrom(someTimes).Draw(t, "until")
	if until != 0 && from >= until {
		from = 0
	}
	return from, until
}

func drawTerms(t *rapid.T) *consentv1.Terms {
	x := terms(purposes(some(somePurposes, 1).Draw(t, "purposes")...), of(some(someCategories, 1).Draw(t, "categories")...),
		to(some(somePeople, 0).Draw(t, "recipients")...))
	x.Processing = some(someProcessing, 0).Draw(t, "processing")
	x.ValidFrom, x.ValidUntil = drawPeriod(t)
	for range rapid.IntRange(0, 2).Draw(t, "exclusions") {
		x.Exclusions = append(x.Exclusions, drawExclusion(t))
	}
	return x
}

func drawQuestion(t *rapid.T) (Question, int64) {
	return Question{
		Subject: subjectOf("anna"), Controller: mercy, Recipient: rapid.SampledFrom(somePeople).Draw(t, "recipient"),
		Purpose: rapid.SampledFrom(somePurposes).Draw(t, "purpose"), Categories: some(someCategories, 0).Draw(t, "asked categories"),
		Processing: rapid.SampledFrom(someProcessing).Draw(t, "asked processing"),
	}, rapid.Int64Range(1, 50).Draw(t, "now")
}

// drawNarrow takes something out of terms, and now and then what is not in them.
func drawNarrow(t *rapid.T, x *consentv1.Terms) *consentv1.Narrow {
	out := func(label string, from []string) []string {
		if len(from) == 0 {
			return nil
		}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from)-1, rapid.ID[string]).Draw(t, label)
	}
	msg := &consentv1.Narrow{
		RemovePurposes: out("remove purposes", x.Purposes), RemoveCategories: out("remove categories", categoryIRIs(x)),
		RemoveRecipients: out("remove recipients", x.Recipients), RemoveProcessing: out("remove processing", x.Processing),
	}
	if rapid.IntRange(0, 3).Draw(t, "end earlier") == 0 {
		msg.ValidUntil = rapid.SampledFrom(someTimes).Draw(t, "new valid_until")
	}
	if rapid.IntRange(0, 9).Draw(t, "stray") == 0 {
		msg.RemovePurposes = some(somePurposes, 1).Draw(t, "stray purposes")
	}
	for range rapid.IntRange(0, 2).Draw(t, "added exclusions") {
		msg.AddExclusions = append(msg.AddExclusions, drawExclusion(t))
	}
	return msg
}

func permitted(t *consentv1.Terms, q Question, now int64) bool {
	_, why := covers(&consentv1.Record{Terms: t, GivenAt: 5}, q, chaintest.OrganisationOf(q.Recipient), now)
	return why == nil
}

func TestNarrowingNeverPermitsMore(t *testing.T) {
	accepted, smaller := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		before := drawTerms(t)
		after := before.CloneVT()
		if shrink(after, drawNarrow(t, before)) != nil {
			return
		}
		accepted++
		for range 20 {
			q, now := drawQuestion(t)
			was, is := permitted(before, q, now), permitted(after, q, now)
			if is && !was {
				t.Fatalf("narrowing\n%v\nto\n%v\npermits %v at %d", before, after, q, now)
			}
			if was && !is {
				smaller++
			}
		}
		if err := within(before, after); err != nil {
			t.Fatalf("narrowed terms are not within: %v", err)
		}
	})
	if accepted < 10 || smaller == 0 {
		t.Fatalf("%d narrowings were drawn, %d answers changed: too few to show anything", accepted, smaller)
	}
}

func TestAnswersWithinARequestPermitNoMore(t *testing.T) {
	fit := 0
	rapid.Check(t, func(t *rapid.T) {
		outer := drawTerms(t)
		inner := outer.CloneVT()
		// Few parts change at a time, so that many answers fit.
		changes := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 3 }
		if changes("other purposes") {
			inner.Purposes = some(somePurposes, 1).Draw(t, "inner purposes")
		}
		if changes("other categories") {
			of(some(someCategories, 1).Draw(t, "inner categories")...)(inner)
		}
		if changes("other recipients") {
			inner.Recipients = some(somePeople, 0).Draw(t, "inner recipients")
		}
		if changes("other period") {
			inner.ValidFrom, inner.ValidUntil = drawPeriod(t)
		}
		if changes("other processing") {
			inner.Processing = some(someProcessing, 0).Draw(t, "inner processing")
		}
		if changes("more exclusions") {
			inner.Exclusions = append(inner.Exclusions, drawExclusion(t))
		}
		if within(outer, inner) != nil {
			return
		}
		fit++
		for range 20 {
			q, now := drawQuestion(t)
			if permitted(inner, q, now) && !permitted(outer, q, now) {
				t.Fatalf("%v is within %v and permits %v at %d", inner, outer, q, now)
			}
		}
	})
	if fit < 10 {
		t.Fatalf("%d answers fitted: too few to show anything", fit)
	}
}

// Whatever ends, is narrowed or is restricted, in whatever order, no question that
// was denied before is permitted after it.
func TestPermitsIsMonotoneUnderWithdrawal(t *testing.T) { // law 6, law 11
	n := newNet(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := fmt.Sprintf("subject %d", run)
		var gives []proto.Message
		for range rapid.IntRange(1, 4).Draw(rt, "consents") {
			x := drawTerms(rt)
			x.Subject, x.ValidFrom, x.ValidUntil = subjectOf(name), 0, 0
			gives = append(gives, &consentv1.Give{Terms: x})
		}
		n.t = t
		n.Do(anna, gives...)
		var questions []Question
		for range 20 {
			q, _ := drawQuestion(rt)
			q.Subject = subjectOf(name)
			questions = append(questions, q)
		}
		answers := func() (out []bool) {
			for _, q := range questions {
				_, _, err := n.m.Covers(n.View(), q)
				out = append(out, err == nil)
			}
			return out
		}
		before := answers()
		for {
			d := n.m.dossier(n.View(), subjectOf(name), mercy)
			if len(d.Consents) == 0 {
				break
			}
			id := rapid.SampledFrom(d.Consents).Draw(rt, "which")
			var msg proto.Message = &consentv1.Withdraw{Id: id}
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				msg = &consentv1.Narrow{Id: id, AddExclusions: []*consentv1.Exclusion{drawExclusion(rt)}}
			case 1:
				if len(d.Restrictions) < maxRestrictions {
					msg = &consentv1.Restrict{
						Subject: subjectOf(name), Controller: mercy, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_OBJECTION,
						Purposes: some(somePurposes, 0).Draw(rt, "restricted purposes"),
					}
				}
			}
			n.Block(n.Tx(anna, []proto.Message{msg}))
			after := answers()
			for i := range questions {
				if after[i] && !before[i] {
					rt.Fatalf("%v is permitted after %v", questions[i], msg)
				}
			}
			before = after
		}
		for i := range questions {
			if before[i] {
				rt.Fatalf("%v is permitted although nothing is in force", questions[i])
			}
		}
	})
}

// Whoever could give a consent can withdraw it, with the id and nothing else.
func TestWhoeverMayGiveMayWithdraw(t *testing.T) { // law 6
	n := newNet(t)
	actors := []string{anna, bert, doctor, visitor, officer, clerk, admin, mercy, lakeside}
	run, gave := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := fmt.Sprintf("subject %d", run)
		first := &consentv1.Give{Terms: terms(about(name))}
		bound := rapid.Bool().Draw(rt, "the subject has keys")
		if bound {
			n.Do(anna, first)
		} else {
			first = onPaper(first.Terms)
			n.Do(officer, first)
		}
		for range rapid.IntRange(0, 2).Draw(rt, "delegates") {
			msg := &consentv1.Delegate{
				Subject: subjectOf(name), Controller: mercy, Delegate: rapid.SampledFrom([]string{bert, doctor, visitor, clerk}).Draw(rt, "delegate"),
				Kind: consentv1.DelegationKind_DELEGATION_KIND_REPRESENTATIVE,
				Scopes: rapid.SliceOfNDistinct(rapid.SampledFrom([]consentv1.Scope{
					consentv1.Scope_SCOPE_GIVE, consentv1.Scope_SCOPE_WITHDRAW, consentv1.Scope_SCOPE_NARROW,
				}), 1, 3, rapid.ID[consentv1.Scope]).Draw(rt, "scopes"),
			}
			author := anna
			if !bound {
				author, msg.Kind, msg.EvidenceHash = officer, consentv1.DelegationKind_DELEGATION_KIND_GUARDIAN, digest("deed")
			}
			n.Do(author, msg)
		}
		id := n.m.dossier(n.View(), subjectOf(name), mercy).Consents[0]
		for _, author := range actors {
			r := as{ReadCtx: n.View(), author: author}
			for _, give := range []*consentv1.Give{{Terms: terms(about(name))}, onPaper(terms(about(name)))} {
				if _, err := n.m.planGive(r, give); err != nil {
					continue
				}
				gave++
				if _, err := n.m.planWithdraw(r, &consentv1.Withdraw{Id: id}); err != nil {
					rt.Fatalf("%s may give (%s) and not withdraw: %v", author, give.Method, err)
				}
				if _, _, err := n.m.planNarrow(r, &consentv1.Narrow{Id: id, ValidUntil: r.Time() + 1}); err != nil {
					rt.Fatalf("%s may give (%s) and not narrow: %v", author, give.Method, err)
				}
			}
		}
	})
	if gave < run {
		t.Fatalf("only %d could give in %d runs", gave, run)
	}
}
