package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// Schema is the features of a model.
type Schema []*threatv1.Feature

// Schema makes features of the table's columns: one of each column of numbers, one for
// each text of a column of texts, named COLUMN=TEXT.
func (t *Table) Schema() (Schema, error) {
	var out Schema
	for _, c := range t.Columns {
		if c.Texts == nil {
			out = append(out, &threatv1.Feature{Name: c.Name, Decimals: uint32(Decimals(c.Numbers))})
			continue
		}
		texts := slices.Clone(c.Texts)
		slices.Sort(texts)
		texts = slices.DeleteFunc(slices.Compact(texts), func(s string) bool { return s == "" })
		if len(texts) > artifact.MaxCategories {
			row := slices.IndexFunc(c.Texts, func(s string) bool { _, ok := number(s); return !ok })
			return nil, ErrData.With("column %q is not of numbers (row %d has %q) and has %d texts, more than the %d that become features; ignore it with --ignore", c.Name, row+1, c.Texts[max(row, 0)], len(texts), artifact.MaxCategories)
		}
		for _, s := range texts {
			out = append(out, &threatv1.Feature{Name: c.Name + "=" + s, Column: c.Name, Categories: []string{s}})
		}
	}
	if len(out) > trees.MaxFeatures {
		return nil, ErrBounds.With("the columns become %d features; at most %d are allowed", len(out), trees.MaxFeatures)
	}
	return out, nil
}

// Names are the features' names.
func (s Schema) Names() []string {
	out := make([]string, len(s))
	for i, f := range s {
		out[i] = f.Name
	}
	return out
}

// direct declares directions by feature's name.
func (s Schema) direct(directions map[string]trees.Direction) error {
	names := s.Names()
	for name, d := range directions {
		i := slices.Index(names, name)
		if i < 0 {
			return ErrOptions.With("there is no feature %q to be monotone; there are %s", name, shortList(names))
		}
		switch d {
		case trees.Increasing:
			s[i].Monotone = threatv1.Monotone_MONOTONE_INCREASING
		case trees.Decreasing:
			s[i].Monotone = threatv1.Monotone_MONOTONE_DECREASING
		}
	}
	return nil
}

// Directions are the directions that the features declare.
func (s Schema) Directions() []trees.Direction {
	out := make([]trees.Direction, len(s))
	for i, f := range s {
		switch f.Monotone {
		case threatv1.Monotone_MONOTONE_INCREASING:
			out[i] = trees.Increasing
		case threatv1.Monotone_MONOTONE_DECREASING:
			out[i] = trees.Decreasing
		}
	}
	return out
}

// Matrix is a table as a schema sees it: Floats by feature and then row, NaN for
// missing; Ints by row.
type Matrix struct {
	Rows   int
	Floats [][]float64
	Ints   [][]int64
	Loss   Loss
}

// Loss counts the values that scaling changed.
type Loss struct {
	Values    int `json:"values"`
	Missing   int `json:"missing"`
	Rounded   int `json:"rounded"`   // of these are right to 12 significant digits:
	Close     int `json:"close"`     // part of Rounded
	Saturated int `json:"saturated"` // beyond int64
}

// Apply reads the schema's columns of a table.
func (s Schema) Apply(t *Table) (*Matrix, error) {
	m := &Matrix{Rows: t.Rows, Floats: make([][]float64, len(s)), Ints: make([][]int64, t.Rows)}
	cells := make([]int64, t.Rows*len(s))
	for i := range m.Ints {
		m.Ints[i] = cells[i*len(s) : (i+1)*len(s)]
	}
	for j, f := range s {
		name := f.Column
		if name == "" {
			name = f.Name
		}
		c := t.Column(name)
		if c == nil {
			return nil, ErrColumns.With("column %q", name)
		}
		values := make([]float64, t.Rows)
		m.Floats[j] = values
		m.Loss.Values += t.Rows
		switch {
		case len(f.Categories) > 0:
			for i := range values {
				text := ""
				if c.Texts != nil {
					text = c.Texts[i]
				} else if !math.IsNaN(c.Numbers[i]) {
					text = fmt.Sprint(c.Numbers[i])
				}
				switch {
				case text == "":
					values[i], m.Ints[i][j] = math.NaN(), trees.Missing
					m.Loss.Missing++
				case slices.Contains(f.Categories, text):
					values[i], m.Ints[i][j] = 1, 1
				}
			}
		case c.Texts != nil:
			row := slices.IndexFunc(c.Texts, func(s string) bool { _, ok := number(s); return !ok })
			return nil, ErrData.With("column %q: row %d has %q, where the model reads a number", name, row+1, c.Texts[max(row, 0)])
		default:
			copy(values, c.Numbers)
			for i, x := range values {
				if math.IsNaN(x) {
					m.Ints[i][j] = trees.Missing
					m.Loss.Missing++
					continue
				}
				v, how := decimalOf(x).scale(int(f.Decimals))
				m.Ints[i][j] = v
				switch how {
				case close12:
					m.Loss.Close++
					m.Loss.Rounded++
				case rounded:
					m.Loss.Rounded++
				case saturated:
					m.Loss.Saturated++
				}
			}
		}
	}
	return m, nil
}

// Row copies a row of floats.
func (m *Matrix) Row(i int, into []float64) []float64 {
	into = into[:0]
	for _, f := range m.Floats {
		into = append(into, f[i])
	}
	return into
}
