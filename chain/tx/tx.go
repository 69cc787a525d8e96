// Package tx is the transaction: its canonical bytes, its id and what is signed.
//
// See docs/transactions.md for the format in prose and chapter T of chain/SPEC.md
// for the rules.
package tx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/chancery/chancery/chain/errs"
	txv1 "github.com/chancery/chancery/proto/chancery/tx/v1"
)

const (
	// SaltSize is the length of Body.salt in bytes.
	SaltSize = 16
	// MaxBytes is the most that any chain may allow for one transaction, checked
	// before anything is parsed. Chains set their own, lower limit in Params.
	MaxBytes = 1 << 20
	// MaxDepth is the deepest nesting of messages that is looked at.
	MaxDepth = 32
	// MaxKeyURL is the longest DID URL that may name a key.
	MaxKeyURL = 256
	// domain separates these signatures from all others made with the same key.
	domain = "chancery/tx/v1"
)

// The errors of this package. Codes are permanent.
var (
	Errors          = errs.Module("tx")
	ErrTooLarge     = Errors.New(2, "the transaction is larger than the chain allows; split it, or keep large data off the chain and register its hash")
	ErrMalformed    = Errors.New(3, "the bytes are not a transaction; build them with the client library or see docs/transactions.md")
	ErrUnknownField = Errors.New(4, "the transaction has fields that this version does not know; use a client of the chain's version")
	ErrNotCanonical = Errors.New(5, "the bytes are a transaction but not its canonical form; marshal fields in order, once each, without defaults")
	ErrIncomplete   = Errors.New(6, "the transaction lacks a required part; see docs/transactions.md")
)

// ID is SHA-256 of the signed bytes. Signatures are not part of it, so a
// transaction has one id however it is signed.
type ID [sha256.Size]byte

// String is the id in lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String writes.
func ParseID(s string) (ID, error) {
	var id ID
	raw, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(raw) != len(id) {
		return id, ErrMalformed.With("a transaction id is %d hexadecimal digits", 2*len(id))
	}
	copy(id[:], raw)
	return id, nil
}

// Decoded is a transaction whose bytes are canonical. It is shared between
// goroutines and must not be changed.
type Decoded struct {
	Raw        []byte
	ID         ID
	Tx         *txv1.Tx
	Body       *txv1.Body
	Messages   []proto.Message // the arms of Body.messages
	SignedData []byte          // what every signature is over
}

// SignBytes is what is signed: the domain tag, the chain id and the raw body, the
// first two with their length as four bytes, big endian, before them.
func SignBytes(chainID string, body []byte) []byte {
	out := make([]byte, 0, 8+len(domain)+len(chainID)+len(body))
	out = binary.BigEndian.AppendUint32(out, uint32(len(domain)))
	out = append(out, domain...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(chainID)))
	out = append(out, chainID...)
	return append(out, body...)
}

// IDOf is the id of a transaction with this body.
func IDOf(chainID string, body []byte) ID { return sha256.Sum256(SignBytes(chainID, body)) }

// Claim is what bytes say of themselves, if they are a transaction; the zero Claim where they
// are none.
type Claim struct {
	Author        string
	chainID, body []byte
}

// Peek reads little of the bytes and checks nothing, not even that they are canonical.
func Peek(raw []byte) Claim {
	if len(raw) > MaxBytes {
		return Claim{}
	}
	body := firstBytes(raw, 1)
	chainID, author := firstBytes(body, 1), firstBytes(body, 2)
	if len(author) == 0 || len(author) > MaxKeyURL {
		return Claim{}
	}
	return Claim{string(author), chainID, body}
}

// ID is the id that the bytes claim, zero where there is none. It hashes them.
func (c Claim) ID() ID {
	if c.Author == "" {
		return ID{}
	}
	return IDOf(string(c.chainID), c.body)
}

// firstBytes is field n of a message where it is of bytes and no other comes before it
// that is not; nil otherwise.
func firstBytes(message []byte, n protowire.Number) []byte {
	for len(message) > 0 {
		field, kind, size := protowire.ConsumeTag(message)
		if size < 0 || kind != protowire.BytesType {
			return nil
		}
		value, length := protowire.ConsumeBytes(message[size:])
		if length < 0 {
			return nil
		}
		if field == n {
			return value
		}
		message = message[size+length:]
	}
	return nil
}

