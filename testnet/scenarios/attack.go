package scenarios

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/modules/identity"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// campaign is one attack. It reads the world and does not change it, so that normal
// life goes on as it would have.
type campaign struct {
	*generator
	kind Kind
	name string
	r    *rand.Rand
}

// attacks puts the campaigns into the queue, spread evenly over the days after the
// warm-up, unless they are to begin at one time. Slow ones begin early enough to have
// their time.
func (g *generator) attacks() {
	from := g.o.Start + int64(g.o.Warmup)*day
	for _, kind := range g.o.Attacks {
		for n := range g.o.Campaigns {
			c := &campaign{g, kind, fmt.Sprintf("%s/%d", kind, n+1), nil}
			c.r = stream(g.o.Seed, "campaign "+c.name)
			if g.o.AttackAt != 0 {
				g.at(g.o.AttackAt+between(c.r, 0, 5*minute), c.begin)
				continue
			}
			last := g.end - c.lasts()
			span := max(last-from, hour)
			at := from + span*int64(n)/int64(g.o.Campaigns) + c.r.Int64N(max(span/int64(g.o.Campaigns), 1))
			g.at(at, c.begin)
		}
	}
}

// lasts is how long before the end a campaign must begin to come to something.
func (c *campaign) lasts() int64 {
	whole := int64(c.o.Days-c.o.Warmup) * day
	switch c.kind {
	case SlowDrift:
		return min(whole, 21*day)
	case InsiderSnooping, Mimicry:
		return min(whole, 8*day)
	}
	// Whoever waits for office hours waits over a weekend and a holiday.
	return min(whole, 4*day+12*hour)
}

func (c *campaign) begin() {
	switch c.kind {
	case CredentialTheft:
		c.steal()
	case InsiderSnooping:
		c.snoop()
	case BulkExfiltration:
		c.exfiltrate()
	case ConsentForgery:
		c.forge()
	case PolicyTampering:
		c.tamper()
	case ProvenanceLaundering:
		c.launder()
	case BreakGlassAbuse:
		c.abuse()
	case SlowDrift:
		c.drift()
	case Burst:
		c.burst()
	case Mimicry:
		c.mimic()
	}
}

// prepare and harm are the attacker's transactions with a member's key.
func (c *campaign) prepare(a *actor, messages ...proto.Message) { c.strike(a, false, messages...) }
func (c *campaign) harm(a *actor, messages ...proto.Message)    { c.strike(a, true, messages...) }

func (c *campaign) strike(a *actor, harmful bool, messages ...proto.Message) {
	c.emit(&Action{
		Author: a.did, Signers: []string{a.keyURL()}, Messages: messages, Campaign: c.name, Attack: c.kind, Harmful: harmful,
	})
}

// answer is what defenders do about it.
func (c *campaign) answer(author string, signers []string, messages ...proto.Message) {
	c.emit(&Action{Author: author, Signers: signers, Messages: messages, Campaign: c.name})
}

// count scales how often something is done.
func (c *campaign) count(low, high int) int {
	return max(3, int(float64(low+c.r.IntN(high-low+1))*c.o.Force))
}

// victim is a member with one of the jobs, anywhere; nil when there is none.
func (c *campaign) victim(jobs ...job) *actor {
	var all []*actor
	for _, org := range c.organisations {
		all = append(all, org.those(jobs...)...)
	}
	if len(all) == 0 {
		return nil
	}
	return pick(c.r, all)
}

// present is a member with one of the jobs who soon comes to work: of a few drawn, the
// first to do so.
func (c *campaign) present(jobs ...job) *actor {
	a := c.victim(jobs...)
	soonest, _ := c.busy(a, c.now)
	for range 6 {
		b := c.victim(jobs...)
		if t, _ := c.busy(b, c.now); t < soonest {
			a, soonest = b, t
		}
	}
	return a
}

