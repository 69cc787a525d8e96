package main

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// table is a data set with labels.
type table struct {
	name      string
	rows      [][]float64
	anomalous []bool
}

// readTable reads the arrays X and y of a NumPy archive.
func readTable(name, path string) (*table, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	arrays := map[string]*array{}
	for _, file := range archive.File {
		r, err := file.Open()
		if err != nil {
			return nil, err
		}
		a, err := readArray(r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", file.Name, path, err)
		}
		arrays[strings.TrimSuffix(file.Name, ".npy")] = a
	}
	x, y := arrays["X"], arrays["y"]
	if x == nil || y == nil || len(x.shape) != 2 || len(y.values) != x.shape[0] {
		return nil, fmt.Errorf("%s has no matrix X with labels y", path)
	}
	t := &table{name: name}
	for i := range x.shape[0] {
		row := make([]float64, x.shape[1])
		for j := range row {
			if x.fortran {
				row[j] = x.values[j*x.shape[0]+i]
			} else {
				row[j] = x.values[i*x.shape[1]+j]
			}
		}
		t.rows = append(t.rows, row)
		t.anomalous = append(t.anomalous, y.values[i] != 0)
	}
	return t, nil
}

type array struct {
	shape   []int
	fortran bool
	values  []float64
}

var (
	descr   = regexp.MustCompile(`'descr': *'([<|])([fiu])([1248])'`)
	fortran = regexp.MustCompile(`'fortran_order': *(True|False)`)
	shape   = regexp.MustCompile(`'shape': *\(([0-9, ]*)\)`)
)

// readArray reads the NPY format, versions 1 and 2, of numbers in little endian.
func readArray(r io.Reader) (*array, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(raw) < 12 || string(raw[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("not an array of NumPy")
	}
	start, size := 10, int(binary.LittleEndian.Uint16(raw[8:]))
	if raw[6] > 1 {
		start, size = 12, int(binary.LittleEndian.Uint32(raw[8:]))
	}
	if size > len(raw)-start {
		return nil, fmt.Errorf("cut in its header")
	}
	header, body := string(raw[start:start+size]), raw[start+size:]
	kind, order, dims := descr.FindStringSubmatch(header), fortran.FindStringSubmatch(header), shape.FindStringSubmatch(header)
	if kind == nil || order == nil || dims == nil {
		return nil, fmt.Errorf("header %q is not understood", header)
	}
	a := &array{fortran: order[1] == "True"}
	count := 1
	for _, d := range strings.Split(dims[1], ",") {
		if d = strings.TrimSpace(d); d == "" {
			continue
		}
		n, err := strconv.Atoi(d)
		if err != nil {
			return nil, err
		}
		a.shape = append(a.shape, n)
		count *= n
	}
	width := int(kind[3][0] - '0')
	if len(body) != count*width {
		return nil, fmt.Errorf("%d bytes of values, want %d", len(body), count*width)
	}
	for i := range count {
		a.values = append(a.values, number(kind[2], body[i*width:(i+1)*width]))
	}
	return a, nil
}

func number(kind string, raw []byte) float64 {
	var u uint64
	for i, b := range raw {
		u |= uint64(b) << (8 * i)
	}
	switch {
	case kind == "f" && len(raw) == 8:
		return math.Float64frombits(u)
	case kind == "f":
		return float64(math.Float32frombits(uint32(u)))
	case kind == "u":
		return float64(u)
	}
	shift := 64 - 8*len(raw)
	return float64(int64(u<<shift) >> shift)
}
