package consent

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

func (m *Module) give() chain.Route {
	return chain.HandlePlan(chain.Planner[*consentv1.Give, *answer]{
		Validate: func(msg *consentv1.Give) error {
			if err := checkAnswer(msg.RequestId, msg.Terms, false); err != nil {
				return err
			}
			return willOfGive(msg).check(true, true)
		},
		Plan: m.planGive,
		Execute: func(ctx *chain.Ctx, msg *consentv1.Give, p *answer) (proto.Message, error) {
			if err := m.makeRoom(ctx, p.dossier, &p.dossier.Consents, maxConsents); err != nil {
				return nil, err
			}
			rec := m.enter(ctx, p)
			rec.Status = consentv1.Status_STATUS_GIVEN
			p.dossier.Consents = append(p.dossier.Consents, rec.Id)
			m.records.Put(ctx, rec.Id, rec)
			m.indexRecipients(ctx, rec.Id, nil, rec.Terms.Recipients)
			m.putDossier(ctx, rec.Terms.Subject, rec.Terms.Controller, p.dossier)
			ctx.Emit(given(rec))
			return &consentv1.GiveResponse{Id: rec.Id, Version: rec.Version}, nil
		},
	})
}

func willOfGive(msg *consentv1.Give) will {
	return will{method: msg.Method, evidence: msg.EvidenceHash, givenAt: msg.GivenAt, subjectDID: msg.SubjectDid, source: msg.Source}
}

// checkAnswer is the form of what answers a request or stands alone. exclusive
// says that an answer may not carry terms.
func checkAnswer(requestID []byte, t *consentv1.Terms, exclusive bool) error {
	if len(requestID) == 0 {
		return checkTerms(t)
	}
	if err := checkHash("request_id", requestID); err != nil || t == nil {
		return err
	}
	if exclusive {
		return ErrInvalid.With("terms and request_id exclude one another")
	}
	return checkTerms(t)
}

// answer is a plan to give or refuse.
type answer struct {
	dossier *consentv1.Dossier
	request *consentv1.Record // nil when none is answered
	terms   *consentv1.Terms
	will    expressed
	source  *consentv1.Source
}

func (m *Module) planGive(r chain.ReadCtx, msg *consentv1.Give) (*answer, error) {
	p, err := m.planAnswer(r, msg.RequestId, msg.Terms, willOfGive(msg))
	if err != nil {
		return nil, err
	}
	return p, checkValidity(r, p.terms, p.will.method)
}

// checkValidity refuses terms that hold no more, unless they are taken over from
// another system's past.
func checkValidity(r chain.ReadCtx, t *consentv1.Terms, method consentv1.Method) error {
	if method != consentv1.Method_METHOD_IMPORTED && passed(t.ValidUntil, r.Time()) {
		return ErrTime.With("valid_until has passed")
	}
	return nil
}

func (m *Module) planAnswer(r chain.ReadCtx, requestID []byte, t *consentv1.Terms, w will) (*answer, error) {
	p := &answer{terms: t, source: w.source}
	if len(requestID) > 0 {
		var ok bool
		if p.request, ok = m.records.Lookup(r, requestID); !ok {
			return nil, ErrNotFound.With("%x", requestID)
		}
		if s := effective(p.request, r.Time()); s != consentv1.Status_STATUS_REQUESTED {
			return nil, ErrWrongState.With("%s is no open request", s)
		}
		if p.terms == nil {
			p.terms = p.request.Terms
		} else if err := within(p.request.Terms, p.terms); err != nil {
			return nil, err
		}
	}
	d := m.dossier(r, p.terms.Subject, p.terms.Controller)
	x, err := m.entitle(r, d, p.terms.Subject, p.terms.Controller, w, consentv1.Scope_SCOPE_GIVE)
	if err != nil {
		return nil, err
	}
	if err := m.checkController(r, p.terms.Controller); err != nil {
		return nil, err
	}
	p.dossier, p.will = orNew(d), x
	p.dossier.SubjectDid = x.bind
	return p, nil
}

// enter makes the record of an answer: the request's next version, or a new one.
// The caller sets its status and puts it and the dossier.
func (m *Module) enter(ctx *chain.Ctx, p *answer) *consentv1.Record {
	var rec *consentv1.Record
	if p.request == nil {
		rec = m.open(ctx, p.dossier, p.terms)
	} else {
		rec = m.revise(ctx, p.request)
		rec.Terms = p.terms.CloneVT()
		m.answered(ctx, p.dossier, rec)
	}
	p.will.write(ctx, rec, p.source)
	return rec
}

// write records who expressed what, when and how.
func (x expressed) write(ctx *chain.Ctx, rec *consentv1.Record, source *consentv1.Source) {
	rec.SubjectDid = x.bind
	rec.Method, rec.EvidenceHash = x.method, x.evidence
	rec.GivenAt, rec.RecordedAt, rec.GivenBy = x.givenAt, ctx.Time(), ctx.Author()
	rec.Source = source.CloneVT()
}

func given(rec *consentv1.Record) *consentv1.Given {
	return &consentv1.Given{
		Id: rec.Id, Version: rec.Version, Subject: rec.Terms.Subject, Controller: rec.Terms.Controller,
		NoticeVersion: rec.Terms.Notice.Version, NoticeHash: rec.Terms.Notice.Hash, Method: rec.Method,
		GivenAt: rec.GivenAt, ValidUntil: rec.Terms.ValidUntil, By: rec.GivenBy,
	}
}
