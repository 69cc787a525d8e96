package chain

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// DefaultParams are the parameters of a new chain. The quota lets one
// organisation fill a block of about 4 MiB with small transactions, and three of
// them a whole block, however many there are.
func DefaultParams() *chainv1.Params {
	return &chainv1.Params{
		MaxTxBytes:           256 << 10,
		MaxTxUnits:           20_000_000,
		MaxOrganisationUnits: 400_000_000,
		MaxBlockUnits:        1_200_000_000,
		MaxValidityMs:        10 * 60 * 1000,
		MaxMessages:          100,
		MaxSignatures:        32,
		InclusionBlocks:      4,
		Costs: &chainv1.Costs{
			Byte:       10,
			Read:       1_000,
			Write:      5_000,
			WriteByte:  10,
			Signature:  10_000,
			PolicyStep: 100,
			ModelStep:  10,
		},
	}
}

// maxUnits keeps sums of units within the engine's int64.
const maxUnits = 1 << 48

// CheckParams refuses parameters under which a chain could not run, SPEC P1.
func CheckParams(p *chainv1.Params) error {
	switch {
	case p == nil || p.Costs == nil:
		return ErrBadParams.With("params or params.costs is missing")
	case p.MaxTxBytes < 4096 || p.MaxTxBytes > tx.MaxBytes:
		return ErrBadParams.With("max_tx_bytes is %d, want 4096 to %d", p.MaxTxBytes, tx.MaxBytes)
	case p.MaxTxUnits == 0 || p.MaxOrganisationUnits < p.MaxTxUnits:
		return ErrBadParams.With("max_tx_units must be positive and at most max_organisation_units")
	case p.MaxBlockUnits < p.MaxOrganisationUnits:
		return ErrBadParams.With("max_organisation_units must be at most max_block_units")
	case p.MaxBlockUnits > maxUnits:
		return ErrBadParams.With("max_block_units is %d, at most %d", p.MaxBlockUnits, uint64(maxUnits))
	case p.MaxValidityMs < 1000 || p.MaxValidityMs > 10*60*1000:
		return ErrBadParams.With("max_validity_ms is %d, want 1000 to 600000", p.MaxValidityMs)
	case p.MaxMessages == 0 || p.MaxMessages > 1000:
		return ErrBadParams.With("max_messages is %d, want 1 to 1000", p.MaxMessages)
	case p.MaxSignatures == 0 || p.MaxSignatures > 256:
		return ErrBadParams.With("max_signatures is %d, want 1 to 256", p.MaxSignatures)
	case p.InclusionBlocks > maxInclusionBlocks:
		return ErrBadParams.With("inclusion_blocks is %d, at most %d", p.InclusionBlocks, maxInclusionBlocks)
	}
	c := p.Costs
	for _, price := range []uint64{c.Byte, c.Read, c.Write, c.WriteByte, c.Signature, c.PolicyStep, c.ModelStep} {
		if price == 0 {
			return ErrBadParams.With("a price in params.costs is 0; work that is free has no bound")
		}
	}
	// Enough for the consortium to change the parameters again.
	m := &meter{costs: c, limit: p.MaxTxUnits}
	if err := guard(func() error {
		m.charge(c.Byte, 8<<10)
		m.charge(c.Signature, uint64(min(p.MaxSignatures, 32)))
		m.charge(c.Read, 256)
		m.charge(c.Write, 16)
		m.charge(c.WriteByte, 8<<10)
		return nil
	}); err != nil {
		return ErrBadParams.With("under max_tx_units and params.costs no transaction could change them again: 8 KiB, %d signatures, 256 reads and 16 writes need more", min(p.MaxSignatures, 32))
	}
	return nil
}

func (a *App) setParams() Route {
	return Handle(Handler[*chainv1.SetParams]{
		Validate: func(m *chainv1.SetParams) error { return CheckParams(m.Params) },
		Check: func(ctx ReadCtx, m *chainv1.SetParams) error {
			switch n := len(ctx.Signers()); {
			case ctx.Author() != a.auth.Consortium():
				return ErrNotConsortium.With("author is %s", ctx.Author())
			case uint64(n) > uint64(m.Params.MaxSignatures):
				return ErrBadParams.With("max_signatures is %d, and %d sign for this very change", m.Params.MaxSignatures, n)
			}
			return nil
		},
		Execute: func(ctx *Ctx, m *chainv1.SetParams) (proto.Message, error) {
			a.core.params.Put(ctx, m.Params)
			ctx.Emit(&chainv1.ParamsChanged{Params: m.Params})
			return &chainv1.SetParamsResponse{}, nil
		},
	})
}

// Params are the chain's parameters in r.
func (a *App) Params(ctx ReadCtx) *chainv1.Params { return a.paramsIn(ctx) }
