package model

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"testing"

	"github.com/chancery/chancery/chain/errs"
)

// FuzzConvert: any bytes are refused with a code of this package, or become a model.
func FuzzConvert(f *testing.F) {
	for _, path := range []string{"testdata/lightgbm.txt", "testdata/xgboost.json"} {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	schema := Schema{{Name: "amount", Decimals: 2}, {Name: "hour"}, {Name: "rate", Decimals: 3}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		converted, err := Convert(raw, Conversion{Name: "fuzz", Schema: schema})
		if err != nil {
			ours(t, err)
			return
		}
		row := make([]int64, converted.Model.Features())
		if _, err := converted.Model.Score(row); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzRead: any bytes are refused with a code of this package, or become a table that
// has a schema.
func FuzzRead(f *testing.F) {
	f.Add([]byte(synthetic(5, 1)))
	f.Add([]byte("a;b\n1;2\n"))
	f.Add(archive(f, 3, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		table, err := Read(bytes.NewReader(raw), Reading{Header: true})
		if err != nil {
			ours(t, err)
			return
		}
		schema, err := table.Schema()
		if err != nil {
			ours(t, err)
			return
		}
		if m, err := schema.Apply(table); err != nil || len(m.Ints) != table.Rows {
			t.Fatalf("%d rows became %v (%v)", table.Rows, m, err)
		}
	})
}

func ours(t *testing.T, err error) {
	t.Helper()
	var e *errs.Error
	if !errors.As(err, &e) || e.Module != Errors.Module() {
		t.Fatalf("the refusal has no code of ours: %v", err)
	}
}

// npy is a NumPy array of float64.
func npy(shape string, fortran string, values ...float64) []byte {
	header := "{'descr': '<f8', 'fortran_order': " + fortran + ", 'shape': (" + shape + "), }\n"
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	out = append(out, header...)
	for _, v := range values {
		out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

func archive(t testing.TB, rows, columns int) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	x, y := make([]float64, rows*columns), make([]float64, rows)
	for i := range x {
		x[i] = float64(i) / 4
	}
	y[0] = 1
	for name, raw := range map[string][]byte{
		"X.npy": npy("3, 2", "False", x...), "y.npy": npy("3,", "False", y...),
	} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArraysOfNumPyAreRead(t *testing.T) {
	table, err := Read(bytes.NewReader(archive(t, 3, 2)), Reading{})
	if err != nil || table.Rows != 3 || len(table.Columns) != 2 || table.Columns[1].Numbers[2] != 1.25 || table.Labels[0] != 1 || table.Labels[1] != 0 {
		t.Errorf("%+v (%v)", table, err)
	}
	a, err := parseArray(npy("2, 3", "True", 1, 2, 3, 4, 5, 6))
	if err != nil || a.values[1] != 3 || a.values[3] != 2 {
		t.Errorf("by columns: %+v (%v)", a, err)
	}
	for _, bad := range [][]byte{nil, npy("2, 3", "False", 1), npy("-1, 3", "False"), npy("1, 1, 1", "False", 1), npy("1073741824, 1073741824", "False"), []byte("\x93NUMPY\x02\x00\xff\xff\xff\x7f")} {
		if _, err := parseArray(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