// target is a record that an attacker wants, of some hospital, with the purpose that the
// rules would accept of the member.
func (c *campaign) target(a *actor) (*organisation, *subject, string) {
	org := a.of
	if org.trade != hospital {
		org = pick(c.r, c.of(hospital))
	}
	purpose := care
	switch a.of.trade {
	case insurer:
		purpose = billing
	case institute:
		purpose = research
	}
	if a.job == clerk {
		purpose = billing
	}
	return org, pick(c.r, org.subjects), purpose
}

// foreign is a record of another ward that the member had no business with.
func (c *campaign) foreign(a *actor) *subject {
	for range 200 {
		s := pick(c.r, a.of.subjects)
		if s.ward != a.ward && !slices.Contains(a.mine, s) && (s.noted || c.r.IntN(8) > 0) {
			return s
		}
	}
	return pick(c.r, a.of.subjects)
}

// idle is the next moment from t on at which a member is not on shift, at an hour of
// night where there is one.
func (c *campaign) idle(a *actor, t int64) int64 {
	for range 3 * 24 {
		_, _, on := c.calendar.onShift(a.job.rota(), a.phase, t)
		h := c.calendar.timeOfDay(t) / hour
		if !on && (h >= 22 || h < 5) {
			return t
		}
		t += hour
	}
	return t
}

// busy is the next moment from t on at which a member is on shift, and the end of that
// shift.
func (c *campaign) busy(a *actor, t int64) (from, to int64) {
	for {
		for _, d := range []int{c.calendar.dayOf(t) - 1, c.calendar.dayOf(t)} {
			if d < 0 {
				continue
			}
			if from, to, ok := c.calendar.shift(a.job.rota(), a.phase, d); ok && t < to-hour {
				return max(t, from), to
			}
		}
		t = c.calendar.midnight(c.calendar.dayOf(t) + 1)
	}
}

// steal: a member's key is used from elsewhere at night. The thief first tries it on what
// its owner often reads, adds a key to keep the way open, and takes records in haste.
func (c *campaign) steal() {
	a := c.victim(nurse, doctor, clerk, adjuster, analyst)
	t := c.idle(a, c.now)
	c.at(t, func() {
		if len(a.mine) > 0 && a.of.trade == hospital {
			c.prepare(a, readRecord(a.did, a.of, pick(c.r, a.mine), care))
		} else {
			org, s, purpose := c.target(a)
			c.prepare(a, readRecord(a.did, org, s, purpose))
		}
	})
	if chance(c.r, 0.6) {
		t += between(c.r, 20*second, 4*minute)
		id := fmt.Sprintf("spare-%d", c.r.IntN(1000))
		c.at(t, func() {
			key, err := identity.Possess(c.o.ChainID, a.did, id, c.o.signer(a.did+"#"+id), identityv1.Purpose_PURPOSE_AUTHENTICATION)
			if err != nil {
				panic("scenarios: prove a key: " + err.Error())
			}
			c.harm(a, &identityv1.AddKey{Did: a.did, Key: key})
		})
		// Its owner finds out a day or two later.
		c.at(t+between(c.r, 20*hour, 44*hour), func() {
			c.answer(a.did, []string{a.keyURL()}, &identityv1.RevokeKey{Did: a.did, KeyId: id, Reason: identityv1.Reason_REASON_COMPROMISED})
		})
	}
	action := pick(c.r, []string{"read", "read", "export"})
	for range c.count(14, 45) {
		t += between(c.r, 2*second, 18*second)
		c.at(t, func() {
			org, s, purpose := c.target(a)
			m := readRecord(a.did, org, s, purpose)
			m.Request.Action.Id = action
			c.harm(a, m)
		})
	}
}

// snoop: on shift, between other things, a clinician looks at people of other wards:
// neighbours, colleagues, those whom the newspapers write about.
func (c *campaign) snoop() {
	a := c.present(nurse, doctor)
	t, left := c.now, c.count(8, 22)
	for left > 0 {
		from, to := c.busy(a, t)
		for t = from + exponential(c.r, 50*minute); t < to && left > 0; t += exponential(c.r, 70*minute) {
			for range min(left, 1+c.r.IntN(3)) {
				c.at(t, func() { c.harm(a, readRecord(a.did, a.of, c.foreign(a), care)) })
				t += between(c.r, 15*second, 4*minute)
				left--
			}
		}
		t = to
	}
}

