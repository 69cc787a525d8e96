package intel

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a file of indicators.
const (
	MaxIndicators     = 4096
	MaxIndicatorBytes = 4 << 20 // of the whole file
	maxLine           = 2048    // bytes of one line of JSONL
	maxValue          = 512     // bytes of a value
	maxNote           = 256     // bytes of a note
	maxFaults         = 100     // faults that are listed one by one
)

// Kind is what an indicator names.
type Kind string

// The kinds.
const (
	KindDID          Kind = "did"           // a person, device, service or organisation by its DID
	KindOrganisation Kind = "organisation"  // an organisation by its DID
	KindKey          Kind = "key"           // a public key, in the form that the node's wiring resolves
	KindResource     Kind = "resource-hash" // a resource: 64 hexadecimal digits of SHA-256; whoever touches it becomes the subject
	KindNode         Kind = "node-id"       // a node by the 40 hexadecimal digits of its id
)

// Kinds are all kinds of indicators.
func Kinds() []Kind { return []Kind{KindDID, KindOrganisation, KindKey, KindResource, KindNode} }

// Indicator is a line of a file of indicators.
type Indicator struct {
	Kind  Kind
	Value string
	Level Level // not LevelNone, but of an operator
	Until int64 // Unix milliseconds from which on it is void; 0: never
	Note  string
}

// Check says what is wrong with i.
func (i Indicator) Check() error {
	if i.Level == LevelNone {
		return fmt.Errorf("the level is %s; write low, guarded, high or severe, or remove the line", i.Level)
	}
	return i.check()
}

// CheckOpinion says what is wrong with i as what an operator says: of a DID, at any
// level.
func (i Indicator) CheckOpinion() error {
	if i.Kind != KindDID && i.Kind != KindOrganisation {
		return fmt.Errorf("%q is no type of what an operator says; write did or organisation", i.Kind)
	}
	return i.check()
}

func (i Indicator) check() error {
	hexadecimal := func(digits int) error {
		raw, err := hex.DecodeString(i.Value)
		if err != nil || len(raw)*2 != digits || i.Value != strings.ToLower(i.Value) {
			return fmt.Errorf("%q is not %d hexadecimal digits in lower case", i.Value, digits)
		}
		return nil
	}
	switch {
	case i.Value == "":
		return errors.New("the value is missing")
	case len(i.Value) > maxValue || !plain(i.Value):
		return fmt.Errorf("the value must have at most %d bytes of UTF-8 without control characters", maxValue)
	case i.Level > LevelSevere:
		return fmt.Errorf("there is no %s", i.Level)
	case i.Until < 0:
		return errors.New("until is before 1970")
	case len(i.Note) > maxNote || !plain(i.Note):
		return fmt.Errorf("the note must have at most %d bytes of UTF-8 without control characters", maxNote)
	}
	switch i.Kind {
	case KindDID:
		return CheckSubject(i.Value)
	case KindOrganisation:
		if err := CheckSubject(i.Value); err != nil {
			return err
		}
		if strings.Count(i.Value, ":") != 2 {
			return fmt.Errorf("%s is no organisation's DID", i.Value)
		}
		return nil
	case KindKey:
		return nil
	case KindResource:
		return hexadecimal(64)
	case KindNode:
		return hexadecimal(40)
	}
	return fmt.Errorf("%q is no type of indicators; write did, organisation, key, resource-hash or node-id", i.Kind)
}

func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) < 0
}

// source is the source of an opinion that i gives rise to. It does not depend on the
// file around it, so that an edit makes no other opinion new, nor on the note.
func (i Indicator) source() [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "chancery.intel.indicator\x00%s\x00%s\x00%d\x00%d", i.Kind, i.Value, i.Level, i.Until))
}

// Faults are what is wrong with a file of indicators, line by line.
type Faults []Fault

// Fault is what is wrong with a line.
type Fault struct {
	Line int // from 1; 0: the file as a whole
	Text string
}

// Error lists the first ten.
func (f Faults) Error() string {
	var b strings.Builder
	for n, x := range f {
		if n == 10 {
			fmt.Fprintf(&b, "; and %d more", len(f)-n)
			break
		}
		if n > 0 {
			b.WriteString("; ")
		}
		if x.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", x.Line)
		}
		b.WriteString(x.Text)
	}
	return b.String()
}

// Format is how a file of indicators is written.
type Format string

// The formats.
//
// CSV (RFC 4180) begins with the line type,value,level,until,note; lines that begin
// with # are left out. JSONL has an object with those members a line, of which until
// and note may be missing. Until is RFC 3339, or empty for no end.
const (
	CSV   Format = "csv"
	JSONL Format = "jsonl"
)

// FormatOf is the format of a file by the end of its name: .csv, or .jsonl and
// .ndjson.
func FormatOf(path string) (Format, error) {
	switch filepath.Ext(path) {
	case ".csv":
		return CSV, nil
	case ".jsonl", ".ndjson":
		return JSONL, nil
	}
	return "", fmt.Errorf("%s is no file of indicators by its name; let it end in .csv, .jsonl or .ndjson", path)
}

var header = []string{"type", "value", "level", "until", "note"}

// ParseIndicators reads a file of indicators. Any fault of any line refuses all of
// it; the error is then Faults, in order of lines.
func ParseIndicators(raw []byte, format Format) ([]Indicator, error) {
	return parseLines(raw, format, Indicator.Check)
}

