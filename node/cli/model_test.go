package cli

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// events writes a table in which large exports at night are bad.
func events(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,bytes,hour,kind,bad\n")
	for i := range 1200 {
		size, hour := (i*7919)%5000, (i*31)%24
		kind := []string{"read", "export"}[i%2]
		bad := 0
		if size > 4000 && hour < 8 && kind == "export" || i%397 == 0 {
			bad = 1
		}
		fmt.Fprintf(&b, "%d,%d.25,%d,%s,%d\n", i, size, hour, kind, bad)
	}
	path := filepath.Join(t.TempDir(), "events.csv")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAModelIsTrainedMeasuredAndLookedInto(t *testing.T) {
	s := newShell(t)
	data, dir := events(t), t.TempDir()
	model, card, picture := filepath.Join(dir, "night.model"), filepath.Join(dir, "night.model.card.json"), filepath.Join(dir, "curves.png")
	train := []string{"model", "train", "--data", data, "--label", "bad", "--ignore", "id", "--kind", "both", "--trees", "30", "--leaves", "8", "--forest-trees", "20"}
	trained := s.json(append(train, "--out", model, "--folds", "3", "--hold-rate", "0.01", "--png", picture)...)
	if trained["rows"] != 1200.0 || trained["features"] != 4.0 || trained["model"] != model || trained["card"] != card {
		t.Errorf("%v", trained)
	}
	measured := trained["measured"].([]any)
	first := measured[0].(map[string]any)
	part := first["parts"].([]any)[0].(map[string]any)
	if first["on"] != "folds" || first["runs"] != 3.0 || part["part"] != "boosted" || part["metrics"].(map[string]any)["roc_auc"].(float64) < 0.8 {
		t.Errorf("%v", first)
	}
	if d := part["max_roc_difference_to_float"].(float64); d > 1e-3 {
		t.Errorf("the ranking differs from the parent's by %g", d)
	}
	raw, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(raw)); err != nil || img.Bounds().Dx() != 1600 || img.Bounds().Dy() != 800 {
		t.Errorf("the picture is none: %v", err)
	}

	// The same command gives the same bytes.
	again := filepath.Join(t.TempDir(), "night.model")
	s.ok(append(train, "--out", again, "--folds", "3", "--hold-rate", "0.01")...)
	for _, suffix := range []string{"", ".card.json"} {
		a, err1 := os.ReadFile(model + suffix)
		b, err2 := os.ReadFile(again + suffix)
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("training again gives another file%s (%v, %v)", suffix, err1, err2)
		}
	}

	scores := filepath.Join(dir, "scores.csv")
	text := s.ok("model", "evaluate", model, "--data", data, "--label", "bad", "--explain", "1", "--scores", scores)
	for _, words := range []string{"ROC-AUC", "µs per score", "hold", "without any", "margin"} {
		if !strings.Contains(text, words) {
			t.Errorf("evaluate does not say %q:\n%s", words, text)
		}
	}
	if raw, err := os.ReadFile(scores); err != nil || strings.Count(string(raw), "\n") != 1201 || !strings.HasPrefix(string(raw), "row,score,verdict,label,boosted_margin,forest_margin\n") {
		t.Errorf("the scores are %.80q (%v)", raw, err)
	}
	evaluated := s.json("model", "evaluate", model, "--data", data, "--ignore", "bad", "--explain", "2")
	if len(evaluated["measured"].([]any)) != 0 || len(evaluated["explained"].([]any)) != 2 {
		t.Errorf("without labels: %v", evaluated)
	}

	text = s.ok("model", "inspect", model, "--card", card)
	for _, words := range []string{"night", "boosted trees", "isolation forest", "kind=export", "measured on folds", "limit: "} {
		if !strings.Contains(text, words) {
			t.Errorf("inspect does not say %q:\n%s", words, text)
		}
	}
	if inspected := s.json("model", "inspect", model); inspected["hash"] != trained["hash"] || len(inspected["features"].([]any)) != 4 {
		t.Errorf("%v", inspected)
	}
}

func TestWhatModelCommandsRefuse(t *testing.T) {
	s := newShell(t)
	data, dir := events(t), t.TempDir()
	model := filepath.Join(dir, "a.model")
	s.ok("model", "train", "--data", data, "--label", "bad", "--kind", "forest", "--forest-trees", "5", "--out", model)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("not a model"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.fails(2, "--data", "model", "train", "--out", "x")
	s.fails(2, "--folds", "model", "train", "--data", data)
	s.fails(2, "--monotone", "model", "train", "--data", data, "--label", "bad", "--out", "x", "--monotone", "bytes")
	s.fails(2, "--no-header", "model", "train", "--data", data, "--columns", "a,b", "--out", "x")
	s.fails(2, "--separator", "model", "train", "--data", data, "--separator", ",,", "--out", "x")
	s.fails(2, "nothing to draw", "model", "evaluate", model, "--data", data, "--png", "x.png")
	s.fails(5, "no such file", "model", "train", "--data", "absent.csv", "--out", "x")
	s.fails(5, "no such file", "model", "inspect", "absent.model")
	s.fails(1, "exists already", "model", "train", "--data", data, "--label", "bad", "--kind", "forest", "--forest-trees", "5", "--out", model)
	s.fails(1, "model/2", "model", "train", "--data", data, "--label", "worse", "--out", "x")
	s.fails(1, "model/3", "model", "train", "--data", data, "--out", "x")
	s.fails(1, "model/4", "model", "train", "--data", data, "--label", "bad", "--kind", "magic", "--out", "x")
	s.fails(1, "model/5", "model", "convert", text, "--data", data, "--out", "x")
	s.fails(1, "model/7", "model", "inspect", text)
	s.fails(1, "model/8", "model", "evaluate", model, "--data", data, "--ignore", "bytes")
	s.fails(1, "model/10", "model", "inspect", model, "--card", data)
	if files, _ := filepath.Glob("x*"); len(files) != 0 {
		t.Errorf("a refused command left %v", files)
	}
}

func TestAForeignModelIsConverted(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	out, schema := filepath.Join(dir, "gbm.model"), filepath.Join(dir, "schema.json")
	if err := os.WriteFile(schema, []byte(`[{"name":"amount","unit":"EUR","decimals":2,"monotone":"increasing"},{"name":"hour"},{"name":"rate","decimals":3}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	converted := s.json("model", "convert", "../model/testdata/xgboost.json", "--schema", schema, "--out", out, "--hold", "7000")
	if converted["features"] != 3.0 {
		t.Errorf("%v", converted)
	}
	if text := s.ok("model", "inspect", out); !strings.Contains(text, "hold from 7000") || !strings.Contains(text, "EUR") || !strings.Contains(text, "increasing") {
		t.Error(text)
	}
	data := filepath.Join(dir, "rows.csv")
	if err := os.WriteFile(data, []byte("amount,hour,rate,bad\n1.25,3,0.5,0\n900,2,0.9,1\n,1,1,0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := s.ok("model", "evaluate", out, "--data", data, "--label", "bad", "--against", "../model/testdata/xgboost.json"); !strings.Contains(text, "MARGIN DIFF") {
		t.Error(text)
	}
	// Directions that the trees do not keep are not believed.
	o := s.run("model", "convert", "../model/testdata/xgboost.json", "--schema", schema, "--out", out+"2", "--monotone", "hour=increasing")
	if o.code != 1 || !strings.Contains(o.err, "model/9") || !strings.Contains(o.err, "declared to raise") {
		t.Errorf("%d %s", o.code, o.err)
	}
}
