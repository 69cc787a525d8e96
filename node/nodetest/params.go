package nodetest

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

func setParams() proto.Message { return &chainv1.SetParams{Params: chain.DefaultParams()} }