// exfiltrate: somebody with wide rights takes records one after the other, by day or by
// night, as fast as a script goes.
func (c *campaign) exfiltrate() {
	a := c.victim(clerk, adjuster, enforcer, researcher, doctor)
	t := c.now
	if a.job != enforcer {
		if chance(c.r, 0.5) {
			t = c.idle(a, t)
		} else {
			t, _ = c.busy(a, t)
		}
	}
	action := "read"
	if a.job == clerk {
		action = pick(c.r, []string{"read", "export"})
	}
	org, _, purpose := c.target(a)
	order := c.r.Perm(len(org.subjects))
	// Two records to see whether it works.
	for _, i := range order[:2] {
		t += between(c.r, 20*second, 3*minute)
		c.at(t, func() { c.prepare(a, decide(a.did, org, action, "Record", org.subjects[i].record, purpose)) })
	}
	t += between(c.r, 2*minute, 40*minute)
	for _, i := range order[2:min(len(order), 2+c.count(60, 220))] {
		t += between(c.r, second, 7*second)
		c.at(t, func() { c.harm(a, decide(a.did, org, action, "Record", org.subjects[i].record, purpose)) })
	}
}

// forge: an officer, or whoever has its key, records consents that nobody gave, with one
// and the same evidence or a document that does not exist. They read like those that
// were given, but for a recipient who is to gain from them.
func (c *campaign) forge() {
	a := c.victim(clerk, migration)
	t := c.now
	if a.job == clerk && chance(c.r, 0.6) {
		t, _ = c.busy(a, t)
	}
	evidence, gains := c.mark(c.name), pick(c.r, c.organisations)
	asImport := a.job == migration || chance(c.r, 0.4)
	var ids [][]byte
	for _, i := range c.r.Perm(len(a.of.subjects))[:min(len(a.of.subjects), c.count(12, 40))] {
		t += between(c.r, 5*second, 90*second)
		id := c.mark(c.name)
		ids = append(ids, id)
		c.at(t, func() {
			s := a.of.subjects[i]
			m := &consentv1.Give{
				Terms: c.terms(a.of, s, wishes(c.r)...), Method: consentv1.Method_METHOD_WRITTEN, EvidenceHash: evidence,
				GivenAt: c.now - between(c.r, 30, 700)*day,
			}
			if !slices.Contains(m.Terms.Recipients, gains.did) {
				m.Terms.Recipients = append(m.Terms.Recipients, gains.did)
			}
			if asImport {
				m.Method, m.EvidenceHash, m.Source = consentv1.Method_METHOD_IMPORTED, nil, &consentv1.Source{Hash: evidence, Format: "fhir-r4-consent"}
			}
			c.emit(&Action{
				Author: a.did, Signers: []string{a.keyURL()}, Messages: []proto.Message{m}, Makes: [][]byte{id},
				Campaign: c.name, Attack: c.kind, Harmful: true,
			})
		})
	}
	// They are found and withdrawn by the organisation.
	found := t + between(c.r, 10*hour, 30*hour)
	for i, id := range ids {
		c.at(found+int64(i)*20*second, func() { c.answer(a.of.did, a.of.signers(), &consentv1.Withdraw{Id: id}) })
	}
}

