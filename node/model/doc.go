// Package model makes the models that modules/threat/artifact reads: it trains boosted
// trees and isolation forests from tables, converts models of LightGBM and XGBoost,
// quantises them, and measures them. It runs outside of consensus and uses floating
// point; what it ships does not.
//
// # From a table to integers
//
// A column of numbers becomes a feature of int64: the value times a power of ten,
// rounded to the nearest, halves away from zero, and never to zero from what is not.
// Decimals says how the power is chosen.
// A column of texts becomes one feature per category, 1 or 0. An empty cell, and a
// number that is not finite, is missing.
//
// # From float trees to integer trees
//
// A threshold becomes the largest integer that the float model would still send left,
// so a row that the scale holds exactly takes the same way in both. Leaves are rounded
// to Q16: margins differ by at most half a unit (2^-17) per tree.
//
// # Determinism
//
// Training gives the same bytes for the same table, options and seed on one kind of
// processor, whatever the number of cores. Between kinds, rounding of floats may
// differ; a model is trained once and its bytes are shipped.
package model
