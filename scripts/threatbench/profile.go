package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/profile"
)

// column is a feature of NSL-KDD as a categorical one.
type column struct {
	name   string
	at     int
	values int
	bucket func(string) (int, error) // nil for names
}

// octave is the number of bits of a count: 0, 1, 2-3, 4-7, …
func octave(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	return bits.Len64(n), err
}

// tenth is a rate from 0 to 1 in tenths.
func tenth(s string) (int, error) {
	x, err := strconv.ParseFloat(s, 64)
	return int(x*10 + 0.5), err
}

// columns are sixteen of the 41 features, chosen by what they mean and not by how they score: what was spoken, how much
// went each way, and how the last connections to the host and service went.
var columns = []column{
	{"protocol", 1, 4, nil}, {"service", 2, profile.MaxValues, nil}, {"flag", 3, 12, nil},
	{"duration", 0, 20, octave}, {"sent", 4, 32, octave}, {"received", 5, 32, octave}, {"hot", 9, 8, octave},
	{"logged-in", 11, 3, octave}, {"connections", 22, 12, octave}, {"to-service", 23, 12, octave},
	{"syn-errors", 24, 12, tenth}, {"rejections", 26, 12, tenth}, {"same-service", 28, 12, tenth},
	{"host-connections", 31, 12, octave}, {"host-same-service", 33, 12, tenth}, {"host-errors", 37, 12, tenth},
}

type records struct {
	rows      [][]string
	anomalous []bool
}

func readKDD(path string) (*records, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = 43
	rows, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	out := &records{rows: rows}
	for _, row := range rows {
		out.anomalous = append(out.anomalous, row[41] != "normal")
	}
	return out, nil
}

// codes are the names of a column by how often they come, from 0.
func (r *records) codes(at int) map[string]int {
	counts := map[string]int{}
	for i, row := range r.rows {
		if !r.anomalous[i] {
			counts[row[at]]++
		}
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	out := map[string]int{}
	for i, name := range names {
		out[name] = i
	}
	return out
}

func (r *records) events(codes []map[string]int) ([]profile.Event, error) {
	var out []profile.Event
	for _, row := range r.rows {
		var e profile.Event
		for f, c := range columns {
			v, known := codes[f][row[c.at]]
			if c.bucket != nil {
				var err error
				if v, err = c.bucket(row[c.at]); err != nil {
					return nil, err
				}
			} else if !known {
				v = c.values - 1
			}
			e[f] = uint8(min(v, c.values-1))
		}
		out = append(out, e)
	}
	return out, nil
}

func reportProfile(o options) error {
	train, err := readKDD(filepath.Join(o.data, "nsl_kdd", "KDDTrain+_20Percent.txt"))
	if err != nil {
		return err
	}
	test, err := readKDD(filepath.Join(o.data, "nsl_kdd", "KDDTest+.txt"))
	if err != nil {
		return err
	}
	var features []profile.Feature
	var codes []map[string]int
	for _, c := range columns {
		features, codes = append(features, profile.Feature{Name: c.name, Values: c.values}), append(codes, train.codes(c.at))
	}
	schema, err := profile.NewSchema(features...)
	if err != nil {
		return err
	}
	learnt, err := train.events(codes)
	if err != nil {
		return err
	}
	asked, err := test.events(codes)
	if err != nil {
		return err
	}
	tally := profile.NewTally(schema)
	for i, e := range learnt {
		if s, ok := profile.Settle(e, profile.FateAdmitted, 0, 0, 0); ok && !train.anomalous[i] {
			tally.Count(s)
		}
	}
	anchor := tally.Freeze()
	scores := make([]int64, len(asked))
	took, err := measure(len(asked), func() error {
		for i, e := range asked {
			scores[i] = anchor.Surprise(e).Total
		}
		return nil
	})
	if err != nil {
		return err
	}
	area := areas(scores, test.anomalous)
	fmt.Printf("### Profiles on NSL-KDD\n\nOne anchor of the %d normal connections of the 20%% training set; the %d connections of Test+ by their surprise.\n\n", tally.Events(), len(asked))
	fmt.Printf("| Features | ROC-AUC | PR-AUC | CPU µs per score | Allocations |\n|---|---|---|---|---|\n| %d | %.4f | %.4f | %v |\n\n", schema.Features(), area.roc, area.pr, took)
	return nil
}

// reportFrog shows what an insider gains who moves habits a little every day.
func reportFrog(options) error {
	schema, err := profile.NewSchema(
		profile.Feature{Name: "message-kind", Values: 5}, profile.Feature{Name: "resource-class", Values: 7},
		profile.Feature{Name: "hour", Values: 24}, profile.Feature{Name: "outcome", Values: 2})
	if err != nil {
		return err
	}
	settings := profile.Settings{StepNumerator: 1, StepDenominator: 256, StepsPerEpoch: 4}
	seed := fixed.Seed(1)
	habit := func() profile.Event {
		return profile.Event{uint8(seed.Below(2)), uint8(seed.Below(2)), 8 + uint8(seed.Below(9)), 0}
	}
	night := profile.Event{1, 6, 3, 0}
	tally := profile.NewTally(schema)
	for range 1000 {
		s, _ := profile.Settle(habit(), profile.FateAdmitted, 0, 0, 0)
		tally.Count(s)
	}
	anchor := tally.Freeze()
	adaptive := anchor.Adapt()
	fmt.Printf("### A boiling frog\n\n1000 events of day work make the anchor. Then 20 events a day, of which from day to day a sixtieth more are at night on another class of resource; "+
		"step %d/%d, %d steps a day. Surprises in bits, of the night event; the distance in bits, of at most %d.\n\n",
		settings.StepNumerator, settings.StepDenominator, settings.StepsPerEpoch, schema.Features())
	fmt.Println("| Day | Events at night | Anchor's surprise | Adaptive's surprise | Distance |\n|---|---|---|---|---|")
	q12 := func(x int64) float64 { return float64(x) / fixed.LogScale }
	nights := 0
	for day := range 61 {
		if day%10 == 0 {
			fmt.Printf("| %d | %d | %.2f | %.2f | %.3f |\n", day, nights, q12(anchor.Surprise(night).Total), q12(adaptive.Surprise(night).Total), q12(adaptive.Distance(&anchor).Total))
		}
		for range 20 {
			e := habit()
			if seed.Below(60) < uint64(day) {
				e = night
				nights++
			}
			if s, ok := profile.Settle(e, profile.FateAdmitted, uint64(day), 7, uint64(day)+7); ok {
				adaptive.Absorb(s, settings, uint64(day)+7)
			}
		}
	}
	fmt.Println()
	return nil
}
