// Package stix reads indicators of STIX 2.1 bundles (OASIS, STIX Version 2.1, 10 June
// 2021) as indicators of a node (docs/intelligence.md).
//
// An indicator is mapped where its pattern is a choice between values of observables
// that name somebody on the chain. Of everything else in a bundle the report says why
// it is not mapped; nothing is dropped in silence.
//
// libstix2 (freetaxii) and stix2 (TcM1911) were weighed: both are types of all objects
// without a reader of patterns, the first needs SQLite through cgo, and neither has
// had a release in years. What is read here is four members of one object, and a
// pattern, of which only the part is read that can be mapped.
package stix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chancery/chancery/node/intel"
)

// Bounds of a bundle.
const (
	MaxBytes   = 32 << 20
	maxObjects = 65_536
	maxNesting = 64
)

// Sharing is the widest circle that a marking may keep an indicator to and it is still
// mapped, for an opinion is told to all members of the consortium. See TLP 2.0 (FIRST).
type Sharing int

// The circles.
const (
	Green Sharing = iota // the community: what is unmarked, TLP:CLEAR, TLP:WHITE and TLP:GREEN
	Amber                // the recipient's organisation, and its clients
	Red                  // the recipient alone
)

// Options say how to map.
type Options struct {
	Now     time.Time
	Level   intel.Level // of an indicator without confidence
	Sharing Sharing
}

// Mapped is an indicator object and what became of it.
type Mapped struct {
	ID         string            `json:"id"`
	Indicators []intel.Indicator `json:"-"`
	Count      int               `json:"indicators"`
}

// Unmapped is an object, or a part of its pattern, that was not mapped.
type Unmapped struct {
	ID     string `json:"id"` // its place in the bundle where it has none
	Type   string `json:"type,omitempty"`
	Reason string `json:"reason"`
}

// Report is what became of every object of a bundle.
type Report struct {
	Bundle     string            `json:"bundle"`
	Objects    int               `json:"objects"`
	Mapped     []Mapped          `json:"mapped"`
	Unmapped   []Unmapped        `json:"not_mapped"`
	Indicators []intel.Indicator `json:"-"` // of all; of one value the highest level, then the latest end
}

// object is what is read of an object.
type object struct {
	Type           string          `json:"type"`
	ID             string          `json:"id"`
	SpecVersion    string          `json:"spec_version"`
	Modified       string          `json:"modified"`
	Name           string          `json:"name"`
	Pattern        *string         `json:"pattern"`
	PatternType    string          `json:"pattern_type"`
	ValidFrom      string          `json:"valid_from"`
	ValidUntil     string          `json:"valid_until"`
	Revoked        bool            `json:"revoked"`
	Confidence     *int            `json:"confidence"`
	IndicatorTypes []string        `json:"indicator_types"`
	Markings       []string        `json:"object_marking_refs"`
	Granular       json.RawMessage `json:"granular_markings"`
	Lang           string          `json:"lang"`
}

