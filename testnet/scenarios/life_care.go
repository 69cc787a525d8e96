package scenarios

import (
	"crypto/sha256"
	"math/rand/v2"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

// familiar is how many subjects a clinician keeps in mind.
const familiar = 12

// meet remembers a subject that a member dealt with.
func (a *actor) meet(s *subject) {
	if i := slices.Index(a.mine, s); i >= 0 {
		a.mine = slices.Delete(a.mine, i, i+1)
	}
	a.mine = append(a.mine, s)
	if len(a.mine) > familiar {
		a.mine = a.mine[1:]
	}
}

// inside are those who are in a ward at present; of any ward when it is -1.
func (org *organisation) inside(ward int) []*subject {
	var out []*subject
	for _, s := range org.subjects {
		if s.inside && (ward < 0 || s.ward == ward) {
			out = append(out, s)
		}
	}
	return out
}

// patientFor is whom a clinician looks at next: mostly somebody seen lately, else
// somebody of the ward, now and then of another one, or somebody who calls.
func (g *generator) patientFor(a *actor) *subject {
	org, x := a.of, a.r.Float64()
	if x < 0.66 && len(a.mine) > 3 {
		if s := pick(a.r, a.mine); s.inside {
			return s
		}
	}
	list := org.inside(a.ward)
	switch {
	case x > 0.985:
		list = org.subjects
	case x > 0.955 || len(list) == 0:
		list = org.inside(-1)
	}
	if len(list) == 0 {
		list = org.subjects
	}
	return pick(a.r, list)
}

// treat is a round: one to three records of the ward, seconds to minutes apart.
func (g *generator) treat(a *actor) {
	g.look(a, 1+a.r.IntN(3))
}

func (g *generator) look(a *actor, more int) {
	s := g.patientFor(a)
	a.meet(s)
	m := readRecord(a.did, a.of, s, care)
	if chance(a.r, 0.18) {
		m = decide(a.did, a.of, "write", "Record", s.record, care)
	}
	if tablets := a.of.those(enforcer); a.job == nurse && len(tablets) > 0 && chance(a.r, 0.2) {
		m.Request.Action.Id = "read"
		g.act(tablets[0], m)
	} else {
		g.act(a, m)
	}
	if more > 1 {
		g.in(between(a.r, 8*second, 3*minute), func() { g.look(a, more-1) })
	}
}

// terms of a consent towards a hospital.
func (g *generator) terms(org *organisation, s *subject, purposes ...string) *consentv1.Terms {
	notice := sha256.Sum256([]byte("notice of " + org.slug))
	t := &consentv1.Terms{
		Subject: s.commitment, Controller: org.did, Purposes: purposes,
		Categories: []*consentv1.Category{{Iri: health, Special: true}},
		LegalBasis: consentv1.LegalBasis_LEGAL_BASIS_CONSENT, SpecialCondition: consentv1.SpecialCondition_SPECIAL_CONDITION_EXPLICIT_CONSENT,
		Jurisdiction: "NL", Notice: &consentv1.Notice{Version: "2026-1", Hash: notice[:], Language: "nl"},
	}
	for _, o := range g.organisations {
		switch {
		case o.trade == laboratory,
			o.trade == insurer && slices.Contains(purposes, billing),
			o.trade == institute && slices.Contains(purposes, research):
			t.Recipients = append(t.Recipients, o.did)
		}
	}
	return t
}

// wishes is what somebody agrees to. The shares are choices.
func wishes(r *rand.Rand) []string {
	out := []string{care}
	if chance(r, 0.93) {
		out = append(out, billing)
	}
	if chance(r, 0.4) {
		out = append(out, research)
	}
	return out
}

// evidence is the hash of a form that nobody else signed.
func (g *generator) evidence(of string) []byte { return g.mark("evidence " + of) }

// imported is a consent that an older system holds.
func (g *generator) imported(a *actor, s *subject) (*consentv1.Give, *agreement) {
	purposes := wishes(a.r)
	agreed := &agreement{id: g.mark(a.did), purposes: purposes}
	s.consents = append(s.consents, agreed)
	return &consentv1.Give{
		Terms: g.terms(a.of, s, purposes...), Method: consentv1.Method_METHOD_IMPORTED,
		GivenAt: g.now - between(a.r, 1, 300)*day,
		Source:  &consentv1.Source{Hash: g.evidence(a.did), Format: "fhir-r4-consent"},
	}, agreed
}

// record has a clerk write down what somebody agreed to on paper or at a desk.
func (g *generator) record(a *actor, s *subject) {
	purposes := wishes(a.r)
	agreed := &agreement{id: g.mark(a.did), purposes: purposes}
	m := &consentv1.Give{
		Terms: g.terms(a.of, s, purposes...), Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: g.evidence(a.did),
	}
	if chance(a.r, 0.35) {
		m.Method = consentv1.Method_METHOD_ELECTRONIC
	}
	if chance(a.r, 0.25) {
		m.GivenAt = g.now - between(a.r, 5*minute, 20*hour)
	}
	if chance(a.r, 0.5) {
		m.Terms.ValidUntil = g.now + between(a.r, 90, 900)*day
	}
	g.make(a, [][]byte{agreed.id}, m)
	s.consents = append(s.consents, agreed)
}

// change makes a consent of somebody smaller, ends it or replaces it, in the way that
// the author can: will says how it was expressed.
func (g *generator) change(a *actor, s *subject, method consentv1.Method) {
	if len(s.consents) == 0 {
		return
	}
	i := a.r.IntN(len(s.consents))
	c := s.consents[i]
	evidence := []byte(nil)
	if method != consentv1.Method_METHOD_SIGNED {
		evidence = g.evidence(a.did)
	}
	switch x := a.r.Float64(); {
	case x < 0.4 && len(c.purposes) > 1:
		gone := c.purposes[len(c.purposes)-1]
		c.purposes = c.purposes[:len(c.purposes)-1]
		c.narrowed = true
		g.act(a, &consentv1.Narrow{Id: c.id, RemovePurposes: []string{gone}})
	case x < 0.7 && len(s.consents) > 1 || x < 0.5:
		s.consents = slices.Delete(s.consents, i, i+1)
		g.act(a, &consentv1.Withdraw{Id: c.id})
	case s.own == nil || method == consentv1.Method_METHOD_SIGNED:
		next := &agreement{id: g.mark(a.did), purposes: wishes(a.r)}
		s.consents[i] = next
		g.make(a, [][]byte{next.id}, &consentv1.Supersede{Id: c.id, Terms: g.terms(a.of, s, next.purposes...), Method: method, EvidenceHash: evidence})
	}
}

// frontDesk is what a clerk does: consents, changes, requests, bills.
func (g *generator) frontDesk(a *actor) {
	org := a.of
	s := pick(a.r, org.subjects)
	switch x := a.r.Float64(); {
	case x < 0.5:
		a.meet(s)
		g.act(a, readRecord(a.did, org, s, billing))
	case x < 0.56:
		g.act(a, decide(a.did, org, "export", "Record", s.record, billing))
	case x < 0.72 && s.own == nil && len(s.consents) < 5:
		g.record(a, s)
	case x < 0.8 && s.own == nil:
		g.change(a, s, consentv1.Method_METHOD_WRITTEN)
	case x < 0.84:
		g.restrict(a, s)
	case x < 0.95:
		g.ask(a, s)
	default:
		g.act(a, &consentv1.Refuse{
			Terms: g.terms(org, s, research), Method: consentv1.Method_METHOD_VERBAL, EvidenceHash: g.evidence(a.did),
		})
	}
}

// restrict blocks the use of somebody's data, or ends that.
func (g *generator) restrict(a *actor, s *subject) {
	if s.restricted != nil {
		g.act(a, &consentv1.LiftRestriction{Subject: s.commitment, Controller: a.of.did, Id: s.restricted, EvidenceHash: g.evidence(a.did)})
		s.restricted = nil
		return
	}
	s.restricted = g.mark(a.did)
	g.make(a, [][]byte{s.restricted}, &consentv1.Restrict{
		Subject: s.commitment, Controller: a.of.did, Ground: consentv1.RestrictionGround_RESTRICTION_GROUND_RESEARCH,
		Purposes: []string{research}, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: g.evidence(a.did),
	})
}

// ask requests a consent for research; it is answered on paper, refused, or left.
func (g *generator) ask(a *actor, s *subject) {
	id := g.mark(a.did)
	m := &consentv1.Request{Terms: g.terms(a.of, s, research), AnswerUntil: g.now + 14*day}
	if s.own != nil {
		m.SubjectDid = s.own.did
	}
	g.make(a, [][]byte{id}, m)
	x := a.r.Float64()
	after := logNormal(a.r, 20*hour, 0.9)
	switch {
	case x < 0.55 && after < 13*day:
		if s.own != nil {
			g.at(g.now+after, func() {
				s.consents = append(s.consents, &agreement{id: id, purposes: []string{research}})
				g.act(s.own, &consentv1.Give{RequestId: id})
			})
			return
		}
		g.at(g.nextOffice(a, g.now+after), func() {
			s.consents = append(s.consents, &agreement{id: id, purposes: []string{research}})
			g.act(a, &consentv1.Give{RequestId: id, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: g.evidence(a.did)})
		})
	case x < 0.75 && after < 13*day && s.own == nil:
		g.at(g.nextOffice(a, g.now+after), func() {
			g.act(a, &consentv1.Refuse{RequestId: id, Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: g.evidence(a.did)})
		})
	case x < 0.9:
		g.at(g.nextOffice(a, g.now+14*day), func() { g.act(a, &consentv1.Expire{Id: id}) })
	}
}

// nextOffice is the first moment from t on in which somebody with office hours works.
func (g *generator) nextOffice(a *actor, t int64) int64 {
	for d := g.calendar.dayOf(t); ; d++ {
		from, to, ok := g.calendar.shift(office, a.phase, d)
		if ok && t < to {
			return max(t, from) + between(a.r, minute, 20*minute)
		}
	}
}

// arrivals are admissions: a service registers a new record, a clerk writes down the
// consent, and the patient leaves after a stay. A stay's mean is 7.7 days, that of the
// OECD's countries (Health at a Glance 2023); how many come is a choice.
func (g *generator) arrivals(org *organisation, r *rand.Rand) {
	clerks, service := org.those(clerk), org.those(admission)
	if len(clerks) == 0 || len(service) == 0 {
		return
	}
	base := g.now - g.calendar.timeOfDay(g.now)
	for range 5 + r.IntN(6) {
		t := base + between(r, 3*hour, 23*hour)
		if chance(r, 0.7) {
			t = base + between(r, 8*hour, 17*hour)
		}
		again, who := chance(r, 0.4), pick(r, clerks)
		stay := logNormal(r, 5*day, 0.93) // a mean of 7.7 days
		delay := between(r, 4*minute, 70*minute)
		ward, number := r.IntN(org.wards), len(org.subjects)
		choice := r.IntN(number)
		g.at(t, func() {
			var s *subject
			if again {
				s = org.subjects[choice]
				s.inside, s.ward = true, ward
			} else {
				s = g.admit(org, len(org.subjects), r)
				s.inside, s.ward = true, ward
			}
			g.act(service[0], putEntities(org, recordEntity(s)))
			if len(s.consents) == 0 && s.own == nil {
				g.in(delay, func() {
					if !who.gone {
						g.record(who, s)
					}
				})
			}
			g.in(stay, func() { s.inside = false })
		})
	}
}

// emergencies are the rare, legitimate use of break-glass: somebody arrives without a
// consent, is treated, and a reviewer looks at it on a working day.
func (g *generator) emergencies(org *organisation, r *rand.Rand) {
	if !chance(r, 0.4) {
		return
	}
	base := g.now - g.calendar.timeOfDay(g.now)
	g.at(base+between(r, 3*hour, 24*hour), func() {
		var present []*actor
		for _, a := range org.those(doctor, nurse) {
			if _, _, ok := g.calendar.onShift(a.job.rota(), a.phase, g.now); ok {
				present = append(present, a)
			}
		}
		if len(present) == 0 {
			return
		}
		g.emergency(pick(r, present), r)
	})
}

func (g *generator) emergency(a *actor, r *rand.Rand) {
	org := a.of
	s := g.admit(org, len(org.subjects), r)
	s.inside, s.ward = true, a.ward
	if service := org.those(admission); len(service) > 0 {
		g.act(service[0], putEntities(org, recordEntity(s)))
	}
	g.in(between(r, 20*second, 2*minute), func() {
		id := g.mark(a.did)
		reason, text := accessv1.BreakGlassReason_BREAK_GLASS_REASON_LIFE_THREATENING, pick(r, []string{
			"unconscious on arrival, allergies unknown", "severe bleeding, medication unknown", "transfer from the scene, no consent possible",
		})
		scope := &accessv1.Scope{
			Organisation: org.did, ResourceType: "Record", ResourceId: s.record,
			Actions: []*accessv1.EntityUid{{Type: "Action", Id: "read"}, {Type: "Action", Id: "write"}}, Purposes: []string{care},
		}
		if chance(r, 0.12) {
			reason, text = accessv1.BreakGlassReason_BREAK_GLASS_REASON_SYSTEM_FAILURE, "the consent system does not answer"
		}
		g.make(a, [][]byte{id}, &accessv1.BreakGlass{Reason: reason, Text: text, Scope: scope, DurationMs: pick(r, []int64{30 * minute, hour, 2 * hour})})
		span := int64(0)
		for range 1 + r.IntN(4) {
			span += between(r, 10*second, 4*minute)
			g.in(span, func() { g.act(a, readRecord(a.did, org, s, care)) })
		}
		a.meet(s)
		g.in(span+between(r, minute, 9*minute), func() {
			g.act(a, &accessv1.EndBreakGlass{Id: id})
			if reviewers := org.those(reviewer); len(reviewers) > 0 {
				who := pick(r, reviewers)
				g.at(g.nextOffice(who, g.now+between(r, 2*hour, 30*hour)), func() {
					g.act(who, &accessv1.Review{Id: id, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED, NoteHash: g.evidence(who.did)})
				})
			}
		})
	})
}

// portal is patients with keys of their own: a few enrol each week, and act for
// themselves in the evening.
func (g *generator) portal(org *organisation, r *rand.Rand) {
	base := g.now - g.calendar.timeOfDay(g.now)
	if chance(r, 0.45) {
		g.at(base+between(r, 9*hour, 21*hour), func() {
			s := g.admit(org, len(org.subjects), r)
			s.inside = false
			if service := org.those(admission); len(service) > 0 {
				g.act(service[0], putEntities(org, recordEntity(s)))
			}
			s.own = g.newcomer(org, patient, r)
			g.in(between(r, minute, 20*minute), func() { g.agree(s) })
		})
	}
	for _, s := range org.subjects {
		if s.own != nil && chance(s.own.r, 0.06) {
			g.at(base+between(s.own.r, 17*hour, 23*hour), func() {
				if len(s.consents) < 2 {
					g.agree(s)
				} else {
					g.change(s.own, s, consentv1.Method_METHOD_SIGNED)
				}
			})
		}
	}
}

// agree has a patient give a consent with its own key.
func (g *generator) agree(s *subject) {
	a := s.own
	c := &agreement{id: g.mark(a.did), purposes: wishes(a.r)}
	g.make(a, [][]byte{c.id}, &consentv1.Give{Terms: g.terms(a.of, s, c.purposes...)})
	s.consents = append(s.consents, c)
}

// mistake is what somebody on shift gets wrong: the chain refuses it.
func (g *generator) mistake(a *actor) {
	unknown := g.mark("mistake " + a.did)
	var m proto.Message
	switch a.job {
	case clerk:
		m = &consentv1.Withdraw{Id: unknown}
	case reviewer, steward:
		m = &accessv1.Review{Id: unknown, Assessment: accessv1.Assessment_ASSESSMENT_JUSTIFIED}
	case nurse, doctor:
		m = &accessv1.EndBreakGlass{Id: unknown}
	default:
		// Asked in a colleague's name.
		other := pick(a.r, g.organisations[0].staff)
		m = readRecord(other.did, g.organisations[0], g.organisations[0].subjects[0], care)
		if other == a || other.of == a.of {
			m = &accessv1.EndBreakGlass{Id: unknown}
		}
	}
	g.act(a, m)
}

// audit is a reviewer's look at the hospital's own records.
func (g *generator) audit(a *actor) {
	if len(a.of.subjects) == 0 {
		return
	}
	s := pick(a.r, a.of.subjects)
	g.act(a, readRecord(a.did, a.of, s, care))
}

// steward keeps rules and entities in order.
func (g *generator) steward(a *actor) {
	org := a.of
	switch x := a.r.Float64(); {
	case x < 0.35:
		org.policies++
		g.act(a, g.setPolicies(org))
	case x < 0.45:
		g.act(a, org.settings())
	case len(org.datasets) > 0:
		g.act(a, putEntities(org, datasetEntity(pick(a.r, org.datasets))))
	default:
		n := strconv.Itoa(a.r.IntN(20))
		g.act(a, putEntities(org, cedarEntity{cedarUID{"Desk", "desk-" + n}, map[string]any{}, []cedarUID{}}))
	}
}
