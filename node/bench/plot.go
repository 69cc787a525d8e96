package bench

import (
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"io"
	"math"

	"github.com/wcharczuk/go-chart/v2"
	"github.com/wcharczuk/go-chart/v2/drawing"
)

// Line is a named line of a Chart.
type Line struct {
	Name   string
	Points []XY
}

// XY is a point of a Line. Low and High are the least and the most of what Y is the
// median of; both 0: there is one value.
type XY struct{ X, Y, Low, High float64 }

// Chart is lines over one axis.
type Chart struct {
	Title, X, Y string
	// LogX draws X in powers of ten; every X is then above 0.
	LogX  bool
	Lines []Line
	// Ticks are the marks of X in place of numbers.
	Ticks []Tick
}

// Tick is a mark of an axis.
type Tick struct {
	At    float64
	Label string
}

// width and height are those of one chart in pixels, margin what is left free above the
// highest value.
const (
	width, height = 800, 600
	margin        = 1.15
)

var (
	colours = []drawing.Color{
		{R: 0x1f, G: 0x4e, B: 0x9c, A: 0xff}, {R: 0xc2, G: 0x57, B: 0x0c, A: 0xff}, {R: 0x2f, G: 0x7d, B: 0x32, A: 0xff},
		{R: 0x7b, G: 0x1f, B: 0xa2, A: 0xff}, {R: 0x45, G: 0x5a, B: 0x64, A: 0xff},
	}
	grid = chart.Style{StrokeColor: drawing.Color{R: 0xe0, G: 0xe0, B: 0xe0, A: 0xff}, StrokeWidth: 1}
)

// PNG draws charts side by side, 800 by 600 pixels each.
func PNG(w io.Writer, charts ...Chart) error {
	all := image.NewRGBA(image.Rect(0, 0, width*len(charts), height))
	for i, c := range charts {
		var one chart.ImageWriter
		if err := c.plot().Render(chart.PNG, &one); err != nil {
			return err
		}
		drawn, err := one.Image()
		if err != nil {
			return err
		}
		draw.Draw(all, image.Rect(i*width, 0, (i+1)*width, height), drawn, drawn.Bounds().Min, draw.Src)
	}
	return png.Encode(w, all)
}

func (c Chart) plot() *chart.Chart {
	at := func(x float64) float64 { return x }
	if c.LogX {
		at = math.Log10
	}
	least, most, highest := math.Inf(1), math.Inf(-1), 0.0
	var named, bars []chart.Series
	for i, l := range c.Lines {
		style := chart.Style{StrokeColor: colours[i%len(colours)], StrokeWidth: 2, DotColor: colours[i%len(colours)], DotWidth: 2}
		line := chart.ContinuousSeries{Name: l.Name, Style: style}
		for _, v := range l.Points {
			if math.IsNaN(v.Y) || math.IsInf(v.Y, 0) || c.LogX && v.X <= 0 {
				continue
			}
			x := at(v.X)
			line.XValues, line.YValues = append(line.XValues, x), append(line.YValues, v.Y)
			least, most, highest = min(least, x), max(most, x), max(highest, v.Y, v.High)
			if v.High > 0 {
				bars = append(bars, chart.ContinuousSeries{
					Style: chart.Style{StrokeColor: style.StrokeColor, StrokeWidth: 1}, XValues: []float64{x, x}, YValues: []float64{v.Low, v.High},
				})
			}
		}
		if len(line.XValues) > 0 {
			named = append(named, line)
		}
	}
	if most <= least { // one point
		least, most = least-0.5, most+0.5
	}
	if len(named) == 0 {
		least, most = 0, 1
		named = append(named, chart.ContinuousSeries{Name: "nothing was measured", XValues: []float64{0, 1}, YValues: []float64{0, 0}})
	}
	x := chart.XAxis{Name: c.X, Range: &chart.ContinuousRange{Min: least, Max: most}, GridMajorStyle: grid}
	if c.LogX {
		x.ValueFormatter = func(v any) string { return fmt.Sprintf("%.4g", math.Pow(10, v.(float64))) }
	}
	for _, t := range c.Ticks {
		x.Ticks = append(x.Ticks, chart.Tick{Value: at(t.At), Label: t.Label})
	}
	out := &chart.Chart{
		Title: c.Title, TitleStyle: chart.Style{FontSize: 12}, Width: width, Height: height,
		Background: chart.Style{Padding: chart.Box{Top: 80, Left: 20, Right: 20, Bottom: 20}},
		XAxis:      x,
		YAxis: chart.YAxis{
			Name: c.Y, Range: &chart.ContinuousRange{Min: 0, Max: max(highest, 1e-9) * margin}, GridMajorStyle: grid, AxisType: chart.YAxisSecondary,
			ValueFormatter: func(v any) string { return fmt.Sprintf("%.4g", v) },
		},
		Series: named,
	}
	legend := *out
	out.Series = append(bars, named...)
	out.Elements = []chart.Renderable{chart.LegendThin(&legend)}
	return out
}

// LatencyChart is the distribution of latency: how long the slowest one in so many took.
func (r *Result) LatencyChart() Chart {
	c := Chart{Title: "Latency", X: "share of transactions", Y: "at most, ms", LogX: true, Ticks: []Tick{
		{1, "0"}, {2, "50 %"}, {10, "90 %"}, {100, "99 %"}, {1000, "99.9 %"}, {10000, "99.99 %"}, {100000, "99.999 %"},
	}}
	var l Line
	most := 1.0
	for _, p := range r.Distribution {
		if p.Share >= 1 {
			continue
		}
		most = max(most, 1/(1-p.Share))
		l.Points = append(l.Points, XY{X: 1 / (1 - p.Share), Y: p.Ms})
	}
	for len(c.Ticks) > 2 && c.Ticks[len(c.Ticks)-1].At > 10*most {
		c.Ticks = c.Ticks[:len(c.Ticks)-1]
	}
	l.Name = "from due to the news of the block"
	c.Lines = []Line{l}
	return c
}

// SeriesChart is what happened second by second.
func (r *Result) SeriesChart() Chart {
	due, done, refused := Line{Name: "due"}, Line{Name: "executed"}, Line{Name: "refused"}
	for _, m := range r.Series {
		x := float64(m.Second)
		due.Points = append(due.Points, XY{X: x, Y: float64(m.Due)})
		done.Points = append(done.Points, XY{X: x, Y: float64(m.Executed)})
		refused.Points = append(refused.Points, XY{X: x, Y: float64(m.Refused)})
	}
	c := Chart{Title: "Throughput", X: "second", Y: "transactions a second", Lines: []Line{done, due}}
	if len(r.Counts.Refused) > 0 {
		c.Lines = append(c.Lines, refused)
	}
	return c
}
