package forecast

import "github.com/chancery/chancery/chain/errs"

// The errors of forecasts. Codes are permanent.
var (
	Errors = errs.Module("forecast")

	ErrBadRequest = Errors.New(2, "the request is not usable; correct the field that is named")
	ErrNoSubject  = Errors.New(3, "this node has seen no such subject of that kind lately; check its name, or see which there are with Top")
	ErrNoHistory  = Errors.New(4, "there is too little history to forecast again; wait until there are more buckets")

	ErrBusy = Errors.New(errs.RetryFrom, "the node is at other rankings and backtests already; ask again shortly")
)
