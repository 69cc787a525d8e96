package model

import "github.com/chancery/chancery/chain/errs"

// The errors of this package. Codes are permanent.
var (
	Errors        = errs.Module("model")
	ErrData       = Errors.New(2, "the data cannot be read; correct the place that is named")
	ErrLabels     = Errors.New(3, "the labels cannot be used; name the column with --label and the values with --positive or --negative")
	ErrOptions    = Errors.New(4, "an option is not usable; correct the one that is named")
	ErrForeign    = Errors.New(5, "this is no model that can be converted; export a LightGBM text model or an XGBoost JSON model of binary trees")
	ErrUnscorable = Errors.New(6, "the model uses what the scorer does not have; train it without what is named")
	ErrInvalid    = Errors.New(7, "this is no usable model; make it again with chancery model train or convert")
	ErrColumns    = Errors.New(8, "the data lacks a column that the model reads; add it or convert the data")
	ErrBounds     = Errors.New(9, "a scorer does not load this model; change what is named, for example to fewer or smaller trees")
	ErrCard       = Errors.New(10, "the card is not the one that the model was made with; look for the right file")
)
