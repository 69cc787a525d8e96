package model

// measured is for how many blocks after a change those that follow are measured with it.
const measured = 3

// powers is the voting power of each organisation.
func powers(s Set) (out [MaxOrganisations]int) {
	for key, power := range s {
		out[key/2] += int(power)
	}
	return out
}

// organisations is how many have validators.
func organisations(s Set) int8 {
	n := int8(0)
	for _, p := range powers(s) {
		if p > 0 {
			n++
		}
	}
	return n
}

func total(s Set) int {
	n := 0
	for _, power := range s {
		n += int(power)
	}
	return n
}

// moved is the power that keys lost and gained from one set to another.
func moved(from, to Set) (gone, came int) {
	for key := range from {
		d := int(to[key]) - int(from[key])
		gone += max(0, -d)
		came += max(0, d)
	}
	return gone, came
}

// settled is the validators that the chain was seen to go on with.
func (s *State) settled() Set {
	if s.Changed != 0 && s.Height-s.Changed < measured {
		return s.Before
	}
	return s.Power
}

// change changes the validators, unless that endangers the chain.
func (m Model) change(s *State, a Action) string {
	if a.Actor != Consortium {
		return "identity/30"
	}
	after := s.Power
	if a.Kind == Replace {
		switch {
		case s.Power[a.Key] == 0:
			return "identity/56"
		case s.Power[a.New] != 0:
			return "identity/14"
		}
		after[a.Key], after[a.New] = 0, a.Power
	} else {
		if a.Power == 0 && s.Power[a.Key] == 0 {
			return "identity/56"
		}
		after[a.Key] = a.Power
	}
	settled := s.settled()
	switch {
	case total(after) == 0:
		return "identity/58"
	case m.Flaw != IgnoresThirds && tooStrong(s.Power, after):
		return "identity/59"
	case tooMuch(m.from(s), s.Power, after, m.Flaw == CountsNewcomersOnly):
		return "identity/64"
	}
	if organisations(settled) >= 4 {
		s.Before, s.Changed = settled, s.Height
	}
	s.Power = after
	s.Fewer = s.Fewer || organisations(after) < 4
	return ""
}

func (m Model) from(s *State) Set {
	if m.Flaw == MeasuresFromNow {
		return s.Power
	}
	return s.settled()
}

// tooStrong tells whether a change makes an organisation's share larger and a third or
// more. With fewer than four organisations somebody always has a third.
func tooStrong(before, after Set) bool {
	if organisations(after) < 4 {
		return false
	}
	was, is := powers(before), powers(after)
	for o := range is {
		if 3*is[o] >= total(after) && is[o]*total(before) > was[o]*total(after) {
			return true
		}
	}
	return false
}

// tooMuch tells whether, measured from the validators that the chain was seen to go on
// with, a change makes more than a third of their power go, or gives those that are new a
// third of the power or more. It does not where it makes neither part larger.
func tooMuch(settled, before, after Set, onlyNewcomers bool) bool {
	if organisations(settled) < 4 {
		return false
	}
	goneBefore, cameBefore := moved(settled, before)
	gone, came := moved(settled, after)
	larger := came*total(before) > cameBefore*total(after)
	if onlyNewcomers {
		larger = came > cameBefore
	}
	return 3*gone > total(settled) && gone > goneBefore || 3*came >= total(after) && larger
}
