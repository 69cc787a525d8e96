package threat

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

const (
	// maxActing bounds the responses that act on one subject at one time.
	maxActing = 128
	// maxResponsesEnded bounds how many responses expire in a block. Those that wait
	// for the next hold nobody any more.
	maxResponsesEnded = 64
	// maxCounted bounds the decisions that are looked at to count revoked grants.
	maxCounted = 500

	responseDomain = "chancery/threat/response/v1"

	actionHold   = threatv1.Action_ACTION_HOLD
	actionStepUp = threatv1.Action_ACTION_STEP_UP
)

// before tells whether playbooks hold a transaction that its score would admit, which
// of them, and how many administrators of the author's own organisation may release it;
// 0: reviewers of several organisations. A response that waits for keys to be rotated
// comes first, then the first playbook with ACTION_HOLD, then the one that asks for the
// most approvals. What is never held is not held by playbooks either.
func (m *Module) before(r chain.ReadCtx, s *situation) (hold bool, playbook string, approvals uint32) {
	if m.exempt(r, s.candidate) {
		return false, "", 0
	}
	if name, must := m.mustRotate(r, s.candidate); must {
		return true, name, 0
	}
	for _, p := range m.matching(r, s) {
		switch {
		case slices.Contains(p.Actions, actionHold):
			return true, p.Name, 0
		case slices.Contains(p.Actions, actionStepUp) && p.StepUpApprovals > approvals:
			hold, playbook, approvals = true, p.Name, p.StepUpApprovals
		}
	}
	return hold, playbook, approvals
}

// mustRotate names the playbook by which the author, or one who signed for it, has to
// rotate keys first.
func (m *Module) mustRotate(r chain.ReadCtx, c *chain.Candidate) (playbook string, must bool) {
	for _, subject := range actors(c) {
		list, _ := m.acting.Peek(r, subject)
		for _, a := range list.GetResponses() {
			if a.Action != threatv1.Action_ACTION_ROTATE_KEYS || m.rotated(r, subject, a.Time) {
				continue
			}
			if rec, ok := m.responses.Peek(r, a.Id); ok && rec.ExpiresAt > r.Time() {
				return a.Playbook, true
			}
		}
	}
	return "", false
}

// rotated tells whether a DID has a key of its own that may sign and that was added
// after a time.
func (m *Module) rotated(r chain.ReadCtx, subject string, since int64) bool {
	_, key, ok := m.deps.Identity.Ages(r, subject)
	return ok && key >= 0 && r.Time()-key > since
}

