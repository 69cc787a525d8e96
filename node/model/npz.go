package model

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxArray bounds what an array of a .npz file unpacks to, in bytes.
const maxArray = 1 << 31

// array is a NumPy array of one or two dimensions, row by row.
type array struct {
	rows, columns int
	values        []float64
}

// readNPZ reads the arrays X (rows, features) and y (rows) of a .npz file.
func readNPZ(raw []byte, how Reading) (*Table, error) {
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		return nil, ErrData.Wrap(err)
	}
	var x, y *array
	for _, f := range z.File {
		to := &x
		switch f.Name {
		case "X.npy":
		case "y.npy":
			to = &y
		default:
			continue
		}
		in, err := f.Open()
		if err != nil {
			return nil, ErrData.Wrap(err)
		}
		content, err := io.ReadAll(io.LimitReader(in, maxArray))
		if err == nil {
			*to, err = parseArray(content)
		}
		if err != nil {
			return nil, ErrData.With("%s: %v", f.Name, err)
		}
	}
	if x == nil {
		return nil, ErrData.With("the file holds no array X")
	}
	if x.columns > 1<<16 {
		return nil, ErrData.With("X has %d columns; at most %d are read", x.columns, 1<<16)
	}
	var names []string
	for i := range x.columns {
		names = append(names, fmt.Sprintf("x%d", i+1))
	}
	all := slices.Clone(names)
	if y != nil {
		all = append(all, "y")
	}
	if how.Label == "" && y != nil {
		how.Label = "y"
	}
	if how.Label != "" && how.Label != "y" {
		return nil, ErrLabels.With("the labels of a .npz file are its array y")
	}
	if err := how.check(all); err != nil {
		return nil, err
	}
	if len(how.Category) > 0 || len(how.Require) > 0 || how.Distinct {
		return nil, ErrOptions.With("a .npz file is read as it is; categories, required columns and distinct rows are for CSV")
	}
	t := &Table{Rows: x.rows}
	for i, name := range names {
		if slices.Contains(how.Ignore, name) {
			continue
		}
		c := Column{Name: name, Numbers: make([]float64, x.rows)}
		for row := range x.rows {
			v := x.values[row*x.columns+i]
			if math.IsInf(v, 0) {
				v = math.NaN()
			}
			c.Numbers[row] = v
		}
		t.Columns = append(t.Columns, c)
	}
	if y != nil && !slices.Contains(how.Ignore, "y") {
		if len(y.values) != x.rows {
			return nil, ErrLabels.With("X has %d rows and y %d", x.rows, len(y.values))
		}
		cells := make([]string, x.rows)
		for i, v := range y.values {
			cells[i] = strconv.FormatFloat(v, 'g', -1, 64)
		}
		if t.Labels, err = how.labels(cells); err != nil {
			return nil, err
		}
	}
	return t, nil
}

var (
	descr   = regexp.MustCompile(`'descr':\s*'([^']+)'`)
	shape   = regexp.MustCompile(`'shape':\s*\(([^)]*)\)`)
	fortran = regexp.MustCompile(`'fortran_order':\s*True`)
)

// parseArray reads NumPy's format 1 to 3 (NEP 1) of numbers.
func parseArray(raw []byte) (*array, error) {
	if len(raw) < 10 || string(raw[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("this is no NumPy array")
	}
	start, length := 10, int(binary.LittleEndian.Uint16(raw[8:]))
	if raw[6] > 1 {
		if len(raw) < 12 {
			return nil, fmt.Errorf("the header is cut off")
		}
		start, length = 12, int(binary.LittleEndian.Uint32(raw[8:]))
	}
	if length < 0 || length > len(raw)-start {
		return nil, fmt.Errorf("the header is cut off")
	}
	header := string(raw[start : start+length])
	raw = raw[start+length:]
	kind, dims := descr.FindStringSubmatch(header), shape.FindStringSubmatch(header)
	if kind == nil || dims == nil {
		return nil, fmt.Errorf("the header says neither type nor shape")
	}
	a := &array{rows: 1, columns: 1}
	n := 0
	for _, d := range strings.Split(dims[1], ",") {
		if d = strings.TrimSpace(d); d == "" {
			continue
		}
		size, err := strconv.Atoi(d)
		if err != nil || size < 0 || size > 1<<30 || n == 2 {
			return nil, fmt.Errorf("the shape (%s) is not of one or two dimensions", dims[1])
		}
		if n == 0 {
			a.rows = size
		} else {
			a.columns = size
		}
		n++
	}
	width, read, err := reader(kind[1])
	if err != nil {
		return nil, err
	}
	if int64(a.rows)*int64(a.columns)*int64(width) != int64(len(raw)) {
		return nil, fmt.Errorf("the shape (%s) does not fit %d bytes", dims[1], len(raw))
	}
	a.values = make([]float64, a.rows*a.columns)
	for i := range a.values {
		at := i
		if fortran.MatchString(header) && n == 2 {
			at = i%a.columns*a.rows + i/a.columns
		}
		a.values[i] = read(raw[at*width:])
	}
	return a, nil
}

// reader reads one value of a NumPy type.
func reader(kind string) (width int, read func([]byte) float64, err error) {
	le := binary.LittleEndian
	switch strings.TrimLeft(kind, "<|=") {
	case "f8":
		return 8, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) }, nil
	case "f4":
		return 4, func(b []byte) float64 { return float64(math.Float32frombits(le.Uint32(b))) }, nil
	case "i8":
		return 8, func(b []byte) float64 { return float64(int64(le.Uint64(b))) }, nil
	case "i4":
		return 4, func(b []byte) float64 { return float64(int32(le.Uint32(b))) }, nil
	case "i2":
		return 2, func(b []byte) float64 { return float64(int16(le.Uint16(b))) }, nil
	case "i1":
		return 1, func(b []byte) float64 { return float64(int8(b[0])) }, nil
	case "u8":
		return 8, func(b []byte) float64 { return float64(le.Uint64(b)) }, nil
	case "u4":
		return 4, func(b []byte) float64 { return float64(le.Uint32(b)) }, nil
	case "u2":
		return 2, func(b []byte) float64 { return float64(le.Uint16(b)) }, nil
	case "u1", "b1":
		return 1, func(b []byte) float64 { return float64(b[0]) }, nil
	default:
		return 0, nil, fmt.Errorf("values of type %q are not read; save the array as numbers, little-endian", kind)
	}
}
