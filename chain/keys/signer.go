package keys

import (
	"crypto"
	"crypto/ecdsa"
	stded25519 "crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
)

// SeedSize is the length in bytes of the seed of a key of any type.
const SeedSize = 32

// p256Info is the HKDF info under which a seed becomes a P-256 key. It is part of
// the key format: another string gives other keys.
const p256Info = "chancery/keys/p256/v1"

// ErrSeed says that a seed has the wrong length.
var ErrSeed = errors.New("invalid seed")

// Signer signs for one key. Sign returns a signature that Public().Verify
// accepts. Implementations are safe for concurrent use.
type Signer interface {
	Public() Public
	Sign(msg []byte) ([]byte, error)
}

// signer keeps the private key in a closure, where neither fmt, nor a logger, nor
// an encoder can reach it.
type signer struct {
	public Public
	sign   func(msg []byte) ([]byte, error)
}

func (s *signer) Public() Public                  { return s.public }
func (s *signer) Sign(msg []byte) ([]byte, error) { return s.sign(msg) }

// NewSigner derives a key from 32 secret bytes. The same seed always gives the
// same key, and the key always signs a message with the same bytes:
//
//   - ed25519: the seed is the private key of RFC 8032, section 5.1.5.
//   - p256: c is 48 bytes of HKDF-SHA256 (RFC 5869) over the seed, without salt,
//     with info "chancery/keys/p256/v1"; the private key is (c mod (n-1)) + 1
//     (FIPS 186-5, A.2.1). Signatures follow RFC 6979, then s becomes
//     min(s, n-s).
//   - ml-dsa-65: the seed is xi of FIPS 204, algorithm 6. Signatures are of the
//     deterministic variant.
//
// The caller may overwrite seed afterwards. The error wraps ErrType or ErrSeed and
// never shows the seed.
func NewSigner(t Type, seed []byte) (Signer, error) {
	if t.KeySize() == 0 {
		return nil, fmt.Errorf("%w %d: use ed25519, p256 or ml-dsa-65", ErrType, uint32(t))
	}
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", ErrSeed, len(seed), SeedSize)
	}
	switch t {
	case Ed25519:
		return newEd25519Signer(seed)
	case P256:
		return newP256Signer(seed)
	default:
		return newMLDSA65Signer(seed)
	}
}

func newEd25519Signer(seed []byte) (Signer, error) {
	private := stded25519.NewKeyFromSeed(seed)
	public, err := NewPublic(Ed25519, private[stded25519.SeedSize:])
	if err != nil {
		return nil, err
	}
	return &signer{public, func(msg []byte) ([]byte, error) {
		return stded25519.Sign(private, msg), nil
	}}, nil
}

func newP256Signer(seed []byte) (Signer, error) {
	wide, err := hkdf.Key(sha256.New, seed, nil, p256Info, 48)
	if err != nil {
		return nil, fmt.Errorf("derive the P-256 key: %w", err)
	}
	one := big.NewInt(1)
	d := new(big.Int).SetBytes(wide)
	d.Mod(d, new(big.Int).Sub(elliptic.P256().Params().N, one))
	d.Add(d, one)
	return newP256ScalarSigner(d.FillBytes(make([]byte, 32)))
}

// newP256ScalarSigner signs with the private key d, 32 bytes, big-endian.
func newP256ScalarSigner(d []byte) (Signer, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		return nil, fmt.Errorf("derive the P-256 key: %w", err)
	}
	uncompressed, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode the P-256 public key: %w", err)
	}
	compressed := append([]byte{2 + uncompressed[64]&1}, uncompressed[1:33]...)
	public, err := NewPublic(P256, compressed)
	if err != nil {
		return nil, err
	}
	return &signer{public, func(msg []byte) ([]byte, error) {
		digest := sha256.Sum256(msg)
		//determinism:allow without a source of randomness, Sign follows RFC 6979
		der, err := private.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("sign with P-256: %w", err)
		}
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &rs); err != nil {
			return nil, fmt.Errorf("read the P-256 signature: %w", err)
		}
		if rs.S.Cmp(p256HalfOrder) > 0 {
			rs.S.Sub(elliptic.P256().Params().N, rs.S)
		}
		sig := make([]byte, P256.SignatureSize())
		rs.R.FillBytes(sig[:32])
		rs.S.FillBytes(sig[32:])
		return sig, nil
	}}, nil
}

func newMLDSA65Signer(seed []byte) (Signer, error) {
	xi := [mldsa65.SeedSize]byte(seed)
	key, private := mldsa65.NewKeyFromSeed(&xi)
	public, err := NewPublic(MLDSA65, key.Bytes())
	if err != nil {
		return nil, err
	}
	return &signer{public, func(msg []byte) ([]byte, error) {
		sig := make([]byte, mldsa65.SignatureSize)
		if err := mldsa65.SignTo(private, msg, nil, false, sig); err != nil {
			return nil, fmt.Errorf("sign with ML-DSA-65: %w", err)
		}
		return sig, nil
	}}, nil
}
