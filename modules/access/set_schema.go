package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) setSchema() chain.Handler[*accessv1.SetSchema] {
	return chain.Handler[*accessv1.SetSchema]{
		Validate: func(msg *accessv1.SetSchema) error {
			if err := checkDID("organisation", msg.Organisation); err != nil {
				return err
			}
			if msg.Schema == nil {
				return ErrField.With("schema is missing; an empty text removes the schema")
			}
			if msg.Schema.Text == "" && msg.Schema.Format != accessv1.SchemaFormat_SCHEMA_FORMAT_UNSPECIFIED {
				return ErrField.With("schema.format says nothing about an empty text; leave it out")
			}
			_, err := m.caches.parseSchema(msg.Schema)
			return err
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.SetSchema) error {
			if err := m.checkPolicyAdmin(ctx, msg.Organisation); err != nil {
				return err
			}
			schema, err := m.caches.parseSchema(msg.Schema)
			if err != nil || schema == nil {
				return err
			}
			o := m.store.organisation(ctx, msg.Organisation)
			if o.Policies == 0 {
				return nil
			}
			p, _ := m.store.policies.Lookup(ctx, state.Join(o.Organisation, o.Policies))
			set, err := m.caches.policySet(p.GetHash(), p.GetDocuments())
			if err != nil {
				return err
			}
			chargeValidation(ctx, schema, set)
			return schema.validate(set)
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.SetSchema) (proto.Message, error) {
			o := m.store.organisation(ctx, msg.Organisation)
			o.Version++
			m.putSchema(ctx, o, msg.Schema)
			m.store.organisations.Put(ctx, o.Organisation, o)
			return &accessv1.SetSchemaResponse{Version: o.Version}, nil
		},
	}
}
