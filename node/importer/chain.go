package importer

import (
	"bytes"
	"context"
	"errors"

	"github.com/chancery/chancery/modules/access"
	"github.com/chancery/chancery/modules/provenance"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
	consentv1 "github.com/chancery/chancery/proto/chancery/consent/v1"
	provenancev1 "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

// onChain is Chain and Rules by queries, with what the documents before will make.
type onChain struct {
	ctx context.Context
	s   *Session
}

// found makes "there is none" of an answer that says so.
func found[T any](v *T, err error) (*T, error) {
	if errors.Is(err, provenance.ErrNotFound) || errors.Is(err, access.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// Node implements Chain.
func (q *onChain) Node(id string) (*provenancev1.Node, error) {
	for i := len(q.s.pending) - 1; i >= 0; i-- {
		if n := q.s.pending[i].nodes[id]; n != nil {
			return n, nil
		}
	}
	r, err := found(provenancev1.NewQueryClient(q.s.Client.Conn()).Node(q.ctx, &provenancev1.NodeRequest{Organisation: q.s.Organisation, Id: id}))
	return r.GetNode(), err
}

// Consents implements Chain.
func (q *onChain) Consents(subject []byte, controller string) ([]*consentv1.ConsentResponse, error) {
	for _, d := range q.s.pending {
		for _, m := range d.messages {
			if t, ok := m.(interface{ GetTerms() *consentv1.Terms }); ok && bytes.Equal(t.GetTerms().GetSubject(), subject) {
				return nil, errWait
			}
		}
	}
	var out []*consentv1.ConsentResponse
	request := &consentv1.ConsentsBySubjectRequest{Subject: subject, Limit: 500}
	for {
		page, err := consentv1.NewQueryClient(q.s.Client.Conn()).ConsentsBySubject(q.ctx, request)
		if err != nil {
			return nil, err
		}
		for _, c := range page.Consents {
			if c.Record.Terms.GetController() == controller {
				out = append(out, c)
			}
		}
		if request.PageToken = page.NextPageToken; len(page.NextPageToken) == 0 {
			return out, nil
		}
	}
}

// Policies implements Rules.
func (q *onChain) Policies() (*accessv1.PolicySet, error) {
	return found(accessv1.NewQueryClient(q.s.Client.Conn()).Policies(q.ctx, &accessv1.VersionRequest{Organisation: q.s.Organisation}))
}

// Schema implements Rules.
func (q *onChain) Schema() (*accessv1.Schema, error) {
	return found(accessv1.NewQueryClient(q.s.Client.Conn()).Schema(q.ctx, &accessv1.VersionRequest{Organisation: q.s.Organisation}))
}

// Entity implements Rules.
func (q *onChain) Entity(uid *accessv1.EntityUid) (*accessv1.Entity, error) {
	return found(accessv1.NewQueryClient(q.s.Client.Conn()).Entity(q.ctx, &accessv1.EntityRequest{Organisation: q.s.Organisation, Uid: uid}))
}
