package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery/chancery/modules/threat/artifact"
	"github.com/chancery/chancery/modules/threat/trees"
	threatv1 "github.com/chancery/chancery/proto/chancery/threat/v1"
)

// The programs whose models are converted.
const (
	FromLightGBM = "lightgbm"
	FromXGBoost  = "xgboost"
)

// Conversion says how a foreign model is converted.
type Conversion struct {
	Name string
	From string // lightgbm or xgboost; empty to tell by the first bytes
	// Schema is the features, by name. Without it, Data says which decimals each has.
	Schema Schema
	// Data is a table with the model's features as columns, found by name; where the model
	// names none, by position. With labels, the model is measured on it.
	Data       *Table
	Monotone   map[string]trees.Direction
	Thresholds CardThresholds
	Limits     []string
}

// Convert makes a model of what LightGBM saved as text or XGBoost as JSON.
func Convert(raw []byte, o Conversion) (*Trained, error) {
	from := o.From
	if from == "" {
		from = FromLightGBM
		if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
			from = FromXGBoost
		}
	}
	var parent *Boosted
	var err error
	switch from {
	case FromLightGBM:
		parent, err = LightGBM(raw)
	case FromXGBoost:
		parent, err = XGBoost(raw)
	default:
		return nil, ErrOptions.With("%q is no program whose models are converted; choose %s or %s", from, FromLightGBM, FromXGBoost)
	}
	if err != nil {
		return nil, err
	}
	schema, err := o.schema(parent.Features)
	if err != nil {
		return nil, err
	}
	if err := schema.direct(o.Monotone); err != nil {
		return nil, err
	}
	message := &threatv1.Model{Format: artifact.Format, Name: o.Name, Features: schema}
	if message.Boosted, err = parent.Quantise(schema); err != nil {
		return nil, err
	}
	out := &Trained{Parents: Parents{Boosted: parent}}
	if _, out.Model, err = Seal(message); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	card := &Card{
		Format: 1, Name: o.Name, Origin: from, Source: hex.EncodeToString(sum[:]), Features: CardFeatures(message), Thresholds: o.Thresholds,
		Measured: []Measured{}, Limits: append([]string{"How it was trained is not known to this card."}, o.Limits...),
	}
	if o.Data != nil {
		m, err := schema.Apply(o.Data)
		if err != nil {
			return nil, err
		}
		out.Scaling = m.Loss
		if out.Scores, err = Score(out.Model, out.Parents, m); err != nil {
			return nil, err
		}
		out.Labels = o.Data.Labels
		positive, negative := o.Data.Positives()
		card.Data = &CardData{SHA256: hex.EncodeToString(o.Data.Hash[:]), Rows: o.Data.Rows, Dropped: o.Data.Dropped, Positives: positive, Negatives: negative, Scaling: m.Loss}
		if o.Data.Labels == nil {
			out.Labels = make([]int8, o.Data.Rows)
		}
		if o.Data.Labelled() == nil {
			out.Measured = []Measured{out.Scores.Measured("data", out.Labels)}
			card.Measured = out.Measured
		}
	}
	if out.Card, err = card.Marshal(); err != nil {
		return nil, err
	}
	hash := sha256.Sum256(out.Card)
	message.CardHash = hash[:]
	if o.Thresholds.Hold != 0 || o.Thresholds.Deny != 0 {
		message.Thresholds = &threatv1.Thresholds{Hold: o.Thresholds.Hold, Deny: o.Thresholds.Deny}
	}
	out.Raw, out.Model, err = Seal(message)
	return out, err
}

// schema finds the features that a foreign model names.
func (o Conversion) schema(names []string) (Schema, error) {
	out := make(Schema, len(names))
	if o.Schema != nil {
		for i, name := range names {
			j := slices.IndexFunc(o.Schema, func(f *threatv1.Feature) bool { return f.Name == name })
			if j < 0 {
				return nil, ErrColumns.With("the schema lacks the model's feature %q", name)
			}
			out[i] = o.Schema[j].CloneVT()
		}
		return out, nil
	}
	if o.Data == nil {
		return nil, ErrOptions.With("say which decimals the features have: give the training data or a schema")
	}
	for i, name := range names {
		c := o.Data.Column(name)
		if c == nil {
			// LightGBM writes spaces as underscores.
			j := slices.IndexFunc(o.Data.Columns, func(c Column) bool { return strings.ReplaceAll(c.Name, " ", "_") == name })
			if j < 0 && (name == fmt.Sprintf("Column_%d", i) || name == fmt.Sprintf("f%d", i)) && len(o.Data.Columns) == len(names) {
				j = i
			}
			if j < 0 {
				return nil, ErrColumns.With("column %q", name)
			}
			c = &o.Data.Columns[j]
		}
		if c.Texts != nil {
			return nil, ErrData.With("column %q is not of numbers", c.Name)
		}
		out[i] = &threatv1.Feature{Name: name, Decimals: uint32(Decimals(c.Numbers))}
		if c.Name != name {
			out[i].Column = c.Name
		}
	}
	return out, nil
}

// ReadSchema reads features from JSON: a list of objects with name, unit, decimals,
// column, categories, and monotone (increasing or decreasing).
func ReadSchema(raw []byte) (Schema, error) {
	var list []struct {
		Name       string   `json:"name"`
		Unit       string   `json:"unit"`
		Decimals   uint32   `json:"decimals"`
		Column     string   `json:"column"`
		Categories []string `json:"categories"`
		Monotone   string   `json:"monotone"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, ErrData.With("the schema: %v", err)
	}
	var out Schema
	for _, x := range list {
		f := &threatv1.Feature{Name: x.Name, Unit: x.Unit, Decimals: x.Decimals, Column: x.Column, Categories: x.Categories}
		if x.Decimals > artifact.MaxDecimals {
			return nil, ErrData.With("the schema: %q has %d decimals; at most %d are allowed", x.Name, x.Decimals, artifact.MaxDecimals)
		}
		switch x.Monotone {
		case "":
		case "increasing":
			f.Monotone = threatv1.Monotone_MONOTONE_INCREASING
		case "decreasing":
			f.Monotone = threatv1.Monotone_MONOTONE_DECREASING
		default:
			return nil, ErrData.With("the schema: %q is monotone %q; choose increasing or decreasing", x.Name, x.Monotone)
		}
		slices.Sort(f.Categories)
		out = append(out, f)
	}
	return out, nil
}
