package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/chancery/chancery/chain/errs"
)

type xgboostModel struct {
	Learner struct {
		FeatureNames []string `json:"feature_names"`
		Param        struct {
			BaseScore  string `json:"base_score"`
			NumClass   string `json:"num_class"`
			NumFeature string `json:"num_feature"`
			NumTarget  string `json:"num_target"`
		} `json:"learner_model_param"`
		Objective struct {
			Name string `json:"name"`
		} `json:"objective"`
		Booster struct {
			Name  string `json:"name"`
			Model struct {
				Trees []xgboostTree `json:"trees"`
			} `json:"model"`
			// DART keeps its trees one level deeper, with weights.
			Inner struct {
				Model struct {
					Trees []xgboostTree `json:"trees"`
				} `json:"model"`
			} `json:"gbtree"`
			Weights []float64 `json:"weight_drop"`
		} `json:"gradient_booster"`
	} `json:"learner"`
}

type xgboostTree struct {
	Left        []int           `json:"left_children"`
	Right       []int           `json:"right_children"`
	Feature     []int           `json:"split_indices"`
	Condition   []float64       `json:"split_conditions"`
	DefaultLeft []flexibleBool  `json:"default_left"`
	Kind        []int           `json:"split_type"`
	Categories  json.RawMessage `json:"categories_nodes"`
	Hessian     []float64       `json:"sum_hessian"`
	Param       struct {
		LeafVector string `json:"size_leaf_vector"`
	} `json:"tree_param"`
}

// flexibleBool is a boolean that some versions write as 0 or 1.
type flexibleBool bool

func (b *flexibleBool) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case "true", "1":
		*b = true
	case "false", "0":
		*b = false
	default:
		return fmt.Errorf("default_left is %s", raw)
	}
	return nil
}

// XGBoost reads a model that XGBoost saved as JSON, of the objective binary:logistic or
// binary:logitraw, with trees of numeric splits. Where the model names no features they
// are f0, f1 and so on.
func XGBoost(raw []byte) (*Boosted, error) {
	var m xgboostModel
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return nil, ErrForeign.Wrap(err)
	}
	l := &m.Learner
	trees := l.Booster.Model.Trees
	switch l.Booster.Name {
	case "gbtree":
	case "dart":
		trees = l.Booster.Inner.Model.Trees
		if len(l.Booster.Weights) != len(trees) {
			return nil, ErrForeign.With("%d trees have %d weights", len(trees), len(l.Booster.Weights))
		}
	case "":
		return nil, ErrForeign.With("it is no XGBoost JSON model: it names no gradient_booster")
	default:
		return nil, ErrUnscorable.With("its booster is %q; train with gbtree or dart", l.Booster.Name)
	}
	if n := l.Param.NumClass; n != "" && n != "0" && n != "1" {
		return nil, ErrUnscorable.With("it has %s classes; the scorer has two", n)
	}
	if n := l.Param.NumTarget; n != "" && n != "0" && n != "1" {
		return nil, ErrUnscorable.With("it has %s targets; the scorer has one", n)
	}
	if len(trees) == 0 {
		return nil, ErrForeign.With("it has no trees")
	}
	out := &Boosted{Features: l.FeatureNames, Compare: Below32}
	features, err := strconv.Atoi(l.Param.NumFeature)
	if err != nil || features < 1 || features > 1<<16 || len(out.Features) != 0 && len(out.Features) != features {
		return nil, ErrForeign.With("num_feature is %q and %d features are named", l.Param.NumFeature, len(out.Features))
	}
	for i := len(out.Features); i < features; i++ {
		out.Features = append(out.Features, fmt.Sprintf("f%d", i))
	}
	base, err := strconv.ParseFloat(strings.Trim(l.Param.BaseScore, "[]"), 64)
	if err != nil {
		return nil, ErrForeign.With("base_score is %q", l.Param.BaseScore)
	}
	switch name := l.Objective.Name; name {
	case "binary:logistic":
		if base <= 0 || base >= 1 {
			return nil, ErrForeign.With("base_score %g is no probability", base)
		}
		out.Base = math.Log(base / (1 - base))
	case "binary:logitraw":
		out.Base = base
	default:
		return nil, ErrUnscorable.With("its objective is %q; the scorer compares the margin of binary:logistic or binary:logitraw", name)
	}
	for i := range trees {
		t, err := trees[i].tree(features)
		if err != nil {
			return nil, inTree(i, err)
		}
		if l.Booster.Name == "dart" {
			for j := range t {
				t[j].Value *= l.Booster.Weights[i]
			}
		}
		out.Trees = append(out.Trees, t)
	}
	return out, nil
}

func (x *xgboostTree) tree(features int) (Tree, error) {
	n := len(x.Left)
	if n == 0 || len(x.Right) != n || len(x.Feature) != n || len(x.Condition) != n || len(x.DefaultLeft) != n || len(x.Kind) != 0 && len(x.Kind) != n || len(x.Hessian) != 0 && len(x.Hessian) != n {
		return nil, ErrForeign.With("its lists of nodes are not equally long")
	}
	if s := x.Param.LeafVector; s != "" && s != "0" && s != "1" {
		return nil, ErrUnscorable.With("its leaves are vectors")
	}
	splits := 0
	for _, c := range x.Left {
		if c >= 0 {
			splits++
		}
	}
	return assembleTree(splits, func(at int) (Node, error) {
		if at < 0 || at >= n {
			return Node{}, ErrForeign.With("there is no node %d", at)
		}
		node := Node{}
		if len(x.Hessian) != 0 {
			node.Cover = x.Hessian[at]
		}
		if x.Left[at] < 0 {
			node.Value = x.Condition[at]
			return node, nil
		}
		switch {
		case len(x.Kind) != 0 && x.Kind[at] != 0:
			return Node{}, ErrUnscorable.With("it splits on categories; encode them as numbers before training")
		case x.Feature[at] < 0 || x.Feature[at] >= features:
			return Node{}, ErrForeign.With("there is no feature %d", x.Feature[at])
		case x.Left[at] == 0 || x.Right[at] <= 0:
			return Node{}, ErrForeign.With("node %d has the root or nothing as a child", at)
		}
		node.Feature, node.Threshold, node.DefaultLeft = x.Feature[at], x.Condition[at], bool(x.DefaultLeft[at])
		node.Left, node.Right = x.Left[at], x.Right[at]
		return node, nil
	}, 0)
}

// inTree says in which tree an error is.
func inTree(i int, err error) error {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.With("tree %d: %s", i, e.Detail)
	}
	return err
}
