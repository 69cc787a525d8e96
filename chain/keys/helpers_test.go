package keys

import (
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

var types = []Type{Ed25519, P256, MLDSA65}

// coin is a reproducible stand-in for a source of randomness.
func coin(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), 1})
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func newSigner(tb testing.TB, t Type, fill byte) Signer {
	tb.Helper()
	var seed [SeedSize]byte
	for i := range seed {
		seed[i] = fill
	}
	s, err := NewSigner(t, seed[:])
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func signed(tb testing.TB, s Signer, msg []byte) Item {
	tb.Helper()
	sig, err := s.Sign(msg)
	if err != nil {
		tb.Fatal(err)
	}
	return Item{Key: s.Public(), Message: msg, Signature: sig}
}
