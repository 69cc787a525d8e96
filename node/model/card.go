package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Card says what a model was made of and how good it is. It is a JSON file beside the
// model, whose hash the model carries. It holds no clock and no name of a machine, so
// that training again gives the same card.
type Card struct {
	Format     int            `json:"format"`
	Name       string         `json:"name"`
	Origin     string         `json:"origin"`                  // trained, lightgbm or xgboost
	Source     string         `json:"source_sha256,omitempty"` // of the file that was converted
	Data       *CardData      `json:"data,omitempty"`
	Seed       uint64         `json:"seed"`
	Boosted    *BoostOptions  `json:"boosted,omitempty"`
	Forest     *ForestOptions `json:"forest,omitempty"`
	NormalOnly bool           `json:"forest_on_negatives_alone,omitempty"`
	Features   []CardFeature  `json:"features"`
	Measured   []Measured     `json:"measured"`
	Thresholds CardThresholds `json:"thresholds"`
	Limits     []string       `json:"limits"`
}

// CardData is the table that a model was trained on.
type CardData struct {
	SHA256    string `json:"sha256"`
	Rows      int    `json:"rows"`
	Dropped   int    `json:"dropped"`
	Positives int    `json:"positives"`
	Negatives int    `json:"negatives"`
	Scaling   Loss   `json:"scaling"`
}

// CardFeature is a feature and how much of the boosted trees' or the forest's splits
// are on it.
type CardFeature struct {
	Name     string  `json:"name"`
	Decimals uint32  `json:"decimals"`
	Monotone string  `json:"monotone,omitempty"`
	Splits   float64 `json:"share_of_splits"`
}

// CardThresholds are the model's thresholds and how they were chosen.
type CardThresholds struct {
	Hold     uint32  `json:"hold"`
	Deny     uint32  `json:"deny"`
	HoldRate float64 `json:"hold_rate,omitempty"` // share of negatives that it may flag
	DenyRate float64 `json:"deny_rate,omitempty"`
	On       string  `json:"chosen_on,omitempty"`
}

// Marshal is the bytes of the card's file.
func (c *Card) Marshal() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		return nil, ErrCard.Wrap(err)
	}
	return out.Bytes(), nil
}

// ReadCard reads a card, and refuses one whose hash is not what the model carries.
func ReadCard(raw, hash []byte) (*Card, error) {
	if sum := sha256.Sum256(raw); !bytes.Equal(sum[:], hash) {
		return nil, ErrCard.With("its hash is %s, the model carries %s", hex.EncodeToString(sum[:]), hex.EncodeToString(hash))
	}
	c := &Card{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, ErrCard.Wrap(err)
	}
	return c, nil
}
