// Package protoreflect stands in for the real one, with the names that the analyzer knows.
package protoreflect

type FieldDescriptor interface{ Name() string }

type Value struct{}

type Message interface {
	Range(f func(FieldDescriptor, Value) bool)
	GetUnknown() []byte
}

type Map interface {
	Range(f func(Value, Value) bool)
}

type ProtoMessage interface{ ProtoReflect() Message }