// actors are the author and those who signed for it, each once.
func actors(c *chain.Candidate) []string {
	out := []string{c.Body.Author}
	for _, s := range c.Authority.Signers {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// after carries out what playbooks say of a transaction, executed or kept: an event,
// suspension, revocation of grants, rotation of keys; each a response with its evidence,
// and none that acts already. Unless verdicts are carried out, it does no more than tell.
// It never fails the transaction.
func (m *Module) after(ctx *chain.Ctx, s *situation) {
	m.fulfil(ctx, s.candidate)
	for _, p := range m.matching(ctx, s) {
		for _, a := range p.Actions {
			if !slices.Contains(lasting, a) || !s.enforced && a != threatv1.Action_ACTION_NOTIFY {
				continue
			}
			for _, subject := range m.subjects(ctx, a, s.candidate) {
				m.respond(ctx, p, a, subject, s)
			}
		}
	}
}

// subjects are whom an action is about: the author; for keys those that have keys of
// their own, so those who signed for an organisation that has none.
func (m *Module) subjects(r chain.ReadCtx, a threatv1.Action, c *chain.Candidate) []string {
	author := c.Body.Author
	if a != threatv1.Action_ACTION_ROTATE_KEYS || author == m.deps.Identity.Consortium() {
		return []string{author}
	}
	hasKey := func(did string) bool {
		_, key, ok := m.deps.Identity.Ages(r, did)
		return ok && key >= 0
	}
	if hasKey(author) {
		return []string{author}
	}
	return slices.DeleteFunc(actors(c), func(did string) bool { return !hasKey(did) })
}

// respond takes an action and records it, unless the same acts already.
func (m *Module) respond(ctx *chain.Ctx, p *threatv1.Playbook, a threatv1.Action, subject string, s *situation) {
	list, ok := m.acting.Lookup(ctx, subject)
	if !ok {
		list = new(threatv1.Acting)
	}
	at, acts := slices.BinarySearchFunc(list.Responses, &threatv1.ActingResponse{Action: a, Playbook: p.Name}, compareActing)
	if acts || len(list.Responses) >= maxActing {
		return
	}
	rec := &threatv1.Response{
		Id: responseID(p, a, subject, s.candidate.ID[:]), Playbook: p.Name, PlaybookVersion: p.Version, Action: a, Subject: subject,
		TxId: s.candidate.ID[:], Verdict: s.verdict, Model: s.model, Height: ctx.Height(), Time: ctx.Time(),
		ExpiresAt: ctx.Time() + p.LastsMs, Status: threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE,
		Outcome: m.carryOut(ctx, a, subject),
	}
	list.Responses = slices.Insert(list.Responses, at, &threatv1.ActingResponse{Action: a, Playbook: p.Name, Id: rec.Id, Time: rec.Time})
	m.acting.Put(ctx, subject, list)
	m.responses.Put(ctx, rec.Id, rec)
	m.responsesOf.Add(ctx, state.Join(subject, rec.Id))
	m.responsesDue.Add(ctx, state.Join(rec.ExpiresAt, rec.Id))
	ctx.Emit(&threatv1.Responded{Response: rec})
}

// responseID is SHA-256 over the domain and each of playbook, version, action, subject
// and transaction, all with their length as eight bytes, big endian, before them.
func responseID(p *threatv1.Playbook, a threatv1.Action, subject string, txID []byte) []byte {
	var raw []byte
	for _, part := range [][]byte{
		[]byte(responseDomain), []byte(p.Name), binary.BigEndian.AppendUint64(nil, p.Version),
		binary.BigEndian.AppendUint64(nil, uint64(a)), []byte(subject), txID,
	} {
		raw = binary.BigEndian.AppendUint64(raw, uint64(len(part)))
		raw = append(raw, part...)
	}
	sum := sha256.Sum256(raw)
	return sum[:]
}

func compareActing(a, b *threatv1.ActingResponse) int {
	if c := cmp.Compare(a.Action, b.Action); c != 0 {
		return c
	}
	return strings.Compare(a.Playbook, b.Playbook)
}

// carryOut does what an action says and tells what came of it.
func (m *Module) carryOut(ctx *chain.Ctx, a threatv1.Action, subject string) string {
	id := m.deps.Identity
	if a != threatv1.Action_ACTION_NOTIFY && subject == id.Consortium() {
		return "nothing was done: the subject is the consortium"
	}
	switch a {
	case threatv1.Action_ACTION_NOTIFY:
		return "the event was emitted"
	case threatv1.Action_ACTION_SUSPEND:
		switch {
		case !id.Active(ctx, subject):
			return "nothing was done: the subject was not active"
		case id.SuspendFor(ctx, subject):
			return "suspended"
		}
		return "not suspended: without the subject too few would be left to act, or to run the chain"
	case threatv1.Action_ACTION_REVOKE_GRANTS:
		return fmt.Sprintf("all grants were revoked; of the latest %d decisions %d granted", maxCounted, m.deps.Access.RevokeGrants(ctx, subject, maxCounted))
	case threatv1.Action_ACTION_ROTATE_KEYS:
		return "everything but rotations of keys, and what is never held, waits for a new key"
	}
	panic("threat: an action that takes no response: " + a.String())
}

// fulfil ends the responses that waited for keys of the author, or of those who signed
// for it, and have them.
func (m *Module) fulfil(ctx *chain.Ctx, c *chain.Candidate) {
	for _, subject := range actors(c) {
		list, _ := m.acting.Peek(ctx, subject)
		for _, a := range list.GetResponses() {
			if a.Action == threatv1.Action_ACTION_ROTATE_KEYS && m.rotated(ctx, subject, a.Time) {
				m.end(ctx, m.response(ctx, a.Id), threatv1.ResponseStatus_RESPONSE_STATUS_FULFILLED)
			}
		}
	}
}

// endResponses ends what is due, the earliest first: responses, and opinions.
func (m *Module) endResponses(ctx *chain.Ctx) {
	var due [][]byte
	for k := range m.responsesDue.Walk(ctx, state.All()) {
		if k.A > ctx.Time() || len(due) == maxResponsesEnded {
			break
		}
		due = append(due, k.B)
	}
	for _, id := range due {
		rec := m.response(ctx, id)
		status := threatv1.ResponseStatus_RESPONSE_STATUS_EXPIRED
		if rec.Action == threatv1.Action_ACTION_ROTATE_KEYS && m.rotated(ctx, rec.Subject, rec.Time) {
			status = threatv1.ResponseStatus_RESPONSE_STATUS_FULFILLED
		}
		m.end(ctx, rec, status)
	}
	m.endOpinions(ctx)
}

// response is a record that an index names.
func (m *Module) response(r state.Reader, id []byte) *threatv1.Response {
	rec, ok := m.responses.Lookup(r, id)
	if !ok {
		panic("threat: an index names a response that has no record")
	}
	return rec
}

// end ends an active response. A suspension by the module ends with the last response
// that suspends the subject.
func (m *Module) end(ctx *chain.Ctx, rec *threatv1.Response, status threatv1.ResponseStatus) {
	rec.Status, rec.EndedTime = status, ctx.Time()
	m.responsesDue.Remove(ctx, state.Join(rec.ExpiresAt, rec.Id))
	list, _ := m.acting.Lookup(ctx, rec.Subject)
	rest := slices.DeleteFunc(list.GetResponses(), func(a *threatv1.ActingResponse) bool { return bytes.Equal(a.Id, rec.Id) })
	if len(rest) == 0 {
		m.acting.Remove(ctx, rec.Subject)
	} else {
		m.acting.Put(ctx, rec.Subject, &threatv1.Acting{Responses: rest})
	}
	suspends := func(a *threatv1.ActingResponse) bool { return a.Action == threatv1.Action_ACTION_SUSPEND }
	if rec.Action == threatv1.Action_ACTION_SUSPEND && !slices.ContainsFunc(rest, suspends) &&
		m.deps.Identity.ReinstateFrom(ctx, rec.Subject) {
		rec.Outcome += "; reinstated"
	}
	m.responses.Put(ctx, rec.Id, rec)
	ctx.Emit(&threatv1.ResponseEnded{Response: rec})
}
