package model

// Sentence is something that always holds. Either function may be nil.
type Sentence struct {
	Says  string
	State func(m Model, s *State) bool
	Step  func(m Model, before *State, a Action, out Outcome, after *State) bool
}

// The sentences.
const (
	WithdrawnIsNotHonoured = "a consent is not honoured from the moment on at which it is withdrawn"
	EndingPermitsNoMore    = "what ends, narrows or restricts permits nothing that was not permitted before"
	ReleasedByQuorum       = "a held transaction is executed at most once, and only when as many organisations as it takes, one of them not its author's, released it"
	NeverHeldIsNotHeld     = "what is never held is executed at once"
	NothingVanishes        = "what was not executed stays on record, waits for one thing at a time, and never changes when it is over"
	EverythingEnds         = "left alone, what waits ends when its time is over"
	NoneReachesAThird      = "no change gives an organisation a larger share that is a third of the power or more, where four organisations or more have validators"
	ThirdsHold             = "at each height no organisation has a third of the power, where four organisations or more always had validators"
	ActsTwoBlocksLater     = "a change of the validators acts two blocks later, neither before nor after"
	TurnoverIsBounded      = "validators that the chain was seen to go on with keep two thirds of theirs, and have more than two thirds of those that come to act"
)

// Sentences are all sentences.
func Sentences() []Sentence {
	return []Sentence{
		{Says: WithdrawnIsNotHonoured, State: withdrawnIsNotHonoured, Step: decidesOnWhatStands},
		{Says: EndingPermitsNoMore, Step: endingPermitsNoMore},
		{Says: ReleasedByQuorum, Step: releasedByQuorum},
		{Says: NeverHeldIsNotHeld, State: noneIsExempt, Step: exemptIsExecuted},
		{Says: NothingVanishes, State: waitsForOneThing, Step: finalStays},
		{Says: EverythingEnds, State: everythingEnds},
		{Says: NoneReachesAThird, Step: noneReachesAThird},
		{Says: ThirdsHold, State: thirdsHold},
		{Says: ActsTwoBlocksLater, State: func(_ Model, s *State) bool { return s.Acting == s.Ends[1] && s.Next == s.Ends[0] }},
		{Says: TurnoverIsBounded, State: turnoverIsBounded},
	}
}

func withdrawnIsNotHonoured(_ Model, s *State) bool {
	for i := range s.Granted {
		if s.Grant(i) == GrantActive && s.Consents[s.Grants[i].On].Status == Withdrawn {
			return false
		}
	}
	return true
}

func decidesOnWhatStands(_ Model, before *State, _ Action, out Outcome, _ *State) bool {
	c := before.Consents[out.On]
	return !out.Allowed || (c.Status == Given || c.Status == Narrowed) && (c.Until == 0 || before.Height < c.Until)
}

func endingPermitsNoMore(m Model, before *State, a Action, _ Outcome, after *State) bool {
	switch a.Kind {
	case End, Narrow, Withdraw, Expire, Revoke, Restrict:
	default:
		return true
	}
	for subject := range int8(MaxSubjects) {
		for _, purpose := range []Purposes{Care, Research} {
			_, was := before.Permits(subject, purpose)
			if _, is := after.Permits(subject, purpose); is == "" && was != "" {
				return false
			}
		}
	}
	for i := range before.Granted {
		if after.Grant(i) == GrantActive && before.Grant(i) != GrantActive {
			return false
		}
	}
	return true
}

func releasedByQuorum(m Model, before *State, _ Action, _ Outcome, after *State) bool {
	for i, h := range after.Holds[:after.Keeping] {
		was := before.Holds[i]
		if h.Ran == was.Ran {
			continue
		}
		released := map[int8]bool{}
		for _, w := range h.Words[h.Reopened:h.Spoke] {
			if w.Release {
				released[w.By.organisation()] = true
			}
		}
		able, outside := 0, false
		for o, p := range powers(before.Power) {
			if p > 0 {
				able++
				outside = outside || int8(o) != h.Body.Actor.organisation()
			}
		}
		n := len(released)
		delete(released, h.Body.Actor.organisation())
		if h.Ran != 1 || was.Status != Held || before.Height >= was.Until || n < min(int(m.Reviewers), able) || outside && len(released) == 0 {
			return false
		}
	}
	return true
}

func noneIsExempt(_ Model, s *State) bool {
	for _, h := range s.Holds[:s.Keeping] {
		if h.Status != 0 && NeverHeld(h.Body) {
			return false
		}
	}
	return true
}

func exemptIsExecuted(_ Model, _ *State, a Action, out Outcome, _ *State) bool {
	return !NeverHeld(a) || out.Code != "chain/16" && out.Code != "chain/17" && out.Code != "threat/32000"
}

func waitsForOneThing(_ Model, s *State) bool {
	for _, h := range s.Holds[:s.Keeping] {
		sound := false
		switch h.Status {
		case Held:
			sound = h.Kept && h.Ran == 0
		case Denied, Rejected:
			sound = h.Ran == 0
		case Released, Failed:
			sound = !h.Kept && h.Ran == 1
		case HoldExpired:
			sound = !h.Kept && h.Ran == 0
		}
		if !sound {
			return false
		}
	}
	return true
}

func finalStays(_ Model, before *State, _ Action, _ Outcome, after *State) bool {
	if after.Keeping < before.Keeping {
		return false
	}
	for i, was := range before.Holds[:before.Keeping] {
		if is := after.Holds[i]; is.Body != was.Body || was.Over() && is != was {
			return false
		}
	}
	return true
}

func everythingEnds(m Model, s *State) bool {
	last := s.Height
	for _, h := range s.Holds[:s.Keeping] {
		if !h.Kept {
			continue
		}
		if h.Until > s.Height+max(2*m.HoldBlocks, m.AppealBlocks) {
			return false
		}
		last = max(last, h.Until)
	}
	alone := *s
	for alone.Height <= last {
		alone = m.end(alone)
	}
	for _, h := range alone.Holds[:alone.Keeping] {
		if !h.Over() {
			return false
		}
	}
	return true
}

func noneReachesAThird(_ Model, before *State, _ Action, _ Outcome, after *State) bool {
	was, is := powers(before.Power), powers(after.Power)
	able := 0
	for _, p := range is {
		if p > 0 {
			able++
		}
	}
	for o := range is {
		if able >= 4 && 3*is[o] >= total(after.Power) && is[o]*total(before.Power) > was[o]*total(after.Power) {
			return false
		}
	}
	return true
}

func thirdsHold(_ Model, s *State) bool {
	for _, set := range []Set{s.Acting, s.Next, s.Power} {
		if total(set) == 0 {
			return false
		}
		for _, p := range powers(set) {
			if !s.Fewer && 3*p >= total(set) {
				return false
			}
		}
	}
	return true
}

// turnoverIsBounded looks at the blocks that come, if nothing else is changed, from the
// validators before the first of the changes of which none was seen to act.
func turnoverIsBounded(_ Model, s *State) bool {
	if s.Fewer {
		return true
	}
	seen := s.settled()
	for _, set := range []Set{s.Next, s.Power} {
		if gone, came := moved(seen, set); 3*gone > total(seen) || 3*came >= total(set) {
			return false
		}
	}
	return true
}
