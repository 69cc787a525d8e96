package access

import (
	"cmp"
	"context"
	"errors"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

const (
	maxEvaluations      = 1000
	maxEvaluationsBytes = 1 << 20
)

// evaluations answers many requests at the state that r reads. One that is refused does
// not keep the others from their answers; a fault of the node does.
func (m *Module) evaluations(call context.Context, r chain.ReadCtx, q *accessv1.EvaluationsRequest) (*accessv1.EvaluationsResponse, error) {
	if len(q.Requests) == 0 || len(q.Requests) > maxEvaluations {
		return nil, ErrField.With("requests must be 1 to %d", maxEvaluations)
	}
	if n := q.SizeVT(); n > maxEvaluationsBytes {
		return nil, ErrTooLarge.With("the requests have %d bytes together, at most %d", n, maxEvaluationsBytes)
	}
	out := &accessv1.EvaluationsResponse{Evaluations: make([]*accessv1.Evaluation, len(q.Requests)), Height: r.Height(), Time: r.Time()}
	answers := make([]accessv1.Evaluation, len(q.Requests))
	for i, asked := range q.Requests {
		if err := call.Err(); err != nil {
			return nil, err
		}
		a := &answers[i]
		out.Evaluations[i] = a
		var err error
		a.Outcome, a.Reason, err = m.evaluate(r, completed(asked, q.Defaults))
		if refusal := (*errs.Error)(nil); errors.As(err, &refusal) && refusal.Code != errs.Internal {
			a.Code, a.Codespace, a.Message = refusal.Code, refusal.Module, refusal.Error()
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// completed is a request with what it leaves empty.
func completed(q, defaults *accessv1.Request) *accessv1.Request {
	if q == nil || defaults == nil {
		return q
	}
	return &accessv1.Request{
		Principal: cmp.Or(q.Principal, defaults.Principal), Action: cmp.Or(q.Action, defaults.Action),
		Organisation: cmp.Or(q.Organisation, defaults.Organisation), Resource: cmp.Or(q.Resource, defaults.Resource),
		Purpose: cmp.Or(q.Purpose, defaults.Purpose), Context: cmp.Or(q.Context, defaults.Context), GrantMs: cmp.Or(q.GrantMs, defaults.GrantMs),
	}
}
