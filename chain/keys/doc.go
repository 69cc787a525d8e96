// Package keys holds the public keys that sign transactions and the rules
// under which a signature is valid.
//
// Invariants:
//
//   - Validity is a function of (key, message, signature) alone. It is a
//     consensus rule: every node must reach the same verdict for the same bytes,
//     whether it checks them one by one, in a batch, or finds them in a Memory.
//   - A key has one encoding. Keys that are off the curve, encoded in a second
//     way, or of low order are refused when they are read, and a Public that was
//     put together without NewPublic verifies nothing if it breaks these rules.
//   - ECDSA signatures have one form (low s). Ed25519 signatures have s below the
//     group order.
//   - The package draws no randomness and reads no clock.
//
// The types, with the sizes in bytes:
//
//	type       key                           signature             rules
//	ed25519    32   RFC 8032, section 5.1.5  64    R || s          ZIP 215 (cofactored)
//	p256       33   SEC 1, 2.3.3 compressed  64    r || s, big-end ECDSA over SHA-256, FIPS 186-5, s <= n/2
//	ml-dsa-65  1952 FIPS 204, pkEncode       3309  FIPS 204        ML-DSA.Verify (pure), empty context
package keys
