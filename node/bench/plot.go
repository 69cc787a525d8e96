package bench

import (
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
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

var colours = []color.RGBA{{0x1f, 0x4e, 0x9c, 0xff}, {0xc2, 0x57, 0x0c, 0xff}, {0x2f, 0x7d, 0x32, 0xff}, {0x7b, 0x1f, 0xa2, 0xff}, {0x45, 0x5a, 0x64, 0xff}}

// spread is points with what they are the medians of.
type spread struct {
	plotter.XYs
	plotter.YErrors
}

// PNG draws charts side by side, 800 by 600 pixels each.
func PNG(w io.Writer, charts ...Chart) error {
	canvas := vgimg.NewWith(vgimg.UseWH(vg.Length(8*len(charts))*vg.Inch, 6*vg.Inch), vgimg.UseDPI(100))
	area := draw.New(canvas)
	tiles := draw.Tiles{
		Rows: 1, Cols: len(charts), PadX: vg.Points(20), PadTop: vg.Points(10), PadBottom: vg.Points(10), PadLeft: vg.Points(10), PadRight: vg.Points(20),
	}
	for i, c := range charts {
		p, err := c.plot()
		if err != nil {
			return err
		}
		p.Draw(tiles.At(area, i, 0))
	}
	_, err := vgimg.PngCanvas{Canvas: canvas}.WriteTo(w)
	return err
}

func (c Chart) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	p.Y.Min = 0
	p.Legend.Top = true
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if len(c.Ticks) > 0 {
		var marks plot.ConstantTicks
		for _, t := range c.Ticks {
			marks = append(marks, plot.Tick{Value: t.At, Label: t.Label})
		}
		p.X.Tick.Marker = marks
	}
	p.Add(plotter.NewGrid())
	for i, l := range c.Lines {
		var s spread
		ranged := false
		for _, v := range l.Points {
			if math.IsNaN(v.Y) || math.IsInf(v.Y, 0) || c.LogX && v.X <= 0 {
				continue
			}
			s.XYs = append(s.XYs, plotter.XY{X: v.X, Y: v.Y})
			e := struct{ Low, High float64 }{}
			if v.High > 0 {
				e.Low, e.High, ranged = v.Y-v.Low, v.High-v.Y, true
			}
			s.YErrors = append(s.YErrors, e)
		}
		if len(s.XYs) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(s.XYs)
		if err != nil {
			return nil, err
		}
		hue := colours[i%len(colours)]
		line.Color, line.Width, dots.Color, dots.Radius = hue, vg.Points(1.5), hue, vg.Points(1.5)
		p.Add(line, dots)
		if ranged {
			bars, err := plotter.NewYErrorBars(s)
			if err != nil {
				return nil, err
			}
			bars.Color = hue
			p.Add(bars)
		}
		p.Legend.Add(l.Name, line)
	}
	if p.X.Max <= p.X.Min { // one point, or none
		p.X.Min, p.X.Max = p.X.Min*0.9, p.X.Max*1.1+1
	}
	p.Y.Max *= 1.15 // room for the legend
	return p, nil
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