// Decode parses canonical transaction bytes. It looks at the bytes alone: neither
// signatures nor state are checked.
func Decode(raw []byte) (*Decoded, error) {
	if len(raw) > MaxBytes {
		return nil, ErrTooLarge.With("%d bytes, at most %d", len(raw), MaxBytes)
	}
	t := new(txv1.Tx)
	if err := canonical(raw, t); err != nil {
		return nil, err
	}
	body := new(txv1.Body)
	if err := canonical(t.Body, body); err != nil {
		return nil, err
	}
	switch {
	case body.ChainId == "":
		return nil, ErrIncomplete.With("body.chain_id is empty")
	case body.Author == "":
		return nil, ErrIncomplete.With("body.author is empty")
	case len(body.Author) > MaxKeyURL:
		return nil, ErrIncomplete.With("body.author is longer than %d bytes", MaxKeyURL)
	case len(body.Salt) != SaltSize:
		return nil, ErrIncomplete.With("body.salt has %d bytes, want %d", len(body.Salt), SaltSize)
	case body.ValidUntil <= 0:
		return nil, ErrIncomplete.With("body.valid_until is not a time")
	case len(body.Messages) == 0:
		return nil, ErrIncomplete.With("body.messages is empty")
	case len(t.Signatures) == 0:
		return nil, ErrIncomplete.With("there is no signature")
	}
	signed := make(map[string]struct{}, min(len(t.Signatures), 64))
	for i, s := range t.Signatures {
		if s.Key == "" || len(s.Key) > MaxKeyURL || len(s.Signature) == 0 {
			return nil, ErrIncomplete.With("signature %d lacks its key or its bytes, or names a key of over %d bytes", i, MaxKeyURL)
		}
		if _, twice := signed[s.Key]; twice {
			return nil, ErrIncomplete.With("key %s signs twice", s.Key)
		}
		signed[s.Key] = struct{}{}
	}
	d := &Decoded{Raw: raw, Tx: t, Body: body, SignedData: SignBytes(body.ChainId, t.Body)}
	d.ID = sha256.Sum256(d.SignedData)
	d.Messages = make([]proto.Message, len(body.Messages))
	for i, m := range body.Messages {
		arm, err := Arm(m)
		if err != nil {
			return nil, ErrIncomplete.With("message %d is empty or of a kind that this version does not know", i)
		}
		d.Messages[i] = arm
	}
	return d, nil
}

var sum = (&txv1.Message{}).ProtoReflect().Descriptor().Oneofs().ByName("sum")

// Arm returns the message inside the envelope.
func Arm(m *txv1.Message) (proto.Message, error) {
	r := m.ProtoReflect()
	fd := r.WhichOneof(sum)
	if fd == nil {
		return nil, fmt.Errorf("empty envelope")
	}
	return r.Get(fd).Message().Interface(), nil
}

// Envelope puts a message into its arm. Errors say that no arm takes it.
func Envelope(m proto.Message) (*txv1.Message, error) {
	name := m.ProtoReflect().Descriptor().FullName()
	for i := 0; i < sum.Fields().Len(); i++ {
		if fd := sum.Fields().Get(i); fd.Message().FullName() == name {
			e := new(txv1.Message)
			e.ProtoReflect().Set(fd, protoreflect.ValueOfMessage(m.ProtoReflect()))
			return e, nil
		}
	}
	return nil, fmt.Errorf("%s is not an arm of chancery.tx.v1.Message", name)
}

// EncodeMessage is the canonical bytes of a message in its envelope, as they stand in
// what holds messages beside transactions. Errors say that no arm takes it.
func EncodeMessage(m proto.Message) ([]byte, error) {
	e, err := Envelope(m)
	if err != nil {
		return nil, err
	}
	return e.MarshalVT()
}

// DecodeMessage reads what EncodeMessage writes, and refuses all other bytes.
func DecodeMessage(raw []byte) (proto.Message, error) {
	e := new(txv1.Message)
	if err := canonical(raw, e); err != nil {
		return nil, err
	}
	m, err := Arm(e)
	if err != nil {
		return nil, ErrIncomplete.With("a message is empty or of a kind that this version does not know")
	}
	return m, nil
}

// Arms lists the message types that transactions can hold, in order of field
// number.
func Arms() []protoreflect.FieldDescriptor {
	out := make([]protoreflect.FieldDescriptor, sum.Fields().Len())
	for i := range out {
		out[i] = sum.Fields().Get(i)
	}
	return out
}

type message interface {
	proto.Message
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

// scratch are buffers for what is marshalled to be compared.
//
//determinism:allow memory that is written before it is read
var scratch = sync.Pool{New: func() any { return new([]byte) }}

var parse = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: MaxDepth}

// canonical unmarshals raw into m and refuses unknown fields and any bytes that m
// does not marshal back to.
func canonical(raw []byte, m message) error {
	if err := parse.Unmarshal(raw, m); err != nil {
		return ErrMalformed.With("%s: not parseable", m.ProtoReflect().Descriptor().Name())
	}
	buffer := scratch.Get().(*[]byte)
	defer scratch.Put(buffer)
	size := m.SizeVT()
	*buffer = slices.Grow((*buffer)[:0], size)
	again := (*buffer)[:size]
	if _, err := m.MarshalToSizedBufferVT(again); err != nil {
		return ErrMalformed.With("%s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	if bytes.Equal(raw, again) {
		return nil
	}
	keep := m.ProtoReflect().New().Interface()
	if err := (proto.UnmarshalOptions{RecursionLimit: MaxDepth}).Unmarshal(raw, keep); err == nil {
		if name, ok := unknown(keep.ProtoReflect()); ok {
			return ErrUnknownField.With("in %s", name)
		}
	}
	return ErrNotCanonical.With("%s", m.ProtoReflect().Descriptor().Name())
}

// unknown finds a message below m that has unknown fields.
func unknown(m protoreflect.Message) (name protoreflect.FullName, found bool) {
	if len(m.GetUnknown()) > 0 {
		return m.Descriptor().FullName(), true
	}
	fields := m.Descriptor().Fields()
	for i := 0; i < fields.Len() && !found; i++ {
		fd := fields.Get(i)
		if fd.Message() == nil || fd.IsMap() || !m.Has(fd) {
			continue
		}
		if !fd.IsList() {
			name, found = unknown(m.Get(fd).Message())
			continue
		}
		list := m.Get(fd).List()
		for i := 0; i < list.Len() && !found; i++ {
			name, found = unknown(list.Get(i).Message())
		}
	}
	return name, found
}
