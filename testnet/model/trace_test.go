package model

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/chaintest"
	"github.com/chancery/chancery/chain/tx"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	governancev1 "github.com/chancery/chancery/proto/chancery/governance/v1"
	identityv1 "github.com/chancery/chancery/proto/chancery/identity/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// reading tells the model what recorded blocks say, from nothing but their transactions'
// bytes, results and events, as who follows the chain has them.
type reading struct {
	*system // for its time and its way to fail; not for what it knows

	consents, restrictions, holds [][]byte // by the events that told of them
}

// reads replays what was recorded into the model, which must expect every result and
// every event, and come to the same state.
func (s *system) reads() {
	s.t.Helper()
	r := &reading{system: s}
	state := s.model.First()
	for _, block := range s.trace {
		for i, raw := range block.raws {
			a := r.action(raw)
			before := state
			var out Outcome
			if state, out = s.model.Step(state, a); out.Door {
				s.fail("%s is in block %d, and the model refuses it at the door with %s", a, before.Height, out.Code)
			}
			r.told(a, out, &before, &state, block.results[i])
		}
		before := state
		state = s.model.end(state)
		var due [][]byte
		for i, h := range before.Holds[:before.Keeping] {
			if h.Status != HoldExpired && state.Holds[i].Status == HoldExpired {
				due = append(due, r.holds[i])
			}
		}
		told := chaintest.Events[threatv1.TxExpired](s.t, &chainv1.TxResult{Events: block.events})
		for _, e := range told {
			if !slices.ContainsFunc(due, func(id []byte) bool { return bytes.Equal(id, e.Hold.TxId) }) {
				s.fail("block %d tells that %x expired, and the model does not", before.Height, e.Hold.TxId)
			}
		}
		if len(told) != len(due) {
			s.fail("block %d tells of %d that expired, the model of %d", before.Height, len(told), len(due))
		}
	}
	want := s.state
	if want.Sent = 0; state != want {
		s.fail("what was recorded leads to\n%+v\nand not to\n%+v", state, want)
	}
}

func place(list [][]byte, id []byte) int8 {
	return int8(slices.IndexFunc(list, func(o []byte) bool { return bytes.Equal(o, id) }))
}

// told compares the events of a transaction with what the model made of it.
func (r *reading) told(a Action, out Outcome, before, after *State, result *chainv1.TxResult) {
	r.t.Helper()
	code := ""
	if result.Code != 0 {
		code = fmt.Sprintf("%s/%d", result.Codespace, result.Code)
	}
	if code != out.Code {
		r.fail("%s: the record says %q, the model %q", a, code, out.Code)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(result.Events, func(e *chainv1.Event) bool { return strings.HasSuffix(e.Type, name) })
	}
	for name, want := range map[string]bool{
		"threat.v1.TxHeld": code == "chain/16", "threat.v1.TxDenied": code == "chain/17", "threat.v1.TxReleased": out.Ran,
		"threat.v1.TxRejected": a.Kind == Reject && code == "" && after.Holds[a.Record].Status == Rejected,
		"threat.v1.Appealed":   a.Kind == Appeal && code == "",
		"consent.v1.Withdrawn": a.Kind == Withdraw && code == "", "consent.v1.Narrowed": a.Kind == Narrow && code == "",
		"consent.v1.Given":             after.Consented > before.Consented,
		"consent.v1.DelegationRevoked": a.Kind == Revoke && code == "",
		"access.v1.Decided":            a.Kind == Decide && code == "",
		"access.v1.GrantsEnded":        ended(before) != ended(after),
		"identity.v1.KeyRotated":       a.Kind == Rotate && code == "",
		"identity.v1.ValidatorUnbound": (a.Kind == Replace || a.Kind == Bind && a.Power == 0) && code == "",
		"identity.v1.ValidatorBound":   (a.Kind == Replace || a.Kind == Bind && a.Power != 0) && code == "",
	} {
		if name == "access.v1.GrantsEnded" && !want {
			continue // it is told again where what was granted has ended already
		}
		if has(name) != want {
			r.fail("%s: an event %s is told: %v, want %v", a, name, !want, want)
		}
	}
	for _, e := range chaintest.Events[consentv1.Given](r.t, result) {
		r.consents = append(r.consents, e.Id)
	}
	for _, e := range chaintest.Events[consentv1.Restricted](r.t, result) {
		r.restrictions = append(r.restrictions, e.Id)
	}
	if code == "chain/16" || code == "chain/17" {
		r.holds = append(r.holds, result.TxId)
	}
}

