package prototext

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

type Record struct{ ID string }

func (r *Record) ProtoReflect() protoreflect.Message { return nil }
func (r *Record) String() string                     { return "" }
func (r *Record) MarshalVT() ([]byte, error)         { return nil, nil }

type Kind int32

func (k Kind) String() string { return "" }

func refused(r *Record, m proto.Message, reflected protoreflect.Message) error {
	_, _ = proto.Marshal(m)                      // want `proto.Marshal is refused: it promises no stable bytes`
	_, _ = protojson.Marshal(m)                  // want `protojson.Marshal is refused`
	_, _ = protojson.MarshalOptions{}.Marshal(m) // want `protojson.MarshalOptions.Marshal is refused`
	_ = prototext.Format(m)                      // want `prototext.Format is refused`
	_ = r.String()                               // want `String of a message is refused`
	_ = fmt.Sprint(r)                            // want `printing a message is refused`
	reflected.Range(nil)                         // want `protoreflect.Message.Range is refused`
	protoregistry.GlobalTypes.RangeMessages(nil) // want `protoregistry.Types.RangeMessages is refused`
	return fmt.Errorf("record %v", m)            // want `printing a message is refused`
}

func allowed(r *Record, k Kind) error {
	_, _ = r.MarshalVT()
	_ = protojson.Unmarshal(nil, r)
	_ = proto.Equal(r, r)
	_ = k.String()
	return fmt.Errorf("record %s of kind %v", r.ID, k)
}
