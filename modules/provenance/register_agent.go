package provenance

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	pb "github.com/chancery/chancery/proto/chancery/provenance/v1"
)

func (m *Module) registerAgent() chain.Route {
	return registering(m,
		func(msg *pb.RegisterAgent) *pb.NewNode {
			return &pb.NewNode{Id: msg.Id, Description: &pb.NewNode_Agent{Agent: msg.Agent}}
		},
		func(p plan) proto.Message {
			return &pb.RegisterAgentResponse{Ref: p.ref(), Created: p.known == nil}
		})
}