// ended is how many grants ended.
func ended(s *State) (n int) {
	for _, g := range s.Grants[:s.Granted] {
		if g.Ended {
			n++
		}
	}
	return n
}

// action is what a transaction's first message says; the others add weight.
func (r *reading) action(raw []byte) Action {
	r.t.Helper()
	d, err := tx.Decode(raw)
	if err != nil {
		r.fail("%v", err)
	}
	a := r.meaning(d.Messages[0])
	a.Actor = actorOf(d.Body.Author)
	switch {
	case len(d.Messages) >= 5:
		a.Weight = Monstrous
	case len(d.Messages) >= 3:
		a.Weight = Heavy
	}
	return a
}

func (r *reading) meaning(message proto.Message) (a Action) {
	r.t.Helper()
	subject := func(commitment []byte) int8 {
		return place([][]byte{commitmentOf(0), commitmentOf(1)}, commitment)
	}
	purposes := func(list []string) (out Purposes) {
		for p, iri := range purposeIRIs {
			if slices.Contains(list, iri) {
				out |= p
			}
		}
		return out
	}
	height := func(time int64) int8 {
		if time == 0 {
			return 0
		}
		return int8((time - r.zero) / tick)
	}
	switch m := message.(type) {
	case *consentv1.Give:
		return Action{
			Kind: Give, Subject: subject(m.Terms.Subject), Purposes: purposes(m.Terms.Purposes), Until: height(m.Terms.ValidUntil),
			Paper: m.Method == consentv1.Method_METHOD_WRITTEN,
		}
	case *consentv1.Narrow:
		return Action{Kind: Narrow, Record: place(r.consents, m.Id), Purposes: purposes(m.RemovePurposes), Until: height(m.ValidUntil)}
	case *consentv1.Withdraw:
		return Action{Kind: Withdraw, Record: place(r.consents, m.Id)}
	case *consentv1.Expire:
		return Action{Kind: Expire, Record: place(r.consents, m.Id)}
	case *consentv1.Delegate:
		a = Action{Kind: Delegate, Subject: subject(m.Subject), Delegate: actorOf(m.Delegate), Until: height(m.Until)}
		for of, scope := range scopeOf {
			if slices.Contains(m.Scopes, scope) {
				a.Scopes |= of
			}
		}
		return a
	case *consentv1.RevokeDelegation:
		return Action{Kind: Revoke, Subject: subject(m.Subject), Delegate: actorOf(m.Delegate)}
	case *consentv1.Restrict:
		return Action{Kind: Restrict, Subject: subject(m.Subject), Purposes: purposes(m.Purposes)}
	case *consentv1.LiftRestriction:
		return Action{Kind: Lift, Subject: subject(m.Subject), Record: place(r.restrictions, m.Id), Paper: len(m.EvidenceHash) > 0}
	case *accessv1.Decide:
		return Action{Kind: Decide, Subject: int8(m.Request.Resource.Id[0] - '0'), Purposes: purposes([]string{m.Request.Purpose})}
	case *identityv1.RotateKey:
		return Action{Kind: Rotate}
	case *governancev1.Vote:
		return Action{Kind: Vote}
	case *threatv1.Release:
		return Action{Kind: Release, Record: place(r.holds, m.TxId)}
	case *threatv1.Reject:
		return Action{Kind: Reject, Record: place(r.holds, m.TxId)}
	case *threatv1.Appeal:
		return Action{Kind: Appeal, Record: place(r.holds, m.GetTxId())}
	case *identityv1.BindValidator:
		key := func(public []byte) int8 {
			for k := range int8(MaxKeys) {
				if bytes.Equal(public, validatorKey(k)) {
					return k
				}
			}
			return -1
		}
		if len(m.Replaces) > 0 {
			return Action{Kind: Replace, Key: key(m.Replaces), New: key(m.PublicKey), Power: int8(m.Power)}
		}
		return Action{Kind: Bind, Key: key(m.PublicKey), Power: int8(m.Power)}
	case *provenancev1.RegisterEntity:
		return Action{Kind: Note}
	}
	r.fail("%T is not in the model", message)
	return a
}
