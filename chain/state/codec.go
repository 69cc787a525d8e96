package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// KeyCodec turns a key into bytes whose order is the key's order and of which no
// encoding is a prefix of another, so that codecs can be joined.
type KeyCodec[K any] interface {
	// Encode appends the encoding of k to dst.
	Encode(dst []byte, k K) []byte
	// Decode reads one key from the front of b and returns what follows it.
	Decode(b []byte) (k K, rest []byte, err error)
	// String names the encoding, for the key tables of documents.
	String() string
}

var errKey = errors.New("key does not decode")

// String keys: the bytes with 0x00 written as 0x00 0xFF, ended by 0x00 0x01.
var String KeyCodec[string] = stringKey{}

// Bytes keys: encoded like String.
var Bytes KeyCodec[[]byte] = bytesKey{}

// Uint64 keys: eight bytes, big endian.
var Uint64 KeyCodec[uint64] = uint64Key{}

// Int64 keys: eight bytes, big endian, with the sign bit flipped.
var Int64 KeyCodec[int64] = int64Key{}

// Uint32 keys: four bytes, big endian.
var Uint32 KeyCodec[uint32] = uint32Key{}

// Bool keys: one byte, 0 or 1.
var Bool KeyCodec[bool] = boolKey{}

type stringKey struct{}

func (stringKey) String() string { return "string" }

func (stringKey) Encode(dst []byte, k string) []byte {
	for {
		i := strings.IndexByte(k, 0)
		if i < 0 {
			return append(append(dst, k...), 0, 1)
		}
		dst, k = append(append(dst, k[:i]...), 0, 0xFF), k[i+1:]
	}
}

func (stringKey) Decode(b []byte) (string, []byte, error) {
	raw, rest, err := bytesKey{}.Decode(b)
	return string(raw), rest, err
}

type bytesKey struct{}

func (bytesKey) String() string { return "bytes" }

func (bytesKey) Encode(dst, k []byte) []byte {
	for {
		i := bytes.IndexByte(k, 0)
		if i < 0 {
			return append(append(dst, k...), 0, 1)
		}
		dst, k = append(append(dst, k[:i]...), 0, 0xFF), k[i+1:]
	}
}

func (bytesKey) Decode(b []byte) ([]byte, []byte, error) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != 0 {
			out = append(out, b[i])
			continue
		}
		if i+1 >= len(b) {
			return nil, nil, errKey
		}
		switch b[i+1] {
		case 0xFF:
			out = append(out, 0)
			i++
		case 1:
			return out, b[i+2:], nil
		default:
			return nil, nil, errKey
		}
	}
	return nil, nil, errKey
}

type uint64Key struct{}

func (uint64Key) String() string                     { return "uint64" }
func (uint64Key) Encode(dst []byte, k uint64) []byte { return binary.BigEndian.AppendUint64(dst, k) }
func (uint64Key) Decode(b []byte) (uint64, []byte, error) {
	if len(b) < 8 {
		return 0, nil, errKey
	}
	return binary.BigEndian.Uint64(b), b[8:], nil
}

type int64Key struct{}

const signBit = uint64(1) << 63

func (int64Key) String() string { return "int64" }
func (int64Key) Encode(dst []byte, k int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(k)^signBit)
}
func (int64Key) Decode(b []byte) (int64, []byte, error) {
	if len(b) < 8 {
		return 0, nil, errKey
	}
	return int64(binary.BigEndian.Uint64(b) ^ signBit), b[8:], nil
}

type uint32Key struct{}

func (uint32Key) String() string                     { return "uint32" }
func (uint32Key) Encode(dst []byte, k uint32) []byte { return binary.BigEndian.AppendUint32(dst, k) }
func (uint32Key) Decode(b []byte) (uint32, []byte, error) {
	if len(b) < 4 {
		return 0, nil, errKey
	}
	return binary.BigEndian.Uint32(b), b[4:], nil
}

type boolKey struct{}

func (boolKey) String() string { return "bool" }
func (boolKey) Encode(dst []byte, k bool) []byte {
	if k {
		return append(dst, 1)
	}
	return append(dst, 0)
}
func (boolKey) Decode(b []byte) (bool, []byte, error) {
	if len(b) < 1 || b[0] > 1 {
		return false, nil, errKey
	}
	return b[0] == 1, b[1:], nil
}

// Pair is a key of two parts, ordered by the first and then the second.
type Pair[A, B any] struct {
	A A
	B B
}

// Join is short for Pair[A, B]{a, b}.
func Join[A, B any](a A, b B) Pair[A, B] { return Pair[A, B]{a, b} }

// Triple is a key of three parts.
type Triple[A, B, C any] struct {
	A A
	B B
	C C
}

// Join3 is short for Triple[A, B, C]{a, b, c}.
func Join3[A, B, C any](a A, b B, c C) Triple[A, B, C] { return Triple[A, B, C]{a, b, c} }