// ParseOpinions reads a file of what an operator says, which has the form of a file of
// indicators, of DIDs alone, at any level; none takes back what others of the node's
// sources say.
func ParseOpinions(raw []byte, format Format) ([]Indicator, error) {
	return parseLines(raw, format, Indicator.CheckOpinion)
}

func parseLines(raw []byte, format Format, check func(Indicator) error) ([]Indicator, error) {
	if len(raw) > MaxIndicatorBytes {
		return nil, Faults{{Text: fmt.Sprintf("the file has %d bytes, at most %d", len(raw), MaxIndicatorBytes)}}
	}
	if !utf8.Valid(raw) {
		return nil, Faults{{Text: "the file is not UTF-8"}}
	}
	p := &parser{check: check, lines: map[string]int{}}
	switch format {
	case CSV:
		p.csv(raw)
	case JSONL:
		p.jsonl(raw)
	default:
		return nil, fmt.Errorf("there is no format %q", format)
	}
	if len(p.faults) > 0 {
		return nil, p.faults
	}
	return p.out, nil
}

type parser struct {
	check  func(Indicator) error
	out    []Indicator
	lines  map[string]int // where a kind and value was
	faults Faults
	full   bool
}

func (p *parser) fault(line int, format string, args ...any) {
	if len(p.faults) < maxFaults {
		p.faults = append(p.faults, Fault{line, fmt.Sprintf(format, args...)})
	} else if !p.full {
		p.full = true
		p.faults = append(p.faults, Fault{Text: "further faults are not listed"})
	}
}

func (p *parser) add(line int, kind, value, level, until, note string) {
	i := Indicator{Kind: Kind(kind), Value: value, Note: note}
	var err error
	if i.Level, err = ParseLevel(level); err != nil {
		p.fault(line, "%v", err)
		return
	}
	if until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil || at.UnixMilli() <= 0 {
			p.fault(line, "until is %q; write RFC 3339 such as 2027-01-31T00:00:00Z, or nothing", until)
			return
		}
		i.Until = at.UnixMilli()
	}
	if err := p.check(i); err != nil {
		p.fault(line, "%v", err)
		return
	}
	key := kind + " " + value
	if first, twice := p.lines[key]; twice {
		p.fault(line, "%s is there already, on line %d", key, first)
		return
	}
	p.lines[key] = line
	if len(p.out) == MaxIndicators {
		p.fault(line, "this is one indicator more than the %d that a file may hold", MaxIndicators)
		return
	}
	p.out = append(p.out, i)
}

func (p *parser) csv(raw []byte) {
	r := csv.NewReader(bytes.NewReader(raw))
	r.Comment = '#'
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	for first := true; ; first = false {
		record, err := r.Read()
		if err == io.EOF {
			if first {
				p.fault(1, "the first line must be %s", strings.Join(header, ","))
			}
			return
		}
		if err != nil {
			var at *csv.ParseError
			if errors.As(err, &at) {
				// What follows a quote that is not closed cannot be told apart.
				p.fault(at.Line, "%v", at.Err)
			} else {
				p.fault(0, "%v", err)
			}
			return
		}
		line, _ := r.FieldPos(0)
		switch {
		case first && !slices.Equal(record, header):
			p.fault(line, "the first line must be %s", strings.Join(header, ","))
			return
		case first:
		case len(record) != len(header):
			p.fault(line, "the line has %d values, not %d", len(record), len(header))
		default:
			p.add(line, record[0], record[1], record[2], record[3], record[4])
		}
	}
}

// row is a line of JSONL.
type row struct {
	Type  string `json:"type"`
	Value string `json:"value"`
	Level any    `json:"level"`
	Until string `json:"until,omitempty"`
	Note  string `json:"note,omitempty"`
}

func (p *parser) jsonl(raw []byte) {
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, MaxIndicatorBytes+1)
	for line := 1; s.Scan(); line++ {
		text := bytes.TrimSpace(s.Bytes())
		if len(text) == 0 {
			continue
		}
		if len(text) > maxLine {
			p.fault(line, "the line has more than %d bytes", maxLine)
			continue
		}
		var r row
		if err := strict(text, &r); err != nil {
			p.fault(line, "%v", err)
			continue
		}
		level := ""
		switch l := r.Level.(type) {
		case string:
			level = l
		case float64:
			level = fmt.Sprint(l)
		case nil:
			p.fault(line, "the level is missing")
			continue
		default:
			p.fault(line, "the level is neither a name nor a number")
			continue
		}
		p.add(line, r.Type, r.Value, level, r.Until, r.Note)
	}
	if err := s.Err(); err != nil {
		p.fault(0, "%v", err)
	}
}

// EncodeIndicators writes indicators as a file that ParseIndicators reads, in order
// of kind and value.
func EncodeIndicators(list []Indicator, format Format) ([]byte, error) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(x, y Indicator) int {
		return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Value, y.Value))
	})
	until := func(i Indicator) string {
		if i.Until == 0 {
			return ""
		}
		return time.UnixMilli(i.Until).UTC().Format(time.RFC3339Nano)
	}
	var b bytes.Buffer
	switch format {
	case CSV:
		w := csv.NewWriter(&b)
		_ = w.Write(header) // Error tells
		for _, i := range list {
			_ = w.Write([]string{string(i.Kind), i.Value, i.Level.String(), until(i), i.Note})
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return nil, err
		}
	case JSONL:
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for _, i := range list {
			if err := e.Encode(row{string(i.Kind), i.Value, i.Level.String(), until(i), i.Note}); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("there is no format %q", format)
	}
	return b.Bytes(), nil
}
