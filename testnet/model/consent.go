package model

// officer tells whether an actor acts for organisation 0, towards which all consents are.
func officer(a Actor) bool { return a.administers(0) }

func (s *State) isSubject(subject int8, a Actor) bool {
	d := s.Dossiers[subject]
	return d.Bound && d.Owner == a
}

func (s *State) isDelegate(subject int8, a Actor, scopes Scopes) bool {
	d := s.Delegations[subject][a]
	return d.Scopes&scopes != 0 && !passed(d.Until, s.Height)
}

// entitle decides whether an actor may express a subject's will, and makes the dossier:
// who comes first takes the commitment.
func (s *State) entitle(a Action, scopes Scopes) string {
	d := &s.Dossiers[a.Subject]
	switch {
	case a.Paper && !officer(a.Actor):
		return "consent/4"
	case a.Paper, s.isSubject(a.Subject, a.Actor), s.isDelegate(a.Subject, a.Actor, scopes):
	case !d.Known:
		d.Bound, d.Owner = true, a.Actor
	case d.Bound:
		return "consent/5"
	default:
		return "consent/4"
	}
	d.Known = true
	return ""
}

// mayEnd decides whether an actor may end or narrow what a subject gave.
func (s *State) mayEnd(c Consent, a Actor, scopes Scopes) bool {
	return s.isSubject(c.Subject, a) || s.isDelegate(c.Subject, a, scopes) || officer(a)
}

func (s *State) give(a Action) string {
	if code := s.entitle(a, MayGive); code != "" {
		return code
	}
	if passed(a.Until, s.Height) {
		return "consent/13"
	}
	s.Consents[s.Consented] = Consent{Subject: a.Subject, Status: Given, Purposes: a.Purposes, Until: a.Until, Version: 1}
	s.Consented++
	return ""
}

func (m Model) narrow(s *State, a Action) string {
	c := &s.Consents[a.Record]
	switch {
	case !c.Status.open() || passed(c.Until, s.Height):
		return "consent/7"
	case !s.mayEnd(*c, a.Actor, MayNarrow|MayGive):
		return "consent/4"
	case m.Flaw == NarrowingAdds && a.Purposes != 0:
		c.Purposes ^= a.Purposes
	case a.Purposes&^c.Purposes != 0, a.Purposes != 0 && a.Purposes == c.Purposes, a.Until != 0 && c.Until != 0 && a.Until >= c.Until:
		return "consent/16"
	case passed(a.Until, s.Height):
		return "consent/13"
	default:
		c.Purposes &^= a.Purposes
	}
	if a.Until != 0 {
		c.Until = a.Until
	}
	c.Status = Narrowed
	c.Version++
	s.endGrants(a.Record)
	return ""
}

func (m Model) withdraw(s *State, a Action) string {
	c := s.Consents[a.Record]
	switch {
	case !c.Status.open():
		return "consent/7"
	case !s.mayEnd(c, a.Actor, MayWithdraw|MayGive):
		return "consent/4"
	}
	grants := s.Grants
	s.endConsent(a.Record, Withdrawn)
	if m.Flaw == GrantsOutlive {
		s.Grants = grants
	}
	return ""
}

func (s *State) expire(a Action) string {
	switch c := s.Consents[a.Record]; {
	case !c.Status.open():
		return "consent/7"
	case !passed(c.Until, s.Height):
		return "consent/10"
	}
	s.endConsent(a.Record, Expired)
	return ""
}

func (s *State) endConsent(i int8, how Status) {
	c := &s.Consents[i]
	c.Status = how
	c.Version++
	s.Dossiers[c.Subject].Last = how
	s.endGrants(i)
}

// endGrants ends what was granted on a consent.
func (s *State) endGrants(consent int8) {
	for i := range s.Grants[:s.Granted] {
		if s.Grants[i].On == consent {
			s.Grants[i].Ended = true
		}
	}
}

