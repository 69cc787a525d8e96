package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/halfspace"
)

// sets are the tables that the reference results have half-space trees on.
var sets = []struct{ name, file string }{
	{"mammography", "23_mammography"}, {"thyroid", "38_thyroid"}, {"cardio", "6_cardio"},
	{"satimage-2", "31_satimage-2"}, {"shuttle", "32_shuttle"}, {"smtp", "34_smtp"},
}

// micro is the unit of features: integers of a millionth.
const micro = 1e6

// quantised returns the rows in micro-units and the range of each feature.
func quantised(t *table) ([][]int64, []halfspace.Range) {
	var ranges []halfspace.Range
	rows := make([][]int64, len(t.rows))
	for i, row := range t.rows {
		for j, v := range row {
			q := int64(math.Round(v * micro))
			rows[i] = append(rows[i], q)
			if i == 0 {
				ranges = append(ranges, halfspace.Range{Low: q, High: q + 1})
			}
			ranges[j].Low, ranges[j].High = min(ranges[j].Low, q), max(ranges[j].High, q)
		}
	}
	return rows, ranges
}

// shuffled is the rows and labels in an order that the seed gives.
func shuffled(rows [][]int64, anomalous []bool, seed int) ([][]int64, []bool) {
	rows, anomalous = slices.Clone(rows), slices.Clone(anomalous)
	rand.New(rand.NewPCG(uint64(seed), 0)).Shuffle(len(rows), func(i, j int) {
		rows[i], rows[j] = rows[j], rows[i]
		anomalous[i], anomalous[j] = anomalous[j], anomalous[i]
	})
	return rows, anomalous
}

// scoreStream scores each row of a table, in its order, and then absorbs it. The first window has no scores.
func scoreStream(rows [][]int64, s halfspace.Settings) (mass, sparsity []int64, took cost, err error) {
	forest, err := halfspace.New(s)
	if err != nil {
		return nil, nil, cost{}, err
	}
	cells, err := cell.NewMemory(forest.Extents()...)
	if err != nil {
		return nil, nil, cost{}, err
	}
	mass, sparsity = make([]int64, len(rows)), make([]int64, len(rows))
	took, err = measure(len(rows), func() error {
		for i, row := range rows {
			reading, err := forest.Score(cells, row)
			if err != nil {
				return err
			}
			if err := forest.Absorb(cells, row); err != nil {
				return err
			}
			mass[i], sparsity[i] = -int64(reading.Mass), reading.Sparsity
		}
		return nil
	})
	return mass[s.Window:], sparsity[s.Window:], took, err
}

// changedCells is how many cells change in a block of rows.
func changedCells(rows [][]int64, s halfspace.Settings) (int, error) {
	forest, err := halfspace.New(s)
	if err != nil {
		return 0, err
	}
	cells, err := cell.NewMemory(forest.Extents()...)
	if err != nil {
		return 0, err
	}
	count := &touched{Writer: cells, cells: map[cell.Key]bool{}}
	for _, row := range rows {
		if err := forest.Absorb(count, row); err != nil {
			return 0, err
		}
		count.event()
	}
	return count.changed(), nil
}

// reference finds what the reference results say of half-space trees on a set.
func reference(text, set string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 6 && fields[0] == set && strings.HasPrefix(fields[1], "HST(") {
			return strings.Join(fields[3:7], " ")
		}
	}
	return "none"
}

func reportHalfSpace(o options) error {
	text, err := os.ReadFile(filepath.Join(o.data, "reference-results.txt"))
	if err != nil {
		return err
	}
	fmt.Printf("### Half-space trees on ADBench\n\nRows in the order of the file or shuffled by the seed, each scored and then absorbed; the first window has no score and is left out; "+
		"ranges are the least and greatest value of the set, as for the reference; mean and spread of %d seeds. "+
		"Full is 25 trees of depth 10, compact 10 trees of depth 6, both with a window of 250 and a size limit of 25.\n\n", o.seeds)
	fmt.Printf("| Set | Settings | Order | By mass: ROC-AUC | PR-AUC | By sparsity: ROC-AUC | PR-AUC | Reference | CPU µs per row, scored and absorbed | Allocations | Cells changed by %d rows |\n|---|---|---|---|---|---|---|---|---|---|---|\n", block)
	for _, set := range sets {
		t, err := readTable(set.name, filepath.Join(o.data, "adbench", set.file+".npz"))
		if err != nil {
			return err
		}
		rows, ranges := quantised(t)
		for _, c := range []struct {
			name         string
			trees, depth int
			shuffle      bool
		}{{"full", 25, 10, false}, {"full", 25, 10, true}, {"compact", 10, 6, false}, {"compact", 10, 6, true}} {
			s := halfspace.Settings{Trees: c.trees, Depth: c.depth, Window: 250, SizeLimit: 25, Ranges: ranges}
			var massROC, massPR, sparseROC, sparsePR spread
			var took cost
			stream, labels := rows, t.anomalous
			for seed := range o.seeds {
				s.Seed = uint64(seed)
				if c.shuffle {
					stream, labels = shuffled(rows, t.anomalous, seed)
				}
				mass, sparsity, t1, err := scoreStream(stream, s)
				if err != nil {
					return err
				}
				a, b := areas(mass, labels[s.Window:]), areas(sparsity, labels[s.Window:])
				massROC.add(a.roc)
				massPR.add(a.pr)
				sparseROC.add(b.roc)
				sparsePR.add(b.pr)
				took = t1
			}
			ref, order := "", "file"
			if c.shuffle {
				order = "shuffled"
			}
			if c.name == "full" {
				ref = reference(string(text), set.name)
			}
			changed, err := changedCells(stream, s) // of the last seed
			if err != nil {
				return err
			}
			fmt.Printf("| %s | %s | %s | %v | %v | %v | %v | %s | %v | %d |\n", set.name, c.name, order, massROC, massPR, sparseROC, sparsePR, ref, took, changed)
		}
	}
	fmt.Println()
	return nil
}
