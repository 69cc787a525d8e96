// Package commitment makes the commitments by which the chain refers to people.
//
// A commitment is HMAC-SHA-256, keyed with a salt of its own that never reaches
// the chain, over a domain tag and an identifier. Without the salt it tells
// nothing of the identifier, however few identifiers there are; when the salt is
// deleted nobody can test a guess any more. The package has no state and touches
// no machine, so that clients can use it.
package commitment

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
)

const (
	// Size is the length of a commitment in bytes.
	Size = sha256.Size
	// MinSalt is the least length of a salt in bytes. Draw it from a
	// cryptographic source, once per subject and controller.
	MinSalt = 16
	// domain separates these commitments from every other use of the salt.
	domain = "chancery/consent/subject/v1\x00"
)

// ErrSalt is a salt that is too short to hide anything.
var ErrSalt = errors.New("the salt is too short; draw at least 16 random bytes, one salt per subject and controller")

// ErrIdentifier is an empty identifier.
var ErrIdentifier = errors.New("the identifier is empty; commit to what identifies the subject in your own records")

// Commit is the commitment to an identifier under a salt, 32 bytes. It panics
// where New returns an error.
func Commit(salt, identifier []byte) []byte {
	c, err := New(salt, identifier)
	if err != nil {
		panic(fmt.Sprintf("commitment: %v", err))
	}
	return c
}

// New is Commit for a salt and an identifier that were not checked before: it
// returns ErrSalt or ErrIdentifier.
func New(salt, identifier []byte) ([]byte, error) {
	if len(salt) < MinSalt {
		return nil, fmt.Errorf("%w: it has %d", ErrSalt, len(salt))
	}
	if len(identifier) == 0 {
		return nil, ErrIdentifier
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(domain))
	mac.Write(identifier)
	return mac.Sum(nil), nil
}

// Opens tells whether a commitment is to the identifier under the salt, in
// constant time.
func Opens(c, salt, identifier []byte) bool {
	want, err := New(salt, identifier)
	return err == nil && hmac.Equal(c, want)
}
