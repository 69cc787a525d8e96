package model

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Reading says how a table is read.
type Reading struct {
	// Header: the first line of a CSV file names the columns. Without it they are Names, or
	// c1, c2 and so on.
	Header bool
	Names  []string
	Comma  rune // 0 for a comma
	// Label is the column of labels, if any. A row is positive when its label is one of
	// Positive, or none of Negative; without both, 1, true and yes are positive and 0,
	// false and no are negative. An empty label is of no class.
	Label              string
	Positive, Negative []string
	// Ignore are columns that are left out. Category are columns of texts although all of
	// their values are numbers.
	Ignore, Category []string
	// Require are columns in which a row must have a value; rows that have none are dropped.
	Require []string
	// Distinct drops rows whose features and label are those of an earlier one.
	Distinct bool
}

// Column is a column of numbers, or of texts where Texts is not nil. NaN and the empty
// text are missing.
type Column struct {
	Name    string
	Numbers []float64
	Texts   []string
}

// Table is what was read. Labels are 1, 0, or -1 for none, and nil where there is no
// column of labels.
type Table struct {
	Columns []Column
	Labels  []int8
	Rows    int
	Hash    [sha256.Size]byte // of the file
	Dropped int               // rows that Require or Distinct dropped
}

// Column is a column by its name, nil where there is none.
func (t *Table) Column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Positives counts the rows of each class.
func (t *Table) Positives() (positive, negative int) {
	for _, l := range t.Labels {
		switch l {
		case 1:
			positive++
		case 0:
			negative++
		}
	}
	return
}

// Labelled refuses a table without rows of both classes.
func (t *Table) Labelled() error {
	p, n := t.Positives()
	switch {
	case t.Labels == nil:
		return ErrLabels.With("the table has no column of labels")
	case p == 0 || n == 0:
		return ErrLabels.With("%d rows are positive and %d negative; both are needed", p, n)
	}
	return nil
}

// Select is the table of some rows.
func (t *Table) Select(rows []int) *Table {
	out := &Table{Rows: len(rows), Hash: t.Hash}
	for _, c := range t.Columns {
		x := Column{Name: c.Name}
		if c.Texts != nil {
			x.Texts = pick(c.Texts, rows)
		} else {
			x.Numbers = pick(c.Numbers, rows)
		}
		out.Columns = append(out.Columns, x)
	}
	if t.Labels != nil {
		out.Labels = pick(t.Labels, rows)
	}
	return out
}

func pick[T any](all []T, rows []int) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = all[r]
	}
	return out
}

// Read reads a table from CSV, or from NumPy's .npz with the arrays X and y (then the
// features are x1, x2 and so on, and the label is y). It tells them apart by their
// first bytes.
func Read(r io.Reader, how Reading) (*Table, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, ErrData.Wrap(err)
	}
	var t *Table
	if bytes.HasPrefix(raw, []byte("PK\x03\x04")) {
		t, err = readNPZ(raw, how)
	} else {
		t, err = readCSV(raw, how)
	}
	if err != nil {
		return nil, err
	}
	t.Hash = sha256.Sum256(raw)
	if t.Rows == 0 {
		return nil, ErrData.With("there are no rows")
	}
	if len(t.Columns) == 0 {
		return nil, ErrData.With("there are no columns besides label and ignored ones")
	}
	return t, nil
}

func readCSV(raw []byte, how Reading) (*Table, error) {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	in := csv.NewReader(bufio.NewReader(bytes.NewReader(raw)))
	if how.Comma != 0 {
		in.Comma = how.Comma
	}
	in.ReuseRecord = true
	var names []string
	var cells [][]string
	for line := 0; ; line++ {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, ErrData.Wrap(err)
		}
		if line == 0 {
			switch {
			case how.Header:
				names = trimmed(record)
			case len(how.Names) > 0:
				names = how.Names
			default:
				for i := range record {
					names = append(names, fmt.Sprintf("c%d", i+1))
				}
			}
			if len(names) != len(record) {
				return nil, ErrData.With("%d columns are named, and the first line has %d", len(names), len(record))
			}
			cells = make([][]string, len(names))
			if how.Header {
				continue
			}
		}
		for i, cell := range record {
			cells[i] = append(cells[i], strings.TrimSpace(cell))
		}
	}
	if names == nil {
		return nil, ErrData.With("the file is empty")
	}
	return assemble(names, cells, how)
}

