// Package receipt builds and verifies receipts: files that prove, to anybody who
// has a consortium's genesis file, what the chain's state held at a height.
//
// docs/receipts.md is the format, for those who write a verifier of their own.
package receipt
