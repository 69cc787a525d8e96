// Package wire reads and writes the messages of the streaming scorers. There is one encoding of each: what does not
// marshal back to the very same bytes is refused.
package wire

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// MaxDepth is how deep messages may nest.
const MaxDepth = 24

// The ways in which bytes are refused.
var (
	ErrTooLong      = errors.New("too many bytes")
	ErrMalformed    = errors.New("not parseable")
	ErrNotCanonical = errors.New("not the canonical encoding")
)

// Message is a generated message.
type Message interface {
	proto.Message
	MarshalVT() ([]byte, error)
}

var parse = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: MaxDepth}

// MaxName is the most bytes that a name has.
const MaxName = 64

// Named says whether s may name a rule, a feature or a part: 1 to MaxName bytes of lower case, digits, hyphens,
// underscores and dots.
func Named(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// Unmarshal reads raw, of at most limit bytes, into m.
func Unmarshal(raw []byte, m Message, limit int) error {
	if len(raw) > limit {
		return fmt.Errorf("%w: %d, at most %d are read", ErrTooLong, len(raw), limit)
	}
	if err := parse.Unmarshal(raw, m); err != nil {
		return ErrMalformed // the library's text differs between builds
	}
	again, err := m.MarshalVT()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(raw, again) {
		return ErrNotCanonical
	}
	return nil
}
