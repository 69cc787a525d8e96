package keys

import (
	"fmt"

	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-varint"
)

// Multicodec codes of public keys, as W3C Multikey uses them.
// https://github.com/multiformats/multicodec/blob/master/table.csv
const (
	codecEd25519 = 0xed
	codecP256    = 0x1200
	codecMLDSA65 = 0x1211
)

// MaxMultibase is the length in characters of the longest multibase form of a
// key: 'z' and ceil((2+1952) * 8 / log2(58)) digits.
const MaxMultibase = 1 + 2669

// Multibase returns p as a W3C Multikey: 'z', then base58btc of the multicodec
// code (unsigned varint) followed by the key's bytes. It returns "" for a Public
// of unknown type.
// Source: W3C Controlled Identifiers v1.0, section 2.2.2 (Multikey).
func (p Public) Multibase() string {
	var codec uint64
	switch p.Type {
	case Ed25519:
		codec = codecEd25519
	case P256:
		codec = codecP256
	case MLDSA65:
		codec = codecMLDSA65
	default:
		return ""
	}
	s, err := multibase.Encode(multibase.Base58BTC, append(varint.ToUvarint(codec), p.Bytes...))
	if err != nil {
		panic("keys: the multibase library no longer knows base58btc: " + err.Error())
	}
	return s
}

// ParseMultibase is the inverse of Multibase and accepts nothing that Multibase
// would not return. It does no work on input longer than MaxMultibase. The error
// wraps ErrType or ErrKey.
func ParseMultibase(s string) (Public, error) {
	if len(s) > MaxMultibase {
		return Public{}, fmt.Errorf("%w: a multibase key has at most %d characters, not %d", ErrKey, MaxMultibase, len(s))
	}
	if len(s) < 2 || s[0] != multibase.Base58BTC {
		return Public{}, fmt.Errorf("%w: a multibase key starts with 'z' (base58btc)", ErrKey)
	}
	_, raw, err := multibase.Decode(s)
	if err != nil {
		return Public{}, fmt.Errorf("%w: not base58btc: %w", ErrKey, err)
	}
	codec, n, err := varint.FromUvarint(raw)
	if err != nil {
		return Public{}, fmt.Errorf("%w: multicodec code: %w", ErrKey, err)
	}
	var t Type
	switch codec {
	case codecEd25519:
		t = Ed25519
	case codecP256:
		t = P256
	case codecMLDSA65:
		t = MLDSA65
	default:
		return Public{}, fmt.Errorf("%w: multicodec %#x; use ed25519-pub (0xed), p256-pub (0x1200) or mldsa-65-pub (0x1211)", ErrType, codec)
	}
	return NewPublic(t, raw[n:])
}
