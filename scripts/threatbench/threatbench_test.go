package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chancery/chancery/modules/threat/stream/halfspace"
	"github.com/chancery/chancery/modules/threat/stream/midas"
)

// data is the folder of the data sets; a test without it is skipped.
func data(t *testing.T, needs string) string {
	t.Helper()
	shared := os.Getenv("CHANCERY_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(shared, "datasets")
	if _, err := os.Stat(filepath.Join(dir, needs)); err != nil {
		t.Skipf("the data set %s is not in %s; set CHANCERY_SHARED", needs, dir)
	}
	return dir
}

func TestAreasByHand(t *testing.T) {
	for _, c := range []struct {
		scores    []int64
		anomalous []bool
		want      curves
	}{
		{[]int64{4, 3, 2, 1}, []bool{true, true, false, false}, curves{1, 1}},
		{[]int64{1, 2, 3, 4}, []bool{true, true, false, false}, curves{0, (1./3 + 2./4) / 2}},
		{[]int64{5, 5, 5, 5}, []bool{true, false, true, false}, curves{0.5, 0.5}},
		{[]int64{9, 7, 7, 1}, []bool{true, true, false, false}, curves{0.875, (1 + 2./3) / 2}},
	} {
		if got := areas(c.scores, c.anomalous); math.Abs(got.roc-c.want.roc)+math.Abs(got.pr-c.want.pr) > 1e-12 {
			t.Errorf("%v: %+v, want %+v", c.scores, got, c.want)
		}
	}
}

// npy is an array as NumPy writes it.
func npy(descr, order, shape string, values any) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }\n", descr, order, shape)
	out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
	body := bytes.NewBuffer(append(out, header...))
	if err := binary.Write(body, binary.LittleEndian, values); err != nil {
		panic(err)
	}
	return body.Bytes()
}

func TestArraysOfNumPyAreRead(t *testing.T) {
	for _, c := range []struct {
		raw    []byte
		shape  []int
		values []float64
	}{
		{npy("<f8", "False", "2, 2", []float64{1, 2.5, -3, 4}), []int{2, 2}, []float64{1, 2.5, -3, 4}},
		{npy("<f4", "True", "1, 3", []float32{1, 2, 3}), []int{1, 3}, []float64{1, 2, 3}},
		{npy("|u1", "False", "3,", []uint8{0, 1, 255}), []int{3}, []float64{0, 1, 255}},
		{npy("<i2", "False", "2,", []int16{-1, 5}), []int{2}, []float64{-1, 5}},
		{npy("<i8", "False", "2,", []int64{-1, 5}), []int{2}, []float64{-1, 5}},
	} {
		a, err := readArray(bytes.NewReader(c.raw))
		if err != nil || !slices.Equal(a.shape, c.shape) || !slices.Equal(a.values, c.values) {
			t.Errorf("%+v, %v", a, err)
		}
	}
	good := npy("<f8", "False", "2,", []float64{1, 2})
	for _, raw := range [][]byte{nil, good[:8], good[:20], good[:len(good)-1], npy(">f8", "False", "2,", []float64{1, 2})} {
		if a, err := readArray(bytes.NewReader(raw)); err == nil {
			t.Errorf("%q is read as %+v", raw, a)
		}
	}
}

// Acceptance of the sentinel, point 1: MIDAS on DARPA reaches a ROC-AUC of 0.945.
func TestMidasReachesItsTargetOnDarpa(t *testing.T) {
	dir := data(t, "darpa_midas")
	e, err := readDarpa(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.list) != 4554344 || e.counted[len(e.counted)-1] != 46572 {
		t.Fatalf("%d edges in %d ticks", len(e.list), e.counted[len(e.counted)-1])
	}
	scores, took, err := e.score(midas.Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2, Seed: 1}, e.counted)
	if err != nil {
		t.Fatal(err)
	}
	if got := areas(scores, e.anomalous); got.roc < 0.945 || took.allocs > 0.01 {
		t.Errorf("%+v, %v", got, took)
	}
}

// A floor well below what the report shows, so that a fault is seen and a seed's luck is not.
func TestHalfSpaceTreesRankAsOnTheReport(t *testing.T) {
	dir := data(t, "adbench")
	for name, floor := range map[string]float64{"6_cardio": 0.88, "32_shuttle": 0.97} {
		table, err := readTable(name, filepath.Join(dir, "adbench", name+".npz"))
		if err != nil {
			t.Fatal(err)
		}
		rows, ranges := quantised(table)
		s := halfspace.Settings{Trees: 25, Depth: 10, Window: 250, SizeLimit: 25, Seed: 1, Ranges: ranges}
		mass, sparsity, took, err := scoreStream(rows, s)
		if err != nil {
			t.Fatal(err)
		}
		for by, scores := range map[string][]int64{"mass": mass, "sparsity": sparsity} {
			if got := areas(scores, table.anomalous[s.Window:]); got.roc < floor || took.allocs > 0.01 {
				t.Errorf("%s by %s: %+v, %v", name, by, got, took)
			}
		}
	}
}

func TestEveryOtherSectionReports(t *testing.T) {
	o := options{data: data(t, "nsl_kdd"), seeds: 1}
	for _, s := range sections {
		if s.name == "profile" || s.name == "frog" {
			if err := s.run(o); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		}
	}
}
