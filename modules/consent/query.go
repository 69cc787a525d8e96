package consent

import (
	"bytes"
	"context"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/errs"
	"github.com/chancery/chancery/chain/state"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
)

const (
	defaultLimit = 50
	maxLimit     = 500
)

// queries serves chancery.consent.v1.Query.
type queries struct {
	consentv1.UnimplementedQueryServer
	m  *Module
	at chain.Snapshots
}

func pageSize(limit uint32) (int, error) {
	switch {
	case limit == 0:
		return defaultLimit, nil
	case limit > maxLimit:
		return 0, ErrPage.With("limit %d", limit)
	}
	return int(limit), nil
}

func answerOf(r chain.ReadCtx, rec *consentv1.Record) *consentv1.ConsentResponse {
	return &consentv1.ConsentResponse{Record: rec, EffectiveStatus: effective(rec, r.Time())}
}

// version is a version of a record by point lookups; 0 is the latest.
func (m *Module) version(r chain.ReadCtx, id []byte, version uint64) (*consentv1.Record, error) {
	if err := checkHash("id", id); err != nil {
		return nil, err
	}
	rec, ok := m.records.Lookup(r, id)
	if ok && version != 0 && version != rec.Version {
		rec, ok = m.history.Lookup(r, state.Join(id, version))
	}
	if !ok {
		return nil, ErrNotFound.With("%x version %d", id, version)
	}
	return rec, nil
}

// Consent implements consentv1.QueryServer.
func (q *queries) Consent(ctx context.Context, req *consentv1.ConsentRequest) (*consentv1.ConsentResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	rec, err := q.m.version(r, req.Id, 0)
	if err != nil {
		return nil, err
	}
	return answerOf(r, rec), nil
}

// ConsentVersion implements consentv1.QueryServer.
func (q *queries) ConsentVersion(ctx context.Context, req *consentv1.ConsentVersionRequest) (*consentv1.ConsentResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if req.Version == 0 {
		return nil, ErrInvalid.With("version is missing; the first is 1")
	}
	rec, err := q.m.version(r, req.Id, req.Version)
	if err != nil {
		return nil, err
	}
	return answerOf(r, rec), nil
}

// Versions implements consentv1.QueryServer. The latest version is not in the
// history, so it comes first on the first page.
func (q *queries) Versions(ctx context.Context, req *consentv1.VersionsRequest) (*consentv1.ConsentsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	latest, err := q.m.version(r, req.Id, 0)
	if err != nil {
		return nil, err
	}
	codec := state.PairOf(state.Bytes, state.Uint64)
	token := req.PageToken
	out := new(consentv1.ConsentsResponse)
	if len(token) == 0 {
		out.Consents = append(out.Consents, answerOf(r, latest))
		limit--
		token = codec.Encode(nil, state.Join(req.Id, latest.Version))
	} else if k, rest, err := codec.Decode(token); err != nil || len(rest) > 0 || !bytes.Equal(k.A, req.Id) {
		return nil, ErrPage
	}
	if limit == 0 {
		if latest.Version > 1 {
			out.NextPageToken = token
		}
		return out, nil
	}
	page, next := q.m.history.Page(r, state.Under(state.Bytes, req.Id).Down().After(token), limit)
	for _, rec := range page {
		out.Consents = append(out.Consents, answerOf(r, rec))
	}
	out.NextPageToken = next
	return out, nil
}

// ConsentsBySubject implements consentv1.QueryServer.
func (q *queries) ConsentsBySubject(ctx context.Context, req *consentv1.ConsentsBySubjectRequest) (*consentv1.ConsentsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	if err := checkHash("subject", req.Subject); err != nil {
		return nil, err
	}
	ids, next, err := q.m.pageBySubject(r, req.Subject, req.PageToken, limit)
	if err != nil {
		return nil, err
	}
	return q.m.consents(r, ids, next), nil
}

// pageBySubject walks the subject's dossiers by controller, and the holdings
// within each. The token is the last holding's key.
func (m *Module) pageBySubject(r chain.ReadCtx, subject, token []byte, limit int) (ids [][]byte, next []byte, err error) {
	dossiers := state.Under(state.Bytes, subject)
	page := func(controller string, token []byte) bool {
		keys, more := m.holdings.Page(r, state.Under2(state.String, state.Bytes, controller, subject).After(token), limit-len(ids))
		for _, k := range keys {
			ids = append(ids, k.C)
			next = holdingCodec.Encode(nil, k)
		}
		return more == nil
	}
	if len(token) > 0 {
		k, rest, err := holdingCodec.Decode(token)
		if err != nil || len(rest) > 0 || !bytes.Equal(k.B, subject) {
			return nil, nil, ErrPage
		}
		if !page(k.A, token) {
			return ids, next, nil
		}
		dossiers = dossiers.After(dossierCodec.Encode(nil, state.Join(subject, k.A)))
	}
	for k := range m.dossiers.Walk(r, dossiers) {
		if len(ids) == limit {
			return ids, next, nil
		}
		if !page(k.B, nil) {
			return ids, next, nil
		}
	}
	return ids, nil, nil
}

func (m *Module) consents(r chain.ReadCtx, ids [][]byte, next []byte) *consentv1.ConsentsResponse {
	out := &consentv1.ConsentsResponse{NextPageToken: next}
	for _, id := range ids {
		out.Consents = append(out.Consents, answerOf(r, m.mustRecord(r, id)))
	}
	return out
}

