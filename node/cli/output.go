package cli

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	outputText = "text"
	outputJSON = "json"
)

// fact is a named value of an answer that is no protobuf message.
type fact struct {
	name  string
	value any
}

// facts are printed as aligned lines, or as a JSON object in their order.
type facts []fact

// moment is Unix milliseconds: RFC 3339 in text, a number in JSON.
type moment int64

// digits are bytes that are shown in hexadecimal.
type digits []byte

func (d digits) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(d)) }

// jsonOf is compact JSON that leaves <, > and & as they are: it is for programs and
// terminals, not for web pages.
func jsonOf(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// MarshalJSON keeps the order.
func (f facts) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(strings.ReplaceAll(x.name, " ", "_"))
		if err != nil {
			return nil, err
		}
		value, err := jsonOf(x.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (f facts) text() string {
	width := 0
	for _, x := range f {
		width = max(width, len(x.name))
	}
	var b strings.Builder
	for _, x := range f {
		v := ""
		switch t := x.value.(type) {
		case moment:
			v = stamp(int64(t))
		case digits:
			v = hex.EncodeToString(t)
		case []string:
			v = strings.Join(t, ", ")
		case bool:
			v = yes(t)
		case json.RawMessage:
			v = string(t)
		default:
			v = fmt.Sprint(t)
		}
		if v == "" {
			v = "-"
		}
		fmt.Fprintf(&b, "%-*s  %s\n", width, x.name, clean(v))
	}
	return b.String()
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// stamp is Unix milliseconds in RFC 3339, empty for 0.
func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	const form = "2006-01-02T15:04:05.999Z07:00"
	return time.UnixMilli(ms).UTC().Format(form)
}

// print writes an answer in the form that --output names. Text is for facts and
// messages; other values are JSON either way.
func (a *app) print(v any) error {
	if a.output == outputText {
		switch t := v.(type) {
		case facts:
			return a.write(t.text())
		case proto.Message:
			return a.write(render(t.ProtoReflect()))
		}
	}
	var raw []byte
	var err error
	if m, ok := v.(proto.Message); ok {
		raw, err = protoJSON(m)
	} else {
		raw, err = jsonOf(v)
	}
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return err
	}
	return a.write(out.String() + "\n")
}

func (a *app) write(text string) error {
	if _, err := fmt.Fprint(a.Out, text); err != nil {
		return errNotSaved.Wrap(err)
	}
	return nil
}

// protoJSON is protobuf JSON with the names of the .proto files, compact.
func protoJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space on purpose.
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
