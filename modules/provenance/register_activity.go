package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) registerActivity() chain.Route {
	return registering(m,
		func(msg *pb.RegisterActivity) *pb.NewNode {
			return &pb.NewNode{Id: msg.Id, Description: &pb.NewNode_Activity{Activity: msg.Activity}}
		},
		func(p plan) proto.Message {
			return &pb.RegisterActivityResponse{Ref: p.ref(), Created: p.known == nil}
		})
}