// PairOf joins two codecs.
func PairOf[A, B any](a KeyCodec[A], b KeyCodec[B]) KeyCodec[Pair[A, B]] {
	return pairKey[A, B]{a, b}
}

// TripleOf joins three codecs.
func TripleOf[A, B, C any](a KeyCodec[A], b KeyCodec[B], c KeyCodec[C]) KeyCodec[Triple[A, B, C]] {
	return tripleKey[A, B, C]{a, b, c}
}

type pairKey[A, B any] struct {
	a KeyCodec[A]
	b KeyCodec[B]
}

func (c pairKey[A, B]) String() string { return c.a.String() + ", " + c.b.String() }

func (c pairKey[A, B]) Encode(dst []byte, k Pair[A, B]) []byte {
	return c.b.Encode(c.a.Encode(dst, k.A), k.B)
}

func (c pairKey[A, B]) Decode(b []byte) (k Pair[A, B], rest []byte, err error) {
	if k.A, rest, err = c.a.Decode(b); err != nil {
		return k, nil, err
	}
	k.B, rest, err = c.b.Decode(rest)
	return k, rest, err
}

type tripleKey[A, B, C any] struct {
	a KeyCodec[A]
	b KeyCodec[B]
	c KeyCodec[C]
}

func (c tripleKey[A, B, C]) String() string {
	return c.a.String() + ", " + c.b.String() + ", " + c.c.String()
}

func (c tripleKey[A, B, C]) Encode(dst []byte, k Triple[A, B, C]) []byte {
	return c.c.Encode(c.b.Encode(c.a.Encode(dst, k.A), k.B), k.C)
}

func (c tripleKey[A, B, C]) Decode(b []byte) (k Triple[A, B, C], rest []byte, err error) {
	if k.A, rest, err = c.a.Decode(b); err != nil {
		return k, nil, err
	}
	if k.B, rest, err = c.b.Decode(rest); err != nil {
		return k, nil, err
	}
	k.C, rest, err = c.c.Decode(rest)
	return k, rest, err
}

// Message is a protobuf message with generated canonical marshalling.
type Message interface {
	proto.Message
	SizeVT() int
	MarshalVT() ([]byte, error)
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

// ValueCodec turns a value into bytes and back.
type ValueCodec[V any] interface {
	// Encode appends the encoding of v to dst.
	Encode(dst []byte, v V) ([]byte, error)
	Decode(b []byte) (V, error)
	// String names the encoding: a protobuf message's full name, or "uint64",
	// "bytes", "unit".
	String() string
}

// Proto is the codec of message *T. A value is one marker byte, 0x01, followed by
// the message, so that an empty message is not an empty value.
func Proto[T any, M interface {
	*T
	Message
}]() ValueCodec[M] {
	return protoValue[T, M]{}
}

type protoValue[T any, M interface {
	*T
	Message
}] struct{}

const protoMarker = 1

func (protoValue[T, M]) String() string {
	return string(M(new(T)).ProtoReflect().Descriptor().FullName())
}

func (protoValue[T, M]) Encode(dst []byte, v M) ([]byte, error) {
	at, size := len(dst)+1, v.SizeVT()
	dst = append(slices.Grow(dst, 1+size), protoMarker)[:at+size]
	if _, err := v.MarshalToSizedBufferVT(dst[at:]); err != nil {
		return nil, err
	}
	return dst, nil
}

func (protoValue[T, M]) Decode(b []byte) (M, error) {
	if len(b) == 0 || b[0] != protoMarker {
		return nil, errors.New("value lacks the message marker")
	}
	v := M(new(T))
	if err := v.UnmarshalVT(b[1:]); err != nil {
		return nil, err
	}
	return v, nil
}

// Uint64Value is the codec of an integer: eight bytes, big endian.
var Uint64Value ValueCodec[uint64] = uint64Value{}

type uint64Value struct{}

func (uint64Value) String() string { return "uint64" }
func (uint64Value) Encode(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}
func (uint64Value) Decode(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("integer of %d bytes, want 8", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// StringValue is the codec of a string: its bytes after one marker byte.
var StringValue ValueCodec[string] = stringValue{}

type stringValue struct{}

func (stringValue) String() string { return "string" }
func (stringValue) Encode(dst []byte, v string) ([]byte, error) {
	return append(append(dst, protoMarker), v...), nil
}
func (stringValue) Decode(b []byte) (string, error) {
	if len(b) == 0 || b[0] != protoMarker {
		return "", errors.New("value lacks the string marker")
	}
	return string(b[1:]), nil
}

// Unit is the value of an index: the entry is all it says.
type Unit struct{}

type unitValue struct{}

func (unitValue) String() string { return "unit" }
func (unitValue) Encode(dst []byte, _ Unit) ([]byte, error) {
	return append(dst, protoMarker), nil
}
func (unitValue) Decode(b []byte) (Unit, error) {
	if len(b) != 1 || b[0] != protoMarker {
		return Unit{}, errors.New("index entry has an unknown value")
	}
	return Unit{}, nil
}