func (s *State) delegate(a Action) string {
	switch {
	case passed(a.Until, s.Height):
		return "consent/13"
	case a.Delegate == a.Actor:
		return "consent/2"
	}
	if code := s.entitle(a, 0); code != "" {
		return code
	}
	s.Delegations[a.Subject][a.Delegate] = Delegation{Scopes: a.Scopes, Until: a.Until}
	return ""
}

func (s *State) revoke(a Action) string {
	d := &s.Delegations[a.Subject][a.Delegate]
	switch {
	case d.Scopes == 0:
		return "consent/14"
	case a.Actor != a.Delegate && !s.isSubject(a.Subject, a.Actor):
		return "consent/4"
	}
	*d = Delegation{}
	return ""
}

func (s *State) restrict(a Action) string {
	if code := s.entitle(a, MayWithdraw|MayGive); code != "" {
		return code
	}
	x := Restriction{Subject: a.Subject, Purposes: a.Purposes}
	s.Restrictions[s.Restricted] = x
	s.Restricted++
	for i := range s.Consented {
		if c := s.Consents[i]; c.Subject == a.Subject && c.Status.open() && x.blocks(c.Purposes) {
			s.endGrants(i)
		}
	}
	return ""
}

// blocks tells whether a restriction blocks one of some purposes.
func (x Restriction) blocks(p Purposes) bool {
	return !x.Lifted && (x.Purposes == 0 || x.Purposes&p != 0)
}

func (s *State) lift(a Action) string {
	x := &s.Restrictions[a.Record]
	switch {
	case x.Lifted || x.Subject != a.Subject:
		return "consent/15"
	case s.isSubject(a.Subject, a.Actor), s.isDelegate(a.Subject, a.Actor, MayGive):
	case !officer(a.Actor):
		return "consent/4"
	case !a.Paper: // that the subject was told
		return "consent/12"
	}
	x.Lifted = true
	return ""
}

// Permits is the consent by which organisation 0 may use what is a subject's for a
// purpose, or why it may not.
func (s *State) Permits(subject int8, purpose Purposes) (on int8, why string) {
	if !s.Dossiers[subject].Known {
		return 0, "consent/30"
	}
	for _, x := range s.Restrictions[:s.Restricted] {
		if x.Subject == subject && x.blocks(purpose) {
			return 0, "consent/41"
		}
	}
	for i, c := range s.Consents[:s.Consented] {
		switch {
		case c.Subject != subject || !c.Status.open():
		case c.Purposes&purpose == 0:
			if why == "" {
				why = "consent/36"
			}
		case passed(c.Until, s.Height):
			why = "consent/34"
		default:
			return int8(i), ""
		}
	}
	if why != "" {
		return 0, why
	}
	switch s.Dossiers[subject].Last {
	case Withdrawn:
		return 0, "consent/33"
	case Expired:
		return 0, "consent/34"
	}
	return 0, "consent/30"
}

// decide asks for a use and records the answer.
func (m Model) decide(s *State, a Action) Outcome {
	on, why := s.Permits(a.Subject, a.Purposes)
	if why != "" {
		return Outcome{Why: why}
	}
	s.Grants[s.Granted] = Grant{Subject: a.Subject, Purpose: a.Purposes, On: on, Until: s.Height + m.GrantBlocks}
	s.Granted++
	return Outcome{Allowed: true, On: on}
}

// GrantStatus is what a grant is worth.
type GrantStatus int8

// What a grant may be worth.
const (
	GrantActive GrantStatus = 1 + iota
	GrantExpired
	GrantConsentEnded
)

// Grant is what grant i is worth in block s.Height.
func (s *State) Grant(i int8) GrantStatus {
	g := s.Grants[i]
	_, why := s.Permits(g.Subject, g.Purpose)
	switch {
	case passed(g.Until, s.Height):
		return GrantExpired
	case g.Ended || why != "":
		return GrantConsentEnded
	}
	return GrantActive
}
