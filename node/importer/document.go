package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/chancery/chancery/chain/errs"
)

// What is read of one document. A report has an entry for each leaf, so its size is
// bounded by nodes times pointers.
const (
	MaxBytes   = 4 << 20
	MaxDepth   = 64
	MaxNodes   = 1 << 16
	maxPointer = 1024 // bytes of a value's JSON pointer
)

func refuse(v *value, format string, args ...any) error {
	return refuseAs(ErrInvalid, v, format, args...)
}

// refuseAs is an error with the place.
func refuseAs(e *errs.Error, v *value, format string, args ...any) error {
	where := "the document"
	if v != nil && v.parent != nil {
		where = v.pointer()
	}
	return e.With("%s: %s", where, fmt.Sprintf(format, args...))
}

type kind string

const (
	object  kind = "object"
	array   kind = "array"
	text    kind = "string"
	number  kind = "number"
	boolean kind = "boolean"
	null    kind = "null"
)

// value is a JSON value with its place. A nil value is an absent one.
type value struct {
	parent *value
	step   string // its name or index in the parent
	length int    // of its pointer
	kind   kind
	text   string // of strings the content, of numbers and booleans the literal
	keys   []string
	fields map[string]*value
	items  []*value
}

// pointer is the value's JSON pointer (RFC 6901); empty for the whole document.
func (v *value) pointer() string {
	var steps []string
	for ; v.parent != nil; v = v.parent {
		steps = append(steps, "/"+v.step)
	}
	slices.Reverse(steps)
	return strings.Join(steps, "")
}

// parse reads strict JSON: UTF-8, no name twice in an object, one value alone,
// within the bounds.
func parse(raw []byte) (*value, error) {
	if len(raw) > MaxBytes {
		return nil, ErrTooLarge.With("%d bytes, at most %d", len(raw), MaxBytes)
	}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n\ufeff"); len(trimmed) > 0 && trimmed[0] == '<' {
		return nil, ErrXML
	}
	if !utf8.Valid(raw) {
		return nil, ErrSyntax.With("it is not UTF-8")
	}
	if at := loneSurrogate(raw); at >= 0 {
		return nil, ErrSyntax.With("line %d: half of a surrogate pair, which names no character", lineAt(raw, at))
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	p := parser{d: d, raw: raw}
	v, err := p.value(nil, "", 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrSyntax.With("line %d: something follows the value", p.line())
	}
	return v, nil
}

// lineAt is the line of a byte, from 1.
func lineAt(raw []byte, at int) int { return 1 + bytes.Count(raw[:min(at, len(raw))], []byte("\n")) }

type parser struct {
	d     *json.Decoder
	raw   []byte
	nodes int
}

func (p *parser) line() int { return lineAt(p.raw, int(p.d.InputOffset())) }

func (p *parser) token() (json.Token, error) {
	t, err := p.d.Token()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, ErrSyntax.With("line %d: %v", p.line(), err)
	}
	return t, nil
}

func (p *parser) value(parent *value, step string, depth int) (*value, error) {
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	v := &value{parent: parent, step: step}
	if parent != nil {
		v.length = parent.length + 1 + len(step)
	}
	switch p.nodes++; {
	case depth > MaxDepth:
		return nil, ErrTooDeep.With("line %d: more than %d levels", p.line(), MaxDepth)
	case p.nodes > MaxNodes:
		return nil, ErrTooLarge.With("line %d: more than %d values", p.line(), MaxNodes)
	case v.length > maxPointer:
		return nil, ErrTooLarge.With("line %d: names of together more than %d bytes inside one another", p.line(), maxPointer)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return v, p.object(v, depth)
		}
		return v, p.array(v, depth)
	case string:
		v.kind, v.text = text, t
	case json.Number:
		v.kind, v.text = number, t.String()
	case bool:
		v.kind, v.text = boolean, strconv.FormatBool(t)
	case nil:
		v.kind = null
	}
	return v, nil
}

var escapePointer = strings.NewReplacer("~", "~0", "/", "~1")

func (p *parser) object(v *value, depth int) error {
	v.kind, v.fields = object, map[string]*value{}
	for p.d.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return ErrSyntax.With("line %d: a name is not a string", p.line())
		}
		if v.fields[key] != nil {
			return ErrSyntax.With("line %d: a name is there twice in one object", p.line())
		}
		child, err := p.value(v, escapePointer.Replace(key), depth+1)
		if err != nil {
			return err
		}
		v.keys, v.fields[key] = append(v.keys, key), child
	}
	_, err := p.token()
	return err
}

func (p *parser) array(v *value, depth int) error {
	v.kind = array
	for p.d.More() {
		child, err := p.value(v, strconv.Itoa(len(v.items)), depth+1)
		if err != nil {
			return err
		}
		v.items = append(v.items, child)
	}
	_, err := p.token()
	return err
}

// loneSurrogate is where an escape stands for half of a surrogate pair, or -1.
func loneSurrogate(raw []byte) int {
	quad := func(i int) (rune, bool) {
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(raw[i+2:i+6]), 16, 32)
		return rune(n), err == nil
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		c, ok := quad(i)
		switch {
		case !ok:
			i++ // another escape
		case c >= 0xD800 && c < 0xDC00:
			if low, ok := quad(i + 6); !ok || low < 0xDC00 || low > 0xDFFF {
				return i
			}
			i += 11
		case c >= 0xDC00 && c <= 0xDFFF:
			return i
		default:
			i += 5
		}
	}
	return -1
}

// at is the value under the names, nil when one of them is absent.
func (v *value) at(names ...string) *value {
	for _, name := range names {
		if v == nil || v.kind != object {
			return nil
		}
		v = v.fields[name]
	}
	return v
}

// list is the items of an array; nothing for anything else.
func (v *value) list() []*value {
	if v == nil || v.kind != array {
		return nil
	}
	return v.items
}

// str is the content of a string; empty for anything else.
func (v *value) str() string {
	if v == nil || v.kind != text {
		return ""
	}
	return v.text
}

// is tells whether the value is there and of a kind.
func (v *value) is(k kind) bool { return v != nil && v.kind == k }

// leaves calls fn for each value beneath v, or v itself, that holds no other.
func (v *value) leaves(fn func(*value)) {
	switch {
	case v == nil:
	case len(v.keys) > 0:
		for _, k := range v.keys {
			v.fields[k].leaves(fn)
		}
	case len(v.items) > 0:
		for _, item := range v.items {
			item.leaves(fn)
		}
	default:
		fn(v)
	}
}

// canonical is the value as JSON without white space, names sorted by bytes,
// numbers as they were written.
func (v *value) canonical() []byte { return v.appendTo(nil) }

func (v *value) appendTo(b []byte) []byte {
	switch v.kind {
	case object:
		b = append(b, '{')
		for i, k := range slices.Sorted(slices.Values(v.keys)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, k), ':')
			b = v.fields[k].appendTo(b)
		}
		return append(b, '}')
	case array:
		b = append(b, '[')
		for i, item := range v.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.appendTo(b)
		}
		return append(b, ']')
	case text:
		return appendString(b, v.text)
	case null:
		return append(b, "null"...)
	default:
		return append(b, v.text...)
	}
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, "\\u%04x", c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
