package model

import (
	"bufio"
	"bytes"
	"math"
	"strconv"
	"strings"
)

// Kinds of missing values in LightGBM's decision_type, bits 2 and 3.
const (
	lightgbmNone = 0
	lightgbmZero = 1
	lightgbmNaN  = 2
)

// LightGBM reads a model that LightGBM saved as text, of one class with trees of
// numeric splits. Feature names are the model's own.
func LightGBM(raw []byte) (*Boosted, error) {
	in := bufio.NewScanner(bytes.NewReader(raw))
	in.Buffer(nil, len(raw)+1)
	if !in.Scan() || strings.TrimSpace(in.Text()) != "tree" {
		return nil, ErrForeign.With("a LightGBM text model begins with the line tree")
	}
	header := map[string]string{}
	var blocks []map[string]string
	block := header
	average, whole := false, false
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		if line == "end of trees" {
			whole = true
			break
		}
		if line == "average_output" {
			average = true
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		if key == "Tree" {
			block = map[string]string{}
			blocks = append(blocks, block)
			continue
		}
		block[key] = value
	}
	if err := in.Err(); err != nil {
		return nil, ErrForeign.Wrap(err)
	}
	if n := header["num_class"]; n != "" && n != "1" {
		return nil, ErrUnscorable.With("it has %s classes; the scorer has two", n)
	}
	if n := header["num_tree_per_iteration"]; n != "" && n != "1" {
		return nil, ErrUnscorable.With("it has %s trees per iteration", n)
	}
	if o := header["objective"]; o != "" && !strings.HasPrefix(o, "binary") && !strings.HasPrefix(o, "cross_entropy") {
		return nil, ErrUnscorable.With("its objective is %q; the scorer compares the margin of binary or cross_entropy", o)
	}
	out := &Boosted{Features: strings.Fields(header["feature_names"]), Compare: AtMost}
	if len(out.Features) == 0 {
		return nil, ErrForeign.With("it names no features")
	}
	if len(blocks) == 0 {
		return nil, ErrForeign.With("it has no trees")
	}
	if !whole {
		return nil, ErrForeign.With("it is cut off: it lacks the line end of trees")
	}
	for i, b := range blocks {
		t, err := lightgbmTree(b, len(out.Features))
		if err != nil {
			return nil, inTree(i, err)
		}
		out.Trees = append(out.Trees, t)
	}
	if average {
		for _, t := range out.Trees {
			for j := range t {
				t[j].Value /= float64(len(out.Trees))
			}
		}
	}
	return out, nil
}

func lightgbmTree(b map[string]string, features int) (Tree, error) {
	leaves, err := strconv.Atoi(b["num_leaves"])
	if err != nil || leaves < 1 || leaves > 1<<20 {
		return nil, ErrForeign.With("num_leaves=%s", b["num_leaves"])
	}
	if b["num_cat"] != "" && b["num_cat"] != "0" {
		return nil, ErrUnscorable.With("it splits on categories; encode them as numbers before training")
	}
	if b["is_linear"] == "1" {
		return nil, ErrUnscorable.With("its leaves are linear; train without linear_tree")
	}
	n := leaves - 1
	list := func(key string, want int) []float64 {
		if err != nil {
			return nil
		}
		var out []float64
		if out, err = floats(b[key]); err == nil && len(out) != want {
			err = ErrForeign.With("%s has %d values instead of %d", key, len(out), want)
		}
		return out
	}
	values := list("leaf_value", leaves)
	var feature, threshold, kind, left, right, rows []float64
	if n > 0 {
		feature, threshold, kind = list("split_feature", n), list("threshold", n), list("decision_type", n)
		left, right = list("left_child", n), list("right_child", n)
		if b["leaf_count"] != "" {
			rows = list("leaf_count", leaves)
		}
	}
	if err != nil {
		return nil, err
	}
	return assembleTree(n, func(at int) (Node, error) {
		if at < 0 {
			i := -1 - at
			if i >= leaves {
				return Node{}, ErrForeign.With("there is no leaf %d", i)
			}
			node := Node{Value: values[i]}
			if rows != nil {
				node.Cover = rows[i]
			}
			return node, nil
		}
		if at >= n {
			return Node{}, ErrForeign.With("there is no split %d", at)
		}
		if feature[at] < 0 || int(feature[at]) >= features {
			return Node{}, ErrForeign.With("there is no feature %g", feature[at])
		}
		bits := int(kind[at])
		node := Node{Feature: int(feature[at]), Threshold: threshold[at], Left: int(left[at]), Right: int(right[at])}
		if node.Left == 0 || node.Right == 0 {
			return Node{}, ErrForeign.With("split %d has the root as a child", at)
		}
		if bits&1 != 0 {
			return Node{}, ErrUnscorable.With("it splits on categories; encode them as numbers before training")
		}
		zero := 0 <= threshold[at] // where a zero goes as a number
		switch bits >> 2 & 3 {
		case lightgbmNaN:
			node.DefaultLeft = bits&2 != 0
		case lightgbmNone:
			node.DefaultLeft = zero // LightGBM takes NaN for 0 here
		case lightgbmZero:
			node.DefaultLeft = bits&2 != 0
			if node.DefaultLeft != zero {
				return Node{}, ErrUnscorable.With("it takes zero for missing and sends it against its value; train without zero_as_missing")
			}
		default:
			return Node{}, ErrForeign.With("decision_type %d", bits)
		}
		return node, nil
	}, min(n, 1)-1)
}

// assembleTree walks a foreign tree from its root (a split, or a leaf as a negative
// number) in preorder. node gives a node with its children in the foreign numbering,
// in which both are 0 for a leaf.
func assembleTree(splits int, node func(int) (Node, error), root int) (Tree, error) {
	var t Tree
	type step struct{ at, parent int }
	stack := []step{{root, -1}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if len(t) > 2*splits {
			return nil, ErrForeign.With("its nodes form no tree")
		}
		n, err := node(s.at)
		if err != nil {
			return nil, err
		}
		if s.parent >= 0 {
			// The left child is the node right behind its parent.
			if p := &t[s.parent]; p.Left == 0 {
				p.Left = len(t)
			} else {
				p.Right = len(t)
			}
		}
		if n.Left != 0 || n.Right != 0 {
			stack = append(stack, step{n.Right, len(t)}, step{n.Left, len(t)})
		}
		n.Left, n.Right = 0, 0
		if !(n.Cover > 0) || math.IsInf(n.Cover, 0) {
			n.Cover = 0
		}
		t = append(t, n)
	}
	return t, nil
}

func floats(text string) ([]float64, error) {
	var out []float64
	for _, f := range strings.Fields(text) {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil && !math.IsInf(v, 0) {
			return nil, ErrForeign.With("%q is no number", f)
		}
		out = append(out, v)
	}
	return out, nil
}
