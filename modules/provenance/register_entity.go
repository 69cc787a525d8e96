package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) registerEntity() chain.Route {
	return registering(m,
		func(msg *pb.RegisterEntity) *pb.NewNode {
			return &pb.NewNode{Id: msg.Id, Description: &pb.NewNode_Entity{Entity: msg.Entity}}
		},
		func(p plan) proto.Message {
			return &pb.RegisterEntityResponse{Ref: p.ref(), Created: p.known == nil}
		})
}
