package model

// Flaw is something that a model does wrongly, to show that it is found.
type Flaw int8

// What a model may do wrongly.
const (
	Sound               Flaw = iota
	GrantsOutlive            // a withdrawal ends no grant
	NarrowingAdds            // narrowing may name what was not permitted, and then it is
	OneWordReleases          // the first word releases
	OrganisationsTwice       // an organisation's two administrators have a word each
	HomeReleases             // nobody from outside the author's organisation is needed
	ReleasesAgain            // what was released waits on
	HoldsWithdrawals         // withdrawals are held as everything else
	ForgetsRejected          // the record of what was rejected goes
	NeverExpires             // what is held waits for ever
	ActsAtOnce               // validators change in the next block
	IgnoresThirds            // an organisation may reach a third
	MeasuresFromNow          // turnover is measured from the latest change
	CountsNewcomersOnly      // leaving is not measured against who is new
)

// Model is the rules with their parameters.
type Model struct {
	Organisations int8
	Reviewers     int8 // how many organisations release or reject
	HoldBlocks    int8 // how many blocks a transaction is held
	AppealBlocks  int8 // how many blocks there are to appeal
	GrantBlocks   int8 // how many blocks a grant is good
	Room          int8 // how many transactions of one organisation are kept
	Genesis       Set
	Flaw          Flaw
}

// First is the state before anything happened, in the first block.
func (m Model) First() State {
	return State{Height: 1, Power: m.Genesis, Acting: m.Genesis, Next: m.Genesis, Ends: [2]Set{m.Genesis, m.Genesis}, Fewer: organisations(m.Genesis) < 4}
}

// Step is the state after an action, and what came of it. It panics where the action
// needs more room than a State has.
func (m Model) Step(s State, a Action) (State, Outcome) {
	if a.Kind == End {
		return m.end(s), Outcome{}
	}
	if code := malformed(a); code != "" {
		return s, Outcome{Code: code, Door: true}
	}
	out := Outcome{}
	after := s
	switch ruling := m.ruling(a); {
	case ruling == Light:
		if out = m.execute(&after, a); out.Code != "" {
			after = s
		}
	case m.keptOf(&s, a.Actor.organisation()) >= m.Room:
		return s, Outcome{Code: "threat/32000", Door: true}
	default:
		out = refused(m.keep(&after, a, ruling))
	}
	after.Sent++
	return after, out
}

// malformed is why a transaction is refused for its form.
func malformed(a Action) string {
	switch {
	case a.Kind == Narrow && a.Purposes == 0 && a.Until == 0:
		return "consent/16"
	case a.Kind == Replace && (a.Key == a.New || a.Power == 0):
		return "identity/14"
	}
	return ""
}

// NeverHeld tells whether a transaction is executed whatever its weight: saying no,
// defending a key, human review and votes wait for nobody.
func NeverHeld(a Action) bool {
	switch a.Kind {
	case Withdraw, Narrow, Revoke, Restrict, Rotate, Vote, Release, Reject, Appeal:
		return true
	}
	return a.Actor == Consortium
}

func (m Model) ruling(a Action) Weight {
	if NeverHeld(a) && (m.Flaw != HoldsWithdrawals || a.Kind != Withdraw) {
		return Light
	}
	return a.Weight
}

// execute does what a transaction says. After a refusal the state is to be dropped.
func (m Model) execute(s *State, a Action) Outcome {
	switch a.Kind {
	case Give:
		return refused(s.give(a))
	case Narrow:
		return refused(m.narrow(s, a))
	case Withdraw:
		return refused(m.withdraw(s, a))
	case Expire:
		return refused(s.expire(a))
	case Delegate:
		return refused(s.delegate(a))
	case Revoke:
		return refused(s.revoke(a))
	case Restrict:
		return refused(s.restrict(a))
	case Lift:
		return refused(s.lift(a))
	case Decide:
		return m.decide(s, a)
	case Rotate:
		s.Keys[a.Actor]++
	case Vote:
		return refused("governance/3")
	case Release, Reject:
		return m.review(s, a)
	case Appeal:
		return refused(m.appeal(s, a))
	case Bind, Replace:
		return refused(m.change(s, a))
	}
	return Outcome{}
}

// end ends the block: what is due ends, and the validators change.
func (m Model) end(s State) State {
	m.endHolds(&s)
	s.Acting, s.Next = s.Next, s.Power
	if m.Flaw == ActsAtOnce {
		s.Acting = s.Power
	}
	s.Ends[0], s.Ends[1] = s.Power, s.Ends[0]
	s.Height++
	s.Sent = 0
	return s
}

func passed(until, now int8) bool { return until != 0 && now >= until }
