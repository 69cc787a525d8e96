package model

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/chancery/chancery/modules/threat/trees"
)

var rewrite = flag.Bool("rewrite", false, "write the golden models anew")

const goldenFolder = "../../modules/threat/artifact/testdata/golden"

// synthetic is a CSV of made-up exports: amounts with cents, some missing, an hour, a
// rate, a kind, and a label that follows from them with noise.
func synthetic(rows int, seed uint64) string {
	rng := rand.New(rand.NewPCG(seed, 9))
	var b strings.Builder
	b.WriteString("amount,hour,rate,kind,bad\n")
	for range rows {
		amount := math.Exp(rng.NormFloat64()*1.5 + 3)
		hour := rng.IntN(24)
		rate := rng.Float64()
		kind := []string{"read", "export", "grant"}[rng.IntN(3)]
		odds := -4 + 0.02*amount + 2*rate
		if kind == "export" {
			odds += 1.5
		}
		if hour < 6 {
			odds++
		}
		bad := 0
		if rng.Float64() < 1/(1+math.Exp(-odds)) {
			bad = 1
		}
		text := fmt.Sprintf("%.2f", amount)
		if rng.IntN(20) == 0 {
			text = ""
		}
		fmt.Fprintf(&b, "%s,%d,%.3f,%s,%d\n", text, hour, rate, kind, bad)
	}
	return b.String()
}

func table(t testing.TB, text string, how Reading) *Table {
	t.Helper()
	how.Header = true
	out, err := Read(strings.NewReader(text), how)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func goldenTraining(kind string) Training {
	return Training{
		Name: "golden-" + kind, Kind: kind, Seed: 5, HoldRate: 0.05, DenyRate: 0.001,
		Boost:  BoostOptions{Trees: 20, Leaves: 12, Monotone: map[string]trees.Direction{"amount": trees.Increasing}},
		Forest: ForestOptions{Trees: 16, Samples: 64},
	}
}

// The same data, options and seed give the same bytes. The golden models are those of
// amd64; on other processors the rounding of floats may differ.
func TestGoldenModels(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("skipped, because models are reproducible on one kind of processor alone, and the golden ones were made on amd64")
	}
	text := synthetic(3000, 1)
	for _, kind := range []string{KindBoosted, KindForest, KindBoth} {
		data := table(t, text, Reading{Label: "bad"})
		o := goldenTraining(kind)
		if kind == KindForest {
			o.Boost.Monotone = nil
		}
		trained, err := Train(context.Background(), data, o)
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, filepath.Join(goldenFolder, kind+".model"), trained.Raw)
	}
	for from, file := range map[string]string{FromLightGBM: "testdata/lightgbm.txt", FromXGBoost: "testdata/xgboost.json"} {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		converted, err := Convert(raw, Conversion{Name: "golden-" + from, Data: table(t, text, Reading{Label: "bad", Ignore: []string{"kind"}})})
		if err != nil {
			t.Fatal(err)
		}
		compareGolden(t, filepath.Join(goldenFolder, from+".model"), converted.Raw)
	}
}

func compareGolden(t *testing.T, path string, have []byte) {
	t.Helper()
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, have) {
		t.Errorf("%s is not what training gives; if it should be, run go test ./node/model -run TestGoldenModels -rewrite and then go test ./modules/threat/artifact -run TestGoldenVectors -rewrite", path)
	}
}
