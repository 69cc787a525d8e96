// Package curves draws the ROC and the precision-recall curve of a model.
package curves

import (
	"fmt"
	"image/color"
	"io"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"github.com/chancery/chancery/node/model"
)

// Series is the scores of one part of a model.
type Series struct {
	Name   string
	Scores []float64
}

// maxPoints is how many points of a curve are drawn.
const maxPoints = 2000

var colours = []color.RGBA{{0x1f, 0x4e, 0x9c, 0xff}, {0xc2, 0x57, 0x0c, 0xff}, {0x2f, 0x7d, 0x32, 0xff}}

// PNG draws both curves of each series side by side and writes 1600 by 800 pixels.
func PNG(w io.Writer, title string, labels []int8, series ...Series) error {
	roc, pr := plot.New(), plot.New()
	roc.Title.Text = title + ": ROC"
	roc.X.Label.Text, roc.Y.Label.Text = "false positive rate", "recall"
	pr.Title.Text = title + ": precision and recall"
	pr.X.Label.Text, pr.Y.Label.Text = "recall", "precision"
	for _, p := range []*plot.Plot{roc, pr} {
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
		p.Add(plotter.NewGrid())
	}
	roc.Legend.Left = false
	pr.Legend.Left = true
	chance, err := plotter.NewLine(plotter.XYs{{X: 0, Y: 0}, {X: 1, Y: 1}})
	if err != nil {
		return err
	}
	chance.Color = color.Gray{0xa0}
	chance.Dashes = []vg.Length{vg.Points(4), vg.Points(4)}
	roc.Add(chance)
	for i, s := range series {
		m := model.Measure(s.Scores, labels)
		points := thin(model.Curve(s.Scores, labels))
		a, b := plotter.XYs{{X: 0, Y: 0}}, plotter.XYs{}
		for _, p := range points {
			a = append(a, plotter.XY{X: p.FPR, Y: p.TPR})
			b = append(b, plotter.XY{X: p.TPR, Y: p.Precision})
		}
		for _, x := range []struct {
			to     *plot.Plot
			points plotter.XYs
			name   string
		}{{roc, a, fmt.Sprintf("%s, area %.4f", s.Name, m.ROC)}, {pr, b, fmt.Sprintf("%s, average precision %.4f", s.Name, m.PR)}} {
			line, err := plotter.NewLine(x.points)
			if err != nil {
				return err
			}
			line.Color = colours[i%len(colours)]
			line.Width = vg.Points(1.5)
			x.to.Add(line)
			x.to.Legend.Add(x.name, line)
		}
	}
	canvas := vgimg.NewWith(vgimg.UseWH(16*vg.Inch, 8*vg.Inch), vgimg.UseDPI(100))
	area := draw.New(canvas)
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Points(20), PadTop: vg.Points(10), PadBottom: vg.Points(10), PadLeft: vg.Points(10), PadRight: vg.Points(10)}
	roc.Draw(tiles.At(area, 0, 0))
	pr.Draw(tiles.At(area, 1, 0))
	_, err = vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
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
