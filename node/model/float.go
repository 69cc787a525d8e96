package model

import "math"

// Node is a node of a float tree. A leaf has no children: Left is 0, which is the root
// and nobody's child.
type Node struct {
	Feature     int
	Threshold   float64
	Left, Right int
	DefaultLeft bool
	Value       float64 // of a leaf
	Cover       float64 // what training saw here: rows, or the sum of second derivatives
}

func (n *Node) leaf() bool { return n.Left == 0 }

// Tree is nodes of which the first is the root; children stand behind their parents.
type Tree []Node

// Boosted is boosted trees in floats: the parent of quantised ones.
type Boosted struct {
	Features []string
	Compare  Comparison
	Base     float64
	Trees    []Tree
}

// Margin is the margin of a row; NaN is missing.
func (b *Boosted) Margin(row []float64) float64 {
	sum := b.Base
	for _, t := range b.Trees {
		sum += t.find(row, b.Compare).Value
	}
	return sum
}

// find is the leaf of a row.
func (t Tree) find(row []float64, c Comparison) *Node {
	n := &t[0]
	for !n.leaf() {
		x := row[n.Feature]
		left := n.DefaultLeft
		if !math.IsNaN(x) {
			left = c.left(x, n.Threshold)
		}
		if left {
			n = &t[n.Left]
		} else {
			n = &t[n.Right]
		}
	}
	return n
}

// Forest is an isolation forest in floats. The Cover of a leaf is its rows.
type Forest struct {
	Samples int
	Trees   []Tree
}

// Margin is the mean path for each tree less the row's, as trees.NewForest has it.
func (f *Forest) Margin(row []float64) float64 {
	sum := float64(len(f.Trees)) * meanPath(f.Samples)
	for _, t := range f.Trees {
		sum -= t.find(row, AtMost).Value
	}
	return sum
}

// meanPath is c(n) of Liu, Ting, Zhou, ICDM 2008, equation 1.
func meanPath(n int) float64 {
	const euler = 0.57721566490153286
	switch {
	case n <= 1:
		return 0
	case n == 2:
		return 1
	default:
		m := float64(n - 1)
		return 2*(math.Log(m)+euler) - 2*m/float64(n)
	}
}
