package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) setGuardRails() chain.Handler[*accessv1.SetGuardRails] {
	return chain.Handler[*accessv1.SetGuardRails]{
		Validate: func(msg *accessv1.SetGuardRails) error {
			set, err := m.caches.parseDocuments(msg.Documents)
			if err != nil {
				return err
			}
			return refusePermits(set)
		},
		Check: func(ctx chain.ReadCtx, _ *accessv1.SetGuardRails) error {
			if ctx.Author() != m.deps.Identity.Consortium() {
				return ErrNotConsortium.With("author is %s", ctx.Author())
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.SetGuardRails) (proto.Message, error) {
			set, err := m.caches.parseDocuments(msg.Documents)
			if err != nil {
				return nil, err
			}
			o := m.store.organisation(ctx, m.deps.Identity.Consortium())
			o.Version++
			o.GuardRails = o.Version
			documents := sortedDocuments(msg.Documents)
			p := &accessv1.PolicySet{
				Organisation: o.Organisation, Version: o.Version, Documents: documents,
				Hash: documentsHash(documents), Change: changeOf(ctx),
			}
			m.store.guardRails.Put(ctx, o.Version, p)
			m.store.organisations.Put(ctx, o.Organisation, o)
			ctx.Emit(&accessv1.GuardRailsSet{Version: o.Version, Hash: p.Hash})
			return &accessv1.SetGuardRailsResponse{Version: o.Version, Policies: set.ids()}, nil
		},
	}
}