// tamper: whoever holds the policy administrator's key opens the rules, takes what they
// kept, and closes them again.
func (c *campaign) tamper() {
	var stewards []*actor
	for _, org := range c.of(hospital) {
		stewards = append(stewards, org.those(steward)...)
	}
	a := pick(c.r, stewards)
	org := a.of
	t := c.now
	if chance(c.r, 0.5) {
		t = c.idle(a, t)
	}
	accomplice := pick(c.r, org.those(nurse, clerk))
	open := fmt.Sprintf("permit (principal == Chancery::Person::%q, action, resource);\n", accomplice.did)
	if chance(c.r, 0.4) {
		open = "permit (principal, action, resource);\n"
	}
	var taken []*subject
	for _, i := range c.r.Perm(len(org.subjects))[:min(len(org.subjects), c.count(6, 18))] {
		taken = append(taken, org.subjects[i])
	}
	c.at(t, func() {
		m := c.setPolicies(org)
		m.Documents[0].Text += open
		c.harm(a, m)
	})
	t += between(c.r, 20*second, 5*minute)
	c.at(t, func() {
		s := settings(accessv1.BreakGlassRule_BREAK_GLASS_RULE_ANYONE, care, billing, research, reporting)
		s.UnregisteredResources, s.GrantMs = true, 30*day
		c.harm(a, &accessv1.SetSettings{Organisation: org.did, Settings: s})
	})
	t += between(c.r, 20*second, 5*minute)
	c.at(t, func() {
		var list []cedarEntity
		for _, s := range taken {
			e := recordEntity(s)
			e.Attrs["consentRequired"] = false
			list = append(list, e)
		}
		c.harm(a, putEntities(org, list...))
	})
	for _, s := range taken {
		t += between(c.r, 3*second, 40*second)
		c.at(t, func() { c.harm(accomplice, decide(accomplice.did, org, "export", "Record", s.record, billing)) })
	}
	t += between(c.r, minute, 30*minute)
	c.at(t, func() { c.harm(a, c.setPolicies(org)) })
	c.at(t+between(c.r, 8*hour, 24*hour), func() {
		var list []cedarEntity
		for _, s := range taken {
			list = append(list, recordEntity(s))
		}
		c.answer(org.did, org.signers(), c.setPolicies(org), org.settings(), putEntities(org, list...))
	})
}

// launder: a service's or a quality manager's key makes data look as if it came from
// elsewhere: results are declared invalid, replaced, and given sources they never had.
func (c *campaign) launder() {
	var all []*actor
	for _, org := range c.organisations {
		if len(org.files.ids) > 20 {
			all = append(all, org.those(archive, quality, analyst, analyser)...)
		}
	}
	a := pick(c.r, all)
	org := a.of
	t := c.now
	if a.job.kind() == identityv1.Kind_KIND_PERSON && chance(c.r, 0.5) {
		t = c.idle(a, t)
	}
	alien := "https://data.example.org/" + c.o.token(c.name)[:8]
	c.at(t, func() {
		id := org.slug + "-source-" + c.o.token(c.name, "source")[:8]
		c.prepare(a, &provenancev1.RegisterEntity{Id: id, Entity: c.content(c.name)})
	})
	for i := range c.count(14, 40) {
		t += between(c.r, 4*second, 2*minute)
		c.at(t, func() {
			id := pick(c.r, org.files.ids)
			var m proto.Message
			switch i % 4 {
			case 0:
				m = &provenancev1.InvalidateEntity{Id: id, Reason: provenancev1.InvalidationReason_INVALIDATION_REASON_DESTROYED}
			case 1:
				m = &provenancev1.ReviseEntity{Id: id, Entity: c.content(c.name)}
			default:
				var list []*provenancev1.Relation
				for range 2 + c.r.IntN(8) {
					x := relation(provenancev1.RelationKind_RELATION_KIND_PRIMARY_SOURCE, pick(c.r, org.files.ids), "")
					x.Object = &provenancev1.Ref{External: alien + "/" + fmt.Sprint(c.r.IntN(1000))}
					list = append(list, x)
				}
				m = &provenancev1.Relate{Relations: list}
			}
			c.harm(a, m)
		})
	}
}

