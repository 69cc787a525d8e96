package chain

import (
	"github.com/chancery/chancery/chain/tx"
)

// ExecuteKept implements Executor. What the door asks of time and of ids was asked
// when the transaction came into its block and is not asked again. When those executed
// within one transaction have needed the units of a whole one, that transaction is out of units.
func (a *App) ExecuteKept(ctx *Ctx, raw []byte) (responses [][]byte, err error) {
	if ctx.kept {
		return nil, ErrKeptWithin
	}
	p := a.paramsIn(ctx.overlay)
	if ctx.meter != nil && ctx.beside >= p.MaxTxUnits {
		panic(outOfUnits{p.MaxTxUnits}) // of the transaction that releases, which fails
	}
	d, err := tx.Decode(raw)
	if err != nil {
		return nil, err
	}
	inner := &Ctx{
		env:     env{chainID: ctx.chainID, height: ctx.height, time: ctx.time, version: ctx.version, txID: d.ID},
		overlay: ctx.overlay, updates: ctx.updates, kept: true,
		meter: &meter{costs: p.Costs, limit: p.MaxTxUnits},
	}
	err = inner.Atomic(func() error {
		return guard(func() error {
			inner.meter.charge(p.Costs.Byte, uint64(len(d.Raw)))
			inner.meter.charge(p.Costs.Signature, uint64(len(d.Tx.Signatures)))
			for _, m := range d.Messages {
				if err := a.router.route(m).validate(m); err != nil {
					return err
				}
			}
			authority, err := a.authenticate(inner, d)
			if err != nil {
				return err
			}
			if err := badSignature(d, a.verified.Verify(a.rand, signatures(d, authority))); err != nil {
				return err
			}
			inner.author, inner.organisation, inner.signers = d.Body.Author, authority.Organisation, authority.Signers
			responses, err = a.run(inner, d, &nothing)
			return err
		})
	})
	ctx.beside += inner.meter.used
	if err != nil {
		return nil, err
	}
	ctx.events = append(ctx.events, inner.events...)
	return responses, nil
}
