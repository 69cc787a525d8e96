package artifact_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
)

var rewrite = flag.Bool("rewrite", false, "write the golden vectors anew")

// vectors are rows and what a model says of them. The models are written by
// go test ./node/model -run TestGoldenModels -rewrite, then the vectors by
// go test ./modules/threat/artifact -run TestGoldenVectors -rewrite.
type vectors struct {
	Hash    string   `json:"hash"`
	Vectors []vector `json:"vectors"`
}

// vector is a row, in which null is missing, and its result.
type vector struct {
	Row     []*int64 `json:"row"`
	Score   uint32   `json:"score"`
	Work    uint32   `json:"work"`
	Boosted *opinion `json:"boosted,omitempty"`
	Forest  *opinion `json:"forest,omitempty"`
}

type opinion struct {
	Margin        int64   `json:"margin"`
	Score         uint32  `json:"score"`
	Contributions []int64 `json:"contributions"`
}

type goldenModel struct {
	path string
	raw  []byte
}

func goldenModels(t testing.TB) []goldenModel {
	paths, err := filepath.Glob("testdata/golden/*.model")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no golden models (%v)", err)
	}
	var out []goldenModel
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, goldenModel{p, raw})
	}
	return out
}

// Every machine and every build finds the same scores; scripts/golden-arch.sh runs this
// for other processors.
func TestGoldenVectors(t *testing.T) {
	for _, g := range goldenModels(t) {
		m, err := artifact.Decode(g.raw)
		if err != nil {
			t.Fatalf("%s: %v", g.path, err)
		}
		hash := m.Hash()
		path := g.path[:len(g.path)-len(".model")] + ".json"
		if *rewrite {
			v := vectors{Hash: hex.EncodeToString(hash[:])}
			for _, row := range goldenRows(m) {
				v.Vectors = append(v.Vectors, judge(t, m, row))
			}
			raw, err := json.MarshalIndent(v, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var want vectors
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if want.Hash != hex.EncodeToString(hash[:]) || len(want.Vectors) < 40 {
			t.Errorf("%s: the model's hash is not that of its %d vectors", g.path, len(want.Vectors))
		}
		for i, w := range want.Vectors {
			row := make([]int64, len(w.Row))
			for j, v := range w.Row {
				row[j] = trees.Missing
				if v != nil {
					row[j] = *v
				}
			}
			have, err := json.Marshal(judge(t, m, row))
			if err != nil {
				t.Fatal(err)
			}
			if expected, err := json.Marshal(w); err != nil || !bytes.Equal(have, expected) {
				t.Errorf("%s, vector %d:\nhave %s\nwant %s (%v)", g.path, i, have, expected, err)
			}
		}
	}
}

func judge(t *testing.T, m *artifact.Model, row []int64) vector {
	e, err := m.Explain(row)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Score(row); err != nil || r != e.Result {
		t.Fatalf("scored %+v and explained %+v (%v)", r, e.Result, err)
	}
	v := vector{Score: e.Score, Work: e.Work}
	for _, x := range row {
		if x == trees.Missing {
			v.Row = append(v.Row, nil)
		} else {
			v.Row = append(v.Row, &x)
		}
	}
	if m.Boosted() != nil {
		v.Boosted = &opinion{e.Boosted.Margin, e.Boosted.Score, e.BoostedContributions}
	}
	if m.Forest() != nil {
		v.Forest = &opinion{e.Forest.Margin, e.Forest.Score, e.ForestContributions}
	}
	return v
}

// goldenRows are rows at and beside the model's thresholds, at the ends of int64, and
// with missing values.
func goldenRows(m *artifact.Model) [][]int64 {
	thresholds := make([][]int64, m.Features())
	message := m.Message()
	collect := func(features []uint32, values []int64) {
		for i, f := range features {
			thresholds[f] = append(thresholds[f], values[i])
		}
	}
	for _, t := range message.GetBoosted().GetTrees() {
		collect(t.GetSplits().GetFeature(), t.GetSplits().GetThreshold())
	}
	for _, t := range message.GetForest().GetTrees() {
		collect(t.GetSplits().GetFeature(), t.GetSplits().GetThreshold())
	}
	rng := rand.New(rand.NewPCG(1, 1))
	fixed := func(x int64) []int64 { return slices.Repeat([]int64{x}, m.Features()) }
	out := [][]int64{fixed(trees.Missing), fixed(trees.Missing + 1), fixed(math.MaxInt64), fixed(0)}
	for range 60 {
		row := make([]int64, m.Features())
		for i, t := range thresholds {
			switch k := rng.IntN(10); {
			case k == 0:
				row[i] = trees.Missing
			case k == 1 || len(t) == 0:
				row[i] = int64(rng.Uint64())
			case k == 2:
				row[i] = rng.Int64N(3) - 1
			default:
				row[i] = t[rng.IntN(len(t))] + rng.Int64N(3) - 1
			}
		}
		out = append(out, row)
	}
	return out
}