// abuse: emergencies that are none, opened wide and long, and used on many records.
func (c *campaign) abuse() {
	a := c.present(nurse, doctor)
	org := a.of
	t := c.now
	for range 1 + c.r.IntN(2) {
		if chance(c.r, 0.5) {
			t = c.idle(a, t)
		} else {
			t, _ = c.busy(a, t)
		}
		id := c.mark(c.name)
		c.at(t, func() {
			scope := &accessv1.Scope{
				Organisation: org.did, Actions: []*accessv1.EntityUid{{Type: "Action", Id: "read"}, {Type: "Action", Id: "export"}},
				Purposes: []string{care, billing},
			}
			if chance(c.r, 0.5) {
				scope.ResourceType = "Record"
			}
			c.emit(&Action{
				Author: a.did, Signers: []string{a.keyURL()}, Makes: [][]byte{id}, Campaign: c.name, Attack: c.kind, Harmful: true,
				Messages: []proto.Message{&accessv1.BreakGlass{
					Reason: pick(c.r, []accessv1.BreakGlassReason{
						accessv1.BreakGlassReason_BREAK_GLASS_REASON_SYSTEM_FAILURE, accessv1.BreakGlassReason_BREAK_GLASS_REASON_LIFE_THREATENING,
					}),
					Text: "urgent", Scope: scope, DurationMs: pick(c.r, []int64{4 * hour, 12 * hour}),
				}},
			})
		})
		for range c.count(10, 28) {
			t += between(c.r, 5*second, 2*minute)
			c.at(t, func() {
				c.harm(a, decide(a.did, org, pick(c.r, []string{"read", "read", "export"}), "Record", c.foreign(a).record, care))
			})
		}
		c.at(t+between(c.r, 13*hour, 30*hour), func() {
			if who := org.those(reviewer); len(who) > 0 {
				c.answer(who[0].did, []string{who[0].keyURL()}, &accessv1.Review{Id: id, Assessment: accessv1.Assessment_ASSESSMENT_UNJUSTIFIED})
			}
		})
		t += 30 * hour
	}
}

// drift: one record more than there is reason for on the first day, and a little more
// each day after. The first days are only there to get the model used to it.
func (c *campaign) drift() {
	a := c.present(nurse, doctor)
	t, shifts, begun := c.now, 0, c.now
	for t < c.end-hour {
		from, to := c.busy(a, t)
		n := int((1 + float64(shifts)*0.9) * c.o.Force)
		early := shifts < min(3, int((c.end-begun)/(6*day)))
		for range min(max(n, 1), 16) {
			at := from + c.r.Int64N(max(to-from, 1))
			c.at(at, func() { c.strike(a, !early, readRecord(a.did, a.of, c.foreign(a), care)) })
		}
		shifts++
		t = to
	}
}

// burst: everything at once, so that no block lies between the first and the last.
func (c *campaign) burst() {
	a := c.present(clerk, enforcer, adjuster, archive, doctor)
	t := c.now + second
	if a.job.kind() == identityv1.Kind_KIND_PERSON {
		t, _ = c.busy(a, t)
		t += second
	}
	t = t/second*second + 50
	n := c.count(40, 130)
	for i := range n {
		c.at(t+int64(i*850/n), func() {
			switch {
			case a.job == archive && len(a.of.files.ids) > 0:
				c.harm(a, &provenancev1.InvalidateEntity{Id: pick(c.r, a.of.files.ids), Reason: provenancev1.InvalidationReason_INVALIDATION_REASON_OTHER})
			default:
				org, s, purpose := c.target(a)
				c.harm(a, readRecord(a.did, org, s, purpose))
			}
		})
	}
}

// mimic: the thief of a key knows the model and its owner's habits. It acts on shift
// alone, at its owner's pace, mostly on what its owner reads, in its ward, and takes
// what it came for in between.
func (c *campaign) mimic() {
	a := c.present(nurse, doctor)
	t, left := c.now, c.count(10, 25)
	for left > 0 && t < c.end {
		from, to := c.busy(a, t)
		for t = from + exponential(c.r, a.job.pace()); t < to && left > 0; t += logNormal(c.r, a.job.pace(), 0.8) {
			wanted := chance(c.r, 0.35)
			if wanted {
				left--
			}
			c.at(t, func() {
				list := a.of.inside(a.ward)
				if !wanted && len(a.mine) > 0 {
					list = a.mine
				}
				if len(list) == 0 {
					list = a.of.subjects
				}
				c.strike(a, wanted, readRecord(a.did, a.of, pick(c.r, list), care))
			})
		}
		t = to
	}
}
