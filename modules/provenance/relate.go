package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

const maxRelations = 256

func (m *Module) relate() chain.Route {
	return chain.Handle(chain.Handler[*pb.Relate]{
		Validate: func(msg *pb.Relate) error {
			if len(msg.Relations) == 0 {
				return ErrTooMany.With("no relation")
			}
			return checkRelations(msg.Relations)
		},
		Check: func(r chain.ReadCtx, msg *pb.Relate) error {
			for i, given := range msg.Relations {
				if _, _, err := m.resolved(r, given); err != nil {
					return inRelation(i, err)
				}
			}
			return nil
		},
		Execute: func(ctx *chain.Ctx, msg *pb.Relate) (proto.Message, error) {
			ids, created, err := m.putAll(ctx, msg.Relations)
			if err != nil {
				return nil, err
			}
			return &pb.RelateResponse{Ids: ids, Created: created}, nil
		},
	})
}

func checkRelations(relations []*pb.Relation) error {
	if len(relations) > maxRelations {
		return ErrTooMany.With("%d relations, at most %d", len(relations), maxRelations)
	}
	for i, r := range relations {
		if err := checkRelation(r); err != nil {
			return inRelation(i, err)
		}
	}
	return nil
}

func (m *Module) putAll(ctx *chain.Ctx, relations []*pb.Relation) (ids [][]byte, created uint32, err error) {
	for i, given := range relations {
		id, fresh, err := m.put(ctx, given)
		if err != nil {
			return nil, 0, inRelation(i, err)
		}
		ids = append(ids, id)
		if fresh {
			created++
		}
	}
	return ids, created, nil
}
