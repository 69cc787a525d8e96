package main

import (
	"context"
	"fmt"
	"os"

	"github.com/chancery/chancery/node/model"
)

func main() {
	ref := map[string][2]float64{"23_mammography": {.8639, .2093}, "38_thyroid": {.9791, .5780}, "6_cardio": {.9287, .5658}, "31_satimage-2": {.9875, .8850}, "34_smtp": {.9208, .0052}}
	for _, share := range []float64{0.3, 0.4, 0.5, 0.2} {
		for _, name := range []string{"31_satimage-2", "34_smtp", "23_mammography", "6_cardio", "38_thyroid"} {
			f, _ := os.Open("/work/shared/datasets/adbench/" + name + ".npz")
			t, err := model.Read(f, model.Reading{})
			if err != nil {
				panic(err)
			}
			roc, pr := 0.0, 0.0
			const forests = 4
			for seed := range uint32(5) {
				train, test := stratified(t.Labels, share, seed)
				s, _ := t.Schema()
				m, _ := s.Apply(t.Select(train))
				back := t.Select(test)
				x, _ := s.Apply(back)
				for k := range uint64(forests) {
					fo, _ := model.TrainForest(context.Background(), m, model.ForestOptions{}, 100*uint64(seed)+k, nil)
					var sc []float64
					var row []float64
					for i := range x.Rows {
						row = x.Row(i, row)
						sc = append(sc, fo.Margin(row))
					}
					mm := model.Measure(sc, back.Labels)
					roc += mm.ROC / 5 / forests
					pr += mm.PR / 5 / forests
				}
			}
			fmt.Printf("%.1f %-16s ROC %.4f (%.4f) PR %.4f (%.4f)\n", share, name, roc, ref[name][0], pr, ref[name][1])
		}
	}
}
