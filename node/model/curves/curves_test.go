package curves

import (
	"bytes"
	"image/png"
	"testing"

	"github.com/chancery/chancery/node/model"
)

func TestAPictureIsDrawnOfManyPoints(t *testing.T) {
	var scores []float64
	var labels []int8
	for i := range 10_000 {
		scores, labels = append(scores, float64(i*7919%10_000)), append(labels, int8(i%2))
	}
	var b bytes.Buffer
	if err := PNG(&b, "many", labels, Series{"a", scores}, Series{"b", scores}); err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(&b); err != nil || img.Bounds().Dx() != 1600 || img.Bounds().Dy() != 800 {
		t.Errorf("the picture is none: %v", err)
	}
	whole := model.Curve(scores, labels)
	few := thin(whole)
	if len(few) != maxPoints || few[0] != whole[0] || few[len(few)-1] != whole[len(whole)-1] {
		t.Errorf("%d of %d points are left, or the ends are not", len(few), len(whole))
	}
}
