package model

// keptOf is how many transactions of an organisation are kept.
func (m Model) keptOf(s *State, organisation int8) int8 {
	n := int8(0)
	for _, h := range s.Holds[:s.Keeping] {
		if h.Kept && h.Body.Actor.organisation() == organisation {
			n++
		}
	}
	return n
}

// keep keeps a transaction instead of executing it, and returns its result.
func (m Model) keep(s *State, a Action, ruling Weight) string {
	h := Hold{Body: a, Key: s.Keys[a.Actor], Status: Held, Kept: true, Until: s.Height + m.HoldBlocks}
	result := "chain/16"
	if ruling == Monstrous {
		h.Status, h.Until, result = Denied, s.Height+m.AppealBlocks, "chain/17"
	}
	s.Holds[s.Keeping] = h
	s.Keeping++
	return result
}

// words is how many organisations said the one or the other since it waits, and whether
// one of them is not the author's.
func (h *Hold) words(release bool) (n int8, outside bool) {
	var spoke [MaxOrganisations]bool
	for _, w := range h.Words[h.Reopened:h.Spoke] {
		if o := w.By.organisation(); w.Release == release && !spoke[o] {
			spoke[o] = true
			n++
			outside = outside || o != h.Body.Actor.organisation()
		}
	}
	return n, outside
}

// Quorum is how many organisations decide over a held transaction: as the parameters
// say, or all that have validators, where there are fewer.
func (m Model) Quorum(s *State) int8 { return max(1, min(m.Reviewers, organisations(s.Power))) }

// review is a reviewer's word on a held transaction. What decides it does so at once.
func (m Model) review(s *State, a Action) Outcome {
	h := &s.Holds[a.Record]
	switch {
	case h.Status != Held:
		return refused("threat/7")
	case s.Height >= h.Until:
		return refused("threat/9")
	case a.Actor < MaxSubjects || a.Actor == h.Body.Actor:
		return refused("threat/5")
	}
	for _, w := range h.Words[h.Reopened:h.Spoke] {
		if w.By == a.Actor || m.Flaw != OrganisationsTwice && w.By.organisation() == a.Actor.organisation() {
			return refused("threat/8")
		}
	}
	release := a.Kind == Release
	h.Words[h.Spoke] = Word{By: a.Actor, Release: release}
	h.Spoke++
	have, outside := h.words(release)
	if m.Flaw == OrganisationsTwice {
		have = 0
		for _, w := range h.Words[h.Reopened:h.Spoke] {
			if w.Release == release {
				have++
			}
		}
	}
	switch {
	case m.Flaw == OneWordReleases && release:
	case have < m.Quorum(s), release && !outside && m.Flaw != HomeReleases && m.others(s, h):
		return Outcome{}
	}
	if !release {
		m.rejected(s, h)
		return Outcome{}
	}
	return m.release(s, a.Record)
}

// others tells whether an organisation other than the author's has validators.
func (m Model) others(s *State, h *Hold) bool {
	for o, p := range powers(s.Power) {
		if p > 0 && int8(o) != h.Body.Actor.organisation() {
			return true
		}
	}
	return false
}

func (m Model) rejected(s *State, h *Hold) {
	h.Status = Rejected
	switch {
	case m.Flaw == ForgetsRejected:
		*h = Hold{}
	case h.Appealed < maxAppeals:
		h.Until = s.Height + m.AppealBlocks
	default:
		h.Kept, h.Until = false, 0
	}
}

// release executes a held transaction as its author. That it fails is its own affair.
func (m Model) release(s *State, i int8) Outcome {
	h := &s.Holds[i]
	h.Status, h.Kept = Released, m.Flaw == ReleasesAgain
	h.Ran++
	out := Outcome{Ran: true}
	before := *s
	if h.Key != s.Keys[h.Body.Actor] {
		out.RanCode = "identity/22"
	} else if out.RanCode = m.execute(s, h.Body).Code; out.RanCode != "" {
		*s = before
	}
	if out.RanCode != "" {
		h.Status = Failed
	}
	if m.Flaw == ReleasesAgain {
		h.Status, h.Spoke = Held, h.Reopened
	}
	return out
}

// appeal gives a held transaction more time, once, and lets one that was denied or
// rejected wait for reviewers again.
func (m Model) appeal(s *State, a Action) string {
	h := &s.Holds[a.Record]
	switch {
	case a.Actor != h.Body.Actor && !a.Actor.administers(h.Body.Actor.organisation()):
		return "threat/6"
	case h.Status != Held && h.Status != Denied && h.Status != Rejected:
		return "threat/7"
	case h.Appealed == maxAppeals:
		return "threat/10"
	case s.Height >= h.Until:
		return "threat/9"
	}
	for _, when := range h.Appeals[:h.Appealed] {
		if h.Status == Held && when == Held {
			return "threat/10"
		}
	}
	h.Appeals[h.Appealed] = h.Status
	h.Appealed++
	if h.Status == Held {
		h.Until += m.HoldBlocks
		return ""
	}
	h.Status, h.Reopened, h.Until = Held, h.Spoke, s.Height+m.HoldBlocks
	return ""
}

// endHolds ends what is due.
func (m Model) endHolds(s *State) {
	for i := range s.Holds[:s.Keeping] {
		h := &s.Holds[i]
		if !h.Kept || h.Until > s.Height || m.Flaw == NeverExpires {
			continue
		}
		h.Kept = false
		if h.Status == Held {
			h.Status = HoldExpired
		}
	}
}

// Over tells whether nothing can become of a transaction any more.
func (h *Hold) Over() bool { return !h.Kept }
