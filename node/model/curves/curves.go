// Package curves draws the ROC and the precision-recall curve of a model.
package curves

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"

	"github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"

	"github.com/chancery/chancery/node/model"
)

// Series is the scores of one part of a model.
type Series struct {
	Name   string
	Scores []float64
}

// maxPoints is how many points of a curve are drawn, side the width and height of a drawing in pixels.
const (
	maxPoints = 2000
	side      = 800
)

var (
	colours = []drawing.Color{{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}, {R: 0xc2, G: 0x57, B: 0x0c, A: 0xff}, {R: 0x2f, G: 0x7d, B: 0x32, A: 0xff}}
	grey    = drawing.Color{R: 0xa0, G: 0xa0, B: 0xa0, A: 0xff}
	grid    = chart.Style{StrokeColor: drawing.Color{R: 0xe0, G: 0xe0, B: 0xe0, A: 0xff}, StrokeWidth: 1}
)

// PNG draws both curves of each series side by side and writes 1600 by 800 pixels.
func PNG(w io.Writer, title string, labels []int8, series ...Series) error {
	roc := plot(title+": ROC", "false positive rate", "recall")
	pr := plot(title+": precision and recall", "recall", "precision")
	roc.Series = append(roc.Series, chart.ContinuousSeries{
		Name: "chance", XValues: []float64{0, 1}, YValues: []float64{0, 1},
		Style: chart.Style{StrokeColor: grey, StrokeWidth: 1, StrokeDashArray: []float64{4, 4}},
	})
	for i, s := range series {
		m := model.Measure(s.Scores, labels)
		fpr, tpr := []float64{0}, []float64{0}
		var recall, precision []float64
		for _, p := range thin(model.Curve(s.Scores, labels)) {
			fpr, tpr = append(fpr, p.FPR), append(tpr, p.TPR)
			recall, precision = append(recall, p.TPR), append(precision, p.Precision)
		}
		style := chart.Style{StrokeColor: colours[i%len(colours)], StrokeWidth: 2}
		roc.Series = append(roc.Series, chart.ContinuousSeries{Name: fmt.Sprintf("%s, area %.4f", s.Name, m.ROC), Style: style, XValues: fpr, YValues: tpr})
		pr.Series = append(pr.Series, chart.ContinuousSeries{Name: fmt.Sprintf("%s, average precision %.4f", s.Name, m.PR), Style: style, XValues: recall, YValues: precision})
	}
	both := image.NewRGBA(image.Rect(0, 0, 2*side, side))
	for i, c := range []*chart.Chart{roc, pr} {
		c.Elements = []chart.Renderable{chart.LegendThin(c)}
		var one chart.ImageWriter
		if err := c.Render(chart.PNG, &one); err != nil {
			return err
		}
		drawn, err := one.Image()
		if err != nil {
			return err
		}
		draw.Draw(both, image.Rect(i*side, 0, (i+1)*side, side), drawn, drawn.Bounds().Min, draw.Src)
	}
	return png.Encode(w, both)
}

// plot is an empty drawing whose axes go from 0 to 1.
func plot(title, x, y string) *chart.Chart {
	share := func() chart.Range { return &chart.ContinuousRange{Min: 0, Max: 1} }
	tick := func(v any) string { return fmt.Sprintf("%.1f", v) }
	return &chart.Chart{
		Title: title, TitleStyle: chart.Style{FontSize: 12}, Width: side, Height: side,
		Background: chart.Style{Padding: chart.Box{Top: 80, Left: 20, Right: 20, Bottom: 20}},
		XAxis:      chart.XAxis{Name: x, Range: share(), ValueFormatter: tick, GridMajorStyle: grid},
		YAxis:      chart.YAxis{Name: y, Range: share(), ValueFormatter: tick, GridMajorStyle: grid, AxisType: chart.YAxisSecondary},
	}
}

// thin keeps the ends and evenly many points between them.
func thin(points []model.Point) []model.Point {
	if len(points) <= maxPoints {
		return points
	}
	var out []model.Point
	for i := range maxPoints {
		out = append(out, points[i*(len(points)-1)/(maxPoints-1)])
	}
	return out
}