// ConsentsByController implements consentv1.QueryServer.
func (q *queries) ConsentsByController(ctx context.Context, req *consentv1.ConsentsByControllerRequest) (*consentv1.ConsentsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	if err := checkOrganisation("controller", req.Controller); err != nil {
		return nil, err
	}
	if len(req.PageToken) > 0 {
		if k, rest, err := holdingCodec.Decode(req.PageToken); err != nil || len(rest) > 0 || k.A != req.Controller {
			return nil, ErrPage
		}
	}
	keys, next := q.m.holdings.Page(r, state.Under(state.String, req.Controller).After(req.PageToken), limit)
	ids := make([][]byte, len(keys))
	for i, k := range keys {
		ids[i] = k.C
	}
	return q.m.consents(r, ids, next), nil
}

// ConsentsByRecipient implements consentv1.QueryServer.
func (q *queries) ConsentsByRecipient(ctx context.Context, req *consentv1.ConsentsByRecipientRequest) (*consentv1.ConsentsResponse, error) {
	return q.named(ctx, q.m.recipients, "recipient", req.Recipient, req.Limit, req.PageToken)
}

// Requests implements consentv1.QueryServer.
func (q *queries) Requests(ctx context.Context, req *consentv1.RequestsRequest) (*consentv1.ConsentsResponse, error) {
	return q.named(ctx, q.m.requests, "controller", req.Controller, req.Limit, req.PageToken)
}

func (q *queries) named(ctx context.Context, index state.Index[namedKey], field, did string, limit uint32, token []byte) (*consentv1.ConsentsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(limit)
	if err != nil {
		return nil, err
	}
	if err := checkDID(field, did); err != nil {
		return nil, err
	}
	if len(token) > 0 {
		if k, rest, err := namedCodec.Decode(token); err != nil || len(rest) > 0 || k.A != did {
			return nil, ErrPage
		}
	}
	keys, next := index.Page(r, state.Under(state.String, did).After(token), size)
	ids := make([][]byte, len(keys))
	for i, k := range keys {
		ids[i] = k.B
	}
	return q.m.consents(r, ids, next), nil
}

// Dossier implements consentv1.QueryServer.
func (q *queries) Dossier(ctx context.Context, req *consentv1.DossierRequest) (*consentv1.DossierResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkPair(req.Subject, req.Controller); err != nil {
		return nil, err
	}
	d := q.m.dossier(r, req.Subject, req.Controller)
	if d == nil {
		return nil, ErrNotFound.With("the controller holds nothing of the subject")
	}
	return &consentv1.DossierResponse{Dossier: d}, nil
}

func checkPair(subject []byte, controller string) error {
	if err := checkHash("subject", subject); err != nil {
		return err
	}
	return checkOrganisation("controller", controller)
}

// Permitted implements consentv1.QueryServer.
func (q *queries) Permitted(ctx context.Context, req *consentv1.PermittedRequest) (*consentv1.PermittedResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	question := Question{
		Subject: req.Subject, Controller: req.Controller, Recipient: req.Recipient, Purpose: req.Purpose,
		Categories: req.Categories, Processing: req.Processing,
	}
	if question.Processing == "" {
		question.Processing = Access
	}
	id, version, err := q.m.Covers(r, question)
	switch {
	case ErrInvalid.Is(err):
		return nil, err
	case err != nil:
		e := errs.As(err)
		return &consentv1.PermittedResponse{Code: e.Code, Reason: e.Error()}, nil
	}
	return &consentv1.PermittedResponse{Permitted: true, Id: id, Version: version}, nil
}

// Delegation implements consentv1.QueryServer.
func (q *queries) Delegation(ctx context.Context, req *consentv1.DelegationRequest) (*consentv1.DelegationResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkPair(req.Subject, req.Controller); err != nil {
		return nil, err
	}
	if err := checkDID("delegate", req.Delegate); err != nil {
		return nil, err
	}
	d, ok := q.m.delegations.Lookup(r, state.Join3(req.Subject, req.Controller, req.Delegate))
	if !ok {
		return nil, ErrNoDelegation
	}
	return &consentv1.DelegationResponse{Delegation: d}, nil
}

// Delegations implements consentv1.QueryServer.
func (q *queries) Delegations(ctx context.Context, req *consentv1.DelegationsRequest) (*consentv1.DelegationsResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	if err := checkPair(req.Subject, req.Controller); err != nil {
		return nil, err
	}
	if len(req.PageToken) > 0 {
		k, rest, err := delegationCodec.Decode(req.PageToken)
		if err != nil || len(rest) > 0 || !bytes.Equal(k.A, req.Subject) || k.B != req.Controller {
			return nil, ErrPage
		}
	}
	page, next := q.m.delegations.Page(r, state.Under2(state.Bytes, state.String, req.Subject, req.Controller).After(req.PageToken), limit)
	return &consentv1.DelegationsResponse{Delegations: page, NextPageToken: next}, nil
}

// Receipt implements consentv1.QueryServer.
func (q *queries) Receipt(ctx context.Context, req *consentv1.ReceiptRequest) (*consentv1.ReceiptResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := q.m.Receipt(r, req.Id, req.Version)
	if err != nil {
		return nil, err
	}
	return &consentv1.ReceiptResponse{Json: string(raw)}, nil
}

// Export implements consentv1.QueryServer.
func (q *queries) Export(ctx context.Context, req *consentv1.ExportRequest) (*consentv1.ExportResponse, error) {
	r, err := q.at.At(ctx)
	if err != nil {
		return nil, err
	}
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	if err := checkHash("subject", req.Subject); err != nil {
		return nil, err
	}
	raw, next, err := q.m.export(r, req.Subject, req.PageToken, limit)
	if err != nil {
		return nil, err
	}
	return &consentv1.ExportResponse{Json: string(raw), NextPageToken: next}, nil
}
