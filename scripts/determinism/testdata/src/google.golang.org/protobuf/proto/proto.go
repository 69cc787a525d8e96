// Package proto stands in for the real one, with the names that the analyzer knows.
package proto

import "google.golang.org/protobuf/reflect/protoreflect"

type Message = protoreflect.ProtoMessage

func Marshal(m Message) ([]byte, error) { return nil, nil }

func Equal(a, b Message) bool { return false }
