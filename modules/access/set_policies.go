package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) setPolicies() chain.Handler[*accessv1.SetPolicies] {
	return chain.Handler[*accessv1.SetPolicies]{
		Validate: func(msg *accessv1.SetPolicies) error {
			if err := checkDID("organisation", msg.Organisation); err != nil {
				return err
			}
			if _, err := m.caches.parseDocuments(msg.Documents); err != nil {
				return err
			}
			_, err := m.caches.parseSchema(msg.Schema)
			return err
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.SetPolicies) error {
			if err := m.checkPolicyAdmin(ctx, msg.Organisation); err != nil {
				return err
			}
			o := m.store.organisation(ctx, msg.Organisation)
			if msg.Replaces != nil && *msg.Replaces != o.Policies {
				return ErrStale.With("it is at version %d, not %d", o.Policies, *msg.Replaces)
			}
			set, err := m.caches.parseDocuments(msg.Documents)
			if err != nil {
				return err
			}
			var schema *cedarSchema
			if msg.Schema != nil {
				schema, err = m.caches.parseSchema(msg.Schema)
			} else {
				schema, err = m.currentSchema(ctx, o)
			}
			if err != nil {
				return err
			}
			chargeValidation(ctx, schema, set)
			if schema == nil {
				return nil
			}
			return schema.validate(set)
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.SetPolicies) (proto.Message, error) {
			set, err := m.caches.parseDocuments(msg.Documents)
			if err != nil {
				return nil, err
			}
			o := m.store.organisation(ctx, msg.Organisation)
			o.Version++
			o.Policies = o.Version
			documents := sortedDocuments(msg.Documents)
			p := &accessv1.PolicySet{
				Organisation: o.Organisation, Version: o.Version, Documents: documents,
				Hash: documentsHash(documents), Change: changeOf(ctx),
			}
			m.store.policies.Put(ctx, state.Join(o.Organisation, o.Version), p)
			ctx.Emit(&accessv1.PoliciesSet{Organisation: o.Organisation, Version: o.Version, Hash: p.Hash, Author: ctx.Author()})
			if msg.Schema != nil {
				m.putSchema(ctx, o, msg.Schema)
			}
			m.store.organisations.Put(ctx, o.Organisation, o)
			return &accessv1.SetPoliciesResponse{Version: o.Version, Policies: set.ids()}, nil
		},
	}
}

// putSchema writes a schema at the organisation's present version.
func (m *Module) putSchema(ctx *chain.Ctx, o *accessv1.Organisation, text *accessv1.SchemaText) {
	o.Schema = o.Version
	s := &accessv1.Schema{
		Organisation: o.Organisation, Version: o.Version, Schema: text,
		Hash: schemaHash(text), Change: changeOf(ctx),
	}
	m.store.schemas.Put(ctx, state.Join(o.Organisation, o.Version), s)
	ctx.Emit(&accessv1.SchemaSet{Organisation: o.Organisation, Version: o.Version, Hash: s.Hash, Author: ctx.Author()})
}
