package keys

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// Type names a signature scheme. The numbers are part of the transaction format
// and of stored state: they are never reused.
type Type uint32

const (
	Ed25519 Type = 1
	P256    Type = 2
	MLDSA65 Type = 3
)

const (
	ed25519KeySize = 32
	p256KeySize    = 33
	mldsa65KeySize = mldsa65.PublicKeySize
)

var (
	// ErrType says that a key type is none of those that this package knows.
	ErrType = errors.New("unknown key type")
	// ErrKey says that bytes are no key of the stated type.
	ErrKey = errors.New("invalid public key")
)

// zip215 are the ZIP 215 rules with one addition that costs nothing for keys
// which NewPublic accepts: low-order and non-canonical keys are refused here as
// well. R may be of any order and encoding, as ZIP 215 has it, and the equation
// is the cofactored one, so that single and batch verification agree.
var zip215 = &ed25519.Options{Verify: &ed25519.VerifyOptions{
	AllowSmallOrderR:   true,
	AllowNonCanonicalR: true,
}}

// p256HalfOrder is floor(n/2) for the order n of P-256.
var p256HalfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// String returns the name of t as it is written on the command line and in key
// files: "ed25519", "p256" or "ml-dsa-65".
func (t Type) String() string {
	switch t {
	case Ed25519:
		return "ed25519"
	case P256:
		return "p256"
	case MLDSA65:
		return "ml-dsa-65"
	default:
		return fmt.Sprintf("unknown(%d)", uint32(t))
	}
}

// ParseType is the inverse of Type.String. The error wraps ErrType.
func ParseType(s string) (Type, error) {
	switch s {
	case "ed25519":
		return Ed25519, nil
	case "p256":
		return P256, nil
	case "ml-dsa-65":
		return MLDSA65, nil
	default:
		return 0, fmt.Errorf("%w %.32q: use ed25519, p256 or ml-dsa-65", ErrType, s)
	}
}

// SignatureSize returns the length in bytes of every signature of type t, and 0
// for a type that is not known.
func (t Type) SignatureSize() int {
	switch t {
	case Ed25519:
		return ed25519.SignatureSize
	case P256:
		return 64
	case MLDSA65:
		return mldsa65.SignatureSize
	default:
		return 0
	}
}

// KeySize returns the length in bytes of every public key of type t, and 0 for a
// type that is not known.
func (t Type) KeySize() int {
	switch t {
	case Ed25519:
		return ed25519KeySize
	case P256:
		return p256KeySize
	case MLDSA65:
		return mldsa65KeySize
	default:
		return 0
	}
}

// Public is a public key in its one canonical encoding. The zero value verifies
// nothing. Bytes are not to be changed.
type Public struct {
	Type  Type
	Bytes []byte
}

// NewPublic reads a key and keeps a copy of b. It refuses a wrong length, points
// that are not on the curve, encodings that are not canonical, and Ed25519
// points of low order. The error wraps ErrType or ErrKey.
func NewPublic(t Type, b []byte) (Public, error) {
	if t.KeySize() == 0 {
		return Public{}, fmt.Errorf("%w %d: use 1 (ed25519), 2 (p256) or 3 (ml-dsa-65)", ErrType, uint32(t))
	}
	if len(b) != t.KeySize() {
		return Public{}, fmt.Errorf("%w: a key of type %s has %d bytes, not %d", ErrKey, t, t.KeySize(), len(b))
	}
	switch t {
	case Ed25519:
		var compressed curve.CompressedEdwardsY
		if _, err := compressed.SetBytes(b); err != nil {
			return Public{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		if !compressed.IsCanonicalVartime() {
			return Public{}, fmt.Errorf("%w: the Ed25519 point is not encoded canonically", ErrKey)
		}
		var point curve.EdwardsPoint
		if _, err := point.SetCompressedY(&compressed); err != nil {
			return Public{}, fmt.Errorf("%w: the bytes are no point of edwards25519", ErrKey)
		}
		if point.IsSmallOrder() {
			return Public{}, fmt.Errorf("%w: the Ed25519 point has low order; anybody could sign for it", ErrKey)
		}
	case P256:
		if _, err := p256Public(b); err != nil {
			return Public{}, err
		}
	case MLDSA65:
		// Any 1952 bytes are rho and 256*6 coefficients of ten bits: FIPS 204,
		// algorithm 23, has no other condition.
	}
	return Public{Type: t, Bytes: bytes.Clone(b)}, nil
}

// Equal reports whether p and o are the same key of the same type.
func (p Public) Equal(o Public) bool {
	return p.Type == o.Type && bytes.Equal(p.Bytes, o.Bytes)
}

// String returns the multibase form of p.
func (p Public) String() string { return p.Multibase() }

// Verify reports whether sig is a valid signature of msg by p, under the rules
// in the package's documentation. It never panics, whatever p holds.
func (p Public) Verify(msg, sig []byte) bool {
	if p.Type.KeySize() == 0 || len(p.Bytes) != p.Type.KeySize() || len(sig) != p.Type.SignatureSize() {
		return false
	}
	switch p.Type {
	case Ed25519:
		return expanded.VerifyWithOptions(p.Bytes, msg, sig, zip215)
	case P256:
		return p256Verify(p.Bytes, msg, sig)
	case MLDSA65:
		var packed [mldsa65.PublicKeySize]byte
		copy(packed[:], p.Bytes)
		var key mldsa65.PublicKey
		key.Unpack(&packed)
		return mldsa65.Verify(&key, msg, nil, sig)
	default:
		return false
	}
}

// p256Public decodes a compressed point. SEC 1, section 2.3.4, step 2; x is below
// the field's prime and the point is never the one at infinity.
func p256Public(b []byte) (*ecdsa.PublicKey, error) {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), b)
	if x == nil {
		return nil, fmt.Errorf("%w: the bytes are no compressed point of P-256", ErrKey)
	}
	var uncompressed [65]byte
	uncompressed[0] = 4
	x.FillBytes(uncompressed[1:33])
	y.FillBytes(uncompressed[33:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressed[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return key, nil
}

func p256Verify(public, msg, sig []byte) bool {
	s := new(big.Int).SetBytes(sig[32:])
	if s.Cmp(p256HalfOrder) > 0 {
		return false
	}
	key, err := p256Public(public)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(msg)
	return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), s)
}
