package keys

import (
	"bytes"
	"io"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/cache"
)

// The sizes are signatures. They come from BenchmarkVerifyBatch: one check takes
// 27 µs, in a batch of 8 it takes 21, of 64 18, of 1024 12.9, of 4096 12.4.
const (
	// maxBatch is the largest batch. A larger one gains little, and one bad
	// signature in it spoils more.
	maxBatch = 1024
	// minBatch is the size from which a batch is faster than single checks.
	minBatch = 8
	// minBisect is the size from which a batch that is known to hold a bad
	// signature is split rather than checked one by one.
	minBisect = 65
	// bisectBudget bounds the work on a batch with many bad signatures: once
	// bisectBudget times its size has gone through failing equations, the rest is
	// checked one by one. One bad signature alone needs less than 2.
	bisectBudget = 3
)

// expandedKeys is how many Ed25519 keys are remembered with their tables, of about
// 1.5 kB each.
const expandedKeys = 16_384

// expanded remembers Ed25519 keys with the tables that verification needs of them: a
// validator sees few keys and many signatures. It never changes a verdict.
var expanded = cache.NewVerifier(cache.NewLRUCache(expandedKeys))

// Item is a claim that Key signed Message with Signature.
type Item struct {
	Key                Public
	Message, Signature []byte
}

// VerifyBatch returns, for each item, what item.Key.Verify(item.Message,
// item.Signature) returns. Ed25519 signatures are checked together, and a failing
// batch is bisected; the other types are checked one by one.
//
// rand supplies the coefficients of the batch equation (32 bytes a batch) and
// must be unpredictable to whoever made the items. The result does not depend on
// it but with negligible probability: a signature is refused only after a single
// check, and a bad one passes in a batch with a probability of at most 2^-128.
// If rand is nil or fails, the items are checked one by one.
func VerifyBatch(rand io.Reader, items []Item) []bool {
	good := make([]bool, len(items))
	var pending []int
	for i := range items {
		item := &items[i]
		if rand == nil || item.Key.Type != Ed25519 ||
			len(item.Key.Bytes) != ed25519KeySize || len(item.Signature) != ed25519.SignatureSize {
			good[i] = item.verify()
			continue
		}
		pending = append(pending, i)
	}
	for len(pending) > 0 {
		n := min(len(pending), maxBatch)
		b := batch{rand: rand, items: items, good: good, budget: bisectBudget * n}
		b.check(pending[:n], false)
		pending = pending[n:]
	}
	return good
}

func (i *Item) verify() bool { return i.Key.Verify(i.Message, i.Signature) }

// batch checks Ed25519 items and writes the verdicts to good.
type batch struct {
	rand   io.Reader
	items  []Item
	good   []bool
	budget int // signatures that may still go through failing batches
}

// check settles the items at indices. With spoiled, the caller knows that at
// least one of them is bad, and the batch equation is not tried on all of them.
// It reports whether all of them are good.
func (b *batch) check(indices []int, spoiled bool) bool {
	if b.budget <= 0 || len(indices) < minBatch || spoiled && len(indices) < minBisect {
		return b.checkSingly(indices)
	}
	if !spoiled {
		passed, err := b.equation(indices)
		if err != nil {
			b.budget = 0
			return b.checkSingly(indices)
		}
		if passed {
			for _, i := range indices {
				b.good[i] = true
			}
			return true
		}
		b.budget -= len(indices)
		return b.check(indices, true)
	}
	half := len(indices) / 2
	left := b.check(indices[:half], false)
	b.check(indices[half:], left)
	return false
}

func (b *batch) checkSingly(indices []int) bool {
	all := true
	for _, i := range indices {
		b.good[i] = b.items[i].verify()
		all = all && b.good[i]
	}
	return all
}

// equation reports whether the batch equation holds for the items at indices,
// whose keys and signatures have the right lengths. The error is that of rand.
func (b *batch) equation(indices []int) (bool, error) {
	var seed [32]byte
	if _, err := io.ReadFull(b.rand, seed[:]); err != nil {
		return false, err
	}
	verifier := ed25519.NewBatchVerifierWithCapacity(len(indices))
	for _, i := range indices {
		item := &b.items[i]
		expanded.AddWithOptions(verifier, item.Key.Bytes, item.Message, item.Signature, zip215)
	}
	return verifier.VerifyBatchOnly(bytes.NewReader(seed[:])), nil
}
