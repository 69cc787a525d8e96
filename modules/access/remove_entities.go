package access

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) removeEntities() chain.Handler[*accessv1.RemoveEntities] {
	return chain.Handler[*accessv1.RemoveEntities]{
		Validate: func(msg *accessv1.RemoveEntities) error {
			if err := checkDID("organisation", msg.Organisation); err != nil {
				return err
			}
			if len(msg.Entities) == 0 || len(msg.Entities) > maxEntitiesPerMessage {
				return ErrField.With("entities must have 1 to %d entries", maxEntitiesPerMessage)
			}
			return checkUIDs("entities", msg.Entities)
		},
		Check: func(ctx chain.ReadCtx, msg *accessv1.RemoveEntities) error {
			if err := m.checkEntityAdmin(ctx, msg.Organisation); err != nil {
				return err
			}
			for _, uid := range msg.Entities {
				if _, ok := m.store.entityNow(ctx, msg.Organisation, uid.Type, uid.Id); !ok {
					return ErrNotFound.With("entity %s", toCedar(uid))
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.RemoveEntities) (proto.Message, error) {
			o := m.store.organisation(ctx, msg.Organisation)
			o.Version++
			event := &accessv1.EntitiesRemoved{Organisation: o.Organisation, Version: o.Version, Author: ctx.Author()}
			for _, uid := range sortedFields(msg.Entities) {
				old, ok := m.store.entityNow(ctx, o.Organisation, uid.Type, uid.Id)
				if !ok {
					return nil, ErrNotFound.With("entity %s", toCedar(uid))
				}
				o.Entities--
				o.EntityBytes -= uint64(len(old.Json))
				m.putEntity(ctx, &accessv1.Entity{
					Organisation: o.Organisation, Uid: uid, Version: o.Version, Removed: true, Change: changeOf(ctx),
				})
				event.Entities = append(event.Entities, uid)
			}
			m.store.organisations.Put(ctx, o.Organisation, o)
			ctx.Emit(event)
			return &accessv1.RemoveEntitiesResponse{Version: o.Version}, nil
		},
	}
}

// sortedFields are uids in order of type and id.
func sortedFields(uids []*accessv1.EntityUid) []*accessv1.EntityUid {
	out := make([]*accessv1.EntityUid, 0, len(uids))
	for _, uid := range sortedUIDs(toCedars(uids)) {
		out = append(out, fromCedar(uid))
	}
	return out
}

// checkUIDs checks a list of uids, each of which may be there once.
func checkUIDs(field string, uids []*accessv1.EntityUid) error {
	for _, uid := range uids {
		if err := checkUIDField(field, uid); err != nil {
			return err
		}
	}
	if len(sortedUIDs(toCedars(uids))) != len(uids) {
		return ErrField.With("%s names an entity twice", field)
	}
	return nil
}
