package threat

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// maxResponseAppeals is how often a response can be appealed.
const maxResponseAppeals = 2

// lift is the route of Lift.
func (m *Module) lift() chain.Route {
	return chain.HandlePlan(chain.Planner[*threatv1.Lift, *lifting]{
		Validate: func(msg *threatv1.Lift) error {
			if len(msg.NoteHash) > 0 {
				if err := checkHash("note_hash", msg.NoteHash); err != nil {
					return err
				}
			}
			return checkHash("response_id", msg.ResponseId)
		},
		Plan: m.planLift,
		Execute: func(ctx *chain.Ctx, msg *threatv1.Lift, p *lifting) (proto.Message, error) {
			rec := p.response
			rec.Reviews = append(rec.Reviews, p.opinion)
			ctx.Emit(&threatv1.Reviewed{ResponseId: rec.Id, Opinion: p.opinion})
			if p.have >= p.want {
				m.end(ctx, rec, threatv1.ResponseStatus_RESPONSE_STATUS_LIFTED)
			} else {
				m.responses.Put(ctx, rec.Id, rec)
			}
			return &threatv1.LiftResponse{Status: rec.Status, Have: p.have, Want: p.want}, nil
		},
	})
}

// lifting is a response with one more word on it. have is how many then are for
// lifting it, want how many it takes.
type lifting struct {
	response   *threatv1.Response
	opinion    *threatv1.Opinion
	have, want uint32
}

// planLift is the author's word on an active response. Each organisation has one, but
// for one that is the subject. It takes one of an organisation that is not the
// subject's, unless no other active one runs a validator.
func (m *Module) planLift(r chain.ReadCtx, msg *threatv1.Lift) (*lifting, error) {
	rec, ok := m.responses.Lookup(r, msg.ResponseId)
	switch {
	case !ok:
		return nil, ErrNotFound.With("%x", msg.ResponseId)
	case rec.Status != threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE:
		return nil, ErrWrongStatus.With("%s", rec.Status)
	case rec.ExpiresAt <= r.Time():
		return nil, ErrTooLate.With("it expired at %d", rec.ExpiresAt)
	}
	if id := r.TxID(); m.holds.Has(r, id[:]) {
		return nil, ErrWrongStatus.With("a transaction that was kept itself lifts nothing")
	}
	reviewer := r.Author()
	organisation, may := m.mayReview(r, reviewer)
	if !may || reviewer == rec.Subject || organisation == rec.Subject {
		return nil, ErrNotReviewer.With("%s", reviewer)
	}
	p := &lifting{response: rec, opinion: &threatv1.Opinion{
		Organisation: organisation, Reviewer: reviewer, Release: !msg.Keep, NoteHash: msg.NoteHash, Time: r.Time(),
	}}
	home, _ := m.deps.Identity.Organisation(r, rec.Subject)
	have, outside, err := m.organisationsFor(r, true, rec.Reviews, p.opinion, home)
	if err != nil {
		return nil, err
	}
	p.have = have
	want, others := m.quorum(r, home)
	if p.want = want; others && !outside {
		p.want = max(want, p.have+1)
	}
	if msg.Keep {
		p.want = max(p.want, p.have+1) // a word against lifting ends nothing
	}
	return p, nil
}

// appealResponse records an appeal against an active response, by its subject, the
// subject's organisation or an administrator of it. It changes nothing by itself:
// reviewers may lift the response before and after.
func (m *Module) appealResponse(ctx *chain.Ctx, id []byte, a *threatv1.AppealRecord) error {
	rec, ok := m.responses.Lookup(ctx, id)
	switch {
	case !ok:
		return ErrNotFound.With("%x", id)
	case !m.mayAppealResponse(ctx, rec):
		return ErrNotAppellant.With("%s", ctx.Author())
	case rec.Status != threatv1.ResponseStatus_RESPONSE_STATUS_ACTIVE:
		return ErrWrongStatus.With("%s", rec.Status)
	case rec.ExpiresAt <= ctx.Time():
		return ErrTooLate.With("it expired at %d", rec.ExpiresAt)
	case len(rec.Appeals) >= maxResponseAppeals:
		return ErrTooMany.With("%d appeals were made", len(rec.Appeals))
	}
	rec.Appeals = append(rec.Appeals, a)
	m.responses.Put(ctx, rec.Id, rec)
	ctx.Emit(&threatv1.Appealed{ResponseId: rec.Id, Appeal: a})
	return nil
}

func (m *Module) mayAppealResponse(r chain.ReadCtx, rec *threatv1.Response) bool {
	author := r.Author()
	organisation, _ := m.deps.Identity.Organisation(r, rec.Subject)
	return author == rec.Subject || author == organisation || m.deps.Identity.IsAdministrator(r, organisation, author)
}
