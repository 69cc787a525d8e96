package access

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	"github.com/chancery/chancery/chain/state"
	accessv1 "github.com/chancery/chancery/proto/chancery/access/v1"
)

func (m *Module) putEntities() chain.Planner[*accessv1.PutEntities, []*entity] {
	return chain.Planner[*accessv1.PutEntities, []*entity]{
		Validate: func(msg *accessv1.PutEntities) error {
			if err := checkDID("organisation", msg.Organisation); err != nil {
				return err
			}
			list, err := newEntities(msg, nil)
			if err == nil && len(list) == 0 {
				err = ErrField.With("entities is empty")
			}
			return err
		},
		Plan: func(ctx chain.ReadCtx, msg *accessv1.PutEntities) ([]*entity, error) {
			if err := m.checkEntityAdmin(ctx, msg.Organisation); err != nil {
				return nil, err
			}
			// The list is parsed in Validate and here, and a byte of small values is dear.
			ctx.Charge(chain.PolicyStep, uint64(len(msg.Entities)))
			schema, err := m.currentSchema(ctx, m.store.organisation(ctx, msg.Organisation))
			if err != nil {
				return nil, err
			}
			return newEntities(msg, schema)
		},
		Execute: func(ctx *chain.Ctx, msg *accessv1.PutEntities, list []*entity) (proto.Message, error) {
			o := m.store.organisation(ctx, msg.Organisation)
			o.Version++
			event := &accessv1.EntitiesPut{Organisation: o.Organisation, Version: o.Version, Author: ctx.Author()}
			for _, e := range list {
				uid := fromCedar(e.cedar.UID)
				if old, ok := m.store.entityNow(ctx, o.Organisation, uid.Type, uid.Id); ok {
					o.Entities--
					o.EntityBytes -= uint64(len(old.Json))
				}
				o.Entities++
				o.EntityBytes += uint64(len(e.json))
				m.putEntity(ctx, &accessv1.Entity{
					Organisation: o.Organisation, Uid: uid, Version: o.Version, Json: e.json, Change: changeOf(ctx),
				})
				event.Entities = append(event.Entities, uid)
			}
			if o.Entities > maxEntities || o.EntityBytes > maxEntitiesBytes {
				return nil, ErrQuota.With("%d entities and %d bytes, at most %d and %d", o.Entities, o.EntityBytes, maxEntities, maxEntitiesBytes)
			}
			m.store.organisations.Put(ctx, o.Organisation, o)
			ctx.Emit(event)
			return &accessv1.PutEntitiesResponse{Version: o.Version}, nil
		},
	}
}

// newEntities parses the entities of a message and checks them, guided by a schema where there
// is one.
func newEntities(msg *accessv1.PutEntities, schema *cedarSchema) ([]*entity, error) {
	list, err := parseEntities(msg.Entities, maxEntitiesPerMessage, schema)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if err := checkEntity(e); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// putEntity writes an entity's version and its head.
func (m *Module) putEntity(w state.Writer, e *accessv1.Entity) {
	m.store.entities.Put(w, state.Join3(e.Organisation, e.Uid.Type, state.Join(e.Uid.Id, e.Version)), e)
	head := state.Join3(e.Organisation, e.Uid.Type, e.Uid.Id)
	if e.Removed {
		m.store.entityHeads.Remove(w, head)
	} else {
		m.store.entityHeads.Put(w, head, e.Version)
	}
}

// checkEntity refuses what an organisation may not say of an entity.
func checkEntity(e *entity) error {
	for p := range e.cedar.Parents.All() {
		if strings.HasPrefix(string(p.Type), typePrefix) {
			return ErrReservedParent.With("%s in %s", e.cedar.UID, p)
		}
	}
	if _, required, sound := consentNeeded(e.cedar.Attributes); required && !sound {
		return ErrField.With("%s needs consent, so its attribute subject must be 64 hexadecimal digits and consentRequired a boolean", e.cedar.UID)
	}
	for _, name := range []string{attrCategories, attrPurposes} {
		list, has := iris(e.cedar.Attributes, name)
		if !has {
			continue
		}
		if len(list) == 0 {
			return ErrField.With("%s: the attribute %s must be a set of IRIs, at least one", e.cedar.UID, name)
		}
		if name == attrCategories && len(list) > maxCategories {
			return ErrTooLarge.With("%s has %d categories, at most %d", e.cedar.UID, len(list), maxCategories)
		}
		for _, iri := range list {
			if err := checkIRI(name, iri); err != nil {
				return in(e.cedar.UID.String(), err)
			}
		}
	}
	return nil
}
