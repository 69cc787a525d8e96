package chain

import (
	"google.golang.org/protobuf/proto"

	"github.com/chancery/chancery/chain/tx"
	chainv1 "github.com/chancery/chancery/proto/chancery/chain/v1"
)

// DefaultParams are the parameters of a new chain. The quota lets one
// organisation fill a block of about 4 MiB with small transactions.
func DefaultParams() *chainv1.Params {
	return &chainv1.Params{
		MaxTxBytes:           256 << 10,
		MaxTxUnits:           20_000_000,
		MaxOrganisationUnits: 400_000_000,
		MaxValidityMs:        10 * 60 * 1000,
		MaxMessages:          100,
		MaxSignatures:        32,
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

// CheckParams refuses parameters under which a chain could not run, SPEC P1.
func CheckParams(p *chainv1.Params) error {
	switch {
	case p == nil || p.Costs == nil:
		return ErrBadParams.With("params or params.costs is missing")
	case p.MaxTxBytes < 4096 || p.MaxTxBytes > tx.MaxBytes:
		return ErrBadParams.With("max_tx_bytes is %d, want 4096 to %d", p.MaxTxBytes, tx.MaxBytes)
	case p.MaxTxUnits == 0 || p.MaxOrganisationUnits < p.MaxTxUnits:
		return ErrBadParams.With("max_tx_units must be positive and at most max_organisation_units")
	case p.MaxValidityMs < 1000 || p.MaxValidityMs > 10*60*1000:
		return ErrBadParams.With("max_validity_ms is %d, want 1000 to 600000", p.MaxValidityMs)
	case p.MaxMessages == 0 || p.MaxMessages > 1000:
		return ErrBadParams.With("max_messages is %d, want 1 to 1000", p.MaxMessages)
	case p.MaxSignatures == 0 || p.MaxSignatures > 256:
		return ErrBadParams.With("max_signatures is %d, want 1 to 256", p.MaxSignatures)
	}
	return nil
}

func (a *App) setParams() Route {
	return Handle(Handler[*chainv1.SetParams]{
		Validate: func(m *chainv1.SetParams) error { return CheckParams(m.Params) },
		Check: func(ctx ReadCtx, _ *chainv1.SetParams) error {
			if ctx.Author() != a.auth.Consortium() {
				return ErrNotConsortium.With("author is %s", ctx.Author())
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