func trimmed(record []string) []string {
	out := make([]string, len(record))
	for i, s := range record {
		out[i] = strings.TrimSpace(s)
	}
	return out
}

// assemble makes a table of columns of text.
func assemble(names []string, cells [][]string, how Reading) (*Table, error) {
	if err := how.check(names); err != nil {
		return nil, err
	}
	t := &Table{Rows: len(cells[0])}
	var keep []int
	seen := map[string]bool{}
	var key strings.Builder
	for row := range t.Rows {
		key.Reset()
		whole := true
		for i, name := range names {
			if slices.Contains(how.Require, name) && cells[i][row] == "" {
				whole = false
			}
			if how.Distinct && !slices.Contains(how.Ignore, name) {
				fmt.Fprintf(&key, "%q", cells[i][row])
			}
		}
		if !whole || how.Distinct && seen[key.String()] {
			t.Dropped++
			continue
		}
		if how.Distinct {
			seen[key.String()] = true
		}
		keep = append(keep, row)
	}
	t.Rows = len(keep)
	for i, name := range names {
		column := pick(cells[i], keep)
		switch {
		case name == how.Label:
			labels, err := how.labels(column)
			if err != nil {
				return nil, err
			}
			t.Labels = labels
		case slices.Contains(how.Ignore, name):
		default:
			c := Column{Name: name}
			if !slices.Contains(how.Category, name) {
				c.Numbers = numbers(column)
			}
			if c.Numbers == nil {
				c.Texts = column
			}
			t.Columns = append(t.Columns, c)
		}
	}
	return t, nil
}

// check refuses names that are there twice, and options that name a column that is not
// there.
func (how Reading) check(names []string) error {
	for i, name := range names {
		if name == "" {
			return ErrData.With("column %d has no name", i+1)
		}
		if j := slices.Index(names, name); j != i {
			return ErrData.With("columns %d and %d are both named %q", j+1, i+1, name)
		}
	}
	all := slices.Concat(how.Ignore, how.Category, how.Require)
	if how.Label != "" {
		all = append(all, how.Label)
	}
	for _, name := range all {
		if !slices.Contains(names, name) {
			return ErrData.With("there is no column %q; there are %s", name, shortList(names))
		}
	}
	return nil
}

func shortList(names []string) string {
	const most = 12
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// numbers are a column's numbers; nil where a cell is none.
func numbers(column []string) []float64 {
	out := make([]float64, len(column))
	for i, cell := range column {
		v, ok := number(cell)
		if !ok {
			return nil
		}
		out[i] = v
	}
	return out
}

// number reads a cell: NaN where it is empty, says that nothing is known, or is not
// finite.
func number(cell string) (float64, bool) {
	switch strings.ToLower(cell) {
	case "", "na", "n/a", "nan", "null", "none":
		return math.NaN(), true
	}
	v, err := strconv.ParseFloat(cell, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && math.IsInf(v, 0) {
		return math.NaN(), true
	}
	return v, err == nil
}

func (how Reading) labels(column []string) ([]int8, error) {
	out := make([]int8, len(column))
	for i, cell := range column {
		switch {
		case cell == "":
			out[i] = -1
		case len(how.Positive) > 0:
			out[i] = truth(slices.Contains(how.Positive, cell))
		case len(how.Negative) > 0:
			out[i] = truth(!slices.Contains(how.Negative, cell))
		default:
			v, err := strconv.ParseFloat(cell, 64)
			low := strings.ToLower(cell)
			switch {
			case err == nil && v == 1, low == "true", low == "yes":
				out[i] = 1
			case err == nil && v == 0, low == "false", low == "no":
				out[i] = 0
			default:
				return nil, ErrLabels.With("row %d has the label %q, which is neither 0 nor 1", i+1, cell)
			}
		}
	}
	return out, nil
}

func truth(b bool) int8 {
	if b {
		return 1
	}
	return 0
}
