package main

import (
	"archive/zip"
	"bufio"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/chancery/chancery/modules/threat/stream/cell"
	"github.com/chancery/chancery/modules/threat/stream/fixed"
	"github.com/chancery/chancery/modules/threat/stream/midas"
)

// edges is a stream of edges with labels.
type edges struct {
	list      []midas.Edge
	counted   []uint64 // ticks, one for each minute in which an edge came, as the published set has them
	minutes   []uint64 // ticks by the clock
	anomalous []bool
}

// readDarpa reads the edges of the DARPA 1998 intrusion data as published with MIDAS: lines of source, destination,
// minute and attack, "-" where there is none.
func readDarpa(data string) (*edges, error) {
	archive, err := zip.OpenReader(filepath.Join(data, "darpa_midas", "darpa_original.zip"))
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	if len(archive.File) != 1 {
		return nil, fmt.Errorf("the archive holds %d files", len(archive.File))
	}
	r, err := archive.File[0].Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	e := &edges{}
	names := map[string]uint64{}
	number := func(name string) uint64 {
		n, ok := names[name]
		if !ok {
			n = fixed.Name([]byte(name))
			names[name] = n
		}
		return n
	}
	var minute string
	var start int64
	var counted, clock uint64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ",")
		if len(fields) != 4 {
			return nil, fmt.Errorf("line %d has %d fields", len(e.list)+1, len(fields))
		}
		if fields[2] != minute {
			minute = fields[2]
			at, err := seconds(minute)
			if err != nil {
				return nil, err
			}
			if counted == 0 {
				start = at
			}
			counted, clock = counted+1, midas.TickOfTime(at, start, 60)
		}
		e.list = append(e.list, midas.Edge{Actor: number(fields[0]), Resource: number(fields[1])})
		e.counted, e.minutes = append(e.counted, counted), append(e.minutes, clock)
		e.anomalous = append(e.anomalous, fields[3] != "-")
	}
	return e, lines.Err()
}

// seconds reads a minute of the set, where the first of August is the 32nd of July.
func seconds(minute string) (int64, error) {
	var month, day, year, hour, min int
	if _, err := fmt.Sscanf(minute, "%d/%d/%d-%d:%d", &month, &day, &year, &hour, &min); err != nil {
		return 0, fmt.Errorf("%q is no minute: %w", minute, err)
	}
	return time.Date(year, time.Month(month), day, hour, min, 0, 0, time.UTC).Unix(), nil
}

// score scores each edge and then absorbs it.
func (e *edges) score(s midas.Settings, ticks []uint64) ([]int64, cost, error) {
	sketch, err := midas.New(s)
	if err != nil {
		return nil, cost{}, err
	}
	cells, err := cell.NewMemory(sketch.Extents()...)
	if err != nil {
		return nil, cost{}, err
	}
	scores := make([]int64, len(e.list))
	took, err := measure(len(e.list), func() error {
		for i, edge := range e.list {
			reading, err := sketch.Score(cells, edge, ticks[i])
			if err != nil {
				return err
			}
			if err := sketch.Absorb(cells, edge, ticks[i]); err != nil {
				return err
			}
			scores[i] = fixed.Signed(reading.Statistic)
		}
		return nil
	})
	return scores, took, err
}

// changed is how many cells change in a block of the first edges.
func (e *edges) changed(s midas.Settings, edges int) (int, error) {
	sketch, err := midas.New(s)
	if err != nil {
		return 0, err
	}
	cells, err := cell.NewMemory(sketch.Extents()...)
	if err != nil {
		return 0, err
	}
	count := &touched{Writer: cells, cells: map[cell.Key]bool{}}
	for i, edge := range e.list[:min(edges, len(e.list))] {
		if err := sketch.Absorb(count, edge, e.counted[i]); err != nil {
			return 0, err
		}
		count.event()
	}
	return count.changed(), nil
}

func reportMidas(o options) error {
	e, err := readDarpa(o.data)
	if err != nil {
		return err
	}
	anomalies := 0
	for _, a := range e.anomalous {
		if a {
			anomalies++
		}
	}
	fmt.Printf("### MIDAS on DARPA\n\n%d edges, %d anomalous, %d ticks with edges, %d minutes; mean and spread of %d seeds.\n\n",
		len(e.list), anomalies, e.counted[len(e.counted)-1], e.minutes[len(e.minutes)-1], o.seeds)
	fmt.Printf("| Settings | Ticks | ROC-AUC | PR-AUC | CPU µs per edge, scored and absorbed | Allocations | Cells changed by %d edges |\n|---|---|---|---|---|---|---|\n", block)
	half := midas.Settings{Rows: 2, Columns: 1024, Relational: true, DecayNumerator: 1, DecayDenominator: 2}
	slow := half
	slow.DecayNumerator, slow.DecayDenominator = 9, 10
	wide := half
	wide.Columns = 4096
	for _, c := range []struct {
		name     string
		settings midas.Settings
		ticks    []uint64
		by       string
	}{
		{"MIDAS, 2 × 1024", midas.Settings{Rows: 2, Columns: 1024, DecayDenominator: 1}, e.counted, "counted"},
		{"MIDAS-R, 2 × 1024, decay 1/2 (the paper's)", half, e.counted, "counted"},
		{"MIDAS-R, 2 × 1024, decay 1/2", half, e.minutes, "by the clock"},
		{"MIDAS-R, 2 × 4096, decay 1/2", wide, e.counted, "counted"},
		{"MIDAS-R, 2 × 1024, decay 9/10", slow, e.counted, "counted"},
	} {
		var roc, pr spread
		var took cost
		for seed := range o.seeds {
			c.settings.Seed = uint64(seed)
			scores, t, err := e.score(c.settings, c.ticks)
			if err != nil {
				return err
			}
			area := areas(scores, e.anomalous)
			roc.add(area.roc)
			pr.add(area.pr)
			took = t
		}
		changed, err := e.changed(c.settings, 200_000)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %s | %v | %v | %v | %d |\n", c.name, c.by, roc, pr, took, changed)
	}
	fmt.Println()
	return nil
}
