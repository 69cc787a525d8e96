package chain

import (
	"math/bits"

	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// Work is a kind of metered work.
type Work int

// The kinds of work that a module charges for itself. Bytes, a transaction's own
// signatures, reads and writes are charged by the core.
const (
	PolicyStep Work = iota
	ModelStep
	// SignatureCheck is the verification of a signature inside a message.
	SignatureCheck
)

// meter counts a transaction's units, saturating, and stops it at the limit.
type meter struct {
	costs *chainv1.Costs
	used  uint64
	limit uint64
}

// outOfUnits is the panic that stops a transaction at its limit. Deliver and
// Admit recover it.
type outOfUnits struct{ limit uint64 }

func (m *meter) charge(price, n uint64) {
	hi, lo := bits.Mul64(price, n)
	sum, carry := bits.Add64(m.used, lo, 0)
	if hi != 0 || carry != 0 || sum > m.limit {
		m.used = m.limit
		panic(outOfUnits{m.limit})
	}
	m.used = sum
}

// readUnit is the bytes of a value beyond which reading it costs one more read.
const readUnit = 1024

// read charges for a value that was read, or for the absence of one: whoever reads
// it decodes it, which takes time with its length.
func (m *meter) read(value []byte) { m.charge(m.costs.Read, 1+uint64(len(value))/readUnit) }

func (m *meter) work(w Work, n uint64) {
	switch w {
	case PolicyStep:
		m.charge(m.costs.PolicyStep, n)
	case ModelStep:
		m.charge(m.costs.ModelStep, n)
	case SignatureCheck:
		m.charge(m.costs.Signature, n)
	default:
		panic("chain: unknown kind of work")
	}
}