// Read reads a bundle. An error is about the bundle as a whole; faults of objects are
// in the report.
func Read(r io.Reader, o Options) (*Report, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("the bundle has more than %d bytes", MaxBytes)
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("the bundle is not UTF-8")
	}
	if err := nesting(raw); err != nil {
		return nil, err
	}
	var bundle struct {
		Type    string            `json:"type"`
		ID      string            `json:"id"`
		Objects []json.RawMessage `json:"objects"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&bundle); err != nil {
		return nil, fmt.Errorf("the bundle is no JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the end of the bundle")
	}
	if bundle.Type != "bundle" {
		return nil, fmt.Errorf("the type is %.40q, not bundle", bundle.Type)
	}
	if len(bundle.Objects) > maxObjects {
		return nil, fmt.Errorf("the bundle has %d objects, at most %d", len(bundle.Objects), maxObjects)
	}
	m := &mapper{options: o, report: &Report{Bundle: bundle.ID, Objects: len(bundle.Objects), Mapped: []Mapped{}, Unmapped: []Unmapped{}}, best: map[string]int{}}
	m.objects(bundle.Objects)
	return m.report, nil
}

// nesting refuses JSON that is nested too deeply, before it is decoded.
func nesting(raw []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return fmt.Errorf("the bundle is nested more than %d deep, at byte %d", maxNesting, i)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

type mapper struct {
	options Options
	report  *Report
	best    map[string]int // place in Indicators of a kind and value
}

func (m *mapper) not(id, kind, format string, args ...any) {
	m.report.Unmapped = append(m.report.Unmapped, Unmapped{id, kind, fmt.Sprintf(format, args...)})
}

var identifier = regexp.MustCompile(`^[a-z][a-z0-9-]{0,250}--[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (m *mapper) objects(list []json.RawMessage) {
	all := make([]*object, len(list))
	latest := map[string]int{}
	for i, raw := range list {
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			// Tell whose members are wrong where that can be read.
			var who struct{ ID, Type string }
			_ = json.Unmarshal(raw, &who)
			m.not(orPlace(who.ID, i), who.Type, "the object is not valid: %v", err)
			continue
		}
		if o.Type == "indicator" {
			if !identifier.MatchString(o.ID) || !strings.HasPrefix(o.ID, "indicator--") {
				m.not(orPlace(o.ID, i), o.Type, "the id is not that of an indicator")
				continue
			}
			if before, twice := latest[o.ID]; twice {
				older, newer := before, i
				if t, u := moment(all[before].Modified), moment(o.Modified); t.After(u) {
					older, newer = i, before
				}
				all[i] = &o
				m.not(o.ID, o.Type, "the bundle has a version of it that was modified later, or stands later")
				all[older] = nil
				latest[o.ID] = newer
				continue
			}
			latest[o.ID] = i
		} else {
			switch {
			case o.Type == "":
				m.not(orPlace(o.ID, i), "", "the object has no type")
			default:
				m.not(orPlace(o.ID, i), o.Type, "only objects of type indicator are mapped")
			}
			continue
		}
		all[i] = &o
	}
	markings := circles(list)
	for _, o := range all {
		if o != nil {
			m.indicator(o, markings)
		}
	}
}

func orPlace(id string, i int) string {
	if id == "" || len(id) > 300 {
		return fmt.Sprintf("/objects/%d", i)
	}
	return id
}

// moment is a STIX timestamp, zero where it is none.
func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// known are the markings of TLP that STIX 2.1 (section 7.2.1.4) and the extension of
// TLP 2.0 define.
var known = map[string]Sharing{
	"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": Green, // TLP:WHITE
	"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": Green,
	"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": Amber,
	"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": Red,
	"marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": Green, // TLP:CLEAR
	"marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": Green,
	"marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": Amber,
	"marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": Red, // TLP:AMBER+STRICT: not even clients
	"marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": Red,
}

var circleNames = map[string]Sharing{"white": Green, "clear": Green, "green": Green, "amber": Amber, "amber+strict": Red, "red": Red}

// circles are the markings that are known, and those of TLP that the bundle defines. A
// marking that is no TLP, such as a copyright, keeps nothing from anybody: Green.
func circles(list []json.RawMessage) map[string]Sharing {
	out := map[string]Sharing{}
	for _, raw := range list {
		var o struct {
			Type, ID   string
			Kind       string `json:"definition_type"`
			Definition struct{ TLP string }
			Name       string
			Extensions map[string]struct {
				TLP string `json:"tlp_2_0"`
			}
		}
		// A member of another form leaves the marking unknown, and what it marks unmapped.
		if json.Unmarshal(raw, &o) != nil || o.Type != "marking-definition" {
			continue
		}
		tlp := o.Definition.TLP
		for _, x := range o.Extensions {
			tlp = max(tlp, x.TLP)
		}
		if circle, ok := circleNames[strings.ToLower(tlp)]; ok {
			out[o.ID] = circle
		} else if tlp == "" && o.Kind == "statement" {
			out[o.ID] = Green
		}
	}
	for id, circle := range known {
		out[id] = circle
	}
	return out
}

// indicator maps one.
func (m *mapper) indicator(o *object, markings map[string]Sharing) {
	no := func(format string, args ...any) { m.not(o.ID, o.Type, format, args...) }
	from, until := moment(o.ValidFrom), moment(o.ValidUntil)
	now := m.options.Now
	switch {
	case o.SpecVersion != "2.1":
		no("spec_version is %.20q, not 2.1", o.SpecVersion)
		return
	case o.Revoked:
		no("it is revoked")
		return
	case from.IsZero():
		no("valid_from is missing or no timestamp")
		return
	case o.ValidUntil != "" && !until.After(from):
		no("valid_until is no timestamp after valid_from")
		return
	case from.After(now):
		no("it is valid from %s on; import it again then", o.ValidFrom)
		return
	case o.ValidUntil != "" && !until.After(now):
		no("it was valid until %s", o.ValidUntil)
		return
	case o.PatternType != "stix":
		no("pattern_type is %.40q, not stix", o.PatternType)
		return
	case o.Pattern == nil:
		no("pattern is missing")
		return
	case slices.Contains(o.IndicatorTypes, "benign"):
		no("indicator_types says that it is benign")
		return
	case o.Confidence != nil && (*o.Confidence < 0 || *o.Confidence > 100):
		no("confidence is %d, want 0 to 100", *o.Confidence)
		return
	case o.Confidence != nil && *o.Confidence == 0:
		no("confidence is 0")
		return
	}
	for _, id := range o.Markings {
		circle, ok := markings[id]
		if !ok {
			no("its marking %.100s is not known, so it may not be meant for the consortium", id)
			return
		}
		if circle > m.options.Sharing {
			no("its marking %s keeps it from the consortium, to whom an opinion is told", id)
			return
		}
	}
	if len(o.Granular) > 0 && m.options.Sharing < Red {
		no("it has granular_markings, which are not read, so it may not be meant for the consortium")
		return
	}
	list, err := choices(*o.Pattern)
	if err != nil {
		no("pattern: %v", err)
		return
	}
	level := levelOf(o.Confidence, m.options.Level)
	end := int64(0)
	if !until.IsZero() {
		end = until.UnixMilli()
	}
	mapped := Mapped{ID: o.ID}
	for _, c := range list {
		for _, v := range c.values {
			kind, value, err := observable(c.path, v)
			i := intel.Indicator{Kind: kind, Value: value, Level: level, Until: end, Note: o.ID}
			if err == nil {
				err = i.Check()
			}
			if err != nil {
				no("pattern, at byte %d: %v", c.at, err)
				continue
			}
			mapped.Indicators = append(mapped.Indicators, i)
			m.add(i)
		}
	}
	if mapped.Count = len(mapped.Indicators); mapped.Count > 0 {
		m.report.Mapped = append(m.report.Mapped, mapped)
	}
}

func (m *mapper) add(i intel.Indicator) {
	key := string(i.Kind) + " " + i.Value
	at, ok := m.best[key]
	if !ok {
		m.best[key] = len(m.report.Indicators)
		m.report.Indicators = append(m.report.Indicators, i)
		return
	}
	have := &m.report.Indicators[at]
	longer := have.Until != 0 && (i.Until == 0 || i.Until > have.Until)
	if i.Level > have.Level || i.Level == have.Level && longer {
		*have = i
	}
}

// levelOf follows the None / Low / Med / High scale of STIX 2.1, appendix A: 1 to 29
// is low, 30 to 69 is guarded, 70 to 100 is high.
func levelOf(confidence *int, otherwise intel.Level) intel.Level {
	switch {
	case confidence == nil:
		return otherwise
	case *confidence < 30:
		return intel.LevelLow
	case *confidence < 70:
		return intel.LevelGuarded
	}
	return intel.LevelHigh
}

// observable is what a value of a path names on the chain.
func observable(path, value string) (intel.Kind, string, error) {
	switch strings.NewReplacer("'", "", `"`, "").Replace(path) {
	case "x-chancery-did:value", "user-account:account_login", "user-account:user_id":
		return intel.KindDID, value, nil
	case "x-chancery-organisation:value":
		return intel.KindOrganisation, value, nil
	case "x-chancery-key:value":
		return intel.KindKey, value, nil
	case "x-chancery-node:value":
		return intel.KindNode, strings.ToLower(value), nil
	case "x-chancery-resource:value", "file:hashes.SHA-256", "artifact:hashes.SHA-256":
		return intel.KindResource, strings.ToLower(value), nil
	}
	return "", "", fmt.Errorf("%.100s names nobody and nothing on the chain", path)
}
